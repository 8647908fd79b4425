//! The trait that a payer holds: an account that can prepare a payment.

use std::time::Duration;

use async_trait::async_trait;

use crate::wire::{Object, ResourceInfo};
use crate::{
    Address, Amount, ChainError, Identity, Network, Raw, Refusal, SpendId, Terms, Timestamp, codes,
};

/// What a wallet must stay within, whatever the terms say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At most this much.
    pub max_amount: Amount,
    /// The authorization lives at most this long.
    pub max_lifetime: Duration,
}

/// What a server said beside the terms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offered<'a> {
    /// What is sold: some methods sign it.
    pub resource: Option<&'a ResourceInfo>,
    /// The extensions that it declared, by key.
    pub extensions: Option<&'a Object>,
    /// Whether the wallet may sign what lets another contract move its money later
    /// too, such as an unlimited approval. That is the buyer's to say, not the server's.
    pub may_approve: bool,
    /// Whether the account's own key is to sign, because its [`LimitedKey`] is used up.
    pub by_own_key: bool,
    /// What is bought, for wallets that ask somebody else to sign.
    pub purchase: Option<Purchase<'a>>,
}

/// A purchase as its buyer knows it; nothing of it was said by a server.
#[derive(Clone, Copy, Debug)]
pub struct Purchase<'a> {
    /// Its name in the record of spending: who asks again by it asks for the same.
    pub id: &'a SpendId,
    /// The URL that was asked, without its query.
    pub url: &'a str,
}

/// A key that signs for an account within limits of its own, such as a session's.
/// Whoever keeps the record of spending holds it to them, over all processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitedKey {
    /// What it is called in records; public.
    pub name: String,
    /// How many payments it may sign in all.
    pub payments: Amount,
    /// How much of the offer's asset it may move in all, where that is limited.
    pub total: Option<Amount>,
    /// Whether the account's own key may sign once its payments are used up.
    pub falls_back: bool,
}

/// A payment that is ready, and has not left yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The scheme's object for `PaymentPayload::payload`.
    pub payload: Object,
    /// What the chain makes unique about it.
    pub identity: Identity,
    /// What it can cost at most.
    pub amount: Amount,
    /// After this moment it can no longer move money.
    pub valid_until: Timestamp,
    /// Extensions to send with it, by key: what the server declared, filled in.
    pub extensions: Option<Object>,
    /// A transaction that the payer broadcasts first, once it is recorded (proof methods).
    pub transaction: Option<Raw>,
}

/// Why no payment was prepared.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalletError {
    /// The terms are not ones that this wallet signs.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The chain could not be asked.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// An account that can pay.
#[async_trait]
pub trait Wallet: Send + Sync {
    /// The paying account on a network, if the wallet has one there.
    fn address(&self, network: &Network) -> Option<Address>;

    /// Whether it knows how to pay these terms (scheme, network and method).
    fn supports(&self, terms: &Terms) -> bool;

    /// How much it holds; `None` where no RPC is known.
    async fn balance(
        &self,
        network: &Network,
        asset: &Address,
    ) -> Result<Option<Amount>, ChainError>;

    /// Signs a payment within the limits. The caller records it together with
    /// the budget reservation before anything leaves.
    async fn prepare(&self, terms: &Terms, limits: &Limits) -> Result<Prepared, WalletError>;

    /// The same, by methods that need more of the offer than its terms.
    async fn prepare_offered(
        &self,
        terms: &Terms,
        limits: &Limits,
        offered: Offered<'_>,
    ) -> Result<Prepared, WalletError> {
        let _ = offered;
        self.prepare(terms, limits).await
    }

    /// The limited key that would sign, where it is not the account's own.
    fn limited_key(&self, terms: &Terms) -> Option<LimitedKey> {
        let _ = terms;
        None
    }

    /// The same authorization by another key, where a server refused it and the key
    /// that signed it can do so no more. Both have one identity, so that one of the two
    /// can move money at most. `None` if nothing better can be signed.
    async fn sign_again(
        &self,
        terms: &Terms,
        limits: &Limits,
        identity: &Identity,
    ) -> Result<Option<Prepared>, WalletError> {
        let _ = (terms, limits, identity);
        Ok(None)
    }

    /// A signed transaction that lets the contract which these terms pay through
    /// move their asset, now and later. It is not sent: [`Wallet::broadcast`] does that.
    async fn approval(&self, terms: &Terms) -> Result<Raw, WalletError> {
        Err(Refusal::new(
            codes::NO_ACCEPTABLE_TERMS,
            format!(
                "This wallet makes no approvals on {}; make it with the account's own tools.",
                terms.network
            ),
        )
        .into())
    }

    /// The account as messages spell it, where that is not its canonical text.
    fn spelled(&self, network: &Network) -> Option<String> {
        let _ = network;
        None
    }

    /// Signs a text as the account on a network (EVM: EIP-191); `None` if it signs none.
    async fn sign_message(
        &self,
        network: &Network,
        message: &str,
    ) -> Result<Option<String>, WalletError> {
        let _ = (network, message);
        Ok(None)
    }

    /// Sends a prepared transaction and waits until it is included. Wallets
    /// whose methods have none never see this called.
    async fn broadcast(&self, network: &Network, raw: &Raw) -> Result<(), ChainError> {
        let _ = raw;
        Err(ChainError::unavailable(format!(
            "this wallet sends no transactions on {network}"
        )))
    }
}
