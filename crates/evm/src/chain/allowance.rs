//! Parts of allowances that payments under way will take.
//!
//! An allowance is kept by an enforcer on chain, by the delegation's hash. Two
//! payments that are verified one after the other, and settled later, would each
//! see all of it. So each holds its part here until its end is seen on chain, or
//! until it can no longer settle. After a restart what the ledger has open is held
//! again. What other processes have under way is not seen: then the chain refuses
//! what is too much, nothing is served for it, and its gas is lost.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256, U256};
use tollway_core::{ChainError, Identity};

use crate::delegation::Enforcer;

/// Payments that hold something at once.
const MOST_PAYMENTS: usize = 65_536;

/// A part of one allowance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub manager: Address,
    pub delegation: B256,
    pub enforcer: Enforcer,
    pub takes: U256,
}

type Place = (Address, B256, Enforcer);

impl Hold {
    const fn place(&self) -> Place {
        (self.manager, self.delegation, self.enforcer)
    }
}

#[derive(Debug, Default)]
struct Held {
    /// What is held of each allowance, in all.
    sums: HashMap<Place, U256>,
    /// Whose it is, and until when.
    payments: HashMap<String, (Vec<Hold>, u64)>,
    /// No payment ends before this second.
    earliest: u64,
}

/// All of a network's.
#[derive(Debug, Default)]
pub(super) struct Allowances(Mutex<Held>);

impl Allowances {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a payment's parts until `ends`, in the place of what it held before,
    /// and says for each how much others hold of the same allowance.
    pub fn take(
        &self,
        identity: &Identity,
        holds: &[Hold],
        ends: u64,
        now: u64,
    ) -> Result<Vec<U256>, ChainError> {
        let mut held = self.held();
        held.forget_ended(now);
        let name = name_of(identity);
        held.release(&name);
        if held.payments.len() >= MOST_PAYMENTS {
            return Err(ChainError::unavailable_because(
                "Too many permissions are under way; try again later.",
                "allowances: MOST_PAYMENTS",
            ));
        }
        let mut others = Vec::with_capacity(holds.len());
        for hold in holds {
            let sum = held.sums.entry(hold.place()).or_default();
            others.push(*sum);
            *sum = sum.saturating_add(hold.takes);
        }
        held.earliest = match held.payments.is_empty() {
            true => ends,
            false => held.earliest.min(ends),
        };
        held.payments.insert(name, (holds.to_vec(), ends));
        Ok(others)
    }

    /// The payment's end is known.
    pub fn release(&self, identity: &Identity) {
        self.held().release(&name_of(identity));
    }
}

impl Held {
    fn release(&mut self, name: &str) {
        let Some((holds, _)) = self.payments.remove(name) else {
            return;
        };
        for hold in holds {
            if let Some(sum) = self.sums.get_mut(&hold.place()) {
                *sum = sum.saturating_sub(hold.takes);
                if sum.is_zero() {
                    self.sums.remove(&hold.place());
                }
            }
        }
    }

    fn forget_ended(&mut self, now: u64) {
        if now < self.earliest {
            return;
        }
        let ended =
            |(name, (_, ends)): (&String, &(Vec<Hold>, u64))| (*ends <= now).then(|| name.clone());
        let ended: Vec<String> = self.payments.iter().filter_map(ended).collect();
        for name in ended {
            self.release(&name);
        }
        let ends = self.payments.values().map(|(_, ends)| *ends);
        self.earliest = ends.min().unwrap_or(u64::MAX);
    }
}

fn name_of(identity: &Identity) -> String {
    format!("{}|{}", identity.scope, identity.nonce)
}

#[cfg(test)]
mod tests {
    use tollway_core::Network;

    use super::*;

    fn identity(nonce: &str) -> Identity {
        let network = Network::eip155(84532);
        Identity {
            payer: network.address(&format!("0x{:040x}", 1)).unwrap(),
            network,
            scope: "0xdb".to_owned(),
            nonce: nonce.to_owned(),
        }
    }

    fn hold(takes: u64) -> Hold {
        Hold {
            manager: Address::ZERO,
            delegation: B256::ZERO,
            enforcer: Enforcer::PeriodTransfer,
            takes: U256::from(takes),
        }
    }

    fn others(allowances: &Allowances, nonce: &str, takes: u64, now: u64) -> u64 {
        let others = allowances.take(&identity(nonce), &[hold(takes)], now + 60, now);
        others.unwrap()[0].to()
    }

    #[test]
    fn each_payment_sees_what_the_others_take() {
        let allowances = Allowances::default();
        assert_eq!(others(&allowances, "a", 10, 0), 0);
        assert_eq!(others(&allowances, "b", 5, 0), 10);
        assert_eq!(
            others(&allowances, "a", 10, 0),
            5,
            "its own is not another's"
        );
        allowances.release(&identity("b"));
        assert_eq!(others(&allowances, "c", 1, 0), 10);
    }

    #[test]
    fn what_can_no_longer_settle_holds_nothing() {
        let allowances = Allowances::default();
        assert_eq!(others(&allowances, "a", 10, 0), 0);
        assert_eq!(others(&allowances, "b", 5, 59), 10);
        assert_eq!(others(&allowances, "c", 5, 60), 5);
        assert_eq!(others(&allowances, "d", 5, 500), 0);
        assert_eq!(allowances.held().payments.len(), 1);
        assert_eq!(allowances.held().sums.len(), 1);
    }
}
