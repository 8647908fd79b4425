//! Which transaction used a nonce of Permit2's: Permit2 keeps a bit and logs
//! nothing, so a transfer is told to be a permit's by the call that made it.

use std::collections::HashSet;

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_sol_types::SolCall;
use serde::Deserialize;
use tollway_core::{ChainError, Finality, Lookup};
use tollway_rpc::Batch;
use tollway_rpc::ask::{ask, ask_all, typed, unavailable};

use super::EvmChain;
use super::lookup::Wanted;
use super::outcome::succeeded;
use super::trace::Frame;
use crate::abi::{Multicall3, Token as Abi};
use crate::contracts::Contracts;
use crate::methods::identity::Key;
use crate::methods::permit2::SignedPermit2;
use crate::node::{Block, Log, Receipt};
use crate::receipt::{Effect, is_transfer};

/// A transaction, as far as it tells whom it settles for.
#[derive(Debug, Deserialize)]
struct Sent {
    to: Option<Address>,
    input: Bytes,
    hash: B256,
}

/// When a nonce was used first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// In this block.
    In(u64),
    /// After the newest block that was looked at.
    Later,
    /// The node does not know states that old.
    Forgotten,
}

/// Whose settlement a transaction is, by its calldata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calls {
    /// This permit's, and no other of the same payer's.
    This,
    /// Others' only.
    Others,
    /// That cannot be told.
    Unclear,
}

/// What exact transfers are, to a permit.
enum Settling {
    /// One is its settlement.
    This(Box<Receipt>),
    /// One may be.
    Unclear,
    /// None is.
    Others,
}

impl EvmChain {
    /// Finds the transaction that used a nonce which is used.
    pub(super) async fn look_for_permit2(
        &self,
        effect: &Effect,
        newest: u64,
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        let block = match self.first_used(effect, newest).await? {
            First::In(block) => block,
            First::Later => return Ok(Lookup::Unknown),
            First::Forgotten => return self.search_permit2(effect, newest, finality).await,
        };
        let logs = self.logs(effect, block, block).await;
        let logs = logs.map_err(unavailable("eth_getLogs"))?;
        match self.settling(effect, &logs).await? {
            Settling::This(receipt) => self.settled_or_unknown(effect, &receipt, finality).await,
            Settling::Unclear => Ok(Lookup::Unknown),
            Settling::Others => self.spent_in(effect, block, &logs, finality).await,
        }
    }

    /// That a nonce was used for nothing in a block is believed once that lies deep
    /// enough, and where every node that knows it shows the same.
    pub(super) async fn spent_in(
        &self,
        effect: &Effect,
        block: u64,
        shown: &[Log],
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        if !self.is_block_deep(block, finality).await? {
            return Ok(Lookup::Unknown);
        }
        for node in self.rpc.nodes() {
            let mut batch = Batch::new();
            batch.push("eth_getBlockByNumber", &(U64::from(block), false));
            batch.push("eth_getLogs", &[Wanted::of(effect).query(block, block)]);
            let Ok(mut answers) = ask_all(&node, batch).await else {
                continue;
            };
            let there: Option<Block> = typed("eth_getBlockByNumber", answers.next())?;
            let logs: Vec<Log> = typed("eth_getLogs", answers.next())?;
            if there.is_none() || logs.len() > shown.len() {
                return Ok(Lookup::Unknown);
            }
        }
        Ok(Lookup::Spent)
    }

    /// Older states are not known: only a call that names the nonce tells.
    async fn search_permit2(
        &self,
        effect: &Effect,
        newest: u64,
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        let (mut to, mut span) = (newest, self.limits.lookup_chunk.max(1));
        for _ in 0..self.limits.lookup_queries {
            let from = to.saturating_sub(span - 1);
            match self.logs(effect, from, to).await {
                Ok(logs) => {
                    if let Settling::This(receipt) = self.settling(effect, &logs).await? {
                        return self.settled_or_unknown(effect, &receipt, finality).await;
                    }
                    let Some(next) = from.checked_sub(1) else {
                        return Ok(Lookup::Unknown);
                    };
                    to = next;
                }
                Err(error) if error.is_refusal() && span > 10 => span = (span / 4).max(10),
                Err(error) => return Err(unavailable("eth_getLogs")(error)),
            }
        }
        Ok(Lookup::Unknown)
    }

