//! The engine's heart: `step(state, event) → (state, effects)`, free of I/O.
//!
//! One [`State`] is one network: its open payments, its slots (one nonce of
//! one signer each, carrying one payment or a batch) and its lanes (one per
//! signer, so that nonces are given out one after the other). An [`Event`] is
//! the answer to an [`Effect`], a payment that was accepted or recovered, or the
//! passing of time. Every effect that asks something carries a [`Ticket`]; an
//! answer with another ticket is stale and changes nothing, and an answer that
//! never comes is asked for again after [`Rules::op_timeout`]. Nothing is
//! scanned: who needs attention later sets an alarm.
//!
//! What must hold, whatever the order of events:
//! - [`Effect::Broadcast`] carries only bytes whose [`Effect::StoreRaw`] was answered;
//! - a payment under a slot gets no other slot before proof that no transaction
//!   of the first can move it ([`Effect::Reopen`] carries the proof);
//! - no payment ends `refused` or `expired` while a stored transaction of it
//!   can still land;
//! - a signer is used only under its lease.

mod alarm;
mod included;
mod lane;
mod lately;
mod lookup;
mod nonce;
mod op;
mod pace;
mod payment;
mod queue;
mod recover;
mod replace;
mod rules;
mod settled;
mod slot;
mod state;
mod turn;
mod types;
mod waiting;
mod watch;

pub use rules::Rules;
pub use state::State;
pub use types::{Effect, Event, NotAllocated, Records, SlotKey, Subject, Ticket, Update};

use tollway_core::Timestamp;
use turn::Turn;

/// Applies one event at a moment. Pure: equal inputs give equal outputs.
#[must_use]
pub fn step(mut state: State, now: Timestamp, event: Event) -> (State, Vec<Effect>) {
    let effects = state.apply(now, event);
    (state, effects)
}

impl State {
    /// The same in place.
    pub fn apply(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        let mut turn = Turn::new(self, now);
        turn.apply(event);
        turn.finish()
    }
}

impl Turn<'_> {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(),
            Event::Accepted { record, verified } => self.accepted(record, verified),
            Event::Recovered { payments, slots } => self.recovered(payments, slots),
            Event::Settled { payments } => self.recovered_settled(&payments),
            Event::Leased { lease } => self.leased(lease),
            Event::Unleased { signer } => self.unleased(&signer),
            Event::Funded { signer, enough } => self.funded(&signer, enough),
            Event::Planned {
                subject,
                ticket,
                result,
            } => match subject {
                Subject::Lane(signer) => self.planned_for_lane(&signer, ticket, result),
                Subject::Slot(key) => self.planned_for_slot(&key, ticket, result),
            },
            Event::Allocated {
                signer,
                ticket,
                result,
            } => self.allocated(&signer, ticket, result),
            Event::Nonce {
                signer,
                ticket,
                result,
            } => self.nonce_known(&signer, ticket, result),
            Event::SlotOpened {
                slot,
                ticket,
                result,
            } => self.gap_opened(&slot, ticket, result),
            Event::Looked { ticket, result } => self.looked(ticket, result),
            Event::Concluded { ticket, results } => self.concluded(ticket, results),
            Event::BlockChecked {
                ticket,
                number,
                result,
            } => self.block_checked(ticket, number, result),
            Event::TakenBack {
                ticket,
                block,
                result,
            } => self.taken_back(ticket, block, result),
            Event::Finalized { ticket, result } => self.finalized(ticket, result),
            answer => self.apply_to_one(answer),
        }
    }

    /// What is about one payment or one slot.
    fn apply_to_one(&mut self, event: Event) {
        match event {
            Event::Verified { id, ticket, result } => self.payment_verified(&id, ticket, *result),
            Event::LookedUp { id, ticket, result } => self.looked_up(&id, ticket, result),
            Event::Observed { id, ticket, result } => self.observed(&id, ticket, result),
            Event::Reopened { id, ticket, result } => self.reopened(&id, ticket, result),
            Event::Reloaded { id, ticket, result } => self.reloaded(&id, ticket, result),
            Event::GivenUp { id, ticket, result } => self.given_up(&id, ticket, result),
            Event::SlotVerified {
                slot,
                ticket,
                results,
            } => self.replacement_verified(&slot, ticket, results),
            Event::Sealed {
                slot,
                ticket,
                result,
            } => self.sealed(&slot, ticket, result),
            Event::Stored {
                slot,
                ticket,
                result,
            } => self.stored(&slot, ticket, result),
            Event::Sent {
                slot,
                ticket,
                result,
            } => self.sent(&slot, ticket, result),
            Event::Closed {
                slot,
                ticket,
                result,
            } => self.slot_closed(&slot, ticket, result),
            _ => {}
        }
    }
}
