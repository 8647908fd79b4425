//! What a payment may ask for, said before anything is served.

use tollway_core::{Amount, Finality, Intent, Network, Refusal, Scheme, Settlement, codes};

use super::callers::Caller;
use super::config::EngineConfig;

impl EngineConfig {
    /// Refuses what the operator does not do for anybody.
    pub(super) fn check(&self, intent: &Intent, charge: Amount) -> Result<(), Refusal> {
        self.check_amount(intent, charge)?;
        self.check_finality(intent)
    }

    /// Refuses a metered payment of a caller who may not say what it comes to.
    pub(super) fn check_charging(&self, caller: &Caller, intent: &Intent) -> Result<(), Refusal> {
        let metered = intent.terms.scheme == Scheme::Upto;
        if !metered || self.open_upto || caller.speaks_for(&intent.terms.pay_to) {
            return Ok(());
        }
        Err(Refusal::new(
            codes::UPTO_CALLER_NOT_PAYEE,
            "What is charged of a maximum is said by the payee's API key here; ask the operator for one, or for the exact scheme.",
        ))
    }

    fn check_amount(&self, intent: &Intent, charge: Amount) -> Result<(), Refusal> {
        if intent.settlement != Settlement::Submit || self.min_amounts.is_empty() {
            return Ok(());
        }
        let place = (
            intent.identity.network.clone(),
            intent.expected.asset.clone(),
        );
        match self.min_amounts.get(&place) {
            Some(least) if charge < *least => Err(Refusal::new(
                codes::AMOUNT_TOO_SMALL,
                format!(
                    "Less than {least} atomic units of this asset is not settled here; ask for more, or for nothing."
                ),
            )),
            _ => Ok(()),
        }
    }

    fn check_finality(&self, intent: &Intent) -> Result<(), Refusal> {
        let Some(asked) = intent.terms.finality else {
            return Ok(());
        };
        let ours = self.finality_on(&intent.identity.network);
        let most = self.finality_cap.blocks().max(ours.blocks());
        match asked.blocks() <= most {
            true => Ok(()),
            false => Err(Refusal::new(
                codes::FINALITY_TOO_DEEP,
                format!(
                    "A payment is watched here for {most} blocks at most; ask for a finality that is not as deep."
                ),
            )),
        }
    }

    /// What the seller asks for, but never less than what the operator does.
    pub(super) fn finality_of(&self, intent: &Intent) -> Finality {
        let ours = self.finality_on(&intent.identity.network);
        intent.terms.finality.map_or(ours, |f| f.deeper(ours))
    }

    /// How deep a receipt must lie on a network.
    #[must_use]
    pub fn finality_on(&self, network: &Network) -> Finality {
        self.finality_by_network
            .get(network)
            .copied()
            .unwrap_or(self.finality)
    }
}
