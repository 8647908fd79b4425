//! Numbers of JSON as they were written. Prices come as JSON numbers, and a
//! parser that makes floats of them has changed them already.

use std::borrow::Cow;

use serde_json::Value;
use tollway_core::Amount;
use tollway_core::json::{self, JsonLimits};
use tollway_core::money::Decimal;

/// Longest exponent that is followed.
const MAX_EXPONENT: u32 = 40;

/// Reads an object whose numbers are wanted as text: each becomes a string.
pub(super) fn read(bytes: &[u8]) -> Option<Value> {
    // Read once as it is, so that what follows works on JSON with one meaning.
    let value: Value = json::object_from_slice(bytes, &JsonLimits::BODY).ok()?;
    if !value.is_object() {
        return None;
    }
    serde_json::from_str(&quoted(std::str::from_utf8(bytes).ok()?)).ok()
}

/// Valid JSON with every number in quotes.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let (mut in_text, mut escaped, mut in_number) = (false, false, false);
    for c in text.chars() {
        let digit = !in_text && matches!(c, '0'..='9' | '-' | '+' | '.');
        // `e` begins words of JSON too (never a number), and goes on with one.
        let digit = digit || (in_number && matches!(c, 'e' | 'E'));
        if digit != in_number {
            out.push('"');
            in_number = digit;
        }
        if !digit {
            match c {
                '"' if !escaped => in_text = !in_text,
                _ => {}
            }
            escaped = in_text && c == '\\' && !escaped;
        }
        out.push(c);
    }
    out
}

/// A field as text, whether it was a text or a number.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

/// A decimal text such as `0.5` or `1e-05` in atomic units of an asset with so
/// many decimals; `None` if the asset cannot express it.
pub(super) fn atomic(text: &str, decimals: u8) -> Option<Amount> {
    let plain = plain(text)?;
    // `0.50` is no finer than `0.5`.
    let trimmed = match plain.contains('.') {
        true => plain.trim_end_matches('0').trim_end_matches('.'),
        false => &plain,
    };
    let decimal: Decimal = trimmed.parse().ok()?;
    decimal.to_atomic(decimals)
}

/// A number without its exponent.
fn plain(text: &str) -> Option<Cow<'_, str>> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Some(Cow::Borrowed(text));
    };
    let (down, digits) = match exponent.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    let shift: usize = digits
        .parse::<u32>()
        .ok()
        .filter(|shift| *shift <= MAX_EXPONENT && digits.bytes().all(|b| b.is_ascii_digit()))?
        .try_into()
        .ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.len() <= 77 && text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    Some(Cow::Owned(if down {
        let padded = format!("{whole:0>width$}", width = shift + 1);
        let (whole, moved) = padded.split_at(padded.len() - shift);
        format!("{whole}.{moved}{fraction}")
    } else {
        let padded = format!("{fraction:0<shift$}");
        let (moved, rest) = padded.split_at(shift);
        match rest {
            "" => format!("{whole}{moved}"),
            rest => format!("{whole}{moved}.{rest}"),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_its_text_and_texts_keep_their_numbers() {
        let body =
            br#"{"a": 0.1, "b": [1e-05, -2, true, null], "c 1": "x \" 2 \\", "d": {"e": 10}}"#;
        let read = read(body).unwrap();
        assert_eq!(
            read,
            serde_json::json!({
                "a": "0.1", "b": ["1e-05", "-2", true, null], "c 1": "x \" 2 \\", "d": {"e": "10"}
            })
        );
    }

    #[test]
    fn what_has_two_meanings_is_not_read() {
        for body in [
            "",
            "[]",
            "1",
            "{\"a\":1,\"a\":2}",
            "{\"a\":01}",
            "{\"a\":1}}",
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn prices_become_atomic_units_without_rounding() {
        let usdc = |text: &str| atomic(text, 6).map(|a| a.to_string());
        for (text, units) in [
            ("0.5", "500000"),
            ("1", "1000000"),
            ("1e-05", "10"),
            ("1.5E-5", "15"),
            ("2.50", "2500000"),
            ("1e2", "100000000"),
            ("1.25e+1", "12500000"),
            ("0.0000010", "1"),
            ("0.1", "100000"),
        ] {
            assert_eq!(usdc(text).as_deref(), Some(units), "{text}");
        }
        for text in [
            "0.30000000000000004",
            "-1",
            "1e-7",
            "1e41",
            "1e",
            "e5",
            "1e5.5",
            "NaN",
            "",
            ".5",
            "+1",
        ] {
            assert_eq!(usdc(text), None, "{text}");
        }
    }
}
