//! One asking, its answer, and when to ask again.

use tollway_core::Timestamp;

use super::{Rules, Ticket};

/// One asking that may be under way, and when to ask again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Op {
    ticket: Option<(Ticket, Timestamp)>,
    pub(super) due: Timestamp,
    pub(super) failures: u32,
}

impl Op {
    /// Due at once.
    pub(super) fn now() -> Self {
        Self::default()
    }

    pub(super) fn at(due: Timestamp) -> Self {
        Self {
            due,
            ..Self::default()
        }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.ticket.is_none() && self.due <= now
    }

    pub(super) fn begin(&mut self, ticket: Ticket, now: Timestamp) {
        self.ticket = Some((ticket, now));
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.ticket.is_some()
    }

    /// Whether this answer is the awaited one; afterwards nothing is awaited.
    pub(super) fn take(&mut self, ticket: Ticket) -> bool {
        let awaited = self.ticket.is_some_and(|(t, _)| t == ticket);
        if awaited {
            self.ticket = None;
        }
        awaited
    }

    /// Asks again later, after a pause that grows.
    pub(super) fn retry(&mut self, rules: &Rules, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.ticket = None;
        self.due = now.plus(rules.pause(self.failures));
    }

    /// Asks again later, without counting it as a failure.
    pub(super) fn again_at(&mut self, due: Timestamp) {
        *self = Self::at(due);
    }

    /// Gives up an answer that never came.
    pub(super) fn forget_lost(&mut self, rules: &Rules, now: Timestamp) {
        if self
            .ticket
            .is_some_and(|(_, since)| now >= since.plus(rules.op_timeout))
        {
            self.retry(rules, now);
        }
    }

    /// When it needs attention: the answer is given up, or it is to be asked.
    pub(super) fn alarm(&self, rules: &Rules) -> Timestamp {
        self.ticket
            .map_or(self.due, |(_, since)| since.plus(rules.op_timeout))
    }

    /// The same where it is asked only by need: nothing while nothing is awaited.
    pub(super) fn lost_alarm(&self, rules: &Rules) -> Timestamp {
        self.ticket
            .map_or(NEVER, |(_, since)| since.plus(rules.op_timeout))
    }
}

/// An alarm that is not set.
pub(super) const NEVER: Timestamp = Timestamp::from_millis(u64::MAX);
