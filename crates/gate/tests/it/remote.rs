//! A facilitator over HTTP, and everything that it might answer.

use std::time::Duration;

use tollway_core::wire::SettleResponse;
use tollway_core::{Facilitator, FacilitatorError, SettleRequest, VerifyRequest};
use tollway_gate::{RemoteError, RemoteFacilitator};

use crate::support::{Payment, Raw, World, raw_server};

async fn settle_request() -> SettleRequest {
    let payment: Payment = World::new().await.payment("/paid/x").await;
    SettleRequest {
        requirements: payment.payload.accepted.clone().into(),
        payload: payment.payload.into(),
        idempotency_key: Some("grt_key".to_owned()),
    }
}

fn remote(url: &str) -> RemoteFacilitator {
    let brief = Duration::from_millis(300);
    RemoteFacilitator::builder(url)
        .timeouts(brief, brief)
        .build()
        .unwrap()
}

async fn settled(raw: Raw) -> Result<SettleResponse, FacilitatorError> {
    let (address, _) = raw_server(raw).await;
    remote(&format!("http://{address}"))
        .settle(&settle_request().await)
        .await
}

const SUCCESS: &str = r#"{"success":true,"transaction":"0xab","network":"eip155:84532"}"#;

#[tokio::test]
async fn a_settle_answer_is_believed_only_as_the_protocol_has_it() {
    let good = settled(Raw::json(200, SUCCESS)).await.unwrap();
    assert!(good.success);
    let failed = r#"{"success":false,"errorReason":"insufficient_funds","transaction":"","network":"base-sepolia"}"#;
    for status in [200, 402, 500] {
        let refused = settled(Raw::json(status, failed)).await.unwrap();
        assert_eq!(refused.error_reason.as_deref(), Some("insufficient_funds"));
        assert_eq!(
            refused.network, "eip155:84532",
            "the version 1 name is understood"
        );
    }
}

