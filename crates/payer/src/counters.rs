//! Live counters of one payer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tollway_core::{Address, Amount, Network};

use crate::error::PayError;
use crate::payment::Payment;

/// What a payer did since it was built.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counters {
    /// Calls that have not ended.
    pub in_flight: u64,
    /// Payments whose money moved, as far as the server or the chain says.
    pub payments: u64,
    /// What they cost, one entry for each asset.
    pub spent: Vec<Spent>,
    /// The last of them.
    pub last_payment: Option<Payment>,
    /// Code and sentence of the last call that failed.
    pub last_error: Option<String>,
}

/// What was spent of one asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// Where.
    pub network: Network,
    /// What.
    pub asset: Address,
    /// What people call it.
    pub symbol: Option<String>,
    /// Atomic units.
    pub amount: Amount,
}

#[derive(Debug, Default)]
struct Tally {
    in_flight: u64,
    payments: u64,
    spent: BTreeMap<(Network, Address), (Option<String>, Amount)>,
    last_payment: Option<Payment>,
    last_error: Option<String>,
}

/// Where the counting is done.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Tally>);

/// Counts a call as in flight until it is dropped.
pub(crate) struct InFlight<'a>(&'a Meter);

impl Meter {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.tally().in_flight += 1;
        InFlight(self)
    }

    pub(crate) fn paid(&self, payment: &Payment) {
        let mut tally = self.tally();
        tally.payments += 1;
        let key = (payment.network.clone(), payment.asset.clone());
        let (_, spent) = tally
            .spent
            .entry(key)
            .or_insert_with(|| (payment.symbol.clone(), Amount::ZERO));
        *spent = spent.checked_add(payment.amount).unwrap_or(Amount::MAX);
        tally.last_payment = Some(payment.clone());
    }

    pub(crate) fn failed(&self, error: &PayError) {
        self.tally().last_error = Some(error.to_string());
    }

    pub(crate) fn read(&self) -> Counters {
        let tally = self.tally();
        let spent = tally
            .spent
            .iter()
            .map(|((network, asset), (symbol, amount))| Spent {
                network: network.clone(),
                asset: asset.clone(),
                symbol: symbol.clone(),
                amount: *amount,
            });
        Counters {
            in_flight: tally.in_flight,
            payments: tally.payments,
            spent: spent.collect(),
            last_payment: tally.last_payment.clone(),
            last_error: tally.last_error.clone(),
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut tally = self.0.tally();
        tally.in_flight = tally.in_flight.saturating_sub(1);
    }
}
