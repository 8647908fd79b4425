//! Other ways to write a path, and other ways to say which one is meant, by which
//! some server or other takes a request for the priced one.

use http::Method;

use super::wire::Ask;

/// A question that must not be served, and what it is called.
#[derive(Clone, Debug)]
pub struct Trick {
    /// What it does, for the line that tells of it.
    pub what: String,
    /// The question.
    pub ask: Ask,
}

/// Names that no path of anybody's begins with.
const ELSEWHERE: &str = "tollway-check-elsewhere";

/// Spellings of a path, each with what it is called. `path` begins with a slash and
/// has no query; `origin` is the server's, for the absolute form.
pub fn spellings(path: &str, origin: &str) -> Vec<(&'static str, String)> {
    let rest = path.trim_start_matches('/');
    let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
    let below = if below.is_empty() {
        String::new()
    } else {
        format!("/{below}")
    };
    let escaped = |depth: &str| match (first.bytes().next(), first.get(1..)) {
        (Some(byte), Some(others)) => format!("/%{depth}{byte:02X}{others}{below}"),
        _ => path.to_owned(),
    };
    let mut all = vec![
        ("upper case", path.to_uppercase()),
        ("a capital", format!("/{}{below}", capital(first))),
        ("two slashes", format!("/{path}")),
        ("two slashes inside", format!("/{first}/{below}")),
        ("a trailing slash", format!("{path}/")),
        ("a dot segment", format!("/.{path}")),
        ("a dot segment inside", format!("/{first}/.{below}")),
        ("a trailing dot segment", format!("{path}/.")),
        ("an encoded dot segment", format!("/%2e{path}")),
        (
            "a segment that is left again",
            format!("/{ELSEWHERE}/..{path}"),
        ),
        (
            "one left by an encoded dot segment",
            format!("/{ELSEWHERE}/%2e%2e{path}"),
        ),
        (
            "one left by an encoded slash",
            format!("/{ELSEWHERE}/..%2f{rest}"),
        ),
        ("an escape above the root", format!("/..{path}")),
        ("an encoded letter", escaped("")),
        ("a letter encoded twice", escaped("25")),
        ("an encoded slash before it", format!("/%2f{rest}")),
        ("a backslash before it", format!("/\\{rest}")),
        ("an encoded backslash before it", format!("/%5c{rest}")),
        ("a path parameter", format!("{path};v=1")),
        ("a path parameter inside", format!("/{first};v=1{below}")),
        ("a trailing blank", format!("{path}%20")),
        ("a trailing null", format!("{path}%00")),
        ("a trailing line feed", format!("{path}%0a")),
        ("a trailing dot", format!("{path}.")),
        ("an ending .json", format!("{path}.json")),
        ("an ending .html", format!("{path}.html")),
        ("a query", format!("{path}?tollway=check")),
        ("an empty query", format!("{path}?")),
        ("a script before it", format!("/index.php{path}")),
        ("the absolute form", format!("{origin}{path}")),
        (
            "the absolute form of another host",
            format!("http://elsewhere.invalid{path}"),
        ),
    ];
    if !below.is_empty() {
        all.push(("an encoded slash inside", path_with(path, "%2f")));
        all.push(("a backslash inside", path_with(path, "\\")));
    }
    if let Some(wide) = full_width(first) {
        all.push(("a full-width letter", format!("/{wide}{below}")));
    }
    all.retain(|(_, spelling)| spelling != path);
    all
}

/// The path with its inner slashes written otherwise.
fn path_with(path: &str, slash: &str) -> String {
    format!("/{}", path.trim_start_matches('/').replace('/', slash))
}

fn capital(segment: &str) -> String {
    let mut letters = segment.chars();
    let first = letters.next().map(|c| c.to_uppercase().collect::<String>());
    first.unwrap_or_default() + letters.as_str()
}

/// The first letter by its full-width twin, which some servers fold back.
fn full_width(segment: &str) -> Option<String> {
    let byte = segment.bytes().next().filter(u8::is_ascii_lowercase)?;
    let wide = char::from_u32(0xff41 + u32::from(byte - b'a'))?;
    let mut bytes = [0; 4];
    let encoded: String = wide
        .encode_utf8(&mut bytes)
        .bytes()
        .map(|b| format!("%{b:02X}"))
        .collect();
    Some(encoded + &segment[1..])
}

/// Questions for the path itself that say otherwise in a header, or carry a payment
/// that is none.
pub fn tricks(method: &Method, path: &str) -> Vec<Trick> {
    let ask = || Ask::new(method, path);
    let with = |what: &str, name: &'static str, value: &str| Trick {
        what: what.to_owned(),
        ask: ask().header(name, value),
    };
    let mut all = Vec::new();
    for name in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
    ] {
        for value in ["OPTIONS", "HEAD"] {
            all.push(with(&format!("{name}: {value}"), name, value));
        }
    }
    for name in ["x-original-url", "x-rewrite-url", "x-forwarded-uri"] {
        all.push(with(&format!("{name}: /"), name, "/"));
    }
    all.push(with("accept: text/html", "accept", "text/html"));
    all.push(with("range: bytes=0-3", "range", "bytes=0-3"));
    // Base64 of `{}`, and no base64 at all.
    for (name, value) in [
        ("payment-signature", "e30="),
        ("payment-signature", "paid"),
        ("x-payment", "e30="),
        ("x-payment", "paid"),
    ] {
        all.push(with(
            &format!("a payment that is none ({name}: {value})"),
            name,
            value,
        ));
    }
    all
}

/// The free root with headers by which some servers would serve the path instead.
pub fn detours(path: &str) -> Vec<Trick> {
    let names = ["x-original-url", "x-rewrite-url", "x-original-uri"];
    names
        .into_iter()
        .map(|name| Trick {
            what: format!("/ with {name}: {path}"),
            ask: Ask::new(&Method::GET, "/").header(name, path),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_differs_from_the_path_and_from_the_others() {
        for path in ["/paid/x", "/report", "/", "/a/b/c", "/Ünder/x"] {
            let all = spellings(path, "http://h");
            let mut texts: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
            assert!(texts.iter().all(|text| *text != path), "{path}");
            texts.sort_unstable();
            texts.dedup();
            assert!(texts.len() > 20, "{path}: {texts:?}");
        }
        let all = spellings("/paid/x", "http://h");
        let of = |what: &str| {
            all.iter()
                .find(|(name, _)| *name == what)
                .unwrap()
                .1
                .clone()
        };
        assert_eq!(of("an encoded letter"), "/%70aid/x");
        assert_eq!(of("a letter encoded twice"), "/%2570aid/x");
        assert_eq!(of("an encoded slash inside"), "/paid%2fx");
        assert_eq!(of("a full-width letter"), "/%EF%BD%90aid/x");
        assert_eq!(of("the absolute form"), "http://h/paid/x");
    }
}
