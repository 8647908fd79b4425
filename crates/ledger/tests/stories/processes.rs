//! Several processes on one file, some of which die.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tollway_core::SpendId;
use tollway_ledger::{SpendState, SpendStore as _, SqliteLedger};

use tollway_test_records::{address, limit};

/// The second process's program, which is built beside the tests.
pub fn worker() -> Command {
    let test = std::env::current_exe().unwrap();
    let target: PathBuf = test.ancestors().nth(2).unwrap().to_owned();
    Command::new(target.join("examples/ledger_worker"))
}

pub fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// SQLite itself finds nothing wrong with the file.
pub fn assert_intact(path: &Path) {
    let conn = rusqlite::Connection::open(path).unwrap();
    let check = conn.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(check.unwrap(), "ok");
}

fn spender(path: &Path, max: u128) -> Child {
    let mut command = worker();
    command.args(["spend", &url(path), &max.to_string()]);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// What a spender said it had reserved; killed after `kill_after` of them.
fn reserved_by(mut spender: Child, kill_after: usize) -> Vec<SpendId> {
    let lines = BufReader::new(spender.stdout.take().unwrap()).lines();
    let mut ids = Vec::new();
    for line in lines {
        ids.push(SpendId::from_text(line.unwrap()));
        if ids.len() == kill_after {
            spender.kill().unwrap();
        }
    }
    let status = spender.wait().unwrap();
    assert!(status.success() || kill_after < usize::MAX, "{status}");
    ids
}

#[tokio::test]
async fn processes_share_a_budget_and_may_be_killed() {
    const MAX: u128 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let spenders: Vec<_> = [20, 35, usize::MAX, usize::MAX]
        .into_iter()
        .map(|kill_after| (spender(&path, MAX), kill_after))
        .map(|(child, kill_after)| std::thread::spawn(move || reserved_by(child, kill_after)))
        .collect();
    let said: Vec<_> = spenders
        .into_iter()
        .flat_map(|s| s.join().unwrap())
        .collect();

    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    for id in &said {
        let kept = ledger.spend(id).await.unwrap();
        assert!(kept.is_some(), "{id} was said to be reserved");
    }
    let spends = ledger.spends(1_000).await.unwrap();
    let counted = spends.iter().filter(|s| s.state != SpendState::Released);
    assert_eq!(
        counted.count() as u128 * 10,
        MAX,
        "used up, and never passed"
    );
    let (paid, held) = crate::spends::total(&ledger, &limit(0), 0).await;
    assert_eq!(paid + held, MAX);
    let open = ledger.open_spends(&address(1)).await.unwrap();
    assert_eq!(open.len() as u128 * 10, held);
    crate::assert_sound(&ledger).await;
    assert_intact(&path);
}

#[tokio::test]
async fn the_engines_place_is_free_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    let _engine = ledger.lock_engine().unwrap();
    // Others may spend from it all the same.
    let ids = reserved_by(spender(&path, 100), usize::MAX);
    assert!(ids.len() >= 10);
}
