//! What was spent on gas today, and whether more may be.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tollway_core::{Address, Amount, Network, Timestamp, codes};
use tollway_ledger::{Cost, GasSpent, LedgerError, SettlementStore};

use super::config::{GasCap, GasCaps};
use super::error::EngineError;

/// Payers that are remembered; what is forgotten is read again.
const MOST_PAYERS: usize = 65_536;
const DAY_SECS: u64 = 86_400;

#[derive(Debug, Default)]
struct Day {
    number: u64,
    /// Of all payers, once it was read.
    all: Option<GasSpent>,
    /// Lost, by payer, as far as it was read.
    lost: HashMap<Address, Amount>,
}

/// One network's gas of the day, read from the ledger and kept up with receipts.
#[derive(Debug, Default)]
pub(super) struct Gas {
    day: Mutex<Day>,
    /// Fees since the start, and how many payments they were for.
    since_start: Mutex<(Amount, u128)>,
}

impl Gas {
    /// Refuses a payer whose payments cost too much, and everybody when the
    /// day's gas is used up.
    pub(super) async fn admit(
        &self,
        caps: GasCaps,
        funds: Option<Amount>,
        store: &dyn SettlementStore,
        network: &Network,
        payer: &Address,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let unbounded = [caps.per_day, caps.lost_per_payer_and_day];
        if unbounded == [GasCap::Unbounded; 2] {
            return Ok(());
        }
        let all = self.all(store, network, now).await;
        let all = all.map_err(|e| EngineError::ledger(&e))?;
        let whole = funds.map(|funds| add(funds, all.fee));
        if all.fee >= bound(caps.per_day, whole) {
            return Err(used_up());
        }
        let cap = bound(caps.lost_per_payer_and_day, whole);
        // Nobody lost anything today: nobody is asked about.
        if all.lost.is_zero() {
            return Ok(());
        }
        let lost = self.lost(store, network, payer, now).await;
        let lost = lost.map_err(|e| EngineError::ledger(&e))?;
        match lost >= cap {
            true => Err(used_up()),
            false => Ok(()),
        }
    }

    async fn all(
        &self,
        store: &dyn SettlementStore,
        network: &Network,
        now: Timestamp,
    ) -> Result<GasSpent, LedgerError> {
        if let Some(all) = self.today(now).all {
            return Ok(all);
        }
        let read = store.gas_spent(network, now, None).await?;
        Ok(*self.today(now).all.get_or_insert(read))
    }

    async fn lost(
        &self,
        store: &dyn SettlementStore,
        network: &Network,
        payer: &Address,
        now: Timestamp,
    ) -> Result<Amount, LedgerError> {
        if let Some(lost) = self.today(now).lost.get(payer) {
            return Ok(*lost);
        }
        let read = store.gas_spent(network, now, Some(payer)).await?.lost;
        let mut day = self.today(now);
        if day.lost.len() >= MOST_PAYERS {
            day.lost.clear();
        }
        Ok(*day.lost.entry(payer.clone()).or_insert(read))
    }

    /// What a payment has cost since the start, on average.
    pub(super) fn per_payment(&self) -> Option<Amount> {
        let since_start = self.since_start.lock();
        let (fees, payments) = *since_start.unwrap_or_else(PoisonError::into_inner);
        let each = fees.as_u128()?.checked_div(payments)?;
        Some(Amount::from_atomic(each))
    }

    /// These are in the ledger now.
    pub(super) fn spent(&self, costs: &[Cost], now: Timestamp) {
        let since_start = self.since_start.lock();
        let mut since_start = since_start.unwrap_or_else(PoisonError::into_inner);
        for cost in costs {
            *since_start = (add(since_start.0, cost.fee), since_start.1 + 1);
        }
        drop(since_start);
        let mut day = self.today(now);
        for cost in costs {
            if let Some(all) = &mut day.all {
                all.fee = add(all.fee, cost.fee);
                if cost.lost {
                    all.lost = add(all.lost, cost.fee);
                }
            }
            if cost.lost
                && let Some(lost) = day.lost.get_mut(&cost.payer)
            {
                *lost = add(*lost, cost.fee);
            }
        }
    }

    /// The day's book; yesterday's is closed.
    fn today(&self, now: Timestamp) -> MutexGuard<'_, Day> {
        let mut day = self.day.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now.secs() / DAY_SECS;
        if day.number != number {
            *day = Day {
                number,
                ..Day::default()
            };
        }
        day
    }
}

/// The cap in fees; `whole` is what the accounts have and have spent today.
fn bound(cap: GasCap, whole: Option<Amount>) -> Amount {
    match (cap, whole) {
        (GasCap::Fees(most), _) => most,
        (GasCap::Share(thousandths), Some(whole)) if !whole.is_zero() => {
            let whole = whole.as_u128();
            let part = whole.and_then(|whole| whole.checked_mul(thousandths.into()));
            part.map_or(Amount::MAX, |part| Amount::from_atomic(part / 1000))
        }
        // Where gas costs nothing, nobody has any.
        (GasCap::Share(_) | GasCap::Unbounded, _) => Amount::MAX,
    }
}

fn add(a: Amount, b: Amount) -> Amount {
    a.checked_add(b).unwrap_or(Amount::MAX)
}

fn used_up() -> EngineError {
    let mut error = EngineError::new(
        codes::GAS_BUDGET_EXHAUSTED,
        "What may be spent on gas today is used up, for this payer or in all; pay elsewhere or tomorrow.",
    );
    error.retry_after = std::time::Duration::from_secs(3600);
    error
}
