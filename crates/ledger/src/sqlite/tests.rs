//! A full disk, and a step that fails too late: what needs the writer's own
//! connection.

use std::time::Duration;

use rusqlite::Connection;

use crate::sql::sql;
use crate::store::{Step, step_name};
use crate::{LedgerError, Limit, LimitScope, NewSpend, Reservation, SpendStore as _, SqliteLedger};
use tollway_core::{Amount, Network, Timestamp};

fn spend(n: u64) -> NewSpend {
    let network = Network::eip155(1);
    let address = network
        .address("0x00000000000000000000000000000000000000aa")
        .unwrap();
    NewSpend {
        account: address.clone(),
        agent: "agent".to_owned(),
        request: n.to_string(),
        url: "https://shop.example/".repeat(100),
        host: "shop.example".to_owned(),
        payee: address.clone(),
        network,
        asset: address,
        amount: Amount::from_atomic(1),
        key: None,
        decimals: None,
        calls: None,
    }
}

async fn reserve(ledger: &SqliteLedger, n: u64) -> Result<Reservation, LedgerError> {
    ledger
        .reserve(spend(n), &[], Timestamp::from_millis(1))
        .await
}

/// Lets the writer's file grow no further than it is now.
async fn fill(ledger: &SqliteLedger, other: &Connection) {
    let pages: i64 = other
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    // A statement is static; a test may leak its text.
    let limit: &str = format!("PRAGMA max_page_count = {pages}").leak();
    let set = ledger.write(step_name!("fill"), async move |step: &mut Step| {
        step.list(sql(limit)).await
    });
    set.await.unwrap();
}

async fn writable_within(ledger: &SqliteLedger, patience: Duration) -> bool {
    let waiting = async {
        while !ledger.is_writable() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(patience, waiting).await.is_ok()
}

#[tokio::test]
async fn a_full_disk_stops_writing_until_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = SqliteLedger::open(&format!("sqlite:{}", path.display()))
        .await
        .unwrap();
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("INSERT INTO probes (id, bytes) VALUES (2, zeroblob(1000000))")
        .unwrap();
    fill(&ledger, &other).await;

    let mut reserved = 0;
    let error = loop {
        match reserve(&ledger, reserved).await {
            Ok(_) => reserved += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, LedgerError::Unavailable { .. }),
        "{error:?}"
    );
    let problem = ledger.health().problem.unwrap();
    assert!(
        problem.contains("free some space, and payments go on by themselves"),
        "{problem}"
    );
    assert_eq!(ledger.spends(1_000).await.unwrap().len() as u64, reserved);
    let limit = Limit {
        scope: LimitScope::Account,
        window: None,
        max: Amount::MAX,
    };
    let s = spend(0);
    let now = Timestamp::default();
    let total = ledger
        .total(&s.account, &s.network, &s.asset, &limit, now)
        .await
        .unwrap();
    assert_eq!(
        total.held,
        Amount::from_atomic(reserved.into()),
        "nothing of the failed step counts"
    );
    assert!(
        !writable_within(&ledger, Duration::from_millis(700)).await,
        "still full"
    );

    other
        .execute_batch("DELETE FROM probes WHERE id = 2")
        .unwrap();
    assert!(
        writable_within(&ledger, Duration::from_secs(5)).await,
        "nobody wrote, and it noticed"
    );
    reserve(&ledger, reserved).await.unwrap();
    let broken = crate::StoryStore::verify_chain(&ledger).await.unwrap();
    assert_eq!(broken, None);
}

/// A step that writes, tells of it, and then finds that it may not.
async fn fail_late(ledger: &SqliteLedger, n: u64) -> Result<(), LedgerError> {
    let step = async move |step: &mut Step| {
        let now = Timestamp::from_millis(n);
        let write = sql("INSERT INTO probes (id, bytes) VALUES ($1, $2)");
        let id = i64::try_from(n).unwrap();
        step.run(write.bind(id).bind(vec![1])).await?;
        step.tell("late", "tried", serde_json::json!({}), now)
            .await?;
        Err(LedgerError::NotFound("late".to_owned()))
    };
    ledger.write(step_name!("late"), step).await
}

/// Such a group runs again, with a savepoint before each step.
#[tokio::test]
async fn a_step_that_fails_after_it_wrote_takes_only_itself_back() {
    let ledger = SqliteLedger::open("sqlite::memory:").await.unwrap();
    let (first, late, second, late_too, third) = tokio::join!(
        reserve(&ledger, 1),
        fail_late(&ledger, 100),
        reserve(&ledger, 2),
        fail_late(&ledger, 101),
        reserve(&ledger, 3),
    );
    for good in [first, second, third] {
        assert!(matches!(good, Ok(Reservation::Reserved(_))), "{good:?}");
    }
    for late in [late, late_too] {
        assert!(matches!(late, Err(LedgerError::NotFound(_))), "{late:?}");
    }
    assert_eq!(ledger.spends(10).await.unwrap().len(), 3);
    let story = crate::StoryStore::story(&ledger, "late").await.unwrap();
    assert_eq!(story, []);
    let left = ledger.write(step_name!("look"), async move |step: &mut Step| {
        step.list(sql("SELECT id FROM probes")).await
    });
    assert_eq!(left.await.unwrap().len(), 0);
    let broken = crate::StoryStore::verify_chain(&ledger).await.unwrap();
    assert_eq!(broken, None);
}
