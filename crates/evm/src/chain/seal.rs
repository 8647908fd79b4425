//! Signed transactions.

use std::sync::atomic::Ordering;

use alloy_consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address as Account, Bytes, Signature, TxKind, U256};
use tollway_core::{ChainError, Phase, Plan, PlannedPayment, Raw, Slot, TxHash, codes};

use super::EvmChain;
use super::batch::{by_itself, by_multicall};
use super::config::BatchWay;
use super::fees::Fees;
use super::plan::is_permission;
use super::presented::inner_signature;
use super::rules::check_charge;
use crate::SigningKey;
use crate::methods::Payment;
use crate::methods::eip3009::transfer_call;
use crate::methods::sponsoring::{Payer, SponsoredPermit};

impl EvmChain {
    pub(super) async fn seal_transaction(
        &self,
        plan: &Plan,
        slot: &Slot,
    ) -> Result<Raw, ChainError> {
        let signer = self.signer(&slot.signer)?;
        let (to, input) = self.effect(plan, slot, signer.address()).await?;
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
        signed(transaction, signer).await
    }

    /// What the transaction calls: the token, several through a batch, or the
    /// signer itself with nothing.
    async fn effect(
        &self,
        plan: &Plan,
        slot: &Slot,
        signer: Account,
    ) -> Result<(Account, Bytes), ChainError> {
        let calls = match plan.payments.as_slice() {
            [] => return Ok((signer, Bytes::new())),
            [payment] => return self.settling_call(payment, signer).await,
            several => {
                let mut calls = Vec::with_capacity(several.len());
                for payment in several {
                    calls.push(self.settling_call(payment, signer).await?);
                }
                calls
            }
        };
        match self.sharing() {
            Some((BatchWay::SelfCall, delegated)) if delegated.contains(&slot.signer) => {
                let gas = plan.gas_limit.saturating_sub(self.limits.transaction_gas);
                let each = gas / calls.len() as u64;
                let each = each.saturating_sub(self.limits.shared_gas);
                Ok(by_itself(signer, calls, each))
            }
            _ if self.start.multicall.load(Ordering::Acquire)
                && !plan
                    .payments
                    .iter()
                    .any(|p| is_permission(&p.verified.intent)) =>
            {
                Ok(by_multicall(self.contracts.multicall3, calls))
            }
            _ => Err(ChainError::unavailable(
                "payments cannot share a transaction on this chain now",
            )),
        }
    }

    /// The contract and the calldata that settle a payment.
    async fn settling_call(
        &self,
        payment: &PlannedPayment,
        signer: Account,
    ) -> Result<(Account, Bytes), ChainError> {
        let intent = &payment.verified.intent;
        let charge = payment.charge.amount.as_u256();
        let asset = super::known_account(&intent.expected.asset)?;
        match Payment::parse(&intent.payload.payload, &intent.terms)? {
            Payment::Eip3009(signed) => {
                let authorization = &signed.authorization;
                require_whole(authorization.value == charge)?;
                let wrong = codes::INVALID_EXACT_EVM_SIGNATURE;
                let signature = inner_signature(&signed.signature, wrong)?;
                Ok((asset, transfer_call(authorization, &signature)))
            }
            Payment::Permit2(signed) => {
                check_charge(&signed, charge, signer)?;
                let wrong = codes::INVALID_PERMIT2_SIGNATURE;
                let signature = inner_signature(&signed.signature, wrong)?;
                let extensions = intent.payload.extensions.as_ref();
                let payer = self.sponsored_payer(&signed, Phase::Settle);
                // It was in time when it was verified; where it is late by now the
                // allowance decides, as it does for one that somebody else used.
                let payer = Payer {
                    not_before: 0,
                    ..payer
                };
                let sponsored = SponsoredPermit::find(extensions, payer)?;
                let call = signed.settle_call(charge, &signature, sponsored.as_ref());
                Ok((self.contracts.proxy_for(&signed.permit.witness), call))
            }
            Payment::Eip2612(signed) => {
                require_whole(signed.permit.value == charge)?;
                let payee = super::known_account(&intent.expected.to)?;
                let call = (signed.permit.spender, signed.settle_call(asset));
                self.call_with_settler(payee, call).await
            }
            Payment::Erc7710(permission) => {
                require_whole(intent.expected.amount.as_u256() == charge)?;
                let payee = super::known_account(&intent.expected.to)?;
                let call = permission.redemption(asset, payee, charge);
                Ok((permission.manager, call))
            }
            Payment::Txid(_) => Err(ChainError::unavailable(
                "a transaction proof is looked at, not sent",
            )),
        }
    }
}

/// Only `upto` is charged in part.
fn require_whole(whole: bool) -> Result<(), ChainError> {
    match whole {
        true => Ok(()),
        false => Err(crate::refusal::refuse(
            codes::INVALID_EXACT_EVM_PAYLOAD_AUTHORIZATION_VALUE_MISMATCH,
            "an exact payment is charged whole",
        )
        .into()),
    }
}

/// Signs a transaction of whatever type.
pub(crate) async fn signed<T>(transaction: T, signer: &SigningKey) -> Result<Raw, ChainError>
where
    T: SignableTransaction<Signature>,
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let signature = signature(signer.sign(transaction.signature_hash()).await?);
    let envelope = TxEnvelope::from(transaction.into_signed(signature));
    Ok(Raw {
        hash: TxHash::new(&format!("{:#x}", envelope.tx_hash())),
        bytes: envelope.encoded_2718(),
    })
}

/// `r ‖ s ‖ v` as transactions and authorizations carry it.
pub(crate) fn signature(bytes: [u8; 65]) -> Signature {
    Signature::new(
        U256::from_be_slice(&bytes[..32]),
        U256::from_be_slice(&bytes[32..64]),
        bytes[64] == 28,
    )
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
