//! The same over HTTP.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollway_devnet::{DevnetServer, RpcError};

use crate::helpers::*;

async fn serve() -> DevnetServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    still().serve(listener).unwrap()
}

/// Sends one HTTP/1.1 request and returns the status and the body.
async fn http(server: &DevnetServer, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let head = format!(
        "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server may answer and close before it has read an oversized body.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let split = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let status = std::str::from_utf8(&answer[9..12])
        .unwrap()
        .parse()
        .unwrap();
    (status, answer[split + 4..].to_vec())
}

async fn post(server: &DevnetServer, body: &[u8]) -> (u16, Value) {
    let (status, body) = http(server, "POST /", body).await;
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_batches_are_answered_over_http() {
    let server = serve().await;
    let (status, answer) = post(&server, br#"{"id":1,"method":"eth_chainId"}"#).await;
    assert_eq!(
        (status, answer),
        (200, json!({"jsonrpc": "2.0", "id": 1, "result": "0x14a34"}))
    );
    let (_, answer) = post(&server, br#"[{"id":1,"method":"eth_blockNumber"}]"#).await;
    assert_eq!(answer[0]["result"], "0x0");
    let (status, body) = http(&server, "GET /", b"").await;
    assert_eq!((status, body.starts_with(b"JSON-RPC")), (200, true));
}

#[tokio::test]
async fn bad_bodies_are_errors_of_the_caller_never_of_the_server() {
    let server = serve().await;
    for body in [&b"{"[..], b"\xff\xfe", b"", &[b'['; 100_000]] {
        let (status, answer) = post(&server, body).await;
        assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32700)));
    }
    let (status, _) = post(&server, &vec![b' '; 5 * 1024 * 1024 + 1]).await;
    assert_eq!(status, 413);
    assert_eq!(http(&server, "DELETE /", b"").await.0, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_lose_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let devnet = still();
    let server = std::sync::Arc::new(devnet.serve(listener).unwrap());
    let tasks: Vec<_> = (0..8_usize)
        .map(|index| {
            let server = server.clone();
            tokio::spawn(async move {
                for nonce in 0..5 {
                    let (_, raw) = Key::dev(index).sign_tx(tx(nonce));
                    let raw = alloy_primitives::Bytes::from(raw);
                    let body =
                        json!({"id": 1, "method": "eth_sendRawTransaction", "params": [raw]});
                    let (_, answer) = post(&server, body.to_string().as_bytes()).await;
                    assert!(answer["result"].is_string(), "{answer}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((devnet.block_number(), devnet.waiting()), (40, 0));
}

#[tokio::test]
async fn a_shut_down_server_is_gone_and_its_chain_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let devnet = still();
    let server = devnet.serve(listener).unwrap();
    let addr = server.addr();
    server.shutdown().await;
    assert!(TcpStream::connect(addr).await.is_err());
    assert_eq!(devnet.block_number(), 0);
    let error: RpcError = devnet.request("nope", Value::Null).unwrap_err();
    assert_eq!(error.code, -32601);
}
