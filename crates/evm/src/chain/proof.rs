//! A transaction that the buyer shows as proof, checked in the reference's order:
//! reference, signature, receipt, status, transfer, time, depth.

use alloy_primitives::{Address as Account, Bytes, U256};
use alloy_sol_types::SolCall;
use tollway_core::{ChainError, Intent, Refusal, Terms, Verified, codes};
use tollway_rpc::Batch;
use tollway_rpc::ask::{ask, ask_all, typed};

use super::outcome::{is_included, succeeded};
use super::simulate::says_valid;
use super::{EvmChain, account};
use crate::abi::Account as AccountAbi;
use crate::methods::txid::{ProofTerms, SignedProof};
use crate::node::{Block, CallRequest, LATEST, Receipt};
use crate::receipt::{Uses, transfer_of};
use crate::refusal::refuse;
use crate::signer::recover;
use crate::token::Token;

impl EvmChain {
    pub(super) async fn verify_proof(
        &self,
        intent: &Intent,
        proof: &SignedProof,
        token: &Token,
    ) -> Result<Verified, ChainError> {
        let terms = ProofTerms::of(&intent.terms)?;
        self.check_reference(proof, &terms)?;
        self.require_check().await?;
        let mut batch = Batch::new();
        batch.push("eth_getCode", &(proof.from, LATEST));
        batch.push("eth_getTransactionReceipt", &[proof.tx_hash]);
        let mut answers = ask_all(&self.rpc, batch).await?;
        let code: Bytes = typed("eth_getCode", answers.next())?;
        let receipt: Option<Receipt> = typed("eth_getTransactionReceipt", answers.next())?;
        if terms.reference.is_some() {
            self.check_proof_signature(intent, proof, &code).await?;
        }
        let receipt = receipt.filter(|r| is_included(r) && r.transaction_hash == proof.tx_hash);
        let Some(receipt) = receipt else {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_TXID_NOT_FOUND,
                "wait until it is included",
            )
            .into());
        };
        if succeeded(&receipt) != Some(true) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_TXID_REVERTED,
                "pay with another transaction",
            )
            .into());
        }
        let uses = self.uses(&receipt);
        check_transfer(&uses, proof, &intent.terms, token.address, terms.strict)?;
        self.check_time(&receipt, &intent.terms, &terms).await?;
        let finality = intent.terms.finality.unwrap_or_default();
        if !self.is_deep_enough(&receipt, finality).await? {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_TXID_NOT_FINAL,
                "wait for more blocks",
            )
            .into());
        }
        Ok(Verified {
            intent: intent.clone(),
            gas: 0,
            signers: Vec::new(),
        })
    }

    /// The offer is the one that is asked for, and still stands.
    fn check_reference(&self, proof: &SignedProof, terms: &ProofTerms<'_>) -> Result<(), Refusal> {
        let others = terms.reference.is_some_and(|ours| ours != proof.reference);
        let over = terms.expires_at.is_some_and(|end| self.now().secs() >= end);
        if others || over {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_TXID_REFERENCE,
                "send its hash to the seller, and do not pay again for it",
            ));
        }
        Ok(())
    }

    /// By the payer of the transaction: its code if it has any, else its key.
    async fn check_proof_signature(
        &self,
        intent: &Intent,
        proof: &SignedProof,
        code: &Bytes,
    ) -> Result<(), ChainError> {
        let wrong = || {
            refuse(
                codes::INVALID_EXACT_EVM_TXID_SIGNATURE,
                "sign the proof with the account that paid",
            )
        };
        let resource = intent.payload.resource.as_ref();
        let resource = resource.map_or("", |resource| resource.url.as_str());
        let statement = proof.statement(&intent.terms, resource);
        let digest = statement.ok_or_else(wrong)?.digest(self.chain_id);
        if code.is_empty() {
            let own = recover(digest, &proof.signature) == Some(proof.from);
            return if own { Ok(()) } else { Err(wrong().into()) };
        }
        let question = AccountAbi::isValidSignatureCall {
            hash: digest,
            signature: proof.signature.clone(),
        };
        let question = Bytes::from(question.abi_encode());
        let mut request = CallRequest::new(proof.from, &question);
        request.gas = Some(alloy_primitives::U64::from(self.limits.signature_gas));
        let mut batch = Batch::new();
        batch.push("eth_call", &(request, LATEST));
        let answer = ask_all(&self.rpc, batch).await?.next();
        match says_valid(answer)? {
            true => Ok(()),
            false => Err(wrong().into()),
        }
    }

    /// The block lies in the offer's time: not before it was made, and not later
    /// than the payment may take.
    async fn check_time(
        &self,
        receipt: &Receipt,
        terms: &Terms,
        proof: &ProofTerms<'_>,
    ) -> Result<(), ChainError> {
        let block: Option<Block> = ask(
            &self.rpc,
            "eth_getBlockByNumber",
            (receipt.block_number, false),
        )
        .await?;
        let time = block
            .filter(|block| block.hash == receipt.block_hash)
            .and_then(|block| block.timestamp)
            .ok_or_else(|| ChainError::unavailable("the transaction's block is not known"))?;
        let (time, longest) = (time.to::<u64>(), terms.wire.max_timeout_seconds);
        let now = self.now().secs();
        let (first, last) = match proof.issued_at {
            Some(issued) => (issued, issued.saturating_add(longest)),
            None => (
                now.saturating_sub(longest),
                now.saturating_add(self.limits.clock_skew.as_secs()),
            ),
        };
        match (first..=last).contains(&time) {
            true => Ok(()),
            false => Err(refuse(
                codes::INVALID_EXACT_EVM_TXID_TOO_OLD,
                "send its hash to the seller, and do not pay again for it",
            )
            .into()),
        }
    }
}

