//! Verified payments that wait for a lane: callers take turns, so that a flood
//! from one never starves another.

use std::collections::{BTreeMap, VecDeque};

use tollway_core::{PaymentId, Timestamp};

/// Lines of callers, served in turn.
#[derive(Clone, Debug, Default)]
pub(super) struct FairQueue {
    lines: BTreeMap<String, VecDeque<PaymentId>>,
    /// Callers whose line is not empty, whose turn it is first.
    turns: VecDeque<String>,
    len: usize,
    /// Since when what waits has been gathered.
    pub(super) since: Timestamp,
    /// For when the last alarm was set.
    pub(super) armed: Timestamp,
}

impl FairQueue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push_back(&mut self, caller: &str, id: PaymentId, now: Timestamp) {
        if self.len == 0 {
            self.since = now;
        }
        self.len += 1;
        match self.lines.get_mut(caller) {
            Some(line) => line.push_back(id),
            None => {
                self.turns.push_back(caller.to_owned());
                self.lines.insert(caller.to_owned(), VecDeque::from([id]));
            }
        }
    }

    /// Puts back what was taken, before all others of its caller.
    pub(super) fn push_front(&mut self, caller: &str, id: PaymentId) {
        self.len += 1;
        match self.lines.get_mut(caller) {
            Some(line) => line.push_front(id),
            None => {
                self.turns.push_front(caller.to_owned());
                self.lines.insert(caller.to_owned(), VecDeque::from([id]));
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<PaymentId> {
        let caller = self.turns.pop_front()?;
        let line = self.lines.get_mut(&caller)?;
        let id = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&caller);
        } else {
            self.turns.push_back(caller);
        }
        self.len = self.len.saturating_sub(1);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> PaymentId {
        PaymentId::from_text(text)
    }

    #[test]
    fn a_flood_of_one_caller_leaves_every_second_turn_to_another() {
        let mut queue = FairQueue::default();
        let now = Timestamp::default();
        for n in 0..5 {
            queue.push_back("flood", id(&format!("f{n}")), now);
        }
        queue.push_back("other", id("o0"), now);
        queue.push_back("other", id("o1"), now);
        let order: Vec<String> = std::iter::from_fn(|| queue.pop())
            .map(|id| id.to_string())
            .collect();
        assert_eq!(order, ["f0", "o0", "f1", "o1", "f2", "f3", "f4"]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_is_put_back_comes_first_in_its_old_order() {
        let mut queue = FairQueue::default();
        let now = Timestamp::default();
        for n in 0..4 {
            queue.push_back("", id(&format!("p{n}")), now);
        }
        let taken = [queue.pop().unwrap(), queue.pop().unwrap()];
        for back in taken.into_iter().rev() {
            queue.push_front("", back);
        }
        let order: Vec<String> = std::iter::from_fn(|| queue.pop())
            .map(|id| id.to_string())
            .collect();
        assert_eq!(order, ["p0", "p1", "p2", "p3"]);
    }
}
