//! Did anybody settle it? The chain's own record of the nonce, and the log that
//! was written with it.

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_sol_types::{SolCall, SolEvent};
use serde::Serialize;
use tollway_core::{ChainError, Expected, Finality, Identity, Lookup, Outcome, Timestamp};
use tollway_rpc::ask::{ask, ask_all, typed, unavailable};
use tollway_rpc::{Batch, RpcError};

use super::EvmChain;
use super::diagnose::number_of;
use super::outcome::{effect, hash_text, succeeded};
use super::spent::First;
use crate::abi::delegation::{LimitedCalls, TransferAmount};
use crate::abi::{Permit2, Settler, Token as Abi};
use crate::contracts::settler_address;
use crate::methods::erc7710::Mark;
use crate::methods::identity::Key;
use crate::node::{Block, CallRequest, LATEST, Log, Receipt, is_revert};
use crate::receipt::{Effect, used_by};

/// The smallest span that a refused log query is cut down to.
const MIN_SPAN: u64 = 10;
/// How much further back each query goes than the one before.
const GROWTH: u64 = 4;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogQuery<'a> {
    address: Address,
    from_block: U64,
    to_block: U64,
    /// `null` is any.
    topics: Vec<Option<&'a [B256]>>,
}

/// The logs that tell what became of a payment.
pub(super) struct Wanted {
    pub address: Address,
    /// Any of these first.
    pub events: Vec<B256>,
    /// And then these; `None` is any.
    pub topics: Vec<Option<B256>>,
}

impl Wanted {
    /// The use or the cancellation of one authorization, the settlement of one
    /// permit, or all that moved between two accounts.
    pub fn of(effect: &Effect) -> Self {
        let (asset, payer) = (effect.asset, effect.from.into_word());
        match effect.key {
            Key::Authorization(nonce) => Self {
                address: asset,
                events: vec![
                    Abi::AuthorizationUsed::SIGNATURE_HASH,
                    Abi::AuthorizationCanceled::SIGNATURE_HASH,
                ],
                topics: vec![Some(payer), Some(nonce)],
            },
            Key::Permit(nonce) => Self {
                address: settler_address(effect.to),
                events: vec![Settler::Settled::SIGNATURE_HASH],
                topics: vec![
                    Some(asset.into_word()),
                    Some(payer),
                    Some(B256::from(nonce)),
                ],
            },
            Key::Delegated(mark, manager) => {
                let (address, event, hash) = used_by(mark);
                Self {
                    address,
                    events: vec![event],
                    topics: vec![Some(manager.into_word()), None, Some(hash)],
                }
            }
            Key::Permit2(..) | Key::Transaction(..) => Self {
                address: asset,
                events: vec![Abi::Transfer::SIGNATURE_HASH],
                topics: vec![Some(payer), Some(effect.to.into_word())],
            },
        }
    }

    /// How a node is asked for them.
    pub fn query(&self, from: u64, to: u64) -> LogQuery<'_> {
        let mut topics = vec![Some(&self.events[..])];
        let more = self.topics.iter();
        topics.extend(more.map(|topic| topic.as_ref().map(std::slice::from_ref)));
        LogQuery {
            address: self.address,
            from_block: U64::from(from),
            to_block: U64::from(to),
            topics,
        }
    }

    fn fits(&self, log: &Log) -> bool {
        log.address == self.address
            && log.topics.first().is_some_and(|t| self.events.contains(t))
            && log.topics.len() == 1 + self.topics.len()
            && log
                .topics
                .iter()
                .skip(1)
                .zip(&self.topics)
                .all(|(shown, wanted)| wanted.is_none_or(|wanted| wanted == *shown))
    }
}

impl EvmChain {
    pub(super) async fn look_up(
        &self,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        self.look_for(identity, expected, finality, false).await
    }

    /// `at_most`: for a buyer, who knows only the most that may have moved.
    pub(super) async fn look_for(
        &self,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
        at_most: bool,
    ) -> Result<Lookup, ChainError> {
        // Another chain behind the URL would say that nothing was used.
        self.require_check().await?;
        let mut effect = effect(identity, expected)?;
        if let Key::Transaction(hash, _) = effect.key {
            return self
                .look_at_transaction(hash, identity, expected, finality)
                .await;
        }
        let (used, newest, as_of) = self.nonce_state(&effect).await?;
        match used {
            None => return Ok(Lookup::Unknown),
            Some(false) => return Ok(Lookup::Unused { as_of }),
            Some(true) => {}
        }
        if let Key::Permit2(..) = effect.key {
            let whole = self.look_for_permit2(&effect, newest, finality).await?;
            if !at_most || matches!(whole, Lookup::Settled(_)) {
                return Ok(whole);
            }
            effect.at_most = true;
            let part = self.look_for_permit2(&effect, newest, finality).await?;
            return Ok(match (&whole, &part) {
                (_, Lookup::Settled(_)) | (Lookup::Spent, _) => part,
                _ => whole,
            });
        }
        let found = match effect.key {
            Key::Permit(_) => self.find_settled(&effect, newest, finality).await?,
            _ => self.find_use(&effect, newest).await?.ok_or(Lookup::Unknown),
        };
        let log = match found {
            Ok(log) => log,
            Err(lookup) => return Ok(lookup),
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
            false => self.settled(&self.uses(&receipt), identity, expected)?,
        };
        match settled {
            Some(settled) => Ok(Lookup::Settled(settled)),
            None if self.paid_elsewhere(hash, identity, expected).await? => Ok(Lookup::Unknown),
            None => Ok(Lookup::Spent),
        }
    }

