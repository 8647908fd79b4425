//! As much HTTP/1.1 as a node's clients speak.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No request is longer.
const MOST_BYTES: usize = 8 << 20;

/// Reads one request and returns its body; `None` where the connection ends.
pub(crate) async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, buffer).await?;
    };
    let length = content_length(buffer.get(..head_end)?)?;
    let end = head_end
        .checked_add(length)
        .filter(|end| *end <= MOST_BYTES)?;
    while buffer.len() < end {
        more(stream, buffer).await?;
    }
    let body = buffer.get(head_end..end)?.to_vec();
    buffer.drain(..end);
    Some(body)
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(buffer).await.ok()?;
    (read > 0 && buffer.len() <= MOST_BYTES).then_some(())
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let found = name.eq_ignore_ascii_case("content-length");
        found.then(|| value.trim())
    });
    value.map_or(Some(0), |value| value.parse().ok())
}

/// A whole answer.
pub(crate) fn message(status: u16, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Waits until the other side has had enough.
pub(crate) async fn until_closed(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

/// Writes an answer in pieces.
pub(crate) async fn trickle(
    stream: &mut TcpStream,
    message: &[u8],
    pause: std::time::Duration,
) -> std::io::Result<()> {
    for piece in message.chunks(32) {
        stream.write_all(piece).await?;
        stream.flush().await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}
