//! When a fault strikes.

use crate::Fault;

/// Which of the calls that a fault concerns it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// All of them.
    Always,
    /// The first so many.
    First(u64),
    /// One of them, counted from one.
    Nth(u64),
    /// Every so many-th.
    Every(u64),
    /// Each by chance, the same with the same seed.
    Chance {
        /// How many of a hundred.
        percent: u64,
    },
}

/// A fault, the methods that it is limited to, and when it strikes.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(crate) fault: Fault,
    methods: Vec<&'static str>,
    when: When,
    /// Calls that it concerned so far.
    calls: u64,
    /// How often it struck.
    pub(crate) strikes: u64,
}

impl Rule {
    /// A fault that strikes whenever it can.
    #[must_use]
    pub const fn of(fault: Fault) -> Self {
        Self {
            fault,
            methods: Vec::new(),
            when: When::Always,
            calls: 0,
            strikes: 0,
        }
    }

    /// Only calls of this method, and of others that are named so.
    #[must_use]
    pub fn on(mut self, method: &'static str) -> Self {
        self.methods.push(method);
        self
    }

    /// Only some of the calls.
    #[must_use]
    pub const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    fn concerns(&self, method: &str) -> bool {
        match self.methods.as_slice() {
            [] => self.fault.concerns(method),
            methods => methods.contains(&method),
        }
    }

    /// Whether it strikes this call, which is counted.
    pub(crate) fn strikes(&mut self, method: &str, dice: &mut Dice) -> bool {
        if !self.concerns(method) {
            return false;
        }
        self.calls += 1;
        let strikes = match self.when {
            When::Always => true,
            When::First(count) => self.calls <= count,
            When::Nth(number) => self.calls == number,
            When::Every(count) => self.calls.is_multiple_of(count.max(1)),
            When::Chance { percent } => dice.percent() < percent,
        };
        self.strikes += u64::from(strikes);
        strikes
    }
}

/// Chance that can be repeated (SplitMix64).
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn percent(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(when: When, seed: u64) -> Vec<usize> {
        let mut rule = Rule::of(Fault::Html).on("eth_call").when(when);
        let mut dice = Dice(seed);
        assert!(!rule.strikes("eth_chainId", &mut dice), "another method");
        (1..=10)
            .filter(|_| rule.strikes("eth_call", &mut dice))
            .collect()
    }

    #[test]
    fn a_rule_strikes_when_it_says() {
        assert_eq!(struck(When::Always, 1).len(), 10);
        assert_eq!(struck(When::First(2), 1), [1, 2]);
        assert_eq!(struck(When::Nth(4), 1), [4]);
        assert_eq!(struck(When::Every(3), 1), [3, 6, 9]);
        let chance = When::Chance { percent: 50 };
        assert_eq!(struck(chance, 1), struck(chance, 1), "the same seed");
        let runs: Vec<Vec<usize>> = (0..20).map(|seed| struck(chance, seed)).collect();
        let all: usize = runs.iter().map(Vec::len).sum();
        assert!((70..130).contains(&all), "{all} of 200");
        assert!(struck(When::Chance { percent: 0 }, 3).is_empty());
    }
}
