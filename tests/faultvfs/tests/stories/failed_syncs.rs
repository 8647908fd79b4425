//! A sync fails: nothing after it can be trusted, so the intake stops; what was
//! told before is there, and what a new process tells stays there too.

use tollway_ledger::LedgerError;
use tollway_test_faultvfs::{Fault, Random};

use crate::life::Life;

#[tokio::test]
async fn a_failed_sync_stops_the_intake_and_loses_nothing_told() {
    let mut life = Life::begin().await;
    let mut random = Random::new(2);
    let (mut images, mut landed) = (0, 0);
    for number in 0..life.steps.len() {
        life.disk.set_fault(Fault::SyncFailsAfter(0));
        let outcome = life.attempt(number).await;
        assert!(life.disk.has_struck(), "step {number} synced nothing");
        let is_fatal = matches!(outcome, Err(LedgerError::Fatal { .. }));
        assert!(is_fatal, "{outcome:?}");
        life.assert_stopped().await;
        images += life.assert_would_stand_after(number, &mut random);
        // The file system still shows what never reached the disk. Whatever the
        // new process makes of it, what it tells has to last.
        life.restart().await;
        landed += u64::from(life.go_on(number, false).await);
        images += life.assert_would_stand_after(number + 1, &mut random);
    }
    println!(
        "the sync failed in {} steps, {landed} were found done by the next process; {images} images",
        life.deaths
    );
    life.end().await;
}

/// SQLite moves what a commit has made durable from the WAL to the database,
/// behind that commit. A sync that fails there endangers nothing.
#[tokio::test]
async fn a_sync_that_fails_behind_a_commit_loses_nothing_told() {
    let mut life = Life::begin().await;
    let mut random = Random::new(2);
    let mut failures = 0;
    for number in 0..life.steps.len() {
        life.disk.set_fault(Fault::SyncFailsAfter(1 + failures));
        life.attempt(number).await.unwrap();
        if life.disk.has_struck() {
            life.assert_would_stand_after(number + 1, &mut random);
            failures += 1;
        }
    }
    println!("{failures} syncs failed behind a commit");
    assert!(failures > 0);
    life.end().await;
}
