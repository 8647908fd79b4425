//! One POST to one node.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use url::Url;

use crate::RpcError;
use crate::plain::{Fault, Plain, joined};

/// How a node is reached.
#[derive(Clone)]
pub(crate) enum Way {
    /// Over TLS.
    Secure(reqwest::Client, Url),
    /// Over TCP.
    Plain(Plain),
}

/// The way to one node. Cloning shares connections.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) way: Way,
    /// Host and port, for messages.
    pub(crate) host: String,
    /// One request, from connecting to the last byte.
    pub(crate) timeout: Duration,
    pub(crate) max_response_bytes: usize,
}

impl Http {
    /// Sends a body; the answer's status and body.
    pub(crate) async fn post(&self, body: Vec<u8>) -> Result<(u16, Bytes), RpcError> {
        let sent = async {
            match &self.way {
                Way::Secure(client, url) => self.post_secure(client, url, body).await,
                Way::Plain(plain) => plain.post(body.into()).await.map_err(|f| self.fault(f)),
            }
        };
        tokio::time::timeout(self.timeout, sent)
            .await
            .unwrap_or_else(|_| {
                Err(RpcError::Timeout {
                    host: self.host.clone(),
                })
            })
    }

    async fn post_secure(
        &self,
        client: &reqwest::Client,
        url: &Url,
        body: Vec<u8>,
    ) -> Result<(u16, Bytes), RpcError> {
        let mut answer = client
            .post(url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body)
            .send()
            .await
            .map_err(|e| self.failed(e))?;
        let mut whole = Bytes::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.failed(e))? {
            if whole.len() + chunk.len() > self.max_response_bytes {
                return Err(self.fault(Fault::TooLong));
            }
            whole = joined(whole, chunk);
        }
        Ok((answer.status().as_u16(), whole))
    }

    fn fault(&self, fault: Fault) -> RpcError {
        match fault {
            Fault::Broken(detail) => RpcError::Transport {
                host: self.host.clone(),
                detail,
            },
            Fault::TooLong => self.not_json(format!("more than {} bytes", self.max_response_bytes)),
        }
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
