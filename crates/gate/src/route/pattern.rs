//! Route patterns: `"VERB /path"` or `/path`.

use std::fmt;
use std::str::FromStr;

use http::Method;
use percent_encoding::percent_decode_str;

use super::path::folded;

/// Verbs that a pattern may start with.
const VERBS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY",
];

/// Most bytes of a pattern.
const MAX_PATTERN_BYTES: usize = 1024;

/// Which requests a route covers, such as `GET /reports/:id` or `/premium/*`.
///
/// Without a verb every method is covered; `GET` covers HEAD as well. `*`
/// stands for any text, slashes included; `:name` and `[name]` for one or more
/// characters of a segment; a trailing `/*` also covers the bare prefix. Case
/// does not matter. Source: the route syntax of the x402 server SDKs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    verb: Option<String>,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This text.
    Literal(String),
    /// One or more characters of one segment.
    Name,
    /// Any text.
    Any,
    /// Nothing, or a slash and any text. Always last.
    Below,
}

/// Why a text is not a route pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Neither `*` nor a path that starts with a slash.
    #[error("the route `{0}` has no path; write it as `GET /path`, `/path/*` or `*`")]
    NoPath(String),
    /// A verb that is not one of HTTP's.
    #[error(
        "the route `{0}` starts with an unknown verb; write GET, POST, … or leave it out to cover all"
    )]
    UnknownVerb(String),
    /// `:` or `[` without a name.
    #[error("the route `{0}` has a parameter without a name; write `:name` or `[name]`")]
    NoName(String),
    /// Longer than 1024 bytes.
    #[error("a route has at most 1024 characters; shorten it")]
    TooLong,
}

impl Pattern {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The verb, if the pattern names one, in upper case.
    #[must_use]
    pub fn verb(&self) -> Option<&str> {
        self.verb.as_deref()
    }

    /// Whether a method is covered. HEAD follows GET; case does not matter.
    #[must_use]
    pub fn covers(&self, method: &Method) -> bool {
        self.verb.as_deref().is_none_or(|verb| {
            method.as_str().eq_ignore_ascii_case(verb)
                || (verb == "GET" && method.as_str().eq_ignore_ascii_case("HEAD"))
        })
    }

    /// Whether a request for a path, as it arrives, is one that it covers: by any reading
    /// that the gate takes for the path.
    #[must_use]
    pub fn is_asked(&self, method: &Method, raw_path: &str) -> bool {
        let decision = super::table::decide(std::iter::once(self), method, raw_path);
        matches!(decision, super::table::Decision::Paid { .. })
    }

