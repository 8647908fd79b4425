//! The script on a disk without faults: every call it makes, and what the
//! ledger holds after every step.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tollway_ledger::{LedgerError, SqliteLedger};
use tollway_test_faultvfs::{Call, Database, Disk, Dump, Fault, Image, Loss, Random, Replay, read};

use crate::script::{Memory, Step};

/// The database's name in its folder.
const NAME: &str = "ledger.db";
/// Steps before which the ledger is closed and opened again: late, so that the
/// WAL grows first until SQLite writes it back by itself.
const REOPENED_BEFORE: [usize; 2] = [150, 175];

/// Whether to try more than a test run has time for (`TOLLWAY_ALL_FAULTS=1`).
pub fn is_thorough() -> bool {
    std::env::var_os("TOLLWAY_ALL_FAULTS").is_some()
}

/// A folder in memory where there is one: the real disk is not what is tested.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    folder.unwrap()
}

pub fn database(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

pub async fn open(folder: &Path) -> Result<SqliteLedger, LedgerError> {
    SqliteLedger::open(&format!("sqlite:{}", database(folder).display())).await
}

/// All that an image's database holds, if it is intact. `folder` is one of the
/// operating system, and holds the image afterwards.
pub fn dump(folder: &Path, image: &Image) -> Result<Dump, String> {
    image.write_to(folder).unwrap();
    read(&database(folder))
}

/// A moment at which the caller was told that something is done.
#[derive(Clone, Debug)]
pub struct Told {
    /// How many calls the disk had seen.
    pub calls: usize,
    /// What was done.
    pub what: String,
    /// How many of the script's steps were done.
    pub steps: usize,
    /// What the caller knew then.
    pub memory: Memory,
}

/// The script on a disk, and what came of it.
pub struct Recording {
    pub calls: Vec<Call>,
    pub told: Vec<Told>,
    /// What the ledger holds before anything was told, and after each.
    pub states: Vec<Dump>,
    /// How many rows it has after each that was told.
    pub rows: Vec<Vec<u64>>,
    /// What it held in between, where steps taken at once were committed in
    /// several goes: before what was told with the same number.
    pub between: Vec<Vec<Dump>>,
}

/// Takes a script on a disk; its fault must be one that no step notices.
pub async fn record(script: &[Step], fault: Fault) -> Recording {
    let folder = folder();
    let disk = Disk::mount(folder.path()).unwrap();
    disk.set_fault(fault);
    let mut told = Vec::new();
    let mut tell = |what: String, steps: usize, memory: &Memory| {
        told.push(Told {
            calls: usize::try_from(disk.calls()).unwrap(),
            what,
            steps,
            memory: memory.clone(),
        });
    };
    let mut memory = Memory::default();
    let mut ledger = open(folder.path()).await.unwrap();
    tell("open".to_owned(), 0, &memory);
    memory.join(&ledger).await.unwrap();
    tell("join".to_owned(), 0, &memory);
    for (number, step) in script.iter().enumerate() {
        if REOPENED_BEFORE.contains(&number) {
            ledger.close().await;
            tell("close".to_owned(), number, &memory);
            ledger = open(folder.path()).await.unwrap();
            tell("open again".to_owned(), number, &memory);
            memory.join(&ledger).await.unwrap();
            tell("join again".to_owned(), number, &memory);
        }
        memory.take(&ledger, *step).await.unwrap();
        tell(format!("{step:?}"), number + 1, &memory);
    }
    ledger.close().await;
    tell("close".to_owned(), script.len(), &memory);
    let calls = disk.calls_after(0);
    let mut recording = Recording {
        calls,
        told,
        states: vec![Dump::new()],
        rows: Vec::new(),
        between: Vec::new(),
    };
    recording.look();
    recording
}

impl Recording {
    /// Finds out what programs saw after each that was told, and at each sync
    /// of what made several.
    fn look(&mut self) {
        let folder = folder();
        let mut replay = Replay::default();
        let seen = |replay: &Replay| {
            let seen = replay.left_by(Loss::Nothing, &mut Random::new(0));
            dump(folder.path(), &seen).unwrap()
        };
        let (mut followed, mut steps) = (0, 0);
        for told in &self.told {
            let mut within = Vec::new();
            let new = &self.calls[followed..told.calls];
            let is_sync = |call: &&Call| matches!(call, Call::Sync { .. } | Call::IgnoredSync);
            let has_several = new.iter().filter(is_sync).count() > 1;
            for call in new {
                replay.follow(call);
                if has_several && is_sync(&call) {
                    within.push(seen(&replay));
                }
            }
            self.states.push(seen(&replay));
            self.between.push(within);
            let rows = rows(folder.path());
            let is_step = told.steps > steps;
            let differs = self.rows.last() != Some(&rows);
            assert!(differs || !is_step, "{} added no row", told.what);
            self.rows.push(rows);
            (followed, steps) = (told.calls, told.steps);
        }
    }
}

/// What the script decides in any run of it: not who took part, and how often.
const DECIDED: [&str; 10] = [
    "answers",
    "events WHERE subject NOT LIKE 'rep\\_%' ESCAPE '\\' AND subject NOT LIKE 'signer:%'",
    "gas",
    "grants",
    "payments",
    "purse_marks",
    "purses",
    "slot_raws",
    "slots",
    "spends",
];

/// How many rows a ledger has of each of those; a connection beside the others.
pub fn rows(folder: &Path) -> Vec<u64> {
    let database = Database::open(&database(folder)).unwrap();
    database.keep_wal();
    let rows = DECIDED.iter().map(|from| database.count(from).unwrap());
    rows.collect()
}

impl Recording {
    /// How many rows there are after each number of steps.
    pub fn rows_by_step(&self) -> Vec<Vec<u64>> {
        let mut by_step = Vec::new();
        for (told, rows) in self.told.iter().zip(&self.rows) {
            by_step.truncate(told.steps);
            by_step.push(rows.clone());
        }
        by_step
    }
}
