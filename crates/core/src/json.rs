//! Strict JSON from strangers: bounded, and with one meaning only.
//!
//! Two parsers that read the same text differently are how checks are passed
//! and then evaded. So text is refused that is too long, nested too deeply, not
//! UTF-8, followed by anything, or that gives an object the same key twice, in
//! whatever spelling.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// How much JSON is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Longest text in bytes.
    pub max_bytes: usize,
    /// Deepest nesting; the outermost object or array counts as 1.
    pub max_depth: usize,
}

impl JsonLimits {
    /// For the content of a payment header, which is at most 16 KiB before decoding.
    pub const HEADER: Self = Self {
        max_bytes: 16 * 1024,
        max_depth: 64,
    };
    /// For a request to a facilitator or to a door that takes one payment.
    pub const BODY: Self = Self {
        max_bytes: 64 * 1024,
        max_depth: 64,
    };
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self::BODY
    }
}

/// Why a text was not read as JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Longer than allowed.
    #[error("the JSON is longer than {max_bytes} bytes; send less")]
    TooLong {
        /// The limit.
        max_bytes: usize,
    },
    /// Nested deeper than allowed.
    #[error("the JSON is nested deeper than {max_depth} levels; flatten it")]
    TooDeep {
        /// The limit.
        max_depth: usize,
    },
    /// An object has the same key twice.
    #[error("the JSON has the same key twice in one object; send each key once")]
    DuplicateKey,
    /// Not UTF-8.
    #[error("the JSON is not UTF-8; send UTF-8")]
    NotUtf8,
    /// Neither an object nor what was expected at this place.
    #[error("the JSON is not an object; send an object")]
    NotAnObject,
    /// Not JSON, followed by something, or not of the expected shape.
    #[error("the JSON is malformed or lacks a field; correct it")]
    Malformed(#[source] serde_json::Error),
}

/// Reads one JSON value of any kind.
///
/// # Errors
/// [`JsonError`], without looking further than the first fault.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], limits: &JsonLimits) -> Result<T, JsonError> {
    if bytes.len() > limits.max_bytes {
        return Err(JsonError::TooLong {
            max_bytes: limits.max_bytes,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?;
    Scan::new(text, limits.max_depth).run()?;
    serde_json::from_str(text).map_err(JsonError::Malformed)
}

/// Reads one JSON object. Structs are to be read with this: they would
/// otherwise accept an array of their fields.
///
/// # Errors
/// As [`from_slice`], and [`JsonError::NotAnObject`].
pub fn object_from_slice<T: DeserializeOwned>(
    bytes: &[u8],
    limits: &JsonLimits,
) -> Result<T, JsonError> {
    let first = bytes
        .iter()
        .find(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
    match first {
        Some(b'{') | None => from_slice(bytes, limits),
        Some(_) => Err(JsonError::NotAnObject),
    }
}

/// Reads a text that [`from_slice`] has let pass, as another type.
pub(crate) fn reread<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    serde_json::from_slice(bytes).map_err(JsonError::Malformed)
}

impl JsonError {
    /// Where and what, for the log only: it names no content, because the content
    /// may be a signed payment.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Malformed(e) => format!(
                "{:?} error in line {} column {}",
                e.classify(),
                e.line(),
                e.column()
            ),
            other => other.to_string(),
        }
    }
}

/// An open object or array.
struct Frame {
    /// Where its keys begin in [`Scan::keys`]; `None` for an array.
    keys_from: Option<usize>,
    /// Whether the next string is a key.
    at_key: bool,
}

