//! The file itself: who may read it, who may engine on it, what else it may be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tokio::task::JoinSet;
use tollway_ledger::{
    Acceptance, Claim, Conclusion, GrantStore, Ledger, LedgerError, SCHEMA_VERSION,
    SettlementStore, SqliteLedger, StoryStore,
};

use crate::settlements::accepted;
use tollway_test_records::{SIGNATURE, address, at, grant, leased, network, payment, raw, settled};

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

fn raw_connection(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(5)).unwrap();
    conn
}

fn texts(conn: &Connection, question: &str) -> Vec<String> {
    let mut asked = conn.prepare(question).unwrap();
    let rows = asked.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    (folder, path)
}

async fn refusal(url: &str) -> String {
    match Ledger::connect(url).await {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn everything_survives_being_opened_again() {
    let (_folder, path) = place();
    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    let record = accepted(&ledger, 1).await;
    ledger.close().await;
    assert!(!ledger.is_writable());
    let late = ledger.accept(payment(2), at(1)).await;
    assert!(matches!(late, Err(LedgerError::Fatal { .. })), "{late:?}");

    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    let found = ledger.payment(&record.id).await.unwrap();
    assert_eq!(found, Some(record));
    accepted(&ledger, 2).await;
    assert_eq!(ledger.verify_chain().await.unwrap(), None);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, path) = place();
    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    let _engine = ledger.lock_engine().unwrap();
    accepted(&ledger, 1).await;
    let mut files = 0;
    for entry in folder.path().read_dir().unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
        files += 1;
    }
    assert_eq!(files, 4, "database, WAL, shared memory, lock");
}

#[tokio::test]
async fn what_cannot_be_opened_says_what_to_do() {
    let (folder, path) = place();
    let missing = refusal(&url(&folder.path().join("no/ledger.db"))).await;
    assert!(missing.contains("does not exist; create it"), "{missing}");
    for bad in ["sqlite:", "sqlite:a?mode=ro", "file.db", "", "mysql:x"] {
        let said = refusal(bad).await;
        assert!(
            said.contains("write for example sqlite:tollway.db"),
            "{said}"
        );
    }
    std::fs::write(
        &path,
        "not a database at all, but long enough to look like one",
    )
    .unwrap();
    let damaged = refusal(&url(&path)).await;
    assert!(damaged.contains("restore it from a backup"), "{damaged}");
}

#[tokio::test]
async fn somebody_elses_database_is_left_alone() {
    let (_folder, path) = place();
    std::fs::write(&path, "").unwrap();
    let conn = raw_connection(&path);
    conn.execute("CREATE TABLE theirs (x)", []).unwrap();
    let said = refusal(&url(&path)).await;
    assert!(said.contains("but no ledger; name another file"), "{said}");
}

#[tokio::test]
async fn a_newer_ledger_is_refused() {
    let (_folder, path) = place();
    SqliteLedger::open(&url(&path)).await.unwrap().close().await;
    let conn = raw_connection(&path);
    let newer = "UPDATE meta SET value = value + 1 WHERE name = 'schema'";
    conn.execute(newer, []).unwrap();
    let said = refusal(&url(&path)).await;
    let expected = format!(
        "format {}, this one knows {SCHEMA_VERSION}",
        SCHEMA_VERSION + 1
    );
    assert!(said.contains(&expected), "{said}");
}

/// What the first version wrote, as its statements and their number say.
#[tokio::test]
async fn a_ledger_of_the_first_format_is_brought_up_to_date() {
    let (_folder, path) = place();
    let first = concat!(
        include_str!("../../migrations/0001_first.sql"),
        include_str!("../../migrations/0001_guards.sqlite.sql")
    );
    let digest = <sha2::Sha256 as sha2::Digest>::digest(first);
    let number = digest[..7]
        .iter()
        .fold(0_i64, |n, byte| n << 8 | i64::from(*byte));
    std::fs::write(&path, "").unwrap();
    let conn = raw_connection(&path);
    conn.execute_batch(first).unwrap();
    let format = format!("INSERT INTO meta VALUES ('schema', 1), ('schema_fingerprint', {number})");
    conn.execute_batch(&format).unwrap();
    drop(conn);
    for _ in 0..2 {
        let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
        let found = tollway_ledger::PassStore::latest_revocation(&ledger).await;
        assert_eq!(found.unwrap(), 0);
        ledger.close().await;
    }
}

