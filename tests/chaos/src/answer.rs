//! What one call is answered, with the faults that strike it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tollway_devnet::{Devnet, RpcError};

use crate::Fault;
use crate::branch;
use crate::fault::SEND;
use crate::lies;
use crate::rival::Rival;

/// Fifty gwei: fifty times what blocks of a new chain cost, and six hundred:
/// more than anybody allows.
const SPIKE: u64 = 50_000_000_000;
const ABOVE_CAP: u64 = 600_000_000_000;
/// What blocks of a new chain cost.
const USUAL: u64 = 1_000_000_000;

/// What the faults do to calls, and what they have to remember.
#[derive(Debug)]
pub(crate) struct Node {
    chain: Devnet,
    rival: Rival,
    memory: Mutex<Memory>,
    /// How often blocks were replaced.
    pub(crate) replaced: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Transactions that wait for the end of a fault.
    held: Vec<Value>,
    /// How often each receipt, or each block's, was asked for.
    looks: HashMap<String, u64>,
    /// What was overtaken already.
    overtaken: Vec<Value>,
    reorganised: bool,
    is_expensive: bool,
}

impl Node {
    pub(crate) fn new(chain: &Devnet) -> Self {
        Self {
            chain: chain.clone(),
            rival: Rival::new(),
            memory: Mutex::default(),
            replaced: Arc::default(),
        }
    }

    /// What was held back goes on, and prices are as usual again.
    pub(crate) fn calm(&self) {
        let memory = std::mem::take(&mut *self.memory());
        for params in memory.held {
            // One whose nonce was used meanwhile is refused, as it should be.
            let _ = self.chain.request(SEND, params);
        }
        if memory.is_expensive {
            self.set_base_fee(USUAL);
        }
    }

    /// The answer to one call. `faults` are those that strike it.
    pub(crate) fn answer(&self, call: &Value, faults: &[Fault]) -> Value {
        let method = call["method"].as_str().unwrap_or_default();
        let mut params = call.get("params").cloned().unwrap_or(Value::Null);
        let outcome = if method == SEND {
            self.send(&params, faults)
        } else {
            for fault in faults {
                self.before(*fault, method, &mut params);
            }
            let mut outcome = self.chain.request(method, params.clone());
            for fault in faults {
                self.after(*fault, method, &params, &mut outcome);
            }
            outcome
        };
        let mut id = call["id"].clone();
        if faults.contains(&Fault::WrongId) {
            id = json!(id.as_u64().unwrap_or_default() + 100_000);
        }
        match outcome {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(error) => {
                let mut told = json!({"code": error.code, "message": error.message});
                if let Some(data) = error.data {
                    told["data"] = json!(data);
                }
                json!({"jsonrpc": "2.0", "id": id, "error": told})
            }
        }
    }

    fn send(&self, params: &Value, faults: &[Fault]) -> Result<Value, RpcError> {
        let deliver = || self.chain.request(SEND, params.clone());
        for fault in faults {
            match fault {
                Fault::Overloaded => return Err(overloaded()),
                Fault::SendLost => return Ok(hash_of(params)),
                Fault::NeverMined => {
                    let mut memory = self.memory();
                    if !memory.held.contains(params) {
                        memory.held.push(params.clone());
                    }
                    return Ok(hash_of(params));
                }
                Fault::DuplicateDelivery => {
                    let first = deliver();
                    let _ = deliver();
                    return first;
                }
                Fault::AlreadyKnown => return deliver().and_then(|_| Err(says("already known"))),
                Fault::NonceTooLow => return Err(says("nonce too low: next nonce 9, tx nonce 1")),
                Fault::NonceTooHigh => return Err(says("nonce too high")),
                Fault::Underpriced => return Err(says("replacement transaction underpriced")),
                Fault::FeeSpike => {
                    let first = !std::mem::replace(&mut self.memory().is_expensive, true);
                    let taken = deliver();
                    if first {
                        self.set_base_fee(SPIKE);
                    }
                    return taken;
                }
                Fault::ThirdPartyFirst => {
                    let seen = self.memory().overtaken.contains(params);
                    if !seen {
                        self.memory().overtaken.push(params.clone());
                        self.rival.overtake(&self.chain, params);
                    }
                }
                _ => {}
            }
        }
        deliver()
    }

    fn before(&self, fault: Fault, method: &str, params: &mut Value) {
        match fault {
            Fault::StaleHead { blocks } => {
                let newest = self.chain.block_number().saturating_sub(blocks);
                lies::look_back(method, params, newest);
            }
            Fault::BaseFeeAboveCap => {
                self.memory().is_expensive = true;
                self.set_base_fee(ABOVE_CAP);
            }
            _ => {}
        }
    }

    fn after(
        &self,
        fault: Fault,
        method: &str,
        params: &Value,
        outcome: &mut Result<Value, RpcError>,
    ) {
        if fault == Fault::Overloaded {
            *outcome = Err(overloaded());
        }
        let Ok(result) = outcome else {
            return;
        };
        match fault {
            Fault::WrongChainId => *result = json!("0x1"),
            Fault::StaleHead { blocks } => {
                let newest = self.chain.block_number().saturating_sub(blocks);
                lies::forget_above(method, result, newest);
            }
            Fault::LateReceipt { looks }
                if holds_something(result) && self.look(method, params) <= looks =>
            {
                *result = Value::Null;
            }
            Fault::MissingReceipts => lies::no_receipts(method, result),
            Fault::FailedReceipt => lies::each_receipt(result, lies::fail),
            Fault::LyingLogValue => lies::each_log(method, result, lies::other_value),
            Fault::LyingLogAddress => lies::each_log(method, result, lies::other_address),
            Fault::Reorg { depth, keep } => self.reorganise(result, depth, keep),
            _ => {}
        }
    }

    /// Once a receipt was shown its block goes, when enough lies on it.
    fn reorganise(&self, result: &Value, depth: u64, keep: bool) {
        let receipt = if result.is_array() {
            &result[0]
        } else {
            result
        };
        let Some(number) = lies::quantity(&receipt["blockNumber"]) else {
            return;
        };
        if !std::mem::replace(&mut self.memory().reorganised, true) {
            let replaced = Arc::clone(&self.replaced);
            let chain = self.chain.clone();
            tokio::spawn(async move {
                if branch::replace(&chain, number, depth, keep).await {
                    replaced.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    }

    fn look(&self, method: &str, params: &Value) -> u64 {
        let mut memory = self.memory();
        let looks = memory
            .looks
            .entry(format!("{method} {params}"))
            .or_default();
        *looks += 1;
        *looks
    }

    fn set_base_fee(&self, wei: u64) {
        let params = json!([format!("{wei:#x}")]);
        let _ = self
            .chain
            .request("tollway_setNextBlockBaseFeePerGas", params);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holds_something(result: &Value) -> bool {
    match result {
        Value::Array(list) => !list.is_empty(),
        other => !other.is_null(),
    }
}

/// The hash of a raw transaction, as a node that took it would say.
fn hash_of(params: &Value) -> Value {
    let raw = params[0].as_str().unwrap_or_default();
    let raw = alloy_primitives::hex::decode(raw).unwrap_or_default();
    json!(alloy_primitives::keccak256(raw))
}

fn overloaded() -> RpcError {
    RpcError {
        code: -32005,
        message: "limit exceeded".into(),
        data: None,
    }
}

fn says(words: &'static str) -> RpcError {
    RpcError {
        code: -32000,
        message: words.into(),
        data: None,
    }
}
