//! A process that dies at any point leaves whole steps only, and all that it
//! had called durable.

use std::path::PathBuf;

use sqlx::Row as _;
use tollway_ledger::Store;
use tollway_test_postgres::Postgres;

use crate::processes::{assert_intact, url, worker};
use crate::script;

/// Everything in the ledger that the script decides: names are random.
const QUESTIONS: [&str; 13] = [
    "SELECT kind || CASE WHEN data LIKE '%rep_%' THEN '' ELSE data END FROM events WHERE subject NOT LIKE 'slot:%' ORDER BY id",
    "SELECT state || CAST(attempts AS TEXT) || COALESCE(CAST(slot_nonce AS TEXT), '') || COALESCE(handed_out_key, '') FROM payments ORDER BY seq",
    "SELECT CAST(is_watched AS TEXT) || CASE WHEN replica IS NULL THEN 'none' ELSE '' END FROM payments ORDER BY seq",
    "SELECT CAST(nonce AS TEXT) || '/' || CAST(raws AS TEXT) || '/' || CAST(closed AS TEXT) || CASE WHEN payments = '[]' THEN '' ELSE 'carries' END FROM slots ORDER BY nonce",
    "SELECT hash FROM slot_raws ORDER BY position",
    "SELECT network || CAST(epoch AS TEXT) || CASE WHEN replica IS NULL THEN 'none' ELSE '' END FROM leases",
    "SELECT name || CASE WHEN alive_until = 0 THEN 'dead' ELSE '' END FROM replicas",
    "SELECT payer || fee || lost FROM gas ORDER BY payer",
    "SELECT state || CAST(reclaimable AS TEXT) || COALESCE(receipt, '') FROM grants ORDER BY seq",
    "SELECT CAST(status AS TEXT) || headers FROM answers",
    "SELECT state || COALESCE(identity, '') || COALESCE(paid, '') FROM spends ORDER BY seq",
    "SELECT kind || name || ' ' || paid || ' ' || held FROM purses ORDER BY id",
    "SELECT CAST(purse AS TEXT) || ' ' || total FROM purse_marks ORDER BY purse, at",
];

/// Where a ledger lies that somebody crashes on.
enum Place<'a> {
    File(
        #[expect(dead_code, reason = "held until the end")] tempfile::TempDir,
        PathBuf,
    ),
    Database(&'a Postgres, String),
}

impl Place<'_> {
    fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        Self::File(folder, path)
    }

    fn url(&self) -> String {
        match self {
            Self::File(_, path) => url(path),
            Self::Database(_, url) => url.clone(),
        }
    }

    async fn contents(&self) -> Vec<String> {
        let mut all = Vec::new();
        match self {
            Self::File(_, path) => {
                let conn = rusqlite::Connection::open(path).unwrap();
                for question in QUESTIONS {
                    let mut asked = conn.prepare(question).unwrap();
                    let rows = asked.query_map([], |row| row.get::<_, String>(0)).unwrap();
                    all.push(format!(
                        "{:?}",
                        rows.map(Result::unwrap).collect::<Vec<_>>()
                    ));
                }
            }
            Self::Database(server, url) => {
                let (database, _) = url.rsplit_once('?').unwrap();
                let name = database.rsplit('/').next().unwrap();
                let mut session = server.session(name).await;
                for question in QUESTIONS {
                    let rows = sqlx::query(question).fetch_all(&mut session).await.unwrap();
                    let rows = rows.iter().map(|row| row.get::<String, _>(0));
                    all.push(format!("{:?}", rows.collect::<Vec<_>>()));
                }
            }
        }
        all
    }
}

/// What the ledger holds before the first step and after each.
async fn contents_by_step(place: Place<'_>) -> Vec<Vec<String>> {
    let ledger = Store::open(&place.url()).await.unwrap();
    let mut by_step = vec![place.contents().await];
    let remember = async || by_step.push(place.contents().await);
    script::run(&ledger, remember).await.unwrap();
    by_step
}

/// Runs the script in a process that dies; returns how many steps it called durable.
fn durable_before_death(url: &str, crash_at: &str) -> usize {
    let mut command = worker();
    command.args(["script", url]).env("CRASH_AT", crash_at);
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{crash_at} was not reached");
    String::from_utf8(output.stdout).unwrap().lines().count()
}

async fn assert_whole_steps(
    place: Place<'_>,
    by_step: &[Vec<String>],
    crash_at: &str,
    committed: bool,
) {
    let durable = durable_before_death(&place.url(), crash_at);
    let ledger = Store::open(&place.url()).await.unwrap();
    let expected = &by_step[durable + usize::from(committed)];
    let found = place.contents().await;
    assert_eq!(&found, expected, "{crash_at} after {durable} steps");
    if let Place::File(_, path) = &place {
        assert_intact(path);
    }
    crate::settlements::accepted(&ledger, 99).await;
    crate::assert_sound(&ledger).await;
    ledger.close().await;
}

/// The database is told nothing of the death but that the connection ended.
#[tokio::test]
async fn a_crash_around_a_commit_to_a_database_leaves_whole_steps() {
    let server = Postgres::start();
    let fresh = async || Place::Database(&server, server.database().await);
    let by_step = contents_by_step(fresh().await).await;
    for n in (1..by_step.len()).step_by(4) {
        let before = format!("ledger::commit::before#{n}");
        assert_whole_steps(fresh().await, &by_step, &before, false).await;
        let after = format!("ledger::commit::after#{n}");
        assert_whole_steps(fresh().await, &by_step, &after, true).await;
    }
}

#[tokio::test]
async fn a_crash_around_any_commit_leaves_whole_steps() {
    let by_step = contents_by_step(Place::file()).await;
    for n in 1..by_step.len() {
        let before = format!("ledger::commit::before#{n}");
        assert_whole_steps(Place::file(), &by_step, &before, false).await;
        let after = format!("ledger::commit::after#{n}");
        assert_whole_steps(Place::file(), &by_step, &after, true).await;
    }
}

#[tokio::test]
async fn a_crash_within_any_step_leaves_no_part_of_it() {
    let by_step = contents_by_step(Place::file()).await;
    for step in [
        "join",
        "beat",
        "lease_signer",
        "accept",
        "adopt",
        "give_up",
        "allocate_slot",
        "store_raw",
        "reopen_slot",
        "conclude_all",
        "mark_final",
        "leave",
        "close_slot",
        "hand_out",
        "take_back",
        "reopen",
        "claim",
        "served",
        "settling",
        "remember_receipt",
        "settled_first",
        "release",
        "refuse",
        "reserve",
        "signed",
        "presented",
        "unclear",
        "paid",
        "release_spend",
    ] {
        for place in ["before_write", "after_write"] {
            let crash_at = format!("saga::{step}::{place}#1");
            assert_whole_steps(Place::file(), &by_step, &crash_at, false).await;
        }
    }
}

#[test]
fn a_failed_sync_ends_all_writing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = worker();
    command.args(["script", &url(&folder.path().join("ledger.db"))]);
    command.env("FAILPOINTS", "ledger::commit::before=3*off->1*return->off");
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let said = "The disk under the ledger failed; check it, then start again.";
    let expected = [
        "durable",
        "durable",
        "durable",
        &format!("failed: {said}"),
        "healthy: false",
        &format!("again: {said}"),
        "readable: true",
    ];
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
}
