//! The calls of a transaction, as the node's `callTracer` tells them.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::json;
use tollway_core::Timestamp;

use super::EvmChain;
use super::recent::Recent;

/// Calls within calls that are read: an honest settlement has a few.
const MAX_DEPTH: usize = 48;
/// How soon a node that could not tell is asked for the same again.
const NOT_AGAIN: Duration = Duration::from_secs(600);

/// A call, and what it called in its turn.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub kind: String,
    pub to: Option<Address>,
    pub input: Bytes,
    pub has_failed: bool,
    pub calls: Vec<Frame>,
    /// It called more than was read.
    pub is_cut: bool,
}

/// Transactions whose calls were not told, and when that was.
#[derive(Debug, Default)]
pub(super) struct Untold(Mutex<Recent<B256, Timestamp>>);

impl EvmChain {
    /// The calls of a transaction; nothing where the node does not tell: many keep no
    /// traces.
    pub(super) async fn calls_within(&self, hash: B256) -> Option<Frame> {
        if self.is_untold(&hash) {
            return None;
        }
        let question = (hash, json!({ "tracer": "callTracer" }));
        match self.rpc.call("debug_traceTransaction", question).await {
            Ok(Told(frame)) => Some(frame),
            Err(error) => {
                tracing::debug!(network = %self.network, %error, "no trace of a settlement");
                self.note_untold(hash);
                None
            }
        }
    }

    pub(super) fn note_untold(&self, hash: B256) {
        let mut untold = self.untold.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.insert(hash, self.clock.now());
    }

    fn is_untold(&self, hash: &B256) -> bool {
        let untold = self.untold.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        untold
            .get(hash)
            .is_some_and(|at| *at <= now && now.since(*at) < NOT_AGAIN)
    }
}

struct Told(Frame);

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AtDepth(MAX_DEPTH).deserialize(deserializer).map(Self)
    }
}

/// Reads a call down to so many within it, and passes over what is deeper.
#[derive(Clone, Copy)]
struct AtDepth(usize);

impl<'de> DeserializeSeed<'de> for AtDepth {
    type Value = Frame;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Frame, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AtDepth {
    type Value = Frame;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a call")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Frame, A::Error> {
        let mut frame = Frame::default();
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Type => frame.kind = map.next_value()?,
                Field::To => frame.to = map.next_value()?,
                Field::Input => frame.input = map.next_value()?,
                Field::Error => {
                    frame.has_failed = map.next_value::<Option<IgnoredAny>>()?.is_some()
                }
                Field::Calls => match self.0.checked_sub(1) {
                    Some(depth) => frame.calls = map.next_value_seed(Calls(AtDepth(depth)))?,
                    None => {
                        map.next_value::<IgnoredAny>()?;
                        frame.is_cut = true;
                    }
                },
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(frame)
    }
}

struct Calls(AtDepth);

impl<'de> DeserializeSeed<'de> for Calls {
    type Value = Vec<Frame>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Frame>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Calls {
    type Value = Vec<Frame>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("calls")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Frame>, A::Error> {
        let mut calls = Vec::new();
        while let Some(call) = seq.next_element_seed(self.0)? {
            calls.push(call);
        }
        Ok(calls)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Field {
    Type,
    To,
    Input,
    Error,
    Calls,
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> String {
        let open = r#"{"type":"CALL","to":null,"input":"0x","gas":"0x1","calls":["#;
        let innermost = r#"{"type":"CALL","input":"0x12","error":"execution reverted"}"#;
        format!("{}{innermost}{}", open.repeat(depth), "]}".repeat(depth))
    }

    #[test]
    fn what_is_deeper_than_anybody_settles_is_passed_over_and_said_to_be_missing() {
        for (depth, is_cut) in [
            (0, false),
            (1, false),
            (MAX_DEPTH, false),
            (MAX_DEPTH + 1, true),
            (1_000, true),
        ] {
            let Told(mut frame) = serde_json::from_str(&nested(depth)).unwrap();
            let mut seen = 0;
            while let Some(inner) = frame.calls.pop() {
                (frame, seen) = (inner, seen + 1);
            }
            assert_eq!(frame.is_cut, is_cut, "{depth}");
            assert_eq!(seen, depth.min(MAX_DEPTH));
            assert_eq!(frame.has_failed, !is_cut, "{depth}");
        }
    }
}
