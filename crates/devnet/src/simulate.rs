//! `eth_simulateV1`: calls in order over one or more imagined blocks, each
//! seeing what the ones before it changed.

use alloy_primitives::{B256, Bytes, U256};
use revm::DatabaseCommit;
use revm::context::BlockEnv;
use revm::context::result::ExecutionResult;
use serde_json::{Value, json};

use crate::call::{CallRequest, Overrides, Scratch, run};
use crate::chain::{BlockId, Chain};
use crate::error::RpcError;
use crate::evm::{CALL_GAS_CAP, halt_message};
use crate::rpc::views::{hex_u64, log_json, quantity};

/// The most blocks and the most calls in one simulation.
pub(crate) const MAX_SIMULATED: usize = 256;

/// One imagined block.
#[derive(Debug, Default)]
pub(crate) struct SimulatedBlock {
    pub(crate) overrides: Overrides,
    pub(crate) calls: Vec<CallRequest>,
}

/// Runs the blocks on top of `base` and reports each call.
pub(crate) fn simulate(
    chain: &Chain,
    blocks: &[SimulatedBlock],
    base: BlockId,
) -> Result<Value, RpcError> {
    let (mut db, mut env) = chain.scene(base)?;
    let mut reports = Vec::new();
    // One budget for all calls keeps a simulation as bounded as a call.
    let mut gas_left = CALL_GAS_CAP;
    for block in blocks {
        env.number = env.number.saturating_add(U256::ONE);
        env.timestamp = env.timestamp.saturating_add(U256::ONE);
        block.overrides.apply(&mut db, &mut env)?;
        let mut calls = Vec::new();
        let mut used = 0;
        for request in &block.calls {
            let (report, gas) = simulate_call(chain, &mut db, &env, request, gas_left, &calls)?;
            gas_left = gas_left.saturating_sub(gas);
            used += gas;
            calls.push(report);
        }
        reports.push(block_report(&env, used, calls));
    }
    Ok(Value::Array(reports))
}

fn simulate_call(
    chain: &Chain,
    db: &mut Scratch<'_>,
    env: &BlockEnv,
    request: &CallRequest,
    gas_left: u64,
    before: &[Value],
) -> Result<(Value, u64), RpcError> {
    let gas = request.gas.unwrap_or(gas_left).min(gas_left);
    let executed = run(chain, db, env.clone(), request, gas)?;
    db.commit(executed.state);
    let used = executed.result.tx_gas_used();
    let first_log: usize = before
        .iter()
        .filter_map(|call| call["logs"].as_array())
        .map(Vec::len)
        .sum();
    Ok((call_report(executed.result, env, first_log as u64), used))
}

fn call_report(result: ExecutionResult, env: &BlockEnv, first_log: u64) -> Value {
    let gas_used = hex_u64(result.tx_gas_used());
    match result {
        ExecutionResult::Success { logs, output, .. } => {
            let logs: Vec<Value> = (first_log..)
                .zip(&logs)
                .map(|(index, log)| {
                    let number = env.number.saturating_to();
                    log_json(
                        log,
                        index,
                        number,
                        env.timestamp.saturating_to(),
                        B256::ZERO,
                        B256::ZERO,
                        0,
                    )
                })
                .collect();
            json!({"returnData": output.into_data(), "logs": logs, "gasUsed": gas_used, "status": "0x1"})
        }
        ExecutionResult::Revert { output, .. } => {
            let error = RpcError::reverted(output.clone());
            json!({"returnData": output, "logs": [], "gasUsed": gas_used, "status": "0x0",
                "error": {"code": error.code, "message": error.message, "data": output}})
        }
        ExecutionResult::Halt { reason, .. } => {
            json!({"returnData": Bytes::new(), "logs": [], "gasUsed": gas_used, "status": "0x0",
                "error": {"code": -32015, "message": halt_message(&reason)}})
        }
    }
}

fn block_report(env: &BlockEnv, used: u64, calls: Vec<Value>) -> Value {
    json!({
        "number": quantity(env.number),
        "hash": B256::ZERO,
        "parentHash": B256::ZERO,
        "timestamp": quantity(env.timestamp),
        "gasLimit": hex_u64(env.gas_limit),
        "gasUsed": hex_u64(used),
        "baseFeePerGas": hex_u64(env.basefee),
        "miner": env.beneficiary,
        "transactions": [],
        "calls": calls,
    })
}
