//! A daily budget for what is paid for others, kept in the ledger.

use std::sync::Arc;

use async_trait::async_trait;
use tollway_core::{Amount, ChainError, Clock, GasPurse, Network, Taken};

use crate::steps::gas::{self, HELP, SPONSORED};
use crate::store::{Step, step_name};
use crate::{LedgerError, Store};

/// So much for all on each network and UTC day, and so much of it for one of those
/// who are paid for. All replicas over one ledger take from the same.
pub struct DailyPurse {
    store: Store,
    clock: Arc<dyn Clock>,
    /// What tells this budget from others.
    name: &'static str,
    per_day: Amount,
    per_payer: Amount,
}

impl DailyPurse {
    /// For payers who are helped; both in the chain's own atomic units (wei).
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>, per_day: Amount, per_payer: Amount) -> Self {
        Self {
            store,
            clock,
            name: HELP,
            per_day,
            per_payer,
        }
    }

    /// For callers whose fees are paid: so much for each, in the chain's own atomic
    /// units (fri).
    #[must_use]
    pub fn of_callers(store: Store, clock: Arc<dyn Clock>, per_caller: Amount) -> Self {
        Self {
            store,
            clock,
            name: SPONSORED,
            per_day: Amount::MAX,
            per_payer: per_caller,
        }
    }
}

#[async_trait]
impl GasPurse for DailyPurse {
    async fn take(
        &self,
        network: &Network,
        whom: &str,
        most: Amount,
    ) -> Result<Option<Taken>, ChainError> {
        let taken = || Taken {
            network: network.clone(),
            whom: whom.to_owned(),
            most,
            day: gas::day(self.clock.now()),
        };
        let (asked, name) = (taken(), self.name);
        let day = asked.day;
        let caps = (self.per_day, self.per_payer);
        let step = self
            .store
            .write(step_name!("help"), async move |step: &mut Step| {
                gas::help(step, name, &asked, caps).await
            });
        let is_taken = step.await.map_err(unwritten)?;
        Ok(is_taken.then(|| Taken { day, ..taken() }))
    }

    async fn give_back(&self, taken: Taken) -> Result<(), ChainError> {
        let name = self.name;
        let step = self
            .store
            .write(step_name!("unhelp"), async move |step: &mut Step| {
                gas::give_back(step, name, &taken).await
            });
        step.await.map_err(unwritten)
    }
}

fn unwritten(error: LedgerError) -> ChainError {
    ChainError::unavailable(format!("the ledger did not take a step: {error}"))
}
