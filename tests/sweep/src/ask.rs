//! One HTTP request on a connection of its own, read whole or not at all.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
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

/// How asking began.
pub enum Opened {
    /// Nothing was sent.
    Unreachable,
    /// It was sent, and nothing came.
    Broke,
    /// Status and headers came, and a body comes.
    Answered(Response<Incoming>),
}

/// Sends a request to `host` (`ADDRESS:PORT`), and reads the answer.
pub async fn ask(host: &str, request: Request<Full<Bytes>>) -> Asked {
    match open(host, request).await {
        Opened::Unreachable => Asked::Unreachable,
        Opened::Broke => Asked::Broke,
        Opened::Answered(answer) => {
            let read = tokio::time::timeout(PATIENCE, read(answer)).await;
            read.ok().flatten().map_or(Asked::Broke, Asked::Replied)
        }
    }
}

/// Sends a request to `host` (`ADDRESS:PORT`).
pub async fn open(host: &str, request: Request<Full<Bytes>>) -> Opened {
    let Ok(stream) = TcpStream::connect(host).await else {
        return Opened::Unreachable;
    };
    match tokio::time::timeout(PATIENCE, begin(stream, request)).await {
        Ok(Some(answer)) => Opened::Answered(answer),
        Ok(None) | Err(_) => Opened::Broke,
    }
}

async fn begin(stream: TcpStream, request: Request<Full<Bytes>>) -> Option<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    tokio::spawn(connection);
    sender.send_request(request).await.ok()
}

/// The whole of an answer.
pub async fn read(answer: Response<Incoming>) -> Option<Reply> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    Some(Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}
