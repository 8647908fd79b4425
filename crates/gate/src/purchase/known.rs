//! A payment that fits nothing that is sold now, and was taken once.
//!
//! Prices change, servers start again, keys are renewed. What the ledger holds a grant
//! for was claimed by terms that were told then: whoever shows the same payment again
//! hears what became of it, and is never told terms to pay anew.

use std::sync::Arc;

use tollway_core::header::{Presentation, Presented};
use tollway_core::{Terms, extensions};
use tollway_ledger::{GrantRecord, LedgerError};

use super::{Purchase, Target, payload_for};
use crate::gate::{Inner, Sale};

impl Purchase {
    /// Reads a payment by the terms that it names itself, if the ledger holds a grant
    /// that was claimed by it. Version 1 payments do not name theirs.
    ///
    /// # Errors
    /// The ledger's: nobody is told terms before it was asked.
    pub(crate) async fn read_known(
        gate: &Inner,
        sale: &Arc<Sale>,
        presented: Presented,
        target: Target,
    ) -> Result<Option<Self>, LedgerError> {
        let Some(purchase) = Self::read_by_its_own(gate, sale, presented, target) else {
            return Ok(None);
        };
        Ok(purchase.has_grant(gate).await?.then_some(purchase))
    }

    fn read_by_its_own(
        gate: &Inner,
        sale: &Arc<Sale>,
        presented: Presented,
        target: Target,
    ) -> Option<Self> {
        let Presentation::V2(payment) = &presented.payload else {
            return None;
        };
        let terms = Arc::new(Terms::check(payment.accepted.clone()).ok()?);
        let own_url = format!("{}{}", gate.base_url, target.path);
        let version = presented.version;
        let payload = payload_for(sale, presented, &terms, own_url);
        let identifier = extensions::read(&payload).ok()?;
        let read = Self::of(gate, Arc::clone(sale), (version, payload), terms, target).ok()?;
        Some(Self {
            identifier,
            is_only_known: true,
            ..read
        })
    }

    /// Whether a grant was claimed by this very payment, and holds.
    async fn has_grant(&self, gate: &Inner) -> Result<bool, LedgerError> {
        let is_own = |record: &GrantRecord| {
            !record.reclaimable && record.grant.payload_digest == self.payload_digest
        };
        if let Some(id) = &self.identifier {
            let named = gate.noted(gate.grants.grant_by_identifier(id.as_str()).await)?;
            if named.as_ref().is_some_and(is_own) {
                return Ok(true);
            }
        }
        let claimed = gate.grants.grant_by_identity(&self.intent.identity).await;
        Ok(gate.noted(claimed)?.as_ref().is_some_and(is_own))
    }
}
