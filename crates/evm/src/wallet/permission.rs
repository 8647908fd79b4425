//! [`PermissionWallet`]: a session account that pays with what somebody's wallet
//! lets it spend.
//!
//! Each payment is a delegation of its own, put in front of the granted chain and
//! signed by the session's key: of this amount, to this payee, redeemed by the
//! server's facilitator, soon, and once. Whoever gets hold of it can do nothing with
//! it but make this payment.

use std::sync::Arc;

use alloy_primitives::{Address as Account, Bytes, U256};
use async_trait::async_trait;
use tollway_core::assets::{AssetTable, Method};
use tollway_core::{
    Address, Amount, ChainError, Clock, Identity, Limits, Network, Prepared, Refusal, Scheme,
    SystemClock, Terms, Timestamp, Wallet, WalletError, codes,
};
use tollway_rpc::RpcClient;
use tollway_rpc::ask::ask;

use super::{balance_of, random_word};
use crate::chain::known_account;
use crate::contracts::PERMIT2;
use crate::delegation::{
    ANY_DELEGATE, Caveat, CaveatTerms, Delegation, Dependency, Grant, GrantError, MAX_LINKS,
    delegation_domain, encode_context, unwrap_chain,
};
use crate::methods::Payment;
use crate::methods::erc7710::PermissionPayment;
use crate::node::LATEST;
use crate::refusal::refuse;
use crate::signer::EvmSigner;

/// A session key, and the permission that it spends.
pub struct PermissionWallet {
    session: EvmSigner,
    /// Who may spend: the key's own account, or one with code that the key signs for.
    account: Account,
    network: Network,
    manager: Account,
    chain: Vec<Delegation>,
    dependencies: Vec<Dependency>,
    grant: Grant,
    assets: AssetTable,
    clock: Arc<dyn Clock>,
    node: Option<RpcClient>,
}

impl std::fmt::Debug for PermissionWallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PermissionWallet")
            .field("session", &self.session)
            .field("network", &self.network)
            .field("grant", &self.grant)
            .finish_non_exhaustive()
    }
}

impl PermissionWallet {
    /// From a granted chain, leaf first, for the session's key.
    ///
    /// # Errors
    /// `permission_open` if anybody could spend it, `permission_unusable` for
    /// whatever else cannot be spent safely or at all.
    pub fn new(
        session: EvmSigner,
        network: Network,
        manager: Account,
        chain: Vec<Delegation>,
    ) -> Result<Self, Refusal> {
        let account = session.address();
        Self::of_account(session, account, network, manager, chain)
    }

    /// The same where the session account has code of its own (EIP-1271) and takes
    /// the key's signature for its own.
    ///
    /// # Errors
    /// As [`PermissionWallet::new`].
    pub fn of_account(
        session: EvmSigner,
        account: Account,
        network: Network,
        manager: Account,
        mut chain: Vec<Delegation>,
    ) -> Result<Self, Refusal> {
        let grant = Grant::of(&chain).map_err(unusable)?;
        if grant.session != account {
            return Err(refuse(
                codes::PERMISSION_UNUSABLE,
                "use it with the key of the session account that it names",
            ));
        }
        let dependencies = unwrap_chain(&mut chain);
        if chain.len() >= MAX_LINKS {
            return Err(refuse(
                codes::PERMISSION_UNUSABLE,
                "ask for a permission with fewer delegations",
            ));
        }
        Ok(Self {
            session,
            account,
            network,
            manager,
            chain,
            dependencies,
            grant,
            assets: AssetTable::builtin(),
            clock: Arc::new(SystemClock),
            node: None,
        })
    }

    /// With another asset table.
    #[must_use]
    pub fn with_assets(mut self, assets: AssetTable) -> Self {
        self.assets = assets;
        self
    }

