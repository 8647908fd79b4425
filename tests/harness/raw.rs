//! HTTP without manners: bytes over TCP, and a client that follows nothing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No server may take longer than this to answer nonsense.
const ANSWERED: Duration = Duration::from_secs(15);

/// What came back over a bare connection.
#[derive(Debug)]
pub struct Answer {
    /// Status; 0 if the server only closed the connection.
    pub status: u16,
    /// Everything that came.
    pub text: String,
}

/// A client that follows no redirect and gives up in time.
pub fn client() -> reqwest::Client {
    tollway_payer::client_builder()
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}

/// Where a server's URL leads.
pub fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://")
        .trim_start_matches("https://")
        .trim_end_matches('/')
        .parse()
        .unwrap()
}

/// Sends bytes and reads until the server closes; it must do so in time.
pub async fn send(url: &str, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address(url)).await.unwrap();
    // A server may refuse before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut text = Vec::new();
    let read = tokio::time::timeout(ANSWERED, stream.read_to_end(&mut text)).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        read.is_ok(),
        "no answer in time to {:.200}: {text}",
        String::from_utf8_lossy(bytes)
    );
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    Answer { status, text }
}

/// A GET with these header lines.
pub fn get(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A POST of JSON, or of what pretends to be.
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
