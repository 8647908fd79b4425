//! The one place that runs the EVM: the rules, the block it runs in, and the
//! translation of transactions and of what went wrong.

use alloy_consensus::{Header, Transaction as _, TxEnvelope};
use alloy_primitives::{Address, Bytes, U256};
use revm::context::result::{
    EVMError, ExecResultAndState, ExecutionResult, HaltReason, InvalidTransaction,
};
use revm::context::transaction::AccessList;
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::context_interface::either::Either;
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;
use revm::{Context, Database, ExecuteEvm, InspectEvm, Inspector, MainBuilder, MainContext};

use crate::error::RpcError;

/// The rules of the chain. Osaka includes the per-transaction gas cap (EIP-7825).
pub(crate) const SPEC: SpecId = SpecId::OSAKA;
/// EIP-7825: the most gas one transaction may ask for.
pub(crate) const TX_GAS_CAP: u64 = 1 << 24;
/// The most gas one `eth_call` may burn, and its default.
pub(crate) const CALL_GAS_CAP: u64 = 50_000_000;

/// What an execution returned and changed.
pub(crate) type Executed = ExecResultAndState<ExecutionResult, EvmState>;

/// The rules for transactions in blocks.
pub(crate) fn rules(chain_id: u64) -> CfgEnv {
    CfgEnv::new_with_spec(SPEC).with_chain_id(chain_id)
}

/// The rules for `eth_call` and its relatives: no nonce, any caller (also a
/// contract), gas beyond what a transaction may have.
pub(crate) fn call_rules(chain_id: u64) -> CfgEnv {
    let mut cfg = rules(chain_id);
    cfg.disable_nonce_check = true;
    cfg.disable_eip3607 = true;
    cfg.disable_block_gas_limit = true;
    cfg.tx_gas_limit_cap = Some(u64::MAX);
    cfg
}

/// The block that `header` describes, as the EVM sees it.
pub(crate) fn block_env(header: &Header) -> BlockEnv {
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        difficulty: U256::ZERO,
        prevrandao: Some(header.mix_hash),
        blob_excess_gas_and_price: Some(BlobExcessGasAndPrice {
            excess_blob_gas: 0,
            blob_gasprice: 1,
        }),
        slot_num: 0,
    }
}

/// Runs one transaction and hands back its changes, uncommitted.
pub(crate) fn execute<DB: Database>(
    db: DB,
    cfg: &CfgEnv,
    block: &BlockEnv,
    tx: TxEnv,
) -> Result<Executed, EVMError<DB::Error>> {
    let context = Context::mainnet()
        .with_db(db)
        .with_block(block.clone())
        .with_cfg(cfg.clone());
    context.build_mainnet().transact(tx)
}

/// Runs one transaction before the eyes of an inspector.
pub(crate) fn inspect<DB: Database, I>(
    db: DB,
    cfg: &CfgEnv,
    block: &BlockEnv,
    tx: TxEnv,
    inspector: I,
) -> Result<Executed, EVMError<DB::Error>>
where
    I: Inspector<Context<BlockEnv, TxEnv, CfgEnv, DB>>,
{
    let context = Context::mainnet()
        .with_db(db)
        .with_block(block.clone())
        .with_cfg(cfg.clone());
    context
        .build_mainnet_with_inspector(inspector)
        .inspect_tx(tx)
}

/// A signed transaction in the EVM's terms.
pub(crate) fn tx_env(tx: &TxEnvelope, caller: Address) -> TxEnv {
    let access_list = tx
        .access_list()
        .map(|list| AccessList(list.0.clone()))
        .unwrap_or_default();
    let authorization_list = tx
        .authorization_list()
        .unwrap_or_default()
        .iter()
        .cloned()
        .map(Either::Left)
        .collect();
    TxEnv {
        tx_type: tx.tx_type() as u8,
        caller,
        gas_limit: tx.gas_limit(),
        gas_price: tx.max_fee_per_gas(),
        kind: tx.kind(),
        value: tx.value(),
        data: tx.input().clone(),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list,
        gas_priority_fee: tx.max_priority_fee_per_gas(),
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list,
    }
}

/// The gas a transaction needs before its first instruction, and the floor
/// for its calldata (EIP-7623).
pub(crate) fn intrinsic_gas(cfg: &CfgEnv, tx: &TxEnv) -> (u64, u64) {
    let gas = cfg.gas_params.initial_tx_gas_for_tx(tx, None);
    (gas.initial_total_gas(), gas.floor_gas())
}

/// What `eth_call` answers for a finished execution: the output, or geth's
/// error for a revert (code 3 with the data) or another failure.
pub(crate) fn call_answer(result: ExecutionResult) -> Result<Bytes, RpcError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(RpcError::reverted(output)),
        ExecutionResult::Halt { reason, .. } => Err(RpcError::server(halt_message(&reason))),
    }
}

/// geth's words for an execution that stopped without REVERT.
pub(crate) fn halt_message(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "out of gas".into(),
        HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode => "invalid opcode".into(),
        HaltReason::StackUnderflow => "stack underflow".into(),
        HaltReason::StackOverflow => "stack limit reached 1024 (1023)".into(),
        HaltReason::InvalidJump => "invalid jump destination".into(),
        HaltReason::CreateCollision => "contract address collision".into(),
        HaltReason::CreateContractSizeLimit => "max code size exceeded".into(),
        HaltReason::StateChangeDuringStaticCall => "write protection".into(),
        HaltReason::OutOfFunds => "insufficient balance for transfer".into(),
        other => format!("execution halted: {other:?}"),
    }
}

/// geth's words for a call that could not even start.
pub(crate) fn invalid_message<E>(error: &EVMError<E>) -> String {
    let EVMError::Transaction(invalid) = error else {
        return "the execution could not start".into();
    };
    match invalid {
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
            format!("insufficient funds for gas * price + value: have {balance} want {fee}")
        }
        InvalidTransaction::CallGasCostMoreThanGasLimit {
            initial_gas,
            gas_limit,
        } => {
            format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}")
        }
        InvalidTransaction::GasFloorMoreThanGasLimit {
            gas_floor,
            gas_limit,
        } => {
            format!("insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}")
        }
        InvalidTransaction::GasPriceLessThanBasefee => {
            "max fee per gas less than block base fee".into()
        }
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => {
            "max priority fee per gas higher than max fee per gas".into()
        }
        other => other.to_string(),
    }
}
