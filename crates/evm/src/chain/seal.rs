//! Plans and signed transactions.

use alloy_consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address as Account, Bytes, Signature, TxKind, U256};
use tollway_core::{ChainError, Plan, PlannedPayment, Raw, Slot, TxHash};

use super::EvmChain;
use super::fees::Fees;
use super::presented::settle_call;
use crate::EvmSigner;
use crate::authorization::SignedAuthorization;

impl EvmChain {
    /// One transaction per payment. Without payments: one cancellation.
    pub(super) fn plan_each(&self, payments: &[PlannedPayment]) -> Vec<Plan> {
        if payments.is_empty() {
            return vec![Plan {
                payments: Vec::new(),
                gas_limit: self.limits.cancel_gas,
                signers: self.accounts.clone(),
            }];
        }
        payments
            .iter()
            .map(|payment| self.plan_one(payment))
            .collect()
    }

    fn plan_one(&self, payment: &PlannedPayment) -> Plan {
        let pinned = &payment.verified.signers;
        let signers = if pinned.is_empty() {
            &self.accounts
        } else {
            pinned
        };
        Plan {
            payments: vec![payment.clone()],
            gas_limit: payment.verified.gas,
            signers: signers.clone(),
        }
    }

    pub(super) async fn seal_transaction(
        &self,
        plan: &Plan,
        slot: &Slot,
    ) -> Result<Raw, ChainError> {
        let signer = self.signer(&slot.signer)?;
        let (to, input) = self.effect(plan, signer.address())?;
        let mut fees = self.current_fees().await?;
        if let Some(old) = &slot.replaces {
            fees = self.outbid(fees_of(old, slot.nonce)?, fees)?;
        }
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce: slot.nonce,
            gas_limit: plan.gas_limit,
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.priority,
            to: TxKind::Call(to),
            value: U256::ZERO,
            access_list: alloy_eips::eip2930::AccessList::default(),
            input,
        };
        Ok(signed(transaction, signer))
    }

    /// What the transaction calls: the token, or the signer itself with nothing.
    fn effect(&self, plan: &Plan, signer: Account) -> Result<(Account, Bytes), ChainError> {
        let payment = match plan.payments.as_slice() {
            [] => return Ok((signer, Bytes::new())),
            [payment] => payment,
            several => {
                return Err(ChainError::unavailable(format!(
                    "a plan of {} payments was not made here",
                    several.len()
                )));
            }
        };
        let intent = &payment.verified.intent;
        let presented = SignedAuthorization::parse(&intent.payload.payload)?;
        if presented.authorization.value != payment.charge.amount.as_u256() {
            return Err(crate::refusal::refuse(
                tollway_core::codes::INVALID_EXACT_EVM_PAYLOAD_AUTHORIZATION_VALUE_MISMATCH,
                "an exact payment is charged whole",
            )
            .into());
        }
        let asset = super::known_account(&intent.expected.asset)?;
        Ok((asset, settle_call(&presented)?))
    }
}

fn signed(transaction: TxEip1559, signer: &EvmSigner) -> Raw {
    let bytes = signer.sign(transaction.signature_hash());
    let signature = Signature::new(
        U256::from_be_slice(&bytes[..32]),
        U256::from_be_slice(&bytes[32..64]),
        bytes[64] == 28,
    );
    let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
    Raw {
        hash: TxHash::new(&format!("{:#x}", envelope.tx_hash())),
        bytes: envelope.encoded_2718(),
    }
}

/// The fees of the transaction that is replaced. A foreign nonce would mean
/// that two transactions could both land.
fn fees_of(raw: &Raw, nonce: u64) -> Result<Fees, ChainError> {
    let envelope = TxEnvelope::decode_2718(&mut raw.bytes.as_slice())
        .map_err(|e| ChainError::unavailable(format!("the replaced transaction: {e}")))?;
    if envelope.nonce() != nonce {
        return Err(ChainError::unavailable(format!(
            "the replaced transaction has nonce {}, the slot {nonce}",
            envelope.nonce()
        )));
    }
    Ok(Fees {
        max_fee: envelope.max_fee_per_gas(),
        priority: envelope
            .max_priority_fee_per_gas()
            .unwrap_or_else(|| envelope.max_fee_per_gas()),
    })
}
