//! The engine's answers as wire structs.

use serde_json::Value;
use tollway_core::wire::{Object, SettleResponse, VerifyResponse};
use tollway_core::{Address, Refusal, TxHash, codes, mistake};
use tollway_ledger::{PaymentRecord, PaymentState};

use super::error::EngineError;

pub(super) fn valid(payer: &Address) -> VerifyResponse {
    VerifyResponse {
        is_valid: true,
        payer: Some(payer.to_string()),
        ..VerifyResponse::default()
    }
}

pub(super) fn invalid(refusal: &Refusal, payer: Option<&Address>) -> VerifyResponse {
    log(refusal);
    VerifyResponse {
        is_valid: false,
        invalid_reason: Some(refusal.code().to_owned()),
        invalid_message: Some(refusal.message().to_owned()),
        payer: payer.map(Address::to_string),
        ..VerifyResponse::default()
    }
}

/// Refused before anything was accepted.
pub(super) fn refused(refusal: &Refusal, network: &str) -> SettleResponse {
    log(refusal);
    SettleResponse {
        error_reason: Some(refusal.code().to_owned()),
        error_message: Some(refusal.message().to_owned()),
        // What came is echoed only where it can be a name.
        network: network.chars().take(128).collect(),
        ..SettleResponse::default()
    }
}

fn log(refusal: &Refusal) {
    tracing::debug!(
        code = refusal.code(),
        detail = refusal.detail(),
        "a payment was refused"
    );
}

/// What every answer about a record says.
fn about(record: &PaymentRecord) -> SettleResponse {
    let mut extra = Object::new();
    extra.insert(
        "settlementId".to_owned(),
        Value::String(record.id.as_str().to_owned()),
    );
    SettleResponse {
        payer: Some(record.payment.identity.payer.to_string()),
        transaction: transaction(record),
        network: record.payment.identity.network.to_string(),
        extra: Some(extra),
        ..SettleResponse::default()
    }
}

/// The winning hash, or the latest that was stored, or nothing.
pub(super) fn transaction(record: &PaymentRecord) -> String {
    record
        .settled
        .as_ref()
        .map(|s| &s.transaction)
        .or(record.transaction.as_ref())
        .map(TxHash::to_string)
        .unwrap_or_default()
}

pub(super) fn success(record: &PaymentRecord) -> SettleResponse {
    let settled = record.settled.as_ref().map(|s| s.amount);
    let amount = settled.unwrap_or(record.payment.expected.amount);
    SettleResponse {
        success: true,
        amount: Some(amount.to_string()),
        ..about(record)
    }
}

pub(super) fn duplicate(record: &PaymentRecord) -> SettleResponse {
    SettleResponse {
        error_reason: Some(codes::DUPLICATE_SETTLEMENT.to_owned()),
        error_message: Some(
            "This authorization was settled or presented before; look at the named transaction, and sign a new payment for a new purchase."
                .to_owned(),
        ),
        // The name of a settlement is only for who presented it.
        extra: None,
        ..about(record)
    }
}

/// Ended otherwise than settled.
pub(super) fn failed(record: &PaymentRecord) -> SettleResponse {
    let (code, message) = match (&record.refusal, record.state) {
        (Some((code, message)), PaymentState::Refused) => (code.clone(), message.clone()),
        (_, PaymentState::Expired) => expired(),
        (Some((code, message)), _) => (code.clone(), message.clone()),
        (None, _) => (
            codes::SETTLEMENT_FAILED.to_owned(),
            "The payment was refused; sign a new one.".to_owned(),
        ),
    };
    SettleResponse {
        error_reason: Some(code),
        error_message: Some(message),
        ..about(record)
    }
}

fn expired() -> (String, String) {
    (
        codes::AUTHORIZATION_EXPIRED.to_owned(),
        "The authorization expired unused and no money moved; sign a new payment.".to_owned(),
    )
}

/// Not decided yet. Without a hash there is nothing to name: the caller hears
/// a retryable error for the same authorization.
pub(super) fn pending(
    record: &PaymentRecord,
    transaction: Option<TxHash>,
) -> Result<SettleResponse, EngineError> {
    let Some(transaction) = transaction else {
        let error = EngineError::new(
            codes::UNEXPECTED_SETTLE_ERROR,
            "The payment is taken and not sent yet; ask again for the same payment.",
        );
        return Err(error.after_accepting());
    };
    Ok(SettleResponse {
        error_reason: Some(codes::SETTLEMENT_PENDING.to_owned()),
        error_message: Some(
            "The transaction was sent and its outcome is not known yet; ask again for the same payment, never with a new signature."
                .to_owned(),
        ),
        transaction: match mistake::is("pending_without_hash") {
            true => String::new(),
            false => transaction.to_string(),
        },
        ..about(record)
    })
}
