//! Payments that have settled in blocks that could still be replaced.
//!
//! What a reorganisation removed is taken back, by a recorded event, and goes on
//! as if it had not settled: the same bytes are sent again. Who was told of
//! success stays the one who was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollway_core::{ChainError, PaymentId, mistake};
use tollway_ledger::{LedgerError, PaymentRecord, PaymentState};

use super::alarm::Sleeper;
use super::op::Op;
use super::state::{Phase, Slot, Work};
use super::turn::Turn;
use super::types::Records;
use super::{Effect, SlotKey, Ticket, Update};

/// Payments that are marked final in one step at most.
const MOST_FINALS: usize = 512;

/// Settled payments by block, and the closed slots that may come back.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    blocks: BTreeMap<u64, Block>,
    known: BTreeSet<PaymentId>,
    /// Deep enough, and not marked yet.
    finals: Vec<PaymentId>,
    finals_op: Op,
    /// How many of them the marking that is under way has.
    marking: usize,
    /// What was being decided, by what had been seen before, when blocks were replaced.
    overtaken: BTreeSet<PaymentId>,
    /// Closed slots, by the block that was newest when they were closed.
    buried: BTreeMap<SlotKey, (u64, Slot)>,
}

/// What settled in the block of one number.
#[derive(Clone, Debug, Default)]
struct Block {
    /// With the hash that the block had.
    payments: Vec<(PaymentId, String)>,
    doubt: Option<Doubt>,
    /// It was deep enough, and still there.
    is_deep: bool,
}

/// Whether the block is still part of the chain is not known.
#[derive(Clone, Debug)]
enum Doubt {
    /// Asking for its hash.
    Check(Op),
    /// These are being taken back.
    TakeBack(Op, Vec<PaymentId>),
}

impl Doubt {
    fn op(&mut self) -> &mut Op {
        match self {
            Self::Check(op) | Self::TakeBack(op, _) => op,
        }
    }
}

impl Settled {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.buried.is_empty()
    }
}

