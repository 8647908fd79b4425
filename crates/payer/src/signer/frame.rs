//! Frames: four letters, the version, the length in bytes (32 bits, big end first),
//! and so much JSON.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tollway_core::json::{JsonLimits, object_from_slice};

const LETTERS: [u8; 4] = *b"TWSG";
const VERSION: u8 = 1;
const HEAD: usize = 9;
/// Longest frame. What is sold and its extensions come in headers or bodies of at
/// most a quarter of this.
const LIMITS: JsonLimits = JsonLimits {
    max_bytes: 256 * 1024,
    max_depth: 64,
};

/// Why a frame was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// Nobody is there any more.
    #[error("the connection ended: {0}")]
    Lost(#[from] io::Error),
    /// The other side speaks something else.
    #[error("{0}")]
    Foreign(String),
}

/// Reads one frame. `None` if the connection ended before one began.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    let mut head = [0_u8; HEAD];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let [l0, l1, l2, l3, version, length @ ..] = head;
    if [l0, l1, l2, l3] != LETTERS {
        return Err(FrameError::Foreign(
            "the frame does not begin like one of a remote signer".to_owned(),
        ));
    }
    if version != VERSION {
        return Err(FrameError::Foreign(format!(
            "the frame is of version {version}, and version {VERSION} is spoken here"
        )));
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > LIMITS.max_bytes {
        return Err(FrameError::Foreign(format!(
            "the frame is longer than {} bytes",
            LIMITS.max_bytes
        )));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    let read = object_from_slice(&body, &LIMITS);
    read.map(Some)
        .map_err(|error| FrameError::Foreign(error.detail()))
}

/// Writes one frame.
pub(super) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    what: &impl Serialize,
) -> Result<(), FrameError> {
    let body = serde_json::to_vec(what).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if body.len() > LIMITS.max_bytes {
        return Err(FrameError::Foreign(format!(
            "the frame would be longer than {} bytes",
            LIMITS.max_bytes
        )));
    }
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.extend(LETTERS);
    frame.push(VERSION);
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    to.write_all(&frame).await?;
    Ok(to.flush().await?)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    async fn reading(bytes: &[u8]) -> Result<Option<Value>, FrameError> {
        read(&mut &bytes[..]).await
    }

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written() {
        let mut wire = Vec::new();
        let said = serde_json::json!({"ask": "accounts"});
        write(&mut wire, &said).await.unwrap();
        assert_eq!(reading(&wire).await.unwrap(), Some(said));
        assert!(reading(&[]).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_no_frame_or_too_long_is_not_read() {
        for (bytes, why) in [
            (&b"GET / HTTP/1.1\r\n"[..], "does not begin"),
            (b"TWSG\x02\0\0\0\x02{}", "version 2"),
            (b"TWSG\x01\xff\xff\xff\xff{}", "longer than 262144 bytes"),
            (b"TWSG\x01\0\0\0\x02[]", "not an object"),
            (b"TWSG\x01\0\0\0\x02{", "ended"),
        ] {
            let told = reading(bytes).await.unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
    }
}
