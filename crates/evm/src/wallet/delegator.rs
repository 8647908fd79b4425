//! Granting permissions with a key that we hold: the account becomes a delegator,
//! signs a delegation as wallets do, and can take it back.

use alloy_consensus::TxEip7702;
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address as Account, B256, Bytes, U64, U256};
use alloy_sol_types::SolCall;
use tollway_core::{Network, Raw, WalletError, codes};
use tollway_rpc::ask::{ask, unavailable};

use super::{EvmWallet, random_word};
use crate::SigningKey;
use crate::abi::Account as AccountAbi;
use crate::abi::delegation::NonceEnforcer;
use crate::chain::diagnose::number_of;
use crate::chain::seal::{signature, signed};
use crate::chain::simulate::says_valid;
use crate::delegation::{
    Allowance, Caveat, CaveatTerms, Delegation, Dependency, Enforcer, Execution, ROOT_AUTHORITY,
    STATELESS_DELEGATOR, delegation_domain, disable_call, encode_context, redeem_call,
};
use crate::node::{CallRequest, LATEST, is_revert};
use crate::refusal::refuse;

/// Gas of a transaction that only gives the account a delegator's code.
const UPGRADE_GAS: u64 = 100_000;
/// Gas of taking a delegation back.
const DISABLE_GAS: u64 = 250_000;
/// Gas of the same by a delegation of the account's own.
const ACTING_GAS: u64 = 600_000;
/// How long such a delegation holds, seconds.
const ACTS_FOR: u64 = 600;
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
        self.upgrade_of(network, &self.signer).await
    }

    /// The same for another key's account; this one pays for it.
    ///
    /// # Errors
    /// As [`EvmWallet::upgrade`].
    pub async fn upgrade_of(
        &self,
        network: &Network,
        owner: &SigningKey,
    ) -> Result<Raw, WalletError> {
        let chain_id = network.chain_id().unwrap_or_default();
        let next = self.next(network).await?;
        let nonce = match owner.address() == self.signer.address() {
            // The transaction itself takes the first.
            true => next.nonce + 1,
            false => {
                let account = owner.address();
                let rpc = self.node(network)?;
                let nonce: U64 = ask(rpc, "eth_getTransactionCount", (account, LATEST)).await?;
                nonce.to()
            }
        };
        let authorization = Authorization {
            chain_id: U256::from(chain_id),
            address: STATELESS_DELEGATOR,
            nonce,
        };
        let proof = signature(owner.sign(authorization.signature_hash()).await?);
        let transaction = TxEip7702 {
            chain_id,
            nonce: next.nonce,
            gas_limit: UPGRADE_GAS,
            max_fee_per_gas: next.max_fee,
            max_priority_fee_per_gas: next.tip,
            to: owner.address(),
            authorization_list: vec![authorization.into_signed(proof)],
            ..TxEip7702::default()
        };
        Ok(signed(transaction, &self.signer).await?)
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
        root.signature = Bytes::copy_from_slice(&self.signer.sign(digest).await?);
        self.require_owner(network, wish.payer, digest, &root.signature)
            .await?;
        Ok(root)
    }

    /// A transaction by which a delegation is taken back: of this account's own, or
    /// of a smart account that this key signs for. It is not sent:
    /// [`tollway_core::Wallet::broadcast`] does that.
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
        let call = Execution {
            target: manager,
            value: U256::ZERO,
            data: disable_call(delegation),
        };
        self.act_as(network, manager, delegation.delegator, call)
            .await
    }

    /// A transaction by which an account takes back all that it granted with the
    /// number of now: what wallets grant holds until the account counts on. It is
    /// not sent: [`tollway_core::Wallet::broadcast`] does that.
    ///
    /// # Errors
    /// As [`EvmWallet::disable`].
    pub async fn disable_all(
        &self,
        network: &Network,
        manager: Account,
        payer: Account,
    ) -> Result<Raw, WalletError> {
        let count = NonceEnforcer::incrementNonceCall {
            delegationManager: manager,
        };
        let call = Execution {
            target: Enforcer::Nonce.address(),
            value: U256::ZERO,
            data: count.abi_encode().into(),
        };
        self.act_as(network, manager, payer, call).await
    }

    /// A call of the account's: by the account itself, or, where it is a smart
    /// account, by a delegation that lets this key's account make this one call.
    async fn act_as(
        &self,
        network: &Network,
        manager: Account,
        account: Account,
        call: Execution,
    ) -> Result<Raw, WalletError> {
        if account == self.signer.address() {
            return self
                .transact(network, call.target, call.data, DISABLE_GAS)
                .await;
        }
        if self.delegator_code(network, account).await? == DelegatorCode::None {
            return Err(refuse(
                codes::PERMISSION_UNUSABLE,
                &format!(
                    "use the key of {account}; where that is a smart account, deploy it first"
                ),
            )
            .into());
        }
        let until = self.clock.now().secs().saturating_add(ACTS_FOR);
        let conditions = [
            CaveatTerms::Timestamp {
                after: 0,
                before: until.into(),
            },
            CaveatTerms::LimitedCalls(U256::ONE),
        ];
        let caveats: Result<Vec<Caveat>, _> = conditions.iter().map(CaveatTerms::caveat).collect();
        let mut own = Delegation {
            delegate: self.signer.address(),
            delegator: account,
            authority: ROOT_AUTHORITY,
            caveats: caveats
                .map_err(|error| refuse(codes::PERMISSION_UNUSABLE, &error.to_string()))?,
            salt: U256::from_be_bytes(random_word()?.0),
            signature: Bytes::new(),
        };
        let chain_id = network.chain_id().unwrap_or_default();
        let digest = own.digest(&delegation_domain(chain_id, manager));
        own.signature = Bytes::copy_from_slice(&self.signer.sign(digest).await?);
        self.require_owner(network, account, digest, &own.signature)
            .await?;
        let context = encode_context(&[own]);
        let redemption = redeem_call(&context, &call);
        self.transact(network, manager, redemption, ACTING_GAS)
            .await
    }

    /// An account with code says for itself whose signature is its own. One that is
    /// not there yet says nothing.
    async fn require_owner(
        &self,
        network: &Network,
        account: Account,
        digest: B256,
        signature: &Bytes,
    ) -> Result<(), WalletError> {
        let rpc = self.node(network)?;
        let code: Bytes = ask(rpc, "eth_getCode", (account, LATEST)).await?;
        if code.is_empty() {
            return Ok(());
        }
        let question = AccountAbi::isValidSignatureCall {
            hash: digest,
            signature: signature.clone(),
        };
        let question = Bytes::from(question.abi_encode());
        let request = CallRequest::new(account, &question);
        let answer = rpc.call("eth_call", (request, LATEST)).await;
        match says_valid(Some(answer))? {
            true => Ok(()),
            false => Err(refuse(
                codes::PERMISSION_UNUSABLE,
                &format!("use a key that {account} takes signatures of"),
            )
            .into()),
        }
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

    /// Which account a factory says that it would deploy; `None` where it says
    /// nothing of that.
    ///
    /// # Errors
    /// `permission_factory` if it would not, and as for any question to a node.
    pub async fn deploys(
        &self,
        network: &Network,
        dependency: &Dependency,
    ) -> Result<Option<Account>, WalletError> {
        let mut request = CallRequest::new(dependency.factory, &dependency.factory_data);
        request.gas = Some(U64::from(DEPLOYMENT_GAS));
        let rpc = self.node(network)?;
        match rpc.call::<Bytes>("eth_call", (request, LATEST)).await {
            Ok(said) => {
                let word = (said.len() == 32).then(|| B256::from_slice(&said));
                let account = word.filter(|word| word.starts_with(&[0; 12]));
                Ok(account.map(Account::from_word).filter(|one| !one.is_zero()))
            }
            Err(error) if is_revert(&error) => Err(refuse(
                codes::PERMISSION_FACTORY,
                "name the factory of the account, and its own call",
            )
            .into()),
            Err(error) => Err(WalletError::Chain(unavailable("eth_call")(error))),
        }
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
