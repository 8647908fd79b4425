//! An account without rights, for what somebody else's signature wants done
//! before a payment can settle: deploying a smart wallet (EIP-6492) and sending
//! an approval of the payer's. It never signs anything that could move more than
//! its own gas money, and no settling account ever makes such a call.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address as Account, B256, Bytes, TxKind, U64, U128, U256, keccak256};
use alloy_sol_types::SolCall;
use tollway_core::{
    Amount, Broadcast, ChainError, Phase, Raw, Refusal, Taken, Timestamp, TxHash, codes,
};
use tollway_rpc::ask::{ask, unavailable};

use super::batch::in_order;
use super::config::HelperAccount;
use super::diagnose::number_of;
use super::recent::Recent;
use super::seal::signed;
use super::simulate::{Trial, Tried, require_deployed, require_funds, require_key};
use super::{EvmChain, account_text};
use crate::abi::{Allowances, Token as Abi};
use crate::methods::sponsoring::{MAX_APPROVAL_GAS, SponsoredApproval};
use crate::node::{CallRequest, LATEST, Receipt, is_revert};
use crate::refusal::refuse;

/// Gas of sending somebody money for gas.
const FUNDING_GAS: u64 = 21_000;
/// How soon the same payer is given money for gas again, and a wallet that could not
/// be deployed is tried again.
const NOT_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// How often a transaction is looked for.
const HELPER_POLL: Duration = Duration::from_millis(250);
/// How long a transaction whose nonce is used is still looked for: a node may know the
/// nonce of a block before it knows its receipts.
const LATE_RECEIPT: Duration = Duration::from_secs(2);

/// Why nothing came of a helping transaction.
const NOT_TAKEN: &str = "the node did not take the helping account's transaction";

/// The helping account, and whom it may call.
pub(super) struct Helper {
    account: Option<HelperAccount>,
    factories: Vec<Account>,
    /// One transaction at a time: its nonce is the chain's.
    turn: tokio::sync::Mutex<()>,
    /// Who was given money for gas, and when.
    funded: Mutex<Recent<Account, Timestamp>>,
    /// Wallets that could not be deployed as was said, and when.
    undeployable: Mutex<Recent<(Account, B256), Timestamp>>,
}

/// The right to send one transaction, under the nonce that was next before anything was
/// looked at: what an earlier one did meanwhile, such as a dead process's, is not done
/// twice, since the chain takes one of them.
struct Turn<'a> {
    nonce: u64,
    _alone: tokio::sync::MutexGuard<'a, ()>,
}

impl Helper {
    pub fn is_there(&self) -> bool {
        self.account.is_some()
    }

    pub fn new(account: Option<HelperAccount>, factories: Vec<Account>) -> Self {
        Self {
            account,
            factories,
            turn: tokio::sync::Mutex::new(()),
            funded: Mutex::default(),
            undeployable: Mutex::default(),
        }
    }

    /// Whether the operator lets this factory deploy paying wallets.
    pub fn allows(&self, factory: &Account) -> bool {
        self.factories.contains(factory)
    }

    pub fn address(&self) -> Option<Account> {
        let account = self.account.as_ref()?;
        Some(account.signer.address())
    }
}

impl EvmChain {
    /// A payment whose signature came in an EIP-6492 wrapper. An account that is
    /// there by now signs as any contract does.
    pub(super) async fn simulate_wrapped(
        &self,
        trial: &Trial<'_>,
        (factory, deployment): &(Account, Bytes),
    ) -> Result<Tried, ChainError> {
        if !self.code(trial.payer).await?.is_empty() {
            return self.simulate_deployed(trial).await;
        }
        if !self.helper.allows(factory) {
            return Err(refuse(
                codes::EIP6492_FACTORY_NOT_ALLOWED,
                "deploy the account first, then pay from it",
            )
            .into());
        }
        let multicall = self.start.multicall.load(Ordering::Acquire);
        if !self.helper.is_there() || !multicall || trial.call.caller.is_some() {
            return Err(undeployed().into());
        }
        require_deployed(trial.token)?;
        require_funds(trial, self.balance_of(trial).await?)?;
        self.try_deployed(trial, (*factory, deployment.clone()))
            .await?;
        if trial.phase == Phase::Settle {
            self.deploy_wallet(trial.payer, *factory, deployment)
                .await?;
            return self.simulate_deployed(trial).await;
        }
        Ok(Tried {
            gas: self
                .limits
                .contract_payment_gas
                .saturating_sub(self.limits.transaction_gas),
            by_contract: true,
        })
    }

