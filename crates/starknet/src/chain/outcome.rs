//! What a transaction did for a payment.

use serde::Deserialize;
use serde_json::{Value, json};
use starknet_crypto::Felt;
use tollway_core::{
    Amount, ChainError, Expected, Finality, Head, Identity, Outcome, Proof, Settled, TxHash,
};
use tollway_rpc::ask::unavailable;

use super::StarknetChain;
use super::look::receipts;
use crate::felt;
use crate::node::{Num, Receipt, code, refused_with};
use crate::selectors::EXECUTE_FROM_OUTSIDE;
use crate::transfer::Effect;

/// A transaction, as far as it tells whose execution it carries.
#[derive(Debug, Deserialize)]
pub(super) struct Sender {
    #[serde(default)]
    sender_address: Option<Num>,
    #[serde(default)]
    calldata: Vec<Num>,
}

/// What a transaction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// The execution and nothing else, sent by one of our accounts or not.
    It {
        /// Whether the sender is one of ours.
        ours: bool,
    },
    /// Another execution and nothing else, sent by one of our accounts.
    Another,
    /// Several calls, something that cannot be read, or an account of somebody else,
    /// which need not do what its calldata says.
    Unclear,
}

impl StarknetChain {
    /// Whether a receipt lies deep enough. Ethereum's acceptance is Starknet's
    /// only further step.
    pub(super) fn is_deep(head: &Head, receipt: &Receipt, finality: Finality) -> bool {
        let Some((block, _)) = receipt.block() else {
            return false;
        };
        match finality {
            Finality::Included => true,
            Finality::Confirmations(wanted) => {
                let deep = head.number.saturating_sub(block).saturating_add(1);
                block <= head.number && deep >= u64::from(wanted)
            }
            Finality::Safe | Finality::Finalized => receipt.is_on_l1(),
        }
    }

    /// What a transaction that carries one payment did for it.
    pub(super) fn judge_item(
        &self,
        receipt: &Receipt,
        expected: &Expected,
        by_third_party: bool,
    ) -> Result<Outcome, ChainError> {
        let transaction = TxHash::new(&felt::text(&receipt.transaction_hash.0));
        let fee = Amount::from(felt::to_u256(&receipt.actual_fee.amount.0));
        let (Some((block_number, block_hash)), Some(succeeded)) =
            (receipt.block(), receipt.succeeded())
        else {
            return Ok(Outcome::Unknown);
        };
        if !succeeded {
            return Ok(Outcome::NotSettled(Proof::Reverted { transaction, fee }));
        }
        let effect = Effect::of(expected)
            .ok_or_else(|| ChainError::unavailable("an expected account is none of Starknet"))?;
        let Some(place) = effect.find(&receipt.events) else {
            return Ok(Outcome::NotSettled(Proof::NoTransfer { transaction, fee }));
        };
        Ok(Outcome::Settled(Settled {
            transaction,
            block_number,
            block_hash: felt::text(&block_hash),
            log_index: u64::try_from(place).ok(),
            amount: effect.amount,
            gas_used: receipt.execution_resources.l2_gas,
            fee,
            by_third_party,
        }))
    }

    /// What one transaction, that somebody names, did for an identity.
    pub(super) async fn observe_transaction(
        &self,
        transaction: &TxHash,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Outcome, ChainError> {
        self.require_check().await?;
        let Ok(number) = felt::parse(transaction.as_str()) else {
            return Ok(Outcome::Unknown);
        };
        let hash = TxHash::new(&felt::text(&number));
        let found = receipts(&self.rpc, &[&hash]).await?.pop().flatten();
        let (head, _) = self.newest().await?;
        let Some(receipt) = found.filter(|r| Self::is_deep(&head, r, finality)) else {
            return Ok(Outcome::Unknown);
        };
        self.judge_foreign(&receipt, identity, expected).await
    }

    /// A transaction that may carry other executions than this one.
    pub(super) async fn judge_foreign(
        &self,
        receipt: &Receipt,
        identity: &Identity,
        expected: &Expected,
    ) -> Result<Outcome, ChainError> {
        let ours = match self.carried(&receipt.transaction_hash.0, identity).await? {
            Carried::It { ours } => ours,
            Carried::Unclear => return Ok(Outcome::Unknown),
            Carried::Another => {
                return Ok(Outcome::NotSettled(Proof::NoTransfer {
                    transaction: TxHash::new(&felt::text(&receipt.transaction_hash.0)),
                    fee: Amount::ZERO,
                }));
            }
        };
        let outcome = self.judge_item(receipt, expected, !ours)?;
        if matches!(outcome, Outcome::NotSettled(_)) {
            for other in self.receipts_elsewhere(&receipt.transaction_hash.0).await {
                if self.judge_item(&other, expected, !ours)? != outcome {
                    return Ok(Outcome::Unknown);
                }
            }
        }
        Ok(outcome)
    }

    /// Whether a transaction carries exactly this identity's execution.
    pub(super) async fn carried(
        &self,
        hash: &Felt,
        identity: &Identity,
    ) -> Result<Carried, ChainError> {
        let method = "starknet_getTransactionByHash";
        // By name: RPC 0.10 has a second parameter that others do not know.
        let params = json!({ "transaction_hash": felt::text(hash) });
        let answer = self.rpc.call::<Value>(method, params).await;
        let value = match answer {
            Err(error) if refused_with(&error) == Some(code::TRANSACTION_NOT_FOUND) => {
                return Ok(Carried::Unclear);
            }
            answer => answer.map_err(unavailable(method))?,
        };
        let Ok(sender) = serde_json::from_value::<Sender>(value) else {
            return Ok(Carried::Unclear);
        };
        let payer = super::known(&identity.payer)?;
        let ours = sender
            .sender_address
            .is_some_and(|address| self.executors.contains(&address.0));
        Ok(match only_execution(&sender.calldata, &payer) {
            Some(nonce) if felt::text(&nonce) == identity.nonce => Carried::It { ours },
            Some(_) if ours => Carried::Another,
            Some(_) | None => Carried::Unclear,
        })
    }
}

/// The nonce of the payer's execution, where that is all that a transaction does.
fn only_execution(calldata: &[Num], payer: &Felt) -> Option<Felt> {
    match calldata {
        [count, to, selector, length, _caller, nonce, rest @ ..] => {
            let whole = length.0 == Felt::from(rest.len() + 2);
            let is_it = count.0 == Felt::ONE
                && to.0 == *payer
                && selector.0 == EXECUTE_FROM_OUTSIDE
                && whole;
            is_it.then_some(nonce.0)
        }
        _ => None,
    }
}
