//! A node's answers as types, and what its refusals mean.

use alloy_primitives::{Address, B256, Bytes, U64, U128, U256};
use serde::{Deserialize, Serialize};
use tollway_rpc::RpcError;

/// The newest block. `pending` is never read: some networks have none, and a
/// pending count tells nothing about what can still land.
pub(crate) const LATEST: &str = "latest";

/// A call that changes nothing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Address>,
    pub to: Address,
    pub data: &'a Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gas: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gas_price: Option<U128>,
}

impl<'a> CallRequest<'a> {
    /// A call from nobody in particular, with the node's own gas limit.
    pub fn new(to: Address, data: &'a Bytes) -> Self {
        Self {
            from: None,
            to,
            data,
            gas: None,
            gas_price: None,
        }
    }
}

/// A receipt, as far as it decides anything.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    pub transaction_hash: B256,
    pub block_hash: Option<B256>,
    pub block_number: Option<U64>,
    pub from: Address,
    pub status: Option<U64>,
    pub gas_used: U64,
    #[serde(default)]
    pub effective_gas_price: Option<U128>,
    /// What rollups take for posting the transaction, beside its gas.
    #[serde(default)]
    pub l1_fee: Option<U256>,
    pub logs: Vec<Log>,
}

impl Receipt {
    /// The whole fee in wei.
    pub fn fee(&self) -> U256 {
        let price = U256::from(self.effective_gas_price.unwrap_or_default());
        U256::from(self.gas_used)
            .saturating_mul(price)
            .saturating_add(self.l1_fee.unwrap_or_default())
    }
}

/// A log.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Log {
    pub address: Address,
    pub topics: Vec<B256>,
    pub data: Bytes,
    #[serde(default)]
    pub transaction_hash: Option<B256>,
}

/// A block's header, as far as it decides anything.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Block {
    pub number: Option<U64>,
    pub hash: Option<B256>,
    pub parent_hash: Option<B256>,
    pub timestamp: Option<U64>,
    #[serde(default)]
    pub base_fee_per_gas: Option<U256>,
    #[serde(default)]
    pub gas_limit: Option<U64>,
}

/// The part of a fee history that the next block's price needs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FeeHistory {
    #[serde(default)]
    pub base_fee_per_gas: Vec<U256>,
}

/// Whether a call failed inside the machine, which says something about the
/// call, rather than before it, which says something about the node.
pub(crate) fn is_revert(error: &RpcError) -> bool {
    let RpcError::Rpc { code, message, .. } = error else {
        return false;
    };
    let message = message.to_ascii_lowercase();
    let inside = [
        "revert",
        "vm exception",
        "vm execution error",
        "out of gas",
        "invalid opcode",
        "bad instruction",
        "stack underflow",
        "stack overflow",
    ];
    *code == 3 || inside.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: i64, message: &str) -> RpcError {
        RpcError::Rpc {
            code,
            message: message.to_owned(),
            data: None,
        }
    }

    #[test]
    fn only_what_fails_inside_the_machine_is_a_revert() {
        assert!(is_revert(&refusal(3, "execution reverted: no")));
        assert!(is_revert(&refusal(-32000, "execution reverted")));
        assert!(is_revert(&refusal(-32000, "out of gas")));
        assert!(is_revert(&refusal(
            -32603,
            "VM Exception while processing transaction"
        )));

        assert!(!is_revert(&refusal(-32000, "header not found")));
        assert!(!is_revert(&refusal(-32005, "rate limited")));
        assert!(!is_revert(&refusal(
            -32000,
            "insufficient funds for gas * price + value"
        )));
        assert!(!is_revert(&RpcError::Timeout {
            host: "h".to_owned()
        }));
    }
}
