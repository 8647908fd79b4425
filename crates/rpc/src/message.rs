//! Requests written straight into bytes, answers read straight into types.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::RpcError;

/// Calls that travel in one HTTP request. A node may still run them at
/// different heights: whatever must be consistent belongs into one call.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) body: Vec<u8>,
    pub(crate) methods: Vec<&'static str>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a call. `params` must serialize to a JSON array or object.
    pub fn push(&mut self, method: &'static str, params: &impl Serialize) {
        self.body
            .push(if self.methods.is_empty() { b'[' } else { b',' });
        write_call(&mut self.body, self.methods.len(), method, params);
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
}

/// Writes one request object. Parameters that cannot be serialized (there are
/// none among strings, numbers and lists) become `null`, which nodes refuse.
pub(crate) fn write_call(
    out: &mut Vec<u8>,
    id: usize,
    method: &'static str,
    params: &impl Serialize,
) {
    let start = out.len();
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.to_string().as_bytes());
    out.extend_from_slice(br#","method":""#);
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(br#"","params":"#);
    let params_start = out.len();
    if serde_json::to_writer(&mut *out, params).is_err() {
        out.truncate(params_start);
        out.extend_from_slice(b"null");
    }
    out.push(b'}');
    debug_assert!(out.len() > start);
}

/// One answer: its id and either the result or the refusal.
pub(crate) struct Answer<T> {
    pub(crate) id: Option<u64>,
    pub(crate) outcome: Result<T, RpcError>,
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
        let (mut id, mut result, mut error) = (None, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Id => id = map.next_value::<Option<u64>>()?,
                Field::Result => result = Some(map.next_value::<Option<T>>()?),
                Field::Error => error = map.next_value::<Option<Refusal>>()?,
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
        Ok(Answer { id, outcome })
    }
}

fn null<T: DeserializeOwned, E: serde::de::Error>() -> Result<T, E> {
    T::deserialize(serde::de::value::UnitDeserializer::<E>::new())
}

/// The answers of a batch in the order of its calls; a lone error object
/// answers all of them.
pub(crate) struct Answers<T>(pub(crate) Vec<Answer<T>>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Answers<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnswersVisitor(PhantomData))
    }
}

struct AnswersVisitor<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for AnswersVisitor<T> {
    type Value = Answers<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of JSON-RPC answers")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Answers<T>, A::Error> {
        AnswerVisitor(PhantomData)
            .visit_map(map)
            .map(|one| Answers(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Answers<T>, A::Error> {
        let mut answers = Vec::with_capacity(seq.size_hint().unwrap_or(4).min(64));
        while let Some(answer) = seq.next_element()? {
            answers.push(answer);
        }
        Ok(Answers(answers))
    }
}

impl<T> Answers<T> {
    /// One result per call, whatever order they came in.
    pub(crate) fn in_order(self, calls: usize) -> Result<Vec<Result<T, RpcError>>, Unanswered> {
        let mut slots: Vec<Option<Result<T, RpcError>>> = (0..calls).map(|_| None).collect();
        for answer in self.0 {
            let slot = answer
                .id
                .and_then(|id| slots.get_mut(usize::try_from(id).ok()?));
            match (slot, answer.outcome) {
                (Some(slot), outcome) => *slot = Some(outcome),
                (None, Err(error)) => return Err(Unanswered::Refused(error)),
                (None, Ok(_)) => return Err(Unanswered::Missing),
            }
        }
        slots
            .into_iter()
            .collect::<Option<_>>()
            .ok_or(Unanswered::Missing)
    }
}

/// Why a batch has no answer for each call.
pub(crate) enum Unanswered {
    /// The node refused the batch as a whole.
    Refused(RpcError),
    /// Some calls were passed over.
    Missing,
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
        let text = String::from_utf8([batch.body, b"]".to_vec()].concat()).unwrap();
        assert_eq!(
            text,
            r#"[{"jsonrpc":"2.0","id":0,"method":"eth_chainId","params":[]},{"jsonrpc":"2.0","id":1,"method":"eth_getCode","params":["0xab","latest"]}]"#
        );
    }

    #[test]
    fn answers_in_another_order_find_their_calls() {
        let answers: Answers<String> = serde_json::from_str(
            r#"[{"id":1,"result":"b"},{"id":0,"error":{"code":-32000,"message":"no"}}]"#,
        )
        .unwrap();
        let ordered = answers.in_order(2).ok().unwrap();
        assert!(ordered[0].is_err());
        assert_eq!(ordered[1].as_ref().unwrap(), "b");
    }

    #[test]
    fn a_call_without_an_answer_is_noticed() {
        let answers: Answers<String> = serde_json::from_str(r#"[{"id":1,"result":"b"}]"#).unwrap();
        assert!(matches!(answers.in_order(2), Err(Unanswered::Missing)));
        let refused: Answers<String> =
            serde_json::from_str(r#"{"id":null,"error":{"code":-32600,"message":"no batches"}}"#)
                .unwrap();
        assert!(matches!(refused.in_order(2), Err(Unanswered::Refused(_))));
    }
}