    /// Whether a folded path (lower case, no trailing slash) fits.
    pub(crate) fn fits(&self, path: &str) -> bool {
        match self.tokens.as_slice() {
            [Token::Literal(text)] => text == path,
            [Token::Literal(text), Token::Below] => path
                .strip_prefix(text.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            tokens => fits(tokens, path),
        }
    }
}

/// Runs all ways to match side by side: work is at most path times pattern.
fn fits(tokens: &[Token], path: &str) -> bool {
    // `open[i]`: the path so far fits the first `i` tokens; literals are
    // compared whole, so positions are visited in order of the path.
    let ends: Vec<usize> = path
        .char_indices()
        .map(|(at, _)| at)
        .chain([path.len()])
        .collect();
    let mut from = vec![0_usize];
    for token in tokens {
        from = match token {
            Token::Literal(text) => from
                .into_iter()
                .filter(|&at| path[at..].starts_with(text.as_str()))
                .map(|at| at + text.len())
                .collect(),
            Token::Any => from.first().map_or_else(Vec::new, |&first| {
                ends.iter().copied().filter(|&at| at >= first).collect()
            }),
            Token::Name => within_segment(path, &from, &ends),
            Token::Below => {
                return from
                    .iter()
                    .any(|&at| at == path.len() || path[at..].starts_with('/'));
            }
        };
    }
    from.contains(&path.len())
}

/// Where a name may end that started at one of `from`, in order and once each.
fn within_segment(path: &str, from: &[usize], ends: &[usize]) -> Vec<usize> {
    let mut reached = Vec::new();
    let mut starts = from.iter().copied().peekable();
    let mut inside = false;
    for pair in ends.windows(2) {
        while starts.next_if(|&start| start <= pair[0]).is_some() {
            inside = true;
        }
        inside = inside && !path[pair[0]..].starts_with('/');
        if inside {
            reached.push(pair[1]);
        }
    }
    reached
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong);
        }
        let mut words = text.split_whitespace();
        let (verb, path) = match (words.next(), words.next(), words.next()) {
            (Some(path), None, _) => (None, path),
            (Some(verb), Some(path), None) => (Some(verb.to_ascii_uppercase()), path),
            _ => return Err(PatternError::NoPath(text.to_owned())),
        };
        if verb.as_deref().is_some_and(|v| !VERBS.contains(&v)) {
            return Err(PatternError::UnknownVerb(text.to_owned()));
        }
        if path != "*" && !path.starts_with('/') {
            return Err(PatternError::NoPath(text.to_owned()));
        }
        Ok(Self {
            tokens: tokens(path).ok_or_else(|| PatternError::NoName(text.to_owned()))?,
            text: text.trim().to_owned(),
            verb,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn tokens(path: &str) -> Option<Vec<Token>> {
    if matches!(path, "*" | "/*") {
        return Some(vec![Token::Any]);
    }
    let (path, below) = match path.strip_suffix("/*") {
        Some(prefix) => (prefix, true),
        None => (path, false),
    };
    let plain = percent_decode_str(path).decode_utf8_lossy().into_owned();
    let mut tokens = Vec::new();
    let mut literal = String::new();
    let folded = folded(plain.as_bytes());
    let mut rest = folded.as_str();
    while let Some(c) = rest.chars().next() {
        let (token, after) = match c {
            '*' => (Some(Token::Any), &rest[1..]),
            ':' => (Some(Token::Name), after_name(&rest[1..])?),
            '[' => bracketed(&rest[1..])?,
            _ => (None, &rest[c.len_utf8()..]),
        };
        match token {
            Some(token) => {
                flush(&mut literal, &mut tokens);
                tokens.push(token);
            }
            // Empty segments never reach a pattern, so they cannot be asked for.
            None if c == '/' && literal.ends_with('/') => {}
            None => literal.push(c),
        }
        rest = after;
    }
    flush(&mut literal, &mut tokens);
    tokens.extend(below.then_some(Token::Below));
    Some(tokens)
}

fn flush(literal: &mut String, tokens: &mut Vec<Token>) {
    if !literal.is_empty() {
        tokens.push(Token::Literal(std::mem::take(literal)));
    }
}

fn after_name(text: &str) -> Option<&str> {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    (end > 0).then(|| &text[end..])
}

/// `[name]` is one segment's text; `[...name]` is everything below.
fn bracketed(text: &str) -> Option<(Option<Token>, &str)> {
    let (token, name) = match text.strip_prefix("...") {
        Some(name) => (Token::Any, name),
        None => (Token::Name, text),
    };
    let after = after_name(name)?.strip_prefix(']')?;
    Some((Some(token), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, path: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().fits(path)
    }

    #[test]
    fn names_and_stars_stay_within_their_meaning() {
        assert!(fits("/a/:x/c", "/a/b/c"));
        assert!(!fits("/a/:x/c", "/a/b/b/c"));
        assert!(!fits("/a/:x/c", "/a//c"));
        assert!(fits("/a/*/c", "/a/b/b/c"));
        assert!(fits("/a/:x:y", "/a/bc"));
        assert!(!fits("/a/:x:y", "/a/b"));
        assert!(fits("/files/*.json", "/files/a/b.json"));
        assert!(fits("/docs/[...rest]", "/docs/a/b"));
    }

    #[test]
    fn a_pattern_that_protects_nothing_is_an_error() {
        for text in [
            "", "weather", "GTE /x", "GET", "/a/:", "/a/[", "/a/[]", "GET /a b",
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = format!("/{}", "*a".repeat(300));
        assert!(!fits(&pattern, &format!("/{}b", "a".repeat(8000))));
    }
}