    async fn settled_or_unknown(
        &self,
        effect: &Effect,
        receipt: &Receipt,
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        if !self.is_deep_enough(receipt, finality).await? {
            return Ok(Lookup::Unknown);
        }
        let settled = self.settled_so(&self.uses(receipt), effect)?;
        Ok(settled.map_or(Lookup::Unknown, Lookup::Settled))
    }

    /// The block in which a nonce was used: back in steps that grow until it was
    /// not, and then by halving.
    pub(super) async fn first_used(
        &self,
        effect: &Effect,
        newest: u64,
    ) -> Result<First, ChainError> {
        // What said that it is used may have known a later block.
        match self.used_at(effect, newest).await? {
            Some(true) => {}
            Some(false) => return Ok(First::Later),
            None => return Ok(First::Forgotten),
        }
        let (mut used, mut step) = (newest, 1);
        let mut unused = loop {
            let before = used.saturating_sub(step);
            match self.used_at(effect, before).await? {
                Some(true) if before == 0 => return Ok(First::In(0)),
                Some(true) => (used, step) = (before, step * 4),
                Some(false) => break before,
                None => return Ok(First::Forgotten),
            }
        };
        while used - unused > 1 {
            let middle = unused + (used - unused) / 2;
            match self.used_at(effect, middle).await? {
                Some(true) => used = middle,
                Some(false) => unused = middle,
                None => return Ok(First::Forgotten),
            }
        }
        Ok(First::In(used))
    }

    /// The receipt of the newest of these transfers that settles the permit, as its
    /// call says. Where the call does not tell, it is nobody's: a payer's own contract
    /// can burn the nonces of many permits beside one transfer that all of them expect.
    async fn settling(&self, effect: &Effect, logs: &[Log]) -> Result<Settling, ChainError> {
        let mut is_unclear = false;
        let mut seen = HashSet::new();
        for log in logs.iter().rev().filter(|log| is_transfer(log, effect)) {
            let Some(hash) = log.transaction_hash.filter(|hash| seen.insert(*hash)) else {
                continue;
            };
            let receipt: Option<Receipt> =
                ask(&self.rpc, "eth_getTransactionReceipt", [hash]).await?;
            let Some(receipt) = receipt.filter(|r| r.transaction_hash == hash) else {
                continue;
            };
            match self.calls_of(effect, &receipt).await? {
                Calls::This => return Ok(Settling::This(Box::new(receipt))),
                Calls::Unclear => is_unclear = true,
                Calls::Others => {}
            }
        }
        Ok(match is_unclear {
            true => Settling::Unclear,
            false => Settling::Others,
        })
    }

    /// Whether a transaction that holds the exact transfer settled this permit.
    pub(super) async fn is_spent_by(
        &self,
        effect: &Effect,
        receipt: &Receipt,
    ) -> Result<Option<bool>, ChainError> {
        match self.calls_of(effect, receipt).await? {
            Calls::This => return Ok(Some(true)),
            Calls::Others => return Ok(Some(false)),
            Calls::Unclear => {}
        }
        // The nonce says it: unused before that block, used in it.
        let block = receipt.block_number.map_or(0, |number| number.to::<u64>());
        let after = self.used_at(effect, block).await?;
        let before = self.used_at(effect, block.saturating_sub(1)).await?;
        Ok(match (before, after) {
            (Some(false), Some(true)) => Some(true),
            (Some(true), _) | (_, Some(false)) => Some(false),
            _ => None,
        })
    }

