//! [`StarknetWallet`]: an account that pays by signing outside executions.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use starknet_crypto::Felt;
use tollway_core::assets::AssetTable;
use tollway_core::{
    Address, Amount, ChainError, Clock, Family, Identity, Limits, Network, Prepared, Refusal,
    Scheme, SystemClock, Terms, Timestamp, Wallet, WalletError, codes,
};
use tollway_rpc::RpcClient;
use tollway_rpc::ask::unavailable;

use crate::account::Signer;
use crate::chain::{amount_of, balance_call};
use crate::felt;
use crate::node::{call_params, is_contract_failure};
use crate::outside::{Call, OutsideExecution};
use crate::payload::SignedExecution;
use crate::refusal::refuse;
use crate::rules;
use crate::selectors::{BALANCE_OF, BALANCE_OF_CAMEL, TRANSFER};

/// Executions may begin at any time after this, Unix seconds.
const BEGINNING: u128 = 1;

/// An account on Starknet networks with whoever signs for it. What a server says
/// is compared with our own tables and intent, never signed as it came.
pub struct StarknetWallet {
    account: Felt,
    signer: Signer,
    assets: AssetTable,
    clock: Arc<dyn Clock>,
    nodes: HashMap<Network, RpcClient>,
    networks: Vec<Network>,
}

impl std::fmt::Debug for StarknetWallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StarknetWallet")
            .field("account", &felt::text(&self.account))
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}

