//! What gas costs: every new block says its base fee, and the tip is asked for
//! now and then.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tollway_core::{ChainError, Timestamp, codes, mistake};
use tollway_rpc::Batch;
use tollway_rpc::ask::{ask_all, typed};

use super::EvmChain;
use crate::node::{Block, FeeHistory, LATEST};

/// How long a recommended tip is believed.
const TIP_AGE: Duration = Duration::from_secs(30);
/// A tip is paid whole, so no answer may raise it by more than this factor...
const TIP_GROWTH: u128 = 4;
/// ...above what was believed so long ago at most.
const TIP_MEMORY: Duration = Duration::from_secs(300);

/// Wei per gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fees {
    pub max_fee: u128,
    pub priority: u128,
}

/// What was last said, and when.
#[derive(Debug, Default)]
pub(super) struct FeeCache(Mutex<Said>);

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    base: Option<(Timestamp, u128)>,
    tip: Option<(Timestamp, u128)>,
}

impl FeeCache {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was said, if that is not too long ago.
fn fresh(said: Option<(Timestamp, u128)>, now: Timestamp, age: Duration) -> Option<u128> {
    said.filter(|(at, _)| *at <= now && now.since(*at) < age)
        .map(|(_, fee)| fee)
}

impl EvmChain {
    /// Fees for a transaction of now: twice the next base fee and a tip, within
    /// the cap.
    pub(super) async fn current_fees(&self) -> Result<Fees, ChainError> {
        let now = self.now();
        let said = *self.fees.said();
        let base = fresh(said.base, now, self.limits.fee_age);
        let tip = fresh(said.tip, now, TIP_AGE);
        match (base, tip) {
            (Some(base), Some(tip)) => self.within_cap(base, tip),
            (base, tip) => self.read_fees(now, base, tip).await,
        }
    }

    /// The next block's base fee, or a little more.
    pub(super) async fn next_base_fee(&self) -> Result<u128, ChainError> {
        self.current_fees().await?;
        let base = self.fees.said().base.map(|(_, base)| base);
        base.ok_or_else(|| ChainError::unavailable("the base fee is not known"))
    }

    /// A block was seen: the next one's base fee is at most an eighth higher.
    pub(super) fn saw_block(&self, block: &Block) {
        if let Some(limit) = block.gas_limit {
            self.start.block_gas.store(limit.to(), Ordering::Release);
        }
        let base = block
            .base_fee_per_gas
            .and_then(|base| u128::try_from(base).ok());
        if let Some(base) = base {
            let next = base.saturating_add(base.div_ceil(8));
            self.fees.said().base = Some((self.now(), next));
        }
    }

    /// Asks for what is not known.
    async fn read_fees(
        &self,
        now: Timestamp,
        base: Option<u128>,
        tip: Option<u128>,
    ) -> Result<Fees, ChainError> {
        let mut batch = Batch::new();
        if base.is_none() {
            batch.push("eth_feeHistory", &("0x1", LATEST, [0_u8; 0]));
        }
        if tip.is_none() {
            batch.push("eth_maxPriorityFeePerGas", &[(); 0]);
        }
        let mut answers = ask_all(&self.rpc, batch).await?;
        let base = match base {
            Some(base) => base,
            None => next_base_fee(&typed("eth_feeHistory", answers.next())?)?,
        };
        let tip = match tip {
            Some(tip) => tip,
            None => self.believable_tip(now, answers.next()),
        };
        let mut said = self.fees.said();
        said.base = Some((now, base));
        said.tip = Some((now, tip));
        drop(said);
        self.within_cap(base, tip)
    }

    /// Nodes that give no advice, and mad advice, are not followed.
    fn believable_tip(
        &self,
        now: Timestamp,
        answer: Option<Result<Value, tollway_rpc::RpcError>>,
    ) -> u128 {
        let advised = match answer {
            Some(Ok(Value::String(text))) => quantity(&text).unwrap_or(0),
            _ => 0,
        };
        let most = match fresh(self.fees.said().tip, now, TIP_MEMORY) {
            Some(before) => before.saturating_mul(TIP_GROWTH),
            None => u128::MAX,
        };
        advised
            .min(most)
            .min(self.limits.max_priority_fee)
            .max(self.limits.min_priority_fee)
    }

    fn within_cap(&self, base: u128, priority: u128) -> Result<Fees, ChainError> {
        let cap = self.limits.max_fee_per_gas;
        if base.saturating_add(self.limits.min_priority_fee) > cap {
            return Err(too_expensive(format!("base fee {base}, cap {cap}")));
        }
        let max_fee = base.saturating_mul(2).saturating_add(priority).min(cap);
        Ok(Fees {
            max_fee,
            priority: priority.min(max_fee),
        })
    }

    /// Fees that nodes take in place of a waiting transaction: both at least an
    /// eighth higher.
    pub(super) fn outbid(&self, old: Fees, fresh: Fees) -> Result<Fees, ChainError> {
        let raised = |fee: u128| match mistake::is("fee_not_raised") {
            true => fee,
            false => fee.saturating_add(fee.div_ceil(8)).saturating_add(1),
        };
        let max_fee = fresh.max_fee.max(raised(old.max_fee));
        let priority = fresh.priority.max(raised(old.priority));
        let cap = self.limits.max_fee_per_gas;
        if max_fee > cap {
            return Err(too_expensive(format!("needs {max_fee}, cap {cap}")));
        }
        Ok(Fees {
            max_fee: max_fee.max(priority.min(cap)),
            priority: priority.min(cap),
        })
    }
}

/// The last entry is the next block's base fee.
fn next_base_fee(history: &FeeHistory) -> Result<u128, ChainError> {
    history
        .base_fee_per_gas
        .last()
        .and_then(|base| u128::try_from(*base).ok())
        .ok_or_else(|| ChainError::unavailable("eth_feeHistory names no base fee"))
}

fn too_expensive(detail: String) -> ChainError {
    let sentence = codes::sentence(codes::GAS_PRICE_TOO_HIGH).unwrap_or_default();
    ChainError::unavailable_because(sentence, detail)
}

fn quantity(text: &str) -> Option<u128> {
    u128::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
