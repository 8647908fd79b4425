//! Whose words are told: what a server wrote never stands among our own.

use serde_json::{Value, json};
use tollway_core::codes;
use tollway_payer::{ErrorKind, Inspection, OfferView, PayError, Payment, RefusalView, code};

use crate::commands::pay;

/// Our own codes whose sentences quote nothing that a server wrote.
const OWN: &[&str] = &[
    code::BUDGET_EXCEEDED,
    code::INSUFFICIENT_FUNDS,
    code::INVALID_REQUEST,
    code::LEDGER_UNAVAILABLE,
    code::POLICY_AMOUNT,
    code::POLICY_HOST,
    code::POLICY_INSECURE_URL,
    code::POLICY_LIFETIME,
    code::POLICY_METHOD,
    code::POLICY_NETWORK,
    code::POLICY_PAYEE,
    code::POLICY_PAYEE_CHANGED,
    code::POLICY_PRICE_JUMP,
    code::POLICY_REDIRECT,
    code::POLICY_SCHEME,
    code::REQUEST_FAILED,
    code::WALLET_UNAVAILABLE,
    codes::SESSION_ENTRYPOINT_NOT_ALLOWED,
    codes::SESSION_EXPIRED,
    codes::SESSION_MAX_CALLS_EXCEEDED,
    codes::SESSION_NOT_REGISTERED,
    codes::SESSION_POLICY_EXCEEDED,
    codes::SESSION_REVOKED,
];

/// What a request would cost: `terms` as we understood them, and apart from them
/// what only the server says.
pub fn seen(seen: Inspection) -> Value {
    let Inspection {
        description,
        token_endpoint,
        offers,
        refusal,
        ..
    } = &seen;
    let (ours, theirs): (Vec<_>, Vec<_>) = offers.iter().partition(|offer| is_own(offer));
    let why = refusal.as_ref().filter(|why| !quotes_nothing(&why.code));
    let theirs = json!({
        "description": description,
        "token_endpoint": token_endpoint,
        "offers": theirs,
        "refusal": why.map(|why| &why.message),
    });
    let terms = Inspection {
        description: None,
        token_endpoint: None,
        offers: ours.into_iter().cloned().collect(),
        refusal: refusal.as_ref().map(in_our_words),
        ..seen
    };
    let mut terms = json!(terms);
    if let Some(terms) = terms.as_object_mut() {
        terms.remove("description");
        terms.remove("token_endpoint");
    }
    json!({"terms": terms, "from_server": theirs})
}

/// Why nothing was paid and delivered.
pub fn refused(error: &PayError, body: impl Fn(&[u8]) -> String) -> Value {
    let answer = error.answer();
    let code = own_code(error);
    let is_own = code == error.code() && quotes_nothing(code);
    let theirs = (!is_own).then(|| error.message());
    let message = if is_own { error.message() } else { says(code) };
    let (payment, reason) = payment(error.payment());
    json!({
        "outcome": pay::outcome_word(error.kind()),
        "code": code,
        "message": message,
        "payment": payment,
        "from_server": {
            "status": answer.map(|answer| answer.status.as_u16()),
            "code": (code != error.code()).then(|| error.code()),
            "message": theirs,
            "reason": reason,
            "body": answer.map(|answer| body(&answer.body)),
        },
    })
}

/// A payment, and apart from it why its outcome is not known.
pub fn payment(of: Option<&Payment>) -> (Value, Option<Value>) {
    let mut payment = json!(of);
    let reason = payment.as_object_mut().and_then(|it| it.remove("reason"));
    (payment, reason)
}

/// Whether all that an offer says is of known form, and why it is refused is ours.
fn is_own(offer: &OfferView) -> bool {
    let refusal = offer.refusal.as_ref();
    offer.is_understood && refusal.is_none_or(|why| quotes_nothing(&why.code))
}

fn quotes_nothing(code: &str) -> bool {
    OWN.contains(&code)
}

fn in_our_words(why: &RefusalView) -> RefusalView {
    match quotes_nothing(&why.code) {
        true => why.clone(),
        false => RefusalView {
            code: why.code.clone(),
            message: says(&why.code).to_owned(),
        },
    }
}

/// The code of an error, but that a server's own code becomes ours for its kind.
fn own_code(error: &PayError) -> &str {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::Declined | ErrorKind::Failed => error.code(),
        ErrorKind::RefusedByServer => code::PAYMENT_REFUSED,
        ErrorKind::PaidNotDelivered => code::PAID_NOT_DELIVERED,
        ErrorKind::Unknown => code::PAYMENT_OUTCOME_UNKNOWN,
    }
}

fn says(code: &str) -> &'static str {
    codes::sentence(code).unwrap_or("It was refused; tell the owner the code.")
}