    async fn simulate_deployed(&self, trial: &Trial<'_>) -> Result<Tried, ChainError> {
        let balance = self.balance_of(trial).await?;
        self.simulate_contract_payer_with(trial, balance).await
    }

    /// The deployment and the settlement in one call that changes nothing. Only
    /// the settlement must succeed: it asks the account's code.
    async fn try_deployed(
        &self,
        trial: &Trial<'_>,
        deployment: (Account, Bytes),
    ) -> Result<(), ChainError> {
        let settle = (trial.call.target, trial.call.data.clone());
        let (target, data) = in_order(self.contracts.multicall3, deployment, settle);
        let mut request = CallRequest::new(target, &data);
        request.from = self.helper.address();
        let limit = self.limits.contract_payment_gas + self.limits.deployment_gas;
        request.gas = Some(U64::from(limit));
        request.gas_price = Some(U128::from(self.current_fees().await?.max_fee));
        let answer = self.rpc.call::<Bytes>("eth_call", (request, LATEST)).await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) if is_revert(&error) => Err(self.why(trial, error).await),
            Err(error) => Err(unavailable("simulation")(error)),
        }
    }

    /// Has a factory that the operator named deploy a payer's account.
    pub(super) async fn deploy_wallet(
        &self,
        payer: Account,
        factory: Account,
        deployment: &Bytes,
    ) -> Result<(), ChainError> {
        let key = (payer, keccak256(deployment));
        if self.failed_lately(&key) {
            return Err(undeployable().into());
        }
        let turn = self.helpers_turn().await?;
        if !self.code(payer).await?.is_empty() {
            return Ok(());
        }
        let gas = self.limits.deployment_gas;
        self.try_alone(factory, deployment, gas).await?;
        let taken = self.afford(payer, gas, U256::ZERO).await?;
        let call = (factory, deployment.clone());
        let helped = self.help(&turn, taken, call, (U256::ZERO, gas)).await;
        if matches!(helped, Ok(false)) {
            return Err(unhelped(NOT_TAKEN));
        }
        if helped.is_ok() && !self.code(payer).await?.is_empty() {
            return Ok(());
        }
        // A factory may do otherwise when it is called in earnest.
        let mut failed = locked(&self.helper.undeployable);
        failed.insert(key, self.now());
        drop(failed);
        helped.and(Err(undeployable().into()))
    }

    fn failed_lately(&self, key: &(Account, B256)) -> bool {
        let failed = locked(&self.helper.undeployable);
        failed.get(key).is_some_and(|at| self.is_lately(*at))
    }

    fn is_lately(&self, at: Timestamp) -> bool {
        let now = self.now();
        at <= now && now.since(at) < NOT_AGAIN
    }

    /// The deployment as it will be sent: from the same account, with the same gas.
    async fn try_alone(
        &self,
        factory: Account,
        deployment: &Bytes,
        gas: u64,
    ) -> Result<(), ChainError> {
        let mut request = CallRequest::new(factory, deployment);
        request.from = self.helper.address();
        request.gas = Some(U64::from(gas));
        request.gas_price = Some(U128::from(self.current_fees().await?.max_fee));
        match self.rpc.call::<Bytes>("eth_call", (request, LATEST)).await {
            Ok(_) => Ok(()),
            Err(error) if is_revert(&error) => Err(undeployable().into()),
            Err(error) => Err(unavailable("simulation")(error)),
        }
    }

    /// Takes the most that a transaction for a payer may cost out of the day's budget.
    async fn afford(&self, payer: Account, gas: u64, value: U256) -> Result<Taken, ChainError> {
        let Some(helper) = &self.helper.account else {
            return Err(unhelped("no helping account"));
        };
        let fee = u128::from(gas).saturating_mul(self.current_fees().await?.max_fee);
        let most = Amount::from(value.saturating_add(U256::from(fee)));
        let whom = account_text(&self.network, payer)
            .map_err(|_| unhelped("a payer that is no account"))?;
        let taken = helper.purse.take(&self.network, whom.as_str(), most);
        Ok(taken.await?.ok_or_else(|| {
            refuse(
                codes::GAS_BUDGET_EXHAUSTED,
                "do it with gas of your own, or pay tomorrow",
            )
        })?)
    }

    /// The helping account's one transaction at a time. Nobody waits for longer than
    /// one may take.
    async fn helpers_turn(&self) -> Result<Turn<'_>, ChainError> {
        let turn = tokio::time::timeout(self.limits.helper_wait, self.helper.turn.lock());
        let busy = |_| unhelped("the helping account is busy for too long");
        let alone = turn.await.map_err(busy)?;
        let account = self.helper.address();
        let account = account.ok_or_else(|| unhelped("no helping account"))?;
        Ok(Turn {
            nonce: self.transaction_count(account).await?,
            _alone: alone,
        })
    }

    /// A payment that brings its own approval. What stands in its way may be that somebody
    /// sent the approval and settled it since: then that is why, whatever else is.
    pub(super) async fn simulate_approved(
        &self,
        trial: &Trial<'_>,
        approval: &SponsoredApproval,
    ) -> Result<Tried, ChainError> {
        let tried = self.try_approved(trial, approval).await;
        let Err(ChainError::Refused(refusal)) = tried else {
            return tried;
        };
        // Nothing is said of a nonce that somebody else signed for.
        if !trial.presented.by_key {
            return Err(refusal.into());
        }
        Err(match self.why(trial, "with an approval of its own").await {
            ChainError::Refused(used) if used.code() == codes::PERMIT2_INVALID_NONCE => used.into(),
            ChainError::Refused(_) => refusal.into(),
            unknown => unknown,
        })
    }

    /// Where the allowance is there already nothing is sent. Before the goods are made
    /// only the payment's own parts can be tried; right before the money moves the
    /// approval is sent, waited for, and the whole tried.
    async fn try_approved(
        &self,
        trial: &Trial<'_>,
        approval: &SponsoredApproval,
    ) -> Result<Tried, ChainError> {
        if self.allowance_of(trial).await? >= trial.value {
            return self.simulate_alone(trial).await;
        }
        if !self.helper.is_there() {
            return Err(self.allowance_required(trial).into());
        }
        self.require_cheap(approval).await?;
        // An approval is a plain account's own transaction.
        require_key(trial)?;
        if !self.code(trial.payer).await?.is_empty() {
            return Err(self.allowance_required(trial).into());
        }
        require_deployed(trial.token)?;
        require_funds(trial, self.balance_of(trial).await?)?;
        if let Err(why) = self.lacks_approval(trial, approval).await {
            // Whoever else was shown this payment may have sent the approval since.
            return match self.allowance_of(trial).await? >= trial.value {
                true => self.simulate_alone(trial).await,
                false => Err(why),
            };
        }
        if trial.phase == Phase::Verify {
            return Ok(Tried {
                gas: self.limits.payment_gas,
                by_contract: false,
            });
        }
        self.send_approval(trial, approval).await?;
        self.simulate_alone(trial).await
    }

    /// Whether the approval is all that is missing, and can be sent.
    async fn lacks_approval(
        &self,
        trial: &Trial<'_>,
        approval: &SponsoredApproval,
    ) -> Result<(), ChainError> {
        if self.transaction_count(trial.payer).await? != approval.nonce {
            return Err(refuse(
                codes::ERC20_APPROVAL_TX_FAILED,
                "sign it with the account's next nonce",
            )
            .into());
        }
        // The permit's own parts: all but the allowance.
        match self.why(trial, "before the approval").await {
            ChainError::Refused(refusal) if refusal.code() == codes::PERMIT2_ALLOWANCE_REQUIRED => {
                Ok(())
            }
            why => Err(why),
        }
    }

    /// What is paid for is little: no more than the cap, and no more than twice
    /// what such a transaction costs now. And it offers what a block asks for now,
    /// or it would be waited for in vain.
    async fn require_cheap(&self, approval: &SponsoredApproval) -> Result<(), ChainError> {
        let fees = self.current_fees().await?;
        let now = u128::from(MAX_APPROVAL_GAS).saturating_mul(fees.max_fee);
        let most = self.limits.approval_cost.min(now.saturating_mul(2));
        // Ours is twice the base fee and a tip.
        let base = fees.max_fee.saturating_sub(fees.priority) / 2;
        let why = match approval.cost > U256::from(most) {
            true => "sign one with lower fees",
            false if approval.max_fee < base => "sign one with higher fees",
            false => return Ok(()),
        };
        Err(refuse(codes::ERC20_APPROVAL_TX_PARSE_FAILED, why).into())
    }

    /// Pays for a payer's approval what it lacks, sends it and waits for it.
    async fn send_approval(
        &self,
        trial: &Trial<'_>,
        approval: &SponsoredApproval,
    ) -> Result<(), ChainError> {
        self.fund(trial.payer, approval).await?;
        // Nobody waits behind a stranger's transaction.
        let raw = Raw {
            hash: TxHash::new(&format!("{:#x}", approval.hash)),
            bytes: approval.raw.to_vec(),
        };
        match self.until_included(&raw).await? {
            Inclusion::Included(true) => Ok(()),
            Inclusion::Included(false) => Err(refuse(
                codes::ERC20_APPROVAL_TX_FAILED,
                "approve Permit2 yourself, once, and pay again",
            )
            .into()),
            Inclusion::NeverTaken => Err(refuse(
                codes::ERC20_APPROVAL_BROADCAST_FAILED,
                "sign it again with the account's next nonce",
            )
            .into()),
            // Who asks again is told by the nonce and the allowance what became of it.
            Inclusion::Refused => Err(unhelped("another transaction has the approval's nonce")),
        }
    }

    /// Gives a payer what it lacks of an approval's cost.
    async fn fund(&self, payer: Account, approval: &SponsoredApproval) -> Result<(), ChainError> {
        let turn = self.helpers_turn().await?;
        // What it holds is read before whether the approval was sent: in between it may
        // be, and then what is left afterwards must not look like too little for it.
        let held: U256 = ask(&self.rpc, "eth_getBalance", (payer, LATEST)).await?;
        if self.transaction_count(payer).await? != approval.nonce {
            // It was sent while somebody else had the turn, and what it cost is spent.
            return Ok(());
        }
        let lacks = approval.cost.saturating_sub(held);
        if lacks.is_zero() {
            return Ok(());
        }
        self.may_fund(payer)?;
        let taken = self.afford(payer, FUNDING_GAS, lacks).await?;
        locked(&self.helper.funded).insert(payer, self.now());
        let gift = (payer, Bytes::new());
        match self.help(&turn, taken, gift, (lacks, FUNDING_GAS)).await? {
            true => Ok(()),
            false => {
                locked(&self.helper.funded).remove(&payer);
                Err(unhelped(NOT_TAKEN))
            }
        }
    }

    /// A payer is given money for gas once a day: it could use it otherwise.
    fn may_fund(&self, payer: Account) -> Result<(), Refusal> {
        let funded = locked(&self.helper.funded);
        match funded.get(&payer).is_some_and(|at| self.is_lately(*at)) {
            false => Ok(()),
            true => Err(refuse(
                codes::ERC20_APPROVAL_TX_FAILED,
                "approve Permit2 yourself, once, and pay again",
            )),
        }
    }

    /// One transaction of the helping account; whether it is included. If not, it never
    /// will be. Whoever calls took out of the budget what it may cost.
    async fn help(
        &self,
        turn: &Turn<'_>,
        taken: Taken,
        (to, input): (Account, Bytes),
        (value, gas_limit): (U256, u64),
    ) -> Result<bool, ChainError> {
        let Some(HelperAccount { signer, purse }) = &self.helper.account else {
            return Err(unhelped("no helping account"));
        };
        let sealed = async {
            let fees = self.current_fees().await?;
            let transaction = TxEip1559 {
                chain_id: self.chain_id,
                nonce: turn.nonce,
                gas_limit,
                max_fee_per_gas: fees.max_fee,
                max_priority_fee_per_gas: fees.priority,
                to: TxKind::Call(to),
                value,
                input,
                ..TxEip1559::default()
            };
            signed(transaction, signer).await
        };
        let raw = match sealed.await {
            Ok(raw) => raw,
            Err(error) => {
                tracing::warn!(network = %self.network, %error, "a helping transaction was not made");
                purse.give_back(taken).await?;
                return Ok(false);
            }
        };
        match self.until_included(&raw).await? {
            Inclusion::Included(_) => Ok(true),
            Inclusion::Refused => Ok(false),
            // Such as where an earlier one waits under the same nonce.
            Inclusion::NeverTaken => {
                purse.give_back(taken).await?;
                Ok(false)
            }
        }
    }

    /// Sends, and waits for a block.
    async fn until_included(&self, raw: &Raw) -> Result<Inclusion, ChainError> {
        let until = Instant::now() + self.limits.helper_wait;
        let mut is_taken = false;
        let mut used_since = None;
        loop {
            let said = self.send_raw(raw).await?;
            let receipt: Option<Receipt> =
                ask(&self.rpc, "eth_getTransactionReceipt", [&raw.hash]).await?;
            match (receipt, said) {
                (Some(receipt), _) => {
                    let succeeded = receipt.status == Some(U64::from(1));
                    return Ok(Inclusion::Included(succeeded));
                }
                (None, Broadcast::Rejected(why)) => {
                    tracing::warn!(network = %self.network, why, "a helping transaction was not taken");
                    return Ok(match is_taken {
                        true => Inclusion::Refused,
                        false => Inclusion::NeverTaken,
                    });
                }
                (None, Broadcast::Underpriced) if !is_taken => return Ok(Inclusion::NeverTaken),
                (None, Broadcast::NonceUsed)
                    if used_since.get_or_insert_with(Instant::now).elapsed() >= LATE_RECEIPT =>
                {
                    return Ok(Inclusion::Refused);
                }
                (None, _) if Instant::now() >= until => {
                    return Err(unhelped("a helping transaction was not included in time"));
                }
                (None, _) => {
                    is_taken = true;
                    tokio::time::sleep(HELPER_POLL).await;
                }
            }
        }
    }

    async fn allowance_of(&self, trial: &Trial<'_>) -> Result<U256, ChainError> {
        let question = Allowances::allowanceCall {
            owner: trial.payer,
            spender: self.contracts.permit2,
        };
        let [answer] = self
            .facts([(trial.token.address, question.abi_encode())])
            .await?;
        Ok(answer
            .and_then(|bytes| number_of(&bytes))
            .unwrap_or_default())
    }

    async fn balance_of(&self, trial: &Trial<'_>) -> Result<U256, ChainError> {
        let question = Abi::balanceOfCall {
            account: trial.payer,
        };
        let [answer] = self
            .facts([(trial.token.address, question.abi_encode())])
            .await?;
        Ok(answer
            .and_then(|bytes| number_of(&bytes))
            .unwrap_or_default())
    }
}

/// What became of a transaction that was sent.
enum Inclusion {
    /// It is in a block; whether it succeeded.
    Included(bool),
    /// It is in none, and another may have its nonce.
    Refused,
    /// No node ever had it.
    NeverTaken,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn undeployable() -> Refusal {
    refuse(
        codes::SMART_WALLET_DEPLOYMENT_FAILED,
        "deploy the account first, then pay from it",
    )
}

fn undeployed() -> Refusal {
    refuse(
        codes::INVALID_EXACT_EVM_PAYLOAD_UNDEPLOYED_SMART_WALLET,
        "deploy the account first, then pay from it",
    )
}

fn unhelped(detail: &str) -> ChainError {
    ChainError::unavailable_because(
        "What must come before this payment could not be done now; try again later.",
        detail,
    )
}
