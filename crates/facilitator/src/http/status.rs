//! `GET /settlements/{id}` and `GET /health`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Serialize;
use tollway_core::{PaymentId, codes};
use tollway_ledger::{PaymentRecord, PaymentState};

use super::{Api, body};

/// What became of a settlement, for whoever knows its unguessable name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SettlementStatus {
    id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
    network: String,
    amount: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_reason: Option<String>,
}

pub(super) async fn settlement(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    let Ok(Path(id)) = id else {
        return unknown();
    };
    match api.engine.status(&PaymentId::from_text(id)).await {
        Ok(Some(record)) => axum::Json(status_of(&record)).into_response(),
        Ok(None) => unknown(),
        Err(error) => {
            tracing::error!(?error, "a settlement was not read");
            let answer = body::problem(
                StatusCode::SERVICE_UNAVAILABLE,
                codes::LEDGER_UNAVAILABLE,
                "The ledger cannot be read now; try again later.",
            );
            ([(header::RETRY_AFTER, "2")], answer).into_response()
        }
    }
}

fn unknown() -> Response {
    body::problem(
        StatusCode::NOT_FOUND,
        codes::PAYMENT_NOT_FOUND,
        "No settlement has this name; use extra.settlementId of an answer to /settle.",
    )
}

fn status_of(record: &PaymentRecord) -> SettlementStatus {
    let status = match record.state {
        PaymentState::Settled => "settled",
        PaymentState::Accepted | PaymentState::Submitted => "pending",
        PaymentState::Refused | PaymentState::Expired => "failed",
    };
    let expired = record.state == PaymentState::Expired;
    let settled = record.settled.as_ref();
    SettlementStatus {
        id: record.id.to_string(),
        status,
        transaction: settled
            .map(|s| &s.transaction)
            .or(record.transaction.as_ref())
            .map(ToString::to_string),
        network: record.payment.identity.network.to_string(),
        amount: settled
            .map_or(record.payment.expected.amount, |s| s.amount)
            .to_string(),
        error_reason: match &record.refusal {
            _ if expired => Some(codes::AUTHORIZATION_EXPIRED.to_owned()),
            refusal => refusal.as_ref().map(|(code, _)| code.clone()),
        },
    }
}

pub(super) async fn health(State(api): State<Api>) -> Response {
    let health = api.engine.health().await;
    let status = if health.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(health)).into_response()
}
