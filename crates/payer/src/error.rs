//! Why a request was not paid and delivered.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tollway_core::{ChainError, Refusal, WalletError};
use tollway_ledger::LedgerError;

use crate::code;
use crate::payment::Payment;

/// How far it came, which is what a program branches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller's request cannot be sent as it is. Nothing was signed.
    Invalid,
    /// Our own policy, budget or balance stood in the way, or no offer could be
    /// read. Nothing was signed.
    Declined,
    /// The server, the wallet or the ledger could not be used. Nothing was signed.
    Failed,
    /// The server refused the payment. The authorization left: it counts
    /// against the budget until it is proved dead.
    RefusedByServer,
    /// The money moved, and the answer is not the goods. Fetching the same request
    /// again shows the same payment again for as long as it is valid.
    PaidNotDelivered,
    /// Nobody can say yet whether the money moved. Fetching the same request
    /// again shows the same payment again; a new one is never signed.
    Unknown,
}

/// What a server answered to a payment, where it was not the goods.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The first 64 KiB of the body.
    pub body: Bytes,
}

/// Why a request was not paid and delivered.
#[derive(Clone, Debug)]
pub struct PayError {
    kind: ErrorKind,
    refusal: Refusal,
    payment: Option<Box<Payment>>,
    answer: Option<Box<Answer>>,
}

impl PayError {
    pub(crate) const fn new(kind: ErrorKind, refusal: Refusal) -> Self {
        Self {
            kind,
            refusal,
            payment: None,
            answer: None,
        }
    }

    pub(crate) const fn declined(refusal: Refusal) -> Self {
        Self::new(ErrorKind::Declined, refusal)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(
            ErrorKind::Invalid,
            Refusal::new(code::INVALID_REQUEST, message),
        )
    }

    pub(crate) fn with_payment(mut self, payment: Payment) -> Self {
        self.payment = Some(Box::new(payment));
        self
    }

    pub(crate) fn with_answer(mut self, answer: Option<Answer>) -> Self {
        self.answer = answer.map(Box::new);
        self
    }

    /// How far it came.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The stable code: one of [`crate::code`], or what the server sent.
    #[must_use]
    pub fn code(&self) -> &str {
        self.refusal.code()
    }

    /// The sentence for people; it ends with what to do.
    #[must_use]
    pub fn message(&self) -> &str {
        self.refusal.message()
    }

    /// The detail for the log.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.refusal.detail()
    }

    /// The payment, where one was signed.
    #[must_use]
    pub fn payment(&self) -> Option<&Payment> {
        self.payment.as_deref()
    }

    /// What the server answered to it, where it answered.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        self.answer.as_deref()
    }
}

impl fmt::Display for PayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.refusal, f)
    }
}

impl std::error::Error for PayError {}

impl From<LedgerError> for PayError {
    fn from(error: LedgerError) -> Self {
        let refusal = Refusal::new(
            code::LEDGER_UNAVAILABLE,
            "The record of spending cannot be written, so nothing is signed; make room on its disk or correct its path.",
        );
        let detail = match &error {
            LedgerError::Unavailable { detail, .. }
            | LedgerError::InDoubt { detail, .. }
            | LedgerError::Fatal { detail, .. } => {
                format!("{error}: {detail}")
            }
            LedgerError::Conflict { .. }
            | LedgerError::NotFound(_)
            | LedgerError::LeaseLost { .. } => error.to_string(),
        };
        Self::new(ErrorKind::Failed, refusal.with_detail(detail))
    }
}

impl From<WalletError> for PayError {
    fn from(error: WalletError) -> Self {
        match error {
            WalletError::Refused(refusal) | WalletError::Chain(ChainError::Refused(refusal)) => {
                Self::declined(refusal)
            }
            WalletError::Chain(ChainError::Unavailable { message, detail }) => Self::new(
                ErrorKind::Failed,
                Refusal::new(code::WALLET_UNAVAILABLE, message).with_detail(detail),
            ),
        }
    }
}

/// Text from a server, fit to be shown: no control characters, not endless.
pub(crate) fn shown(text: &str) -> String {
    let clean = text
        .chars()
        .filter(|c| !c.is_control() && !is_invisible(*c));
    clean.take(200).collect::<String>().trim().to_owned()
}

/// Characters that turn the direction of text or hide in it.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
