//! CSV as spreadsheets read it (RFC 4180), and as they must not run it.

use std::io::{self, Write};

/// Writes one line.
pub fn line(out: &mut impl Write, cells: &[&str]) -> io::Result<()> {
    for (index, text) in cells.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        cell(out, text)?;
    }
    out.write_all(b"\r\n")
}

/// A cell that begins as a formula does is text: others write routes, hosts and
/// hashes, and a spreadsheet would calculate them. It gets an apostrophe before
/// it, which spreadsheets take for "this is text".
fn cell(out: &mut impl Write, text: &str) -> io::Result<()> {
    let first = text
        .trim_start_matches([' ', '\u{a0}', '\u{feff}'])
        .chars()
        .next();
    let is_formula = matches!(
        first,
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '|' | '%' | '＝' | '＋' | '－' | '＠')
    );
    let needs_quotes = is_formula || text.contains([',', ';', '"', '\r', '\n', '\t']);
    if !needs_quotes {
        return out.write_all(text.as_bytes());
    }
    out.write_all(if is_formula { b"\"'" } else { b"\"" })?;
    out.write_all(text.replace('"', "\"\"").as_bytes())?;
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(cells: &[&str]) -> String {
        let mut out = Vec::new();
        line(&mut out, cells).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        assert_eq!(
            written(&["a", "b,c", "d\"e", "", "f\ng"]),
            "a,\"b,c\",\"d\"\"e\",,\"f\ng\"\r\n"
        );
    }

    #[test]
    fn no_cell_is_a_formula() {
        for text in [
            "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\u{a0}=1", "|calc", "%0", "＝1",
        ] {
            let cell = written(&[text]);
            assert!(cell.starts_with("\"'"), "{cell:?}");
        }
        assert_eq!(written(&["GET /paid/*", "0.01"]), "GET /paid/*,0.01\r\n");
    }
}
