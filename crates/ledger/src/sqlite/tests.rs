//! A full disk, for which the tests need the writer's own connection.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::{SqliteLedger, step_name};
use crate::{LedgerError, Limit, LimitScope, NewSpend, Reservation, SpendStore as _};
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
    }
}

async fn reserve(ledger: &SqliteLedger, n: u64) -> Result<Reservation, LedgerError> {
    ledger
        .reserve(spend(n), &[], Timestamp::from_millis(1))
        .await
}

/// Lets the writer's file grow no further than it is now.
async fn fill(ledger: &SqliteLedger, other: &mut SqliteConnection) {
    let pages: i64 = sqlx::query("PRAGMA page_count")
        .fetch_one(other)
        .await
        .unwrap()
        .get(0);
    let limit = AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
    let set = ledger.write(step_name!("fill"), move |step| {
        Box::pin(async move { step.run(sqlx::query(limit)).await })
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
    let mut other = SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .unwrap();
    let ballast = sqlx::query("INSERT INTO probes (id, bytes) VALUES (2, zeroblob(1000000))");
    ballast.execute(&mut other).await.unwrap();
    fill(&ledger, &mut other).await;

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

    let free = sqlx::query("DELETE FROM probes WHERE id = 2");
    free.execute(&mut other).await.unwrap();
    assert!(
        writable_within(&ledger, Duration::from_secs(5)).await,
        "nobody wrote, and it noticed"
    );
    reserve(&ledger, reserved).await.unwrap();
    let broken = crate::StoryStore::verify_chain(&ledger).await.unwrap();
    assert_eq!(broken, None);
}
