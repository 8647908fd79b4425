//! The hash chain that each writer's events form.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tollway_core::Timestamp;

/// Events between two checkpoints.
pub(crate) const CHECKPOINT_EVERY: u64 = 1_000;

/// Where a writer's chain ends.
#[derive(Clone, Debug)]
pub(crate) struct ChainHead {
    /// Number of the last event; 0 before the first.
    pub seq: u64,
    /// Hash of the last event, or what the first one follows.
    pub hash: String,
    /// Number of the last event that a checkpoint covers.
    pub checkpointed: u64,
}

impl ChainHead {
    pub const fn before_the_first() -> Self {
        Self {
            seq: 0,
            hash: String::new(),
            checkpointed: 0,
        }
    }
}

/// What an event says, as it is hashed and stored.
pub(crate) struct Entry<'a> {
    pub writer: &'a str,
    pub seq: u64,
    pub at: Timestamp,
    pub subject: &'a str,
    pub kind: &'a str,
    pub data: &'a str,
}

/// SHA-256 over the previous hash and every field with its length, so that no
/// two different events share one preimage.
pub(crate) fn hash(previous: &str, entry: &Entry<'_>) -> String {
    let mut hasher = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    field(previous.as_bytes());
    field(entry.writer.as_bytes());
    field(&entry.seq.to_be_bytes());
    field(&entry.at.millis().to_be_bytes());
    field(entry.subject.as_bytes());
    field(entry.kind.as_bytes());
    field(entry.data.as_bytes());
    hex::encode(hasher.finalize())
}

/// Longest hex text that a story keeps: a 32-byte hash with `0x`. Signatures
/// and raw transactions are longer.
const LONGEST_HEX: usize = 66;
/// Longest other text that a story keeps.
const LONGEST_TEXT: usize = 2_048;

/// The facts without what could be a signature, a key or payload bytes.
pub(crate) fn redacted(data: Value) -> Value {
    match data {
        Value::String(text) => Value::String(redacted_text(text)),
        Value::Array(items) => items.into_iter().map(redacted).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| {
                let value = if is_secret(&name) {
                    Value::from("(left out)")
                } else {
                    redacted(value)
                };
                (name, value)
            })
            .collect(),
        plain => plain,
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "signature",
        "payload",
        "private",
        "secret",
        "rawtransaction",
        "raw_transaction",
    ]
    .iter()
    .any(|word| name.contains(word))
}

fn redacted_text(text: String) -> String {
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hex && text.len() > LONGEST_HEX {
        return format!("({} bytes left out)", digits.len() / 2);
    }
    if text.len() > LONGEST_TEXT {
        let kept: String = text.chars().take(LONGEST_TEXT / 4).collect();
        return format!("{kept}… ({} bytes)", text.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_story_never_keeps_a_signature() {
        let signature = format!("0x{}", "ab".repeat(65));
        let hash = format!("0x{}", "cd".repeat(32));
        let kept = redacted(json!({
            "transaction": hash,
            "said": [signature],
            "signature": "short",
        }));
        assert_eq!(kept["transaction"], json!(hash));
        assert_eq!(kept["said"], json!(["(65 bytes left out)"]));
        assert_eq!(kept["signature"], json!("(left out)"));
    }

    #[test]
    fn fields_cannot_flow_into_each_other() {
        let entry = |subject, kind| Entry {
            writer: "w",
            seq: 1,
            at: Timestamp::from_millis(1),
            subject,
            kind,
            data: "{}",
        };
        assert_ne!(hash("", &entry("ab", "c")), hash("", &entry("a", "bc")));
    }
}
