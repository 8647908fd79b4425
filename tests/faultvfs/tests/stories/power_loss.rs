//! The power goes at any call: what was told is there, what was not is whole or
//! not there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tollway_ledger::{SettlementStore, SpendState, SpendStore, SqliteLedger, StoryStore};
use tollway_test_faultvfs::{Call, Fault, Image, Loss, Random, Replay};

use crate::life::Life;
use crate::record::{Recording, Told, dump, folder, is_thorough, open, record};
use crate::script::{BUDGET, Memory, steps};
use tollway_test_records::{address, at, atomic, limit, network};

/// Different losses tried at each call; each is one of seven kinds.
fn losses_per_call() -> u64 {
    if is_thorough() { 14 } else { 2 }
}

/// The ledger itself opens what is left at one of so many calls. (What SQLite
/// reads there is compared at every one.)
const REOPENED_OF: usize = 3;
const SEED: u64 = 0x7011_0a17;

/// Counts of what was tried.
#[derive(Default)]
pub struct Tried {
    pub cuts: AtomicU64,
    pub images: AtomicU64,
    /// Images that hold the step that was not told yet.
    pub ahead: AtomicU64,
    pub reopened: AtomicU64,
}

/// What images of a disk break which promise, for one of so many calls and
/// several losses each. The calls are shared out among as many threads as there are cores.
pub fn broken_promises(recording: &Recording, one_of: usize, tried: &Tried) -> Vec<String> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let sweep = |worker: usize| {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let sweep = Sweep {
            recording,
            one_of,
            tried,
        };
        runtime.block_on(sweep.run(worker, workers))
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|w| scope.spawn(move || sweep(w)))
            .collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().unwrap())
            .collect()
    })
}

struct Sweep<'a> {
    recording: &'a Recording,
    one_of: usize,
    tried: &'a Tried,
}

impl Sweep<'_> {
    async fn run(&self, worker: usize, workers: usize) -> Vec<String> {
        let folder = folder();
        let mut broken = Vec::new();
        let mut replay = Replay::default();
        for (index, call) in self.recording.calls.iter().enumerate() {
            // A sync that the power loss interrupts has promised nothing yet.
            let promises = matches!(call, Call::Sync { .. } | Call::Delete { durable: true, .. });
            if !promises {
                replay.follow(call);
            }
            if index.is_multiple_of(self.one_of) && index / self.one_of % workers == worker {
                broken.extend(self.cut(folder.path(), &replay, index).await);
            }
            if promises {
                replay.follow(call);
            }
        }
        if worker == 0 {
            let all = self.recording.calls.len();
            broken.extend(self.cut(folder.path(), &replay, all).await);
        }
        broken
    }

    /// The power goes at the call with this index: all before it were answered.
    async fn cut(&self, folder: &Path, replay: &Replay, index: usize) -> Vec<String> {
        let told = &self.recording.told;
        let known = told.partition_point(|told| told.calls <= index);
        self.tried.cuts.fetch_add(1, Ordering::Relaxed);
        let mut broken = Vec::new();
        for turn in 0..losses_per_call() {
            let mut random = Random::new(SEED ^ (index as u64) << 8 ^ turn);
            let kind = index + usize::try_from(turn).unwrap() * 2;
            let loss = Loss::ALL[kind % Loss::ALL.len()];
            let image = replay.left_by(loss, &mut random);
            let outcome = self.look(folder, &image, known).await;
            let last = known.checked_sub(1).map(|k| &told[k]);
            let outcome = match last {
                Some(told) if index.is_multiple_of(REOPENED_OF) && turn == 0 && outcome.is_ok() => {
                    self.tried.reopened.fetch_add(1, Ordering::Relaxed);
                    goes_on(folder, told).await
                }
                _ => outcome,
            };
            if let Err(problem) = outcome {
                let after = last.map_or("nothing", |told| told.what.as_str());
                broken.push(format!(
                    "power lost at call {index} after {after:?}, {loss:?}: {problem}"
                ));
            }
        }
        broken
    }

    /// An image holds all that was told, and of the rest a whole step or nothing.
    async fn look(&self, folder: &Path, image: &Image, known: usize) -> Result<(), String> {
        self.tried.images.fetch_add(1, Ordering::Relaxed);
        let found = dump(folder, image)?;
        let states = &self.recording.states;
        if found == states[known] {
            return Ok(());
        }
        let within = self.recording.between.get(known);
        let is_within = within.is_some_and(|within| within.contains(&found));
        if is_within || states.get(known + 1) == Some(&found) {
            self.tried.ahead.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let other = states.iter().position(|state| *state == found);
        Err(match other {
            Some(other) if other < known => format!("lost {:?}", self.recording.told[other].what),
            Some(other) => format!("is ahead: {:?}", self.recording.told[other - 1].what),
            None => "holds a part of a step".to_owned(),
        })
    }
}

