//! `debug_traceTransaction`: a mined transaction run again, with every call in it as
//! geth's `callTracer` tells it.

use alloy_primitives::{Address, B256, Bytes};
use revm::context::ContextTr;
use revm::interpreter::{
    CallInputs, CallOutcome, CallScheme, CreateInputs, CreateOutcome, InstructionResult,
};
use revm::{DatabaseCommit, Inspector};
use serde_json::{Map, Value, json};

use crate::chain::{BlockId, Chain};
use crate::error::RpcError;
use crate::evm::{block_env, execute, inspect, tx_env};

/// The calls that a transaction made, outermost first.
#[derive(Debug, Default)]
pub(crate) struct CallTracer {
    /// Begun, and not ended.
    open: Vec<Map<String, Value>>,
    /// The transaction's own, once it has ended.
    whole: Option<Value>,
}

impl CallTracer {
    fn begin(&mut self, kind: &str, from: Address, to: Option<Address>, input: &Bytes) {
        let mut frame = Map::new();
        frame.insert("type".to_owned(), json!(kind));
        frame.insert("from".to_owned(), json!(from));
        frame.insert("to".to_owned(), json!(to));
        frame.insert("input".to_owned(), json!(input));
        self.open.push(frame);
    }

    fn end(&mut self, result: InstructionResult, to: Option<Address>) {
        let Some(mut frame) = self.open.pop() else {
            return;
        };
        if let Some(to) = to {
            frame.insert("to".to_owned(), json!(to));
        }
        if !result.is_ok() {
            let why = match result.is_revert() {
                true => "execution reverted".to_owned(),
                false => format!("{result:?}"),
            };
            frame.insert("error".to_owned(), json!(why));
        }
        let frame = Value::Object(frame);
        let Some(parent) = self.open.last_mut() else {
            self.whole = Some(frame);
            return;
        };
        let calls = parent.entry("calls").or_insert_with(|| json!([]));
        if let Some(calls) = calls.as_array_mut() {
            calls.push(frame);
        }
    }
}

impl<C: ContextTr> Inspector<C> for CallTracer {
    fn call(&mut self, context: &mut C, inputs: &mut CallInputs) -> Option<CallOutcome> {
        let kind = match inputs.scheme {
            CallScheme::Call => "CALL",
            CallScheme::CallCode => "CALLCODE",
            CallScheme::DelegateCall => "DELEGATECALL",
            CallScheme::StaticCall => "STATICCALL",
        };
        // Of a delegated call the code's address is told, as geth does.
        let (from, to) = match inputs.scheme {
            CallScheme::DelegateCall | CallScheme::CallCode => {
                (inputs.target_address, inputs.bytecode_address)
            }
            CallScheme::Call | CallScheme::StaticCall => (inputs.caller, inputs.target_address),
        };
        let input = inputs.input.bytes(context);
        self.begin(kind, from, Some(to), &input);
        None
    }

    fn call_end(&mut self, _: &mut C, _: &CallInputs, outcome: &mut CallOutcome) {
        self.end(outcome.result.result, None);
    }

    fn create(&mut self, _: &mut C, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.begin("CREATE", inputs.caller(), None, inputs.init_code());
        None
    }

    fn create_end(&mut self, _: &mut C, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.end(outcome.result.result, outcome.address);
    }
}

/// The calls of a mined transaction; nothing if there is none of this hash. What was
/// changed by hand since the block before is not seen.
pub(crate) fn calls(chain: &Chain, hash: B256) -> Result<Option<Value>, RpcError> {
    let Some((block, index)) = chain.mined(hash) else {
        return Ok(None);
    };
    let parent = block.header.number.saturating_sub(1);
    let (mut db, _) = chain.scene(BlockId::Number(parent))?;
    let env = block_env(&block.header);
    let failed = |_| RpcError::server("the transaction could not be run again");
    for before in &block.txs[..index] {
        let tx = tx_env(&before.tx.envelope, before.tx.sender);
        let executed = execute(&mut db, chain.rules(), &env, tx).map_err(failed)?;
        db.commit(executed.state);
    }
    let traced = &block.txs[index].tx;
    let tx = tx_env(&traced.envelope, traced.sender);
    let mut tracer = CallTracer::default();
    inspect(&mut db, chain.rules(), &env, tx, &mut tracer).map_err(failed)?;
    Ok(tracer.whole)
}
