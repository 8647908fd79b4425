//! What a server says became of a payment, compared with what was signed.

use http::HeaderMap;
use tollway_core::wire::SettleResponse;
use tollway_core::{Amount, Scheme, Terms, TxHash, header};

use crate::error::shown;
use crate::offer::transaction;

/// What an answer says about the money.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Claim {
    /// Nothing.
    Silent,
    /// Something that cannot be read, or that does not fit what was signed.
    Unfit(String),
    /// It moved.
    Settled {
        amount: Amount,
        transaction: Option<TxHash>,
    },
    /// It did not, or not yet; the code says which.
    Failed {
        code: String,
        message: Option<String>,
        transaction: Option<TxHash>,
    },
}

/// Reads and compares. `terms` are those that were signed for, `payer` is who signed.
pub(crate) fn claim(headers: &HeaderMap, terms: &Terms, payer: &str) -> Claim {
    match header::receipt(headers) {
        Ok(None) => Claim::Silent,
        Ok(Some(response)) => compare(&response, terms, payer),
        Err(refusal) => Claim::Unfit(format!("its receipt cannot be read ({})", refusal.code())),
    }
}

fn compare(response: &SettleResponse, terms: &Terms, payer: &str) -> Claim {
    let transaction = transaction(&terms.network, &response.transaction);
    if !response.success {
        return Claim::Failed {
            code: stable(response.error_reason.as_deref()),
            message: response.error_message.as_deref().map(shown),
            transaction,
        };
    }
    match difference(response, terms, payer) {
        Some(what) => Claim::Unfit(format!("its receipt names another {what} than was signed")),
        None => settled(response, terms, transaction),
    }
}

/// What the receipt states otherwise than it was signed.
fn difference(response: &SettleResponse, terms: &Terms, payer: &str) -> Option<&'static str> {
    let network = response.network.as_str();
    if !network.is_empty() && network != terms.network.as_str() {
        return Some("network");
    }
    let account = |text: &str| terms.network.address(text).ok();
    let other_payer = response
        .payer
        .as_deref()
        .filter(|text| !text.is_empty())
        .is_some_and(|text| account(text).is_none_or(|a| a.as_str() != payer));
    other_payer.then_some("payer")
}

fn settled(response: &SettleResponse, terms: &Terms, transaction: Option<TxHash>) -> Claim {
    let stated: Option<Result<Amount, _>> = response.amount.as_deref().map(str::parse);
    let amount = match (terms.scheme, stated) {
        (Scheme::Exact, None) => terms.amount,
        (Scheme::Exact, Some(Ok(amount))) if amount == terms.amount => amount,
        (Scheme::Upto | Scheme::BatchSettlement, Some(Ok(amount))) if amount <= terms.amount => {
            amount
        }
        // Metered use that does not say what it cost is taken to have cost all.
        (Scheme::Upto | Scheme::BatchSettlement, None) => terms.amount,
        _ => return Claim::Unfit("its receipt names another amount than was signed".to_owned()),
    };
    let needs_transaction = terms.scheme == Scheme::Exact;
    if needs_transaction && transaction.is_none() {
        return Claim::Unfit("its receipt names no transaction".to_owned());
    }
    Claim::Settled {
        amount,
        transaction,
    }
}

/// A code that is one: servers put anything there.
fn stable(code: Option<&str>) -> String {
    let fits = |c: &&str| {
        (1..=100).contains(&c.len())
            && c.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    code.filter(fits)
        .unwrap_or(crate::code::PAYMENT_REFUSED)
        .to_owned()
}
