//! Requests written straight into bytes, answers read straight into types.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::RpcError;
use crate::split::elements;

/// Calls that travel in one HTTP request. A node may still run them at
/// different heights: whatever must be consistent belongs into one call.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Each call from its method on, one after the other: ids are the request's.
    tails: Vec<u8>,
    ends: Vec<usize>,
    pub(crate) methods: Vec<&'static str>,
    /// Whether it waits for nobody.
    pub(crate) at_once: bool,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One call that waits for nobody, with its parameters as JSON.
    pub(crate) fn at_once(method: &'static str, params: &str) -> Self {
        let mut tails = Vec::with_capacity(params.len() + method.len() + 32);
        begin_tail(&mut tails, method);
        tails.extend_from_slice(params.as_bytes());
        tails.push(b'}');
        Self {
            ends: vec![tails.len()],
            tails,
            methods: vec![method],
            at_once: true,
        }
    }

    /// Adds a call. `params` must serialize to a JSON array or object.
    pub fn push(&mut self, method: &'static str, params: &impl Serialize) {
        write_tail(&mut self.tails, method, params);
        self.ends.push(self.tails.len());
        self.methods.push(method);
    }

    /// How many calls there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.methods.len()
    }

    /// Whether there is no call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }

    /// About how many bytes its request has.
    pub(crate) fn body_len(&self) -> usize {
        self.tails.len() + HEAD.len() * self.len() + 8 * self.len()
    }

    fn tail(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.tails[start..self.ends[index]]
    }

    /// One of its calls by itself.
    pub(crate) fn single(&self, index: usize) -> Vec<u8> {
        let tail = self.tail(index);
        let mut body = Vec::with_capacity(tail.len() + HEAD.len() + 8);
        write_call(&mut body, 0, tail);
        body
    }

    /// The request that holds the calls of all these, numbered from zero.
    pub(crate) fn together<'a>(batches: impl Iterator<Item = &'a Self> + Clone) -> Vec<u8> {
        let size = batches.clone().map(Self::body_len).sum::<usize>();
        let mut body = Vec::with_capacity(size + 2);
        let mut id = 0;
        for batch in batches {
            for index in 0..batch.len() {
                body.push(if id == 0 { b'[' } else { b',' });
                write_call(&mut body, id, batch.tail(index));
                id += 1;
            }
        }
        body.push(b']');
        body
    }
}

const HEAD: &[u8] = br#"{"jsonrpc":"2.0","id":"#;

fn write_call(out: &mut Vec<u8>, id: usize, tail: &[u8]) {
    out.extend_from_slice(HEAD);
    write_number(out, id);
    out.extend_from_slice(tail);
}

fn write_number(out: &mut Vec<u8>, number: usize) {
    if number >= 10 {
        write_number(out, number / 10);
    }
    out.push(b"0123456789"[number % 10]);
}

fn begin_tail(out: &mut Vec<u8>, method: &'static str) {
    out.extend_from_slice(br#","method":""#);
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(br#"","params":"#);
}

/// Writes a call from behind its id on. Parameters that cannot be serialized
/// (there are none among strings, numbers and lists) become `null`, which nodes
/// refuse.
fn write_tail(out: &mut Vec<u8>, method: &'static str, params: &impl Serialize) {
    begin_tail(out, method);
    let params_start = out.len();
    if serde_json::to_writer(&mut *out, params).is_err() {
        out.truncate(params_start);
        out.extend_from_slice(b"null");
    }
    out.push(b'}');
}

/// One answer: either the result or the refusal.
pub(crate) struct Answer<T> {
    pub(crate) outcome: Result<T, RpcError>,
    /// `None` where it is no number: refusals of unreadable calls have `null`.
    pub(crate) id: Option<u64>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Value>,
}

impl From<Refusal> for RpcError {
    fn from(refusal: Refusal) -> Self {
        Self::Rpc {
            code: refusal.code,
            message: refusal.message,
            data: refusal.data,
        }
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Id,
    Result,
    Error,
    #[serde(other)]
    Other,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Answer<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnswerVisitor(PhantomData))
    }
}

struct AnswerVisitor<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for AnswerVisitor<T> {
    type Value = Answer<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC answer")
    }

    /// A `null` result is a result where the type takes null ("no such
    /// receipt"), and beside an error it means nothing.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Answer<T>, A::Error> {
        let (mut result, mut error, mut id) = (None, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Result => result = Some(map.next_value::<Option<T>>()?),
                Field::Error => error = map.next_value::<Option<Refusal>>()?,
                Field::Id => id = map.next_value::<Value>()?.as_u64(),
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let outcome = match (error, result) {
            (Some(error), _) => Err(error.into()),
            (None, Some(Some(result))) => Ok(result),
            (None, Some(None)) => Ok(null()?),
            (None, None) => return Err(serde::de::Error::missing_field("result")),
        };
        Ok(Answer { outcome, id })
    }
}

fn null<T: DeserializeOwned, E: serde::de::Error>() -> Result<T, E> {
    T::deserialize(serde::de::value::UnitDeserializer::<E>::new())
}

