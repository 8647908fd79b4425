//! An owner's own transactions: what an account does and pays for itself, such
//! as allowing a session.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use starknet_crypto::Felt;
use tollway_core::{ChainError, Network, Refusal, TxHash, codes};
use tollway_rpc::ask::{ask, unavailable};
use tollway_rpc::{NotTaken, RpcClient, Spread};

use crate::account::StarknetAccount;
use crate::deploy::NewAccount;
use crate::felt;
use crate::invoke::{Bounds, Invoke};
use crate::node::{Block, LATEST, Num, Receipt, code, refused_with};
use crate::outside::{Call, calls_calldata};
use crate::prices::Prices;
use crate::refusal::refuse;
use crate::trace::Simulated;

/// L2 gas that a transaction may use while it is tried.
const TRIAL_GAS: u64 = 100_000_000;
/// L1 data gas that it may use.
const DATA_GAS: u64 = 16_000;
/// L2 gas for checking the signature, which a trial leaves out.
const VALIDATION_GAS: u64 = 2_000_000;
/// How often a receipt is asked for.
const POLL: Duration = Duration::from_millis(500);

/// An account that sends transactions of its own, signed by its owner.
#[derive(Clone, Debug)]
pub struct OwnerSender {
    rpc: RpcClient,
    chain_id: Felt,
    account: StarknetAccount,
    /// Most fri that one transaction may cost.
    max_fee: u128,
}

impl OwnerSender {
    /// `None` if the network is none of Starknet. `max_fee` is in fri
    /// (10^-18 STRK) per transaction.
    #[must_use]
    pub fn new(
        network: &Network,
        rpc: RpcClient,
        account: StarknetAccount,
        max_fee: u128,
    ) -> Option<Self> {
        Some(Self {
            rpc,
            chain_id: felt::chain_id(network)?,
            account,
            max_fee,
        })
    }

    /// Tries calls and sends them in one transaction: all happen, or none.
    ///
    /// # Errors
    /// `simulation_failed` with the reason in the log's detail; unavailable where
    /// fees are above the limit or a node fails.
    pub async fn send(&self, calls: &[Call]) -> Result<TxHash, ChainError> {
        let sealed = self.seal(calls).await?;
        self.submit_sealed(&sealed).await
    }

    /// Tries calls and signs the transaction that makes them. Nothing leaves.
    pub(crate) async fn seal(&self, calls: &[Call]) -> Result<Sealed, ChainError> {
        self.check_chain().await?;
        let sender = self.account.number;
        let params = json!([LATEST, felt::text(&sender)]);
        let nonce: Num = ask(&self.rpc, "starknet_getNonce", params).await?;
        let nonce =
            felt::to_u64(&nonce.0).ok_or_else(|| ChainError::unavailable("a nonce above 2^64"))?;
        let mut invoke = Invoke {
            sender,
            nonce,
            tip: 0,
            bounds: Bounds::default(),
            calldata: calls_calldata(calls),
        };
        invoke.bounds.l2_gas.amount = TRIAL_GAS;
        invoke.bounds.l1_data_gas.amount = DATA_GAS;
        let tried = self.try_out(json!(invoke.signed(&[]))).await?;
        invoke.bounds = self.bounds(&tried).await?;
        let signature = self.sign(&invoke.hash(&self.chain_id))?;
        Ok(Sealed {
            params: json!({ "invoke_transaction": invoke.signed(&signature) }),
            most: invoke.bounds.most(0),
        })
    }

    /// Sends what was signed.
    pub(crate) async fn submit_sealed(&self, sealed: &Sealed) -> Result<TxHash, ChainError> {
        let params = sealed.params.clone();
        self.submit("starknet_addInvokeTransaction", params).await
    }

    /// Which account sends.
    pub(crate) const fn number(&self) -> Felt {
        self.account.number
    }

    pub(crate) const fn chain_id(&self) -> &Felt {
        &self.chain_id
    }

