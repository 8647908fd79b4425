//! A signer's confirmed nonce: what closes slots that carry nothing open, and
//! what finds gaps.

use std::sync::Arc;

use tollway_core::{Address, ChainError};
use tollway_ledger::LedgerError;

use super::op::Op;
use super::turn::Turn;
use super::types::Records;
use super::{Effect, SlotKey, Ticket};

impl Turn<'_> {
    /// A live slot that carries nothing open is closed when its nonce is used.
    pub(super) fn mind_the_orphan(&mut self, key: &SlotKey) {
        let orphaned = self
            .state
            .slots
            .get(key)
            .is_some_and(|s| s.is_live() && s.members.is_empty());
        if orphaned {
            self.want_nonce(&key.0);
        }
    }

    /// A node misses a nonce below one that it was sent.
    pub(super) fn gap_below(&mut self, signer: &Address) {
        if let Some(lane) = self.state.lanes.get_mut(signer) {
            lane.gap_seen = true;
        }
        self.want_nonce(signer);
    }

    pub(super) fn want_nonce(&mut self, signer: &Address) {
        if let Some(lane) = self.state.lanes.get_mut(signer) {
            lane.wants_nonce = true;
        }
        self.ask_nonce_if_due(signer);
    }

    pub(super) fn ask_nonce_if_due(&mut self, signer: &Address) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        lane.nonce_op.forget_lost(&rules, now);
        if !lane.wants_nonce || !lane.nonce_op.is_due(now) {
            return;
        }
        let ticket = self.ticket();
        if let Some(lane) = self.state.lanes.get_mut(signer) {
            lane.nonce_op.begin(ticket, now);
            self.emit(Effect::ConfirmedNonce {
                signer: signer.clone(),
                ticket,
            });
        }
    }

    pub(super) fn nonce_known(
        &mut self,
        signer: &Address,
        ticket: Ticket,
        result: Result<u64, ChainError>,
    ) {
        let (now, interval) = (self.now, self.rules.poll_interval);
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        if !lane.nonce_op.take(ticket) {
            return;
        }
        lane.nonce_op = Op::at(now.plus(interval.saturating_mul(4)));
        let Ok(confirmed) = result else {
            return;
        };
        self.close_orphans(signer, confirmed);
        self.fill_gap(signer, confirmed);
        let orphans = self
            .slots_of(signer)
            .any(|(_, s)| s.is_live() && s.members.is_empty());
        if let Some(lane) = self.state.lanes.get_mut(signer) {
            lane.wants_nonce = orphans || lane.gap_seen || lane.gap_since.is_some();
        }
    }

    fn close_orphans(&mut self, signer: &Address, confirmed: u64) {
        let used: Vec<SlotKey> = self
            .slots_of(signer)
            .filter(|(key, s)| key.1 < confirmed && s.is_live() && s.members.is_empty())
            .map(|(key, _)| key.clone())
            .collect();
        for key in used {
            if let Some(slot) = self.slot_mut(&key) {
                slot.used = true;
            }
            self.close_if_done(&key);
        }
    }

    /// The chain waits for the confirmed nonce. Where a transaction holds it, it
    /// is sent again; where none does, a cancellation takes it.
    fn fill_gap(&mut self, signer: &Address, confirmed: u64) {
        let above = self
            .slots_of(signer)
            .any(|(key, s)| key.1 > confirmed && s.is_live());
        let key = (signer.clone(), confirmed);
        let held = self.state.slots.get(&key).map(super::state::Slot::is_live);
        let (now, patience) = (self.now, self.rules.rebroadcast_after);
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        if !above || (held.is_some() && !lane.gap_seen) {
            lane.gap_seen = false;
            lane.gap_since = None;
            return;
        }
        // A node that lags behind says so for a while, too.
        let since = *lane.gap_since.get_or_insert(now);
        if !lane.gap_seen && now < since.plus(patience) {
            return;
        }
        lane.gap_since = None;
        match held {
            Some(true) => {
                lane.gap_seen = false;
                if let Some(slot) = self.slot_mut(&key) {
                    slot.send.due = slot.send.due.min(Op::now().due);
                }
                self.send(&key);
            }
            // Being sealed just now.
            Some(false) => {}
            None => {
                // It was given out and used before: blocks were replaced, whether
                // a look said so or not.
                self.blocks_replaced(0);
                if !self.state.slots.contains_key(&key) {
                    self.open_gap(&key);
                }
            }
        }
    }

    fn open_gap(&mut self, key: &SlotKey) {
        let (ticket, now, rules) = (self.ticket(), self.now, Arc::clone(&self.rules));
        let Some(lane) = self.state.lanes.get_mut(&key.0) else {
            return;
        };
        lane.gap_op.forget_lost(&rules, now);
        if let Some(lease) = lane.lease.clone()
            && lane.gap_op.is_due(now)
        {
            lane.gap_op.begin(ticket, now);
            self.emit(Effect::ReopenSlot {
                slot: key.clone(),
                lease,
                ticket,
            });
        }
    }

    /// Bytes that are durable go out again, whatever was thought of their nonce;
    /// a nonce without bytes is freed by a cancellation.
    pub(super) fn gap_opened(
        &mut self,
        key: &SlotKey,
        ticket: Ticket,
        result: Result<Records, LedgerError>,
    ) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let Some(lane) = self.state.lanes.get_mut(&key.0) else {
            return;
        };
        if !lane.gap_op.take(ticket) {
            return;
        }
        let (payments, slots) = match result {
            Ok(records) => records,
            Err(LedgerError::LeaseLost { .. }) => return self.lease_lost(&key.0),
            Err(_) => return lane.gap_op.retry(&rules, now),
        };
        lane.gap_op.again_at(now.plus(rules.retry_min));
        let usable = lane.lease.is_some() && lane.is_free();
        match slots.first() {
            Some(slot) if !slot.raws.is_empty() => {
                lane.gap_seen = false;
                self.state.closed.remove(key);
                self.recovered(payments, slots);
            }
            Some(_) if usable && !self.state.slots.contains_key(key) => {
                lane.gap_seen = false;
                self.state.closed.remove(key);
                self.free_nonce(key);
            }
            _ => {}
        }
    }
}
