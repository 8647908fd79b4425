//! What became of transactions that were sent.

use alloy_primitives::{B256, U64};
use tollway_core::{
    Amount, ChainError, Expected, Finality, Identity, Lookup, Outcome, Proof, Settled, TxHash,
    Watch,
};
use tollway_rpc::Batch;

use super::EvmChain;
use crate::EvmSigner;
use crate::node::{BlockNumber, LATEST, Receipt, ask, ask_all, typed};
use crate::receipt::{Effect, paying_log};

/// What one look at a slot saw.
struct Seen {
    block: u64,
    receipt: Option<Receipt>,
    nonce: u64,
}

impl EvmChain {
    pub(super) async fn read_outcome(&self, watch: &Watch) -> Result<Vec<Outcome>, ChainError> {
        if self.heads.nothing_new(&self.rpc, watch).await? {
            return Ok(vec![Outcome::Unknown; watch.expected.len()]);
        }
        let (outcomes, block) = self.look(watch).await?;
        if outcomes.contains(&Outcome::Unknown) {
            self.heads.undecided(watch, block);
        } else {
            self.heads.decided(watch);
        }
        Ok(outcomes)
    }

    /// What became of it, and the newest block before it was looked at.
    async fn look(&self, watch: &Watch) -> Result<(Vec<Outcome>, u64), ChainError> {
        let first = self.receipt_or_nonce(watch).await?;
        if let Some(receipt) = first.receipt {
            return Ok((self.judge(&receipt, watch).await?, first.block));
        }
        let unknown = vec![Outcome::Unknown; watch.expected.len()];
        if first.nonce <= watch.nonce {
            return Ok((unknown, first.block));
        }
        // The nonce is used, perhaps by one of ours that the first read missed.
        let second = self.receipt_or_nonce(watch).await?;
        let outcomes = match second.receipt {
            Some(receipt) => self.judge(&receipt, watch).await?,
            None if second.nonce <= watch.nonce => unknown,
            None => self.slot_taken(watch, second.nonce).await?,
        };
        Ok((outcomes, first.block))
    }

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
                self.judge_item(&receipt, identity, expected)
            }
            _ => Ok(Outcome::Unknown),
        }
    }

    /// One round trip: the newest block, the receipt of whichever hash won, and
    /// the signer's confirmed nonce.
    async fn receipt_or_nonce(&self, watch: &Watch) -> Result<Seen, ChainError> {
        let signer = super::known_account(&watch.signer)?;
        let mut batch = Batch::new();
        batch.push("eth_blockNumber", &[(); 0]);
        for hash in &watch.hashes {
            batch.push("eth_getTransactionReceipt", &[hash]);
        }
        batch.push("eth_getTransactionCount", &(signer, LATEST));
        let mut answers = ask_all(&self.rpc, batch).await?;
        let block: U64 = typed("eth_blockNumber", answers.next())?;
        let mut found = None;
        for hash in &watch.hashes {
            let receipt: Option<Receipt> = typed("eth_getTransactionReceipt", answers.next())?;
            let asked = |receipt: &Receipt| {
                is_included(receipt) && hash_text(receipt.transaction_hash) == *hash
            };
            found = found.or(receipt.filter(asked));
        }
        let nonce: U64 = typed("eth_getTransactionCount", answers.next())?;
        Ok(Seen {
            block: block.to(),
            receipt: found,
            nonce: nonce.to(),
        })
    }

    /// A receipt decides, once it lies deep enough.
    async fn judge(&self, receipt: &Receipt, watch: &Watch) -> Result<Vec<Outcome>, ChainError> {
        let mut outcomes = Vec::with_capacity(watch.expected.len());
        for item in &watch.expected {
            let deep = self.is_deep_enough(receipt, item.finality).await?;
            outcomes.push(match deep {
                true => self.judge_item(receipt, &item.identity, &item.expected)?,
                false => Outcome::Unknown,
            });
        }
        Ok(outcomes)
    }

    fn judge_item(
        &self,
        receipt: &Receipt,
        identity: &Identity,
        expected: &Expected,
    ) -> Result<Outcome, ChainError> {
        let transaction = hash_text(receipt.transaction_hash);
        let fee = Amount::from(receipt.fee());
        if succeeded(receipt) == Some(false) {
            return Ok(Outcome::NotSettled(Proof::Reverted { transaction, fee }));
        }
        Ok(match self.settled(receipt, identity, expected)? {
            Some(settled) => Outcome::Settled(settled),
            None if succeeded(receipt).is_none() => Outcome::Unknown,
            None => Outcome::NotSettled(Proof::NoTransfer { transaction, fee }),
        })
    }

    /// The evidence, if the receipt succeeded and holds the transfer.
    pub(super) fn settled(
        &self,
        receipt: &Receipt,
        identity: &Identity,
        expected: &Expected,
    ) -> Result<Option<Settled>, ChainError> {
        let effect = effect(identity, expected)?;
        if succeeded(receipt) != Some(true) {
            return Ok(None);
        }
        let (Some(log), Some(number), Some(block)) = (
            paying_log(receipt, &effect),
            receipt.block_number,
            receipt.block_hash,
        ) else {
            return Ok(None);
        };
        let ours = self.signers.iter().map(EvmSigner::address);
        Ok(Some(Settled {
            transaction: hash_text(receipt.transaction_hash),
            block_number: number.to(),
            block_hash: format!("{block:#x}"),
            log_index: log.log_index.map(|index| index.to()),
            amount: Amount::from(effect.value),
            gas_used: receipt.gas_used.to(),
            fee: Amount::from(receipt.fee()),
            by_third_party: !ours.into_iter().any(|account| account == receipt.from),
        }))
    }

    pub(super) async fn is_deep_enough(
        &self,
        receipt: &Receipt,
        finality: Finality,
    ) -> Result<bool, ChainError> {
        let Some(number) = receipt.block_number else {
            return Ok(false);
        };
        let number: u64 = number.to();
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
        let block: Option<BlockNumber> =
            ask(&self.rpc, "eth_getBlockByNumber", (tag, false)).await?;
        Ok(block
            .and_then(|block| block.number)
            .is_some_and(|top| top.to::<u64>() >= number))
    }

    /// No receipt, though the nonce is used. Nodes behind one URL may lag
    /// behind each other, so each authorization is asked for too: one that is
    /// used was perhaps settled by the very transaction whose receipt is missing.
    async fn slot_taken(
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
    receipt.status.map(|status| status == U64::from(1))
}

fn is_included(receipt: &Receipt) -> bool {
    receipt.block_number.is_some() && receipt.block_hash.is_some()
}

pub(super) fn hash_text(hash: B256) -> TxHash {
    TxHash::new(&format!("{hash:#x}"))
}

pub(super) fn effect(identity: &Identity, expected: &Expected) -> Result<Effect, ChainError> {
    let nonce = identity
        .nonce
        .parse()
        .map_err(|_| ChainError::unavailable(format!("{} is not a nonce", identity.nonce)))?;
    Ok(Effect {
        asset: super::known_account(&expected.asset)?,
        from: super::known_account(&expected.from)?,
        to: super::known_account(&expected.to)?,
        value: expected.amount.as_u256(),
        nonce,
    })
}
