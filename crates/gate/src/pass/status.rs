//! `GET /settlements/{id}`: what became of a payment.

use http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use tollway_core::GrantId;
use tollway_ledger::{GrantRecord, GrantState, LedgerError};

use crate::answer;
use crate::body::{self, Body};
use crate::gate::Inner;

/// Longest name of a grant.
const MAX_ID_BYTES: usize = 64;

/// Tells of the grant of this name. Names are random: who knows one bought it.
pub(crate) async fn settlement(gate: &Inner, id: &str) -> Response<Body> {
    let grant = if id.len() <= MAX_ID_BYTES && id.starts_with("grt_") {
        gate.grants.grant_by_id(&GrantId::from_text(id)).await
    } else {
        Ok(None)
    };
    let told = match gate.noted(grant) {
        Ok(Some(grant)) => told(gate, &grant).await,
        Ok(None) => {
            return answer::problem(
                StatusCode::NOT_FOUND,
                "not_found",
                "There is no such settlement; ask with the id that the answer to the payment named.",
            );
        }
        Err(error) => Err(error),
    };
    match told {
        Ok(text) => {
            let mut response = Response::new(body::full(text.to_string()));
            let headers = response.headers_mut();
            let json = HeaderValue::from_static("application/json");
            headers.insert(http::header::CONTENT_TYPE, json);
            let fresh = HeaderValue::from_static("no-store");
            headers.insert(http::header::CACHE_CONTROL, fresh);
            response
        }
        Err(_) => answer::unavailable(
            tollway_core::codes::LEDGER_UNAVAILABLE,
            "The record cannot be read now; ask again later.",
        ),
    }
}

async fn told(gate: &Inner, grant: &GrantRecord) -> Result<serde_json::Value, LedgerError> {
    let status = match grant.state {
        GrantState::Released => "settled",
        GrantState::Refused => "failed",
        _ => "pending",
    };
    let receipt = grant.receipt.as_ref();
    let mut transaction = receipt
        .and_then(|r| r.get("transaction")?.as_str())
        .map(str::to_owned)
        .filter(|t| !t.is_empty());
    if transaction.is_none()
        && let Some(engine) = &gate.settlements
    {
        let identity = &grant.grant.identity;
        let payment = gate.noted(engine.store.payment_by_identity(identity).await)?;
        transaction = payment.and_then(|p| p.transaction).map(|t| t.to_string());
    }
    let meter = gate.noted(gate.grants.meter_of(&grant.id).await)?;
    let refusal = grant.refusal.as_ref();
    Ok(json!({
        "id": grant.id,
        "status": status,
        "transaction": transaction,
        "network": grant.grant.identity.network,
        "payer": grant.grant.identity.payer,
        "asset": grant.grant.expected.asset,
        "amount": grant.grant.expected.amount.to_string(),
        "maximum": meter.map(|meter| meter.permitted),
        "errorReason": refusal.map(|(code, _)| code),
        "errorMessage": refusal.map(|(_, message)| message),
    }))
}
