//! Transactions that wait for a block: ordered by nonce within a sender,
//! replaced at the same nonce only by a higher price, bounded in number.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, U256};

use crate::error::RpcError;

/// The longest raw transaction accepted, in bytes (geth's limit).
const MAX_RAW_BYTES: usize = 128 * 1024;
/// The most transactions that may wait, over all senders.
const MAX_WAITING: usize = 16_384;
/// The most transactions of one sender that may wait, unless it is said otherwise.
pub(crate) const WAITING_PER_SENDER: usize = 1_024;
/// How much more a replacement must offer, in percent, on both fees.
const PRICE_BUMP_PERCENT: u128 = 10;

/// A transaction whose signature was checked.
#[derive(Debug)]
pub(crate) struct SignedTx {
    pub(crate) envelope: TxEnvelope,
    pub(crate) hash: B256,
    pub(crate) sender: Address,
}

impl SignedTx {
    /// Decodes an EIP-2718 transaction of type 0, 1, 2 or 4 and recovers its sender.
    pub(crate) fn decode(raw: &[u8]) -> Result<Self, RpcError> {
        if raw.len() > MAX_RAW_BYTES {
            return Err(RpcError::server(format!(
                "oversized data: transaction size {}, limit {MAX_RAW_BYTES}",
                raw.len()
            )));
        }
        if raw.first() == Some(&0x03) {
            return Err(RpcError::server("transaction type not supported"));
        }
        let envelope = TxEnvelope::decode_2718_exact(raw)
            .map_err(|error| RpcError::server(format!("could not decode transaction: {error}")))?;
        let sender = envelope
            .recover_signer()
            .map_err(|_| RpcError::server("invalid sender: signature does not recover"))?;
        Ok(Self {
            hash: *envelope.tx_hash(),
            envelope,
            sender,
        })
    }

    /// The most wei that this transaction may take from its sender.
    pub(crate) fn cost(&self) -> U256 {
        let gas = U256::from(self.envelope.gas_limit());
        let price = U256::from(self.envelope.max_fee_per_gas());
        gas.saturating_mul(price)
            .saturating_add(self.envelope.value())
    }

    /// The price per gas at a base fee, if it can pay the base fee at all.
    pub(crate) fn tip_at(&self, base_fee: u64) -> Option<u128> {
        self.envelope.effective_tip_per_gas(base_fee)
    }

    /// The bytes as they were sent.
    pub(crate) fn raw(&self) -> Vec<u8> {
        self.envelope.encoded_2718()
    }

    fn tip_cap(&self) -> u128 {
        self.envelope
            .max_priority_fee_per_gas()
            .unwrap_or(self.envelope.max_fee_per_gas())
    }

    fn outbids(&self, old: &Self) -> bool {
        let bumped = |price: u128| {
            price.saturating_add((price.saturating_mul(PRICE_BUMP_PERCENT)).div_ceil(100))
        };
        self.envelope.max_fee_per_gas() >= bumped(old.envelope.max_fee_per_gas())
            && self.tip_cap() >= bumped(old.tip_cap())
    }
}

#[derive(Clone, Debug)]
struct Waiting {
    tx: Arc<SignedTx>,
    /// Order of arrival: breaks ties between equal prices.
    arrival: u64,
}

/// The transactions that wait.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// The most transactions of one sender that may wait.
    per_sender: usize,
    senders: HashMap<Address, BTreeMap<u64, Waiting>>,
    by_hash: HashMap<B256, (Address, u64)>,
    arrivals: u64,
}

impl Pool {
    /// An empty pool in which so many transactions of one sender may wait.
    pub(crate) fn new(per_sender: usize) -> Self {
        Self {
            per_sender,
            senders: HashMap::new(),
            by_hash: HashMap::new(),
            arrivals: 0,
        }
    }

    /// The waiting transaction with this hash.
    pub(crate) fn get(&self, hash: B256) -> Option<&Arc<SignedTx>> {
        let (sender, nonce) = self.by_hash.get(&hash)?;
        self.senders
            .get(sender)?
            .get(nonce)
            .map(|waiting| &waiting.tx)
    }

    /// Every waiting transaction, a sender's in nonce order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<SignedTx>> {
        self.senders
            .values()
            .flat_map(|queue| queue.values().map(|waiting| &waiting.tx))
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// What the other waiting transactions of this sender may cost at most.
    pub(crate) fn cost_beside(&self, tx: &SignedTx) -> U256 {
        let Some(queue) = self.senders.get(&tx.sender) else {
            return U256::ZERO;
        };
        queue
            .iter()
            .filter(|(nonce, _)| **nonce != tx.envelope.nonce())
            .fold(U256::ZERO, |sum, (_, waiting)| {
                sum.saturating_add(waiting.tx.cost())
            })
    }

