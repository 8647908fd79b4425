//! What sharing a transaction needs on the chain: Multicall3, or settling
//! accounts that run our executor's code (EIP-7702).

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use alloy_consensus::{TxEip1559, TxEip7702};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address as Account, Bytes, TxKind, U256};
use serde_json::Value;
use tollway_core::{Address, Broadcast, ChainError, Raw, TxHash};
use tollway_rpc::ask::{ask, typed};
use tollway_rpc::{Batch, RpcError};

use super::EvmChain;
use super::config::BatchWay;
use super::seal::{signature, signed};
use crate::SigningKey;
use crate::contracts::{CREATE2_DEPLOYER, executor_address, executor_deployment, is_executor};
use crate::node::{Block, LATEST, Receipt};

/// EIP-7702's designator: this, and the address whose code an account runs.
const DESIGNATOR: [u8; 3] = [0xef, 0x01, 0x00];
/// Gas of a transaction that only delegates.
const DELEGATION_GAS: u64 = 100_000;
/// Gas of deploying the executor.
const DEPLOYMENT_GAS: u64 = 1_000_000;
/// How long a set-up transaction is waited for.
const SET_UP_WAIT: Duration = Duration::from_secs(60);

type Answers = std::vec::IntoIter<Result<Value, RpcError>>;

impl EvmChain {
    /// The start check's questions about sharing.
    pub(super) fn ask_sharing(&self, batch: &mut Batch) {
        batch.push("eth_getBlockByNumber", &(LATEST, false));
        batch.push("eth_getCode", &(self.contracts.multicall3, LATEST));
        batch.push("eth_getCode", &(self.contracts.upto_proxy, LATEST));
        for manager in &self.managers {
            batch.push("eth_getCode", &(manager, LATEST));
        }
        if self.limits.batch_way == BatchWay::SelfCall {
            batch.push("eth_getCode", &(executor_address(), LATEST));
            for signer in &self.signers {
                batch.push("eth_getCode", &(signer.address(), LATEST));
            }
        }
    }

    /// And their answers.
    pub(super) fn read_sharing(&self, answers: &mut Answers) -> Result<(), ChainError> {
        let block: Block = typed("eth_getBlockByNumber", answers.next())?;
        self.saw_block(&block);
        let multicall: Bytes = typed("eth_getCode", answers.next())?;
        self.start
            .multicall
            .store(!multicall.is_empty(), Ordering::Release);
        let upto: Bytes = typed("eth_getCode", answers.next())?;
        self.start.no_upto.store(upto.is_empty(), Ordering::Release);
        for manager in &self.managers {
            let code: Bytes = typed("eth_getCode", answers.next())?;
            self.saw_code(*manager, &code);
        }
        if self.limits.batch_way != BatchWay::SelfCall {
            return Ok(());
        }
        let executor: Bytes = typed("eth_getCode", answers.next())?;
        let there = is_executor(&executor);
        let mut delegated = Vec::with_capacity(self.signers.len());
        for _ in &self.signers {
            let code: Bytes = typed("eth_getCode", answers.next())?;
            delegated.push(there && is_delegated(&code));
        }
        *self
            .start
            .delegated
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = delegated;
        Ok(())
    }

    /// Whether `upto` is settled here, as far as is known.
    pub(super) fn settles_upto(&self) -> bool {
        !self.start.no_upto.load(Ordering::Acquire)
    }

    /// The settling accounts that run our executor's code.
    pub(super) fn delegated(&self) -> Vec<Address> {
        let delegated = self
            .start
            .delegated
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let both = self.accounts.iter().zip(delegated.iter());
        both.filter(|(_, delegated)| **delegated)
            .map(|(account, _)| account.clone())
            .collect()
    }

    /// Makes ready for [`BatchWay::SelfCall`]: deploys the executor where it is
    /// missing, and delegates every settling account to it that has no code.
    /// Each delegation takes two of the account's nonces, so this runs before
    /// anything is settled with them. Returns what was sent.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`] if the node fails, an account has another
    /// delegation, or a transaction is not included within a minute.
    pub async fn set_up_self_calls(&self) -> Result<Vec<TxHash>, ChainError> {
        self.require_check().await?;
        let mut sent = Vec::new();
        if let Some(first) = self.signers.first() {
            sent.extend(self.deploy_executor(first).await?);
        }
        for signer in &self.signers {
            sent.extend(self.delegate(signer).await?);
        }
        self.check()
            .await
            .map_err(|e| ChainError::unavailable_because(e.to_string(), "after set-up"))?;
        Ok(sent)
    }

    async fn deploy_executor(&self, signer: &SigningKey) -> Result<Option<TxHash>, ChainError> {
        if is_executor(&self.code(executor_address()).await?) {
            return Ok(None);
        }
        let fees = self.current_fees().await?;
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.transaction_count(signer.address()).await?,
            gas_limit: DEPLOYMENT_GAS,
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.priority,
            to: TxKind::Call(CREATE2_DEPLOYER),
            input: executor_deployment(),
            ..TxEip1559::default()
        };
        self.send_and_wait(signed(transaction, signer).await?)
            .await
            .map(Some)
    }

    async fn delegate(&self, signer: &SigningKey) -> Result<Option<TxHash>, ChainError> {
        let account = signer.address();
        let code = self.code(account).await?;
        if is_delegated(&code) {
            return Ok(None);
        }
        if !code.is_empty() {
            return Err(ChainError::unavailable_because(
                "A settling account runs other code; end its delegation or configure another account.",
                format!("{account:#x} has code"),
            ));
        }
        let nonce = self.transaction_count(account).await?;
        let authorization = Authorization {
            chain_id: U256::from(self.chain_id),
            address: executor_address(),
            // The transaction itself takes the first.
            nonce: nonce + 1,
        };
        let proof = signature(signer.sign(authorization.signature_hash()).await?);
        let fees = self.current_fees().await?;
        let transaction = TxEip7702 {
            chain_id: self.chain_id,
            nonce,
            gas_limit: DELEGATION_GAS,
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.priority,
            to: account,
            authorization_list: vec![authorization.into_signed(proof)],
            ..TxEip7702::default()
        };
        self.send_and_wait(signed(transaction, signer).await?)
            .await
            .map(Some)
    }

    pub(super) async fn code(&self, account: Account) -> Result<Bytes, ChainError> {
        ask(&self.rpc, "eth_getCode", (account, LATEST)).await
    }

    async fn send_and_wait(&self, raw: Raw) -> Result<TxHash, ChainError> {
        let until = Instant::now() + SET_UP_WAIT;
        while Instant::now() < until {
            let said = self.send_raw(&raw).await?;
            let receipt: Option<Receipt> =
                ask(&self.rpc, "eth_getTransactionReceipt", [&raw.hash]).await?;
            match (receipt, said) {
                (Some(receipt), _) if receipt.status == Some(alloy_primitives::U64::from(1)) => {
                    return Ok(raw.hash);
                }
                (Some(_), _) => return Err(not_set_up("a set-up transaction failed")),
                (None, Broadcast::Rejected(why)) => return Err(not_set_up(&why)),
                (None, _) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
        Err(not_set_up("a set-up transaction was not included in time"))
    }
}

fn not_set_up(detail: &str) -> ChainError {
    ChainError::unavailable_because(
        "The settling accounts could not be made ready for shared transactions; try again later.",
        detail,
    )
}

fn is_delegated(code: &Bytes) -> bool {
    code.strip_prefix(&DESIGNATOR) == Some(executor_address().as_slice())
}
