//! What a wallet signs off the chain: authorizations and permits.

use std::time::Duration;

use alloy_primitives::{Address as Account, Bytes, U256};
use alloy_sol_types::SolCall;
use tollway_core::{Limits, Network, Offered, Prepared, Terms, Timestamp, WalletError, codes};
use tollway_rpc::ask::ask;

use super::{EvmWallet, random_word};
use crate::abi::Allowances;
use crate::chain::diagnose::number_of;
use crate::chain::known_account;
use crate::contracts::settler_address;
use crate::methods::eip2612::SignedPermit;
use crate::methods::eip3009::SignedAuthorization;
use crate::methods::permit2::{SignedPermit2, permit2_domain};
use crate::methods::{Payment, Way};
use crate::node::{CallRequest, LATEST};
use crate::refusal::refuse;
use crate::typed_data::{Authorization, Permit, Permit2Transfer, Witness};

/// How far back an authorization begins at most: servers' and chains' clocks
/// may be behind ours.
const MAX_BACKDATE: Duration = Duration::from_secs(600);
/// How far back it begins at least, where the lifetime leaves room.
const MIN_BACKDATE: Duration = Duration::from_secs(60);

impl EvmWallet {
    /// When a payment begins and ends, Unix seconds.
    fn window(&self, terms: &Terms, limits: &Limits) -> (u64, u64) {
        let timeout = terms.wire.max_timeout_seconds;
        window(self.clock.now(), timeout, limits.max_lifetime)
    }

    /// By EIP-3009.
    pub(super) async fn authorize(
        &self,
        terms: &Terms,
        limits: &Limits,
    ) -> Result<Prepared, WalletError> {
        let domain = self.domain(terms, Way::Eip3009)?;
        let (valid_after, valid_before) = self.window(terms, limits);
        let authorization = Authorization {
            from: self.signer.address(),
            to: known_account(&terms.pay_to)?,
            value: terms.amount.as_u256(),
            valid_after: U256::from(valid_after),
            valid_before: U256::from(valid_before),
            nonce: random_word()?,
        };
        let signature = self.signer.sign(authorization.digest(&domain)).await?;
        let signed = SignedAuthorization {
            authorization,
            signature: Bytes::copy_from_slice(&signature),
        };
        self.prepared(terms, Payment::Eip3009(signed))
    }

    /// By Permit2, through the proxy of the scheme. Where a node is known and
    /// Permit2 may not move the token yet, an extension that the server offers is
    /// filled in, or else nothing is signed.
    pub(super) async fn permit_transfer(
        &self,
        terms: &Terms,
        limits: &Limits,
        offered: Offered<'_>,
        way: Way,
    ) -> Result<Prepared, WalletError> {
        // The domain is not used, but a server that lies about it is not paid.
        self.domain(terms, way)?;
        let (valid_after, deadline) = self.window(terms, limits);
        // Our own, whatever the terms say.
        let contracts = self.contracts(&terms.network);
        self.require_contracts(&terms.network).await?;
        let (spender, facilitator) = match way {
            Way::Upto => (contracts.upto_proxy, facilitator(terms)),
            _ => (contracts.exact_proxy, None),
        };
        let permit = Permit2Transfer {
            token: known_account(&terms.asset)?,
            amount: terms.amount.as_u256(),
            spender,
            nonce: self.word.draw()?,
            deadline: U256::from(deadline),
            witness: Witness {
                to: known_account(&terms.pay_to)?,
                facilitator,
                valid_after: U256::from(valid_after),
            },
        };
        let extensions = self.sponsoring(terms, &permit, offered).await?;
        let chain_id = terms.network.chain_id().unwrap_or_default();
        let domain = permit2_domain(chain_id, contracts.permit2);
        let signature = self.signer.sign(permit.digest(&domain)).await?;
        let signed = SignedPermit2 {
            from: self.signer.address(),
            permit,
            signature: Bytes::copy_from_slice(&signature),
        };
        Ok(Prepared {
            extensions,
            ..self.prepared(terms, Payment::Permit2(signed))?
        })
    }

    /// What is said to be elsewhere than published must be a contract: what is signed
    /// for an account without code is good for whoever owns it.
    async fn require_contracts(&self, network: &Network) -> Result<(), WalletError> {
        let Some(rpc) = self.nodes.get(network) else {
            return Ok(());
        };
        for (name, address) in self.contracts(network).elsewhere() {
            let code: Bytes = ask(rpc, "eth_getCode", (address, LATEST)).await?;
            if code.is_empty() {
                return Err(refuse(
                    codes::WALLET_UNAVAILABLE,
                    &format!("correct the address of {name}: there is no contract at {address} on {network}"),
                )
                .into());
            }
        }
        Ok(())
    }

