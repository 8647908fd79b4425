//! Prices of the newest block, and what a transaction may cost.

use std::sync::{Mutex, PoisonError};

use tollway_core::{ChainError, Timestamp, codes};

use super::StarknetChain;
use crate::invoke::Bounds;
use crate::node::Block;
use crate::prices::Prices;

/// The last block's prices and when they were read.
#[derive(Debug, Default)]
pub(super) struct PriceCache(Mutex<Option<(Timestamp, Prices)>>);

impl StarknetChain {
    pub(super) fn saw_prices(&self, block: &Block) {
        if let Some(prices) = Prices::of(block) {
            let mut known = self.prices.0.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Some((self.now(), prices));
        }
    }

    async fn current_prices(&self) -> Result<Prices, ChainError> {
        let known = || *self.prices.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |(at, prices)| {
            let age = self.now().since(at);
            (age < self.limits.price_age).then_some(prices)
        };
        if let Some(prices) = known().and_then(fresh) {
            return Ok(prices);
        }
        self.newest().await?;
        let prices = known().map(|(_, prices)| prices);
        prices.ok_or_else(|| ChainError::unavailable("a block with prices above 2^128"))
    }

    /// Tip and bounds of a transaction with so much L2 gas, above those of one
    /// that it replaces.
    pub(super) async fn bounds(
        &self,
        gas: u64,
        replaced: Option<(u64, Bounds)>,
    ) -> Result<(u64, Bounds), ChainError> {
        let mut tip = self.limits.tip;
        let prices = self.current_prices().await?;
        let mut bounds = prices.bounds(gas, self.limits.data_gas);
        if let Some((old_tip, old)) = replaced {
            tip = tip.max(old_tip.saturating_add(old_tip / 8).saturating_add(1));
            bounds.l1_gas.price = bounds.l1_gas.price.max(raised(old.l1_gas.price));
            bounds.l2_gas.price = bounds.l2_gas.price.max(raised(old.l2_gas.price));
            bounds.l1_data_gas.price = bounds.l1_data_gas.price.max(raised(old.l1_data_gas.price));
        }
        let (most, cap) = (bounds.most(tip), self.limits.max_transaction_fee);
        if most > cap {
            let sentence = codes::sentence(codes::GAS_PRICE_TOO_HIGH).unwrap_or_default();
            return Err(ChainError::unavailable_because(
                sentence,
                format!("needs {most} fri, cap {cap}"),
            ));
        }
        Ok((tip, bounds))
    }

    /// What the dearest transaction costs at the present prices, in fri.
    pub(super) async fn dearest(&self) -> Result<u128, ChainError> {
        let prices = self.current_prices().await?;
        let gas = prices.l2.saturating_mul(self.limits.payment_gas.into());
        let data = prices.data.saturating_mul(self.limits.data_gas.into());
        Ok(gas.saturating_add(data))
    }
}

/// Sequencers take a replacement that offers at least a tenth more.
const fn raised(price: u128) -> u128 {
    price.saturating_add(price.div_ceil(8)).saturating_add(1)
}
