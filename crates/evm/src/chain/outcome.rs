//! What became of transactions that were sent.

use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_eips::eip2718::Decodable2718 as _;
use alloy_primitives::{B256, U64};
use tollway_core::{
    Amount, ChainError, Expected, Finality, Identity, Lookup, Outcome, Proof, Raw, Settled, TxHash,
    Watch, mistake,
};
use tollway_rpc::ask::ask;

use super::EvmChain;
use crate::SigningKey;
use crate::methods::identity::{Key, key_of};
use crate::node::{Block, LATEST, Log, Receipt};
use crate::receipt::{Effect, Uses};

impl EvmChain {
    /// What one transaction, that somebody names, did for an identity.
    pub(super) async fn observe_transaction(
        &self,
        transaction: &TxHash,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Outcome, ChainError> {
        let receipt: Option<Receipt> =
            ask(&self.rpc, "eth_getTransactionReceipt", [transaction]).await?;
        let asked = |receipt: &Receipt| {
            is_included(receipt) && hash_text(receipt.transaction_hash) == *transaction
        };
        match receipt.filter(asked) {
            Some(receipt) if self.is_deep_enough(&receipt, finality).await? => {
                let outcome = self.judge_item(&self.uses(&receipt), identity, expected)?;
                let outcome = self
                    .unless_anothers(outcome, &receipt, identity, expected)
                    .await?;
                let hash = receipt.transaction_hash;
                match outcome {
                    Outcome::NotSettled(_)
                        if self.paid_elsewhere(hash, identity, expected).await? =>
                    {
                        Ok(Outcome::Unknown)
                    }
                    outcome => Ok(outcome),
                }
            }
            Some(receipt) => Ok(Outcome::Included {
                block: receipt.block_number.map_or(0, |number| number.to()),
                moved: matches!(
                    self.judge_item(&self.uses(&receipt), identity, expected)?,
                    Outcome::Settled(_)
                ),
            }),
            None => self.seen_elsewhere(transaction, identity, expected).await,
        }
    }

    /// What another node shows of a transaction that this one does not: it is on its
    /// way here.
    async fn seen_elsewhere(
        &self,
        transaction: &TxHash,
        identity: &Identity,
        expected: &Expected,
    ) -> Result<Outcome, ChainError> {
        let Ok(hash) = transaction.as_str().parse() else {
            return Ok(Outcome::Unknown);
        };
        let receipts = self.receipts_elsewhere(hash).await;
        let Some(receipt) = receipts.first() else {
            return Ok(Outcome::Unknown);
        };
        Ok(Outcome::Included {
            block: receipt.block_number.map_or(0, |number| number.to()),
            moved: matches!(
                self.judge_item(&self.uses(receipt), identity, expected)?,
                Outcome::Settled(_)
            ),
        })
    }

    /// A transfer by Permit2 says nothing of its nonce: in a transaction that
    /// somebody names it may be another payment's.
    async fn unless_anothers(
        &self,
        outcome: Outcome,
        receipt: &Receipt,
        identity: &Identity,
        expected: &Expected,
    ) -> Result<Outcome, ChainError> {
        let effect = effect(identity, expected)?;
        let (Outcome::Settled(settled), Key::Permit2(..)) = (&outcome, effect.key) else {
            return Ok(outcome);
        };
        Ok(match self.is_spent_by(&effect, receipt).await? {
            Some(true) => outcome,
            Some(false) => Outcome::NotSettled(Proof::NoTransfer {
                transaction: settled.transaction.clone(),
                fee: Amount::from(receipt.fee()),
            }),
            None => Outcome::Unknown,
        })
    }

    /// What a transaction did for one payment.
    pub(super) fn judge_item(
        &self,
        uses: &Uses<'_>,
        identity: &Identity,
        expected: &Expected,
    ) -> Result<Outcome, ChainError> {
        let receipt = uses.receipt;
        if let Key::Delegated(..) = key_of(identity)? {
            self.allowances.release(identity);
        }
        let transaction = hash_text(receipt.transaction_hash);
        let fee = Amount::from(receipt.fee());
        if succeeded(receipt) == Some(false) {
            return Ok(Outcome::NotSettled(Proof::Reverted { transaction, fee }));
        }
        Ok(match self.settled(uses, identity, expected)? {
            Some(settled) => Outcome::Settled(settled),
            None if succeeded(receipt).is_none() => Outcome::Unknown,
            None => Outcome::NotSettled(Proof::NoTransfer { transaction, fee }),
        })
    }

    /// The evidence, if the receipt succeeded and holds the transfer.
    pub(super) fn settled(
        &self,
        uses: &Uses<'_>,
        identity: &Identity,
        expected: &Expected,
    ) -> Result<Option<Settled>, ChainError> {
        self.settled_so(uses, &effect(identity, expected)?)
    }

    /// The same, however the effect was found.
    pub(super) fn settled_so(
        &self,
        uses: &Uses<'_>,
        effect: &Effect,
    ) -> Result<Option<Settled>, ChainError> {
        let receipt = uses.receipt;
        if succeeded(receipt) != Some(true) {
            return Ok(None);
        }
        let (Some((log, moved)), Some(number), Some(block)) = (
            uses.paying(effect),
            receipt.block_number,
            receipt.block_hash,
        ) else {
            return Ok(None);
        };
        let ours = self.signers.iter().map(SigningKey::address);
        Ok(Some(Settled {
            transaction: hash_text(receipt.transaction_hash),
            block_number: number.to(),
            block_hash: format!("{block:#x}"),
            log_index: place_of(log, receipt),
            amount: Amount::from(moved),
            gas_used: receipt.gas_used.to(),
            fee: Amount::from(receipt.fee()),
            by_third_party: !ours.into_iter().any(|account| account == receipt.from),
        }))
    }

    /// Whether the nonce of a transaction is used in final blocks, by another one: no
    /// node has it in a block.
    pub(super) async fn nonce_is_anothers(
        &self,
        identity: &Identity,
        raw: &Raw,
    ) -> Result<bool, ChainError> {
        let nonce = TxEnvelope::decode_2718(&mut raw.bytes.as_slice())
            .map_err(|e| ChainError::unavailable(format!("the recorded transaction: {e}")))?
            .nonce();
        self.require_check().await?;
        let payer = super::known_account(&identity.payer)?;
        let tag = if self.is_instant() {
            LATEST
        } else {
            "finalized"
        };
        // Counted first: a block that comes in between is looked at below.
        let used: U64 = ask(&self.rpc, "eth_getTransactionCount", (payer, tag)).await?;
        if used.to::<u64>() <= nonce {
            return Ok(false);
        }
        let receipt: Option<Receipt> =
            ask(&self.rpc, "eth_getTransactionReceipt", [&raw.hash]).await?;
        let Ok(hash) = raw.hash.as_str().parse() else {
            return Ok(false);
        };
        Ok(receipt.is_none() && self.receipts_elsewhere(hash).await.is_empty())
    }

    /// Whether another node shows that a transaction paid.
    pub(super) async fn paid_elsewhere(
        &self,
        hash: B256,
        identity: &Identity,
        expected: &Expected,
    ) -> Result<bool, ChainError> {
        for receipt in self.receipts_elsewhere(hash).await {
            let uses = self.uses(&receipt);
            if self.settled(&uses, identity, expected)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A transaction's receipt as each of several nodes has it; those that do not
    /// answer say nothing.
    pub(super) async fn receipts_elsewhere(&self, hash: B256) -> Vec<Receipt> {
        if self.rpc.hosts().len() < 2 {
            return Vec::new();
        }
        let mut receipts = Vec::new();
        for node in self.rpc.nodes() {
            let receipt = ask::<Option<Receipt>>(&node, "eth_getTransactionReceipt", [hash]).await;
            receipts.extend(receipt.ok().flatten());
        }
        let asked = |receipt: &Receipt| is_included(receipt) && receipt.transaction_hash == hash;
        receipts.retain(asked);
        receipts
    }

    pub(super) async fn is_deep_enough(
        &self,
        receipt: &Receipt,
        finality: Finality,
    ) -> Result<bool, ChainError> {
        match receipt.block_number {
            Some(number) => self.is_block_deep(number.to(), finality).await,
            None => Ok(false),
        }
    }

    /// Whether a block lies as deep as is asked for.
    pub(super) async fn is_block_deep(
        &self,
        number: u64,
        finality: Finality,
    ) -> Result<bool, ChainError> {
        if mistake::is("finality_ignored") || self.is_instant() {
            return Ok(true);
        }
        match finality {
            Finality::Included | Finality::Confirmations(0 | 1) => Ok(true),
            Finality::Confirmations(depth) => {
                let newest: U64 = ask(&self.rpc, "eth_blockNumber", [(); 0]).await?;
                let above = newest.to::<u64>().saturating_sub(number);
                Ok(above.saturating_add(1) >= u64::from(depth))
            }
            Finality::Safe => self.is_below("safe", number).await,
            Finality::Finalized => self.is_below("finalized", number).await,
        }
    }

    async fn is_below(&self, tag: &str, number: u64) -> Result<bool, ChainError> {
        Ok(self.tagged(tag).await?.is_some_and(|top| top >= number))
    }

    /// The number of the block that a tag stands for now.
    pub(super) async fn tagged(&self, tag: &str) -> Result<Option<u64>, ChainError> {
        let block: Option<Block> = ask(&self.rpc, "eth_getBlockByNumber", (tag, false)).await?;
        Ok(block
            .and_then(|block| block.number)
            .map(|number| number.to()))
    }

    /// No receipt, though the nonce is used. Nodes behind one URL may lag
    /// behind each other, so each authorization is asked for too: one that is
    /// used was perhaps settled by the very transaction whose receipt is missing.
    pub(super) async fn slot_taken(
        &self,
        watch: &Watch,
        confirmed_nonce: u64,
    ) -> Result<Vec<Outcome>, ChainError> {
        let mut outcomes = Vec::with_capacity(watch.expected.len());
        for item in &watch.expected {
            let proof = Outcome::NotSettled(Proof::SlotTaken { confirmed_nonce });
            outcomes.push(
                match self
                    .look_up(&item.identity, &item.expected, item.finality)
                    .await?
                {
                    Lookup::Unused { .. } | Lookup::Spent => proof,
                    Lookup::Settled(settled) if watch.hashes.contains(&settled.transaction) => {
                        Outcome::Settled(settled)
                    }
                    Lookup::Settled(_) => proof,
                    Lookup::Unknown => Outcome::Unknown,
                },
            );
        }
        Ok(outcomes)
    }
}

/// `None` where the node does not say (a receipt from before Byzantium).
pub(super) fn succeeded(receipt: &Receipt) -> Option<bool> {
    let good = |status| status == U64::from(1) || mistake::is("status_ignored");
    receipt.status.map(good)
}

/// A log's place among those of its transaction. (Nodes number the logs of a
/// block; another block changes that number.)
fn place_of(log: &Log, receipt: &Receipt) -> Option<u64> {
    let place = receipt.logs.iter().position(|own| std::ptr::eq(own, log));
    place.and_then(|place| u64::try_from(place).ok())
}

pub(super) fn is_included(receipt: &Receipt) -> bool {
    receipt.block_number.is_some() && receipt.block_hash.is_some()
}

pub(super) fn hash_text(hash: B256) -> TxHash {
    TxHash::new(&format!("{hash:#x}"))
}

pub(super) fn effect(identity: &Identity, expected: &Expected) -> Result<Effect, ChainError> {
    Ok(Effect {
        asset: super::known_account(&expected.asset)?,
        from: super::known_account(&expected.from)?,
        to: super::known_account(&expected.to)?,
        value: expected.amount.as_u256(),
        at_most: false,
        key: key_of(identity)?,
    })
}
