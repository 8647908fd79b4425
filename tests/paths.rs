//! However a paid path is spelled, it is paid.

use http::StatusCode;

use crate::harness::raw;
use crate::harness::town::{Town, TownOptions};
use crate::harness::upstream::{GOODS, Upstream};

/// A server that forgives every spelling, as many frameworks do.
fn forgiving(target: &str) -> (StatusCode, String) {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| {
        rest.find('/').map_or("/", |at| &rest[at..])
    });
    let decoded = decode(&decode(path)).replace('\\', "/").to_lowercase();
    let mut parts: Vec<&str> = Vec::new();
    for part in decoded.split('/') {
        match part
            .split(';')
            .next()
            .unwrap_or_default()
            .trim_matches(['\0', ' ', '\n', '\t'])
        {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    match parts.as_slice() {
        ["paid", ..] => (StatusCode::OK, GOODS.to_owned()),
        _ => (StatusCode::OK, "free of charge".to_owned()),
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

const SPELLINGS: &[&str] = &[
    "/paid/x",
    "//paid/x",
    "/paid//x",
    "/paid/x/",
    "/./paid/x",
    "/paid/./x",
    "/a/../paid/x",
    "/../paid/x",
    "/PAID/x",
    "/Paid/x",
    "/%70aid/x",
    "/%50aid/x",
    "/p%61id/x",
    "/paid%2fx",
    "/paid%2Fx",
    "/%2fpaid/x",
    "/%2e/paid/x",
    "/a/%2e%2e/paid/x",
    "/a/..%2fpaid/x",
    "/a%2f..%2fpaid/x",
    "/a/.%2e/paid/x",
    "/%2570aid/x",
    "/%252e%252e/paid/x",
    "/a/%252e%252e/paid/x",
    "/\\paid/x",
    "/paid\\x",
    "/%5cpaid/x",
    "/a/..\\paid/x",
    "/a/..%5cpaid/x",
    "/paid;v=1/x",
    "/;v=1/paid/x",
    "/paid/x;v=1",
    "/paid/%00",
    "/%00/paid/x",
    "/paid%00/x",
    "/paid%20/x",
    "/paid/x%",
    "/paid/%c0%af",
    "/paid/x%c0",
    "/paid/x?y=1",
    "/paid/x?",
    "/paid/x%3fy",
    "/paid/x%23",
    "/paid/%0a",
    "/%0apaid/x",
    "/paid%0a/x",
    "/paid/x%0d%0a",
    "/%09paid/x",
    "/%ef%bc%8fpaid/x",
    "/p\u{e4}id/../paid/x",
    "///paid///x",
    "/a/b/../../paid/x",
    "/paid/../paid/x",
    "/./././paid/x",
    "/%2e%2e/paid/x",
    "/paid/x/.",
    "/paid/x/..",
    "/paid/",
    "/paid/x/../../paid/y",
    "/%25%37%30aid/x",
    "/%u0070aid/x",
];

#[tokio::test]
async fn no_spelling_of_a_paid_path_is_free() {
    let upstream = Upstream::serving(forgiving).await;
    let town = Town::with(TownOptions {
        upstream: Some(upstream),
        ..TownOptions::default()
    })
    .await;
    let mut args = town.gate_args("local", &town.rpc());
    crate::harness::town::set(&mut args, "--route", "/paid/*=$0.01");
    let (_gate, gate) = crate::harness::Program::serve(town.command(&args)).await;
    let host = gate.trim_start_matches("http://").to_owned();
    let mut leaks = Vec::new();
    let mut free = 0;
    for spelling in SPELLINGS {
        for (method, target) in [
            ("GET", (*spelling).to_owned()),
            ("POST", (*spelling).to_owned()),
            ("GET", format!("http://{host}{spelling}")),
            ("GET", format!("http://elsewhere.example{spelling}")),
        ] {
            let bytes = format!(
                "{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            let answer = raw::send(&gate, bytes.as_bytes()).await;
            assert!(answer.status < 500, "{method} {target}: {}", answer.text);
            if answer.text.contains(GOODS) {
                leaks.push(format!("{method} {target}"));
            }
            free += usize::from(answer.text.contains("free of charge"));
        }
    }
    assert_eq!(leaks, Vec::<String>::new());
    assert!(
        free < SPELLINGS.len(),
        "most spellings must be paid or refused, {free} were free"
    );
    let answer = raw::send(&gate, &raw::get("/other", &[])).await;
    assert!(
        answer.status == 200 && answer.text.contains("free of charge"),
        "{}",
        answer.text
    );
    town.nothing_was_paid();
}

#[tokio::test]
async fn no_header_and_no_method_gets_around_the_price() {
    let upstream = Upstream::serving(forgiving).await;
    let town = Town::with(TownOptions {
        upstream: Some(upstream),
        ..TownOptions::default()
    })
    .await;
    let mut args = town.gate_args("local", &town.rpc());
    crate::harness::town::set(&mut args, "--route", "/paid/*=$0.01");
    let (_gate, gate) = crate::harness::Program::serve(town.command(&args)).await;
    for method in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY", "get",
    ] {
        let bytes = format!("{method} /paid/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = raw::send(&gate, bytes.as_bytes()).await;
        assert!(!answer.text.contains(GOODS), "{method}: {}", answer.text);
        assert!(
            (400..500).contains(&answer.status),
            "{method}: {}",
            answer.text
        );
    }
    for (name, value) in [
        ("x-original-url", "/paid/x"),
        ("x-rewrite-url", "/paid/x"),
        ("x-http-method-override", "OPTIONS"),
        ("x-forwarded-host", "127.0.0.1"),
        ("x-forwarded-uri", "/free"),
        ("connection", "payment-signature, close"),
        ("upgrade", "websocket"),
        ("range", "bytes=0-3"),
        ("if-none-match", "*"),
        ("tollway-payer", "0x0"),
    ] {
        for path in ["/paid/x", "/"] {
            let answer = raw::send(&gate, &raw::get(path, &[(name, value)])).await;
            assert!(
                !answer.text.contains(GOODS),
                "{name} at {path}: {}",
                answer.text
            );
        }
    }
    town.nothing_was_paid();
}
