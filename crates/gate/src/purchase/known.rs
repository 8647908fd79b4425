//! A payment that fits nothing that is sold now, and was taken once.
//!
//! Prices change, servers start again, keys are renewed. What the ledger holds a grant
//! for was claimed by terms that were told then: whoever shows the same payment again
//! hears what became of it, and is never told terms to pay anew.

use std::sync::Arc;

use http::Response;
use tollway_core::header::{Presentation, Presented};
use tollway_core::wire::SettleResponse;
use tollway_core::{Network, Terms, codes, extensions};
use tollway_ledger::{GrantRecord, GrantState, LedgerError};

use super::{Purchase, Target, payload_digest, payload_for};
use crate::answer;
use crate::body::Body;
use crate::gate::{Inner, Sale};

/// The answer to a payment on a network that is not configured any more, if it names a
/// purchase of the ledger and is the very payment that made it: what became of that, and
/// no terms. Without its chain nothing more can be said or done about it.
pub(crate) async fn told_by_name(
    gate: &Inner,
    presented: &Presented,
) -> Result<Option<Response<Body>>, LedgerError> {
    let Presentation::V2(payment) = &presented.payload else {
        return Ok(None);
    };
    let network = payment.accepted.network.parse::<Network>();
    let is_foreign = network.is_ok_and(|network| !gate.chains.contains_key(&network));
    let Some(id) = extensions::read(payment)
        .ok()
        .flatten()
        .filter(|_| is_foreign)
    else {
        return Ok(None);
    };
    let named = gate.noted(gate.grants.grant_by_identifier(id.as_str()).await)?;
    let is_own = |record: &GrantRecord| {
        !record.reclaimable && record.grant.payload_digest == payload_digest(payment)
    };
    Ok(named.filter(is_own).map(|record| told(presented, record)))
}

fn told(presented: &Presented, record: GrantRecord) -> Response<Body> {
    let (code, has_ended) = match (record.state, record.refusal) {
        (GrantState::Released, _) => (codes::DUPLICATE_SETTLEMENT.to_owned(), true),
        (GrantState::Refused, Some((code, _))) => (code, true),
        _ => (codes::SETTLEMENT_PENDING.to_owned(), false),
    };
    let kept = record.receipt.map(serde_json::from_value);
    let receipt = SettleResponse {
        success: false,
        error_reason: Some(code),
        ..kept.and_then(Result::ok).unwrap_or_else(|| SettleResponse {
            payer: Some(record.grant.identity.payer.to_string()),
            network: record.grant.identity.network.to_string(),
            ..SettleResponse::default()
        })
    };
    match has_ended {
        true => answer::duplicate(presented.version, &receipt),
        false => answer::pending(presented.version, &receipt),
    }
}

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
