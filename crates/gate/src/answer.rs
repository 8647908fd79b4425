//! Answers that a gate gives by itself, other than its terms.

pub(crate) mod grpc;

use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use tollway_core::wire::{SettleResponse, Version};
use tollway_core::{Refusal, codes, header};

use crate::body::{self, Body};

/// When to ask again about a settlement whose outcome is unknown.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// When to show a transaction again that is in no block yet.
const SHOW_AGAIN: Duration = Duration::from_secs(1);

/// What an answer says, beside its body, for those who read no JSON.
#[derive(Clone, Debug)]
pub(crate) struct Sentence(pub String);

/// `{"error": code, "message": sentence}`, never cached.
pub(crate) fn problem(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let text = json!({ "error": code, "message": message }).to_string();
    let mut response = Response::new(body::full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .extensions_mut()
        .insert(Sentence(message.to_owned()));
    response
}

/// [`problem`] from a refusal; its detail stays in the log.
pub(crate) fn refusal(status: StatusCode, refusal: &Refusal) -> Response<Body> {
    if let Some(detail) = refusal.detail() {
        tracing::debug!(code = refusal.code(), detail, "refused");
    }
    problem(status, refusal.code(), refusal.message())
}

/// Asks to come back.
pub(crate) fn with_retry_after(mut response: Response<Body>, after: Duration) -> Response<Body> {
    let seconds = HeaderValue::from(after.as_secs().max(1));
    response.headers_mut().insert(RETRY_AFTER, seconds);
    response
}

/// Something on our side cannot work now: 503, and nothing happened.
pub(crate) fn unavailable(code: &str, message: &str) -> Response<Body> {
    with_retry_after(
        problem(StatusCode::SERVICE_UNAVAILABLE, code, message),
        ASK_AGAIN,
    )
}

/// Tells what became of a payment, in the version that it came in.
pub(crate) fn with_receipt(
    mut response: Response<Body>,
    version: Version,
    receipt: &SettleResponse,
) -> Response<Body> {
    let (name, value) = header::response(version, receipt);
    response.headers_mut().insert(name, value);
    response
}

/// The outcome is unknown. With a hash: 402 without terms, so that nobody pays
/// again. Before there is one: 503, to be repeated with the same payment.
pub(crate) fn pending(version: Version, receipt: &SettleResponse) -> Response<Body> {
    if receipt.transaction.is_empty() {
        return unavailable(
            codes::PAYMENT_IN_PROGRESS,
            "What became of the payment is not known yet; ask again with the same payment, do not sign another.",
        );
    }
    let answer = problem(
        StatusCode::PAYMENT_REQUIRED,
        codes::SETTLEMENT_PENDING,
        "The payment was sent and its outcome is not known yet; ask again with the same payment, do not sign another.",
    );
    with_receipt(with_retry_after(answer, ASK_AGAIN), version, receipt)
}

/// A transaction that was shown is good and early: no terms, so that nobody pays
/// again. The same proof is shown again a little later.
pub(crate) fn early(
    version: Version,
    receipt: SettleResponse,
    refusal: &Refusal,
) -> Response<Body> {
    let message = "The transaction is in no block yet, or does not lie deep enough; show the same proof again, do not pay again.";
    let receipt = SettleResponse {
        success: false,
        error_reason: Some(refusal.code().to_owned()),
        error_message: Some(message.to_owned()),
        ..receipt
    };
    let answer = problem(StatusCode::PAYMENT_REQUIRED, refusal.code(), message);
    with_receipt(with_retry_after(answer, SHOW_AGAIN), version, &receipt)
}

/// A transaction was shown that cannot buy this any more, or not here: no terms,
/// since whoever shows one has paid.
pub(crate) fn late(version: Version, receipt: SettleResponse, refusal: &Refusal) -> Response<Body> {
    let receipt = SettleResponse {
        success: false,
        error_reason: Some(refusal.code().to_owned()),
        error_message: Some(refusal.message().to_owned()),
        ..receipt
    };
    let answer = problem(
        StatusCode::PAYMENT_REQUIRED,
        refusal.code(),
        refusal.message(),
    );
    with_receipt(answer, version, &receipt)
}

/// The authorization was used before, and the content went to who used it: no
/// terms, so that nobody pays twice for one purchase.
pub(crate) fn duplicate(version: Version, receipt: &SettleResponse) -> Response<Body> {
    let answer = problem(
        StatusCode::PAYMENT_REQUIRED,
        codes::DUPLICATE_SETTLEMENT,
        "This payment was used before and buys nothing more; ask without payment for new terms.",
    );
    with_receipt(answer, version, receipt)
}
