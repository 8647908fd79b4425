//! Reading parameters: every mistake becomes −32602 with the parameter's place.

use std::str::FromStr;

use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, U256};
use serde_json::{Map, Value};

use crate::call::{AccountOverride, BlockOverride, CallRequest, Overrides};
use crate::chain::BlockId;
use crate::error::RpcError;
use crate::simulate::{MAX_SIMULATED, SimulatedBlock};

type Parsed<T> = Result<T, RpcError>;

/// The positional parameters of a call.
pub(crate) struct Params<'a>(&'a [Value]);

impl<'a> Params<'a> {
    /// Parameters are an array, or absent.
    pub(crate) fn new(value: &'a Value) -> Parsed<Self> {
        match value {
            Value::Array(values) => Ok(Self(values)),
            Value::Null => Ok(Self(&[])),
            _ => Err(RpcError::params("params must be an array")),
        }
    }

    /// The parameter at `index`, unless absent or null.
    pub(crate) fn get(&self, index: usize) -> Option<&'a Value> {
        self.0.get(index).filter(|value| !value.is_null())
    }

    fn required(&self, index: usize) -> Parsed<&'a Value> {
        self.get(index)
            .ok_or_else(|| RpcError::params(format!("missing value for required argument {index}")))
    }

    fn read<T>(&self, index: usize, parse: impl FnOnce(&'a Value) -> Parsed<T>) -> Parsed<T> {
        parse(self.required(index)?).map_err(|error| at(index, error))
    }

    pub(crate) fn address(&self, index: usize) -> Parsed<Address> {
        self.read(index, address)
    }

    pub(crate) fn hash(&self, index: usize) -> Parsed<B256> {
        self.read(index, hash)
    }

    pub(crate) fn bytes(&self, index: usize) -> Parsed<Bytes> {
        self.read(index, bytes)
    }

    pub(crate) fn u256(&self, index: usize) -> Parsed<U256> {
        self.read(index, u256)
    }

    pub(crate) fn u64(&self, index: usize) -> Parsed<u64> {
        self.read(index, u64)
    }

    pub(crate) fn u64_or(&self, index: usize, default: u64) -> Parsed<u64> {
        self.get(index)
            .map_or(Ok(default), u64)
            .map_err(|error| at(index, error))
    }

    pub(crate) fn bool_or(&self, index: usize, default: bool) -> Parsed<bool> {
        match self.get(index) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| at(index, RpcError::params("expected true or false"))),
        }
    }

    /// A block tag, number or hash; `latest` if absent.
    pub(crate) fn block(&self, index: usize) -> Parsed<BlockId> {
        self.get(index)
            .map_or(Ok(BlockId::Latest), block_id)
            .map_err(|error| at(index, error))
    }

    pub(crate) fn object(&self, index: usize) -> Parsed<&'a Map<String, Value>> {
        self.read(index, object)
    }

    pub(crate) fn list(&self, index: usize) -> Parsed<&'a [Value]> {
        self.read(index, |value| {
            let list = value.as_array().map(Vec::as_slice);
            list.ok_or_else(|| RpcError::params("expected a list"))
        })
    }

    pub(crate) fn call(&self, index: usize) -> Parsed<CallRequest> {
        self.read(index, call_request)
    }

    /// State overrides at `index` and block overrides right after.
    pub(crate) fn overrides(&self, index: usize) -> Parsed<Overrides> {
        let accounts = self.get(index).map_or(Ok(Vec::new()), account_overrides);
        let block = self
            .get(index + 1)
            .map_or(Ok(BlockOverride::default()), block_override);
        Ok(Overrides {
            accounts: accounts.map_err(|error| at(index, error))?,
            block: block.map_err(|error| at(index + 1, error))?,
        })
    }

    /// The blocks of `eth_simulateV1`.
    pub(crate) fn simulation(&self, index: usize) -> Parsed<Vec<SimulatedBlock>> {
        self.read(index, simulated_blocks)
    }
}

fn at(index: usize, error: RpcError) -> RpcError {
    RpcError::params(format!("invalid argument {index}: {}", error.message))
}

fn text<'a>(value: &'a Value, what: &str) -> Parsed<&'a str> {
    value
        .as_str()
        .ok_or_else(|| RpcError::params(format!("expected {what} as a hex string")))
}

fn from_hex<T: FromStr>(value: &Value, what: &str) -> Parsed<T> {
    let text = text(value, what)?;
    if !text.starts_with("0x") {
        return Err(RpcError::params(format!("{what} must begin with 0x")));
    }
    text.parse()
        .map_err(|_| RpcError::params(format!("not {what}")))
}

