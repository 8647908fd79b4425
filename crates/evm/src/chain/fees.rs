//! What gas costs, believed for about a second.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tollway_core::{ChainError, Timestamp, codes};
use tollway_rpc::Batch;

use super::EvmChain;
use crate::node::{FeeHistory, LATEST, ask_all, typed, unavailable_because};

/// Wei per gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fees {
    pub max_fee: u128,
    pub priority: u128,
}

#[derive(Debug, Default)]
pub(super) struct FeeCache(Mutex<Option<(Timestamp, Fees)>>);

impl FeeCache {
    fn get(&self) -> Option<(Timestamp, Fees)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: Timestamp, fees: Fees) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, fees));
    }
}

impl EvmChain {
    /// Fees for a transaction of now: twice the next base fee and a tip, within
    /// the cap.
    pub(super) async fn current_fees(&self) -> Result<Fees, ChainError> {
        let now = self.now();
        if let Some((at, fees)) = self.fees.get()
            && at <= now
            && now.since(at) < self.limits.fee_age
        {
            return Ok(fees);
        }
        let fees = self.read_fees().await?;
        self.fees.set(now, fees);
        Ok(fees)
    }

    async fn read_fees(&self) -> Result<Fees, ChainError> {
        let mut batch = Batch::new();
        batch.push("eth_feeHistory", &("0x1", LATEST, [0_u8; 0]));
        batch.push("eth_maxPriorityFeePerGas", &[(); 0]);
        let mut answers = ask_all(&self.rpc, batch).await?;
        let history: FeeHistory = typed("eth_feeHistory", answers.next())?;
        // The last entry is the next block's base fee.
        let base = history
            .base_fee_per_gas
            .last()
            .and_then(|base| u128::try_from(*base).ok())
            .ok_or_else(|| ChainError::unavailable("eth_feeHistory names no base fee"))?;
        let tip = match answers.next() {
            Some(Ok(Value::String(text))) => quantity(&text),
            _ => None,
        };
        let priority = tip
            .unwrap_or(0)
            .min(self.limits.max_priority_fee)
            .max(self.limits.min_priority_fee);
        self.within_cap(base, priority)
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
        let raised = |fee: u128| fee.saturating_add(fee.div_ceil(8)).saturating_add(1);
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

fn too_expensive(detail: String) -> ChainError {
    let sentence = codes::sentence(codes::GAS_PRICE_TOO_HIGH).unwrap_or_default();
    unavailable_because(sentence, detail)
}

fn quantity(text: &str) -> Option<u128> {
    u128::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
