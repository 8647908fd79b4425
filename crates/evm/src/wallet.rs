//! [`EvmWallet`]: a key that pays by EIP-3009.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, Bytes, U256};
use alloy_sol_types::SolCall;
use async_trait::async_trait;
use tollway_core::assets::{AssetInfo, AssetTable, Method};
use tollway_core::{
    Address, Amount, ChainError, Clock, Family, Identity, Limits, Network, Prepared, Refusal,
    Scheme, SystemClock, Terms, Timestamp, Wallet, WalletError, codes, mistake,
};
use tollway_rpc::RpcClient;

use crate::abi::Token as Abi;
use crate::methods::eip3009::SignedAuthorization;
use crate::node::{CallRequest, LATEST, ask};
use crate::refusal::refuse;
use crate::signer::EvmSigner;
use crate::typed_data::{Authorization, Domain};

/// How far back an authorization begins at most: servers' and chains' clocks
/// may be behind ours.
const MAX_BACKDATE: Duration = Duration::from_secs(600);
/// How far back it begins at least, where the lifetime leaves room.
const MIN_BACKDATE: Duration = Duration::from_secs(60);

/// A key that signs EIP-3009 authorizations on any EVM network of our own
/// asset table. What a server says about an asset is compared with the table,
/// never used.
pub struct EvmWallet {
    signer: EvmSigner,
    assets: AssetTable,
    clock: Arc<dyn Clock>,
    nodes: HashMap<Network, RpcClient>,
}

impl std::fmt::Debug for EvmWallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvmWallet")
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}

impl EvmWallet {
    /// A wallet with the built-in assets and the system's clock, that knows no node.
    #[must_use]
    pub fn new(signer: EvmSigner) -> Self {
        Self {
            signer,
            assets: AssetTable::builtin(),
            clock: Arc::new(SystemClock),
            nodes: HashMap::new(),
        }
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

    /// With a node, to know the balance on its network.
    #[must_use]
    pub fn with_node(mut self, network: Network, rpc: RpcClient) -> Self {
        self.nodes.insert(network, rpc);
        self
    }

    /// The asset in our own table, if it moves by EIP-3009 there.
    fn asset(&self, terms: &Terms) -> Option<&AssetInfo> {
        self.assets
            .find(&terms.network, &terms.asset)
            .filter(|row| row.methods.contains(&Method::Eip3009))
    }

    /// The token's domain by our own table.
    fn domain(&self, terms: &Terms) -> Result<Domain, WalletError> {
        let unknown = || {
            refuse(
                codes::ASSET_NOT_KNOWN,
                "configure it if it is to be trusted",
            )
        };
        let row = self.asset(terms).ok_or_else(unknown)?;
        let (Some(name), Some(version)) = (row.name.as_deref(), row.version.as_deref()) else {
            return Err(unknown().into());
        };
        let theirs = terms.wire.extra_str("name").unwrap_or(name);
        let name = match mistake::is("domain_from_server") {
            true => theirs,
            false => name,
        };
        for (key, ours) in [("name", name), ("version", version)] {
            if terms
                .wire
                .extra_str(key)
                .is_some_and(|theirs| theirs != ours)
            {
                return Err(refuse(
                    codes::ASSET_MISMATCH,
                    &format!("its EIP-712 {key} is `{ours}`; do not pay this server"),
                )
                .into());
            }
        }
        let chain_id = terms.network.chain_id().ok_or_else(unknown)?;
        let contract = crate::chain::known_account(&terms.asset)?;
        Ok(Domain::new(name, version, chain_id, contract))
    }
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

/// Signs an authorization that was filled in already.
#[must_use]
pub fn sign_authorization(
    signer: &EvmSigner,
    domain: &Domain,
    authorization: Authorization,
) -> SignedAuthorization {
    let signature = signer.sign(authorization.digest(domain));
    SignedAuthorization {
        authorization,
        signature: Bytes::copy_from_slice(&signature),
    }
}

fn random_nonce() -> Result<B256, Refusal> {
    let mut nonce = B256::ZERO;
    getrandom::fill(nonce.as_mut_slice()).map_err(|e| {
        refuse(
            codes::WALLET_UNAVAILABLE,
            "the system has no randomness, try again",
        )
        .with_detail(e)
    })?;
    Ok(nonce)
}

#[async_trait]
impl Wallet for EvmWallet {
    fn address(&self, network: &Network) -> Option<Address> {
        (network.family() == Family::Evm)
            .then(|| {
                network
                    .address(&format!("{:#x}", self.signer.address()))
                    .ok()
            })
            .flatten()
    }

    fn supports(&self, terms: &Terms) -> bool {
        terms.scheme == Scheme::Exact
            && terms.network.family() == Family::Evm
            && terms.method().is_none_or(|m| m == Method::Eip3009.as_str())
            && self.asset(terms).is_some_and(|row| row.name.is_some())
    }

    async fn balance(
        &self,
        network: &Network,
        asset: &Address,
    ) -> Result<Option<Amount>, ChainError> {
        let Some(rpc) = self.nodes.get(network) else {
            return Ok(None);
        };
        let token = crate::chain::known_account(asset)?;
        let account = self.signer.address();
        let question = Bytes::from(Abi::balanceOfCall { account }.abi_encode());
        let answer: Bytes = ask(
            rpc,
            "eth_call",
            (CallRequest::new(token, &question), LATEST),
        )
        .await?;
        Abi::balanceOfCall::abi_decode_returns(&answer)
            .map(|held| Some(Amount::from(held)))
            .map_err(|e| ChainError::unavailable(format!("balanceOf: {e}")))
    }

    async fn prepare(&self, terms: &Terms, limits: &Limits) -> Result<Prepared, WalletError> {
        if !self.supports(terms) {
            return Err(refuse(codes::NO_ACCEPTABLE_TERMS, "choose another way to pay").into());
        }
        if terms.amount > limits.max_amount {
            return Err(refuse(codes::PRICE_ABOVE_LIMIT, "raise the limit to pay it").into());
        }
        let domain = self.domain(terms)?;
        let (valid_after, valid_before) = window(
            self.clock.now(),
            terms.wire.max_timeout_seconds,
            limits.max_lifetime,
        );
        let authorization = Authorization {
            from: self.signer.address(),
            to: crate::chain::known_account(&terms.pay_to)?,
            value: terms.amount.as_u256(),
            valid_after: U256::from(valid_after),
            valid_before: U256::from(valid_before),
            nonce: random_nonce()?,
        };
        let payer = self
            .address(&terms.network)
            .ok_or_else(|| refuse(codes::WALLET_UNAVAILABLE, "choose another network"))?;
        Ok(Prepared {
            payload: sign_authorization(&self.signer, &domain, authorization).to_payload(),
            identity: Identity {
                network: terms.network.clone(),
                scope: terms.asset.to_string(),
                payer,
                nonce: format!("{:#x}", authorization.nonce),
            },
            amount: terms.amount,
            valid_until: Timestamp::from_secs(valid_before),
            transaction: None,
        })
    }
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
        assert_ne!(random_nonce().unwrap(), random_nonce().unwrap());
    }
}