/// A JSON object.
pub(crate) fn object(value: &Value) -> Parsed<&Map<String, Value>> {
    value
        .as_object()
        .ok_or_else(|| RpcError::params("expected an object"))
}

/// A 20-byte address.
pub(crate) fn address(value: &Value) -> Parsed<Address> {
    from_hex(value, "an address of 20 bytes")
}

/// A 32-byte word.
pub(crate) fn hash(value: &Value) -> Parsed<B256> {
    from_hex(value, "a word of 32 bytes")
}

/// Hex bytes of any length.
pub(crate) fn bytes(value: &Value) -> Parsed<Bytes> {
    from_hex(value, "bytes")
}

/// A quantity: hex string, or a JSON integer as some tools send.
pub(crate) fn u256(value: &Value) -> Parsed<U256> {
    if let Some(number) = value.as_u64() {
        return Ok(U256::from(number));
    }
    let digits = text(value, "a quantity")?
        .strip_prefix("0x")
        .ok_or_else(|| RpcError::params("a quantity must begin with 0x"))?;
    let digits = if digits.is_empty() { "0" } else { digits };
    U256::from_str_radix(digits, 16)
        .map_err(|_| RpcError::params("not a quantity of at most 256 bits"))
}

/// A quantity below 2^64.
pub(crate) fn u64(value: &Value) -> Parsed<u64> {
    u256(value)?
        .try_into()
        .map_err(|_| RpcError::params("the quantity is above 64 bits"))
}

fn u128(value: &Value) -> Parsed<u128> {
    u256(value)?
        .try_into()
        .map_err(|_| RpcError::params("the quantity is above 128 bits"))
}

/// A block tag, number, hash, or an object of EIP-1898.
pub(crate) fn block_id(value: &Value) -> Parsed<BlockId> {
    if let Some(object) = value.as_object() {
        return match (
            field(object, "blockHash", hash)?,
            field(object, "blockNumber", u64)?,
        ) {
            (Some(hash), None) => Ok(BlockId::Hash(hash)),
            (None, Some(number)) => Ok(BlockId::Number(number)),
            _ => Err(RpcError::params("expected either blockHash or blockNumber")),
        };
    }
    Ok(match value.as_str() {
        Some("latest") => BlockId::Latest,
        Some("pending") => BlockId::Pending,
        Some("safe") => BlockId::Safe,
        Some("finalized") => BlockId::Finalized,
        Some("earliest") => BlockId::Earliest,
        Some(text) if text.len() == 66 => BlockId::Hash(hash(value)?),
        _ => BlockId::Number(u64(value)?),
    })
}

/// An optional field of an object; null is absent.
pub(crate) fn field<T>(
    object: &Map<String, Value>,
    name: &str,
    parse: impl FnOnce(&Value) -> Parsed<T>,
) -> Parsed<Option<T>> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => parse(value)
            .map(Some)
            .map_err(|error| RpcError::params(format!("{name}: {}", error.message))),
    }
}

/// Every element of an array.
fn list<T>(value: &Value, parse: impl Fn(&Value) -> Parsed<T>) -> Parsed<Vec<T>> {
    let values = value
        .as_array()
        .ok_or_else(|| RpcError::params("expected an array"))?;
    values.iter().map(parse).collect()
}

fn call_request(value: &Value) -> Parsed<CallRequest> {
    let object = object(value)?;
    let data = field(object, "data", bytes)?;
    let input = field(object, "input", bytes)?;
    if data.is_some() && input.is_some() && data != input {
        return Err(RpcError::params(
            "data and input are both set and differ: send one of them",
        ));
    }
    let gas_price = field(object, "gasPrice", u128)?;
    let max_fee = field(object, "maxFeePerGas", u128)?;
    let max_tip = field(object, "maxPriorityFeePerGas", u128)?;
    if gas_price.is_some() && (max_fee.is_some() || max_tip.is_some()) {
        return Err(RpcError::params(
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
        ));
    }
    Ok(CallRequest {
        from: field(object, "from", address)?.unwrap_or_default(),
        to: field(object, "to", address)?,
        gas: field(object, "gas", u64)?,
        gas_price,
        max_fee,
        max_tip,
        value: field(object, "value", u256)?.unwrap_or_default(),
        data: input.or(data).unwrap_or_default(),
        nonce: field(object, "nonce", u64)?,
        access_list: AccessList(
            field(object, "accessList", |value| list(value, access_list_item))?.unwrap_or_default(),
        ),
        authorizations: field(object, "authorizationList", |value| {
            list(value, authorization)
        })?
        .unwrap_or_default(),
    })
}

