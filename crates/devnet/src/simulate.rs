//! `eth_simulateV1`: calls in order over one or more imagined blocks, each
//! seeing what the ones before it changed.

use alloy_primitives::{B256, Bytes, U256};
use revm::DatabaseCommit;
use revm::context::BlockEnv;
use revm::context::result::ExecutionResult;
use serde_json::{Value, json};

use crate::block::{NextHeader, seal};
use crate::call::{CallRequest, Overrides, Scratch, run};
use crate::chain::{BlockId, Chain};
use crate::error::RpcError;
use crate::evm::{CALL_GAS_CAP, halt_message};
use crate::rpc::views::{block_json, hex_u64, log_json};

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
    let mut parent = chain.block(base).map_or(B256::ZERO, |block| block.hash);
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
        let (hash, report) = block_report(&env, parent, used, calls);
        parent = hash;
        reports.push(report);
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

/// The imagined block as a header with its calls, in the shape of a mined one.
fn block_report(env: &BlockEnv, parent: B256, used: u64, mut calls: Vec<Value>) -> (B256, Value) {
    let next = NextHeader {
        parent_hash: parent,
        number: env.number.saturating_to(),
        timestamp: env.timestamp.saturating_to(),
        gas_limit: env.gas_limit,
        base_fee: env.basefee,
        beneficiary: env.beneficiary,
        fork: 0,
    };
    let mut block = seal(next.open(), Vec::new(), parent, 0);
    block.header.gas_used = used;
    block.hash = block.header.hash_slow();
    for log in calls
        .iter_mut()
        .filter_map(|call| call["logs"].as_array_mut())
        .flatten()
    {
        log["blockHash"] = json!(block.hash);
    }
    let mut report = block_json(&block, false);
    report["calls"] = Value::Array(calls);
    (block.hash, report)
}
