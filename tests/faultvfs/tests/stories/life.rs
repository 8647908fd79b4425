//! A ledger that lives through faults: its process ends, the power goes, and a
//! new process goes on with the next step of the script.

use std::path::Path;

use tempfile::TempDir;
use tollway_ledger::{GrantStore, LedgerError, SettlementStore, SpendStore, SqliteLedger};
use tollway_test_faultvfs::{Disk, Fault, Image, Loss, Random, Replay};

use crate::power_loss::assert_sound;
use crate::record::{dump, folder, open, record, rows};
use crate::script::{Memory, Step, one_by_one};
use tollway_test_records::{at, grant, payment};

pub struct Life {
    folder: TempDir,
    /// Where what a power loss would leave is looked at.
    bench: TempDir,
    pub disk: Disk,
    pub ledger: SqliteLedger,
    pub memory: Memory,
    pub steps: Vec<Step>,
    /// How many rows there are after each number of steps, without faults.
    rows: Vec<Vec<u64>>,
    replay: Replay,
    followed: u64,
    /// How many processes have ended.
    pub deaths: u64,
}

impl Life {
    pub async fn begin() -> Self {
        let steps = one_by_one();
        let rows = record(&steps, Fault::None).await.rows_by_step();
        let folder = folder();
        let disk = Disk::mount(folder.path()).unwrap();
        let ledger = open(folder.path()).await.unwrap();
        let mut memory = Memory::default();
        memory.join(&ledger).await.unwrap();
        Self {
            ledger,
            disk,
            folder,
            bench: crate::record::folder(),
            memory,
            steps,
            rows,
            replay: Replay::default(),
            followed: 0,
            deaths: 0,
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub async fn attempt(&mut self, number: usize) -> Result<(), LedgerError> {
        let step = self.steps[number];
        self.memory.take(&self.ledger, step).await
    }

    /// The ledger holds so many steps, and no part of another.
    pub fn assert_stands_after(&self, number: usize) {
        let step = number.checked_sub(1).map(|last| self.steps[last]);
        assert_eq!(
            rows(self.path()),
            self.rows[number],
            "after {number} steps, {step:?}"
        );
    }

    /// Every step is refused as fatal, and nothing reaches the disk any more.
    pub async fn assert_stopped(&mut self) {
        let calls = self.disk.calls();
        for n in 0..3 {
            let refused = self.ledger.accept(payment(9_000 + n), at(1)).await;
            assert!(
                matches!(refused, Err(LedgerError::Fatal { .. })),
                "{refused:?}"
            );
        }
        let health = self.ledger.health();
        assert!(!health.writable, "{health:?}");
        assert_eq!(self.disk.calls(), calls, "a stopped ledger wrote");
    }

    fn replay(&mut self) -> &Replay {
        for call in self.disk.calls_after(self.followed) {
            self.replay.follow(&call);
        }
        self.followed = self.disk.calls();
        &self.replay
    }

    /// What a power loss now would leave.
    pub fn left_by(&mut self, loss: Loss, random: &mut Random) -> Image {
        self.replay().left_by(loss, random)
    }

    /// What a power loss now would leave holds so many steps, or one more,
    /// whatever it takes. How many images were looked at.
    pub fn assert_would_stand_after(&mut self, number: usize, random: &mut Random) -> u64 {
        let any = Loss::ALL[random.below(Loss::ALL.len())];
        let losses = [Loss::Everything, Loss::Nothing, any];
        for loss in losses {
            let image = self.left_by(loss, random);
            dump(self.bench.path(), &image).unwrap();
            let left = rows(self.bench.path());
            let whole = self.rows[number..].iter().take(2).any(|rows| *rows == left);
            assert!(whole, "after {number} steps, {loss:?}: {left:?}");
        }
        losses.len() as u64
    }

    /// The disk is one with these files.
    pub fn put(&mut self, image: &Image) {
        self.disk = self.disk.replace(self.folder.path(), image).unwrap();
        (self.replay, self.followed) = (Replay::default(), 0);
    }

    /// The power goes, and comes back.
    pub async fn lose_power(&mut self, loss: Loss, random: &mut Random) {
        let image = self.left_by(loss, random);
        self.put(&image);
        self.be_born_again().await;
    }

    /// The process is killed, and started again.
    pub async fn restart(&mut self) {
        self.replay();
        self.disk = self.disk.restart(self.folder.path()).unwrap();
        self.be_born_again().await;
    }

    async fn be_born_again(&mut self) {
        self.ledger.close().await;
        self.ledger = open(self.folder.path()).await.unwrap();
        self.deaths += 1;
        if self.deaths % 8 == 1 {
            self.assert_start_is_durable();
        }
        self.memory.join(&self.ledger).await.unwrap();
    }

    /// What a new process reads, it may tell.
    fn assert_start_is_durable(&mut self) {
        let image = self.left_by(Loss::Everything, &mut Random::new(0));
        dump(self.bench.path(), &image).unwrap();
        let (told, kept) = (rows(self.path()), rows(self.bench.path()));
        assert_eq!(told, kept, "what is read at start is not durable");
    }

    /// After a death within a step: it is there or not, and was there if it was
    /// told. If it is not, it is taken again. Whether it was there.
    pub async fn go_on(&mut self, number: usize, was_told: bool) -> bool {
        let standing = rows(self.path());
        let is_done = standing == self.rows[number + 1];
        let step = self.steps[number];
        assert!(
            is_done || standing == self.rows[number],
            "a part of {number}: {step:?}"
        );
        assert!(is_done || !was_told, "lost {number}: {step:?}");
        if is_done {
            self.learn(number).await;
        } else {
            self.attempt(number).await.unwrap();
            self.assert_stands_after(number + 1);
        }
        is_done
    }

    /// Finds out what a step gave that was done and not told.
    async fn learn(&mut self, number: usize) {
        match self.steps[number] {
            Step::Accept(n) => {
                let found = self.ledger.payment_by_identity(&payment(n).identity).await;
                let id = found.unwrap().unwrap().id;
                self.memory.payments.insert(n, id);
            }
            Step::Allocate(n) => {
                let slots = self.ledger.open_slots().await.unwrap();
                let fresh = slots.iter().find(|slot| slot.raws.is_empty());
                self.memory.nonces.insert(n, fresh.unwrap().nonce);
            }
            Step::StoreRaw(n) => {
                let nonce = self.memory.nonces[&n];
                self.memory.sealed.insert(nonce);
            }
            Step::Claim(n) => {
                let found = self.ledger.grant_by_identity(&grant(n).identity).await;
                self.memory.grants.insert(n, found.unwrap().unwrap().id);
            }
            Step::Reserve(n) => {
                let newest = self.ledger.spends(1).await.unwrap().remove(0);
                self.memory.spends.insert(n, newest.id);
            }
            _ => {}
        }
    }

    /// All steps are there and the ledger is sound, even after a power loss.
    pub async fn end(mut self) {
        self.assert_stands_after(self.steps.len());
        let random = &mut Random::new(1);
        let left = self.left_by(Loss::Everything, random);
        self.put(&left);
        self.ledger.close().await;
        self.ledger = open(self.folder.path()).await.unwrap();
        self.assert_stands_after(self.steps.len());
        assert_sound(&self.ledger, &self.memory).await.unwrap();
        self.ledger.close().await;
    }
}
