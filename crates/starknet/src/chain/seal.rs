//! Signed transactions.

use starknet_crypto::Felt;
use tollway_core::{ChainError, Plan, PlannedPayment, Raw, Slot, TxHash, codes};

use super::StarknetChain;
use crate::felt;
use crate::invoke::{Bounds, Invoke, InvokeJson};
use crate::outside::calls_calldata;
use crate::payload::SignedExecution;
use crate::refusal::refuse;

impl StarknetChain {
    pub(super) async fn seal_transaction(
        &self,
        plan: &Plan,
        slot: &Slot,
    ) -> Result<Raw, ChainError> {
        let account = self.account(&slot.signer)?;
        let calldata = match plan.payments.as_slice() {
            [] => calls_calldata(&[]),
            [payment] => self.calldata_of(payment, &account.number)?,
            _ => return Err(ChainError::unavailable("several payments in one plan")),
        };
        let replaced = slot.replaces.as_ref();
        let replaced = replaced.map(|old| terms_of(old, slot.nonce)).transpose()?;
        let (tip, bounds) = self.bounds(plan.gas_limit, replaced).await?;
        let invoke = Invoke {
            sender: account.number,
            nonce: slot.nonce,
            tip,
            bounds,
            calldata,
        };
        let hash = invoke.hash(&self.chain_id);
        let signature = account.key.sign(&hash);
        let signature = signature.map_err(|e| ChainError::unavailable(e.to_string()))?;
        let bytes = serde_json::to_vec(&invoke.signed(&signature));
        Ok(Raw {
            hash: TxHash::new(&felt::text(&hash)),
            bytes: bytes.map_err(ChainError::unavailable)?,
        })
    }

    /// An account sends only what names it as the caller.
    fn calldata_of(
        &self,
        payment: &PlannedPayment,
        sender: &Felt,
    ) -> Result<Vec<Felt>, ChainError> {
        let intent = &payment.verified.intent;
        let signed = SignedExecution::parse(&intent.payload.payload, &self.chain_id)?;
        if signed.execution.caller != *sender {
            return Err(refuse(
                codes::INVALID_EXACT_STARKNET_PAYLOAD_CALLER,
                "sign for extra.feePayer as the caller",
            )
            .into());
        }
        if payment.charge.amount != intent.expected.amount {
            return Err(refuse(
                codes::INVALID_EXACT_STARKNET_PAYLOAD_AMOUNT_MISMATCH,
                "an exact payment is charged whole",
            )
            .into());
        }
        Ok(settling_calldata(&signed))
    }
}

/// What the sender's `__execute__` is given: one call of the payer's account.
pub(super) fn settling_calldata(signed: &SignedExecution) -> Vec<Felt> {
    calls_calldata(&[signed.call()])
}

/// Tip and bounds of the transaction that is replaced. A foreign nonce would
/// mean that two transactions could both land.
fn terms_of(raw: &Raw, nonce: u64) -> Result<(u64, Bounds), ChainError> {
    let json: InvokeJson = serde_json::from_slice(&raw.bytes)
        .map_err(|e| ChainError::unavailable(format!("the replaced transaction: {e}")))?;
    match json.terms() {
        Some((old, tip, bounds)) if old == nonce => Ok((tip, bounds)),
        Some((old, ..)) => Err(ChainError::unavailable(format!(
            "the replaced transaction has nonce {old}, the slot {nonce}"
        ))),
        None => Err(ChainError::unavailable(
            "the replaced transaction's numbers",
        )),
    }
}
