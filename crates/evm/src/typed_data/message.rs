//! Messages that wallets sign as text (EIP-191, `personal_sign`).

use alloy_primitives::{B256, keccak256};

/// What is signed of a text; its prefix is no beginning of a transaction.
#[must_use]
pub fn message_digest(text: &str) -> B256 {
    let prefixed = format!("\u{19}Ethereum Signed Message:\n{}{text}", text.len());
    keccak256(prefixed)
}