impl Turn<'_> {
    /// A payment settled: its block is watched until it is deep enough.
    pub(super) fn keep_watching(&mut self, record: &PaymentRecord) {
        let (PaymentState::Settled, Some(settled)) = (record.state, &record.settled) else {
            return;
        };
        let fresh = self.state.settled.known.insert(record.id.clone());
        if fresh {
            let block = self
                .state
                .settled
                .blocks
                .entry(settled.block_number)
                .or_default();
            block.is_deep = false;
            block
                .payments
                .push((record.id.clone(), settled.block_hash.clone()));
        }
        if self.state.settled.overtaken.remove(&record.id) {
            self.doubt(settled.block_number);
        }
    }

    /// It ended, or is decided anew.
    pub(super) fn not_overtaken(&mut self, id: &PaymentId) {
        self.state.settled.overtaken.remove(id);
    }

    /// After a start: whether those blocks are still there is not known.
    pub(super) fn recovered_settled(&mut self, payments: &[PaymentRecord]) {
        let mut numbers = BTreeSet::new();
        let has_looked = self.state.watcher.head.is_some();
        for record in payments {
            let ours = record.payment.identity.network == self.state.network;
            let known = self.state.settled.known.contains(&record.id);
            if ours && !known && !self.state.payments.contains_key(&record.id) {
                self.state.ended.add(record.id.clone(), self.now);
                self.keep_watching(record);
                numbers.extend(record.settled.as_ref().map(|s| s.block_number));
            }
        }
        // The first look doubts all of them.
        for number in numbers.into_iter().filter(|_| has_looked) {
            self.doubt(number);
        }
    }

    /// Blocks from this one on are not what they were.
    pub(super) fn blocks_replaced(&mut self, from: u64) {
        if mistake::is("reorg_ignored") {
            return;
        }
        let numbers: Vec<u64> = self
            .state
            .settled
            .blocks
            .range(from..)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            self.doubt(number);
        }
        // What is known of these may be older than the new blocks.
        let asking = self.state.payments.iter().filter(|(_, p)| {
            matches!(
                p.phase,
                Phase::Conclude { .. }
                    | Phase::Lookup { .. }
                    | Phase::LastLook { .. }
                    | Phase::Observe
            )
        });
        let overtaken: Vec<PaymentId> = asking.map(|(id, _)| id.clone()).collect();
        self.state.settled.overtaken.extend(overtaken);
        self.leave_blocks(from);
        // A nonce that was used may be free again.
        let open: Vec<SlotKey> = self.state.slots.keys().cloned().collect();
        for key in open {
            if let Some(slot) = self.slot_mut(&key) {
                slot.go_on();
            }
            self.mind_the_orphan(&key);
        }
        self.state.watcher.dirty = true;
        let keys: Vec<SlotKey> = self
            .state
            .settled
            .buried
            .iter()
            .filter(|(_, (block, _))| *block >= from)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.dig_up(&key);
        }
    }

    fn doubt(&mut self, number: u64) {
        if let Some(block) = self.state.settled.blocks.get_mut(&number)
            && !matches!(block.doubt, Some(Doubt::TakeBack(..)))
        {
            block.doubt = Some(Doubt::Check(Op::now()));
            block.is_deep = false;
        }
        self.wake_block(number);
    }

    /// A closed slot is remembered as long as its block could be replaced.
    pub(super) fn bury(&mut self, key: SlotKey, slot: Slot) {
        if slot.raws.is_empty() || self.rules.reorg_watch == 0 {
            return;
        }
        let newest = self.state.watcher.head.as_ref().map_or(0, |h| h.number);
        self.state.settled.buried.insert(key, (newest, slot));
    }

    /// Its nonce may be free again: the same bytes go out again, and if they are
    /// in a block after all, the slot is closed again. Whether there was one.
    pub(super) fn dig_up(&mut self, key: &SlotKey) -> bool {
        let Some((_, mut slot)) = self.state.settled.buried.remove(key) else {
            return false;
        };
        if self.state.slots.contains_key(key) {
            return true;
        }
        slot.disarm();
        slot.members.clear();
        slot.used = false;
        slot.included = None;
        slot.work = Work::Idle;
        slot.work_op = Op::now();
        slot.send = Op::now();
        slot.stuck_at = self.now.plus(self.rules.stuck_after);
        self.state.closed.remove(key);
        self.state.slots.insert(key.clone(), slot);
        self.state.watcher.dirty = true;
        self.send(key);
        self.mind_the_orphan(key);
        true
    }

    /// A new block: what lies deep enough is final.
    pub(super) fn bury_deeper(&mut self) {
        let Some(head) = self.state.watcher.head.as_ref().map(|h| h.number) else {
            return;
        };
        let depth = self.rules.reorg_watch;
        let settled = &mut self.state.settled;
        settled
            .buried
            .retain(|_, (block, _)| block.saturating_add(depth) > head);
        let deep = settled
            .blocks
            .range_mut(..=head.saturating_sub(depth))
            .filter(|(_, block)| block.doubt.is_none() && !block.is_deep);
        let mut numbers = Vec::new();
        // Once more, before it is final: looks may have missed something.
        for (number, block) in deep {
            block.doubt = Some(Doubt::Check(Op::now()));
            block.is_deep = true;
            numbers.push(*number);
        }
        for number in numbers {
            self.wake_block(number);
        }
    }

    /// A block that is deep enough is there: what settled in it is final.
    fn is_final(&mut self, number: u64) {
        let settled = &mut self.state.settled;
        if let Some(block) = settled.blocks.remove(&number) {
            for (id, _) in block.payments {
                settled.known.remove(&id);
                settled.finals.push(id);
            }
        }
        self.wake_finals();
    }

    pub(super) fn wake_finals(&mut self) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let settled = &mut self.state.settled;
        settled.finals_op.forget_lost(&rules, now);
        if settled.finals.is_empty() {
            return;
        }
        if settled.finals_op.is_due(now) {
            let ticket = self.ticket();
            let settled = &mut self.state.settled;
            settled.marking = settled.finals.len().min(MOST_FINALS);
            let ids = settled.finals[..settled.marking].to_vec();
            settled.finals_op.begin(ticket, now);
            self.emit(Effect::MarkFinal { ticket, ids });
        }
        let at = self.state.settled.finals_op.alarm(&rules);
        self.state.alarms.set(at, Sleeper::Finals);
    }

    pub(super) fn finalized(&mut self, ticket: Ticket, result: Result<(), LedgerError>) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let settled = &mut self.state.settled;
        if !settled.finals_op.take(ticket) {
            return;
        }
        match result {
            Err(error) if error.is_storage() => settled.finals_op.retry(&rules, now),
            // Another machine's, or taken back: not ours to mark.
            Ok(()) | Err(_) => {
                let marked = std::mem::take(&mut settled.marking);
                settled.finals.drain(..marked);
                settled.finals_op = Op::now();
            }
        }
        self.wake_finals();
    }

    /// Asks what a block in doubt needs.
    pub(super) fn wake_block(&mut self, number: u64) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let ticket = self.ticket();
        let Some(doubt) = self
            .state
            .settled
            .blocks
            .get_mut(&number)
            .and_then(|b| b.doubt.as_mut())
        else {
            return;
        };
        doubt.op().forget_lost(&rules, now);
        let due = doubt.op().is_due(now);
        if due {
            doubt.op().begin(ticket, now);
        }
        let at = doubt.op().alarm(&rules);
        let effect = match doubt {
            Doubt::Check(_) => Effect::CheckBlock { ticket, number },
            Doubt::TakeBack(_, ids) => Effect::TakeBack {
                ticket,
                block: number,
                ids: ids.clone(),
            },
        };
        self.state.alarms.set(at, Sleeper::Block(number));
        if due {
            self.emit(effect);
        }
    }

    pub(super) fn block_checked(
        &mut self,
        ticket: Ticket,
        number: u64,
        result: Result<Option<String>, ChainError>,
    ) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let Some(block) = self.state.settled.blocks.get_mut(&number) else {
            return;
        };
        let Some(Doubt::Check(op)) = &mut block.doubt else {
            return;
        };
        if !op.take(ticket) {
            return;
        }
        match result {
            Err(_) => op.retry(&rules, now),
            Ok(hash) => {
                let gone: Vec<PaymentId> = block
                    .payments
                    .iter()
                    .filter(|(_, had)| hash.as_ref() != Some(had))
                    .map(|(id, _)| id.clone())
                    .collect();
                let is_deep = block.is_deep;
                if gone.is_empty() {
                    block.doubt = None;
                    if is_deep {
                        self.is_final(number);
                    }
                } else {
                    block.doubt = Some(Doubt::TakeBack(Op::now(), gone));
                }
            }
        }
        self.wake_block(number);
    }

    pub(super) fn taken_back(
        &mut self,
        ticket: Ticket,
        number: u64,
        result: Result<Records, LedgerError>,
    ) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let Some(block) = self.state.settled.blocks.get_mut(&number) else {
            return;
        };
        let Some(Doubt::TakeBack(op, ids)) = &mut block.doubt else {
            return;
        };
        if !op.take(ticket) {
            return;
        }
        let Ok((payments, slots)) = result else {
            op.retry(&rules, now);
            return self.wake_block(number);
        };
        let ids = std::mem::take(ids);
        block.doubt = None;
        block.is_deep = false;
        block.payments.retain(|(id, _)| !ids.contains(id));
        if block.payments.is_empty() {
            self.state.settled.blocks.remove(&number);
        }
        for id in ids {
            self.state.settled.known.remove(&id);
            self.state.ended.remove(&id);
            self.emit(Effect::NotifyWaiters {
                id,
                update: Update::TakenBack { block: number },
            });
        }
        for slot in &slots {
            let key = (slot.signer.clone(), slot.nonce);
            self.dig_up(&key);
            self.state.closed.remove(&key);
        }
        self.recovered(payments, slots);
    }
}
