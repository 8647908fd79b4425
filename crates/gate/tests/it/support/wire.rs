//! Real sockets: a server that answers with exactly these bytes, and a client
//! that sends exactly those.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a raw server does once it has read a request.
#[derive(Clone)]
pub enum Raw {
    /// Sends these bytes and closes.
    Bytes(Vec<u8>),
    /// Sends nothing, for ever.
    Hang,
    /// Closes.
    Close,
}

impl Raw {
    pub fn http(status: u16, kind: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        Self::Bytes(text.into_bytes())
    }

    pub fn json(status: u16, body: &str) -> Self {
        Self::http(status, "application/json", body)
    }
}

/// A server that treats every connection the same; and what it was sent.
pub async fn raw_server(raw: Raw) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, raw.clone(), Arc::clone(&kept)));
        }
    });
    (address, seen)
}

async fn answer(mut stream: TcpStream, raw: Raw, seen: Arc<Mutex<Vec<String>>>) {
    let mut text = String::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if read == 0 {
                return;
            }
            continue;
        };
        let length = head.lines().find_map(|l| {
            l.to_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        });
        if body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    seen.lock().unwrap().push(text);
    match raw {
        Raw::Bytes(bytes) => drop(stream.write_all(&bytes).await),
        Raw::Hang => std::future::pending().await,
        Raw::Close => {}
    }
}

/// Sends these bytes, and reads until the server closes or is quiet.
pub async fn raw_client(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0_u8; 4096];
    while let Ok(Ok(read)) =
        tokio::time::timeout(Duration::from_millis(500), stream.read(&mut buffer)).await
    {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