    /// With another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With what must be deployed before anything can be paid: it is said with each
    /// payment, until a node shows that the payer's account is there.
    #[must_use]
    pub fn with_dependencies(mut self, dependencies: Vec<Dependency>) -> Self {
        for one in dependencies {
            if !self.dependencies.contains(&one) {
                self.dependencies.push(one);
            }
        }
        self
    }

    /// With a node, to know what the payer holds.
    #[must_use]
    pub fn with_node(mut self, rpc: RpcClient) -> Self {
        self.node = Some(rpc);
        self
    }

    /// What it may spend.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Who redeems a payment for these terms: one of those whom the server lists and
    /// the grant allows, drawn so that each has its share.
    fn redeemer(&self, terms: &Terms) -> Result<Account, Refusal> {
        let mut redeemers = redeemers_of(terms);
        if redeemers.is_empty() {
            return Err(refuse(
                codes::PERMISSION_REDEEMER,
                "the server names no facilitatorAddresses; choose another way to pay",
            ));
        }
        if let Some(allowed) = &self.grant.redeemers {
            redeemers.retain(|one| allowed.contains(one));
        }
        let word = U256::from_be_bytes(random_word()?.0);
        let drawn = word.checked_rem(U256::from(redeemers.len()));
        let drawn = drawn.and_then(|at| redeemers.get(at.to::<usize>()));
        drawn.copied().ok_or_else(|| {
            refuse(
                codes::PERMISSION_REDEEMER,
                "ask for a permission that the server's facilitator may redeem",
            )
        })
    }

    /// What must still be deployed, as far as is known.
    async fn undeployed(&self) -> Vec<Dependency> {
        let (false, Some(rpc)) = (self.dependencies.is_empty(), &self.node) else {
            return self.dependencies.clone();
        };
        let code = ask::<Bytes>(rpc, "eth_getCode", (self.grant.payer, LATEST)).await;
        match code.is_ok_and(|code| !code.is_empty()) {
            true => Vec::new(),
            false => self.dependencies.clone(),
        }
    }

    fn check(&self, terms: &Terms) -> Result<(), Refusal> {
        let asset: Option<Account> = terms.asset.as_str().parse().ok();
        if asset != Some(self.grant.asset) {
            return Err(refuse(
                codes::PERMISSION_ASSET,
                "ask for a permission for the asset that is asked for",
            ));
        }
        let payee: Option<Account> = terms.pay_to.as_str().parse().ok();
        if self.grant.payee.is_some() && self.grant.payee != payee {
            return Err(refuse(
                codes::PERMISSION_PAYEE,
                "ask for a permission for this payee",
            ));
        }
        if terms.amount.as_u256() > self.grant.most() {
            return Err(refuse(
                codes::PERMISSION_ALLOWANCE,
                "ask for a larger permission",
            ));
        }
        let now = self.clock.now().secs();
        match self.grant.expires.is_some_and(|end| end <= now) {
            true => Err(refuse(
                codes::PERMISSION_EXPIRED,
                "ask for a new permission",
            )),
            false => Ok(()),
        }
    }

    /// The payment's own delegation, in front of the granted chain. It names its
    /// redeemer: whoever sees an open one could buy with it.
    fn leaf(&self, terms: &Terms, redeemer: Account, ends: u64) -> Result<Delegation, WalletError> {
        let conditions = [
            CaveatTerms::TransferAmount {
                token: self.grant.asset,
                most: terms.amount.as_u256(),
            },
            CaveatTerms::Redeemer(vec![redeemer]),
            CaveatTerms::payee(known_account(&terms.pay_to)?),
            CaveatTerms::Timestamp {
                after: 0,
                before: ends.into(),
            },
            CaveatTerms::LimitedCalls(U256::ONE),
        ];
        let caveats: Result<Vec<Caveat>, _> = conditions.iter().map(CaveatTerms::caveat).collect();
        let caveats = caveats.map_err(|_| {
            refuse(
                codes::NO_ACCEPTABLE_TERMS,
                "the terms cannot be delegated; choose another way to pay",
            )
        })?;
        let parent = self.chain.first().map(Delegation::hash);
        let mut leaf = Delegation {
            delegate: redeemer,
            delegator: self.account,
            authority: parent.unwrap_or_default(),
            caveats,
            salt: U256::from_be_bytes(random_word()?.0),
            signature: Bytes::new(),
        };
        let chain_id = self.network.chain_id().unwrap_or_default();
        let digest = leaf.digest(&delegation_domain(chain_id, self.manager));
        leaf.signature = Bytes::copy_from_slice(&self.session.sign(digest));
        Ok(leaf)
    }
}

