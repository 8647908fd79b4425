//! Nonces of Permit2 inside one word of the payer's bitmap.
//!
//! The first nonce of a word costs its settlement a new storage slot; the other
//! 255 do not. A wallet draws a word at random, so that two processes with one key
//! never share one, and uses its bits one after the other.

use std::sync::{Mutex, PoisonError};

use alloy_primitives::U256;
use tollway_core::Refusal;

use super::random_word;

/// The word in use, and how many of its bits are.
#[derive(Debug, Default)]
pub(super) struct Word(Mutex<Option<(U256, u16)>>);

impl Word {
    /// A nonce that nobody drew before.
    pub fn draw(&self) -> Result<U256, Refusal> {
        let mut word = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, bit) = match *word {
            Some((first, bit)) if bit < 256 => (first, bit),
            _ => ((U256::from_be_bytes(random_word()?.0) >> 8) << 8, 0),
        };
        *word = Some((first, bit + 1));
        Ok(first + U256::from(bit))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nonces_share_words_and_two_wallets_share_none() {
        let (one, other) = (Word::default(), Word::default());
        let draw = |word: &Word| -> Vec<U256> { (0..300).map(|_| word.draw().unwrap()).collect() };
        let (ours, theirs) = (draw(&one), draw(&other));
        let words = |nonces: &[U256]| nonces.iter().map(|n| *n >> 8).collect::<HashSet<U256>>();
        assert_eq!(ours.iter().collect::<HashSet<_>>().len(), 300);
        assert_eq!((words(&ours).len(), words(&theirs).len()), (2, 2));
        assert!(words(&ours).is_disjoint(&words(&theirs)));
    }
}
