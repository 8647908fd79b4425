//! One POST to one node.

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use url::Url;

use crate::RpcError;

/// The way to one node. Cloning shares connections.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) client: reqwest::Client,
    pub(crate) url: Url,
    /// Host and port, for messages.
    pub(crate) host: String,
    pub(crate) max_response_bytes: usize,
}

impl Http {
    /// Sends a body; the answer's status and body.
    pub(crate) async fn post(&self, body: Vec<u8>) -> Result<(u16, Bytes), RpcError> {
        let answer = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body)
            .send()
            .await
            .map_err(|e| self.failed(e))?;
        let status = answer.status().as_u16();
        Ok((status, self.read_limited(answer).await?))
    }

    async fn read_limited(&self, mut answer: reqwest::Response) -> Result<Bytes, RpcError> {
        let mut body = Bytes::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.failed(e))? {
            if body.len() + chunk.len() > self.max_response_bytes {
                return Err(self.not_json(format!("more than {} bytes", self.max_response_bytes)));
            }
            // Most answers come in one piece, which is then not copied.
            body = if body.is_empty() {
                chunk
            } else {
                let mut longer = body
                    .try_into_mut()
                    .unwrap_or_else(|body| BytesMut::from(&body[..]));
                longer.extend_from_slice(&chunk);
                longer.freeze()
            };
        }
        Ok(body)
    }

    fn failed(&self, error: reqwest::Error) -> RpcError {
        let host = self.host.clone();
        if error.is_timeout() {
            return RpcError::Timeout { host };
        }
        let error = error.without_url();
        let mut detail = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            detail = format!("{detail}: {inner}");
            source = inner.source();
        }
        RpcError::Transport { host, detail }
    }

    /// Says where the parse failed and how the answer begins, never more of it.
    pub(crate) fn unreadable(&self, bytes: &[u8], error: &serde_json::Error) -> RpcError {
        self.not_json(format!("{error}; it begins with `{}`", start_of(bytes)))
    }

    pub(crate) fn not_json_rpc(&self, bytes: &[u8]) -> RpcError {
        self.not_json(format!("it begins with `{}`", start_of(bytes)))
    }

    fn not_json(&self, detail: String) -> RpcError {
        RpcError::NotJson {
            host: self.host.clone(),
            detail,
        }
    }
}

fn start_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}
