//! Prices of the newest block, and what a transaction may cost.

use std::sync::{Mutex, PoisonError};

use tollway_core::{ChainError, Timestamp, codes};

use super::StarknetChain;
use crate::felt;
use crate::invoke::{Bound, Bounds};
use crate::node::{Block, Price, unavailable_because};

/// Fri per unit of each resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prices {
    l1: u128,
    l2: u128,
    data: u128,
}

/// The last block's prices and when they were read.
#[derive(Debug, Default)]
pub(super) struct PriceCache(Mutex<Option<(Timestamp, Prices)>>);

/// A block's price may rise before the transaction is included: half as much
/// again is offered, and what is not needed is not taken.
const fn with_headroom(price: u128) -> u128 {
    price.saturating_add(price / 2).saturating_add(1)
}

impl StarknetChain {
    pub(super) fn saw_prices(&self, block: &Block) {
        let read = |price: &Price| felt::to_u128(&price.price_in_fri.0);
        let prices = (
            read(&block.l1_gas_price),
            read(&block.l2_gas_price),
            read(&block.l1_data_gas_price),
        );
        if let (Some(l1), Some(l2), Some(data)) = prices {
            let mut known = self.prices.0.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Some((self.now(), Prices { l1, l2, data }));
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
        let prices = self.current_prices().await?;
        let bound = |amount, price| Bound {
            amount,
            price: with_headroom(price),
        };
        let mut tip = self.limits.tip;
        let mut bounds = Bounds {
            l1_gas: bound(0, prices.l1),
            l2_gas: bound(gas, prices.l2),
            l1_data_gas: bound(self.limits.data_gas, prices.data),
        };
        if let Some((old_tip, old)) = replaced {
            tip = tip.max(old_tip.saturating_add(old_tip / 8).saturating_add(1));
            bounds.l1_gas.price = bounds.l1_gas.price.max(raised(old.l1_gas.price));
            bounds.l2_gas.price = bounds.l2_gas.price.max(raised(old.l2_gas.price));
            bounds.l1_data_gas.price = bounds.l1_data_gas.price.max(raised(old.l1_data_gas.price));
        }
        let (most, cap) = (bounds.most(tip), self.limits.max_transaction_fee);
        if most > cap {
            let sentence = codes::sentence(codes::GAS_PRICE_TOO_HIGH).unwrap_or_default();
            return Err(unavailable_because(
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
