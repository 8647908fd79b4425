//! The disk is full at any write: the step fails, leaves nothing, and works
//! again once there is room.

use tollway_ledger::LedgerError;
use tollway_test_faultvfs::{Disk, Fault};

use crate::life::Life;
use crate::record::{folder, open};

#[tokio::test]
async fn a_full_disk_fails_the_step_and_no_other() {
    let mut life = Life::begin().await;
    let mut refusals = 0;
    for number in 0..life.steps.len() {
        for write in 1.. {
            life.disk
                .set_fault(Fault::FullFrom(life.disk.calls() + write));
            let outcome = life.attempt(number).await;
            let was_full = life.disk.has_struck();
            let Err(error) = outcome else {
                // What a full disk stopped was SQLite's own tidying, if anything.
                life.disk.set_fault(Fault::None);
                break;
            };
            assert!(was_full, "step {number} failed by itself: {error}");
            assert!(
                matches!(error, LedgerError::Unavailable { .. }),
                "{error:?}"
            );
            assert!(!life.ledger.health().writable);
            if write == 1 {
                // It stays full, and stays harmless.
                life.attempt(number).await.unwrap_err();
            }
            life.disk.set_fault(Fault::None);
            life.assert_stands_after(number);
            refusals += 1;
        }
        assert!(life.ledger.health().writable);
        life.assert_stands_after(number + 1);
    }
    println!(
        "the disk was full at {refusals} writes of {} steps",
        life.steps.len()
    );
    assert!(refusals > 1_500, "{refusals}");
    assert_eq!(life.deaths, 0);
    life.end().await;
}

#[tokio::test]
async fn a_ledger_that_had_no_room_to_be_made_is_made_later() {
    let mut refusals = 0;
    for write in 1.. {
        let folder = folder();
        let disk = Disk::mount(folder.path()).unwrap();
        disk.set_fault(Fault::FullFrom(write));
        let refused = open(folder.path()).await.err();
        disk.set_fault(Fault::None);
        let ledger = open(folder.path()).await.unwrap();
        ledger.close().await;
        match refused {
            Some(error) => assert!(error.is_storage(), "{error:?}"),
            None => break,
        }
        refusals += 1;
    }
    println!("the disk was full at {refusals} calls of the first opening");
    assert!(refusals > 20, "{refusals}");
}
