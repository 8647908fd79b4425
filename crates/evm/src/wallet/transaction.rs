//! Transactions of the payer's own: a transfer that is shown as proof.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address as Account, B256, Bytes, TxKind, U64, U256, hex};
use alloy_sol_types::SolCall;
use tollway_core::{
    Broadcast, ChainError, Network, Offered, Prepared, Raw, Terms, Wallet, WalletError, codes,
};
use tollway_rpc::ask::ask;
use tollway_rpc::{NotTaken, Spread};

use super::EvmWallet;
use crate::abi::Allowances;
use crate::chain::known_account;
use crate::chain::seal::signed;
use crate::chain::send::meant;
use crate::methods::Payment;
use crate::methods::txid::{ProofTerms, SignedProof};
use crate::node::{Block, CallRequest, LATEST, Receipt};
use crate::refusal::refuse;

/// How long a transaction is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// How often it is looked for.
const POLL: Duration = Duration::from_millis(250);
/// A transaction that was prepared and not seen blocks its nonce for so long.
const HOLDS_NONCE: Duration = Duration::from_secs(120);
/// Most wei per gas that the builder is offered, whatever a node recommends.
const MOST_TIP: u128 = 100_000_000_000;

/// The last transaction of a network that was prepared here.
#[derive(Debug, Default)]
pub(super) struct Sent(Mutex<HashMap<Network, (u64, Instant)>>);

/// What a transaction begins with.
pub(super) struct Next {
    pub nonce: u64,
    /// Wei per gas.
    pub max_fee: u128,
    pub tip: u128,
}

impl EvmWallet {
    /// A transfer of one's own, and the statement that it pays for this offer.
    pub(super) async fn prepare_transaction(
        &self,
        terms: &Terms,
        offered: Offered<'_>,
    ) -> Result<Prepared, WalletError> {
        let asked = ProofTerms::of(terms)?;
        let now = self.clock.now().secs();
        if asked.expires_at.is_some_and(|end| end <= now) {
            return Err(refuse(codes::NO_ACCEPTABLE_TERMS, "ask for the terms again").into());
        }
        let held = self.balance(&terms.network, &terms.asset).await?;
        if held.is_none_or(|held| held < terms.amount) {
            return Err(refuse(codes::INSUFFICIENT_FUNDS, "fund the paying account").into());
        }
        let transfer = Allowances::transferCall {
            to: known_account(&terms.pay_to)?,
            amount: terms.amount.as_u256(),
        };
        let asset = known_account(&terms.asset)?;
        let data = Bytes::from(transfer.abi_encode());
        let gas = self.estimate(terms, asset, &data).await?;
        let raw = self.transact(&terms.network, asset, data, gas).await?;
        let proof = self.proof(terms, &raw, asked.reference, offered).await?;
        Ok(Prepared {
            transaction: Some(raw),
            ..self.prepared(terms, Payment::Txid(proof))?
        })
    }

    async fn proof(
        &self,
        terms: &Terms,
        raw: &Raw,
        reference: Option<&str>,
        offered: Offered<'_>,
    ) -> Result<SignedProof, WalletError> {
        let mut proof = SignedProof {
            tx_hash: raw.hash.as_str().parse().unwrap_or(B256::ZERO),
            from: self.signer.address(),
            amount: Some(terms.amount.as_u256()),
            log_index: None,
            reference: reference.unwrap_or_default().to_owned(),
            signature: Bytes::new(),
        };
        let resource = offered.resource.map_or("", |r| r.url.as_str());
        let chain_id = terms.network.chain_id().unwrap_or_default();
        let statement = proof.statement(terms, resource);
        let digest = statement.map(|statement| statement.digest(chain_id));
        if let Some(digest) = digest.filter(|_| reference.is_some()) {
            proof.signature = Bytes::copy_from_slice(&self.signer.sign(digest).await?);
        }
        Ok(proof)
    }