/// Whom a server lists as redeemers.
fn redeemers_of(terms: &Terms) -> Vec<Account> {
    let listed = terms.wire.redeemers().into_iter();
    let mut listed: Vec<Account> = listed.filter_map(|text| text.parse().ok()).collect();
    listed.sort_unstable();
    listed.dedup();
    listed.retain(|account| !account.is_zero() && *account != ANY_DELEGATE);
    listed
}

fn unusable(error: GrantError) -> Refusal {
    match error {
        GrantError::Open => refuse(
            codes::PERMISSION_OPEN,
            "ask for one for the session account alone",
        ),
        other => refuse(codes::PERMISSION_UNUSABLE, &other.to_string()),
    }
}

#[async_trait]
impl Wallet for PermissionWallet {
    /// Whose money it is: the root's delegator.
    fn address(&self, network: &Network) -> Option<Address> {
        let payer = format!("{:#x}", self.grant.payer);
        (*network == self.network)
            .then(|| network.address(&payer).ok())
            .flatten()
    }

    fn supports(&self, terms: &Terms) -> bool {
        let known = self.assets.find(&terms.network, &terms.asset).is_some();
        terms.network == self.network
            && terms.scheme == Scheme::Exact
            && terms.transfer_method() == Some(Method::Erc7710)
            && known
    }

    async fn balance(
        &self,
        network: &Network,
        asset: &Address,
    ) -> Result<Option<Amount>, ChainError> {
        match &self.node {
            Some(rpc) if *network == self.network => {
                balance_of(rpc, asset, self.grant.payer).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn prepare(&self, terms: &Terms, limits: &Limits) -> Result<Prepared, WalletError> {
        if !self.supports(terms) {
            return Err(refuse(codes::NO_ACCEPTABLE_TERMS, "choose another way to pay").into());
        }
        if terms.amount > limits.max_amount {
            return Err(refuse(codes::PRICE_ABOVE_LIMIT, "raise the limit to pay it").into());
        }
        self.check(terms)?;
        let redeemer = self.redeemer(terms)?;
        let lifetime = limits.max_lifetime.as_secs();
        let ends = self
            .clock
            .now()
            .secs()
            .saturating_add(terms.wire.max_timeout_seconds.min(lifetime))
            .min(self.grant.expires.unwrap_or(u64::MAX));
        let mut chain = vec![self.leaf(terms, redeemer, ends)?];
        chain.extend(self.chain.iter().cloned());
        let amount = terms.amount.as_u256();
        let payment = PermissionPayment::new(self.manager, encode_context(&chain), amount)?
            .depending_on(self.undeployed().await);
        let payer = self
            .address(&terms.network)
            .ok_or_else(|| refuse(codes::WALLET_UNAVAILABLE, "choose another network"))?;
        let valid_until = payment.ends()?;
        let payment = Payment::Erc7710(payment);
        let (scope, nonce) = payment.scope_and_nonce(terms.asset.as_str(), PERMIT2);
        Ok(Prepared {
            payload: payment.to_payload(),
            identity: Identity {
                network: terms.network.clone(),
                scope,
                payer,
                nonce,
            },
            amount: terms.amount,
            valid_until: Timestamp::from_secs(valid_until),
            extensions: None,
            transaction: None,
        })
    }
}
