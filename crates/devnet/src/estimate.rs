//! `eth_estimateGas`: the least gas with which a message succeeds.

use alloy_primitives::U256;
use revm::Database;
use revm::context::BlockEnv;
use revm::context::result::{ExecutionResult, HaltReason};

use crate::call::{CallRequest, Overrides, Scratch, run};
use crate::chain::{BlockId, Chain};
use crate::error::RpcError;
use crate::evm::{TX_GAS_CAP, call_answer};

/// The search ends when the answer is within this many thousandths, as geth's does.
const TOLERANCE_PER_MILLE: u64 = 15;
/// What a plain transfer of ether costs.
const TRANSFER_GAS: u64 = 21_000;

/// The gas that `request` needs. A message that fails with all the gas it may
/// have answers with its own failure.
pub(crate) fn estimate(
    chain: &Chain,
    request: &CallRequest,
    block: BlockId,
    overrides: &Overrides,
) -> Result<u64, RpcError> {
    let (mut db, mut env) = chain.scene(block)?;
    overrides.apply(&mut db, &mut env)?;
    let mut high = allowance(chain, request, &mut db)?;
    if is_plain_transfer(request, &mut db)
        && suffices(attempt(chain, &db, &env, request, TRANSFER_GAS)?)
    {
        return Ok(TRANSFER_GAS);
    }
    let first = attempt(chain, &db, &env, request, high)?;
    let first = match first {
        Some(result) if result.is_success() => result,
        other => return Err(failure(other, high)),
    };
    let mut low = first.tx_gas_used().saturating_sub(1).max(TRANSFER_GAS - 1);
    // Most messages need what they used plus what was refunded and the 64th
    // that calls hold back: trying that first saves most of the search.
    let likely = (first.gas().total_gas_spent().saturating_mul(64) / 63).saturating_add(2_300);
    if likely > low && likely < high {
        if suffices(attempt(chain, &db, &env, request, likely)?) {
            high = likely;
        } else {
            low = likely;
        }
    }
    while low + 1 < high && (high - low).saturating_mul(1_000) / high >= TOLERANCE_PER_MILLE {
        let middle = low + (high - low) / 2;
        if suffices(attempt(chain, &db, &env, request, middle)?) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}

/// Whether only ether moves, to an account without code: that always costs
/// the same, and wallets count on the exact figure.
fn is_plain_transfer(request: &CallRequest, db: &mut Scratch<'_>) -> bool {
    let Some(to) = request.to else { return false };
    let Ok(account) = db.basic(to);
    request.data.is_empty() && account.is_none_or(|info| info.is_empty_code_hash())
}

/// The most gas the message may have: its own limit, the block's, the cap of
/// EIP-7825, and what its sender can pay for.
fn allowance(chain: &Chain, request: &CallRequest, db: &mut Scratch<'_>) -> Result<u64, RpcError> {
    let most = chain.settings.gas_limit.min(TX_GAS_CAP);
    let asked = request
        .gas
        .filter(|gas| *gas >= TRANSFER_GAS)
        .unwrap_or(most)
        .min(most);
    let price = request.price();
    if price == 0 {
        return Ok(asked);
    }
    let Ok(account) = db.basic(request.from);
    let balance = account.unwrap_or_default().balance;
    let left = balance
        .checked_sub(request.value)
        .ok_or_else(|| RpcError::server("insufficient funds for transfer"))?;
    let affordable = u64::try_from(left / U256::from(price)).unwrap_or(u64::MAX);
    Ok(asked.min(affordable))
}

/// Runs the message; `None` if the gas does not even let it start, which is
/// a "no" to a search.
fn attempt(
    chain: &Chain,
    db: &Scratch<'_>,
    env: &BlockEnv,
    request: &CallRequest,
    gas: u64,
) -> Result<Option<ExecutionResult>, RpcError> {
    match run(chain, &mut db.clone(), env.clone(), request, gas) {
        Ok(executed) => Ok(Some(executed.result)),
        Err(error) if is_gas_shortage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn suffices(result: Option<ExecutionResult>) -> bool {
    result.is_some_and(|result| result.is_success())
}

fn is_gas_shortage(error: &RpcError) -> bool {
    error.message.starts_with("intrinsic gas too low")
        || error.message.starts_with("insufficient gas for floor data")
}

fn failure(result: Option<ExecutionResult>, high: u64) -> RpcError {
    let exceeded = || RpcError::server(format!("gas required exceeds allowance ({high})"));
    match result {
        None
        | Some(ExecutionResult::Halt {
            reason: HaltReason::OutOfGas(_),
            ..
        }) => exceeded(),
        Some(result) => call_answer(result).err().unwrap_or_else(exceeded),
    }
}