/// Two builds in development may differ under one format number.
#[tokio::test]
async fn a_ledger_with_another_schema_of_the_same_format_is_refused() {
    for tamper in [
        "UPDATE meta SET value = value + 1 WHERE name = 'schema_fingerprint'",
        "DELETE FROM meta WHERE name = 'schema_fingerprint'",
    ] {
        let (_folder, path) = place();
        let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
        accepted(&ledger, 1).await;
        ledger.close().await;
        let conn = raw_connection(&path);
        assert_eq!(conn.execute(tamper, []).unwrap(), 1);
        let said = refusal(&url(&path)).await;
        assert!(
            said.contains("another build of Tollway") && said.ends_with("or name another file."),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_open_a_new_file_at_the_same_moment() {
    let (_folder, path) = place();
    let mut openings = JoinSet::new();
    for n in 0..8 {
        let url = url(&path);
        openings.spawn(async move {
            let ledger = SqliteLedger::open(&url).await.unwrap();
            accepted(&ledger, n).await;
        });
    }
    openings.join_all().await;
    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    assert_eq!(ledger.open_payments().await.unwrap().len(), 8);
    assert_eq!(ledger.verify_chain().await.unwrap(), None);
}

#[tokio::test]
async fn one_engine_settles_from_one_ledger() {
    let (_folder, path) = place();
    for url in [url(&path), "sqlite::memory:".to_owned()] {
        let ledger = SqliteLedger::open(&url).await.unwrap();
        let engine = ledger.lock_engine().unwrap();
        let second = ledger.clone().lock_engine().unwrap_err().to_string();
        assert!(
            second.contains("stop that process, or give this one"),
            "{second}"
        );
        drop(engine);
        ledger.lock_engine().unwrap();
    }
}

#[tokio::test]
async fn waiting_steps_share_one_commit() {
    let (_folder, path) = place();
    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    let mut steps = JoinSet::new();
    for n in 0..500 {
        let ledger = ledger.clone();
        steps.spawn(async move { accepted(&ledger, n).await });
    }
    steps.join_all().await;
    let stats = ledger.stats();
    assert_eq!(stats.steps, 500);
    assert!(
        stats.commits <= 25,
        "{} commits for 500 steps",
        stats.commits
    );
}

#[tokio::test]
async fn a_failed_step_takes_no_other_of_its_commit_along() {
    let (_folder, path) = place();
    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    let (one, two) = (accepted(&ledger, 1).await.id, accepted(&ledger, 2).await.id);
    let slot = |nonce| (network(), address(9), nonce);
    let lease = leased(&ledger, 9).await.unwrap();
    for nonce in 0..2 {
        let allocated = ledger.allocate_slot(&lease, nonce, at(2)).await;
        assert_eq!(allocated.unwrap().nonce, nonce);
        if nonce == 0 {
            let ids = std::slice::from_ref(&two);
            ledger
                .store_raw(&slot(0), &raw(1), ids, &lease, at(3))
                .await
                .unwrap();
        }
    }
    let commits = ledger.stats().commits;
    // The first payment is written before the second stands in the way.
    let both = [one.clone(), two];
    let slot = slot(1);
    let (good, bad) = (
        |n| ledger.accept(payment(n), at(4)),
        |n| {
            let (ledger, slot, both, lease) = (&ledger, &slot, &both, &lease);
            async move { ledger.store_raw(slot, &raw(n), both, lease, at(4)).await }
        },
    );
    // The first step waits for the file, and the others behind it for the next commit.
    let holder = raw_connection(&path);
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let wait = |millis| tokio::time::sleep(Duration::from_millis(millis));
    let others = async {
        wait(50).await;
        tokio::join!(good(10), bad(2), good(11), bad(3), good(12))
    };
    let freed = async {
        wait(200).await;
        holder.execute_batch("ROLLBACK").unwrap();
    };
    let (first, others, ()) = tokio::join!(good(9), others, freed);
    let (a, failed, b, failed_too, c) = others;
    assert!(matches!(first, Ok(Acceptance::New(_))), "{first:?}");
    for good in [a, b, c] {
        assert!(matches!(good, Ok(Acceptance::New(_))), "{good:?}");
    }
    for failed in [failed, failed_too] {
        assert!(
            matches!(failed, Err(LedgerError::Conflict { .. })),
            "{failed:?}"
        );
    }
    assert_eq!(
        ledger.stats().commits,
        commits + 2,
        "they shared one commit"
    );
    let payment = ledger.payment(&one).await.unwrap().unwrap();
    assert_eq!((payment.attempts, payment.transaction), (0, None));
    assert_eq!(ledger.story(one.as_str()).await.unwrap().len(), 1);
    assert_eq!(ledger.slot(&slot).await.unwrap().unwrap().raws, []);
    assert_eq!(ledger.open_payments().await.unwrap().len(), 6);
    assert_eq!(ledger.verify_chain().await.unwrap(), None);
}

#[tokio::test]
async fn no_event_holds_a_signature() {
    let (_folder, path) = place();
    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    let id = accepted(&ledger, 1).await.id;
    let done = Conclusion::Settled(settled(1));
    ledger.conclude(&id, done, at(2)).await.unwrap();
    ledger.take_back(&id, SIGNATURE, at(3)).await.unwrap();
    let conn = raw_connection(&path);
    let leaks = "SELECT COUNT(*) FROM events WHERE data LIKE '%a1b2c3d4e5f6%'";
    let leaks = conn.query_row(leaks, [], |row| row.get::<_, i64>(0));
    assert_eq!(leaks.unwrap(), 0);
}

/// However fast somebody makes them, only so many are kept.
#[tokio::test]
async fn refused_grants_do_not_fill_the_disk() {
    let (_folder, path) = place();
    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    let conn = raw_connection(&path);
    let Claim::New(first) = ledger.claim(grant(1), at(1)).await.unwrap() else {
        panic!("it was claimed before");
    };
    let refusal = ledger.refuse(&first.id, "invalid", "Sign it.", true, at(2));
    refusal.await.unwrap();
    let many = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 11000)
         INSERT INTO grants (id, identity, network, scope, payer, nonce, asset, from_account,
             to_account, amount, deadline, route, method, url, body_digest, payload_digest,
             payment_identifier, flow, owner, state, is_open, reclaimable, claimed_at, updated_at)
         SELECT 'grt_' || n, identity, network, scope, payer, nonce, asset, from_account,
             to_account, amount, deadline, route, method, url, body_digest, payload_digest,
             payment_identifier, flow, owner, state, is_open, reclaimable, claimed_at, 10 + n
         FROM grants, n";
    conn.execute(many, []).unwrap();
    assert_eq!(ledger.forget_refused(at(0)).await.unwrap(), 1_001);
    assert_eq!(ledger.forget_refused(at(0)).await.unwrap(), 0);
    assert_eq!(
        ledger.forget_refused(at(u64::MAX >> 1)).await.unwrap(),
        10_000
    );
}

/// The schema is a public document: others read the file. A change needs a new
/// migration, and then this file again.
#[tokio::test]
async fn the_schema_is_the_golden_one() {
    let (_folder, path) = place();
    SqliteLedger::open(&url(&path)).await.unwrap().close().await;
    let conn = raw_connection(&path);
    let question = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name";
    let statements = texts(&conn, question);
    let found = statements.join(";\n\n") + ";\n";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/schema.sql");
    if std::env::var_os("TOLLWAY_WRITE_GOLDEN").is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(golden).unwrap());
}

/// A question that every payment asks must not read the whole table.
#[tokio::test]
async fn no_everyday_question_scans_a_table() {
    let (_folder, path) = place();
    SqliteLedger::open(&url(&path)).await.unwrap().close().await;
    let conn = raw_connection(&path);
    for question in [
        "SELECT * FROM payments WHERE identity = $1",
        "SELECT * FROM grants g WHERE g.from_account = $1 AND g.claimed_at >= $2 AND g.state = 'released' AND g.route = $3 AND g.method = $4 ORDER BY g.claimed_at DESC, g.seq DESC LIMIT $5",
        "SELECT nonce FROM sign_ins WHERE kept_until < $1 ORDER BY kept_until LIMIT $2",
        "SELECT * FROM spends WHERE agent = $1 AND url = $2 AND state = 'paid' ORDER BY seq DESC LIMIT 1",
        "SELECT * FROM payments WHERE is_open = 1",
        "SELECT * FROM payments WHERE is_open = 1 AND replica = $1",
        "UPDATE payments SET replica = NULL WHERE is_open = 1 AND slot_network = $1 AND slot_signer = $2 AND replica = $3",
        "SELECT * FROM payments WHERE accepted_at < $1 ORDER BY accepted_at DESC, seq DESC LIMIT $2",
        "SELECT * FROM payments WHERE is_open = 1 AND state = 'accepted' AND +accepted_at < $1 ORDER BY +accepted_at DESC, seq DESC LIMIT $2",
        "SELECT * FROM payments WHERE state IN ('refused', 'expired') AND state = 'refused' AND accepted_at < $1 ORDER BY accepted_at DESC, seq DESC LIMIT $2",
        "SELECT * FROM payments WHERE is_watched = 1 AND network = $1 AND id > $2 ORDER BY id LIMIT $3",
        "SELECT identity, amount FROM payments WHERE is_open = 1 AND from_account = $1 AND asset = $2 AND network = $3",
        "SELECT identity, amount FROM grants WHERE is_open = 1 AND from_account = $1 AND asset = $2 AND network = $3",
        "SELECT fee, lost FROM gas WHERE network = $1 AND payer = $2 AND day >= $3",
        "SELECT * FROM slots WHERE network = $1 AND signer = $2 AND nonce >= $3 AND closed = 0 AND raws = 0 ORDER BY nonce LIMIT 1",
        "SELECT * FROM slots WHERE closed = 0 ORDER BY network, signer, nonce",
        "SELECT * FROM grants g WHERE g.identity = $1 ORDER BY g.reclaimable, g.seq DESC LIMIT 1",
        "SELECT * FROM grants g WHERE g.payment_identifier = $1 ORDER BY g.reclaimable, g.seq DESC LIMIT 1",
        "SELECT * FROM grants g WHERE g.is_open = 1",
        "SELECT seq FROM grants WHERE reclaimable = 1 AND updated_at < $1 ORDER BY updated_at LIMIT $2",
        "SELECT * FROM spends WHERE account = $1 AND request = $2 AND is_open = 1 AND state <> 'reserved' ORDER BY seq LIMIT 1",
        "SELECT * FROM spends WHERE account = $1 AND is_open = 1 ORDER BY seq",
        "SELECT id FROM purses WHERE account = $1 AND network = $2 AND asset = $3 AND kind = $4 AND name = $5",
        "SELECT total FROM purse_marks WHERE purse = $1 AND at <= $2 ORDER BY at DESC, seq DESC LIMIT 1",
        "SELECT * FROM events WHERE subject = $1 ORDER BY id",
    ] {
        let mut explained = conn
            .prepare(&format!("EXPLAIN QUERY PLAN {question}"))
            .unwrap();
        let mut rows = explained.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get("detail").unwrap();
            let scans_all = step.starts_with("SCAN") && !step.contains("USING INDEX");
            assert!(!scans_all, "{question}: {step}");
        }
    }
}