impl StarknetWallet {
    /// An account that is deployed on the networks, with the built-in assets and
    /// the system's clock; `None` if the address is zero or none of Starknet.
    #[must_use]
    pub fn new(account: &Address, networks: Vec<Network>, signer: Signer) -> Option<Self> {
        let account = felt::of_address(account).filter(|number| *number != Felt::ZERO)?;
        Some(Self {
            account,
            signer,
            assets: AssetTable::builtin(),
            clock: Arc::new(SystemClock),
            nodes: HashMap::new(),
            networks,
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

    /// With a node, to know the balance on its network.
    #[must_use]
    pub fn with_node(mut self, network: Network, rpc: RpcClient) -> Self {
        self.nodes.insert(network, rpc);
        self
    }

    /// The account.
    pub(crate) const fn number(&self) -> Felt {
        self.account
    }

    /// Signs a payment under a nonce of one's own choice. Whoever signs anew what
    /// was not settled in time uses the same nonce: only one of the two can ever
    /// execute.
    ///
    /// # Errors
    /// A refusal with the payer's codes, or `session_expired` where the session
    /// ends before the payment does.
    pub fn sign(&self, terms: &Terms, limits: &Limits, nonce: Felt) -> Result<Prepared, Refusal> {
        if !self.supports(terms) {
            return Err(refuse(
                codes::NO_ACCEPTABLE_TERMS,
                "choose another way to pay",
            ));
        }
        if terms.amount > limits.max_amount {
            return Err(refuse(
                codes::PRICE_ABOVE_LIMIT,
                "raise the limit to pay it",
            ));
        }
        let (execution, before) = self.intend(terms, limits, nonce)?;
        let signed = self.sign_execution(&terms.network, execution)?;
        let chain_id = chain_of(&terms.network)?;
        let payer = self.payer(&terms.network)?;
        Ok(Prepared {
            payload: signed.to_payload(&chain_id),
            identity: Identity {
                network: terms.network.clone(),
                scope: payer.to_string(),
                payer,
                nonce: felt::text(&nonce),
            },
            amount: terms.amount,
            valid_until: Timestamp::from_secs(before),
            extensions: None,
            transaction: None,
        })
    }

    pub(crate) fn sign_execution(
        &self,
        network: &Network,
        execution: OutsideExecution,
    ) -> Result<SignedExecution, Refusal> {
        let hash = execution.hash(&chain_of(network)?, &self.account);
        let signature = self.signer.sign(&hash);
        Ok(SignedExecution {
            from: self.account,
            execution,
            signature: signature
                .map_err(|e| refuse(codes::WALLET_UNAVAILABLE, "try again").with_detail(e))?,
        })
    }

    /// What is signed, made from the terms and nothing else.
    fn intend(
        &self,
        terms: &Terms,
        limits: &Limits,
        nonce: Felt,
    ) -> Result<(OutsideExecution, u64), Refusal> {
        let caller = rules::fee_payer(terms)?;
        if caller == self.account {
            return Err(refuse(
                codes::INVALID_PAYMENT_REQUIREMENTS,
                "do not pay a server that names this account in extra.feePayer",
            ));
        }
        let timeout = terms.wire.max_timeout_seconds;
        if timeout > limits.max_lifetime.as_secs() {
            return Err(refuse(
                codes::POLICY_LIFETIME,
                &format!("{timeout} seconds are asked for and the scheme allows no shorter one"),
            ));
        }
        let before = self.clock.now().secs().saturating_add(timeout);
        if self
            .signer
            .valid_until()
            .is_some_and(|until| until < before)
        {
            return Err(refuse(
                codes::SESSION_EXPIRED,
                "renew the session, or pay with the owner's key",
            ));
        }
        let number = |address: &Address| {
            felt::of_address(address).ok_or_else(|| {
                refuse(
                    codes::INVALID_PAYMENT_REQUIREMENTS,
                    "name Starknet accounts",
                )
            })
        };
        let [low, high] = felt::split(terms.amount);
        let transfer = Call {
            to: number(&terms.asset)?,
            selector: TRANSFER,
            calldata: vec![number(&terms.pay_to)?, low, high],
        };
        let execution = OutsideExecution {
            caller,
            nonce,
            execute_after: BEGINNING,
            execute_before: u128::from(before),
            calls: vec![transfer],
        };
        Ok((execution, before))
    }

    fn payer(&self, network: &Network) -> Result<Address, Refusal> {
        let has = self.networks.contains(network);
        has.then(|| felt::to_address(network, &self.account))
            .flatten()
            .ok_or_else(|| refuse(codes::WALLET_UNAVAILABLE, "choose another network"))
    }
}

pub(crate) fn chain_of(network: &Network) -> Result<Felt, Refusal> {
    felt::chain_id(network)
        .ok_or_else(|| refuse(codes::INVALID_NETWORK, "pay on a Starknet network"))
}

/// A random nonce of 248 bits.
///
/// # Errors
/// `wallet_unavailable` if the system's random source fails.
pub fn random_nonce() -> Result<Felt, Refusal> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes[1..])
        .map_err(|e| refuse(codes::WALLET_UNAVAILABLE, "try again").with_detail(e))?;
    Ok(Felt::from_bytes_be(&bytes))
}

#[async_trait]
impl Wallet for StarknetWallet {
    fn address(&self, network: &Network) -> Option<Address> {
        self.payer(network).ok()
    }

    fn supports(&self, terms: &Terms) -> bool {
        terms.network.family() == Family::Starknet
            && self.networks.contains(&terms.network)
            && terms.scheme == Scheme::Exact
            && terms.method().is_none()
            && self.assets.find(&terms.network, &terms.asset).is_some()
    }

    async fn balance(
        &self,
        network: &Network,
        asset: &Address,
    ) -> Result<Option<Amount>, ChainError> {
        let (Some(rpc), Some(asset)) = (self.nodes.get(network), felt::of_address(asset)) else {
            return Ok(None);
        };
        let mut answer = None;
        for getter in [BALANCE_OF, BALANCE_OF_CAMEL] {
            let params = call_params(&balance_call(asset, self.account, getter));
            match rpc.call::<serde_json::Value>("starknet_call", params).await {
                Err(error) if is_contract_failure(&error) => answer = Some(error),
                said => return amount_of(Some(said)).map(Some),
            }
        }
        match answer {
            Some(error) => Err(unavailable("balance_of")(error)),
            None => Ok(None),
        }
    }

    async fn prepare(&self, terms: &Terms, limits: &Limits) -> Result<Prepared, WalletError> {
        Ok(self.sign(terms, limits, random_nonce()?)?)
    }
}
