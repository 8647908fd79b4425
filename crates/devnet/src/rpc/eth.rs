//! The `eth_`, `net_` and `web3_` methods.

use alloy_primitives::{Bytes, keccak256};
use revm::state::Bytecode;
use serde_json::{Value, json};

use super::params::Params;
use super::views::{
    block_json, hex_u64, mined_tx_json, pending_block_json, quantity, receipt_json, waiting_tx_json,
};
use super::{fees, logs};
use crate::Devnet;
use crate::call::call;
use crate::chain::BlockId;
use crate::error::RpcError;
use crate::estimate::estimate;
use crate::simulate::simulate;
use crate::trace;

type Answer = Result<Value, RpcError>;

/// Runs an Ethereum method; `None` if there is no such method.
pub(super) fn dispatch(devnet: &Devnet, method: &str, params: &Params<'_>) -> Option<Answer> {
    let answer = match method {
        "eth_chainId" => Ok(json!(hex_u64(devnet.chain_id()))),
        "net_version" => Ok(json!(devnet.chain_id().to_string())),
        "net_listening" => Ok(json!(true)),
        "net_peerCount" => Ok(json!("0x0")),
        "web3_clientVersion" => Ok(json!(concat!(
            "tollway-devnet/v",
            env!("CARGO_PKG_VERSION")
        ))),
        "web3_sha3" => params.bytes(0).map(|data| json!(keccak256(data))),
        "eth_syncing" | "eth_mining" => Ok(json!(false)),
        // The node holds no keys: clients sign for themselves.
        "eth_accounts" => Ok(json!([])),
        "eth_blockNumber" => Ok(json!(hex_u64(devnet.block_number()))),
        "eth_getBalance" => get_balance(devnet, params),
        "eth_getCode" => get_code(devnet, params),
        "eth_getStorageAt" => get_storage(devnet, params),
        "eth_getTransactionCount" => get_transaction_count(devnet, params),
        "eth_getBlockByNumber" => get_block(devnet, params, params.block(0)),
        "eth_getBlockByHash" => get_block(devnet, params, params.hash(0).map(BlockId::Hash)),
        "eth_getBlockTransactionCountByNumber" => count_txs(devnet, params.block(0)),
        "eth_getBlockTransactionCountByHash" => {
            count_txs(devnet, params.hash(0).map(BlockId::Hash))
        }
        "eth_getTransactionByBlockNumberAndIndex" => tx_in_block(devnet, params, params.block(0)),
        "eth_getTransactionByBlockHashAndIndex" => {
            tx_in_block(devnet, params, params.hash(0).map(BlockId::Hash))
        }
        "eth_getUncleCountByBlockNumber" | "eth_getUncleCountByBlockHash" => Ok(json!("0x0")),
        "eth_getTransactionByHash" => get_transaction(devnet, params),
        "eth_getRawTransactionByHash" => get_raw_transaction(devnet, params),
        "eth_getTransactionReceipt" => get_receipt(devnet, params),
        "eth_getBlockReceipts" => get_block_receipts(devnet, params),
        "eth_getLogs" => logs::get_logs(devnet, params),
        "eth_call" => eth_call(devnet, params),
        "eth_estimateGas" => estimate_gas(devnet, params),
        "eth_simulateV1" => simulate_v1(devnet, params),
        "eth_gasPrice" => Ok(fees::gas_price(devnet)),
        "eth_maxPriorityFeePerGas" => Ok(fees::tip()),
        "eth_blobBaseFee" => Ok(json!("0x1")),
        "eth_feeHistory" => fees::fee_history(devnet, params),
        "eth_sendRawTransaction" => send_raw(devnet, params),
        "debug_traceTransaction" => trace_transaction(devnet, params),
        _ => return None,
    };
    Some(answer)
}

/// Only what calls what, as `callTracer` tells it.
fn trace_transaction(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let hash = params.hash(0)?;
    if params.object(1)?.get("tracer").and_then(Value::as_str) != Some("callTracer") {
        return Err(RpcError::params(
            "this node traces calls only: give {\"tracer\": \"callTracer\"}",
        ));
    }
    let calls = trace::calls(&devnet.read(), hash)?;
    calls.ok_or_else(|| RpcError::server("transaction not found"))
}

fn get_balance(devnet: &Devnet, params: &Params<'_>) -> Answer {
    use revm::DatabaseRef;
    let (address, block) = (params.address(0)?, params.block(1)?);
    let chain = devnet.read();
    let balance = if block == BlockId::Pending {
        let (mut db, _) = chain.scene(block)?;
        let Ok(info) = revm::Database::basic(&mut db, address);
        info.unwrap_or_default().balance
    } else {
        let Ok(info) = chain.view(block)?.basic_ref(address);
        info.unwrap_or_default().balance
    };
    Ok(json!(quantity(balance)))
}

