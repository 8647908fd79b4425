//! What resources cost in a block, and what is offered for them in the next.

use crate::felt;
use crate::invoke::{Bound, Bounds};
use crate::node::{Block, Price};

/// Fri per unit of each resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prices {
    pub l1: u128,
    pub l2: u128,
    pub data: u128,
}

impl Prices {
    /// A block's, if they are believable at all.
    pub fn of(block: &Block) -> Option<Self> {
        let read = |price: &Price| felt::to_u128(&price.price_in_fri.0);
        Some(Self {
            l1: read(&block.l1_gas_price)?,
            l2: read(&block.l2_gas_price)?,
            data: read(&block.l1_data_gas_price)?,
        })
    }

    /// Bounds of a transaction. Prices may rise before it is included: half as
    /// much again is offered, and what is not needed is not taken.
    pub fn bounds(&self, gas: u64, data_gas: u64) -> Bounds {
        let bound = |amount, price: u128| Bound {
            amount,
            price: price.saturating_add(price / 2).saturating_add(1),
        };
        Bounds {
            l1_gas: bound(0, self.l1),
            l2_gas: bound(gas, self.l2),
            l1_data_gas: bound(data_gas, self.data),
        }
    }
}
