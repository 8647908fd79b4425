//! Did anybody settle it? The account's own record, the token's events, and
//! where those do not lead to it, the block in which the nonce was used.

use serde::Deserialize;
use serde_json::{Value, json};
use starknet_crypto::Felt;
use tollway_core::{ChainError, Expected, Finality, Head, Identity, Lookup, Outcome, TxHash};
use tollway_rpc::RpcError;
use tollway_rpc::ask::unavailable;

use super::StarknetChain;
use super::look::receipts;
use super::outcome::Carried;
use crate::felt;
use crate::node::{Num, Receipt, call_params, is_contract_failure};
use crate::outside::Call;
use crate::selectors::{IS_VALID_NONCE, TRANSFER_EVENT};
use crate::transfer::Effect;

/// How much further back each search goes than the one before.
const GROWTH: u64 = 4;
/// Events of one answer.
const CHUNK: u32 = 100;

#[derive(Deserialize)]
struct Page {
    events: Vec<Emitted>,
    #[serde(default)]
    continuation_token: Option<String>,
}

#[derive(Deserialize)]
struct Emitted {
    transaction_hash: Num,
    data: Vec<Num>,
}

#[derive(Deserialize)]
struct BlockReceipts {
    transactions: Vec<WithReceipt>,
}

#[derive(Deserialize)]
struct WithReceipt {
    receipt: Receipt,
}

impl StarknetChain {
    pub(super) async fn look_up(
        &self,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        // Another chain behind the URL would say that nothing was used.
        self.require_check().await?;
        let payer = super::known(&identity.payer)?;
        let nonce = felt::parse(&identity.nonce).map_err(ChainError::unavailable)?;
        // The block first: the state may be newer than its time, never older.
        let (head, _) = self.newest().await?;
        match self.is_unused(&payer, &nonce).await? {
            None => return Ok(Lookup::Unknown),
            Some(true) => return Ok(Lookup::Unused { as_of: head.time }),
            Some(false) => {}
        }
        let effect = Effect::of(expected)
            .ok_or_else(|| ChainError::unavailable("an expected account is none of Starknet"))?;
        let search = Search {
            identity,
            expected,
            effect,
            finality,
            head,
        };
        if let Some(found) = self.by_events(&search).await? {
            return Ok(found);
        }
        self.by_block(&search, &payer, &nonce).await
    }

    /// Searches the token's events backwards, each time further.
    async fn by_events(&self, search: &Search<'_>) -> Result<Option<Lookup>, ChainError> {
        let mut queries = self.limits.lookup_queries / 2;
        let mut to = search.head.number;
        let mut span = self.limits.lookup_span.max(1);
        while queries > 0 {
            let from = to.saturating_sub(span - 1);
            let mut token = None;
            loop {
                queries = queries.saturating_sub(1);
                // Nodes without events of that age say nothing.
                let Ok(page) = self.events(&search.effect, from, to, token).await else {
                    return Ok(None);
                };
                for event in page.events {
                    if let Some(found) = self.by_event(search, &event).await? {
                        return Ok(Some(found));
                    }
                }
                token = page.continuation_token;
                if token.is_none() || queries == 0 {
                    break;
                }
            }
            match from.checked_sub(1) {
                Some(before) => to = before,
                None => return Ok(None),
            }
            span = span.saturating_mul(GROWTH);
        }
        Ok(None)
    }

    async fn events(
        &self,
        effect: &Effect,
        from: u64,
        to: u64,
        token: Option<String>,
    ) -> Result<Page, RpcError> {
        let key = |number: &Felt| [felt::text(number)];
        let mut filter = json!({
            "from_block": { "block_number": from },
            "to_block": { "block_number": to },
            "address": felt::text(&effect.asset),
            "keys": [key(&TRANSFER_EVENT), key(&effect.from), key(&effect.to)],
            "chunk_size": CHUNK,
        });
        if let Some(token) = token {
            filter["continuation_token"] = token.into();
        }
        let params = json!({ "filter": filter });
        self.rpc.call("starknet_getEvents", params).await
    }

    async fn by_event(
        &self,
        search: &Search<'_>,
        event: &Emitted,
    ) -> Result<Option<Lookup>, ChainError> {
        let amount = match event.data.as_slice() {
            [low, high] => felt::join(&low.0, &high.0),
            _ => None,
        };
        if amount != Some(search.effect.amount) {
            return Ok(None);
        }
        let hash = TxHash::new(&felt::text(&event.transaction_hash.0));
        let receipt = receipts(&self.rpc, &[&hash]).await?.pop().flatten();
        let Some(receipt) = receipt else {
            return Ok(None);
        };
        // What is unclear about one among many is left to the block that decides.
        let found = self.by_receipt(search, &receipt).await?;
        Ok(found.filter(|found| *found != Lookup::Unknown))
    }

