//! The engine's heart: `step(state, event) → (state, effects)`, free of I/O.
//!
//! One [`State`] is one network: its open payments, its slots (one nonce of
//! one signer each) and its lanes (one per signer, so that nonces are given
//! out one after the other). An [`Event`] is the answer to an [`Effect`], a
//! payment that was accepted or recovered, or the passing of time. Every
//! effect that asks something carries a [`Ticket`]; an answer with another
//! ticket is stale and changes nothing, and an answer that never comes is
//! asked for again after [`Rules::op_timeout`].
//!
//! What must hold, whatever the order of events:
//! - [`Effect::Broadcast`] carries only bytes whose [`Effect::StoreRaw`] was answered;
//! - a payment under a slot gets no other slot before proof that no transaction
//!   of the first can move it ([`Effect::Reopen`] carries the proof);
//! - no payment ends `refused` or `expired` while a stored transaction of it
//!   can still land.

mod lane;
mod lookup;
mod outcome;
mod payment;
mod recover;
mod replace;
mod rules;
mod slot;
mod state;
mod types;

pub use rules::Rules;
pub use state::State;
pub use types::{Effect, Event, SlotKey, Subject, Ticket, Update};

use state::Turn;
use tollway_core::Timestamp;

/// Applies one event at a moment. Pure: equal inputs give equal outputs.
#[must_use]
pub fn step(mut state: State, now: Timestamp, event: Event) -> (State, Vec<Effect>) {
    let mut turn = Turn::new(&mut state, now);
    turn.apply(event);
    let effects = turn.finish();
    (state, effects)
}

impl Turn<'_> {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Accepted { record, verified } => self.accepted(record, verified),
            Event::Recovered { payments, slots } => self.recovered(payments, slots),
            Event::Tick => self.tick(),
            Event::Verified {
                subject,
                ticket,
                result,
            } => match subject {
                Subject::Payment(id) => self.payment_verified(&id, ticket, *result),
                Subject::Slot(key) => self.replacement_verified(&key, ticket, *result),
            },
            Event::Planned {
                subject,
                ticket,
                result,
            } => match subject {
                Subject::Payment(id) => self.payment_planned(&id, ticket, result),
                Subject::Slot(key) => self.replacement_planned(&key, ticket, result),
            },
            Event::Allocated {
                signer,
                ticket,
                result,
            } => self.allocated(&signer, ticket, result),
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
            Event::Polled { results } => self.polled(results),
            Event::LookedUp { id, ticket, result } => self.looked_up(&id, ticket, result),
            Event::Observed { id, ticket, result } => self.observed(&id, ticket, result),
            Event::Nonce {
                signer,
                ticket,
                result,
            } => self.nonce_known(&signer, ticket, result),
            Event::Reopened { id, ticket, result } => self.reopened(&id, ticket, result),
            Event::Closed {
                slot,
                ticket,
                result,
            } => self.slot_closed(&slot, ticket, result),
            Event::Concluded { id, ticket, result } => self.concluded(&id, ticket, result),
            Event::Reloaded { id, ticket, result } => self.reloaded(&id, ticket, result),
        }
    }
}
