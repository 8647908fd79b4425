//! Refusals in the table's words.

use tollway_core::{Refusal, codes};

/// The code's own sentence, and what to do.
pub(crate) fn refuse(code: &'static str, remedy: &str) -> Refusal {
    let sentence = codes::sentence(code).unwrap_or("The payment is refused.");
    let sentence = sentence.trim_end_matches('.');
    Refusal::new(code, format!("{sentence}; {remedy}."))
}
