//! What a transaction should offer, and what others paid.

use alloy_consensus::Transaction as _;
use serde_json::{Value, json};

use super::params::Params;
use super::views::hex_u64;
use crate::Devnet;
use crate::block::Block;
use crate::chain::BlockId;
use crate::error::RpcError;

/// The suggested tip in wei per gas.
const SUGGESTED_TIP: u64 = 1_000_000;
/// The most blocks and the most percentiles in one fee history (geth's limits).
const MAX_HISTORY: u64 = 1_024;
const MAX_PERCENTILES: usize = 100;

/// `eth_gasPrice`: the next base fee with the suggested tip.
pub(super) fn gas_price(devnet: &Devnet) -> Value {
    json!(hex_u64(
        devnet.read().base_fee().saturating_add(SUGGESTED_TIP)
    ))
}

/// `eth_maxPriorityFeePerGas`.
pub(super) fn tip() -> Value {
    json!(hex_u64(SUGGESTED_TIP))
}

/// `eth_feeHistory` of (count, newest block, reward percentiles).
pub(super) fn fee_history(devnet: &Devnet, params: &Params<'_>) -> Result<Value, RpcError> {
    let count = params.u64(0)?.min(MAX_HISTORY);
    let newest = params.block(1)?;
    let percentiles = percentiles(params.get(2))?;
    let chain = devnet.read();
    let newest = chain
        .block(newest)
        .ok_or_else(|| RpcError::server("request beyond head block"))?
        .header
        .number;
    let first = newest.saturating_add(1).saturating_sub(count);
    let blocks: Vec<&Block> = (first..=newest)
        .filter_map(|number| chain.block(BlockId::Number(number)))
        .map(AsRef::as_ref)
        .collect();
    let mut base_fees: Vec<String> = blocks
        .iter()
        .map(|block| hex_u64(base_fee(block)))
        .collect();
    let next = chain.block(BlockId::Number(newest.saturating_add(1)));
    base_fees.push(hex_u64(
        next.map_or_else(|| chain.base_fee(), |block| base_fee(block)),
    ));
    let ratios: Result<Vec<Value>, RpcError> = blocks.iter().map(|block| ratio(block)).collect();
    let mut history = json!({
        "oldestBlock": hex_u64(blocks.first().map_or(newest, |block| block.header.number)),
        "baseFeePerGas": base_fees,
        "gasUsedRatio": ratios?,
        "baseFeePerBlobGas": vec!["0x1"; blocks.len() + 1],
        "blobGasUsedRatio": vec![0; blocks.len()],
    });
    if let Some(percentiles) = percentiles {
        let rewards: Vec<_> = blocks
            .iter()
            .map(|block| rewards(block, &percentiles))
            .collect();
        history["reward"] = json!(rewards);
    }
    Ok(history)
}

fn base_fee(block: &Block) -> u64 {
    block.header.base_fee_per_gas.unwrap_or_default()
}

/// Gas used of the gas limit as a decimal, made without floating point.
fn ratio(block: &Block) -> Result<Value, RpcError> {
    let header = &block.header;
    let millionths = u128::from(header.gas_used) * 1_000_000 / u128::from(header.gas_limit.max(1));
    let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    serde_json::from_str(&text).map_err(|_| RpcError::server("the ratio cannot be written"))
}

/// Percentiles, rounded down to whole ones; they must rise.
fn percentiles(value: Option<&Value>) -> Result<Option<Vec<u64>>, RpcError> {
    let Some(value) = value else { return Ok(None) };
    let wrong = || RpcError::params("reward percentiles are rising numbers from 0 to 100");
    let values = value
        .as_array()
        .filter(|list| list.len() <= MAX_PERCENTILES)
        .ok_or_else(wrong)?;
    let whole = |value: &Value| {
        let number = value
            .as_f64()
            .filter(|number| (0.0..=100.0).contains(number));
        number.map(|number| number as u64).ok_or_else(wrong)
    };
    let list = values
        .iter()
        .map(whole)
        .collect::<Result<Vec<u64>, RpcError>>()?;
    if list.is_sorted() {
        Ok(Some(list))
    } else {
        Err(wrong())
    }
}

/// The tips at the percentiles of a block's gas.
fn rewards(block: &Block, percentiles: &[u64]) -> Vec<String> {
    let base_fee = base_fee(block);
    let mut tips: Vec<(u128, u64)> = block
        .txs
        .iter()
        .map(|mined| {
            let tip = mined
                .tx
                .envelope
                .effective_tip_per_gas(base_fee)
                .unwrap_or_default();
            (tip, mined.gas_used)
        })
        .collect();
    tips.sort_unstable();
    percentiles
        .iter()
        .map(|percent| tip_at(&tips, block.header.gas_used, *percent))
        .collect()
}

fn tip_at(tips: &[(u128, u64)], gas_used: u64, percent: u64) -> String {
    let threshold = u128::from(gas_used) * u128::from(percent) / 100;
    let mut sum = 0;
    for (tip, gas) in tips {
        sum += u128::from(*gas);
        if sum >= threshold {
            return format!("{tip:#x}");
        }
    }
    "0x0".into()
}
