//! [`SessionWallet`]: pays by itself with a session, and with the owner's key
//! where the session cannot and the owner allowed that.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;
use starknet_crypto::Felt;
use tollway_core::{
    Address, Amount, ChainError, Clock, Identity, LimitedKey, Limits, Network, Offered, Prepared,
    Refusal, Terms, Timestamp, Wallet, WalletError, codes,
};
use tollway_rpc::ask::unavailable;
use tollway_rpc::{Batch, RpcClient};

use super::key::SessionKey;
use super::status::{SessionStatus, Wanted, falls_back};
use crate::felt;
use crate::node::{Num, call_params};
use crate::outside::Call;
use crate::refusal::refuse;
use crate::selectors::{IS_VALID_NONCE, TRANSFER};
use crate::wallet::{StarknetWallet, random_nonce};

/// Nonces by their text, with their numbers and ends in Unix seconds.
pub(super) type UnderWay = BTreeMap<String, (Felt, u64)>;

/// An account on one network that pays with a session key. Payments of one wallet
/// never race past the session's calls; a session is to be used by one wallet.
pub struct SessionWallet {
    pub(super) session: StarknetWallet,
    owner: Option<StarknetWallet>,
    pub(super) key: SessionKey,
    pub(super) network: Network,
    pub(super) rpc: RpcClient,
    pub(super) clock: std::sync::Arc<dyn Clock>,
    /// Nonces that were signed and may not be counted yet, with their end.
    pub(super) under_way: tokio::sync::Mutex<UnderWay>,
    pub(super) budget: Option<Budget>,
    low: Option<Low>,
}

/// What the owner allowed the session, so that the record of spending holds it to
/// that too.
pub(super) struct Budget {
    payments: u32,
    pub(super) token: Address,
    pub(super) max_per_payment: Amount,
}

/// Who is told that few calls are left.
struct Low {
    below: u32,
    told: Box<dyn Fn(u32) + Send + Sync>,
}

