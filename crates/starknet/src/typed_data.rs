//! Outside executions as the SNIP-12 JSON that wallets sign and payments carry.
//!
//! What a stranger's JSON says is read into an [`OutsideExecution`] and a chain
//! id; the hash is always computed from those, never from the JSON, so its
//! `types` decide nothing.

use serde_json::{Map, Value, json};
use starknet_crypto::Felt;

use crate::felt;
use crate::outside::{Call, OutsideExecution};
use crate::selectors;

/// The domain's name.
const NAME: &str = "Account.execute_from_outside";
/// Most calls of an execution that is read.
const MAX_CALLS: usize = 8;
/// Most felts of one call's calldata.
const MAX_CALLDATA: usize = 64;

/// Why typed data is not an outside execution; what is wrong, as a phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TypedDataError(pub &'static str);

type Result<T> = std::result::Result<T, TypedDataError>;

/// Writes an execution as typed data, in canonical spelling.
#[must_use]
pub fn write(execution: &OutsideExecution, chain_id: &Felt) -> Value {
    let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
    let calls: Vec<Value> = execution.calls.iter().map(write_call).collect();
    json!({
        "types": {
            "StarknetDomain": [
                field("name", "shortstring"),
                field("version", "shortstring"),
                field("chainId", "shortstring"),
                field("revision", "shortstring"),
            ],
            "OutsideExecution": [
                field("Caller", "ContractAddress"),
                field("Nonce", "felt"),
                field("Execute After", "u128"),
                field("Execute Before", "u128"),
                field("Calls", "Call*"),
            ],
            "Call": [
                field("To", "ContractAddress"),
                field("Selector", "selector"),
                field("Calldata", "felt*"),
            ],
        },
        "primaryType": "OutsideExecution",
        "domain": {
            "name": NAME,
            "version": "2",
            "chainId": felt::text(chain_id),
            "revision": "1",
        },
        "message": {
            "Caller": felt::text(&execution.caller),
            "Nonce": felt::text(&execution.nonce),
            "Execute After": execution.execute_after.to_string(),
            "Execute Before": execution.execute_before.to_string(),
            "Calls": calls,
        },
    })
}

fn write_call(call: &Call) -> Value {
    json!({
        "To": felt::text(&call.to),
        "Selector": felt::text(&call.selector),
        "Calldata": felt::texts(&call.calldata),
    })
}

/// Reads typed data strictly: every key that is there is known, every key that
/// is needed is there, the chain is the given one.
///
/// # Errors
/// [`TypedDataError`].
pub fn read(typed_data: &Value, chain_id: &Felt) -> Result<OutsideExecution> {
    let data = object(typed_data, "the typed data is not an object")?;
    keys(
        data,
        &["types", "primaryType", "domain", "message"],
        "the typed data has a missing or an unknown key",
    )?;
    object(&data["types"], "types is not an object")?;
    if data["primaryType"] != "OutsideExecution" {
        return Err(TypedDataError("primaryType is not OutsideExecution"));
    }
    read_domain(&data["domain"], chain_id)?;
    read_message(&data["message"])
}

fn read_domain(value: &Value, chain_id: &Felt) -> Result<()> {
    let domain = object(value, "the domain is not an object")?;
    keys(
        domain,
        &["name", "version", "chainId", "revision"],
        "the domain has a missing or an unknown key",
    )?;
    if domain["name"] != NAME {
        return Err(TypedDataError(
            "the domain is not that of outside executions",
        ));
    }
    if !is_number(&domain["version"], 2) || !is_number(&domain["revision"], 1) {
        return Err(TypedDataError("the domain is not version 2, revision 1"));
    }
    let chain = domain["chainId"].as_str().and_then(|text| {
        let named = || felt::short_string(text).filter(|_| !text.is_empty());
        felt::parse(text).ok().or_else(named)
    });
    if chain.as_ref() != Some(chain_id) {
        return Err(TypedDataError("the domain names another chain"));
    }
    Ok(())
}

fn read_message(value: &Value) -> Result<OutsideExecution> {
    let message = object(value, "the message is not an object")?;
    keys(
        message,
        &[
            "Caller",
            "Nonce",
            "Execute After",
            "Execute Before",
            "Calls",
        ],
        "the message has a missing or an unknown key",
    )?;
    let calls = message["Calls"]
        .as_array()
        .filter(|calls| calls.len() <= MAX_CALLS)
        .ok_or(TypedDataError("Calls is not a list of at most 8 calls"))?;
    Ok(OutsideExecution {
        caller: read_felt(&message["Caller"], "Caller is not a felt")?,
        nonce: read_felt(&message["Nonce"], "Nonce is not a felt")?,
        execute_after: read_time(&message["Execute After"])?,
        execute_before: read_time(&message["Execute Before"])?,
        calls: calls.iter().map(read_call).collect::<Result<_>>()?,
    })
}

fn read_call(value: &Value) -> Result<Call> {
    let call = object(value, "a call is not an object")?;
    keys(
        call,
        &["To", "Selector", "Calldata"],
        "a call has a missing or an unknown key",
    )?;
    let calldata = call["Calldata"]
        .as_array()
        .filter(|data| data.len() <= MAX_CALLDATA)
        .ok_or(TypedDataError("Calldata is not a list of at most 64 felts"))?;
    let selector = call["Selector"].as_str().and_then(selectors::parse);
    Ok(Call {
        to: read_felt(&call["To"], "To is not a felt")?,
        selector: selector.ok_or(TypedDataError("Selector is neither a name nor hex"))?,
        calldata: calldata
            .iter()
            .map(|value| read_felt(value, "Calldata holds something that is no felt"))
            .collect::<Result<_>>()?,
    })
}

fn object<'a>(value: &'a Value, what: &'static str) -> Result<&'a Map<String, Value>> {
    value.as_object().ok_or(TypedDataError(what))
}

/// Exactly these keys.
fn keys(object: &Map<String, Value>, wanted: &[&str], what: &'static str) -> Result<()> {
    let complete = wanted.iter().all(|key| object.contains_key(*key));
    match complete && object.len() == wanted.len() {
        true => Ok(()),
        false => Err(TypedDataError(what)),
    }
}

fn read_felt(value: &Value, what: &'static str) -> Result<Felt> {
    let text = value.as_str().ok_or(TypedDataError(what))?;
    felt::parse(text).map_err(|_| TypedDataError(what))
}

fn read_time(value: &Value) -> Result<u128> {
    let number = match value.as_u64() {
        Some(number) => Some(u128::from(number)),
        None => value.as_str().and_then(|text| {
            let felt = felt::parse(text).ok()?;
            felt::to_u128(&felt)
        }),
    };
    number.ok_or(TypedDataError("a time is not a number of at most 128 bits"))
}

fn is_number(value: &Value, number: u64) -> bool {
    let read = match value.as_str() {
        Some(text) => felt::parse(text).ok().and_then(|felt| felt::to_u64(&felt)),
        None => value.as_u64(),
    };
    read == Some(number)
}
