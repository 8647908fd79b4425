//! [`EvmWallet`]: a key that pays on EVM networks.

mod approval;
mod delegator;
mod permission;
mod sign;
mod transaction;
mod word;

pub use delegator::{Bestowal, DelegatorCode};
pub use permission::PermissionWallet;

use std::collections::HashMap;
use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use alloy_sol_types::SolCall;
use async_trait::async_trait;
use tollway_core::assets::{AssetInfo, AssetTable};
use tollway_core::{
    Address, Amount, ChainError, Clock, Family, Identity, Limits, Network, Offered, Prepared, Raw,
    Refusal, SystemClock, Terms, Timestamp, Wallet, WalletError, codes, mistake,
};
use tollway_rpc::RpcClient;
use tollway_rpc::ask::ask;

use crate::abi::Token as Abi;
use crate::contracts::Contracts;
use crate::methods::eip3009::SignedAuthorization;
use crate::methods::{Payment, Way};
use crate::node::{CallRequest, LATEST};
use crate::refusal::refuse;
use crate::signer::EvmSigner;
use crate::signing_key::SigningKey;
use crate::typed_data::{Authorization, Domain, message_digest};

/// A key that pays by EIP-3009, Permit2 (also `upto`), EIP-2612 and transactions
/// of its own, on any EVM network of our own asset table. What a server says about
/// an asset is compared with the table, never used.
pub struct EvmWallet {
    signer: SigningKey,
    assets: AssetTable,
    clock: Arc<dyn Clock>,
    nodes: HashMap<Network, RpcClient>,
    contracts: HashMap<Network, Contracts>,
    word: word::Word,
    sent: transaction::Sent,
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
    pub fn new(signer: impl Into<SigningKey>) -> Self {
        Self {
            signer: signer.into(),
            assets: AssetTable::builtin(),
            clock: Arc::new(SystemClock),
            nodes: HashMap::new(),
            contracts: HashMap::new(),
            word: word::Word::default(),
            sent: transaction::Sent::default(),
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

    /// With a node: to know the balance on its network, whether Permit2 may move a
    /// token, the next nonce of EIP-2612 permits, and to send transactions.
    #[must_use]
    pub fn with_node(mut self, network: Network, rpc: RpcClient) -> Self {
        self.nodes.insert(network, rpc);
        self
    }

    /// With Permit2 and the x402 proxies elsewhere than they are published. What is not
    /// said here is where it is published, whatever a server says.
    #[must_use]
    pub fn with_contracts(mut self, network: Network, contracts: Contracts) -> Self {
        self.contracts.insert(network, contracts);
        self
    }

    fn contracts(&self, network: &Network) -> Contracts {
        self.contracts.get(network).copied().unwrap_or_default()
    }

    /// The asset in our own table, if it moves by the way that is asked for.
    fn asset(&self, terms: &Terms, way: Way) -> Option<&AssetInfo> {
        self.assets
            .find(&terms.network, &terms.asset)
            .filter(|row| way == Way::Txid || row.methods.contains(&way.method()))
    }

    /// The token's domain by our own table; what the server says must agree.
    fn domain(&self, terms: &Terms, way: Way) -> Result<Domain, WalletError> {
        let row = self.asset(terms, way).ok_or_else(unknown_asset)?;
        let (Some(name), Some(version)) = (row.name.as_deref(), row.version.as_deref()) else {
            return Err(unknown_asset().into());
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
        let chain_id = terms.network.chain_id().ok_or_else(unknown_asset)?;
        let contract = crate::chain::known_account(&terms.asset)?;
        Ok(Domain::new(name, version, chain_id, contract))
    }

    fn node(&self, network: &Network) -> Result<&RpcClient, WalletError> {
        let missing = || {
            refuse(
                codes::WALLET_UNAVAILABLE,
                &format!("configure an RPC URL for {network} to pay so"),
            )
        };
        Ok(self.nodes.get(network).ok_or_else(missing)?)
    }

    /// A prepared payment, with identity and end as whoever verifies it reads them.
    fn prepared(&self, terms: &Terms, signed: Payment) -> Result<Prepared, WalletError> {
        let payer = self
            .address(&terms.network)
            .ok_or_else(|| refuse(codes::WALLET_UNAVAILABLE, "choose another network"))?;
        let permit2 = self.contracts(&terms.network).permit2;
        let (scope, nonce) = signed.scope_and_nonce(terms.asset.as_str(), permit2);
        Ok(Prepared {
            valid_until: Timestamp::from_secs(signed.deadline(terms, self.clock.now().secs())?),
            payload: signed.to_payload(),
            identity: Identity {
                network: terms.network.clone(),
                scope,
                payer,
                nonce,
            },
            amount: terms.amount,
            extensions: None,
            transaction: None,
        })
    }
}

fn unknown_asset() -> Refusal {
    refuse(
        codes::ASSET_NOT_KNOWN,
        "configure it if it is to be trusted",
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

/// What an account holds of a token.
async fn balance_of(
    rpc: &RpcClient,
    asset: &Address,
    account: alloy_primitives::Address,
) -> Result<Amount, ChainError> {
    let token = crate::chain::known_account(asset)?;
    let question = Bytes::from(Abi::balanceOfCall { account }.abi_encode());
    let request = CallRequest::new(token, &question);
    let answer: Bytes = ask(rpc, "eth_call", (request, LATEST)).await?;
    Abi::balanceOfCall::abi_decode_returns(&answer)
        .map(Amount::from)
        .map_err(|e| ChainError::unavailable(format!("balanceOf: {e}")))
}

fn random_word() -> Result<B256, Refusal> {
    let mut word = B256::ZERO;
    getrandom::fill(word.as_mut_slice()).map_err(|e| {
        refuse(
            codes::WALLET_UNAVAILABLE,
            "the system has no randomness, try again",
        )
        .with_detail(e)
    })?;
    Ok(word)
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

    fn spelled(&self, network: &Network) -> Option<String> {
        (network.family() == Family::Evm).then(|| self.signer.address().to_string())
    }

    async fn sign_message(
        &self,
        network: &Network,
        message: &str,
    ) -> Result<Option<String>, WalletError> {
        if network.family() != Family::Evm {
            return Ok(None);
        }
        let signature = self.signer.sign(message_digest(message)).await?;
        Ok(Some(format!("0x{}", hex::encode(signature))))
    }

    fn supports(&self, terms: &Terms) -> bool {
        let Ok(way) = Way::of(terms) else {
            return false;
        };
        let Some(row) = self.asset(terms, way) else {
            return false;
        };
        let has_node = self.nodes.contains_key(&terms.network);
        terms.network.family() == Family::Evm
            && match way {
                Way::Eip3009 => row.name.is_some(),
                Way::Permit2 => true,
                Way::Upto => sign::facilitator(terms).is_some(),
                Way::Eip2612 => row.name.is_some() && has_node,
                Way::Txid => has_node,
                // A permission pays by a wallet of its own.
                Way::Erc7710 => false,
            }
    }

    async fn balance(
        &self,
        network: &Network,
        asset: &Address,
    ) -> Result<Option<Amount>, ChainError> {
        match self.nodes.get(network) {
            Some(rpc) => balance_of(rpc, asset, self.signer.address())
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    async fn prepare(&self, terms: &Terms, limits: &Limits) -> Result<Prepared, WalletError> {
        self.prepare_offered(terms, limits, Offered::default())
            .await
    }

    async fn prepare_offered(
        &self,
        terms: &Terms,
        limits: &Limits,
        offered: Offered<'_>,
    ) -> Result<Prepared, WalletError> {
        if !self.supports(terms) {
            return Err(refuse(codes::NO_ACCEPTABLE_TERMS, "choose another way to pay").into());
        }
        if terms.amount > limits.max_amount {
            return Err(refuse(codes::PRICE_ABOVE_LIMIT, "raise the limit to pay it").into());
        }
        match Way::of(terms)? {
            Way::Eip3009 => self.authorize(terms, limits).await,
            way @ (Way::Permit2 | Way::Upto) => {
                self.permit_transfer(terms, limits, offered, way).await
            }
            Way::Eip2612 => self.permit_settler(terms, limits).await,
            Way::Txid => self.prepare_transaction(terms, offered).await,
            Way::Erc7710 => {
                Err(refuse(codes::NO_ACCEPTABLE_TERMS, "choose another way to pay").into())
            }
        }
    }

    async fn approval(&self, terms: &Terms) -> Result<Raw, WalletError> {
        // The inherent one.
        Self::approval(self, terms).await
    }

    async fn broadcast(&self, network: &Network, raw: &Raw) -> Result<(), ChainError> {
        self.send_and_wait(network, raw).await
    }
}
