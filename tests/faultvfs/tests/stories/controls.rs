//! The checks can fail: disks and settings that break the promises are caught.

use std::sync::atomic::Ordering;

use tollway_test_faultvfs::{Call, Database, Disk, Fault, Loss, Random, Replay};

use crate::power_loss::{Tried, broken_promises};
use crate::record::{database, dump, folder, record};
use crate::script::steps;

#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let recording = runtime.block_on(record(&steps(), Fault::SyncsLie));
    let tried = Tried::default();
    let broken = broken_promises(&recording, 10, &tried);
    let images = tried.images.load(Ordering::Relaxed);
    println!(
        "of {images} images of a lying disk {} break a promise",
        broken.len()
    );
    assert!(
        broken.len() as u64 > images / 4,
        "{} of {images}",
        broken.len()
    );
    let lost = broken.iter().any(|b| b.contains("lost"));
    assert!(lost, "{:?}", broken.first());
}

/// Commits of three rows each under these settings; counts the images, and
/// those that lost a commit, held a part of one, or could not be read.
fn plain_script(settings: &[&str]) -> (u64, u64, u64) {
    let folder = folder();
    let disk = Disk::mount(folder.path()).unwrap();
    let mut told = vec![];
    {
        let database = Database::open(&database(folder.path())).unwrap();
        for setting in settings {
            database.execute(setting).unwrap();
        }
        let make = "CREATE TABLE steps (step INTEGER, filling TEXT)";
        database.execute(make).unwrap();
        told.push(disk.calls());
        for step in 0..8 {
            database.execute("BEGIN IMMEDIATE").unwrap();
            for _ in 0..3 {
                let insert = format!("INSERT INTO steps VALUES ({step}, hex(zeroblob(1500)))");
                database.execute(&insert).unwrap();
            }
            database.execute("COMMIT").unwrap();
            told.push(disk.calls());
        }
    }
    judge(&disk.calls_after(0), &told)
}

fn judge(calls: &[Call], told: &[u64]) -> (u64, u64, u64) {
    let folder = folder();
    let mut replay = Replay::default();
    let (mut images, mut lost, mut partial) = (0, 0, 0);
    for (index, call) in calls.iter().enumerate() {
        let promises = matches!(call, Call::Sync { .. } | Call::Delete { .. });
        if !promises {
            replay.follow(call);
        }
        let known = told.partition_point(|calls| *calls <= index as u64) as u64;
        for (turn, loss) in Loss::ALL.into_iter().enumerate() {
            let seed = (index * 8 + turn) as u64;
            let image = replay.left_by(loss, &mut Random::new(seed));
            images += 1;
            match dump(folder.path(), &image) {
                Ok(found) => {
                    let rows = found.get("steps").map(|steps| steps.rows);
                    let rows = rows.map_or(0, |rows| rows + 3);
                    lost += u64::from(rows < known * 3);
                    partial += u64::from(rows % 3 != 0);
                }
                Err(_) => partial += 1,
            }
        }
        if promises {
            replay.follow(call);
        }
    }
    (images, lost, partial)
}

#[test]
fn settings_that_keep_no_promise_are_caught() {
    let wal = "PRAGMA journal_mode = WAL";
    let full = "PRAGMA synchronous = FULL";
    for (settings, loses, tears) in [
        ([wal, full], false, false),
        ([wal, "PRAGMA synchronous = NORMAL"], true, false),
        ([wal, "PRAGMA synchronous = OFF"], true, true),
        // There a commit lasts only if the folder is synced too.
        (["PRAGMA journal_mode = DELETE", full], true, false),
        (
            ["PRAGMA journal_mode = DELETE", "PRAGMA synchronous = EXTRA"],
            false,
            false,
        ),
        (
            ["PRAGMA journal_mode = DELETE", "PRAGMA synchronous = OFF"],
            true,
            true,
        ),
        (["PRAGMA journal_mode = OFF", full], false, true),
    ] {
        let (images, lost, partial) = plain_script(&settings);
        println!("{settings:?}: {images} images, {lost} lost a commit, {partial} hold a part");
        assert_eq!(lost > 0, loses, "{settings:?}: {lost} of {images}");
        assert_eq!(partial > 0, tears, "{settings:?}: {partial} of {images}");
    }
}
