//! One request path, and every way to read it.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Longest path that is looked at, in bytes (the query does not count).
pub(crate) const MAX_PATH_BYTES: usize = 8 * 1024;

/// A path that is still encoded after this many decodings is refused.
const MAX_ENCODING_DEPTH: usize = 4;

/// Why a request path is refused before any price is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than 8 KiB.
    #[error("The path is longer than 8192 bytes; shorten it.")]
    TooLong,
    /// Encoded again and again.
    #[error("The path is percent-encoded more than four times over; send it encoded once.")]
    TooDeep,
    /// Different servers would read it as different priced routes.
    #[error("The path can be read in several ways that cost differently; send its plain spelling.")]
    Ambiguous,
    /// Not a path: authority form, or an asterisk without OPTIONS.
    #[error("The request target is not a path; send one that starts with a slash.")]
    NotAPath,
}

impl PathError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "path_too_long",
            Self::TooDeep | Self::Ambiguous => "ambiguous_path",
            Self::NotAPath => "invalid_path",
        }
    }
}

/// A path with its readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spelling {
    /// What is forwarded: unreserved characters decoded, the rest encoded in
    /// upper case, slashes collapsed, dot segments resolved. A trailing slash
    /// stays, since servers may care.
    pub canonical: String,
    /// What routes are compared with: lower case, without trailing slash, each
    /// text once, the plainest first.
    pub readings: Vec<String>,
}

impl Spelling {
    /// Reads a raw path, as it stood on the wire. A query or fragment is cut off.
    pub(crate) fn of(raw: &str) -> Result<Self, PathError> {
        let raw = raw.split(['?', '#']).next().unwrap_or_default();
        if raw.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if let Some(reading) = plain_reading(raw) {
            return Ok(Self {
                canonical: raw.to_owned(),
                readings: vec![reading.into_owned()],
            });
        }
        Ok(Self {
            canonical: canonical(raw.as_bytes()),
            readings: readings(raw.as_bytes())?,
        })
    }
}

/// The one reading of a path that has no other.
pub(super) fn plain_reading(raw: &str) -> Option<Cow<'_, str>> {
    if raw.len() > MAX_PATH_BYTES || !is_plain(raw) {
        return None;
    }
    let is_folded = !raw.bytes().any(|b| b.is_ascii_uppercase());
    Some(match is_folded && (raw.len() == 1 || !raw.ends_with('/')) {
        true => Cow::Borrowed(raw),
        false => Cow::Owned(folded(raw.as_bytes())),
    })
}

/// A path that has exactly one reading: no escapes, no empty or dotted
/// segments, nothing but unreserved characters.
fn is_plain(raw: &str) -> bool {
    let mut before = 0;
    let has_plain_bytes = raw.bytes().all(|byte| {
        let fits = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => true,
            b'/' => before != b'/' && before != b'.',
            b'.' => before != b'/',
            _ => false,
        };
        before = byte;
        fits
    });
    has_plain_bytes && raw.starts_with('/') && before != b'.'
}

fn canonical(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len() + 8);
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        let (value, escaped, tail) = match (byte, escape(tail)) {
            (b'%', Some((value, after))) => (value, true, after),
            _ => (byte, false, tail),
        };
        let unreserved = value.is_ascii_alphanumeric() || b"-._~".contains(&value);
        let literal = unreserved || (!escaped && b"/!$&'()*+,;=:@[]".contains(&value));
        if literal {
            text.push(char::from(value));
        } else {
            text.push_str(&format!("%{value:02X}"));
        }
        rest = tail;
    }
    resolved(text.as_bytes(), true)
}

/// The value of the two hex digits that follow a percent sign.
fn escape(after_percent: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = after_percent.split_at_checked(2)?;
    let high = char::from(digits[0]).to_digit(16)?;
    let low = char::from(digits[1]).to_digit(16)?;
    Some((u8::try_from(high * 16 + low).ok()?, rest))
}

fn readings(raw: &[u8]) -> Result<Vec<String>, PathError> {
    let mut found: Vec<String> = Vec::with_capacity(8);
    let mut level = raw.to_vec();
    for _ in 0..=MAX_ENCODING_DEPTH {
        for variant in variants(&level) {
            for reading in [
                folded(&collapsed(&variant)),
                folded(resolved(&variant, false).as_bytes()),
            ] {
                if !found.contains(&reading) {
                    found.push(reading);
                }
            }
        }
        let decoded: Vec<u8> = percent_decode(&level).collect();
        if decoded == level {
            return Ok(found);
        }
        level = decoded;
    }
    Err(PathError::TooDeep)
}

/// What servers are known to do to a path before they look it up.
fn variants(path: &[u8]) -> [Vec<u8>; 8] {
    let slashed: Vec<u8> = path
        .iter()
        .map(|&b| if b == b'\\' { b'/' } else { b })
        .collect();
    let bare = without_parameters(&slashed);
    let end = slashed.iter().position(|b| b"?#\0".contains(b));
    let cut = without_parameters(&slashed[..end.unwrap_or(slashed.len())]);
    let (clean, clean_cut) = (without_noise(&bare), without_noise(&cut));
    let (trimmed, trimmed_cut) = (
        without_trailing_dots(&clean),
        without_trailing_dots(&clean_cut),
    );
    let path = path.to_vec();
    [
        path,
        slashed,
        bare,
        cut,
        clean,
        clean_cut,
        trimmed,
        trimmed_cut,
    ]
}