    /// The class of an account, if it is there.
    pub(crate) async fn class_of(&self, number: &Felt) -> Result<Option<Felt>, ChainError> {
        class_of(&self.rpc, number).await
    }

    /// Deploys the account itself, out of the STRK that its address holds.
    ///
    /// # Errors
    /// As [`OwnerSender::send`]; `invalid_payload` if the account is not the one
    /// that this would deploy.
    pub async fn deploy(&self, new: &NewAccount) -> Result<TxHash, ChainError> {
        self.check_chain().await?;
        if new.address() != self.account.number || new.public_key != self.account.key.public() {
            return Err(refuse(
                codes::INVALID_PAYLOAD,
                "give the class, salt and key that the account's address was made from",
            )
            .into());
        }
        let block: Block = ask(&self.rpc, "starknet_getBlockWithTxHashes", [LATEST]).await?;
        let prices = Prices::of(&block)
            .ok_or_else(|| ChainError::unavailable("a block with prices above 2^128"))?;
        let bounds = self.within_cap(prices.bounds(VALIDATION_GAS * 2, DATA_GAS))?;
        let signature = self.sign(&new.hash(&bounds, &self.chain_id))?;
        let params = json!({ "deploy_account_transaction": new.signed(&bounds, &signature) });
        self.submit("starknet_addDeployAccountTransaction", params)
            .await
    }

    /// Waits until a transaction is in an accepted block.
    ///
    /// # Errors
    /// `invalid_transaction_state` if it was reverted; unavailable once the time
    /// is up: then nothing is known, and the hash can be waited for again.
    pub async fn wait(&self, hash: &TxHash, most: Duration) -> Result<(), ChainError> {
        wait(&self.rpc, hash, most).await
    }

    async fn check_chain(&self) -> Result<(), ChainError> {
        let chain: Num = ask(&self.rpc, "starknet_chainId", [(); 0]).await?;
        match chain.0 == self.chain_id {
            true => Ok(()),
            false => Err(refuse(
                codes::INVALID_NETWORK,
                "give the RPC URL of the account's network",
            )
            .into()),
        }
    }

    async fn try_out(&self, transaction: Value) -> Result<Simulated, ChainError> {
        let method = "starknet_simulateTransactions";
        let params = json!({
            "block_id": LATEST,
            "transactions": [transaction],
            "simulation_flags": ["SKIP_VALIDATE", "SKIP_FEE_CHARGE"],
        });
        let answer = self.rpc.call::<[Simulated; 1]>(method, params).await;
        let [simulated] = match answer {
            Err(error) if refused_with(&error) == Some(code::EXECUTION_ERROR) => {
                return Err(failed(error).into());
            }
            answer => answer.map_err(unavailable(method))?,
        };
        match &simulated.transaction_trace.execute_invocation.revert_reason {
            Some(reason) => Err(failed(reason).into()),
            None => Ok(simulated),
        }
    }

    async fn bounds(&self, tried: &Simulated) -> Result<Bounds, ChainError> {
        let estimate = &tried.fee_estimation;
        let gas = felt::to_u64(&estimate.l2_gas_consumed.0);
        let data = felt::to_u64(&estimate.l1_data_gas_consumed.0);
        let (Some(gas), Some(data)) = (gas, data) else {
            return Err(ChainError::unavailable("an estimate above 2^64"));
        };
        let block: Block = ask(&self.rpc, "starknet_getBlockWithTxHashes", [LATEST]).await?;
        let prices = Prices::of(&block)
            .ok_or_else(|| ChainError::unavailable("a block with prices above 2^128"))?;
        let gas = gas.saturating_add(gas / 4).saturating_add(VALIDATION_GAS);
        self.within_cap(prices.bounds(gas, data.saturating_mul(2)))
    }

