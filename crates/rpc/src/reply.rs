//! What came back for one call.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::RpcError;
use crate::message::Answer;
use crate::node::Node;

/// A JSON text that answers one call, perhaps with a refusal.
pub(crate) struct Reply {
    pub(crate) text: Bytes,
    /// The id that it must have, where that was not looked at yet.
    pub(crate) id: Option<u64>,
}

/// One call's own outcome; the outer error is of an answer that is none.
pub(crate) fn read<T: DeserializeOwned>(
    node: &Node,
    reply: &Reply,
) -> Result<Result<T, RpcError>, RpcError> {
    let answer = serde_json::from_slice::<Answer<T>>(&reply.text)
        .map_err(|e| node.http.unreadable(&reply.text, &e))?;
    match (reply.id, answer.id) {
        (Some(asked), Some(answered)) if asked != answered => {
            Err(node.http.not_json_rpc(&reply.text))
        }
        // A result without an id may be of anybody's call.
        (Some(_), None) if answer.outcome.is_ok() => Err(node.http.not_json_rpc(&reply.text)),
        _ => Ok(answer.outcome),
    }
}