/// The ledger opens what is left, finds it sound and takes further steps.
async fn goes_on(folder: &Path, told: &Told) -> Result<(), String> {
    let ledger = open(folder)
        .await
        .map_err(|e| format!("{e}: {:?}", e.detail()))?;
    let sound = assert_sound(&ledger, &told.memory).await;
    ledger.close().await;
    sound
}

/// The chain is whole, budgets add up, and no nonce is given out twice.
pub async fn assert_sound(ledger: &SqliteLedger, memory: &Memory) -> Result<(), String> {
    if let Some(event) = ledger.verify_chain().await.map_err(|e| e.to_string())? {
        return Err(format!("the chain breaks at {event:?}"));
    }
    budgets_add_up(ledger).await?;
    let mut process = Memory::default();
    let joined = process.join(ledger).await;
    joined.map_err(|e| format!("nobody may join: {e}"))?;
    let lease = process.lease.ok_or("the signer is not free")?;
    let slot = ledger.allocate_slot(&lease, 0, at(99)).await;
    let slot = slot.map_err(|e| format!("no step after it: {e}"))?;
    if memory.sealed.contains(&slot.nonce) || !slot.raws.is_empty() {
        return Err(format!("nonce {} was given out twice", slot.nonce));
    }
    let slots = ledger.open_slots().await.map_err(|e| e.to_string())?;
    let mut seen = BTreeMap::new();
    for slot in slots {
        if let Some(other) = seen.insert(slot.nonce, slot.payments.clone()) {
            return Err(format!("nonce {} carries {other:?} too", slot.nonce));
        }
    }
    Ok(())
}

/// What counts against the limit is what the spends say.
async fn budgets_add_up(ledger: &SqliteLedger) -> Result<(), String> {
    let (mut paid, mut held) = (0, 0);
    for spend in ledger.spends(1_000).await.map_err(|e| e.to_string())? {
        match spend.state {
            SpendState::Paid => paid += 7,
            SpendState::Released => {}
            _ => held += 10,
        }
    }
    let limit = limit(BUDGET);
    let (account, network, asset) = (address(1), network(), address(0xaa));
    let total = ledger.total(&account, &network, &asset, &limit, at(100));
    let total = total.await.map_err(|e| e.to_string())?;
    if (total.paid, total.held) == (atomic(paid), atomic(held)) {
        return Ok(());
    }
    Err(format!(
        "spends say {paid} and {held}, the budget {total:?}"
    ))
}

#[test]
fn whatever_call_the_power_goes_at_nothing_told_is_lost() {
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let recording = runtime.block_on(record(&steps(), Fault::None));
    let tried = Tried::default();
    let broken = broken_promises(&recording, 1, &tried);
    println!(
        "{} steps make {} calls; the power went at each of them and at the end: {} cuts, {} images, of which {} held the step in flight, {} reopened; {:?}",
        steps().len(),
        recording.calls.len(),
        tried.cuts.load(Ordering::Relaxed),
        tried.images.load(Ordering::Relaxed),
        tried.ahead.load(Ordering::Relaxed),
        tried.reopened.load(Ordering::Relaxed),
        began.elapsed(),
    );
    assert_eq!(broken, [""; 0]);
    let cuts = tried.cuts.load(Ordering::Relaxed);
    assert_eq!(cuts, recording.calls.len() as u64 + 1);
    assert!(
        tried.ahead.load(Ordering::Relaxed) > 100,
        "no step was ever in flight"
    );
}

/// The same, as the process lives it: the ledger hears of the loss, refuses all
/// that follows, and a new process goes on with what is left.
#[tokio::test]
async fn a_life_of_two_hundred_power_losses_loses_no_step() {
    let mut life = Life::begin().await;
    let mut random = Random::new(SEED);
    for number in 0..life.steps.len() {
        let call = life.disk.calls() + 1 + random.below(12) as u64;
        life.disk.set_fault(Fault::PowerLossAt(call));
        let outcome = life.attempt(number).await;
        if !life.disk.has_struck() {
            outcome.unwrap();
            life.disk.set_fault(Fault::None);
            continue;
        }
        let was_told = outcome.is_ok();
        life.assert_stopped().await;
        let loss = Loss::ALL[random.below(Loss::ALL.len())];
        life.lose_power(loss, &mut random).await;
        life.go_on(number, was_told).await;
    }
    assert!(life.deaths > 100, "{} power losses", life.deaths);
    life.end().await;
}