/// The answers to so many calls as they came, in the order of the calls;
/// `None` where a call has no answer, or has two.
pub(crate) fn in_order(body: &Bytes, calls: usize) -> Result<Vec<Option<Bytes>>, Unordered> {
    let Some(parts) = elements(body) else {
        return Err(match serde_json::from_slice::<Answer<IgnoredAny>>(body) {
            Ok(Answer { outcome, .. }) => {
                outcome.err().map_or(Unordered::NotJson, Unordered::Refused)
            }
            Err(_) => Unordered::NotJson,
        });
    };
    let mut slots = vec![None; calls];
    let mut twice = vec![false; calls];
    for part in parts {
        let answer = body.slice(part);
        let id = serde_json::from_slice::<Numbered>(&answer)
            .ok()
            .and_then(|n| n.id);
        let index = id
            .and_then(|id| usize::try_from(id).ok())
            .filter(|i| *i < calls);
        match index {
            Some(index) if slots[index].is_some() => twice[index] = true,
            Some(index) => slots[index] = Some(answer),
            // It answers nothing that was asked; if it is a refusal, it is of all.
            None => {
                if let Ok(Answer {
                    outcome: Err(error),
                    ..
                }) = serde_json::from_slice::<Answer<IgnoredAny>>(&answer)
                {
                    return Err(Unordered::Refused(error));
                }
            }
        }
    }
    for (slot, _) in slots.iter_mut().zip(twice).filter(|(_, twice)| *twice) {
        *slot = None;
    }
    Ok(slots)
}

#[derive(Deserialize)]
struct Numbered {
    #[serde(default)]
    id: Option<u64>,
}

/// Why a batch has no list of answers.
#[derive(Debug)]
pub(crate) enum Unordered {
    /// The node refused the batch as a whole.
    Refused(RpcError),
    /// It is not JSON-RPC.
    NotJson,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<T: DeserializeOwned>(text: &str) -> Result<T, RpcError> {
        serde_json::from_str::<Answer<T>>(text).unwrap().outcome
    }

    #[test]
    fn null_is_a_result_only_where_the_type_takes_it() {
        let text = r#"{"jsonrpc":"2.0","id":0,"result":null}"#;
        assert_eq!(answer::<Option<String>>(text).unwrap(), None);
        assert!(serde_json::from_str::<Answer<String>>(text).is_err());
        assert!(serde_json::from_str::<Answer<String>>(r#"{"id":0}"#).is_err());
    }

    #[test]
    fn an_error_wins_over_a_null_result() {
        let text = r#"{"id":1,"result":null,"error":{"code":3,"message":"execution reverted","data":"0x08"}}"#;
        match answer::<String>(text) {
            Err(RpcError::Rpc {
                code,
                message,
                data,
            }) => {
                assert_eq!((code, message.as_str()), (3, "execution reverted"));
                assert_eq!(data, Some(Value::from("0x08")));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_batch_is_one_json_array_in_the_order_of_its_calls() {
        let mut batch = Batch::new();
        batch.push("eth_chainId", &[(); 0]);
        batch.push("eth_getCode", &("0xab", "latest"));
        let text = String::from_utf8(Batch::together([&batch].into_iter())).unwrap();
        assert_eq!(
            text,
            r#"[{"jsonrpc":"2.0","id":0,"method":"eth_chainId","params":[]},{"jsonrpc":"2.0","id":1,"method":"eth_getCode","params":["0xab","latest"]}]"#
        );
    }

    fn ordered(text: &'static str, calls: usize) -> Vec<Option<String>> {
        let texts = in_order(&Bytes::from_static(text.as_bytes()), calls).unwrap();
        let read = |b: Bytes| String::from_utf8(b.to_vec()).unwrap();
        texts.into_iter().map(|t| t.map(read)).collect()
    }

    #[test]
    fn calls_of_several_batches_are_numbered_through() {
        let (mut one, mut two) = (Batch::new(), Batch::new());
        (0..9).for_each(|_| one.push("a", &[(); 0]));
        two.push("b", &[1]);
        two.push("c", &[2]);
        let text = String::from_utf8(Batch::together([&one, &two].into_iter())).unwrap();
        assert!(text.ends_with(r#"{"jsonrpc":"2.0","id":9,"method":"b","params":[1]},{"jsonrpc":"2.0","id":10,"method":"c","params":[2]}]"#), "{text}");
        assert_eq!(
            two.single(1),
            br#"{"jsonrpc":"2.0","id":0,"method":"c","params":[2]}"#
        );
    }

    #[test]
    fn answers_in_another_order_find_their_calls() {
        let answers = ordered(r#"[{"id":1,"result":"b"},{"id":0,"result":"a"}]"#, 2);
        assert!(answers[0].as_ref().unwrap().contains("\"a\""));
        assert!(answers[1].as_ref().unwrap().contains("\"b\""));
    }

    #[test]
    fn a_call_without_an_answer_of_its_own_is_noticed() {
        assert_eq!(ordered(r#"[{"id":1,"result":"b"}]"#, 2)[0], None);
        assert_eq!(
            ordered(r#"[{"id":7,"result":"b"},{"result":"b"}]"#, 1),
            [None]
        );
        let twice = ordered(
            r#"[{"id":0,"result":"a"},{"id":0,"result":"b"},{"id":1,"result":"c"}]"#,
            2,
        );
        assert!(twice[0].is_none() && twice[1].is_some());
        let refused = r#"{"id":null,"error":{"code":-32600,"message":"no batches"}}"#;
        let refused = in_order(&Bytes::from_static(refused.as_bytes()), 2);
        assert!(matches!(refused, Err(Unordered::Refused(_))));
    }
}
