//! A node's answers as types, and what its refusals mean (RPC 0.8 to 0.10).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use starknet_crypto::Felt;
use tollway_rpc::RpcError;

use crate::felt;
use crate::outside::Call;

/// The newest block that consensus has accepted. What is being built is never
/// read: it can still change.
pub(crate) const LATEST: &str = "latest";

/// A felt as nodes write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Num(pub Felt);

impl<'de> Deserialize<'de> for Num {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        felt::parse(&text)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Num {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&felt::text(&self.0))
    }
}

/// A block's header, as far as it decides anything.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Block {
    pub block_hash: Option<Num>,
    pub block_number: Option<u64>,
    pub parent_hash: Num,
    /// Unix seconds.
    pub timestamp: u64,
    pub l1_gas_price: Price,
    pub l2_gas_price: Price,
    pub l1_data_gas_price: Price,
}

/// A resource's price.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Price {
    pub price_in_fri: Num,
}

/// An event.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    pub from_address: Num,
    pub keys: Vec<Num>,
    pub data: Vec<Num>,
}

/// A receipt, as far as it decides anything.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Receipt {
    pub transaction_hash: Num,
    pub execution_status: String,
    pub finality_status: String,
    #[serde(default)]
    pub block_hash: Option<Num>,
    #[serde(default)]
    pub block_number: Option<u64>,
    pub actual_fee: Fee,
    #[serde(default)]
    pub execution_resources: Resources,
    pub events: Vec<Event>,
}

/// What a transaction cost.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Fee {
    pub amount: Num,
}

/// What a transaction used.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Resources {
    #[serde(default)]
    pub l2_gas: u64,
}

impl Receipt {
    /// The block that holds it, once consensus has accepted it.
    pub fn block(&self) -> Option<(u64, Felt)> {
        let accepted = matches!(
            self.finality_status.as_str(),
            "ACCEPTED_ON_L2" | "ACCEPTED_ON_L1"
        );
        let (number, hash) = (self.block_number?, self.block_hash?);
        accepted.then_some((number, hash.0))
    }

    /// Whether Ethereum has it: nothing can take it back.
    pub fn is_on_l1(&self) -> bool {
        self.finality_status == "ACCEPTED_ON_L1"
    }

    /// Whether it did what it was to do; `None` where the status is unknown.
    pub fn succeeded(&self) -> Option<bool> {
        match self.execution_status.as_str() {
            "SUCCEEDED" => Some(true),
            "REVERTED" => Some(false),
            _ => None,
        }
    }
}

/// Parameters of `starknet_call`.
pub(crate) fn call_params(call: &Call) -> Value {
    json!({
        "request": {
            "contract_address": felt::text(&call.to),
            "entry_point_selector": felt::text(&call.selector),
            "calldata": felt::texts(&call.calldata),
        },
        "block_id": LATEST,
    })
}

/// The code of a node's considered refusal.
pub(crate) fn refused_with(error: &RpcError) -> Option<i64> {
    match error {
        RpcError::Rpc { code, .. } => Some(*code),
        _ => None,
    }
}

/// Codes of the specification.
pub(crate) mod code {
    pub const CONTRACT_NOT_FOUND: i64 = 20;
    pub const ENTRYPOINT_NOT_FOUND: i64 = 21;
    pub const BLOCK_NOT_FOUND: i64 = 24;
    pub const TRANSACTION_NOT_FOUND: i64 = 29;
    pub const CONTRACT_ERROR: i64 = 40;
    pub const EXECUTION_ERROR: i64 = 41;
    pub const INVALID_NONCE: i64 = 52;
    pub const RESOURCES: i64 = 53;
    pub const BALANCE: i64 = 54;
    pub const VALIDATION: i64 = 55;
    pub const NON_ACCOUNT: i64 = 58;
    pub const DUPLICATE: i64 = 59;
    pub const VERSION: i64 = 61;
    pub const UNDERPRICED: i64 = 64;
    pub const FEE_TOO_LOW: i64 = 65;
}

/// Whether a call failed inside the contract or for want of it, which says
/// something about the call, rather than before it, which says something about
/// the node.
pub(crate) fn is_contract_failure(error: &RpcError) -> bool {
    matches!(
        refused_with(error),
        Some(code::CONTRACT_NOT_FOUND | code::ENTRYPOINT_NOT_FOUND | code::CONTRACT_ERROR)
    )
}
