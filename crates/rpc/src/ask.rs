//! Questions of a chain family to its node: failures are what the chain traits
//! name them, with the detail for the log.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tollway_core::ChainError;

use crate::{Batch, RpcClient, RpcError};

/// The answers of a mixed batch, in its order.
pub type Answers = std::vec::IntoIter<Result<Value, RpcError>>;

/// Names a failure: the node said nothing of use about `what`.
pub fn unavailable(what: &str) -> impl Fn(RpcError) -> ChainError + '_ {
    move |error| ChainError::unavailable(format!("{what}: {error}"))
}

/// One call.
///
/// # Errors
/// [`ChainError::Unavailable`].
pub async fn ask<T: DeserializeOwned>(
    rpc: &RpcClient,
    method: &'static str,
    params: impl Serialize + Sync,
) -> Result<T, ChainError> {
    rpc.call(method, params).await.map_err(unavailable(method))
}

/// A mixed batch. [`typed`] reads its answers.
///
/// # Errors
/// [`ChainError::Unavailable`].
pub async fn ask_all(rpc: &RpcClient, batch: Batch) -> Result<Answers, ChainError> {
    rpc.batch::<Value>(batch)
        .await
        .map(Vec::into_iter)
        .map_err(unavailable("batch"))
}

/// Reads a value out of a mixed batch.
///
/// # Errors
/// [`ChainError::Unavailable`], also where the answer is missing or of another type.
pub fn typed<T: DeserializeOwned>(
    what: &str,
    answer: Option<Result<Value, RpcError>>,
) -> Result<T, ChainError> {
    let value = answer
        .ok_or_else(|| ChainError::unavailable(format!("{what}: no answer")))?
        .map_err(unavailable(what))?;
    T::deserialize(value).map_err(|e| ChainError::unavailable(format!("{what}: {e}")))
}