    /// By EIP-2612, for the payee's settler.
    pub(super) async fn permit_settler(
        &self,
        terms: &Terms,
        limits: &Limits,
    ) -> Result<Prepared, WalletError> {
        let domain = self.domain(terms, Way::Eip2612)?;
        let spender = settler_address(known_account(&terms.pay_to)?);
        let theirs = terms.wire.extra_str("settler");
        if theirs.is_some_and(|text| text.parse() != Ok(spender)) {
            return Err(refuse(
                codes::NO_ACCEPTABLE_TERMS,
                &format!("only {spender} is sure to pay the payee; do not pay this server"),
            )
            .into());
        }
        let permit = Permit {
            owner: self.signer.address(),
            spender,
            value: terms.amount.as_u256(),
            nonce: self.permit_nonce(terms).await?,
            deadline: U256::from(self.window(terms, limits).1),
        };
        let signature = self.signer.sign(permit.digest(&domain)).await?;
        let signed = SignedPermit {
            permit,
            signature: Bytes::copy_from_slice(&signature),
        };
        self.prepared(terms, Payment::Eip2612(signed))
    }

    /// The nonce of this account's next EIP-2612 permit.
    pub(super) async fn permit_nonce(&self, terms: &Terms) -> Result<U256, WalletError> {
        let owner = self.signer.address();
        let question = Allowances::noncesCall { owner }.abi_encode();
        let nonce = self.token_says(terms, question).await?;
        let missing = || refuse(codes::NO_ACCEPTABLE_TERMS, "the asset has no permits");
        Ok(nonce.ok_or_else(missing)?)
    }

    /// One word that the asset answers.
    pub(super) async fn token_says(
        &self,
        terms: &Terms,
        question: Vec<u8>,
    ) -> Result<Option<U256>, WalletError> {
        let token = known_account(&terms.asset)?;
        let question = Bytes::from(question);
        let request = CallRequest::new(token, &question);
        let rpc = self.node(&terms.network)?;
        let answer: Bytes = ask(rpc, "eth_call", (request, LATEST)).await?;
        Ok(number_of(&answer))
    }
}

/// Who settles an `upto` payment, as the terms say.
pub(super) fn facilitator(terms: &Terms) -> Option<Account> {
    let text = terms.wire.extra_str("facilitatorAddress")?;
    text.starts_with("0x").then(|| text.parse().ok()).flatten()
}

/// When an authorization begins and ends, Unix seconds.
///
/// It ends with the server's time-out or the limit on lifetimes, whichever is
/// sooner, and begins up to ten minutes ago, so that clocks which are behind
/// ours take it. Its whole width stays within the limit (900 s by default):
/// where the server asks for all of it, a minute is kept for the past.
fn window(now: Timestamp, max_timeout: u64, max_lifetime: Duration) -> (u64, u64) {
    let now = now.secs();
    let longest = max_lifetime.as_secs();
    let past = MIN_BACKDATE.as_secs().min(longest / 2);
    let valid_before = now.saturating_add(max_timeout.min(longest - past));
    let earliest = now.saturating_sub(MAX_BACKDATE.as_secs());
    (
        valid_before.saturating_sub(longest).max(earliest),
        valid_before,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authorization_never_lives_longer_than_the_limit() {
        let now = Timestamp::from_secs(1_770_000_000);
        for timeout in [1, 30, 60, 299, 300, 301, 840, 900, 3600, u64::MAX] {
            for limit in [1, 60, 120, 900] {
                let (after, before) = window(now, timeout, Duration::from_secs(limit));
                assert!(before - after <= limit, "{timeout} {limit}");
                assert!(after <= now.secs() && before >= now.secs());
                assert!(before <= now.secs().saturating_add(timeout));
            }
        }
        assert_eq!(
            window(now, 60, Duration::from_secs(900)),
            (now.secs() - 600, now.secs() + 60)
        );
        assert_eq!(
            window(now, 3600, Duration::from_secs(900)),
            (now.secs() - 60, now.secs() + 840)
        );
    }

    #[test]
    fn nonces_do_not_repeat() {
        assert_ne!(random_word().unwrap(), random_word().unwrap());
    }
}
