//! A daily budget for what is paid for others, kept in the ledger.

use std::sync::Arc;

use async_trait::async_trait;
use tollway_core::{Address, Amount, ChainError, Clock, GasPurse, Network};

use crate::Store;
use crate::steps::gas;
use crate::store::{Step, step_name};

/// So much for all on each network and UTC day, and so much of it for one payer.
pub struct DailyPurse {
    store: Store,
    clock: Arc<dyn Clock>,
    per_day: Amount,
    per_payer: Amount,
}

impl DailyPurse {
    /// Both in the chain's own atomic units (wei).
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>, per_day: Amount, per_payer: Amount) -> Self {
        Self {
            store,
            clock,
            per_day,
            per_payer,
        }
    }
}

#[async_trait]
impl GasPurse for DailyPurse {
    async fn take(
        &self,
        network: &Network,
        whom: &Address,
        most: Amount,
    ) -> Result<bool, ChainError> {
        let (network, whom, now) = (network.clone(), whom.clone(), self.clock.now());
        let caps = (self.per_day, self.per_payer);
        let step = self
            .store
            .write(step_name!("help"), async move |step: &mut Step| {
                gas::help(step, &network, &whom, most, caps, now).await
            });
        step.await.map_err(|error| {
            ChainError::unavailable(format!("the ledger did not take a step: {error}"))
        })
    }
}
