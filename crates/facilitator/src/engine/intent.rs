//! From wire structs to an intent with what is really charged.

use std::sync::Arc;

use tollway_core::wire::{PaymentPayload, PaymentRequirements};
use tollway_core::{Chain, Intent, Refusal, Scheme, Terms, codes};

/// Reads a payment. For `upto` the requirements name the charge and the
/// accepted entry the ceiling: the signature is checked against the ceiling,
/// whose terms are the intent's; what is expected to move is the charge.
///
/// # Errors
/// A refusal if requirements or payload are not of their method's shape, or the
/// charge is above the ceiling.
pub(super) fn read_intent(
    chain: &dyn Chain,
    payload: &Arc<PaymentPayload>,
    requirements: &Arc<PaymentRequirements>,
) -> Result<Intent, Refusal> {
    let terms = Arc::new(Terms::check(Arc::clone(requirements))?);
    if terms.scheme != Scheme::Upto || payload.accepted.amount == requirements.amount {
        return chain.inspect(payload, &terms);
    }
    let ceiling = Arc::new(Terms::check(PaymentRequirements {
        amount: payload.accepted.amount.clone(),
        ..PaymentRequirements::clone(requirements)
    })?);
    if terms.amount > ceiling.amount {
        return Err(Refusal::new(
            codes::INVALID_UPTO_EVM_PAYLOAD_SETTLEMENT_EXCEEDS_AMOUNT,
            "The charge is more than the buyer authorized; charge at most the accepted amount.",
        ));
    }
    let mut intent = chain.inspect(payload, &ceiling)?;
    // What is tried, held and looked for is the charge, and nothing is sent for nothing.
    intent.expected.amount = terms.amount;
    intent.settlement = chain.inspect(payload, &terms)?.settlement;
    Ok(intent)
}
