//! The ledger beside a model of it: random steps, the same answers and the
//! same records after every one. The models are plain Rust over vectors, slow
//! and obvious.

mod grants;
mod settlements;
mod spends;

use proptest::prelude::{ProptestConfig, Strategy};
use proptest::test_runner::TestRunner;
use tollway_ledger::{LedgerError, Store};

/// What a step answered, in words that both sides can say.
type Answer = Result<String, &'static str>;

fn answer<T>(result: Result<T, LedgerError>, say: impl FnOnce(T) -> String) -> Answer {
    match result {
        Ok(value) => Ok(say(value)),
        Err(LedgerError::Conflict { .. }) => Err("conflict"),
        Err(LedgerError::NotFound(_)) => Err("not found"),
        Err(broken) => panic!("{broken:?}"),
    }
}

fn done(_: ()) -> String {
    "done".to_owned()
}

/// Runs a few cases, each on a database of its own: all that differs from
/// memory is who executes the statements.
fn on_postgres<S: Strategy, F: Future<Output = ()>>(
    commands: &S,
    case: impl Fn(Store, S::Value) -> F,
) {
    let server = tollway_test_postgres::Postgres::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = ProptestConfig {
        cases: 5,
        max_shrink_iters: 20,
        failure_persistence: None,
        ..Default::default()
    };
    let run = |commands| {
        runtime.block_on(async {
            let ledger = Store::open(&server.database().await).await.unwrap();
            case(ledger.clone(), commands).await;
            crate::assert_sound(&ledger).await;
            ledger.close().await;
        });
        Ok(())
    };
    TestRunner::new(config).run(commands, run).unwrap();
}

/// Runs a case on a fresh ledger in memory.
fn on_a_fresh_ledger<F: Future<Output = ()>>(case: impl FnOnce(Store) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let ledger = Store::open("sqlite::memory:").await.unwrap();
        case(ledger.clone()).await;
        crate::assert_sound(&ledger).await;
    });
}