    fn within_cap(&self, bounds: Bounds) -> Result<Bounds, ChainError> {
        let most = bounds.most(0);
        match most > self.max_fee {
            false => Ok(bounds),
            true => Err(ChainError::unavailable_because(
                codes::sentence(codes::GAS_PRICE_TOO_HIGH).unwrap_or_default(),
                format!("needs {most} fri, cap {}", self.max_fee),
            )),
        }
    }

    fn sign(&self, hash: &Felt) -> Result<[Felt; 2], ChainError> {
        let signature = self.account.key.sign(hash);
        signature.map_err(|e| ChainError::unavailable(e.to_string()))
    }

    async fn submit(&self, method: &'static str, params: Value) -> Result<TxHash, ChainError> {
        let submitted = self
            .rpc
            .submit::<Added>(method, params, Spread::One, |_| false);
        let added = match submitted.await {
            Ok(Some(added)) => added,
            Ok(None) => return Err(ChainError::unavailable("taken before, without a hash")),
            // One node's refusal says nothing about what another one took.
            Err(NotTaken {
                error,
                perhaps_taken: false,
            }) if error.is_refusal() => {
                return Err(refuse(
                    codes::INVALID_TRANSACTION_STATE,
                    "see that the account is deployed, holds STRK for the fee, and is this key's",
                )
                .with_detail(error)
                .into());
            }
            Err(not_taken) => return Err(unavailable(method)(not_taken.error)),
        };
        Ok(TxHash::new(&felt::text(&added.transaction_hash.0)))
    }
}

/// A transaction that is signed, and what it may cost.
pub(crate) struct Sealed {
    params: Value,
    /// Most fri.
    pub most: u128,
}

/// Waits until a transaction is in an accepted block.
///
/// # Errors
/// As [`OwnerSender::wait`].
pub async fn wait(rpc: &RpcClient, hash: &TxHash, most: Duration) -> Result<(), ChainError> {
    let method = "starknet_getTransactionReceipt";
    let until = tokio::time::Instant::now() + most;
    loop {
        match rpc.call::<Receipt>(method, [hash.as_str()]).await {
            Ok(receipt) if receipt.block().is_some() => {
                return match receipt.succeeded() {
                    Some(true) => Ok(()),
                    _ => Err(reverted(hash).into()),
                };
            }
            Err(error) if !is_missing(&error) => return Err(unavailable(method)(error)),
            _ => {}
        }
        if tokio::time::Instant::now() >= until {
            return Err(ChainError::unavailable_because(
                format!("The transaction {hash} is not in a block yet; wait for it again."),
                "no receipt",
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether an account or contract is there.
///
/// # Errors
/// Unavailable where the node fails.
pub async fn is_deployed(rpc: &RpcClient, number: &Felt) -> Result<bool, ChainError> {
    Ok(class_of(rpc, number).await?.is_some())
}

async fn class_of(rpc: &RpcClient, number: &Felt) -> Result<Option<Felt>, ChainError> {
    let params = json!([LATEST, felt::text(number)]);
    match rpc.call::<Num>("starknet_getClassHashAt", params).await {
        Ok(class) => Ok(Some(class.0)),
        Err(error) if refused_with(&error) == Some(code::CONTRACT_NOT_FOUND) => Ok(None),
        Err(error) => Err(unavailable("starknet_getClassHashAt")(error)),
    }
}

#[derive(Deserialize)]
struct Added {
    transaction_hash: Num,
}

fn is_missing(error: &tollway_rpc::RpcError) -> bool {
    refused_with(error) == Some(code::TRANSACTION_NOT_FOUND)
}

fn failed(detail: impl std::fmt::Display) -> Refusal {
    refuse(
        codes::SIMULATION_FAILED,
        "see the log for the account's own words",
    )
    .with_detail(detail)
}

fn reverted(hash: &TxHash) -> Refusal {
    refuse(
        codes::INVALID_TRANSACTION_STATE,
        &format!("look at {hash} in an explorer"),
    )
}
