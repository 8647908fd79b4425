//! Cutting a JSON array into its elements without reading them.

use std::ops::Range;

/// Where the elements of an array lie; `None` for what is not an array. What
/// lies there need not be JSON: whoever reads an element finds out.
pub(crate) fn elements(text: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut at = text.iter().position(|b| !b.is_ascii_whitespace())?;
    if text[at] != b'[' {
        return None;
    }
    at += 1;
    let (mut found, mut start, mut depth) = (Vec::new(), at, 0_usize);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at)?,
            b'{' | b'[' => depth += 1,
            b',' if depth == 0 => {
                found.push(start..at);
                start = at + 1;
            }
            b']' if depth == 0 => {
                let blank = text[start..at].iter().all(u8::is_ascii_whitespace);
                if !(blank && found.is_empty()) {
                    found.push(start..at);
                }
                let rest = &text[at + 1..];
                return rest.iter().all(u8::is_ascii_whitespace).then_some(found);
            }
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The closing quote of a string that begins here.
fn end_of_string(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Option<Vec<&str>> {
        let parts = elements(text.as_bytes())?;
        Some(parts.into_iter().map(|r| text[r].trim()).collect())
    }

    #[test]
    fn an_array_is_cut_where_its_elements_end() {
        assert_eq!(cut(" [ ] "), Some(vec![]));
        assert_eq!(cut("[1]"), Some(vec!["1"]));
        assert_eq!(
            cut(r#"[{"a":[1,2]}, "],\"[" ,[],{"b":"}\\"}]"#),
            Some(vec![r#"{"a":[1,2]}"#, r#""],\"[""#, "[]", r#"{"b":"}\\"}"#])
        );
    }

    #[test]
    fn what_is_no_whole_array_is_not_cut() {
        for text in [
            "", " ", "{}", "[", "[1", "[\"]", "[\"\\", "[}]", "[1]x", "[1]]",
        ] {
            assert_eq!(cut(text), None, "{text}");
        }
    }
}
