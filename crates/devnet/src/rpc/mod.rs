//! JSON-RPC 2.0: one request or a batch, dispatched by method name.

mod dev;
mod eth;
mod fees;
mod logs;
pub(crate) mod params;
pub(crate) mod views;

use serde_json::{Value, json};

use crate::Devnet;
use crate::error::RpcError;
use params::Params;

/// The most requests in one batch.
const MAX_BATCH: usize = 1_000;
/// Prefixes under which the devnet's own verbs are known.
const DEV_PREFIXES: [&str; 4] = ["tollway_", "anvil_", "hardhat_", "evm_"];

/// Answers a request body; empty if it holds only notifications.
pub(crate) fn handle_body(devnet: &Devnet, body: &[u8]) -> Vec<u8> {
    let answer = match serde_json::from_slice(body) {
        Err(_) => Some(response(Value::Null, Err(RpcError::parse()))),
        Ok(Value::Array(requests)) => batch(devnet, requests),
        Ok(request) => single(devnet, request),
    };
    answer
        .map(|answer| answer.to_string().into_bytes())
        .unwrap_or_default()
}

fn batch(devnet: &Devnet, requests: Vec<Value>) -> Option<Value> {
    if requests.is_empty() {
        return Some(response(Value::Null, Err(RpcError::request("empty batch"))));
    }
    if requests.len() > MAX_BATCH {
        let error = RpcError::request(format!("batch too large: at most {MAX_BATCH} requests"));
        return Some(response(Value::Null, Err(error)));
    }
    let answers: Vec<Value> = requests
        .into_iter()
        .filter_map(|request| single(devnet, request))
        .collect();
    (!answers.is_empty()).then_some(Value::Array(answers))
}

fn single(devnet: &Devnet, mut request: Value) -> Option<Value> {
    let Some(object) = request.as_object_mut() else {
        let error = RpcError::request("a request is a JSON object");
        return Some(response(Value::Null, Err(error)));
    };
    let id = object.remove("id");
    if !matches!(
        id,
        None | Some(Value::Null | Value::Number(_) | Value::String(_))
    ) {
        let error = RpcError::request("an id is a number, a string or null");
        return Some(response(Value::Null, Err(error)));
    }
    let params = object.remove("params").unwrap_or(Value::Null);
    let result = match object.get("method") {
        Some(Value::String(method)) => dispatch(devnet, method, &params),
        _ => Err(RpcError::request("a request names its method as a string")),
    };
    id.map(|id| response(id, result))
}

fn response(id: Value, result: Result<Value, RpcError>) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error_json(&error)}),
    }
}

fn error_json(error: &RpcError) -> Value {
    let mut json = json!({"code": error.code, "message": error.message});
    if let Some(data) = &error.data {
        json["data"] = json!(data);
    }
    json
}

/// Runs one method.
pub(crate) fn dispatch(devnet: &Devnet, method: &str, params: &Value) -> Result<Value, RpcError> {
    let params = Params::new(params)?;
    if let Some(answer) = eth::dispatch(devnet, method, &params) {
        return answer;
    }
    DEV_PREFIXES
        .iter()
        .find_map(|prefix| method.strip_prefix(prefix))
        .and_then(|verb| dev::dispatch(devnet, verb, &params))
        .unwrap_or_else(|| Err(RpcError::method(method)))
}