/// Drops `;name=value` from every segment.
fn without_parameters(path: &[u8]) -> Vec<u8> {
    by_segment(path, |segment| {
        segment.split(|&b| b == b';').next().unwrap_or_default()
    })
}

/// Drops the dots and spaces that some file systems ignore at a name's end.
fn without_trailing_dots(path: &[u8]) -> Vec<u8> {
    by_segment(path, |segment| {
        let kept = segment
            .iter()
            .rposition(|b| !b". ".contains(b))
            .map_or(0, |at| at + 1);
        if kept == 0 { segment } else { &segment[..kept] }
    })
}

fn by_segment(path: &[u8], keep: impl Fn(&[u8]) -> &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> = path.split(|&b| b == b'/').map(keep).collect();
    segments.join(&b'/')
}

/// Drops control characters, stray percent signs and bytes that are not UTF-8.
fn without_noise(path: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(path);
    let kept = |c: &char| !c.is_control() && *c != '%' && *c != char::REPLACEMENT_CHARACTER;
    text.chars().filter(kept).collect::<String>().into_bytes()
}

fn collapsed(path: &[u8]) -> Vec<u8> {
    let mut out = vec![b'/'];
    for &byte in path {
        if byte != b'/' || out.last() != Some(&b'/') {
            out.push(byte);
        }
    }
    out
}

/// Collapses slashes and resolves `.` and `..`; never climbs above the root.
fn resolved(path: &[u8], keep_trailing_slash: bool) -> String {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut open = false;
    for segment in path.split(|&b| b == b'/') {
        open = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    let mut text = String::with_capacity(path.len() + 1);
    for segment in &kept {
        text.push('/');
        text.push_str(&String::from_utf8_lossy(segment));
    }
    if text.is_empty() || (keep_trailing_slash && open) {
        text.push('/');
    }
    text
}

/// Lower case, without trailing slash (but the root stays a slash).
pub(super) fn folded(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let trimmed = text.trim_end_matches('/');
    if trimmed.is_empty() {
        "/".to_owned()
    } else {
        trimmed.to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(raw: &str) -> String {
        Spelling::of(raw).unwrap().canonical
    }

    #[test]
    fn the_forwarded_path_has_one_spelling() {
        assert_eq!(forwarded("/a/b"), "/a/b");
        assert_eq!(forwarded("/%61//./b/../c/"), "/a/c/");
        assert_eq!(forwarded("/a%2fb"), "/a%2Fb");
        assert_eq!(forwarded("/a\\b"), "/a%5Cb");
        assert_eq!(forwarded("/a%"), "/a%25");
        assert_eq!(forwarded("/%2e%2e/%2e/x"), "/x");
        assert_eq!(forwarded("/a b"), "/a%20b");
        assert_eq!(forwarded(""), "/");
        assert_eq!(forwarded("/a/.."), "/");
    }

    #[test]
    fn canonical_is_a_fixed_point() {
        for raw in [
            "/a%",
            "/%2525",
            "/x/%2e%2e/y",
            "/a;b=c/d",
            "//\\",
            "/é",
            "/%ff/",
        ] {
            let once = forwarded(raw);
            assert_eq!(forwarded(&once), once, "{raw}");
        }
    }

    #[test]
    fn a_plain_path_has_one_reading() {
        assert_eq!(
            Spelling::of("/Paid/x.json").unwrap().readings,
            ["/paid/x.json"]
        );
    }

    #[test]
    fn what_counts_as_plain_reads_the_same_the_long_way() {
        let raws = [
            "/",
            "/a",
            "/a/",
            "/A.b/c..d/",
            "/a./b",
            "/a.",
            "/.",
            "/..",
            "/a/..",
            "/a/.b",
            "//",
            "/a//b",
            "/a;b",
            "/a%20",
            "",
            "a",
            "/a b",
            "/~x-_/9",
            "/é",
        ];
        for raw in raws {
            let long_way = readings(raw.as_bytes()).unwrap();
            match plain_reading(raw) {
                Some(reading) => {
                    assert_eq!(long_way, [reading.into_owned()], "{raw}");
                    assert_eq!(canonical(raw.as_bytes()), raw);
                }
                None => assert!(
                    long_way.len() > 1 || canonical(raw.as_bytes()) != raw || raw.contains('.'),
                    "{raw} is plain"
                ),
            }
        }
    }

    #[test]
    fn endless_encoding_is_refused() {
        assert_eq!(Spelling::of("/%252525252570"), Err(PathError::TooDeep));
        assert_eq!(
            Spelling::of(&format!("/{}", "a".repeat(9000))),
            Err(PathError::TooLong)
        );
    }
}