/// The transfer that the proof means pays what is asked.
fn check_transfer(
    uses: &Uses<'_>,
    proof: &SignedProof,
    terms: &Terms,
    asset: Account,
    strict: bool,
) -> Result<(), Refusal> {
    let payee = account(&terms.pay_to).unwrap_or_default();
    let Some((_, to, value)) = uses.shown_by(asset, proof.from, proof.log_index) else {
        return Err(nothing_shown(uses.receipt, proof, asset, payee));
    };
    if uses.settles_otherwise(proof.from) {
        return Err(refuse(
            codes::INVALID_EXACT_EVM_TXID_OTHER_METHOD,
            "pay with a transfer of its own",
        ));
    }
    if to != payee {
        return Err(refuse(
            codes::INVALID_EXACT_EVM_TXID_RECIPIENT_MISMATCH,
            "pay the payee that is asked for",
        ));
    }
    let asked = terms.amount.as_u256();
    let stated = proof.amount.is_none_or(|stated| stated == value);
    if value < asked || value.is_zero() || (strict && value != asked) || !stated {
        return Err(refuse(
            codes::INVALID_EXACT_EVM_TXID_AMOUNT_MISMATCH,
            "pay the amount that is asked",
        ));
    }
    Ok(())
}

/// Why no transfer is the one that the proof means.
fn nothing_shown(
    receipt: &Receipt,
    proof: &SignedProof,
    asset: Account,
    payee: Account,
) -> Refusal {
    let moved: Vec<(Account, Account, U256)> = receipt
        .logs
        .iter()
        .filter(|log| log.address == asset)
        .filter_map(transfer_of)
        .collect();
    if moved.is_empty() {
        return refuse(
            codes::INVALID_EXACT_EVM_TXID_ASSET_MISMATCH,
            "pay with the asset that is asked for",
        );
    }
    if moved.iter().any(|(from, _, _)| *from == proof.from) {
        return refuse(
            codes::INVALID_EXACT_EVM_TXID_LOG_INDEX,
            "name the log where there are several, and only there",
        );
    }
    if moved.iter().any(|(_, to, _)| *to == payee) {
        return refuse(
            codes::INVALID_EXACT_EVM_TXID_PAYER_MISMATCH,
            "show it from the account that paid",
        );
    }
    refuse(
        codes::INVALID_EXACT_EVM_TXID_RECIPIENT_MISMATCH,
        "pay the payee that is asked for",
    )
}
