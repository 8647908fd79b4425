//! `eth_call`: running a message on a state without keeping what it changes.

use alloy_eips::eip2930::AccessList;
use alloy_eips::eip7702::SignedAuthorization;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256};
use revm::Database;
use revm::context::{BlockEnv, TxEnv};
use revm::context_interface::either::Either;
use revm::database::CacheDB;

use crate::chain::{BlockId, Chain};
use crate::error::RpcError;
use crate::evm::{self, CALL_GAS_CAP, Executed, execute};
use crate::state::{View, bytecode};

/// A state that a call may scribble on.
pub(crate) type Scratch<'a> = CacheDB<View<'a>>;

/// The message of an `eth_call`.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallRequest {
    pub(crate) from: Address,
    pub(crate) to: Option<Address>,
    pub(crate) gas: Option<u64>,
    pub(crate) gas_price: Option<u128>,
    pub(crate) max_fee: Option<u128>,
    pub(crate) max_tip: Option<u128>,
    pub(crate) value: U256,
    pub(crate) data: Bytes,
    pub(crate) nonce: Option<u64>,
    pub(crate) access_list: AccessList,
    pub(crate) authorizations: Vec<SignedAuthorization>,
}

impl CallRequest {
    /// The most wei per gas that the caller offers; zero means "free".
    pub(crate) fn price(&self) -> u128 {
        self.gas_price.or(self.max_fee).unwrap_or_default()
    }

    /// The message in the EVM's terms.
    pub(crate) fn tx_env(&self, chain_id: u64, gas_limit: u64) -> TxEnv {
        let tx_type = if !self.authorizations.is_empty() {
            4
        } else if self.max_fee.is_some() || self.max_tip.is_some() {
            2
        } else if !self.access_list.0.is_empty() {
            1
        } else {
            0
        };
        TxEnv {
            tx_type,
            caller: self.from,
            gas_limit,
            gas_price: self.price(),
            kind: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            data: self.data.clone(),
            nonce: self.nonce.unwrap_or_default(),
            chain_id: Some(chain_id),
            access_list: self.access_list.clone(),
            gas_priority_fee: (tx_type == 2 || tx_type == 4)
                .then(|| self.max_tip.unwrap_or_default().min(self.price())),
            authorization_list: self
                .authorizations
                .iter()
                .cloned()
                .map(Either::Left)
                .collect(),
            ..TxEnv::default()
        }
    }
}

/// What one account should look like for the call.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccountOverride {
    pub(crate) balance: Option<U256>,
    pub(crate) nonce: Option<u64>,
    pub(crate) code: Option<Bytes>,
    /// Replaces the whole storage.
    pub(crate) state: Option<Vec<(U256, U256)>>,
    /// Replaces single slots.
    pub(crate) state_diff: Vec<(U256, U256)>,
}

/// What the block should look like for the call.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockOverride {
    pub(crate) number: Option<u64>,
    pub(crate) time: Option<u64>,
    pub(crate) gas_limit: Option<u64>,
    pub(crate) base_fee: Option<u64>,
    pub(crate) beneficiary: Option<Address>,
    pub(crate) prevrandao: Option<B256>,
}

/// Changes to the scene of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) accounts: Vec<(Address, AccountOverride)>,
    pub(crate) block: BlockOverride,
}

impl Overrides {
    /// Applies all changes to a state and a block.
    pub(crate) fn apply(&self, db: &mut Scratch<'_>, env: &mut BlockEnv) -> Result<(), RpcError> {
        for (address, account) in &self.accounts {
            account.apply(*address, db)?;
        }
        self.block.apply(env);
        Ok(())
    }
}

impl AccountOverride {
    fn apply(&self, address: Address, db: &mut Scratch<'_>) -> Result<(), RpcError> {
        let Ok(info) = db.basic(address);
        let mut info = info.unwrap_or_default();
        info.balance = self.balance.unwrap_or(info.balance);
        info.nonce = self.nonce.unwrap_or(info.nonce);
        if let Some(code) = &self.code {
            let code = bytecode(code.clone())?;
            info.code_hash = if code.is_empty() {
                KECCAK256_EMPTY
            } else {
                code.hash_slow()
            };
            info.code = Some(code);
        }
        db.insert_account_info(address, info);
        if let Some(slots) = &self.state {
            let Ok(()) = db.replace_account_storage(address, slots.iter().copied().collect());
        }
        for (slot, value) in &self.state_diff {
            let Ok(()) = db.insert_account_storage(address, *slot, *value);
        }
        Ok(())
    }
}

impl BlockOverride {
    pub(crate) fn apply(&self, env: &mut BlockEnv) {
        env.number = self.number.map_or(env.number, U256::from);
        env.timestamp = self.time.map_or(env.timestamp, U256::from);
        env.gas_limit = self.gas_limit.unwrap_or(env.gas_limit);
        env.basefee = self.base_fee.unwrap_or(env.basefee);
        env.beneficiary = self.beneficiary.unwrap_or(env.beneficiary);
        env.prevrandao = self.prevrandao.or(env.prevrandao);
    }
}

/// Runs `request` in the scene of `block` and returns its output.
pub(crate) fn call(
    chain: &Chain,
    request: &CallRequest,
    block: BlockId,
    overrides: &Overrides,
) -> Result<Bytes, RpcError> {
    let (mut db, mut env) = chain.scene(block)?;
    overrides.apply(&mut db, &mut env)?;
    let gas = request.gas.unwrap_or(CALL_GAS_CAP).min(CALL_GAS_CAP);
    evm::call_answer(run(chain, &mut db, env, request, gas)?.result)
}

/// Runs `request` with a gas limit. Without a price the call is free and sees
/// a base fee of zero, as on geth.
pub(crate) fn run(
    chain: &Chain,
    db: &mut Scratch<'_>,
    mut env: BlockEnv,
    request: &CallRequest,
    gas: u64,
) -> Result<Executed, RpcError> {
    if request.price() == 0 {
        env.basefee = 0;
    }
    let tx = request.tx_env(chain.settings.chain_id, gas);
    execute(db, chain.call_rules(), &env, tx)
        .map_err(|error| RpcError::server(evm::invalid_message(&error)))
}