    async fn calls_of(&self, effect: &Effect, receipt: &Receipt) -> Result<Calls, ChainError> {
        let hash = receipt.transaction_hash;
        let uses = self.uses(receipt);
        let mut own = uses.transfers(effect);
        if succeeded(receipt) != Some(true) || own.all(|log| uses.is_authorized(log, effect.from)) {
            return Ok(Calls::Others);
        }
        if !uses.is_by_proxy() {
            return Ok(Calls::Others);
        }
        let sent: Option<Sent> = ask(&self.rpc, "eth_getTransactionByHash", [hash]).await?;
        let count = uses.transfers(effect).count();
        let calls = match sent.filter(|sent| sent.hash == hash) {
            Some(sent) => calls(&self.contracts, effect, &sent, count),
            None => Calls::Unclear,
        };
        Ok(match calls {
            Calls::Unclear => self.traced(effect, hash, count).await,
            clear => clear,
        })
    }

    /// What a contract of somebody's called in its turn, where the node can say.
    async fn traced(&self, effect: &Effect, hash: B256, transfers: usize) -> Calls {
        let Some(trace) = self.calls_within(hash).await else {
            return Calls::Unclear;
        };
        let calls = traced_calls(&self.contracts, effect, &trace, transfers);
        if calls == Calls::Unclear {
            self.note_untold(hash);
        }
        calls
    }
}

/// What a transaction with so many exact transfers calls.
fn calls(contracts: &Contracts, effect: &Effect, sent: &Sent, transfers: usize) -> Calls {
    let Key::Permit2(_, nonce) = effect.key else {
        return Calls::Unclear;
    };
    let named = |target: Address, data: &[u8]| match contracts.is_proxy(target) {
        true => SignedPermit2::settled_by_call(data).map(|call| (call.payer, call.nonce)),
        false => None,
    };
    let Some(to) = sent.to else {
        return Calls::Unclear;
    };
    // Less than was signed for can only be what the proxy of `upto` was told, by the
    // account that is named.
    if effect.at_most {
        return match named(to, &sent.input) {
            Some(called) if called != (effect.from, nonce) => Calls::Others,
            Some(_) if to == contracts.upto_proxy => Calls::This,
            // That account may be a contract.
            _ => Calls::Unclear,
        };
    }
    if contracts.is_proxy(to) {
        return match named(to, &sent.input) {
            Some(called) if called == (effect.from, nonce) => Calls::This,
            Some(_) => Calls::Others,
            None => Calls::Unclear,
        };
    }
    let Ok(batch) = Multicall3::aggregate3Call::abi_decode(&sent.input) else {
        return Calls::Unclear;
    };
    // Whatever else it calls may call a proxy in its turn.
    let clear = to == contracts.multicall3
        && batch
            .calls
            .iter()
            .all(|call| match contracts.is_proxy(call.target) {
                true => named(call.target, &call.callData).is_some(),
                false => call.target == effect.asset && is_authorization(&call.callData),
            });
    let own: Vec<_> = batch
        .calls
        .iter()
        .filter_map(|call| named(call.target, &call.callData))
        .filter(|(payer, _)| *payer == effect.from)
        .collect();
    match own.as_slice() {
        [(_, only)] if clear && *only == nonce && transfers == 1 => Calls::This,
        several if clear && !several.iter().any(|(_, other)| *other == nonce) => Calls::Others,
        _ => Calls::Unclear,
    }
}

/// The same by all the calls that it made, whoever made them.
fn traced_calls(contracts: &Contracts, effect: &Effect, trace: &Frame, transfers: usize) -> Calls {
    let Key::Permit2(_, nonce) = effect.key else {
        return Calls::Unclear;
    };
    let mut own = Vec::new();
    let mut waiting = vec![trace];
    while let Some(frame) = waiting.pop() {
        // What failed undid all that it had called.
        if frame.has_failed {
            continue;
        }
        if frame.is_cut {
            return Calls::Unclear;
        }
        waiting.extend(&frame.calls);
        let proxy = frame.to.filter(|to| contracts.is_proxy(*to));
        let Some(proxy) = proxy.filter(|_| frame.kind == "CALL") else {
            continue;
        };
        match SignedPermit2::settled_by_call(&frame.input) {
            Some(call) if call.payer == effect.from => own.push((proxy, call)),
            Some(_) => {}
            None => return Calls::Unclear,
        }
    }
    // What made the exact transfers; the trace is whole if it has all of them.
    let is_so_much = |amount: U256| match effect.at_most {
        true => amount <= effect.value,
        false => amount == effect.value,
    };
    own.retain(|(_, call)| {
        let pays = (call.token, call.payee) == (effect.asset, effect.to);
        pays && is_so_much(call.amount)
    });
    match own.as_slice() {
        [(proxy, call)] if call.nonce == nonce && transfers == 1 => {
            match !effect.at_most || *proxy == contracts.upto_proxy {
                true => Calls::This,
                false => Calls::Unclear,
            }
        }
        [_, ..] if own.len() == transfers && own.iter().all(|(_, call)| call.nonce != nonce) => {
            Calls::Others
        }
        _ => Calls::Unclear,
    }
}