    /// A signed call under this account's next nonce. Only confirmed nonces are
    /// read: some networks have no others. So while one that was prepared here is
    /// not in a block, no second one is made.
    pub(super) async fn transact(
        &self,
        network: &Network,
        to: Account,
        input: Bytes,
        gas_limit: u64,
    ) -> Result<Raw, WalletError> {
        let next = self.next(network).await?;
        let transaction = TxEip1559 {
            chain_id: network.chain_id().unwrap_or_default(),
            nonce: next.nonce,
            gas_limit,
            max_fee_per_gas: next.max_fee,
            max_priority_fee_per_gas: next.tip,
            to: TxKind::Call(to),
            input,
            ..TxEip1559::default()
        };
        Ok(signed(transaction, &self.signer).await?)
    }

    /// The next nonce and what gas costs, taken for one transaction.
    pub(super) async fn next(&self, network: &Network) -> Result<Next, WalletError> {
        let rpc = self.node(network)?;
        let account = self.signer.address();
        let nonce: U64 = ask(rpc, "eth_getTransactionCount", (account, LATEST)).await?;
        let nonce = nonce.to::<u64>();
        let block: Block = ask(rpc, "eth_getBlockByNumber", (LATEST, false)).await?;
        let base = block.base_fee_per_gas.unwrap_or_default();
        let tip = ask::<U256>(rpc, "eth_maxPriorityFeePerGas", [(); 0]).await;
        let tip = tip.map_or(1, |tip| tip.saturating_to::<u128>().clamp(1, MOST_TIP));
        let mut sent = self.sent.0.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = sent
            .get(network)
            .is_some_and(|(last, at)| *last >= nonce && at.elapsed() < HOLDS_NONCE);
        if under_way {
            return Err(refuse(
                codes::WALLET_UNAVAILABLE,
                "another transaction of this account is under way, try again later",
            )
            .into());
        }
        sent.insert(network.clone(), (nonce, Instant::now()));
        let base = base.saturating_to::<u128>();
        Ok(Next {
            nonce,
            max_fee: base.saturating_mul(2).saturating_add(tip),
            tip,
        })
    }

    /// Gas of a call, with a third more. One that would fail is not paid for.
    async fn estimate(&self, terms: &Terms, to: Account, data: &Bytes) -> Result<u64, WalletError> {
        let mut request = CallRequest::new(to, data);
        request.from = Some(self.signer.address());
        let rpc = self.node(&terms.network)?;
        let gas: U64 = ask(rpc, "eth_estimateGas", [request]).await?;
        let gas = gas.to::<u64>();
        Ok(gas.saturating_add(gas / 3))
    }

    /// Sends, and waits until it is in a block.
    pub(super) async fn send_and_wait(
        &self,
        network: &Network,
        raw: &Raw,
    ) -> Result<(), ChainError> {
        let rpc = match self.node(network) {
            Ok(rpc) => rpc,
            Err(WalletError::Refused(refusal)) => return Err(refusal.into()),
            Err(WalletError::Chain(error)) => return Err(error),
        };
        let text = hex::encode_prefixed(&raw.bytes);
        let taken = |error: &tollway_rpc::RpcError| meant(error) == Some(Broadcast::Accepted);
        let until = Instant::now() + LONGEST_WAIT;
        loop {
            let answer = rpc
                .submit::<B256>("eth_sendRawTransaction", [&text], Spread::All, taken)
                .await;
            let receipt: Option<Receipt> =
                ask(rpc, "eth_getTransactionReceipt", [&raw.hash]).await?;
            if let Some(receipt) = receipt.filter(|r| r.block_number.is_some()) {
                return match receipt.status == Some(U64::from(1)) {
                    true => Ok(()),
                    false => Err(refuse(
                        codes::INVALID_EXACT_EVM_TXID_REVERTED,
                        "pay with another transaction",
                    )
                    .into()),
                };
            }
            if let Err(NotTaken {
                error,
                perhaps_taken,
            }) = answer
            {
                let rejected = matches!(meant(&error), Some(Broadcast::Rejected(_)));
                if rejected && !perhaps_taken {
                    return Err(ChainError::unavailable_because(
                        "The node does not take the transaction; fund the account's gas and send the same again.",
                        error,
                    ));
                }
            }
            if Instant::now() >= until {
                return Err(ChainError::unavailable_because(
                    "The transaction is in no block yet; send the same again later, never another one.",
                    &raw.hash,
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