    /// What a settler said of a permit that it counts as used: a later permit may
    /// have passed it over, and then it said nothing.
    async fn find_settled(
        &self,
        effect: &Effect,
        newest: u64,
        finality: Finality,
    ) -> Result<Result<Log, Lookup>, ChainError> {
        let block = match self.first_used(effect, newest).await? {
            First::In(block) => block,
            First::Later => return Ok(Err(Lookup::Unknown)),
            First::Forgotten => {
                let log = self.find_use(effect, newest).await?;
                return Ok(log.ok_or(Lookup::Unknown));
            }
        };
        let logs = self.logs(effect, block, block).await;
        let mut logs = logs.map_err(unavailable("eth_getLogs"))?;
        match logs.pop() {
            Some(log) => Ok(Ok(log)),
            None => self.spent_in(effect, block, &[], finality).await.map(Err),
        }
    }

    /// A transaction shown as proof: what became of it is all there is to know.
    async fn look_at_transaction(
        &self,
        hash: B256,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        let hash = hash_text(hash);
        let outcome = self.observe_transaction(&hash, identity, expected, finality);
        Ok(match outcome.await? {
            Outcome::Settled(settled) => Lookup::Settled(settled),
            Outcome::NotSettled(_) => Lookup::Spent,
            Outcome::Included { .. } | Outcome::Unknown => Lookup::Unknown,
        })
    }

    /// Whether the chain counts the nonce as used, if it says, and number and
    /// time of the newest block. The block is asked for first: the state may be
    /// newer than its time, never older.
    pub(super) async fn nonce_state(
        &self,
        effect: &Effect,
    ) -> Result<(Option<bool>, u64, Timestamp), ChainError> {
        let (target, question) = nonce_question(effect);
        let mut batch = Batch::new();
        batch.push("eth_getBlockByNumber", &(LATEST, false));
        batch.push("eth_call", &(CallRequest::new(target, &question), LATEST));
        let mut answers = ask_all(&self.rpc, batch).await?;
        let block: Block = typed("eth_getBlockByNumber", answers.next())?;
        let (Some(number), Some(time)) = (block.number, block.timestamp) else {
            return Err(ChainError::unavailable("a block without number or time"));
        };
        let used = match answers.next() {
            Some(Err(error)) if is_revert(&error) => None,
            answer => {
                let bytes: Bytes = typed("nonce state", answer)?;
                is_used(effect, &bytes)
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

    /// Whether a nonce was used at a block. A contract that was not there yet had
    /// used nothing.
    pub(super) async fn used_at(
        &self,
        effect: &Effect,
        block: u64,
    ) -> Result<Option<bool>, ChainError> {
        let (target, question) = nonce_question(effect);
        let request = CallRequest::new(target, &question);
        let answer: Result<Bytes, RpcError> =
            self.rpc.call("eth_call", (request, U64::from(block))).await;
        match answer {
            Ok(bytes) if bytes.is_empty() => Ok(Some(false)),
            Ok(bytes) => Ok(is_used(effect, &bytes)),
            Err(error) if error.is_refusal() => Ok(None),
            Err(error) => Err(unavailable("nonce state")(error)),
        }
    }

    /// Logs that tell what became of a payment; a node's filter is not believed.
    pub(super) async fn logs(
        &self,
        effect: &Effect,
        from: u64,
        to: u64,
    ) -> Result<Vec<Log>, RpcError> {
        let wanted = Wanted::of(effect);
        let query = [wanted.query(from, to)];
        let mut logs: Vec<Log> = self.rpc.call("eth_getLogs", query).await?;
        logs.retain(|log| wanted.fits(log));
        Ok(logs)
    }
}

/// Who knows whether a nonce is used, and how it is asked.
fn nonce_question(effect: &Effect) -> (Address, Bytes) {
    let (token, owner) = (effect.asset, effect.from);
    match effect.key {
        Key::Authorization(nonce) => {
            let authorizer = owner;
            let call = Abi::authorizationStateCall { authorizer, nonce };
            (token, call.abi_encode().into())
        }
        Key::Permit2(permit2, nonce) => {
            let word = nonce >> 8;
            let call = Permit2::nonceBitmapCall { owner, word };
            (permit2, call.abi_encode().into())
        }
        Key::Delegated(mark, manager) => {
            let (enforcer, _, hash) = used_by(mark);
            let call = match mark {
                Mark::Call(_) => LimitedCalls::callCountsCall {
                    delegationManager: manager,
                    delegationHash: hash,
                }
                .abi_encode(),
                Mark::Sum(_) => TransferAmount::spentMapCall {
                    delegationManager: manager,
                    delegationHash: hash,
                }
                .abi_encode(),
            };
            (enforcer, call.into())
        }
        Key::Permit(_) | Key::Transaction(..) => {
            let call = Settler::nextNonceCall { token, owner };
            (settler_address(effect.to), call.abi_encode().into())
        }
    }
}

/// What that answer says. A settler that is not there has settled nothing.
fn is_used(effect: &Effect, answer: &Bytes) -> Option<bool> {
    match effect.key {
        Key::Authorization(_) => Abi::authorizationStateCall::abi_decode_returns(answer).ok(),
        Key::Permit2(_, nonce) => {
            let bit = usize::try_from(nonce & U256::from(0xff)).ok()?;
            number_of(answer).map(|word| word.bit(bit))
        }
        Key::Permit(_) | Key::Transaction(..) if answer.is_empty() => Some(false),
        Key::Permit(nonce) => number_of(answer).map(|next| next > nonce),
        Key::Delegated(..) => number_of(answer).map(|used| !used.is_zero()),
        Key::Transaction(..) => None,
    }
}
