//! A changed history shows, and so does a record that says something else than
//! its history.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;
use tollway_core::Timestamp;
use tollway_ledger::{
    ChainReport, Conclusion, Evidence, Fault, GrantStore, RowReport, SettlementStore as _,
    SpendStore as _, Store,
};
use tollway_test_records::{at, atomic, grant, hash, leased, limit, raw, settled, signed, spend};

use crate::settlements::accepted;

/// A ledger in a file.
struct Book {
    _folder: TempDir,
    path: PathBuf,
}

impl Book {
    /// Three writers with three payments each.
    async fn of_three_writers() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let book = Self {
            _folder: folder,
            path,
        };
        for writer in 0..3 {
            let ledger = Store::open(&book.url()).await.unwrap();
            for n in 0..3 {
                accepted(&ledger, writer * 10 + n).await;
            }
            ledger.close().await;
        }
        book
    }

    /// A payment that settled, a grant that was released and a spend that was paid.
    async fn with_a_purchase() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let book = Self {
            _folder: folder,
            path,
        };
        let ledger = Store::open(&book.url()).await.unwrap();
        let payment = accepted(&ledger, 1).await.id;
        let lease = leased(&ledger, 9).await.unwrap();
        let slot = ledger.allocate_slot(&lease, 0, at(2)).await.unwrap();
        let key = (slot.network, slot.signer, slot.nonce);
        let (sealed, carried) = (raw(5), [payment.clone()]);
        let stored = ledger.store_raw(&key, &sealed, &carried, &lease, at(3));
        stored.await.unwrap();
        let end = Conclusion::Settled(settled(5));
        ledger.conclude(&payment, end, at(4)).await.unwrap();
        let claim = ledger.claim(grant(2), at(5)).await.unwrap();
        let tollway_ledger::Claim::New(claimed) = claim else {
            panic!("it is new");
        };
        let id = &claimed.id;
        ledger.served(id, None, None, at(6)).await.unwrap();
        ledger.settling(id, at(7)).await.unwrap();
        let evidence = Evidence::FacilitatorSaid {
            facilitator: "https://settles.example".to_owned(),
            transaction: hash(6),
        };
        let receipt = serde_json::json!({ "transaction": hash(6) });
        let released = GrantStore::release(&ledger, id, &evidence, &receipt, at(8));
        let _released = released.await.unwrap();
        let reserved = ledger.reserve(spend(1), &[limit(100)], at(9)).await;
        let tollway_ledger::Reservation::Reserved(spent) = reserved.unwrap() else {
            panic!("there is room");
        };
        ledger.signed(&spent, signed(7), at(10)).await.unwrap();
        ledger.presented(&spent, at(11)).await.unwrap();
        let transaction = hash(7);
        let paid = ledger.paid(&spent, atomic(10), Some(&transaction), at(12));
        paid.await.unwrap();
        ledger.close().await;
        book
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    /// What somebody does who can write to the file.
    fn tampered(self, statements: &[&str]) -> Self {
        let conn = without_guards(&self.path);
        for statement in statements {
            let done = conn.execute(statement, []).unwrap();
            assert!(done > 0, "{statement} changed nothing");
        }
        self
    }

    async fn chain(&self) -> ChainReport {
        self.chain_with(&[]).await
    }

    async fn chain_with(&self, heads: &[String]) -> ChainReport {
        let ledger = Store::open_to_read(&self.url()).await.unwrap();
        ledger.audit_chain(heads, &|_| {}).await.unwrap()
    }

    async fn rows(&self) -> RowReport {
        let ledger = Store::open_to_read(&self.url()).await.unwrap();
        ledger.audit_rows(&|_| {}).await.unwrap()
    }
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

/// What each fault is, and at which event.
fn told(report: &ChainReport) -> Vec<(&'static str, u64)> {
    let faults = report.faults.iter();
    let short = |fault: &Fault| match fault {
        Fault::EventChanged { seq, .. } => ("changed", *seq),
        Fault::EventsMissing { seq, .. } => ("missing", *seq),
        Fault::CheckpointChanged { seq, .. } => ("checkpoint", *seq),
        Fault::CheckpointsMissing { made, found, .. } => ("checkpoints", made - found),
        Fault::LooseBeginning { .. } => ("loose", 0),
        Fault::HeadMissing { .. } => ("head", 0),
        other => panic!("{other:?}"),
    };
    faults.map(short).collect()
}