    async fn by_receipt(
        &self,
        search: &Search<'_>,
        receipt: &Receipt,
    ) -> Result<Option<Lookup>, ChainError> {
        let outcome = self
            .judge_foreign(receipt, search.identity, search.expected)
            .await?;
        Ok(match outcome {
            Outcome::Settled(_) if !Self::is_deep(&search.head, receipt, search.finality) => {
                Some(Lookup::Unknown)
            }
            Outcome::Settled(settled) => Some(Lookup::Settled(settled)),
            Outcome::NotSettled(_) => None,
            Outcome::Included { .. } | Outcome::Unknown => Some(Lookup::Unknown),
        })
    }

    /// The block in which the nonce was used, by halving; whatever it holds
    /// decides. Nodes that do not know states that old decide nothing.
    async fn by_block(
        &self,
        search: &Search<'_>,
        payer: &Felt,
        nonce: &Felt,
    ) -> Result<Lookup, ChainError> {
        let (mut unused, mut used) = (0, search.head.number);
        while used - unused > 1 {
            let middle = unused + (used - unused) / 2;
            match self.is_unused_at(payer, nonce, middle).await? {
                Some(true) => unused = middle,
                Some(false) => used = middle,
                None => return Ok(Lookup::Unknown),
            }
        }
        let method = "starknet_getBlockWithReceipts";
        let params = json!({ "block_id": { "block_number": used } });
        let block: BlockReceipts = match self.rpc.call(method, params).await {
            Err(error) if error.is_refusal() => return Ok(Lookup::Unknown),
            answer => answer.map_err(unavailable(method))?,
        };
        let mut left = Lookup::Spent;
        for with in &block.transactions {
            match self.in_block(search, &with.receipt).await? {
                Some(Lookup::Unknown) => left = Lookup::Unknown,
                Some(found) => return Ok(found),
                None => {}
            }
        }
        Ok(left)
    }

    /// What a receipt of the block that used the nonce says; `None` if the payment
    /// cannot be in it.
    async fn in_block(
        &self,
        search: &Search<'_>,
        receipt: &Receipt,
    ) -> Result<Option<Lookup>, ChainError> {
        let hash = &receipt.transaction_hash.0;
        if !search.effect.may_be_in(&receipt.events) {
            return Ok(None);
        }
        if search.effect.find(&receipt.events).is_none() {
            // Several transfers of the payer's, of which one may be this.
            return Ok(match self.carried(hash, search.identity).await? {
                Carried::Another | Carried::It { ours: true } => None,
                Carried::It { ours: false } | Carried::Unclear => Some(Lookup::Unknown),
            });
        }
        // Receipts inside a block do not name it again.
        let hash = TxHash::new(&felt::text(hash));
        match receipts(&self.rpc, &[&hash]).await?.pop().flatten() {
            Some(receipt) => self.by_receipt(search, &receipt).await,
            None => Ok(Some(Lookup::Unknown)),
        }
    }

    /// Whether a nonce was unused at a block; an account that was not there yet
    /// had used nothing. `None` where the node does not know.
    async fn is_unused_at(
        &self,
        payer: &Felt,
        nonce: &Felt,
        block: u64,
    ) -> Result<Option<bool>, ChainError> {
        let mut params = call_params(&Call {
            to: *payer,
            selector: IS_VALID_NONCE,
            calldata: vec![*nonce],
        });
        params["block_id"] = json!({ "block_number": block });
        match self.rpc.call::<Value>("starknet_call", params).await {
            Ok(answer) => Ok(match answer[0].as_str() {
                Some("0x1") => Some(true),
                Some("0x0") => Some(false),
                _ => None,
            }),
            Err(error) if is_contract_failure(&error) => Ok(Some(true)),
            Err(error) if error.is_refusal() => Ok(None),
            Err(error) => Err(unavailable("is_valid_outside_execution_nonce")(error)),
        }
    }
}

/// What is looked for.
struct Search<'a> {
    identity: &'a Identity,
    expected: &'a Expected,
    effect: Effect,
    finality: Finality,
    head: Head,
}
