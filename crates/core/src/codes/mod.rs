//! Every stable error code, with what it means.
//!
//! Codes are tokens for machines: they never change and never carry text. Where
//! x402 has a code, it is spelled as the official SDKs emit it; the rest are our
//! own, in the same `snake_case`. Code, documentation and tests use this table.

/// Declares constants and the table of a group, so that none can be in one only.
macro_rules! codes {
    ($($name:ident = $code:literal : $sentence:literal,)*) => {
        $(#[doc = $sentence] pub const $name: &str = $code;)*

        /// The group's codes, each with one sentence.
        pub(super) const TABLE: &[(&str, &str)] = &[$(($code, $sentence)),*];
    };
}

mod batch_settlement_evm;
mod erc7710;
mod evm_own;
mod exact_evm;
mod exact_starknet;
mod exact_svm;
mod facilitator;
mod gas_sponsoring;
mod gate;
mod payer;
mod permission;
mod permit2;
mod session;
mod shared;
mod siwx;
mod upto_evm;

pub use batch_settlement_evm::*;
pub use erc7710::*;
pub use evm_own::*;
pub use exact_evm::*;
pub use exact_starknet::*;
pub use exact_svm::*;
pub use facilitator::*;
pub use gas_sponsoring::*;
pub use gate::*;
pub use payer::*;
pub use permission::*;
pub use permit2::*;
pub use session::*;
pub use shared::*;
pub use siwx::*;
pub use upto_evm::*;

/// The groups in the order in which documentation shows them.
const GROUPS: &[(&str, &[(&str, &str)])] = &[
    ("Shared by all schemes (x402 v2 §9)", shared::TABLE),
    ("Scheme `exact` on EVM networks", exact_evm::TABLE),
    ("Permit2, for schemes `exact` and `upto`", permit2::TABLE),
    ("Gas sponsoring extensions", gas_sponsoring::TABLE),
    (
        "Scheme `upto` on EVM networks, besides Permit2's codes",
        upto_evm::TABLE,
    ),
    (
        "Scheme `batch-settlement` on EVM networks",
        batch_settlement_evm::TABLE,
    ),
    (
        "Our own: EIP-2612 permits and transaction proofs on EVM networks",
        evm_own::TABLE,
    ),
    (
        "Our own: payments by delegations (ERC-7710)",
        erc7710::TABLE,
    ),
    ("Scheme `exact` on Starknet networks", exact_starknet::TABLE),
    (
        "Scheme `exact` on Solana networks; answered by others only",
        exact_svm::TABLE,
    ),
    ("Our own: session keys on Starknet", session::TABLE),
    ("Sign-in with a wallet", siwx::TABLE),
    ("Our own: what the seller's side answers", gate::TABLE),
    (
        "Our own: what the engine and the facilitator's API answer",
        facilitator::TABLE,
    ),
    ("Our own: what the buyer's side answers", payer::TABLE),
    (
        "Our own: permissions that a wallet grants",
        permission::TABLE,
    ),
];

const COUNT: usize = {
    let (mut count, mut group) = (0, 0);
    while group < GROUPS.len() {
        count += GROUPS[group].1.len();
        group += 1;
    }
    count
};

static FLAT: [(&str, &str); COUNT] = {
    let mut flat = [("", ""); COUNT];
    let (mut at, mut group) = (0, 0);
    while group < GROUPS.len() {
        let (table, mut row) = (GROUPS[group].1, 0);
        while row < table.len() {
            flat[at] = table[row];
            at += 1;
            row += 1;
        }
        group += 1;
    }
    flat
};

/// All codes, each with one sentence.
pub static ALL: &[(&str, &str)] = &FLAT;

/// All codes by group: a heading, and its codes with their sentences.
#[must_use]
pub fn groups() -> &'static [(&'static str, &'static [(&'static str, &'static str)])] {
    GROUPS
}

/// What a code means, if it is in the table.
#[must_use]
pub fn sentence(code: &str) -> Option<&'static str> {
    ALL.iter().find(|(c, _)| *c == code).map(|(_, s)| *s)
}

/// Whether a code says that a transaction proof is good and early: the same one is
/// shown again a little later, and nothing else is paid.
#[must_use]
pub fn is_early_proof(code: &str) -> bool {
    [
        INVALID_EXACT_EVM_TXID_NOT_FOUND,
        INVALID_EXACT_EVM_TXID_NOT_FINAL,
    ]
    .contains(&code)
}

/// Whether a code says that a transaction was shown outside of its time: whoever
/// shows one has paid, so nothing else is asked of it.
#[must_use]
pub fn is_late_proof(code: &str) -> bool {
    [
        INVALID_EXACT_EVM_TXID_REFERENCE,
        INVALID_EXACT_EVM_TXID_TOO_OLD,
    ]
    .contains(&code)
}

/// The spelling that SDKs emit for a code that the specification spells
/// otherwise; any other code is given back as it is.
///
/// Version 1 and the specification's list differ from what is deployed; both are
/// understood, one is emitted (x402 v2 §9).
#[must_use]
pub fn normalize(code: &str) -> &str {
    match code {
        "invalid_exact_evm_payload_signature" => INVALID_EXACT_EVM_SIGNATURE,
        "invalid_exact_evm_payload_recipient_mismatch" => INVALID_EXACT_EVM_RECIPIENT_MISMATCH,
        "invalid_exact_evm_payload_authorization_value" => {
            INVALID_EXACT_EVM_PAYLOAD_AUTHORIZATION_VALUE_MISMATCH
        }
        "Payment required" => PAYMENT_REQUIRED,
        "No matching payment requirements" => NO_MATCHING_PAYMENT_REQUIREMENTS,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_there_once_in_snake_case_with_a_sentence() {
        let mut seen = HashSet::new();
        for (code, sentence) in ALL {
            assert!(seen.insert(code), "{code} twice");
            assert!(
                code.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            assert!(sentence.ends_with('.') && sentence.len() > 15, "{code}");
        }
        assert_eq!(
            ALL.len(),
            groups().iter().map(|(_, t)| t.len()).sum::<usize>()
        );
    }

    #[test]
    fn both_spellings_of_a_code_are_understood() {
        assert_eq!(
            normalize("invalid_exact_evm_payload_signature"),
            INVALID_EXACT_EVM_SIGNATURE
        );
        assert_eq!(normalize("something_else"), "something_else");
        assert!(sentence(SETTLEMENT_PENDING).is_some());
        assert_eq!(sentence("something_else"), None);
    }
}