impl std::fmt::Debug for SessionWallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionWallet")
            .field("session", &self.session)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl SessionWallet {
    /// A session of an account on a network; `None` if the address is zero or none
    /// of Starknet.
    #[must_use]
    pub fn new(
        account: &Address,
        network: Network,
        key: SessionKey,
        rpc: RpcClient,
    ) -> Option<Self> {
        let session = StarknetWallet::new(account, vec![network.clone()], key.signer())?;
        Some(Self {
            session: session.with_node(network.clone(), rpc.clone()),
            owner: None,
            key,
            network,
            rpc,
            clock: std::sync::Arc::new(tollway_core::SystemClock),
            under_way: tokio::sync::Mutex::default(),
            budget: None,
            low: None,
        })
    }

    /// With what the owner allowed it: a number of payments of at most so much of a
    /// token each. The payer's record then holds the session to that over all
    /// processes, before and beside the account itself.
    #[must_use]
    pub fn with_budget(mut self, payments: u32, token: Address, max_per_payment: Amount) -> Self {
        self.budget = Some(Budget {
            payments,
            token,
            max_per_payment,
        });
        self
    }

    /// Tells how many calls are left after a payment, once they are fewer than
    /// `below`. Renew the session then.
    #[must_use]
    pub fn when_low(mut self, below: u32, told: impl Fn(u32) + Send + Sync + 'static) -> Self {
        self.low = Some(Low {
            below,
            told: Box::new(told),
        });
        self
    }

    /// What the record of spending holds the session to, in calls and in its token,
    /// where that is known ([`SessionWallet::with_budget`]).
    #[must_use]
    pub fn limits(&self) -> Option<LimitedKey> {
        let budget = self.budget.as_ref()?;
        Some(LimitedKey {
            name: self.name(),
            payments: Amount::from_atomic(budget.payments.into()),
            total: budget.max_per_payment.checked_mul(budget.payments.into()),
            falls_back: self.owner.is_some(),
        })
    }

    /// By which records know the session.
    fn name(&self) -> String {
        format!("session:{}", felt::text(&self.key.public()))
    }

    fn tell_if_low(&self, status: &SessionStatus, under_way: usize) {
        let Some(low) = &self.low else { return };
        let under_way = u32::try_from(under_way).unwrap_or(u32::MAX);
        let left = status.data.calls_left().saturating_sub(under_way);
        if left < low.below {
            (low.told)(left);
        }
    }

    /// The same account's owner, who signs where the session is over, unknown,
    /// revoked, used up or not allowed; never where a limit said no.
    #[must_use]
    pub fn with_owner(mut self, owner: StarknetWallet) -> Self {
        self.owner = (owner.number() == self.session.number()).then_some(owner);
        self
    }

    /// With another asset table and clock.
    #[must_use]
    pub fn with(
        mut self,
        assets: tollway_core::assets::AssetTable,
        clock: std::sync::Arc<dyn Clock>,
    ) -> Self {
        self.session = self.session.with_assets(assets).with_clock(clock.clone());
        self.clock = clock;
        self
    }

    /// What the account has on record, with the policy for a token.
    ///
    /// # Errors
    /// As [`SessionStatus::read`].
    pub async fn status(&self, token: Option<&Address>) -> Result<SessionStatus, ChainError> {
        let token = token.and_then(felt::of_address);
        SessionStatus::read(&self.rpc, self.session.number(), self.key.public(), token).await
    }

    async fn pay(
        &self,
        terms: &Terms,
        limits: &Limits,
        nonce: Felt,
    ) -> Result<Prepared, WalletError> {
        // One at a time: what another payment signed is counted.
        let mut under_way = self.under_way.lock().await;
        let now = self.clock.now();
        let status = self.status(Some(&terms.asset)).await?;
        self.forget_counted(&mut under_way, &status).await?;
        let end = now.secs().saturating_add(terms.wire.max_timeout_seconds);
        let wanted = Wanted {
            selector: TRANSFER,
            amount: terms.amount,
            valid_until: end,
            under_way: u32::try_from(under_way.len()).unwrap_or(u32::MAX),
        };
        status.preflight(&wanted, now)?;
        let prepared = self.session.sign(terms, limits, nonce)?;
        under_way.insert(felt::text(&nonce), (nonce, prepared.valid_until.secs()));
        self.tell_if_low(&status, under_way.len());
        Ok(prepared)
    }

    /// Whether the session could sign the payment with this nonce now.
    async fn can_still_pay(&self, terms: &Terms, nonce: &Felt) -> Result<(), WalletError> {
        let mut under_way = self.under_way.lock().await;
        let now = self.clock.now();
        let status = self.status(Some(&terms.asset)).await?;
        self.forget_counted(&mut under_way, &status).await?;
        let others = under_way.values().filter(|(other, _)| other != nonce);
        let wanted = Wanted {
            selector: TRANSFER,
            amount: terms.amount,
            valid_until: now.secs().saturating_add(terms.wire.max_timeout_seconds),
            under_way: u32::try_from(others.count()).unwrap_or(u32::MAX),
        };
        Ok(status.preflight(&wanted, now)?)
    }

    /// Whether the session's limits let a payment go that the owner's key is to sign.
    async fn check_limits(&self, terms: &Terms) -> Result<(), WalletError> {
        let budget = self.budget.as_ref();
        if budget.is_some_and(|budget| terms.amount > budget.max_per_payment) {
            return Err(refuse(
                codes::SESSION_POLICY_EXCEEDED,
                "pay less, or create a session with a higher maximum",
            )
            .into());
        }
        let status = self.status(Some(&terms.asset)).await?;
        Ok(status.within_policy(terms.amount, self.clock.now())?)
    }

    /// What was executed is counted by the account, what has ended never will be.
    pub(super) async fn forget_counted(
        &self,
        under_way: &mut UnderWay,
        status: &SessionStatus,
    ) -> Result<(), ChainError> {
        let ended = |end: u64| status.as_of >= Timestamp::from_secs(end);
        under_way.retain(|_, (_, end)| !ended(*end));
        if under_way.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for (nonce, _) in under_way.values() {
            let call = Call {
                to: self.session.number(),
                selector: IS_VALID_NONCE,
                calldata: vec![*nonce],
            };
            batch.push("starknet_call", &call_params(&call));
        }
        let answers = self.rpc.batch::<Value>(batch).await;
        let answers = answers.map_err(unavailable("is_valid_outside_execution_nonce"))?;
        let counted: Vec<String> = under_way
            .keys()
            .zip(answers)
            .filter(|(_, answer)| {
                let felts = answer.as_ref().ok().cloned();
                let felts = felts.and_then(|v| serde_json::from_value::<Vec<Num>>(v).ok());
                felts.is_some_and(|felts| felts == [Num(Felt::ZERO)])
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in counted {
            under_way.remove(&key);
        }
        Ok(())
    }
}

#[async_trait]
impl Wallet for SessionWallet {
    fn address(&self, network: &Network) -> Option<Address> {
        self.session.address(network)
    }

    fn supports(&self, terms: &Terms) -> bool {
        // Its limits are of one token, and say nothing about another.
        let is_its_token = |budget: &Budget| budget.token == terms.asset;
        terms.network == self.network
            && self.budget.as_ref().is_none_or(is_its_token)
            && self.session.supports(terms)
    }

    async fn balance(
        &self,
        network: &Network,
        asset: &Address,
    ) -> Result<Option<Amount>, ChainError> {
        self.session.balance(network, asset).await
    }

    fn limited_key(&self, terms: &Terms) -> Option<LimitedKey> {
        self.limits().filter(|_| self.supports(terms))
    }

    async fn prepare_offered(
        &self,
        terms: &Terms,
        limits: &Limits,
        offered: Offered<'_>,
    ) -> Result<Prepared, WalletError> {
        match &self.owner {
            Some(owner) if offered.by_own_key => {
                self.check_limits(terms).await?;
                owner.prepare(terms, limits).await
            }
            _ => self.prepare(terms, limits).await,
        }
    }

    async fn sign_again(
        &self,
        terms: &Terms,
        limits: &Limits,
        identity: &Identity,
    ) -> Result<Option<Prepared>, WalletError> {
        let Some(owner) = &self.owner else {
            return Ok(None);
        };
        let nonce = felt::parse(&identity.nonce).ok();
        let Some(nonce) =
            nonce.filter(|_| self.address(&terms.network).as_ref() == Some(&identity.payer))
        else {
            return Ok(None);
        };
        match self.can_still_pay(terms, &nonce).await {
            Err(
                WalletError::Refused(refusal) | WalletError::Chain(ChainError::Refused(refusal)),
            ) if falls_back(refusal.code()) => {
                tracing::info!(
                    code = refusal.code(),
                    "the owner's key signs the payment that the session's key no more can"
                );
                Ok(Some(owner.sign(terms, limits, nonce)?))
            }
            Err(error) => Err(error),
            Ok(()) => Ok(None),
        }
    }

    async fn prepare(&self, terms: &Terms, limits: &Limits) -> Result<Prepared, WalletError> {
        let nonce = random_nonce()?;
        let refusal: Refusal = match self.pay(terms, limits, nonce).await {
            Err(
                WalletError::Refused(refusal) | WalletError::Chain(ChainError::Refused(refusal)),
            ) => refusal,
            outcome => return outcome,
        };
        match &self.owner {
            Some(owner) if falls_back(refusal.code()) => {
                tracing::info!(
                    code = refusal.code(),
                    "the owner's key pays in place of the session"
                );
                // The same nonce: only one of the two can ever execute.
                Ok(owner.sign(terms, limits, nonce)?)
            }
            _ => Err(refusal.into()),
        }
    }
}
