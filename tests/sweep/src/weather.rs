//! The chain's side of a round: every block is made here, so that what a scene
//! needs happens before a block and not by luck.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256};
use serde_json::Value;
use tollway_devnet::{DEV_ACCOUNTS, Devnet};

use crate::bot::{Stranger, Trick};
use crate::buyer::PAYEE;
use crate::plan::{Chance, Scene};
use crate::world::HELPER;

/// Times that a scene's trouble comes.
const TROUBLES: usize = 6;
/// Times that somebody else takes a nonce: a payment has three attempts.
const TAKEN: usize = 3;
/// Most blocks that are replaced at once: a payment is watched for 64.
const DEEPEST: u64 = 30;
/// How long blocks come after the last that was replaced.
const SEEN: Duration = Duration::from_millis(1_500);
/// How long the helping account is busy: until somebody needs it.
const BUSY: Duration = Duration::from_millis(400);
/// How long a chain stands still: an engine answers after 45 s.
pub const STALLED: Duration = Duration::from_secs(48);
/// Longest wait for what the trouble needs.
const PATIENCE: Duration = Duration::from_secs(90);

/// Makes the blocks, and the scene's trouble.
pub struct Weather {
    /// The chain, which mines only when told.
    pub chain: Devnet,
    /// From one block to the next.
    pub pause: Duration,
    /// What goes on.
    pub scene: Scene,
    /// All chance comes from here.
    pub chance: Chance,
    /// Payments that have not ended, and one for the weather.
    pub left: Arc<AtomicUsize>,
    /// Who plays tricks, and what is not played yet.
    pub stranger: Stranger,
    /// The tricks.
    pub tricks: Vec<Trick>,
}

impl Weather {
    /// The scene's trouble; ends when it is over. Blocks go on coming by [`Self::calm`].
    pub async fn storm(&mut self) {
        let until = Instant::now() + PATIENCE;
        match self.scene {
            Scene::Taken => self.take_nonces(until).await,
            Scene::Replaced => self.replace_blocks(until).await,
            Scene::Helped => self.keep_helper_busy(until).await,
            Scene::Stalled => tokio::time::sleep(STALLED).await,
            Scene::Busy
            | Scene::Robbed
            | Scene::Expiring
            | Scene::Final
            | Scene::Orphaned
            | Scene::Freed => {}
        }
        self.left.fetch_sub(1, Ordering::Relaxed);
    }

    /// Blocks, for ever.
    pub async fn calm(&mut self) {
        loop {
            self.block().await;
        }
    }

    /// The next block. Strangers see what waits before it does.
    async fn block(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.stranger.play_all(&self.chain, &mut self.tricks);
        let _ = self.chain.mine(1);
    }

    /// Payments that have not ended.
    fn open(&self) -> usize {
        self.left.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Whenever a transaction of ours waits, its nonce is used otherwise: it can
    /// never land.
    async fn take_nonces(&mut self, until: Instant) {
        let mut taken = 0;
        while taken < TAKEN && self.open() > 0 && Instant::now() < until {
            tokio::time::sleep(self.pause).await;
            if waiting(&self.chain).is_some() {
                let signer = DEV_ACCOUNTS[0].address;
                self.chain.set_nonce(signer, self.chain.nonce(signer) + 1);
                taken += 1;
            }
            let _ = self.chain.mine(1);
        }
    }

    /// Now and then a transaction of the helping account's own takes the place of its
    /// next one, for as long as several blocks take.
    async fn keep_helper_busy(&mut self, until: Instant) {
        let Ok(helper) = Stranger::new(&HELPER) else {
            return;
        };
        for _ in 0..TROUBLES {
            if self.open() == 0 || Instant::now() > until {
                break;
            }
            let is_free = waits_of(&self.chain, HELPER.address).is_none();
            if is_free && helper.waste(&self.chain) {
                tokio::time::sleep(BUSY).await;
            }
            for _ in 0..self.chance.between(1, 4) {
                self.block().await;
            }
        }
    }

    /// Blocks are replaced after somebody was told of a payment in one of them,
    /// and at other times.
    async fn replace_blocks(&mut self, until: Instant) {
        for _ in 0..TROUBLES {
            let (open, paid) = (self.open(), self.chain.balance_of(PAYEE));
            let mut moved_in = None;
            while self.open() == open && open > 0 && Instant::now() < until {
                self.block().await;
                if moved_in.is_none() && self.chain.balance_of(PAYEE) > paid {
                    moved_in = Some(self.chain.block_number());
                }
            }
            for _ in 0..self.chance.between(1, 3) {
                self.block().await;
            }
            let depth = match moved_in {
                Some(number) => self.chain.block_number() + 1 - number,
                None => self.chance.between(2, 6),
            };
            let highest = self.chain.block_number();
            let _ = self.chain.reorg(depth.min(DEEPEST), self.chance.coin());
            self.overtake(highest).await;
        }
        // What is left of it must be seen before the round may end.
        for _ in 0..(SEEN.as_millis() / self.pause.as_millis().max(1)) {
            self.block().await;
        }
    }

    /// Another branch wins by being longer: at once, or after a while in which
    /// the chain looks like one that lags.
    async fn overtake(&mut self, highest: u64) {
        let at_once = self.chance.coin();
        while self.chain.block_number() <= highest {
            match at_once {
                true => drop(self.chain.mine(1)),
                false => self.block().await,
            }
        }
    }
}

/// A transaction of the settling account that waits.
pub fn waiting(chain: &Devnet) -> Option<B256> {
    waits_of(chain, DEV_ACCOUNTS[0].address)
}

fn waits_of(chain: &Devnet, account: Address) -> Option<B256> {
    let pool = chain.request("tollway_pool", serde_json::json!([]));
    let pool = pool.unwrap_or_default();
    let its = |tx: &&Value| {
        let from: Option<Address> = tx["from"].as_str().and_then(|from| from.parse().ok());
        from == Some(account)
    };
    let found = pool.as_array()?.iter().find(its)?;
    found["hash"].as_str()?.parse().ok()
}
