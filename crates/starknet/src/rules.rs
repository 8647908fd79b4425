//! What can be judged without asking anybody, in the order of the scheme
//! (scheme_exact_starknet.md, "Verification"). Accounts and contracts are
//! compared as numbers.

use starknet_crypto::Felt;
use tollway_core::wire::PaymentPayload;
use tollway_core::{Amount, Phase, Refusal, Scheme, Terms, Timestamp, codes};

use crate::felt;
use crate::outside::{ANY_CALLER, OutsideExecution};
use crate::payload::SignedExecution;
use crate::refusal::refuse;
use crate::selectors::TRANSFER;

/// How much clocks may differ, and what settling needs, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margins {
    /// At most 60 by the scheme.
    pub skew: u64,
    /// At least 30 by the scheme.
    pub settle: u64,
}

impl Default for Margins {
    fn default() -> Self {
        Self {
            skew: 30,
            settle: 30,
        }
    }
}

/// The account that sends the payment, as the terms name it (`extra.feePayer`).
///
/// # Errors
/// `invalid_payment_requirements` if it is missing, zero or anybody.
pub fn fee_payer(terms: &Terms) -> Result<Felt, Refusal> {
    let named = terms.wire.extra_str("feePayer");
    let number = named.and_then(|text| felt::parse(text).ok());
    number
        .filter(|number| *number != Felt::ZERO && *number != ANY_CALLER)
        .ok_or_else(|| {
            requirements(
                "name the facilitator's account, as /supported gives it, in extra.feePayer",
            )
        })
}

fn requirements(remedy: &str) -> Refusal {
    refuse(codes::INVALID_PAYMENT_REQUIREMENTS, remedy)
}

/// Steps 1a to 1c: version, scheme, network; the accepted offer is the offer;
/// the offer can be paid at all. Gives the fee payer.
///
/// # Errors
/// `invalid_x402_version`, `invalid_scheme`, `invalid_network`,
/// `invalid_payload`, `invalid_payment_requirements`.
pub fn check_terms(
    terms: &Terms,
    payment: &PaymentPayload,
    executors: &[Felt],
    margins: Margins,
) -> Result<Felt, Refusal> {
    if payment.x402_version != 2 {
        return Err(refuse(
            codes::INVALID_X402_VERSION,
            "pay by version 2; this scheme has no other",
        ));
    }
    if terms.scheme != Scheme::Exact || payment.accepted.scheme != Scheme::Exact.as_str() {
        return Err(refuse(codes::INVALID_SCHEME, "pay by scheme exact"));
    }
    if payment.accepted.network != terms.wire.network {
        return Err(refuse(
            codes::INVALID_NETWORK,
            "pay on the network that is asked for",
        ));
    }
    if !terms.wire.is_accepted_by(&payment.accepted) {
        return Err(refuse(
            codes::INVALID_PAYLOAD,
            "accept the offer as the server made it",
        ));
    }
    check_offer(terms, executors, margins)
}

fn check_offer(terms: &Terms, executors: &[Felt], margins: Margins) -> Result<Felt, Refusal> {
    let method = terms
        .wire
        .extra
        .as_ref()
        .and_then(|extra| extra.get("assetTransferMethod"));
    if method.is_some_and(|method| !method.is_null() && method != "default") {
        return Err(requirements("leave assetTransferMethod away on Starknet"));
    }
    // A transfer of nothing is a fee for nothing, and anybody can imitate it.
    if terms.amount.is_zero() {
        return Err(requirements("ask for an amount above zero"));
    }
    let least = margins.skew.saturating_add(margins.settle);
    if terms.wire.max_timeout_seconds <= least {
        return Err(requirements(&format!(
            "give more than {least} seconds in maxTimeoutSeconds"
        )));
    }
    let payer = fee_payer(terms)?;
    if !executors.contains(&payer) {
        return Err(requirements(
            "name an account of this facilitator in extra.feePayer",
        ));
    }
    Ok(payer)
}

/// Steps 5, 6 and 8: caller, times, and exactly one transfer.
///
/// # Errors
/// The scheme's codes.
pub fn check_execution(
    signed: &SignedExecution,
    terms: &Terms,
    fee_payer: &Felt,
    now: Timestamp,
    phase: Phase,
    margins: Margins,
) -> Result<(), Refusal> {
    let execution = &signed.execution;
    if execution.caller != *fee_payer || signed.from == *fee_payer {
        return Err(refuse(
            codes::INVALID_EXACT_STARKNET_PAYLOAD_CALLER,
            "sign for extra.feePayer as the caller, from another account",
        ));
    }
    check_times(execution, terms, now, phase, margins)?;
    check_call(execution, terms)
}

fn check_times(
    execution: &OutsideExecution,
    terms: &Terms,
    now: Timestamp,
    phase: Phase,
    margins: Margins,
) -> Result<(), Refusal> {
    let now = u128::from(now.secs());
    let (skew, settle) = (u128::from(margins.skew), u128::from(margins.settle));
    let end = now + u128::from(terms.wire.max_timeout_seconds);
    if execution.execute_after >= now.saturating_sub(skew) {
        return Err(refuse(
            codes::INVALID_PAYLOAD,
            "let the execution begin in the past: set Execute After to 1",
        ));
    }
    let before = execution.execute_before;
    if phase == Phase::Verify && before < end.saturating_sub(skew) {
        return Err(expired());
    }
    if before > end + skew {
        return Err(refuse(
            codes::OUTSIDE_EXECUTION_WINDOW_EXCEEDS_MAX_TIMEOUT,
            "let it end maxTimeoutSeconds from now, and check your clock",
        ));
    }
    if before <= now + settle {
        return Err(expired());
    }
    Ok(())
}

fn expired() -> Refusal {
    refuse(
        codes::OUTSIDE_EXECUTION_EXPIRED,
        "sign again with the same nonce, to end maxTimeoutSeconds from now",
    )
}

fn check_call(execution: &OutsideExecution, terms: &Terms) -> Result<(), Refusal> {
    let [call] = execution.calls.as_slice() else {
        return Err(not_one_transfer());
    };
    if Some(call.to) != felt::of_address(&terms.asset) {
        return Err(refuse(
            codes::INVALID_EXACT_STARKNET_PAYLOAD_ASSET_MISMATCH,
            "transfer the asset that is asked for",
        ));
    }
    if call.selector != TRANSFER {
        return Err(not_one_transfer());
    }
    let [recipient, low, high] = call.calldata.as_slice() else {
        return Err(not_one_transfer());
    };
    let amount: Option<Amount> = felt::join(low, high);
    let amount = amount.ok_or_else(not_one_transfer)?;
    if Some(*recipient) != felt::of_address(&terms.pay_to) {
        return Err(refuse(
            codes::INVALID_EXACT_STARKNET_PAYLOAD_RECIPIENT_MISMATCH,
            "pay the payee that is asked for",
        ));
    }
    if amount != terms.amount {
        return Err(refuse(
            codes::INVALID_EXACT_STARKNET_PAYLOAD_AMOUNT_MISMATCH,
            "pay exactly the amount that is asked",
        ));
    }
    Ok(())
}

fn not_one_transfer() -> Refusal {
    refuse(
        codes::INVALID_PAYLOAD,
        "send exactly one call: the asset's transfer with recipient, low and high",
    )
}
