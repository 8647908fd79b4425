//! Blocks, mined transactions and their receipts as the chain keeps them.

use std::sync::Arc;

use alloy_consensus::constants::EMPTY_WITHDRAWALS;
use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Eip658Value, Header, Receipt, ReceiptEnvelope, ReceiptWithBloom,
    Transaction as _, TxEnvelope, TxType,
};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, Log, U256, keccak256};
use alloy_rlp::Encodable;
use revm::context::result::{ExecutionResult, Output};

use crate::pool::SignedTx;
use crate::state::Mark;

/// A block with everything that was in it.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) header: Header,
    pub(crate) hash: B256,
    pub(crate) txs: Vec<MinedTx>,
    /// Bytes of the RLP encoding of header and transactions.
    pub(crate) size: u64,
    /// The journal right after this block.
    pub(crate) mark: Mark,
}

/// A transaction and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct MinedTx {
    pub(crate) tx: Arc<SignedTx>,
    pub(crate) succeeded: bool,
    pub(crate) gas_used: u64,
    pub(crate) cumulative_gas_used: u64,
    pub(crate) effective_gas_price: u128,
    pub(crate) contract_address: Option<Address>,
    pub(crate) logs: Vec<Log>,
    /// The index in the block of this transaction's first log.
    pub(crate) first_log: u64,
    pub(crate) bloom: Bloom,
}

impl MinedTx {
    /// What an execution's result means for the receipt.
    pub(crate) fn new(tx: Arc<SignedTx>, result: ExecutionResult, base_fee: u64) -> Self {
        let gas_used = result.tx_gas_used();
        let effective_gas_price = tx.envelope.effective_gas_price(Some(base_fee));
        let mut mined = Self {
            tx,
            succeeded: false,
            gas_used,
            cumulative_gas_used: gas_used,
            effective_gas_price,
            contract_address: None,
            logs: Vec::new(),
            first_log: 0,
            bloom: Bloom::ZERO,
        };
        if let ExecutionResult::Success { logs, output, .. } = result {
            mined.succeeded = true;
            mined.bloom = logs.iter().collect();
            mined.logs = logs;
            mined.contract_address = match output {
                Output::Create(_, address) => address,
                Output::Call(_) => None,
            };
        } else if mined.tx.envelope.is_create() {
            // A failed deployment still says where it would have been.
            mined.contract_address = Some(mined.tx.sender.create(mined.tx.envelope.nonce()));
        }
        mined
    }

    /// Places the transaction after the ones already in the block.
    pub(crate) fn follow(&mut self, previous: Option<&Self>) {
        if let Some(previous) = previous {
            self.cumulative_gas_used += previous.cumulative_gas_used;
            self.first_log = previous.first_log + previous.logs.len() as u64;
        }
    }

    fn receipt(&self) -> ReceiptEnvelope {
        let receipt = ReceiptWithBloom::new(
            Receipt {
                status: Eip658Value::Eip658(self.succeeded),
                cumulative_gas_used: self.cumulative_gas_used,
                logs: self.logs.clone(),
            },
            self.bloom,
        );
        match self.tx.envelope.tx_type() {
            TxType::Legacy => ReceiptEnvelope::Legacy(receipt),
            TxType::Eip2930 => ReceiptEnvelope::Eip2930(receipt),
            TxType::Eip1559 => ReceiptEnvelope::Eip1559(receipt),
            TxType::Eip4844 => ReceiptEnvelope::Eip4844(receipt),
            TxType::Eip7702 => ReceiptEnvelope::Eip7702(receipt),
        }
    }
}

/// The header of the block after `parent`, before anything is in it.
pub(crate) struct NextHeader {
    pub(crate) parent_hash: B256,
    pub(crate) number: u64,
    pub(crate) timestamp: u64,
    pub(crate) gas_limit: u64,
    pub(crate) base_fee: u64,
    pub(crate) beneficiary: Address,
    /// How often the chain was reorganised: keeps the hash of a block from
    /// repeating when the same transactions are mined again at its height.
    pub(crate) fork: u64,
}

impl NextHeader {
    /// The header with every field that does not depend on the transactions.
    pub(crate) fn open(self) -> Header {
        let mut extra = b"tollway".to_vec();
        extra.extend(self.fork.to_be_bytes());
        Header {
            parent_hash: self.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: self.beneficiary,
            difficulty: U256::ZERO,
            number: self.number,
            gas_limit: self.gas_limit,
            timestamp: self.timestamp,
            extra_data: Bytes::from(extra),
            mix_hash: keccak256(self.parent_hash),
            nonce: B64::ZERO,
            base_fee_per_gas: Some(self.base_fee),
            withdrawals_root: Some(EMPTY_WITHDRAWALS),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: Some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        }
    }
}

/// Closes a block: fills in what depends on its transactions, and hashes it.
pub(crate) fn seal(mut header: Header, txs: Vec<MinedTx>, parent_state: B256, mark: Mark) -> Block {
    let envelopes: Vec<TxEnvelope> = txs.iter().map(|mined| mined.tx.envelope.clone()).collect();
    let receipts: Vec<ReceiptEnvelope> = txs.iter().map(MinedTx::receipt).collect();
    header.transactions_root = calculate_transaction_root(&envelopes);
    header.receipts_root = calculate_receipt_root(&receipts);
    header.gas_used = txs.last().map_or(0, |mined| mined.cumulative_gas_used);
    for mined in &txs {
        header.logs_bloom |= mined.bloom;
    }
    // Not a trie root: a commitment to the same history is enough here.
    header.state_root =
        keccak256([parent_state.as_slice(), header.receipts_root.as_slice()].concat());
    let size = header.length() + envelopes.iter().map(Encodable::length).sum::<usize>();
    Block {
        hash: header.hash_slow(),
        header,
        txs,
        size: size as u64,
        mark,
    }
}
