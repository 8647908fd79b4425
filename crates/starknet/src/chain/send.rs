//! Sending, and what nodes say to it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::json;
use tollway_core::{Broadcast, ChainError, Raw, TxHash};
use tollway_rpc::ask::unavailable;
use tollway_rpc::{NotTaken, RpcError, Spread};

use super::StarknetChain;
use crate::felt;
use crate::invoke::InvokeJson;
use crate::node::{Num, code, refused_with};

/// Hashes that are remembered as sent; forgetting one costs a few requests.
const MOST_REMEMBERED: usize = 8192;

/// What was sent before by this process.
#[derive(Debug, Default)]
pub(super) struct Sent(Mutex<HashSet<TxHash>>);

impl Sent {
    /// Notes a hash; whether it is new.
    fn note(&self, hash: &TxHash) -> bool {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() >= MOST_REMEMBERED {
            sent.clear();
        }
        sent.insert(hash.clone())
    }
}

#[derive(Deserialize)]
struct Added {
    transaction_hash: Num,
}

impl StarknetChain {
    pub(super) async fn send_raw(&self, raw: &Raw) -> Result<Broadcast, ChainError> {
        let json: InvokeJson = serde_json::from_slice(&raw.bytes)
            .map_err(|e| ChainError::unavailable(format!("a stored transaction: {e}")))?;
        let method = "starknet_addInvokeTransaction";
        // Whoever took it before may have lost it: the second time all hear it.
        let spread = match self.sent.note(&raw.hash) {
            true => Spread::One,
            false => Spread::All,
        };
        let taken = |error: &RpcError| refused_with(error) == Some(code::DUPLICATE);
        let params = json!({ "invoke_transaction": json });
        let answer = self
            .rpc
            .submit::<Added>(method, params, spread, taken)
            .await;
        match answer {
            Ok(None) => Ok(Broadcast::Accepted),
            Ok(Some(added)) if felt::text(&added.transaction_hash.0) == raw.hash.as_str() => {
                Ok(Broadcast::Accepted)
            }
            Ok(Some(added)) => Err(ChainError::unavailable(format!(
                "the node took {} and named it {}",
                raw.hash,
                felt::text(&added.transaction_hash.0)
            ))),
            Err(NotTaken { error, .. }) if refused_with(&error) == Some(code::INVALID_NONCE) => {
                self.nonce_fault(&json).await
            }
            Err(NotTaken {
                error,
                perhaps_taken: false,
            }) => meaning(&error).ok_or_else(|| unavailable(method)(error)),
            Err(NotTaken { error, .. }) => Err(unavailable(method)(error)),
        }
    }

    /// Nodes word it differently; the chain says which way the nonce is wrong.
    async fn nonce_fault(&self, json: &InvokeJson) -> Result<Broadcast, ChainError> {
        let terms = json.terms().zip(json.sender());
        let Some(((nonce, ..), sender)) = terms else {
            return Err(ChainError::unavailable("a stored transaction's numbers"));
        };
        match self.nonce_of(&sender).await? > nonce {
            true => Ok(Broadcast::NonceUsed),
            false => Ok(Broadcast::NonceTooHigh),
        }
    }
}

/// What a considered refusal means; codes that are not known mean that nothing
/// is known.
fn meaning(error: &RpcError) -> Option<Broadcast> {
    match refused_with(error)? {
        code::UNDERPRICED => Some(Broadcast::Underpriced),
        code::RESOURCES
        | code::BALANCE
        | code::VALIDATION
        | code::NON_ACCOUNT
        | code::VERSION
        | code::FEE_TOO_LOW => Some(Broadcast::Rejected(error.to_string())),
        _ => None,
    }
}
