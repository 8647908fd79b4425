//! Blocks, transactions, receipts and logs in the shapes of the Ethereum JSON-RPC.

use alloy_consensus::{Header, Transaction as _, TxEnvelope};
use alloy_eips::eip7702::SignedAuthorization;
use alloy_primitives::{B256, Log, U256};
use serde_json::{Value, json};

use crate::block::{Block, MinedTx};
use crate::pool::SignedTx;

/// A quantity as JSON-RPC writes it: hex without leading zeros.
pub(crate) fn hex_u64(value: u64) -> String {
    format!("{value:#x}")
}

fn hex_u128(value: u128) -> String {
    format!("{value:#x}")
}

/// A quantity of up to 256 bits.
pub(crate) fn quantity(value: U256) -> String {
    format!("{value:#x}")
}

/// Where a transaction stands in the chain.
#[derive(Clone, Copy)]
struct Place {
    block_hash: B256,
    block_number: u64,
    index: u64,
    base_fee: u64,
}

/// A block, with whole transactions if `full`, else with their hashes.
pub(crate) fn block_json(block: &Block, full: bool) -> Value {
    let txs: Vec<Value> = (0..block.txs.len())
        .map(|index| match full {
            true => mined_tx_json(block, index).unwrap_or_default(),
            false => json!(block.txs[index].tx.hash),
        })
        .collect();
    let mut json = header_json(&block.header, txs);
    json["hash"] = json!(block.hash);
    json["nonce"] = json!("0x0000000000000000");
    json["size"] = json!(hex_u64(block.size));
    json
}

/// The block that is about to be mined: no hash, no nonce.
pub(crate) fn pending_block_json<'a>(
    header: &Header,
    txs: impl Iterator<Item = &'a SignedTx>,
    full: bool,
) -> Value {
    let txs = txs
        .map(|tx| {
            if full {
                tx_json(tx, None)
            } else {
                json!(tx.hash)
            }
        })
        .collect();
    header_json(header, txs)
}

fn header_json(header: &Header, txs: Vec<Value>) -> Value {
    json!({
        "number": hex_u64(header.number),
        "hash": null,
        "parentHash": header.parent_hash,
        "nonce": null,
        "sha3Uncles": header.ommers_hash,
        "logsBloom": header.logs_bloom,
        "transactionsRoot": header.transactions_root,
        "stateRoot": header.state_root,
        "receiptsRoot": header.receipts_root,
        "miner": header.beneficiary,
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "extraData": header.extra_data,
        "mixHash": header.mix_hash,
        "size": "0x0",
        "gasLimit": hex_u64(header.gas_limit),
        "gasUsed": hex_u64(header.gas_used),
        "timestamp": hex_u64(header.timestamp),
        "baseFeePerGas": hex_u64(header.base_fee_per_gas.unwrap_or_default()),
        "withdrawalsRoot": header.withdrawals_root,
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": header.parent_beacon_block_root,
        "requestsHash": header.requests_hash,
        "withdrawals": [],
        "uncles": [],
        "transactions": txs,
    })
}

fn place(block: &Block, index: usize) -> Place {
    Place {
        block_hash: block.hash,
        block_number: block.header.number,
        index: index as u64,
        base_fee: block.header.base_fee_per_gas.unwrap_or_default(),
    }
}

/// The transaction at `index` of a block.
pub(crate) fn mined_tx_json(block: &Block, index: usize) -> Option<Value> {
    let mined = block.txs.get(index)?;
    Some(tx_json(&mined.tx, Some(place(block, index))))
}

/// A transaction that waits.
pub(crate) fn waiting_tx_json(tx: &SignedTx) -> Value {
    tx_json(tx, None)
}

fn tx_json(tx: &SignedTx, place: Option<Place>) -> Value {
    let envelope = &tx.envelope;
    let mut json = json!({
        "blockHash": place.map(|place| place.block_hash),
        "blockNumber": place.map(|place| hex_u64(place.block_number)),
        "transactionIndex": place.map(|place| hex_u64(place.index)),
        "hash": tx.hash,
        "from": tx.sender,
        "to": envelope.to(),
        "nonce": hex_u64(envelope.nonce()),
        "gas": hex_u64(envelope.gas_limit()),
        "value": quantity(envelope.value()),
        "input": envelope.input(),
        "type": hex_u64(u64::from(envelope.tx_type() as u8)),
        "chainId": envelope.chain_id().map(hex_u64),
    });
    put_price(&mut json, envelope, place);
    put_signature(&mut json, envelope);
    if let Some(list) = envelope.access_list() {
        let item = |item: &alloy_eips::eip2930::AccessListItem| json!({"address": item.address, "storageKeys": item.storage_keys});
        json["accessList"] = list.iter().map(item).collect();
    }
    if let Some(list) = envelope.authorization_list() {
        json["authorizationList"] = list.iter().map(authorization_json).collect();
    }
    json
}