fn get_code(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let (address, block) = (params.address(0)?, params.block(1)?);
    let chain = devnet.read();
    let view = chain.view(block)?;
    let code = view.account(address).and_then(|info| info.code.as_ref());
    Ok(json!(
        code.map(Bytecode::original_bytes).unwrap_or_default()
    ))
}

fn get_storage(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let (address, slot, block) = (params.address(0)?, params.u256(1)?, params.block(2)?);
    let value = devnet.read().view(block)?.slot(address, slot);
    Ok(json!(Bytes::copy_from_slice(&value.to_be_bytes::<32>())))
}

fn get_transaction_count(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let (address, block) = (params.address(0)?, params.block(1)?);
    let chain = devnet.read();
    let mined = chain
        .view(block)?
        .account(address)
        .map_or(0, |info| info.nonce);
    let count = match block {
        BlockId::Pending => chain.pool.next_nonce(address, mined),
        _ => mined,
    };
    Ok(json!(hex_u64(count)))
}

fn get_block(devnet: &Devnet, params: &Params<'_>, id: Result<BlockId, RpcError>) -> Answer {
    let (id, full) = (id?, params.bool_or(1, false)?);
    let chain = devnet.read();
    if id == BlockId::Pending {
        let header = chain.next_header(chain.clock.now(chain.head().header.timestamp));
        let base_fee = header.base_fee_per_gas.unwrap_or_default();
        let mut best = chain
            .pool
            .best(base_fee, |sender| chain.world.nonce(sender));
        let mut txs = Vec::new();
        while let Some(tx) = best.next() {
            best.took(&tx);
            txs.push(tx);
        }
        return Ok(pending_block_json(
            &header,
            txs.iter().map(AsRef::as_ref),
            full,
        ));
    }
    Ok(chain
        .block(id)
        .map(|block| block_json(block, full))
        .unwrap_or_default())
}

fn count_txs(devnet: &Devnet, id: Result<BlockId, RpcError>) -> Answer {
    let id = id?;
    let chain = devnet.read();
    Ok(json!(
        chain.block(id).map(|block| hex_u64(block.txs.len() as u64))
    ))
}

fn tx_in_block(devnet: &Devnet, params: &Params<'_>, id: Result<BlockId, RpcError>) -> Answer {
    let (id, index) = (id?, params.u64(1)?);
    let Ok(index) = usize::try_from(index) else {
        return Ok(Value::Null);
    };
    let chain = devnet.read();
    Ok(chain
        .block(id)
        .and_then(|block| mined_tx_json(block, index))
        .unwrap_or_default())
}

fn get_transaction(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let hash = params.hash(0)?;
    let chain = devnet.read();
    if let Some((block, index)) = chain.mined(hash) {
        return Ok(mined_tx_json(block, index).unwrap_or_default());
    }
    Ok(chain
        .pool
        .get(hash)
        .map(|tx| waiting_tx_json(tx))
        .unwrap_or_default())
}

fn get_raw_transaction(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let hash = params.hash(0)?;
    let chain = devnet.read();
    let mined = chain
        .mined(hash)
        .and_then(|(block, index)| block.txs.get(index));
    let tx = mined
        .map(|mined| &mined.tx)
        .or_else(|| chain.pool.get(hash));
    Ok(json!(tx.map(|tx| Bytes::from(tx.raw()))))
}

fn get_receipt(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let hash = params.hash(0)?;
    let chain = devnet.read();
    let receipt = chain
        .mined(hash)
        .and_then(|(block, index)| receipt_json(block, index));
    Ok(receipt.unwrap_or_default())
}

fn get_block_receipts(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let id = params.block(0)?;
    let chain = devnet.read();
    let Some(block) = chain.block(id) else {
        return Ok(Value::Null);
    };
    Ok((0..block.txs.len())
        .filter_map(|index| receipt_json(block, index))
        .collect())
}

fn eth_call(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let (request, block, overrides) = (params.call(0)?, params.block(1)?, params.overrides(2)?);
    call(&devnet.read(), &request, block, &overrides).map(|output| json!(output))
}

fn estimate_gas(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let (request, block, overrides) = (params.call(0)?, params.block(1)?, params.overrides(2)?);
    estimate(&devnet.read(), &request, block, &overrides).map(|gas| json!(hex_u64(gas)))
}

fn simulate_v1(devnet: &Devnet, params: &Params<'_>) -> Answer {
    let (blocks, base) = (params.simulation(0)?, params.block(1)?);
    simulate(&devnet.read(), &blocks, base)
}

fn send_raw(devnet: &Devnet, params: &Params<'_>) -> Answer {
    devnet.send_raw(&params.bytes(0)?).map(|hash| json!(hash))
}
