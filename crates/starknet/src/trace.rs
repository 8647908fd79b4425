//! A simulated transaction's trace, read to a bounded depth.
//!
//! Whoever is simulated chooses how deep the calls nest, and an answer that
//! cannot be read would be blamed on the node. So what lies too deep is passed
//! over and noted.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::node::{Event, Num};

/// Deepest call that is read: a sensible payment has three or four. The parser
/// itself ends at twice as many.
const MAX_DEPTH: u8 = 32;

/// A simulated transaction.
#[derive(Debug, Deserialize)]
pub(crate) struct Simulated {
    pub transaction_trace: Trace,
    pub fee_estimation: Estimate,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Trace {
    pub execute_invocation: Execution,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Estimate {
    pub l2_gas_consumed: Num,
    pub l1_data_gas_consumed: Num,
}

/// What `__execute__` did.
#[derive(Debug)]
pub(crate) struct Execution {
    /// Why all of it was undone.
    pub revert_reason: Option<String>,
    /// The events of what took effect, each with the contract that emitted it;
    /// `None` if calls nest too deeply to tell.
    pub events: Option<Vec<Event>>,
}

impl<'de> Deserialize<'de> for Execution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let frame = FrameSeed { depth: MAX_DEPTH }.deserialize(deserializer)?;
        Ok(Self {
            revert_reason: frame.revert_reason,
            events: (!frame.too_deep).then_some(frame.events),
        })
    }
}

/// One call with all that it called.
#[derive(Default)]
struct Frame {
    revert_reason: Option<String>,
    too_deep: bool,
    events: Vec<Event>,
}

/// An event inside a frame: the frame's contract is who emitted it.
#[derive(Deserialize)]
struct Bare {
    keys: Vec<Num>,
    data: Vec<Num>,
}

struct FrameSeed {
    depth: u8,
}

impl<'de> DeserializeSeed<'de> for FrameSeed {
    type Value = Frame;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Frame, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FrameSeed {
    type Value = Frame;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a call in a trace")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Frame, A::Error> {
        let (mut contract, mut undone) = (None, false);
        let (mut own, mut inner, mut revert_reason) = (Vec::new(), Frame::default(), None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "contract_address" => contract = Some(map.next_value::<Num>()?),
                "revert_reason" => revert_reason = Some(map.next_value()?),
                "is_reverted" => undone = map.next_value()?,
                "events" => own = map.next_value::<Vec<Bare>>()?,
                "calls" if self.depth == 0 => inner.too_deep = map.next_value::<Any>()?.0,
                "calls" => {
                    inner = map.next_value_seed(CallsSeed {
                        depth: self.depth - 1,
                    })?
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if revert_reason.is_some() || undone {
            return Ok(Frame {
                revert_reason,
                ..Frame::default()
            });
        }
        let contract =
            contract.ok_or_else(|| serde::de::Error::missing_field("contract_address"))?;
        let mut events = inner.events;
        events.extend(own.into_iter().map(|event| Event {
            from_address: contract,
            keys: event.keys,
            data: event.data,
        }));
        Ok(Frame {
            revert_reason: None,
            too_deep: inner.too_deep,
            events,
        })
    }
}

/// The calls of a frame, as one.
struct CallsSeed {
    depth: u8,
}

impl<'de> DeserializeSeed<'de> for CallsSeed {
    type Value = Frame;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Frame, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for CallsSeed {
    type Value = Frame;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the calls of a call")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Frame, A::Error> {
        let mut all = Frame::default();
        while let Some(call) = seq.next_element_seed(FrameSeed { depth: self.depth })? {
            all.too_deep |= call.too_deep;
            all.events.extend(call.events);
        }
        Ok(all)
    }
}

/// Whether a list holds anything, without reading what.
struct Any(bool);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Holds;
        impl<'de> Visitor<'de> for Holds {
            type Value = bool;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
                let mut holds = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    holds = true;
                }
                Ok(holds)
            }
        }
        deserializer.deserialize_seq(Holds).map(Self)
    }
}