/// Transfers by EIP-3009 say themselves whose they are.
fn is_authorization(data: &[u8]) -> bool {
    data.starts_with(&Abi::transferWithAuthorization_0Call::SELECTOR)
        || data.starts_with(&Abi::transferWithAuthorization_1Call::SELECTOR)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::address;
    use alloy_sol_types::SolCall as _;
    use serde_json::Value;

    use super::*;
    use crate::abi::Multicall3::Call3;
    use crate::methods::permit2::SettledByCall;

    const DOLLAR: Address = address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e");
    const STRANGER: Address = address!("0x00000000000000000000000000000000000be115");

    /// What a facilitator calls a proxy with, and the payment that it settles.
    fn settling(scheme: &str) -> (Vec<u8>, Effect) {
        let file = include_str!("../../tests/vectors/permit2.json");
        let file: Value = serde_json::from_str(file).unwrap();
        let calls = file["cases"].as_array().unwrap().iter();
        let calls = calls.filter_map(|case| case["expected"]["settle_calldata"].as_str());
        let calls = calls.map(|text| alloy_primitives::hex::decode(text).unwrap());
        let is_upto = |call: &Vec<u8>| {
            use crate::abi::UptoProxy;
            let selector = UptoProxy::settleCall::SELECTOR;
            call.starts_with(&selector)
        };
        let mut calls = calls.filter(|call| is_upto(call) == (scheme == "upto"));
        let call = calls.next().unwrap();
        let SettledByCall { payer, nonce, .. } = SignedPermit2::settled_by_call(&call).unwrap();
        let effect = Effect {
            asset: DOLLAR,
            from: payer,
            to: STRANGER,
            value: U256::from(10_000),
            at_most: scheme == "upto",
            key: Key::Permit2(Address::ZERO, nonce),
        };
        (call, effect)
    }

    fn sent(to: Address, input: Vec<u8>) -> Sent {
        Sent {
            to: Some(to),
            input: input.into(),
            hash: B256::ZERO,
        }
    }

    fn batch(all: Vec<(Address, Vec<u8>)>) -> Sent {
        let calls = all.into_iter().map(|(target, data)| Call3 {
            target,
            allowFailure: true,
            callData: data.into(),
        });
        let call = Multicall3::aggregate3Call {
            calls: calls.collect(),
        };
        sent(Contracts::default().multicall3, call.abi_encode())
    }

    /// Whoever was handed a payment may settle it by a contract of his own.
    #[test]
    fn a_call_that_hides_whom_it_settles_for_is_not_taken_for_anothers() {
        let contracts = Contracts::default();
        let of = |effect: &Effect, sent: &Sent| calls(&contracts, effect, sent, 1);
        let (call, effect) = settling("upto");
        assert_eq!(
            of(&effect, &sent(contracts.upto_proxy, call.clone())),
            Calls::This
        );
        assert_eq!(of(&effect, &sent(STRANGER, call.clone())), Calls::Unclear);
        let other = Effect {
            key: Key::Permit2(Address::ZERO, U256::from(7)),
            ..effect
        };
        assert_eq!(of(&other, &sent(contracts.upto_proxy, call)), Calls::Others);

        let (call, effect) = settling("exact");
        let proxy = contracts.exact_proxy;
        let authorized = Abi::transferWithAuthorization_0Call::SELECTOR.to_vec();
        let disguised = [authorized.clone(), call.clone()].concat();
        let other = Effect {
            key: Key::Permit2(Address::ZERO, U256::from(7)),
            ..effect
        };
        for (effect, sent, is) in [
            (&effect, batch(vec![(proxy, call.clone())]), Calls::This),
            (&other, batch(vec![(proxy, call.clone())]), Calls::Others),
            (
                &other,
                batch(vec![(proxy, call.clone()), (DOLLAR, authorized.clone())]),
                Calls::Others,
            ),
            (
                &effect,
                batch(vec![(STRANGER, disguised.clone())]),
                Calls::Unclear,
            ),
            (
                &other,
                batch(vec![(proxy, call.clone()), (STRANGER, disguised)]),
                Calls::Unclear,
            ),
            (
                &other,
                batch(vec![(proxy, call[..40].to_vec())]),
                Calls::Unclear,
            ),
            (&effect, batch(Vec::new()), Calls::Others),
        ] {
            assert_eq!(of(effect, &sent), is, "{sent:?}");
        }
    }

    fn frame(kind: &str, to: Address, input: &[u8], calls: Vec<Frame>) -> Frame {
        Frame {
            kind: kind.to_owned(),
            to: Some(to),
            input: Bytes::copy_from_slice(input),
            calls,
            ..Frame::default()
        }
    }

    #[test]
    fn what_a_strangers_contract_settled_is_told_by_all_the_calls_that_it_made() {
        let contracts = Contracts::default();
        let (call, mut effect) = settling("exact");
        let settled = SignedPermit2::settled_by_call(&call).unwrap();
        (effect.asset, effect.to) = (settled.token, settled.payee);
        effect.value = settled.amount;
        let proxy = contracts.exact_proxy;
        let by = |kind| {
            frame(
                "CALL",
                STRANGER,
                &[],
                vec![frame(kind, proxy, &call, vec![])],
            )
        };
        let of = |effect: &Effect, trace: &Frame, transfers| {
            traced_calls(&contracts, effect, trace, transfers)
        };
        let plain = by("CALL");
        assert_eq!(of(&effect, &plain, 1), Calls::This);
        // Which of several transfers is its own cannot be told.
        assert_eq!(of(&effect, &plain, 2), Calls::Unclear);
        // Its own code, run by another, settles nothing of the proxy's.
        assert_eq!(of(&effect, &by("DELEGATECALL"), 1), Calls::Unclear);
        let mut undone = by("CALL");
        undone.has_failed = true;
        let trace = frame("CALL", STRANGER, &[], vec![undone]);
        assert_eq!(of(&effect, &trace, 1), Calls::Unclear);
        let unreadable = frame("CALL", proxy, &call[..40], vec![]);
        let trace = frame("CALL", STRANGER, &[], vec![by("CALL"), unreadable]);
        assert_eq!(of(&effect, &trace, 1), Calls::Unclear);

        let other = |change: &dyn Fn(&mut Effect)| {
            let mut other = effect;
            change(&mut other);
            of(&other, &plain, 1)
        };
        let nonce = Key::Permit2(Address::ZERO, U256::from(7));
        assert_eq!(other(&|e| e.key = nonce), Calls::Others);
        // The same nonce, and something else that was signed for it.
        assert_eq!(other(&|e| e.to = DOLLAR), Calls::Unclear);
        assert_eq!(other(&|e| e.asset = STRANGER), Calls::Unclear);
        assert_eq!(other(&|e| e.value += U256::from(1)), Calls::Unclear);
        let deep = Frame {
            is_cut: true,
            ..by("CALL")
        };
        assert_eq!(of(&effect, &deep, 1), Calls::Unclear);
        // A trace that does not hold what moved the money is not whole.
        let bare = frame("CALL", STRANGER, &[], vec![]);
        assert_eq!(of(&effect, &bare, 1), Calls::Unclear);
    }
}
