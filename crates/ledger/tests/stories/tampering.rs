//! A changed history shows.

use std::path::Path;

use rusqlite::Connection;
use tollway_ledger::{EventRecord, SqliteLedger, StoryStore as _};

use crate::settlements::accepted;

/// Three writers with three payments each, then what an attacker does to the
/// file, then what the check finds.
async fn found_after(tamper: &'static [&'static str]) -> Option<EventRecord> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let url = format!("sqlite:{}", path.display());
    for writer in 0..3 {
        let ledger = SqliteLedger::open(&url).await.unwrap();
        for n in 0..3 {
            accepted(&ledger, writer * 10 + n).await;
        }
        ledger.close().await;
    }
    let conn = without_guards(&path);
    for statement in tamper {
        let done = conn.execute(statement, []).unwrap();
        assert!(done > 0, "{statement} changed nothing");
    }
    SqliteLedger::open(&url)
        .await
        .unwrap()
        .verify_chain()
        .await
        .unwrap()
}

fn without_guards(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "foreign_keys", "OFF").unwrap();
    for trigger in ["events_are_never_changed", "events_are_never_deleted"] {
        conn.execute(&format!("DROP TRIGGER {trigger}"), [])
            .unwrap();
    }
    conn
}

#[tokio::test]
async fn an_untouched_history_is_whole() {
    assert_eq!(found_after(&[]).await, None);
}

#[tokio::test]
async fn a_changed_event_is_found() {
    let broken =
        found_after(&["UPDATE events SET data = replace(data, '10000', '1') WHERE id = 5"]);
    assert_eq!(broken.await.unwrap().seq, 2);
}

#[tokio::test]
async fn a_removed_event_is_found() {
    let broken = found_after(&["DELETE FROM events WHERE id = 5"]);
    assert_eq!(broken.await.unwrap().seq, 3);
}

#[tokio::test]
async fn a_cut_off_end_is_found() {
    let broken = found_after(&["DELETE FROM events WHERE id = 9"]);
    let broken = broken.await.unwrap();
    assert_eq!((broken.kind.as_str(), broken.seq), ("missing", 3));
}

#[tokio::test]
async fn a_removed_writer_is_found() {
    let broken = found_after(&[
        "DELETE FROM events WHERE id IN (4, 5, 6)",
        "DELETE FROM checkpoints WHERE writer NOT IN (SELECT writer FROM events)",
        "DELETE FROM writers WHERE writer NOT IN (SELECT writer FROM events)",
    ]);
    assert_eq!(broken.await.unwrap().seq, 1);
}

#[tokio::test]
async fn events_cannot_be_changed_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = SqliteLedger::open(&format!("sqlite:{}", path.display()))
        .await
        .unwrap();
    accepted(&ledger, 1).await;
    let conn = Connection::open(&path).unwrap();
    for statement in ["DELETE FROM events", "UPDATE events SET kind = 'x'"] {
        let refused = conn.execute(statement, []);
        assert!(refused.unwrap_err().to_string().contains("append-only"));
    }
}