fn put_price(json: &mut Value, envelope: &TxEnvelope, place: Option<Place>) {
    if let Some(tip) = envelope.max_priority_fee_per_gas() {
        json["maxFeePerGas"] = json!(hex_u128(envelope.max_fee_per_gas()));
        json["maxPriorityFeePerGas"] = json!(hex_u128(tip));
    }
    // Once mined, this is the price paid; before, the most that is offered.
    let price = match place {
        Some(place) => envelope.effective_gas_price(Some(place.base_fee)),
        None => envelope.max_fee_per_gas(),
    };
    json["gasPrice"] = json!(hex_u128(price));
}

fn put_signature(json: &mut Value, envelope: &TxEnvelope) {
    let signature = envelope.signature();
    let parity = u64::from(signature.v());
    let v = match (envelope, envelope.chain_id()) {
        (TxEnvelope::Legacy(_), Some(chain_id)) => {
            u128::from(chain_id) * 2 + 35 + u128::from(parity)
        }
        (TxEnvelope::Legacy(_), None) => 27 + u128::from(parity),
        _ => u128::from(parity),
    };
    json["v"] = json!(hex_u128(v));
    json["r"] = json!(quantity(signature.r()));
    json["s"] = json!(quantity(signature.s()));
    if !matches!(envelope, TxEnvelope::Legacy(_)) {
        json["yParity"] = json!(hex_u64(parity));
    }
}

fn authorization_json(signed: &SignedAuthorization) -> Value {
    json!({
        "chainId": quantity(*signed.chain_id()),
        "address": signed.address(),
        "nonce": hex_u64(signed.nonce()),
        "yParity": hex_u64(u64::from(signed.y_parity())),
        "r": quantity(signed.r()),
        "s": quantity(signed.s()),
    })
}

/// The receipt of the transaction at `index` of a block.
pub(crate) fn receipt_json(block: &Block, index: usize) -> Option<Value> {
    let mined = block.txs.get(index)?;
    Some(json!({
        "transactionHash": mined.tx.hash,
        "transactionIndex": hex_u64(index as u64),
        "blockHash": block.hash,
        "blockNumber": hex_u64(block.header.number),
        "from": mined.tx.sender,
        "to": mined.tx.envelope.to(),
        "cumulativeGasUsed": hex_u64(mined.cumulative_gas_used),
        "gasUsed": hex_u64(mined.gas_used),
        "contractAddress": mined.contract_address,
        "logs": mined_logs_json(block, index, mined),
        "logsBloom": mined.bloom,
        "status": if mined.succeeded { "0x1" } else { "0x0" },
        "effectiveGasPrice": hex_u128(mined.effective_gas_price),
        "type": hex_u64(u64::from(mined.tx.envelope.tx_type() as u8)),
    }))
}

fn mined_logs_json(block: &Block, index: usize, mined: &MinedTx) -> Vec<Value> {
    (mined.first_log..)
        .zip(&mined.logs)
        .map(|(log_index, log)| mined_log_json(block, index, mined, log, log_index))
        .collect()
}

/// One log of a mined transaction.
pub(crate) fn mined_log_json(
    block: &Block,
    index: usize,
    mined: &MinedTx,
    log: &Log,
    log_index: u64,
) -> Value {
    let header = &block.header;
    log_json(
        log,
        log_index,
        header.number,
        header.timestamp,
        block.hash,
        mined.tx.hash,
        index as u64,
    )
}

/// One log at a place in the chain.
pub(crate) fn log_json(
    log: &Log,
    log_index: u64,
    block_number: u64,
    block_timestamp: u64,
    block_hash: B256,
    tx_hash: B256,
    tx_index: u64,
) -> Value {
    json!({
        "address": log.address,
        "topics": log.topics(),
        "data": log.data.data,
        "blockNumber": hex_u64(block_number),
        "blockTimestamp": hex_u64(block_timestamp),
        "blockHash": block_hash,
        "transactionHash": tx_hash,
        "transactionIndex": hex_u64(tx_index),
        "logIndex": hex_u64(log_index),
        "removed": false,
    })
}
