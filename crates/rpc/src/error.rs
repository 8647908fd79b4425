//! What a call can end with instead of a result.

use serde_json::Value;

/// Why a call gave no result. Hosts are named, URLs are not.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RpcError {
    /// The connection failed or broke: nothing is known about the call.
    #[error("{host} cannot be reached: {detail}")]
    Transport {
        /// Host and port.
        host: String,
        /// What failed, without the URL.
        detail: String,
    },
    /// The node did not answer in time: nothing is known about the call.
    #[error("{host} did not answer in time")]
    Timeout {
        /// Host and port.
        host: String,
    },
    /// The node, or something before it, answered with an HTTP error.
    #[error("{host} answered HTTP {status}")]
    Http {
        /// Host and port.
        host: String,
        /// The status.
        status: u16,
    },
    /// The answer is not JSON-RPC, has another shape, or is larger than allowed.
    #[error("{host} answered something that is not JSON-RPC: {detail}")]
    NotJson {
        /// Host and port.
        host: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The node serves another network: it is not asked.
    #[error("{host} serves another network")]
    OtherNetwork {
        /// Host and port.
        host: String,
    },
    /// The node understood the call and refused it.
    #[error("{message} (code {code})")]
    Rpc {
        /// JSON-RPC error code.
        code: i64,
        /// The node's words: for the log, and for telling refusals apart.
        message: String,
        /// Such as the bytes that a contract reverted with.
        data: Option<Value>,
    },
}

impl RpcError {
    /// Whether the same call may succeed later or at another node: everything
    /// but a considered refusal.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Transport { .. }
            | Self::Timeout { .. }
            | Self::NotJson { .. }
            | Self::OtherNetwork { .. } => true,
            Self::Http { status, .. } => *status == 429 || *status >= 500 || *status == 408,
            Self::Rpc { code, .. } => is_overload(*code),
        }
    }

    /// Whether the node answered the call itself, with a refusal.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Rpc { .. })
    }

    /// Whether another node should be asked: this one did not deal with the call.
    pub(crate) fn is_for_another_node(&self) -> bool {
        match self {
            Self::Rpc { code, .. } => is_overload(*code),
            _ => true,
        }
    }
}

impl RpcError {
    /// Whether the call certainly reached nobody who acts on it.
    pub(crate) const fn was_not_taken(&self) -> bool {
        match self {
            Self::OtherNetwork { .. } | Self::Rpc { .. } => true,
            Self::Http { status, .. } => *status == 429,
            _ => false,
        }
    }
}

/// Limits and "try again" in the codes of common nodes and providers.
const fn is_overload(code: i64) -> bool {
    matches!(code, 429 | -32005 | -32016 | -32097)
}
