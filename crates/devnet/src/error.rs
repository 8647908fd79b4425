//! The one error of the chain: a JSON-RPC error object, worded as geth words it,
//! because clients tell failures apart by code and message.

use alloy_primitives::{Bytes, U256, hex};

/// A JSON-RPC error: the code that clients switch on, a sentence, and for a
/// revert the data that the contract returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// −32700 parse, −32600 request, −32601 method, −32602 parameters,
    /// −32005 limit, −32000 anything the chain refuses, 3 a revert.
    pub code: i32,
    /// What went wrong, in geth's words where geth has some.
    pub message: String,
    /// What a reverting contract returned.
    pub data: Option<Bytes>,
}

impl RpcError {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The body is not JSON.
    pub(crate) fn parse() -> Self {
        Self::new(-32700, "parse error: the body is not JSON")
    }

    /// JSON, but not a JSON-RPC request.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::new(-32600, message)
    }

    /// A method that this chain does not have.
    pub(crate) fn method(name: &str) -> Self {
        let name: String = name.chars().take(64).collect();
        Self::new(
            -32601,
            format!("the method {name} does not exist/is not available"),
        )
    }

    /// Parameters that do not fit the method.
    pub(crate) fn params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    /// More was asked for than one answer may hold.
    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(-32005, message)
    }

    /// The chain says no.
    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(-32000, message)
    }

    /// A revert with its data; a reason string is decoded into the message.
    pub(crate) fn reverted(data: Bytes) -> Self {
        let message = match revert_reason(&data) {
            Some(reason) => format!("execution reverted: {reason}"),
            None => "execution reverted".into(),
        };
        Self {
            code: 3,
            message,
            data: Some(data),
        }
    }

    /// Whether a contract reverted.
    pub fn is_revert(&self) -> bool {
        self.code == 3
    }
}

/// The text in `Error(string)` or `Panic(uint256)` data.
fn revert_reason(data: &[u8]) -> Option<String> {
    let (selector, body) = data.split_at_checked(4)?;
    match selector {
        [0x08, 0xc3, 0x79, 0xa0] => {
            let length = usize::try_from(U256::try_from_be_slice(body.get(32..64)?)?).ok()?;
            let text = body.get(64..)?.get(..length)?;
            Some(String::from_utf8_lossy(text).into_owned())
        }
        [0x4e, 0x48, 0x7b, 0x71] => {
            let code = U256::try_from_be_slice(body.get(..32)?)?;
            Some(format!(
                "panic: code 0x{}",
                hex::encode(code.to_be_bytes_trimmed_vec())
            ))
        }
        _ => None,
    }
}