fn access_list_item(value: &Value) -> Parsed<AccessListItem> {
    let object = object(value)?;
    let address = field(object, "address", address)?
        .ok_or_else(|| RpcError::params("an access list item needs an address"))?;
    let storage_keys = field(object, "storageKeys", |value| list(value, hash))?;
    Ok(AccessListItem {
        address,
        storage_keys: storage_keys.unwrap_or_default(),
    })
}

fn authorization(value: &Value) -> Parsed<SignedAuthorization> {
    let object = object(value)?;
    let missing =
        || RpcError::params("an authorization needs chainId, address, nonce, yParity, r, s");
    let inner = Authorization {
        chain_id: field(object, "chainId", u256)?.ok_or_else(missing)?,
        address: field(object, "address", address)?.ok_or_else(missing)?,
        nonce: field(object, "nonce", u64)?.ok_or_else(missing)?,
    };
    let parity = field(object, "yParity", u64)?.ok_or_else(missing)?;
    let r = field(object, "r", u256)?.ok_or_else(missing)?;
    let s = field(object, "s", u256)?.ok_or_else(missing)?;
    let parity = u8::try_from(parity).map_err(|_| RpcError::params("yParity must be 0 or 1"))?;
    Ok(SignedAuthorization::new_unchecked(inner, parity, r, s))
}

fn account_overrides(value: &Value) -> Parsed<Vec<(Address, AccountOverride)>> {
    let parse = |(key, value): (&String, &Value)| {
        let address = address(&Value::String(key.clone()))?;
        Ok((address, account_override(value)?))
    };
    object(value)?.iter().map(parse).collect()
}

fn account_override(value: &Value) -> Parsed<AccountOverride> {
    let object = object(value)?;
    let state = field(object, "state", slots)?;
    let state_diff = field(object, "stateDiff", slots)?;
    if state.is_some() && state_diff.is_some() {
        return Err(RpcError::params(
            "state and stateDiff are both set: send one of them",
        ));
    }
    Ok(AccountOverride {
        balance: field(object, "balance", u256)?,
        nonce: field(object, "nonce", u64)?,
        code: field(object, "code", bytes)?,
        state,
        state_diff: state_diff.unwrap_or_default(),
    })
}

fn slots(value: &Value) -> Parsed<Vec<(U256, U256)>> {
    let parse =
        |(key, value): (&String, &Value)| Ok((u256(&Value::String(key.clone()))?, u256(value)?));
    object(value)?.iter().map(parse).collect()
}

fn block_override(value: &Value) -> Parsed<BlockOverride> {
    let object = object(value)?;
    Ok(BlockOverride {
        number: field(object, "number", u64)?,
        time: field(object, "time", u64)?,
        gas_limit: field(object, "gasLimit", u64)?,
        base_fee: field(object, "baseFeePerGas", u64)?.or(field(object, "baseFee", u64)?),
        beneficiary: field(object, "feeRecipient", address)?
            .or(field(object, "coinbase", address)?),
        prevrandao: field(object, "prevRandao", hash)?.or(field(object, "random", hash)?),
    })
}

fn simulated_blocks(value: &Value) -> Parsed<Vec<SimulatedBlock>> {
    let blocks = field(object(value)?, "blockStateCalls", |value| {
        list(value, simulated_block)
    })?
    .ok_or_else(|| RpcError::params("blockStateCalls is missing"))?;
    let calls: usize = blocks.iter().map(|block| block.calls.len()).sum();
    if blocks.len() > MAX_SIMULATED || calls > MAX_SIMULATED {
        return Err(RpcError::params(format!(
            "at most {MAX_SIMULATED} blocks and calls"
        )));
    }
    Ok(blocks)
}

fn simulated_block(value: &Value) -> Parsed<SimulatedBlock> {
    let object = object(value)?;
    Ok(SimulatedBlock {
        overrides: Overrides {
            accounts: field(object, "stateOverrides", account_overrides)?.unwrap_or_default(),
            block: field(object, "blockOverrides", block_override)?.unwrap_or_default(),
        },
        calls: field(object, "calls", |value| list(value, call_request))?.unwrap_or_default(),
    })
}
