//! Would this payment settle now?
//!
//! What can be refused without asking anybody comes first, in the scheme's
//! order; then what the node says, in the scheme's order; the simulation last.

use tollway_core::{Amount, ChainError, Intent, Phase, Verified, codes};

use super::StarknetChain;
use crate::payload::SignedExecution;
use crate::refusal::refuse;
use crate::rules;
use crate::transfer::Effect;

impl StarknetChain {
    pub(super) async fn verify_payment(
        &self,
        intent: Intent,
        phase: Phase,
        held: Amount,
    ) -> Result<Verified, ChainError> {
        let margins = self.limits.margins;
        let (terms, payment) = (&intent.terms, &intent.payload);
        let fee_payer = rules::check_terms(terms, payment, &self.executors, margins)?;
        if self.assets.find(&self.network, &terms.asset).is_none() {
            return Err(refuse(
                codes::ASSET_NOT_ALLOWED,
                "choose an asset that this facilitator settles",
            )
            .into());
        }
        let signed = SignedExecution::parse(&payment.payload, &self.chain_id)?;
        rules::check_execution(&signed, terms, &fee_payer, self.now(), phase, margins)?;

        self.require_check().await?;
        let nonce = self
            .check_account(&signed, &intent, &fee_payer, held)
            .await?;
        let effect = Effect::of(&intent.expected)
            .ok_or_else(|| ChainError::unavailable("an expected account is none of Starknet"))?;
        let gas = self.simulate(&signed, &fee_payer, nonce, &effect).await?;
        let sender = self.address(&fee_payer)?;
        Ok(Verified {
            intent,
            gas,
            signers: vec![sender],
        })
    }
}
