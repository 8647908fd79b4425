//! Granting permissions with a key that we hold: the account becomes a delegator,
//! signs a delegation as wallets do, and can take it back.

use alloy_consensus::TxEip7702;
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address as Account, Bytes, U256};
use alloy_sol_types::SolCall;
use tollway_core::{Network, Raw, WalletError, codes};
use tollway_rpc::ask::ask;

use super::{EvmWallet, random_word};
use crate::abi::delegation::NonceEnforcer;
use crate::chain::diagnose::number_of;
use crate::chain::seal::{signature, signed};
use crate::delegation::{
    Allowance, Caveat, CaveatTerms, Delegation, Enforcer, ROOT_AUTHORITY, STATELESS_DELEGATOR,
    delegation_domain, disable_call,
};
use crate::node::{CallRequest, LATEST};
use crate::refusal::refuse;

/// Gas of a transaction that only gives the account a delegator's code.
const UPGRADE_GAS: u64 = 100_000;
/// Gas of taking a delegation back.
const DISABLE_GAS: u64 = 250_000;
/// Gas of deploying a smart account.
const DEPLOYMENT_GAS: u64 = 2_000_000;
/// EIP-7702's designator: this, and the address whose code an account runs.
const DESIGNATOR: [u8; 3] = [0xef, 0x01, 0x00];

/// What code an account runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelegatorCode {
    /// None: it executes nothing for anybody.
    None,
    /// The published delegator's.
    Delegator,
    /// Another's: nobody here knows whether it executes delegations.
    Other,
}

/// A permission that is to be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bestowal {
    /// Whose money: the key's own account, or a smart account that it owns.
    pub payer: Account,
    /// Who may spend it.
    pub session: Account,
    /// The token.
    pub asset: Account,
    /// How much.
    pub allowance: Allowance,
    /// Who may redeem it.
    pub redeemers: Vec<Account>,
    /// Who alone is paid.
    pub payee: Option<Account>,
    /// When it ends, Unix seconds.
    pub expires: u64,
}

impl EvmWallet {
    /// What code an account runs.
    ///
    /// # Errors
    /// [`WalletError`] if no node is known or it cannot be asked.
    pub async fn delegator_code(
        &self,
        network: &Network,
        account: Account,
    ) -> Result<DelegatorCode, WalletError> {
        let code: Bytes = ask(self.node(network)?, "eth_getCode", (account, LATEST)).await?;
        let published = code.strip_prefix(&DESIGNATOR) == Some(STATELESS_DELEGATOR.as_slice());
        Ok(match (code.is_empty(), published) {
            (true, _) => DelegatorCode::None,
            (_, true) => DelegatorCode::Delegator,
            _ => DelegatorCode::Other,
        })
    }

    /// A transaction that gives this account the published delegator's code
    /// (EIP-7702). It is not sent: [`tollway_core::Wallet::broadcast`] does that.
    ///
    /// # Errors
    /// [`WalletError`] if no node is known or it cannot be asked.
    pub async fn upgrade(&self, network: &Network) -> Result<Raw, WalletError> {
        let chain_id = network.chain_id().unwrap_or_default();
        let next = self.next(network).await?;
        let authorization = Authorization {
            chain_id: U256::from(chain_id),
            address: STATELESS_DELEGATOR,
            // The transaction itself takes the first.
            nonce: next.nonce + 1,
        };
        let proof = signature(self.signer.sign(authorization.signature_hash()));
        let transaction = TxEip7702 {
            chain_id,
            nonce: next.nonce,
            gas_limit: UPGRADE_GAS,
            max_fee_per_gas: next.max_fee,
            max_priority_fee_per_gas: next.tip,
            to: self.signer.address(),
            authorization_list: vec![authorization.into_signed(proof)],
            ..TxEip7702::default()
        };
        Ok(signed(transaction, &self.signer))
    }

    /// Signs a root delegation with the caveats that wallets give such permissions.
    ///
    /// # Errors
    /// [`WalletError`] if what is wished is no permission, or the node cannot say the
    /// payer's number in the enforcer of nonces.
    pub async fn bestow(
        &self,
        network: &Network,
        manager: Account,
        wish: &Bestowal,
    ) -> Result<Delegation, WalletError> {
        let mut conditions = vec![
            wish.allowance.terms(wish.asset),
            CaveatTerms::ValueLte(U256::ZERO),
            CaveatTerms::Nonce(self.delegation_nonce(network, manager, wish.payer).await?),
            CaveatTerms::Timestamp {
                after: 0,
                before: wish.expires.into(),
            },
            CaveatTerms::Redeemer(wish.redeemers.clone()),
        ];
        conditions.extend(wish.payee.map(CaveatTerms::payee));
        let caveats: Result<Vec<Caveat>, _> = conditions.iter().map(CaveatTerms::caveat).collect();
        let caveats =
            caveats.map_err(|error| refuse(codes::PERMISSION_UNUSABLE, &error.to_string()))?;
        let mut root = Delegation {
            delegate: wish.session,
            delegator: wish.payer,
            authority: ROOT_AUTHORITY,
            caveats,
            salt: U256::from_be_bytes(random_word()?.0),
            signature: Bytes::new(),
        };
        let chain_id = network.chain_id().unwrap_or_default();
        let digest = root.digest(&delegation_domain(chain_id, manager));
        root.signature = Bytes::copy_from_slice(&self.signer.sign(digest));
        Ok(root)
    }

    /// A transaction by which this account takes a delegation of its own back.
    /// It is not sent: [`tollway_core::Wallet::broadcast`] does that.
    ///
    /// # Errors
    /// [`WalletError`] if the delegation is another account's, or as for any
    /// transaction.
    pub async fn disable(
        &self,
        network: &Network,
        manager: Account,
        delegation: &Delegation,
    ) -> Result<Raw, WalletError> {
        if delegation.delegator != self.signer.address() {
            return Err(refuse(
                codes::PERMISSION_UNUSABLE,
                &format!("revoke it with the account {}", delegation.delegator),
            )
            .into());
        }
        self.transact(network, manager, disable_call(delegation), DISABLE_GAS)
            .await
    }

    /// A transaction by which a factory deploys an account; this account pays for it.
    /// It is not sent: [`tollway_core::Wallet::broadcast`] does that.
    ///
    /// # Errors
    /// [`WalletError`] if no node is known or it cannot be asked.
    pub async fn deploy(
        &self,
        network: &Network,
        factory: Account,
        call: Bytes,
    ) -> Result<Raw, WalletError> {
        self.transact(network, factory, call, DEPLOYMENT_GAS).await
    }

    async fn delegation_nonce(
        &self,
        network: &Network,
        manager: Account,
        payer: Account,
    ) -> Result<U256, WalletError> {
        let question = NonceEnforcer::currentNonceCall {
            delegationManager: manager,
            delegator: payer,
        };
        let question = Bytes::from(question.abi_encode());
        let request = CallRequest::new(Enforcer::Nonce.address(), &question);
        let answer: Bytes = ask(self.node(network)?, "eth_call", (request, LATEST)).await?;
        number_of(&answer).ok_or_else(|| {
            refuse(
                codes::PERMISSION_UNSUPPORTED,
                "choose a network that has the Delegation Framework",
            )
            .into()
        })
    }
}
