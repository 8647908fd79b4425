//! The devnet's own verbs, under anvil's names where anvil has them.

use std::time::Duration;

use serde_json::{Value, json};

use super::params::{Params, address, field, u64};
use super::views::{hex_u64, waiting_tx_json};
use crate::Devnet;
use crate::builder::Mining;
use crate::devnet::MAX_MINED_AT_ONCE;
use crate::error::RpcError;
use crate::pool::SignedTx;

type Answer = Result<Value, RpcError>;

/// Runs a verb (a method name without its prefix); `None` if there is no such verb.
pub(super) fn dispatch(devnet: &Devnet, verb: &str, params: &Params<'_>) -> Option<Answer> {
    let answer = match verb {
        "mine" => mine(devnet, params),
        "increaseTime" => increase_time(devnet, params),
        "setNextBlockTimestamp" => set_next_timestamp(devnet, params),
        "setNextBlockBaseFeePerGas" => set_next_base_fee(devnet, params),
        "snapshot" => Ok(json!(hex_u64(devnet.snapshot()))),
        "revert" => params.u64(0).map(|id| json!(devnet.revert(id))),
        "setAutomine" => set_automine(devnet, params),
        "getAutomine" => Ok(json!(devnet.is_automine())),
        "setIntervalMining" => set_interval(devnet, params),
        "setCode" => set_code(devnet, params),
        "setBalance" => set_balance(devnet, params),
        "setNonce" => set_nonce(devnet, params),
        "setStorageAt" => set_storage(devnet, params),
        "dropTransaction" => drop_transaction(devnet, params),
        "mint" => mint(devnet, params),
        "mintMany" => mint_many(devnet, params),
        "reorg" => reorg(devnet, params),
        "pool" => Ok(pool(devnet)),
        _ => return None,
    };
    Some(answer)
}

/// (blocks = 1, seconds between them = 0). `evm_mine` may also be given a
/// timestamp in an object, as `{"timestamp": …}`.
fn mine(devnet: &Devnet, params: &Params<'_>) -> Answer {
    if let Some(Value::Object(options)) = params.get(0) {
        if let Some(timestamp) = field(options, "timestamp", u64)? {
            devnet.set_next_timestamp(timestamp)?;
        }
        devnet.mine(1)?;
        return Ok(json!("0x0"));
    }
    let (blocks, seconds) = (params.u64_or(0, 1)?, params.u64_or(1, 0)?);
    if seconds == 0 || blocks > MAX_MINED_AT_ONCE {
        devnet.mine(blocks)?;
        return Ok(json!("0x0"));
    }
    for number in 0..blocks {
        if number > 0 {
            devnet.increase_time(seconds)?;
        }
        devnet.mine(1)?;
    }
    Ok(json!("0x0"))
}

fn increase_time(devnet: &Devnet, params: &Params<'_>) -> Answer {
    devnet
        .increase_time(params.u64(0)?)
        .map(|offset| json!(offset))
}

fn set_next_timestamp(devnet: &Devnet, params: &Params<'_>) -> Answer {
    devnet
        .set_next_timestamp(params.u64(0)?)
        .map(|()| Value::Null)
}

fn set_next_base_fee(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let wei = params.u64(0)?;
    devnet.write().set_next_base_fee(wei);
    Ok(Value::Null)
}

fn set_automine(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let mode = if params.bool_or(0, true)? {
        Mining::Automine
    } else {
        Mining::Manual
    };
    devnet.set_mining(mode);
    Ok(json!(true))
}

/// Seconds between blocks for `evm_setIntervalMining` as anvil counts them;
/// zero stops mining by itself.
fn set_interval(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let mode = match params.u64(0)? {
        0 => Mining::Manual,
        seconds => Mining::Interval(Duration::from_secs(seconds)),
    };
    devnet.set_mining(mode);
    Ok(Value::Null)
}

fn set_code(devnet: &Devnet, params: &Params<'_>) -> Answer {
    devnet
        .set_code(params.address(0)?, params.bytes(1)?)
        .map(|()| Value::Null)
}

fn set_balance(devnet: &Devnet, params: &Params<'_>) -> Answer {
    devnet.set_balance(params.address(0)?, params.u256(1)?);
    Ok(Value::Null)
}

fn set_nonce(devnet: &Devnet, params: &Params<'_>) -> Answer {
    devnet.set_nonce(params.address(0)?, params.u64(1)?);
    Ok(Value::Null)
}

fn set_storage(devnet: &Devnet, params: &Params<'_>) -> Answer {
    devnet.set_storage(params.address(0)?, params.u256(1)?, params.u256(2)?);
    Ok(json!(true))
}

fn drop_transaction(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let hash = params.hash(0)?;
    Ok(if devnet.drop_transaction(hash) {
        json!(hash)
    } else {
        Value::Null
    })
}

/// (account, atomic units of the test dollar).
fn mint(devnet: &Devnet, params: &Params<'_>) -> Answer {
    devnet
        .mint(params.address(0)?, params.u256(1)?)
        .map(|()| Value::Null)
}

/// (accounts, atomic units of the test dollar for each).
fn mint_many(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let (accounts, value) = (params.list(0)?, params.u256(1)?);
    for account in accounts {
        devnet.mint(address(account)?, value)?;
    }
    Ok(Value::Null)
}

/// (depth, keep = true): drops the newest blocks; see [`Devnet::reorg`].
fn reorg(devnet: &Devnet, params: &Params<'_>) -> Answer {
    devnet.reorg(params.u64(0)?, params.bool_or(1, true)?)?;
    Ok(json!(hex_u64(devnet.block_number())))
}

/// Every waiting transaction.
fn pool(devnet: &Devnet) -> Value {
    let chain = devnet.read();
    chain
        .pool
        .iter()
        .map(|tx: &std::sync::Arc<SignedTx>| waiting_tx_json(tx))
        .collect()
}
