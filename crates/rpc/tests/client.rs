//! A client against servers that fail in every way that nodes fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::routing::post;
use tokio::net::TcpListener;
use tollway_rpc::{Batch, RpcClient, RpcConfig, RpcError};
use url::Url;

const OK: &str = r#"{"jsonrpc":"2.0","id":0,"result":"0x1"}"#;

/// Answers every request the same; returns `host:port`.
async fn server(status: u16, body: &'static str) -> String {
    let answer = move || async move {
        let status = StatusCode::from_u16(status).unwrap();
        let location = ("location", "http://127.0.0.1:1/");
        let answer = Response::builder()
            .status(status)
            .header(location.0, location.1);
        answer.body(Body::from(body)).unwrap()
    };
    serve(Router::new().fallback(post(answer))).await
}

async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address.to_string()
}

/// A port that nobody listens on.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

fn client(hosts: &[&str]) -> RpcClient {
    let secret = |host: &&str| Url::parse(&format!("http://user:pass@{host}/v2/apikey")).unwrap();
    let mut config = RpcConfig::new(hosts.iter().map(secret).collect());
    config.timeout = Duration::from_millis(500);
    config.max_response_bytes = 1000;
    RpcClient::new(config).unwrap()
}

async fn ask(client: &RpcClient) -> Result<String, RpcError> {
    client.call("eth_chainId", [(); 0]).await
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_passed_over_and_remembered() {
    let (down, html, busy, good) = (
        nobody().await,
        server(200, "<html>maintenance</html>").await,
        server(429, "slow down").await,
        server(200, OK).await,
    );
    let client = client(&[&down, &html, &busy, &good]);
    assert_eq!(ask(&client).await.unwrap(), "0x1");
    assert_eq!(client.stats().http_requests, 4);
    assert_eq!(ask(&client).await.unwrap(), "0x1");
    assert_eq!(
        client.stats().http_requests,
        5,
        "the good one is asked first"
    );
    assert_eq!(client.stats().methods["eth_chainId"], 5);
}

#[tokio::test]
async fn a_considered_refusal_is_an_answer_and_no_other_node_is_asked() {
    let refuses = server(
        200,
        r#"{"id":0,"error":{"code":3,"message":"execution reverted"}}"#,
    )
    .await;
    let client = client(&[&refuses, &server(200, OK).await]);
    let error = ask(&client).await.unwrap_err();
    assert!(error.is_refusal() && !error.is_retryable(), "{error:?}");
    assert_eq!(client.stats().http_requests, 1);

    // "Too many requests" is not one.
    let limited = server(200, r#"{"id":0,"error":{"code":-32005,"message":"limit"}}"#).await;
    let client = self::client(&[&limited, &server(200, OK).await]);
    assert_eq!(ask(&client).await.unwrap(), "0x1");
}

#[tokio::test]
async fn every_way_to_fail_has_its_kind_and_none_shows_the_url() {
    let endless = async || {
        tokio::time::sleep(Duration::from_secs(60)).await;
    };
    let hangs = serve(Router::new().fallback(post(endless))).await;
    let huge: &'static str =
        Box::leak(format!(r#"{{"id":0,"result":"{}"}}"#, "x".repeat(2000)).into());
    for (host, kind) in [
        (nobody().await, "transport"),
        (hangs, "timeout"),
        (server(200, "<html>").await, "not json"),
        (server(200, "").await, "not json"),
        (server(200, r#"{"id":0}"#).await, "not json"),
        (
            server(200, r#"{"id":0,"result":{"un":"expected"}}"#).await,
            "not json",
        ),
        (server(200, huge).await, "not json"),
        (server(500, "oops").await, "http 500"),
        (server(403, "no").await, "http 403"),
        (server(307, "elsewhere").await, "http 307"),
        (
            server(
                400,
                r#"{"id":0,"error":{"code":-32601,"message":"no such method"}}"#,
            )
            .await,
            "rpc",
        ),
    ] {
        let started = Instant::now();
        let error = ask(&client(&[&host])).await.unwrap_err();
        let found = match &error {
            RpcError::Transport { .. } => "transport".to_owned(),
            RpcError::Timeout { .. } => "timeout".to_owned(),
            RpcError::NotJson { .. } => "not json".to_owned(),
            RpcError::Http { status, .. } => format!("http {status}"),
            RpcError::Rpc { .. } => "rpc".to_owned(),
            RpcError::OtherNetwork { .. } => "other network".to_owned(),
        };
        assert_eq!(found, kind, "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
        let retryable = ["transport", "timeout", "not json", "http 500"].contains(&kind);
        assert_eq!(error.is_retryable(), retryable, "{error:?}");
        let shown = format!("{error} {error:?}");
        for secret in ["user", "pass", "apikey", "/v2"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_batch_is_one_request_and_each_call_is_counted() {
    let body = r#"[{"id":1,"result":"b"},{"id":0,"error":{"code":-32000,"message":"no"}}]"#;
    let client = client(&[&server(200, body).await]);
    let mut batch = Batch::new();
    batch.push("eth_call", &[(); 0]);
    batch.push("eth_getCode", &[(); 0]);
    let answers = client.batch::<String>(batch).await.unwrap();
    assert!(answers[0].is_err());
    assert_eq!(answers[1].as_ref().unwrap(), "b");
    let stats = client.stats();
    assert_eq!((stats.http_requests, stats.methods.len()), (1, 2));

    assert!(
        client
            .batch::<String>(Batch::new())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(client.stats().http_requests, 1, "nothing to ask");
}

#[tokio::test]
async fn a_batch_with_a_missing_answer_is_no_answer() {
    let client = client(&[&server(200, r#"[{"id":0,"result":"a"}]"#).await]);
    let mut batch = Batch::new();
    batch.push("eth_call", &[(); 0]);
    batch.push("eth_getCode", &[(); 0]);
    let error = client.batch::<String>(batch).await.unwrap_err();
    assert!(matches!(error, RpcError::NotJson { .. }), "{error:?}");
}