    /// Adds a transaction, replacing one of the same sender and nonce if it
    /// pays at least ten percent more on both fees.
    pub(crate) fn insert(&mut self, tx: Arc<SignedTx>) -> Result<(), RpcError> {
        if self.by_hash.contains_key(&tx.hash) {
            return Err(RpcError::server("already known"));
        }
        let nonce = tx.envelope.nonce();
        match self.at(tx.sender, nonce) {
            Some(old) if !tx.outbids(&old.tx) => {
                return Err(RpcError::server("replacement transaction underpriced"));
            }
            Some(old) => {
                self.by_hash.remove(&old.tx.hash);
            }
            None => self.check_room(tx.sender)?,
        }
        self.arrivals += 1;
        self.by_hash.insert(tx.hash, (tx.sender, nonce));
        let waiting = Waiting {
            tx: tx.clone(),
            arrival: self.arrivals,
        };
        self.senders
            .entry(tx.sender)
            .or_default()
            .insert(nonce, waiting);
        Ok(())
    }

    fn check_room(&self, sender: Address) -> Result<(), RpcError> {
        if self.by_hash.len() >= MAX_WAITING {
            return Err(RpcError::server("txpool is full"));
        }
        if self.senders.get(&sender).map_or(0, BTreeMap::len) >= self.per_sender {
            return Err(RpcError::server(
                "account limit exceeded: too many waiting transactions",
            ));
        }
        Ok(())
    }

    /// Takes a transaction out.
    pub(crate) fn remove(&mut self, hash: B256) -> Option<Arc<SignedTx>> {
        let (sender, nonce) = self.by_hash.remove(&hash)?;
        let queue = self.senders.get_mut(&sender)?;
        let waiting = queue.remove(&nonce)?;
        if queue.is_empty() {
            self.senders.remove(&sender);
        }
        Some(waiting.tx)
    }

    /// Forgets everything below the accounts' current nonces.
    pub(crate) fn drop_stale(&mut self, nonce_of: impl Fn(Address) -> u64) {
        let by_hash = &mut self.by_hash;
        self.senders.retain(|sender, queue| {
            let kept = queue.split_off(&nonce_of(*sender));
            for waiting in queue.values() {
                by_hash.remove(&waiting.tx.hash);
            }
            *queue = kept;
            !queue.is_empty()
        });
    }

    /// The first nonce that neither the chain (at `nonce`) nor a gapless run
    /// of waiting transactions has used.
    pub(crate) fn next_nonce(&self, sender: Address, mut nonce: u64) -> u64 {
        if let Some(queue) = self.senders.get(&sender) {
            while queue.contains_key(&nonce) {
                nonce += 1;
            }
        }
        nonce
    }

    fn at(&self, sender: Address, nonce: u64) -> Option<Waiting> {
        self.senders.get(&sender)?.get(&nonce).cloned()
    }

    /// Goes through what can be mined at `base_fee`: dearest tip first, then
    /// oldest, each sender's in nonce order starting at its account nonce.
    pub(crate) fn best(&self, base_fee: u64, nonce_of: impl Fn(Address) -> u64) -> Best<'_> {
        let mut best = Best {
            pool: self,
            base_fee,
            heap: BinaryHeap::new(),
        };
        for sender in self.senders.keys() {
            best.push(*sender, nonce_of(*sender));
        }
        best
    }
}

/// See [`Pool::best`].
pub(crate) struct Best<'a> {
    pool: &'a Pool,
    base_fee: u64,
    heap: BinaryHeap<(u128, Reverse<u64>, Address, u64)>,
}

impl Best<'_> {
    fn push(&mut self, sender: Address, nonce: u64) {
        let Some(waiting) = self.pool.at(sender, nonce) else {
            return;
        };
        if let Some(tip) = waiting.tx.tip_at(self.base_fee) {
            self.heap
                .push((tip, Reverse(waiting.arrival), sender, nonce));
        }
    }

    /// The best transaction left.
    pub(crate) fn next(&mut self) -> Option<Arc<SignedTx>> {
        let (_, _, sender, nonce) = self.heap.pop()?;
        self.pool.at(sender, nonce).map(|waiting| waiting.tx)
    }

    /// Tells that `tx` was taken, so that its sender's next one is offered.
    pub(crate) fn took(&mut self, tx: &SignedTx) {
        if let Some(next) = tx.envelope.nonce().checked_add(1) {
            self.push(tx.sender, next);
        }
    }
}