#[tokio::test]
async fn once_settle_may_have_been_received_everything_else_is_unknown() {
    let typed = |success: &str| {
        Raw::json(
            200,
            &format!(r#"{{"success":{success},"transaction":"0xab","network":"eip155:84532"}}"#),
        )
    };
    let truncated = Raw::Bytes(
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{SUCCESS}").into_bytes(),
    );
    let cases = [
        ("the text true", typed("\"true\"")),
        ("the number 1", typed("1")),
        ("null", typed("null")),
        (
            "success missing",
            Raw::json(200, r#"{"transaction":"0xab","network":"eip155:84532"}"#),
        ),
        (
            "success twice",
            Raw::json(
                200,
                r#"{"success":false,"success":true,"transaction":"0xab","network":"eip155:84532"}"#,
            ),
        ),
        ("an array", Raw::json(200, "[true]")),
        ("empty", Raw::json(200, "")),
        ("success with 500", Raw::json(500, SUCCESS)),
        ("success with 503", Raw::json(503, SUCCESS)),
        ("success with 402", Raw::json(402, SUCCESS)),
        ("HTML", Raw::http(200, "text/html", "<h1>welcome</h1>")),
        (
            "HTML 502",
            Raw::http(502, "text/html", "<h1>bad gateway</h1>"),
        ),
        // Of something in between, which may have sent the request on.
        (
            "429 of nobody knows whom",
            Raw::http(429, "text/plain", "slow down"),
        ),
        ("429 without a body", Raw::http(429, "text/plain", "")),
        ("503 without a body", Raw::http(503, "text/plain", "")),
        (
            "a redirect",
            Raw::Bytes(
                b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                    .to_vec(),
            ),
        ),
        (
            "too long",
            Raw::json(200, &format!("{SUCCESS}{}", " ".repeat(70_000))),
        ),
        ("truncated", truncated),
        ("closed", Raw::Close),
        ("hanging", Raw::Hang),
    ];
    for (name, raw) in cases {
        let said = settled(raw).await;
        assert!(
            matches!(said, Err(FacilitatorError::Unknown(_))),
            "{name}: {said:?}"
        );
    }
}

#[tokio::test]
async fn what_was_certainly_not_taken_is_unavailable() {
    let refused = remote("http://127.0.0.1:1")
        .settle(&settle_request().await)
        .await;
    assert!(
        matches!(refused, Err(FacilitatorError::Unavailable(_))),
        "{refused:?}"
    );
    for raw in [
        Raw::json(429, r#"{"error":"too_many_requests","message":"x"}"#),
        Raw::json(503, r#"{"error":"ledger_unavailable","message":"x"}"#),
    ] {
        let said = settled(raw).await;
        assert!(
            matches!(said, Err(FacilitatorError::Unavailable(_))),
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn a_verdict_is_typed_as_strictly() {
    let request = settle_request().await;
    let request = VerifyRequest {
        payload: request.payload,
        requirements: request.requirements,
    };
    let verdict = async |raw: Raw| {
        let (address, _) = raw_server(raw).await;
        remote(&format!("http://{address}")).verify(&request).await
    };
    assert!(
        verdict(Raw::json(200, r#"{"isValid":true}"#))
            .await
            .unwrap()
            .is_valid
    );
    let invalid = verdict(Raw::json(
        400,
        r#"{"isValid":false,"invalidReason":"invalid_scheme"}"#,
    ))
    .await;
    assert_eq!(
        invalid.unwrap().invalid_reason.as_deref(),
        Some("invalid_scheme")
    );
    for body in [r#"{"isValid":"true"}"#, r#"{"isValid":1}"#, "{}", "yes"] {
        let said = verdict(Raw::json(200, body)).await;
        assert!(
            matches!(said, Err(FacilitatorError::Protocol(_))),
            "{body}: {said:?}"
        );
    }
    for raw in [Raw::http(503, "text/html", "down"), Raw::Close, Raw::Hang] {
        let said = verdict(raw).await;
        assert!(
            matches!(said, Err(FacilitatorError::Unavailable(_))),
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn a_call_carries_the_key_the_token_and_the_whole_payment() {
    let (address, seen) = raw_server(Raw::json(200, SUCCESS)).await;
    let remote = RemoteFacilitator::builder(&format!("http://{address}/x402/"))
        .bearer_token("token".to_owned())
        .build()
        .unwrap();
    assert_eq!(remote.origin(), format!("http://{address}"));
    remote.settle(&settle_request().await).await.unwrap();
    let sent = seen.lock().unwrap()[0].clone();
    assert!(sent.starts_with("POST /x402/settle HTTP/1.1"), "{sent}");
    assert!(sent.contains("idempotency-key: grt_key"));
    assert!(sent.contains("authorization: Bearer token"));
    let body: serde_json::Value =
        serde_json::from_str(sent.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["x402Version"], 2);
    assert_eq!(body["paymentRequirements"]["amount"], "10000");
    assert_eq!(
        body["paymentPayload"]["accepted"]["network"],
        "eip155:84532"
    );
}

#[tokio::test]
async fn plain_http_to_another_machine_must_be_allowed() {
    let refused = RemoteFacilitator::new("http://facilitator.example");
    assert!(matches!(refused, Err(RemoteError::PlainHttp(_))));
    assert!(
        RemoteFacilitator::builder("http://facilitator.example")
            .allow_plain_http()
            .build()
            .is_ok()
    );
    for url in [
        "facilitator.example",
        "ftp://x",
        "http://127.0.0.1/?q",
        "http://u:p@127.0.0.1",
        "",
    ] {
        assert!(
            matches!(RemoteFacilitator::new(url), Err(RemoteError::Url(_))),
            "{url}"
        );
    }
    for url in ["http://127.0.0.1:9", "http://[::1]:9/", "http://localhost"] {
        assert!(RemoteFacilitator::new(url).is_ok(), "{url}");
    }
}

#[tokio::test]
async fn trouble_at_the_facilitator_is_never_the_payments_refusal() {
    let request = settle_request().await;
    let settle = async |status: u16, reason: &str| {
        let body = format!(
            r#"{{"success":false,"errorReason":"{reason}","transaction":"","network":"eip155:84532"}}"#
        );
        let (address, _) = raw_server(Raw::json(status, &body)).await;
        remote(&format!("http://{address}")).settle(&request).await
    };
    // Nothing was taken: the payment stays good, and is not refused.
    for (status, reason) in [
        (503, "ledger_unavailable"),
        (429, "too_many_requests"),
        (502, "network_unavailable"),
        (503, "shutting_down"),
    ] {
        let said = settle(status, reason).await;
        assert!(
            matches!(said, Err(FacilitatorError::Unavailable(_))),
            "{reason}: {said:?}"
        );
    }
    // It may have been taken: asked again, and never refused.
    for reason in ["unexpected_settle_error", "internal_error"] {
        let said = settle(503, reason).await;
        assert!(
            matches!(said, Err(FacilitatorError::Unknown(_))),
            "{reason}: {said:?}"
        );
    }
}
