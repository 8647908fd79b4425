//! A refusal: a code for machines, a sentence for people, a detail for the log.

use std::borrow::Cow;
use std::fmt;

use crate::codes;

/// Most bytes of a code that somebody else chose.
const LONGEST_CODE: usize = 64;

/// Why something was refused, in three layers.
///
/// `code` is stable and in the spelling that official SDKs emit
/// (`invalid_exact_evm_signature`); `message` is a sentence that ends with what
/// to do; `detail` is for the log only and never crosses the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: Cow<'static, str>,
    message: String,
    detail: Option<String>,
}

impl Refusal {
    /// A refusal with one of our codes.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: Cow::Borrowed(code),
            message: message.into(),
            detail: None,
        }
    }

    /// A refusal with a code that somebody else chose (a remote facilitator, the
    /// ledger). What cannot be a code becomes [`codes::UNREADABLE_CODE`], since codes are
    /// indexed and counted.
    #[must_use]
    pub fn foreign(code: impl Into<String>, message: impl Into<String>) -> Self {
        let code = code.into();
        if !is_code(&code) {
            let start: String = code.chars().take(LONGEST_CODE).collect();
            return Self::new(codes::UNREADABLE_CODE, message).with_detail(start);
        }
        Self {
            code: Cow::Owned(code),
            message: message.into(),
            detail: None,
        }
    }

    /// Adds what only the log may show.
    #[must_use]
    pub fn with_detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The detail for the log.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

fn is_code(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.:".contains(&b);
    (1..=LONGEST_CODE).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_code_is_not_passed_on_as_one() {
        for code in ["insufficient_funds", "Some-Vendor.code:7", &"x".repeat(64)] {
            assert_eq!(Refusal::foreign(code, "m").code(), code);
        }
        for code in ["", "two words", "line\nbreak", "é", &"x".repeat(65)] {
            let refused = Refusal::foreign(code, "m");
            assert_eq!(refused.code(), codes::UNREADABLE_CODE, "{code:?}");
            assert!(refused.detail().unwrap().len() <= 2 * LONGEST_CODE);
        }
    }
}