/// What is found after an attacker was at the file.
async fn found_after(statements: &[&str]) -> Vec<(&'static str, u64)> {
    let book = Book::of_three_writers().await.tampered(statements);
    told(&book.chain().await)
}

#[tokio::test]
async fn an_untouched_history_is_whole() {
    let book = Book::of_three_writers().await;
    let chain = book.chain().await;
    assert_eq!(chain.faults, []);
    assert_eq!((chain.writers, chain.events, chain.checkpoints), (3, 9, 3));
    let rows = book.rows().await;
    assert_eq!((rows.faults, rows.rows), (Vec::new(), 9));
    let bought = Book::with_a_purchase().await.rows().await;
    assert_eq!((bought.faults, bought.rows), (Vec::new(), 3));
}

#[tokio::test]
async fn a_changed_event_is_found() {
    let change = "UPDATE events SET data = replace(data, '10000', '1') WHERE id = 5";
    assert_eq!(found_after(&[change]).await, [("changed", 2)]);
}

#[tokio::test]
async fn a_removed_event_is_found() {
    let remove = "DELETE FROM events WHERE id = 5";
    assert_eq!(found_after(&[remove]).await, [("missing", 2)]);
}

#[tokio::test]
async fn events_that_change_places_are_found() {
    let swap = [
        "UPDATE events SET seq = 99 WHERE id = 4",
        "UPDATE events SET seq = 1 WHERE id = 5",
        "UPDATE events SET seq = 2 WHERE id = 4",
    ];
    let found = found_after(&swap).await;
    assert_eq!(found[..2], [("changed", 1), ("changed", 2)]);
}

#[tokio::test]
async fn an_event_with_a_recomputed_hash_breaks_the_next() {
    // Whoever changes an event and its hash must change every later one.
    let change = "UPDATE events SET hash = '00' WHERE id = 5";
    assert_eq!(
        found_after(&[change]).await,
        [("changed", 2), ("changed", 3)]
    );
}

#[tokio::test]
async fn a_cut_off_end_is_found() {
    let cut = "DELETE FROM events WHERE id = 9";
    assert_eq!(found_after(&[cut]).await, [("missing", 3)]);
}

#[tokio::test]
async fn a_removed_checkpoint_is_found() {
    let remove = "DELETE FROM checkpoints WHERE writer = (SELECT writer FROM events WHERE id = 9)";
    assert_eq!(found_after(&[remove]).await, [("checkpoints", 1)]);
    // Also with the events that it covered.
    let both = [remove, "DELETE FROM events WHERE id = 9"];
    assert_eq!(found_after(&both).await, [("checkpoints", 1)]);
}

#[tokio::test]
async fn a_changed_checkpoint_is_found() {
    let change = "UPDATE checkpoints SET hash = '00'
        WHERE writer = (SELECT writer FROM events WHERE id = 9)";
    assert_eq!(found_after(&[change]).await, [("checkpoint", 3)]);
}

#[tokio::test]
async fn a_removed_writer_is_found() {
    let removed = [
        "DELETE FROM events WHERE id IN (4, 5, 6)",
        "DELETE FROM checkpoints WHERE writer NOT IN (SELECT writer FROM events)",
        "DELETE FROM writers WHERE writer NOT IN (SELECT writer FROM events)",
    ];
    assert_eq!(found_after(&removed).await, [("loose", 0)]);
}

/// Nothing inside a file shows that its end was rolled back in full; a hash that
/// somebody keeps elsewhere does.
#[tokio::test]
async fn a_noted_head_shows_a_history_that_was_rolled_back() {
    let book = Book::of_three_writers().await;
    let head = book.chain().await.head.unwrap().hash;
    let heads = [head];
    assert_eq!(book.chain_with(&heads).await.faults, []);
    let book = book.tampered(&[
        "DELETE FROM events WHERE id IN (7, 8, 9)",
        "DELETE FROM checkpoints WHERE writer NOT IN (SELECT writer FROM events)",
        "DELETE FROM writers WHERE writer NOT IN (SELECT writer FROM events)",
    ]);
    assert_eq!(told(&book.chain().await), []);
    assert_eq!(told(&book.chain_with(&heads).await), [("head", 0)]);
}

