//! Nonsense over HTTP gets a 4xx with a stable code; never a 5xx, never a hang,
//! and never a facilitator's time for what cannot be valid.

use serde_json::{Value, json};
use tollway_core::header;

use crate::harness::chaos::Chaos;
use crate::harness::town::{BUYER, Town};
use crate::harness::upstream::GOODS;
use crate::harness::{Buyer, raw};

/// Header values that are no payment.
async fn malformed_payments(buyer: &Buyer, url: &str) -> Vec<Vec<u8>> {
    let good = buyer.sign(&buyer.terms(url).await, false).await;
    let good = serde_json::to_value(&good).unwrap();
    let whole = header::encode(&good);
    let mut texts: Vec<String> = [
        "",
        " ",
        "x",
        "%%%",
        "=",
        "null",
        "{}",
        "bnVsbA==",
        "MQ==",
        "W10=",
        "e30=",
        "InMi",
        "eyJ4",
        "\u{e4}",
        "\u{1f4b8}",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push(whole[..whole.len() / 2].to_owned());
    texts.push(format!("{whole}{whole}"));
    texts.push(format!("{whole}, {whole}"));
    texts.push(whole.replace('A', " "));
    texts.push("A".repeat(17 * 1024));
    let raw = |text: &str| header_of(text.as_bytes());
    texts.push(raw(&format!("{}1{}", "[".repeat(4000), "]".repeat(4000))));
    texts.push(raw(&format!(
        "{}1{}",
        "{\"a\":".repeat(100),
        "}".repeat(100)
    )));
    texts.push(raw("{\"x402Version\":2,\"x402Version\":2}"));
    texts.push(header_of(b"{\"x402Version\":2,\"\xff\":1}"));
    for (pointer, value) in [
        ("/x402Version", json!(1)),
        ("/x402Version", json!(3)),
        ("/x402Version", json!("2")),
        ("/x402Version", json!(-2)),
        ("/x402Version", json!(2.5)),
        ("/accepted", json!(null)),
        ("/accepted", json!([])),
        ("/accepted/amount", json!(10000)),
        ("/accepted/amount", json!("-1")),
        ("/payload", json!("text")),
        ("/payload", json!({})),
        ("/payload/signature", json!("0xzz")),
        ("/payload/signature", json!(7)),
        ("/payload/authorization", json!(null)),
        ("/payload/authorization/value", json!("1e4")),
        ("/payload/authorization/value", json!("+10000")),
        ("/payload/authorization/nonce", json!("0x01")),
        ("/payload/authorization/from", json!("0x1")),
        ("/payload/authorization/validBefore", json!("never")),
        ("/payload/authorization/validBefore", json!("1".repeat(200))),
        ("/extensions", json!([])),
    ] {
        let mut bad: Value = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        texts.push(header::encode(&bad));
    }
    let mut values: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    values.push(vec![0xff, 0xfe, 0x80]);
    values
}

/// Base64, as every x402 header has it.
fn header_of(json: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in json.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > chunk.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    text
}

#[tokio::test]
async fn malformed_payments_are_refused_without_asking_the_facilitator() {
    let town = Town::new().await;
    let (_facilitator, facilitator) = town.facilitator().await;
    let chaos = Chaos::before(&facilitator).await;
    let (gate_process, gate) = town.trusting_gate(&chaos.url(), &[]).await;
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/weather");
    let expected = [400, 402, 413, 431];
    for value in malformed_payments(&buyer, &url).await {
        for name in ["payment-signature", "x-payment"] {
            let mut bytes =
                format!("GET /paid/weather HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{name}: ")
                    .into_bytes();
            bytes.extend(&value);
            bytes.extend(b"\r\n\r\n");
            let answer = raw::send(&gate, &bytes).await;
            let shown = String::from_utf8_lossy(&value);
            assert!(
                expected.contains(&answer.status),
                "{name}: {shown:.300}: {}",
                answer.text
            );
        }
    }
    let (_, good) = buyer.pays(&url, false).await;
    let good = good.to_str().unwrap();
    let long = "x".repeat(100 * 1024);
    let many: Vec<(String, String)> = (0..200)
        .map(|n| (format!("x-{n}"), n.to_string()))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    for (what, headers) in [
        (
            "twice",
            vec![("payment-signature", good), ("payment-signature", good)],
        ),
        (
            "both",
            vec![("payment-signature", good), ("x-payment", good)],
        ),
        ("long", vec![("payment-signature", long.as_str())]),
        ("long and other", vec![("cookie", long.as_str())]),
        ("many", many),
    ] {
        let answer = raw::send(&gate, &raw::get("/paid/weather", &headers)).await;
        assert!(expected.contains(&answer.status), "{what}: {}", answer.text);
        assert!(!answer.text.contains(GOODS));
    }
    let asked = chaos.seen(|seen| seen.target.starts_with("POST"));
    assert!(
        asked.is_empty(),
        "the facilitator was asked about what cannot be valid: {asked:?}"
    );
    assert_eq!(town.upstream.asked("/paid/weather"), 0);
    assert!(
        !gate_process.stderr().contains("panicked"),
        "{}",
        gate_process.stderr()
    );
    let honest = buyer.get(&url, &[buyer.pays(&url, false).await]).await;
    assert_eq!(
        honest.status, 200,
        "after all that, an honest buyer is served: {honest:?}"
    );
    assert_eq!(chaos.asked("POST /verify"), 1);
    town.paid_exactly_once();
}

#[tokio::test]
async fn bytes_that_are_no_http_do_not_hang_or_break_a_server() {
    let town = Town::new().await;
    let (gate_process, gate) = town.gate(&[]).await;
    let (facilitator_process, facilitator) = town.facilitator().await;
    for url in [&gate, &facilitator] {
        for bytes in [
            &b"nonsense\r\n\r\n"[..],
            b"GET /paid/x HTTP/9.9\r\n\r\n",
            b"GET  /paid/x HTTP/1.1\r\n\r\n",
            b"GET /paid/x HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
            b"GET /paid/x HTTP/1.1\r\nhost: x\r\n a: b\r\n\r\n",
            b"POST /paid/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            b"POST /paid/x HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
            b"POST /paid/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: nonsense\r\n\r\n",
            b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            b"GET /paid/\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense",
        ] {
            let answer = raw::send(url, bytes).await;
            assert!(
                answer.status < 500,
                "{:?}: {}",
                String::from_utf8_lossy(bytes),
                answer.text
            );
            assert!(!answer.text.contains(GOODS));
        }
    }
    // One that begins and never goes on is sent away in time.
    let half = b"GET /paid/x HTTP/1.1\r\nhost";
    let (one, two) = tokio::join!(raw::send(&gate, half), raw::send(&facilitator, half));
    assert!(one.status < 500 && two.status < 500, "{one:?} {two:?}");
    for (program, url) in [(&gate_process, &gate), (&facilitator_process, &facilitator)] {
        assert!(
            !program.stderr().contains("panicked"),
            "{}",
            program.stderr()
        );
        assert_eq!(raw::send(url, &raw::get("/health", &[])).await.status, 200);
    }
}

#[tokio::test]
async fn malformed_bodies_get_a_clear_answer_from_a_facilitator() {
    let town = Town::new().await;
    let (process, facilitator) = town.facilitator().await;
    let (_gate, gate) = town.gate(&[]).await;
    let buyer = Buyer::new(&BUYER);
    let payment = buyer
        .sign(&buyer.terms(&format!("{gate}/paid/x")).await, false)
        .await;
    let good = json!({ "x402Version": 2, "paymentPayload": payment, "paymentRequirements": payment.accepted });
    let mut bodies: Vec<Vec<u8>> = [
        "",
        "null",
        "1",
        "[]",
        "{}",
        "{",
        "\"s\"",
        "{\"x402Version\":2}",
        "{\"a\":1,\"a\":2}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    bodies.push(vec![0xff, 0xfe]);
    bodies.push(format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000)).into_bytes());
    bodies.push(vec![b' '; 70 * 1024]);
    bodies.push(
        good.to_string()
            .replace("{\"x402Version\":2", "{\"x402Version\":2,\"x402Version\":2")
            .into_bytes(),
    );
    for (pointer, value) in [
        ("/x402Version", json!(3)),
        ("/x402Version", json!("2")),
        ("/x402Version", json!(null)),
        ("/paymentPayload", json!(null)),
        ("/paymentPayload/payload", json!([])),
        ("/paymentPayload/accepted", json!("x")),
        ("/paymentPayload/payload/authorization/value", json!(-1)),
        ("/paymentPayload/payload/authorization/value", json!("1.5")),
        ("/paymentRequirements", json!(null)),
        ("/paymentRequirements/amount", json!(10000)),
        ("/paymentRequirements/amount", json!("-1")),
        ("/paymentRequirements/asset", json!("nonsense")),
        ("/paymentRequirements/payTo", json!("0x1")),
        ("/paymentRequirements/network", json!("nowhere")),
        ("/paymentRequirements/network", json!("eip155:1")),
        ("/paymentRequirements/scheme", json!("steal")),
        ("/paymentRequirements/maxTimeoutSeconds", json!("soon")),
        ("/paymentRequirements/extra", json!([])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        bodies.push(bad.to_string().into_bytes());
    }
    for body in &bodies {
        for path in ["/verify", "/settle"] {
            let answer = raw::send(&facilitator, &raw::post(path, body)).await;
            let shown = String::from_utf8_lossy(body);
            let refused = answer.status == 200
                && (answer.text.contains("\"isValid\":false")
                    || answer.text.contains("\"success\":false"));
            assert!(
                refused || (400..500).contains(&answer.status),
                "{path} {shown:.300}: {}",
                answer.text
            );
            assert!(
                answer.text.contains("Reason\"") || answer.text.contains("\"error\""),
                "no code: {}",
                answer.text
            );
        }
    }
    for (bytes, status) in [
        (raw::get("/verify", &[]), 405),
        (raw::get("/nowhere", &[]), 404),
        (raw::get("/settlements/%ff", &[]), 404),
        (raw::get("/settlements/nobody", &[]), 404),
        (raw::get("/supported", &[("x-long", &"x".repeat(100 * 1024))]), 431),
        (b"POST /settle HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}".to_vec(), 400),
        (b"POST /settle HTTP/1.1\r\nhost: x\r\nconnection: close\r\nidempotency-key: \xff\r\ncontent-length: 2\r\n\r\n{}".to_vec(), 400),
        (b"POST /settle HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 999999999\r\n\r\n{}".to_vec(), 413),
        // The body never comes: answered within the body's time.
        (b"POST /settle HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{}".to_vec(), 408),
    ] {
        let answer = raw::send(&facilitator, &bytes).await;
        assert_eq!(answer.status, status, "{:.100}: {}", String::from_utf8_lossy(&bytes), answer.text);
    }
    assert!(
        !process.stderr().contains("panicked"),
        "{}",
        process.stderr()
    );
    town.nothing_was_paid();
    let verified = raw::send(
        &facilitator,
        &raw::post("/verify", good.to_string().as_bytes()),
    )
    .await;
    assert!(
        verified.text.contains("\"isValid\":true"),
        "the good one is good: {}",
        verified.text
    );
}
