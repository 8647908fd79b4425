//! A write fails once, at any call: the ledger stops, and a new process finds
//! whole steps.

use tollway_ledger::LedgerError;
use tollway_test_faultvfs::{Disk, Fault, Loss, Random};

use crate::life::Life;
use crate::record::{folder, is_thorough, open};

#[tokio::test]
async fn a_write_that_fails_stops_the_ledger_and_leaves_whole_steps() {
    let mut life = Life::begin().await;
    let mut random = Random::new(3);
    let mut failures = 0;
    for number in 0..life.steps.len() {
        // Every third is enough where every one is tried for a full disk.
        let stride = if is_thorough() { 1 } else { 3 };
        for write in (1 + number as u64 % stride..).step_by(usize::try_from(stride).unwrap()) {
            life.disk
                .set_fault(Fault::WriteFailsAt(life.disk.calls() + write));
            let outcome = life.attempt(number).await;
            if !life.disk.has_struck() {
                outcome.unwrap();
                break;
            }
            failures += 1;
            if outcome.is_ok() {
                // It was SQLite's own tidying behind a commit that stands.
                life.disk.set_fault(Fault::None);
                life.assert_would_stand_after(number + 1, &mut random);
                break;
            }
            let is_fatal = matches!(outcome, Err(LedgerError::Fatal { .. }));
            assert!(is_fatal, "{outcome:?}");
            life.assert_stopped().await;
            life.restart().await;
            life.assert_stands_after(number);
        }
        life.disk.set_fault(Fault::None);
        life.assert_stands_after(number + 1);
    }
    println!(
        "a write failed at {failures} calls of {} steps",
        life.steps.len()
    );
    assert!(failures > 900, "{failures}");
    life.end().await;
}

#[tokio::test]
async fn an_opening_that_fails_at_any_call_can_be_tried_again() {
    for (what, fault) in [
        ("write", Fault::WriteFailsAt as fn(u64) -> Fault),
        ("sync", |sync| Fault::SyncFailsAfter(sync - 1)),
        ("power", Fault::PowerLossAt),
    ] {
        let mut failures = 0;
        for call in 1.. {
            let folder = folder();
            let disk = Disk::mount(folder.path()).unwrap();
            disk.set_fault(fault(call));
            let opened = open(folder.path()).await;
            if !disk.has_struck() {
                opened.unwrap().close().await;
                break;
            }
            disk.restart(folder.path()).unwrap();
            if let Ok(ledger) = opened {
                ledger.close().await;
            }
            let ledger = open(folder.path()).await.unwrap();
            ledger.close().await;
            failures += 1;
        }
        println!("{what} failed at {failures} calls of the first opening");
        assert!(failures > 0, "{what}");
    }
}

/// A process died and left a WAL; its successor's opening is cut short, too.
#[tokio::test]
async fn an_opening_after_a_death_that_fails_at_any_call_loses_nothing_told() {
    const TAKEN: usize = 12;
    let mut life = Life::begin().await;
    for number in 0..TAKEN {
        life.attempt(number).await.unwrap();
    }
    let left = life.left_by(Loss::Nothing, &mut Random::new(0));
    for (what, fault) in [
        (
            "write",
            (|calls, n| Fault::WriteFailsAt(calls + n)) as fn(u64, u64) -> Fault,
        ),
        ("sync", |_, n| Fault::SyncFailsAfter(n - 1)),
        ("room", |calls, n| Fault::FullFrom(calls + n)),
        ("power", |calls, n| Fault::PowerLossAt(calls + n)),
    ] {
        let mut failures = 0;
        for n in 1.. {
            life.put(&left);
            life.disk.set_fault(fault(life.disk.calls(), n));
            let opened = open(life.path()).await;
            let has_struck = life.disk.has_struck();
            let mut random = Random::new(n);
            let loss = Loss::ALL[random.below(Loss::ALL.len())];
            if what == "power" {
                life.lose_power(loss, &mut random).await;
            } else {
                life.restart().await;
            }
            life.assert_stands_after(TAKEN);
            if let Ok(ledger) = opened {
                ledger.close().await;
            }
            if !has_struck {
                break;
            }
            failures += 1;
        }
        println!("{what} failed at {failures} calls of an opening after a death");
        assert!(failures > 0, "{what}");
    }
}
