//! Did anybody settle it? The token's own record, and the log that wrote it.

use alloy_primitives::{Address, B256, Bytes, U64};
use alloy_sol_types::{SolCall, SolEvent};
use serde::Serialize;
use tollway_core::{ChainError, Expected, Finality, Identity, Lookup, Timestamp};
use tollway_rpc::{Batch, RpcError};

use super::EvmChain;
use super::outcome::{effect, succeeded};
use crate::abi::Token as Abi;
use crate::node::{
    Block, CallRequest, LATEST, Log, Receipt, ask, ask_all, is_revert, typed, unavailable,
};
use crate::receipt::{Effect, Uses};

/// The smallest span that a refused log query is cut down to.
const MIN_SPAN: u64 = 10;
/// How much further back each query goes than the one before.
const GROWTH: u64 = 4;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogQuery {
    address: Address,
    from_block: U64,
    to_block: U64,
    topics: (Vec<B256>, B256, B256),
}

impl LogQuery {
    /// The use or the cancellation of one authorization.
    fn new(effect: &Effect, from_block: u64, to_block: u64) -> Self {
        Self {
            address: effect.asset,
            from_block: U64::from(from_block),
            to_block: U64::from(to_block),
            topics: (
                vec![
                    Abi::AuthorizationUsed::SIGNATURE_HASH,
                    Abi::AuthorizationCanceled::SIGNATURE_HASH,
                ],
                effect.from.into_word(),
                effect.nonce,
            ),
        }
    }
}

impl EvmChain {
    pub(super) async fn look_up(
        &self,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        // Another chain behind the URL would say that nothing was used.
        self.require_check().await?;
        let effect = effect(identity, expected)?;
        let (used, newest, as_of) = self.authorization_state(&effect).await?;
        match used {
            None => return Ok(Lookup::Unknown),
            Some(false) => return Ok(Lookup::Unused { as_of }),
            Some(true) => {}
        }
        let Some(log) = self.find_use(&effect, newest).await? else {
            return Ok(Lookup::Unknown);
        };
        let Some(hash) = log.transaction_hash else {
            return Ok(Lookup::Unknown);
        };
        let receipt: Option<Receipt> = ask(&self.rpc, "eth_getTransactionReceipt", [hash]).await?;
        let Some(receipt) = receipt.filter(|r| r.transaction_hash == hash) else {
            return Ok(Lookup::Unknown);
        };
        if succeeded(&receipt) != Some(true) || !self.is_deep_enough(&receipt, finality).await? {
            return Ok(Lookup::Unknown);
        }
        let cancelled = Some(&Abi::AuthorizationCanceled::SIGNATURE_HASH);
        let settled = match log.topics.first() == cancelled {
            true => None,
            false => self.settled(&Uses::of(&receipt), identity, expected)?,
        };
        match settled {
            Some(settled) => Ok(Lookup::Settled(settled)),
            None if self.paid_elsewhere(hash, identity, expected).await? => Ok(Lookup::Unknown),
            None => Ok(Lookup::Spent),
        }
    }

    /// Whether the token counts the nonce as used, if it says, and number and
    /// time of the newest block. The block is asked for first: the state may be
    /// newer than its time, never older.
    async fn authorization_state(
        &self,
        effect: &Effect,
    ) -> Result<(Option<bool>, u64, Timestamp), ChainError> {
        let question = Abi::authorizationStateCall {
            authorizer: effect.from,
            nonce: effect.nonce,
        };
        let question = Bytes::from(question.abi_encode());
        let mut batch = Batch::new();
        batch.push("eth_getBlockByNumber", &(LATEST, false));
        batch.push(
            "eth_call",
            &(CallRequest::new(effect.asset, &question), LATEST),
        );
        let mut answers = ask_all(&self.rpc, batch).await?;
        let block: Block = typed("eth_getBlockByNumber", answers.next())?;
        let (Some(number), Some(time)) = (block.number, block.timestamp) else {
            return Err(ChainError::unavailable("a block without number or time"));
        };
        let used = match answers.next() {
            Some(Err(error)) if is_revert(&error) => None,
            answer => {
                let bytes: Bytes = typed("authorizationState", answer)?;
                Abi::authorizationStateCall::abi_decode_returns(&bytes).ok()
            }
        };
        Ok((used, number.to(), Timestamp::from_secs(time.to())))
    }

    /// Searches backwards, each time further, as far as the node allows. Where it
    /// does not allow much, the token's state at older blocks leads to the use.
    async fn find_use(&self, effect: &Effect, newest: u64) -> Result<Option<Log>, ChainError> {
        let mut span = self.limits.lookup_chunk.max(MIN_SPAN);
        let mut widest = u64::MAX;
        let mut to = newest;
        for _ in 0..self.limits.lookup_queries {
            let from = to.saturating_sub(span - 1);
            match self.logs(effect, from, to).await {
                Ok(mut logs) => {
                    if let Some(log) = logs.pop() {
                        return Ok(Some(log));
                    }
                    let Some(next) = from.checked_sub(1) else {
                        return Ok(None);
                    };
                    to = next;
                    span = span.saturating_mul(GROWTH).min(widest);
                }
                // Nodes refuse spans that are too long for them.
                Err(error) if error.is_refusal() && span > MIN_SPAN => {
                    widest = (span / GROWTH).max(MIN_SPAN);
                    span = widest;
                    if let Some(block) = self.block_of_use(effect, to).await? {
                        let logs = self.logs(effect, block, block).await;
                        return logs
                            .map(|mut logs| logs.pop())
                            .map_err(unavailable("eth_getLogs"));
                    }
                }
                Err(error) => return Err(unavailable("eth_getLogs")(error)),
            }
        }
        Ok(None)
    }

    /// The block in which an authorization that is used at `to` was used, by
    /// halving; `None` where the node does not know states that old.
    async fn block_of_use(&self, effect: &Effect, to: u64) -> Result<Option<u64>, ChainError> {
        let (mut unused, mut used) = (0, to);
        while used - unused > 1 {
            let middle = unused + (used - unused) / 2;
            match self.used_at(effect, middle).await? {
                Some(true) => used = middle,
                Some(false) => unused = middle,
                None => return Ok(None),
            }
        }
        Ok(Some(used))
    }

    /// Whether an authorization was used at a block. A token that was not there
    /// yet had used nothing.
    async fn used_at(&self, effect: &Effect, block: u64) -> Result<Option<bool>, ChainError> {
        let question = Abi::authorizationStateCall {
            authorizer: effect.from,
            nonce: effect.nonce,
        };
        let question = Bytes::from(question.abi_encode());
        let request = CallRequest::new(effect.asset, &question);
        let answer: Result<Bytes, RpcError> =
            self.rpc.call("eth_call", (request, U64::from(block))).await;
        match answer {
            Ok(bytes) if bytes.is_empty() => Ok(Some(false)),
            Ok(bytes) => Ok(Abi::authorizationStateCall::abi_decode_returns(&bytes).ok()),
            Err(error) if error.is_refusal() => Ok(None),
            Err(error) => Err(unavailable("authorizationState")(error)),
        }
    }

    /// Logs of the authorization; a node's filter is not believed.
    async fn logs(&self, effect: &Effect, from: u64, to: u64) -> Result<Vec<Log>, RpcError> {
        let query = LogQuery::new(effect, from, to);
        let mut logs: Vec<Log> = self.rpc.call("eth_getLogs", [&query]).await?;
        logs.retain(|log| {
            log.address == effect.asset
                && log.topics.get(1..) == Some(&[effect.from.into_word(), effect.nonce][..])
        });
        Ok(logs)
    }
}