/// Looks at structure only. What it lets pass and is not JSON, the parser refuses.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    max_depth: usize,
    open: Vec<Frame>,
    keys: Vec<Cow<'a, str>>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str, max_depth: usize) -> Self {
        Self {
            text,
            at: 0,
            max_depth,
            open: Vec::with_capacity(8),
            keys: Vec::with_capacity(16),
        }
    }

    fn run(mut self) -> Result<(), JsonError> {
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            self.at += 1;
            match byte {
                b'{' => self.push(true)?,
                b'[' => self.push(false)?,
                b'}' | b']' => self.pop()?,
                b',' => self.next_item(),
                b'"' => self.string()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn push(&mut self, object: bool) -> Result<(), JsonError> {
        if self.open.len() >= self.max_depth {
            return Err(JsonError::TooDeep {
                max_depth: self.max_depth,
            });
        }
        self.open.push(Frame {
            keys_from: object.then_some(self.keys.len()),
            at_key: object,
        });
        Ok(())
    }

    fn next_item(&mut self) {
        if let Some(frame) = self.open.last_mut() {
            frame.at_key = frame.keys_from.is_some();
        }
    }

    fn pop(&mut self) -> Result<(), JsonError> {
        let Some(from) = self.open.pop().and_then(|frame| frame.keys_from) else {
            return Ok(());
        };
        if has_duplicate(&mut self.keys[from..]) {
            return Err(JsonError::DuplicateKey);
        }
        self.keys.truncate(from);
        Ok(())
    }

    /// Passes a string whose opening quote was passed, and keeps it if it is a key.
    fn string(&mut self) -> Result<(), JsonError> {
        let bytes = self.text.as_bytes();
        let (start, mut escaped) = (self.at, false);
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(next) = rest.iter().position(|b| matches!(b, b'"' | b'\\')) else {
                // Unterminated: the parser says so.
                self.at = bytes.len();
                return Ok(());
            };
            self.at += next;
            if rest[next] == b'"' {
                break;
            }
            escaped = true;
            self.at += 2;
        }
        let end = self.at;
        self.at += 1;
        if let Some(frame) = self.open.last_mut().filter(|frame| frame.at_key) {
            frame.at_key = false;
            let key = if escaped {
                let quoted = &self.text[start - 1..=end];
                Cow::Owned(serde_json::from_str(quoted).map_err(JsonError::Malformed)?)
            } else {
                Cow::Borrowed(&self.text[start..end])
            };
            self.keys.push(key);
        }
        Ok(())
    }
}

/// Sorting bounds the work where a stranger sends thousands of keys.
fn has_duplicate(keys: &mut [Cow<'_, str>]) -> bool {
    if keys.len() <= 8 {
        return keys.iter().enumerate().any(|(i, k)| keys[..i].contains(k));
    }
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(text: &str) -> Result<Value, JsonError> {
        from_slice(text.as_bytes(), &JsonLimits::BODY)
    }

    #[test]
    fn a_key_given_twice_is_refused_in_every_spelling_and_place() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"\u0061":1,"a":2}"#,
            r#"{"x":{"y":[{"a":1,"b":{"a":1},"a":2}]}}"#,
            r#"{"a":{"a":1},"b":[{"a":1}],"a":[]}"#,
            r#"{"\/":1,"/":2}"#,
            r#"{"":1,"":2}"#,
            r#"{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"1":0}"#,
        ] {
            assert!(
                matches!(read(text), Err(JsonError::DuplicateKey)),
                "{text} was read"
            );
        }
    }

    #[test]
    fn equal_keys_of_different_objects_are_fine() {
        for text in [
            r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#,
            r#"{"a":"a","b":"a"}"#,
            r#"["a","a",{"a":["a","a"]}]"#,
            r#"{"a":",\"a\":","b":"{\"a\":1,\"a\":2}"}"#,
        ] {
            assert!(read(text).is_ok(), "{text} was refused");
        }
    }

    #[test]
    fn nesting_is_counted_exactly() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read(&nested(64)).is_ok());
        assert!(matches!(read(&nested(65)), Err(JsonError::TooDeep { .. })));
        let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        assert!(read(&objects(64)).is_ok());
        assert!(matches!(read(&objects(65)), Err(JsonError::TooDeep { .. })));
    }

    #[test]
    fn what_is_not_one_json_text_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "{}x",
            "{} {}",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "\"",
            "\"\\",
            "nul",
            "{\"a\\",
            "{\"\\ud800\":1}",
            "]",
            "NaN",
            "'a'",
        ] {
            assert!(
                matches!(read(text), Err(JsonError::Malformed(_))),
                "{text} was read"
            );
        }
        assert!(matches!(
            from_slice::<Value>(b"\"\xff\"", &JsonLimits::BODY),
            Err(JsonError::NotUtf8)
        ));
    }

    #[test]
    fn length_is_checked_before_anything_else() {
        let limits = JsonLimits {
            max_bytes: 4,
            max_depth: 64,
        };
        assert!(from_slice::<Value>(b"[12]", &limits).is_ok());
        assert!(matches!(
            from_slice::<Value>(b"\xff\xff\xff\xff\xff", &limits),
            Err(JsonError::TooLong { max_bytes: 4 })
        ));
    }

    #[test]
    fn an_array_of_fields_is_not_an_object() {
        #[derive(Debug, serde::Deserialize)]
        struct One {
            a: u8,
        }
        assert_eq!(
            object_from_slice::<One>(b" {\"a\":1}", &JsonLimits::BODY)
                .unwrap()
                .a,
            1
        );
        assert!(matches!(
            object_from_slice::<One>(b"[1]", &JsonLimits::BODY),
            Err(JsonError::NotAnObject)
        ));
    }
}