/// The columns in which records were found to differ.
async fn columns_after(statement: &str) -> Vec<String> {
    let book = Book::with_a_purchase().await.tampered(&[statement]);
    assert_eq!(book.chain().await.faults, [], "the history is untouched");
    let faults = book.rows().await.faults.into_iter();
    faults
        .map(|fault| match fault {
            Fault::RowChanged { column, .. } => column.to_owned(),
            Fault::RowMissing { .. } => "(missing)".to_owned(),
            Fault::RowWithoutEvents { .. } => "(forged)".to_owned(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn a_changed_row_is_found() {
    for (statement, column) in [
        ("UPDATE payments SET amount = '1'", "amount"),
        ("UPDATE payments SET to_account = '0x01'", "to_account"),
        ("UPDATE payments SET state = 'refused'", "state"),
        (
            "UPDATE payments SET transaction_id = '0x02'",
            "transaction_id",
        ),
        (
            "UPDATE payments SET settled = replace(settled, '10000', '9')",
            "settled",
        ),
        ("UPDATE payments SET settled = NULL", "settled"),
        ("UPDATE grants SET amount = '1'", "amount"),
        ("UPDATE grants SET route = 'GET /free'", "route"),
        ("UPDATE grants SET evidence = NULL", "evidence"),
        ("UPDATE grants SET state = 'refused'", "state"),
        ("UPDATE spends SET paid = '9'", "paid"),
        ("UPDATE spends SET state = 'released'", "state"),
        ("UPDATE spends SET host = 'elsewhere.example'", "host"),
    ] {
        assert_eq!(columns_after(statement).await, [column], "{statement}");
    }
}

#[tokio::test]
async fn a_removed_row_is_found() {
    for statement in [
        "DELETE FROM payments",
        "DELETE FROM grants",
        "DELETE FROM spends",
    ] {
        assert_eq!(columns_after(statement).await, ["(missing)"], "{statement}");
    }
}

#[tokio::test]
async fn a_row_that_nobody_told_of_is_found() {
    let forged = "INSERT INTO spends (id, account, agent, request, url, host, payee, network,
            asset, amount, state, is_open, paid, reserved_at, updated_at)
        SELECT 'spd_forged', account, agent, request, url, host, payee, network, asset, amount,
            'paid', 0, amount, reserved_at, updated_at FROM spends";
    assert_eq!(columns_after(forged).await, ["(forged)"]);
    let released = "INSERT INTO grants (id, identity, network, scope, payer, nonce, asset,
            from_account, to_account, amount, deadline, route, method, url, body_digest,
            payload_digest, flow, owner, state, is_open, reclaimable, claimed_at, updated_at)
        SELECT 'grt_forged', x'00', network, scope, payer, nonce, asset, from_account, to_account,
            amount, deadline, route, method, url, body_digest, payload_digest, flow, owner,
            'released', 0, 0, claimed_at, updated_at FROM grants";
    assert_eq!(columns_after(released).await, ["(forged)"]);
}

#[tokio::test]
async fn who_only_reads_changes_nothing() {
    let book = Book::of_three_writers().await;
    let ledger = Store::open_to_read(&book.url()).await.unwrap();
    let refused = ledger.mark_final(&[], Timestamp::default()).await;
    assert!(refused.unwrap_err().to_string().contains("read only"));
    ledger.close().await;
    let missing = format!("{}.not", book.url());
    assert!(Store::open_to_read(&missing).await.is_err());
    assert!(!Path::new(&format!("{}.not", book.path.display())).exists());
}

#[tokio::test]
async fn events_cannot_be_changed_by_accident() {
    let book = Book::of_three_writers().await;
    let conn = Connection::open(&book.path).unwrap();
    for statement in ["DELETE FROM events", "UPDATE events SET kind = 'x'"] {
        let refused = conn.execute(statement, []);
        assert!(refused.unwrap_err().to_string().contains("append-only"));
    }
}
