//! A process that dies at any point leaves whole steps only, and all that it
//! had called durable.

use std::path::Path;

use tollway_ledger::SqliteLedger;

use crate::processes::{assert_intact, url, worker};
use crate::script;

/// Everything in the file that the script decides: names are random.
fn contents(path: &Path) -> Vec<String> {
    let conn = rusqlite::Connection::open(path).unwrap();
    let mut all = Vec::new();
    for question in [
        "SELECT kind || CASE WHEN data LIKE '%rep_%' THEN '' ELSE data END FROM events WHERE subject NOT LIKE 'slot:%' ORDER BY id",
        "SELECT state || attempts || COALESCE(slot_nonce, '') || COALESCE(handed_out_key, '') FROM payments ORDER BY seq",
        "SELECT nonce || '/' || raws || '/' || closed FROM slots ORDER BY nonce",
        "SELECT hash FROM slot_raws ORDER BY position",
        "SELECT COALESCE(json_array_length(payments), '') || '' FROM slots",
        "SELECT network || epoch || (replica IS NULL) FROM leases",
        "SELECT name || (alive_until = 0) FROM replicas",
        "SELECT is_watched || (replica IS NULL) FROM payments ORDER BY seq",
        "SELECT payer || fee || lost FROM gas ORDER BY payer",
        "SELECT state || reclaimable || COALESCE(receipt, '') FROM grants ORDER BY seq",
        "SELECT status || headers FROM answers",
        "SELECT state || COALESCE(identity, '') || COALESCE(paid, '') FROM spends ORDER BY seq",
        "SELECT kind || name || ' ' || paid || ' ' || held FROM purses ORDER BY id",
        "SELECT purse || ' ' || total FROM purse_marks ORDER BY purse, at",
    ] {
        let mut asked = conn.prepare(question).unwrap();
        let rows = asked.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let rows: Vec<_> = rows.map(Result::unwrap).collect();
        all.push(format!("{rows:?}"));
    }
    all
}

/// What the file holds before the first step and after each.
async fn contents_by_step() -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    let mut by_step = vec![contents(&path)];
    let remember = async || by_step.push(contents(&path));
    script::run(&ledger, remember).await.unwrap();
    by_step
}

/// Runs the script in a process that dies; returns how many steps it called durable.
fn durable_before_death(path: &Path, crash_at: &str) -> usize {
    let mut command = worker();
    command
        .args(["script", &url(path)])
        .env("CRASH_AT", crash_at);
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{crash_at} was not reached");
    String::from_utf8(output.stdout).unwrap().lines().count()
}

async fn assert_whole_steps(by_step: &[Vec<String>], crash_at: &str, committed: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let durable = durable_before_death(&path, crash_at);
    let ledger = SqliteLedger::open(&url(&path)).await.unwrap();
    let expected = &by_step[durable + usize::from(committed)];
    assert_eq!(
        &contents(&path),
        expected,
        "{crash_at} after {durable} steps"
    );
    assert_intact(&path);
    crate::settlements::accepted(&ledger, 99).await;
    crate::assert_sound(&ledger).await;
}

#[tokio::test]
async fn a_crash_around_any_commit_leaves_whole_steps() {
    let by_step = contents_by_step().await;
    for n in 1..by_step.len() {
        assert_whole_steps(&by_step, &format!("ledger::commit::before#{n}"), false).await;
        assert_whole_steps(&by_step, &format!("ledger::commit::after#{n}"), true).await;
    }
}

#[tokio::test]
async fn a_crash_within_any_step_leaves_no_part_of_it() {
    let by_step = contents_by_step().await;
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
        "note",
        "conclude",
        "conclude_all",
        "mark_final",
        "release_signer",
        "leave",
        "close_slot",
        "hand_out",
        "take_back",
        "reopen",
        "claim",
        "served",
        "settling",
        "remember_receipt",
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
            assert_whole_steps(&by_step, &crash_at, false).await;
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
