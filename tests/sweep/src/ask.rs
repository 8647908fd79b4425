//! One HTTP request on a connection of its own, read whole or not at all.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(100);

/// A whole answer.
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// How asking went.
pub enum Asked {
    /// Nothing was sent.
    Unreachable,
    /// It was sent, and no whole answer came.
    Broke,
    /// The answer.
    Replied(Reply),
}

/// Sends a request to `host` (`ADDRESS:PORT`).
pub async fn ask(host: &str, request: Request<Full<Bytes>>) -> Asked {
    let Ok(stream) = TcpStream::connect(host).await else {
        return Asked::Unreachable;
    };
    match tokio::time::timeout(PATIENCE, exchange(stream, request)).await {
        Ok(Some(reply)) => Asked::Replied(reply),
        Ok(None) | Err(_) => Asked::Broke,
    }
}

async fn exchange(stream: TcpStream, request: Request<Full<Bytes>>) -> Option<Reply> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.ok()?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    Some(Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}
