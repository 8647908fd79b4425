//! Sending, and what nodes say to it.

use alloy_primitives::{B256, hex};
use tollway_core::{Broadcast, ChainError, Raw, mistake};
use tollway_rpc::{NotTaken, RpcError, Spread};

use super::EvmChain;
use tollway_rpc::ask::unavailable;

impl EvmChain {
    pub(super) async fn send_raw(&self, raw: &Raw) -> Result<Broadcast, ChainError> {
        let text = hex::encode_prefixed(&raw.bytes);
        // Whoever took it before may have lost it: the second time all hear it.
        let spread = match self.follower.sending(&raw.hash) {
            true => Spread::One,
            false => Spread::All,
        };
        let taken = |error: &RpcError| meant(error) == Some(Broadcast::Accepted);
        let method = "eth_sendRawTransaction";
        let answer = self.rpc.submit::<B256>(method, [text], spread, taken).await;
        match answer {
            Ok(None) => Ok(Broadcast::Accepted),
            Ok(Some(hash)) if format!("{hash:#x}") == raw.hash.as_str() => Ok(Broadcast::Accepted),
            Ok(Some(hash)) => Err(ChainError::unavailable(format!(
                "the node took {} and named it {hash:#x}",
                raw.hash
            ))),
            Err(NotTaken {
                error,
                perhaps_taken,
            }) => match meant(&error) {
                Some(Broadcast::NonceUsed) => {
                    self.follower.doubt(&raw.hash);
                    Ok(Broadcast::NonceUsed)
                }
                Some(meaning) if !perhaps_taken => Ok(meaning),
                _ => Err(unavailable(method)(error)),
            },
        }
    }
}

/// What a node's refusal of a transaction means, if that is known.
pub(crate) fn meant(error: &RpcError) -> Option<Broadcast> {
    match error {
        RpcError::Rpc { message, .. } => meaning(message),
        _ => None,
    }
}

/// What a node's words mean (geth, reth, erigon, nethermind, besu, anvil,
/// Cosmos chains). Words that are not known mean that nothing is known.
fn meaning(message: &str) -> Option<Broadcast> {
    let words = message.to_ascii_lowercase();
    let says = |any: &[&str]| any.iter().any(|w| words.contains(w));
    if says(&[
        "already known",
        "known transaction",
        "already imported",
        "already exists in cache",
        "already in mempool",
        "alreadyknown",
        "already in the pool",
    ]) {
        return Some(Broadcast::Accepted);
    }
    if says(&[
        "nonce too low",
        "nonce is too low",
        "oldnonce",
        "nonce_too_low",
        "nonce_expired",
    ]) {
        if mistake::is("nonce_too_low_is_failure") {
            return Some(Broadcast::Rejected(words));
        }
        return Some(Broadcast::NonceUsed);
    }
    if says(&[
        "underpriced",
        "replacement fee too low",
        "could not replace existing",
    ]) {
        return Some(Broadcast::Underpriced);
    }
    if says(&[
        "nonce too high",
        "nonce is too high",
        "nonce gap",
        "gapped",
        "nonce_too_high",
    ]) {
        return Some(Broadcast::NonceTooHigh);
    }
    let rejected = says(&[
        "insufficient funds",
        "insufficient balance",
        "intrinsic gas",
        "gas limit",
        "fee cap",
        "less than block base fee",
        "max fee per gas",
        "exceeds the configured cap",
        "invalid chain",
        "chain id",
        "chainid",
        "invalid sender",
        "invalid signature",
        "transaction type not supported",
        "oversized data",
    ]);
    rejected.then(|| Broadcast::Rejected(message.chars().take(200).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_nodes_are_understood_and_unknown_words_decide_nothing() {
        for (words, expected) in [
            ("already known", Broadcast::Accepted),
            ("tx already exists in cache", Broadcast::Accepted),
            (
                "nonce too low: next nonce 5, tx nonce 4",
                Broadcast::NonceUsed,
            ),
            (
                "replacement transaction underpriced",
                Broadcast::Underpriced,
            ),
            (
                "transaction underpriced: tip needed 1",
                Broadcast::Underpriced,
            ),
            ("nonce too high: tx 7, state 5", Broadcast::NonceTooHigh),
        ] {
            assert_eq!(meaning(words), Some(expected), "{words}");
        }
        for words in [
            "insufficient funds for gas * price + value: balance 0",
            "intrinsic gas too low",
            "max fee per gas less than block base fee",
        ] {
            assert!(
                matches!(meaning(words), Some(Broadcast::Rejected(_))),
                "{words}"
            );
        }
        for words in ["internal error", "txpool is full", "timeout"] {
            assert_eq!(meaning(words), None, "{words}");
        }
    }
}
