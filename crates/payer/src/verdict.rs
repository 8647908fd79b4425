//! What an answer to a payment means.
//!
//! | status | receipt | meaning |
//! |---|---|---|
//! | 200 to 299 | success | delivered and paid |
//! | 200 to 299 | none, metered (`upto`, and the answer names its settlement) | delivered, settled when it ends |
//! | 200 to 299 | none, unreadable, another's, failure | delivered, payment not known |
//! | others | success, or `duplicate_settlement` with its hash | paid, not delivered |
//! | any | `settlement_pending`, or another duplicate | unclear |
//! | 402 | failure, or none with terms | refused (a proof that is early: unclear) |
//! | 412 | failure or none | refused: Permit2 may not move the asset |
//! | 402 | none, without terms | unclear |
//! | 300 to 399, 408, 425, 429, 500 and above, or no answer | none or failure | unclear |
//! | other 400s | none or failure | refused |
//!
//! Unclear answers are asked about with the same payment again. None of the
//! meanings ever leads to another signature.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use tollway_core::header::required;
use tollway_core::{Amount, Scheme, Terms, TxHash, codes};

use crate::code;
use crate::error::shown;
use crate::receipt::Claim;

/// What an answer to a payment means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The goods are here, and the server says that the money moved.
    Delivered {
        amount: Amount,
        transaction: Option<TxHash>,
    },
    /// The goods are here, and nobody says (credibly) that the money moved.
    Unproven(String),
    /// The goods stream, and what they come to is settled when that ends.
    Metered,
    /// The money moved, and this is not the goods.
    NotDelivered {
        amount: Option<Amount>,
        transaction: Option<TxHash>,
        reason: Reason,
    },
    /// The server will not take the payment.
    Refused(Reason),
    /// Ask again with the same payment.
    Unclear {
        reason: Reason,
        transaction: Option<TxHash>,
    },
}

/// A code and a sentence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reason {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Reason {
    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }
}

/// Whether an answer is charged by what it streams: it names the settlement that
/// follows instead of a receipt.
pub(crate) fn is_metered(
    status: StatusCode,
    headers: &HeaderMap,
    terms: &Terms,
    claim: &Claim,
) -> bool {
    status.is_success()
        && terms.scheme == Scheme::Upto
        && *claim == Claim::Silent
        && headers.contains_key(SETTLEMENT)
}

/// The header in which a metered answer names its settlement.
const SETTLEMENT: &str = "tollway-payment";

/// Judges the head of an answer, and its body where it is not the goods.
pub(crate) fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    body: &Bytes,
    claim: Claim,
) -> Verdict {
    let said = |message: Option<String>| {
        message
            .filter(|m| !m.is_empty())
            .unwrap_or_else(|| format!("The server answered {status}."))
    };
    match claim {
        Claim::Failed {
            code,
            message,
            transaction,
        } if is_pending(&code, transaction.as_ref()) => Verdict::Unclear {
            reason: Reason::new(code, said(message)),
            transaction,
        },
        claim if status.is_success() => goods(claim),
        Claim::Settled {
            amount,
            transaction,
        } => Verdict::NotDelivered {
            amount: Some(amount),
            transaction,
            reason: Reason::new(code::PAID_NOT_DELIVERED, said(None)),
        },
        Claim::Failed {
            code,
            message,
            transaction,
        } if code == DUPLICATE => Verdict::NotDelivered {
            amount: None,
            transaction,
            reason: Reason::new(code, said(message)),
        },
        Claim::Failed {
            code,
            message,
            transaction,
        } if is_unclear(status) => Verdict::Unclear {
            reason: Reason::new(code, said(message)),
            transaction,
        },
        Claim::Failed { code, message, .. } => Verdict::Refused(Reason::new(code, said(message))),
        Claim::Silent | Claim::Unfit(_) if is_unclear(status) => unclear(said(None)),
        Claim::Silent | Claim::Unfit(_) if status == StatusCode::PAYMENT_REQUIRED => {
            match repeated_terms(headers, body) {
                Some(reason) if is_pending(&reason.code, None) => Verdict::Unclear {
                    reason,
                    transaction: None,
                },
                Some(reason) => Verdict::Refused(reason),
                None => unclear(said(None)),
            }
        }
        // x402 uses this status for nothing else.
        Claim::Silent | Claim::Unfit(_) if status == StatusCode::PRECONDITION_FAILED => {
            Verdict::Refused(Reason::new(codes::PERMIT2_ALLOWANCE_REQUIRED, said(None)))
        }
        Claim::Silent | Claim::Unfit(_) => {
            Verdict::Refused(Reason::new(code::PAYMENT_REFUSED, said(None)))
        }
    }
}

const DUPLICATE: &str = "duplicate_settlement";

/// A settlement that was sent and not seen; also a repeat that runs into the
/// first settlement of its own payment, which names no transaction yet.
fn is_pending(code: &str, transaction: Option<&TxHash>) -> bool {
    let waits = [codes::SETTLEMENT_PENDING, "payment_in_progress"];
    waits.contains(&code)
        || codes::is_early_proof(code)
        || (code == DUPLICATE && transaction.is_none())
}

fn goods(claim: Claim) -> Verdict {
    match claim {
        Claim::Settled {
            amount,
            transaction,
        } => Verdict::Delivered {
            amount,
            transaction,
        },
        Claim::Silent => Verdict::Unproven("the server sent no receipt".to_owned()),
        Claim::Unfit(why) => Verdict::Unproven(why),
        Claim::Failed { code, .. } => {
            Verdict::Unproven(format!("the server says that the payment failed ({code})"))
        }
    }
}

/// Answers that say nothing about the payment. A redirect is one of them: the
/// payment is for this URL, and goes nowhere else.
fn is_unclear(status: StatusCode) -> bool {
    let neither = status.is_informational() || status.is_redirection();
    neither || status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

fn unclear(message: String) -> Verdict {
    Verdict::Unclear {
        reason: Reason::new(code::PAYMENT_OUTCOME_UNKNOWN, message),
        transaction: None,
    }
}

/// Terms after a payment are a refusal; they are never paid.
fn repeated_terms(headers: &HeaderMap, body: &Bytes) -> Option<Reason> {
    let terms = required(headers, body).ok()?.terms;
    let why = terms.error.as_deref().map(shown).unwrap_or_default();
    let known = codes::sentence(&why).is_some();
    Some(Reason::new(
        if known { &why } else { code::PAYMENT_REFUSED },
        format!("The server asks for payment again: {why}."),
    ))
}

/// How long the server asks to wait, in seconds; dates are not read.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
