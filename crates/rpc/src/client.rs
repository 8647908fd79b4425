//! The client: one connection pool, several nodes, the first one that answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::config::host;
use crate::message::{Answer, Answers, Batch, Unanswered, write_call};
use crate::stats::Counters;
use crate::{RpcConfig, RpcConfigError, RpcError, RpcStats, tls};

/// A JSON-RPC client of one network. Cloning shares connections and counts.
#[derive(Clone)]
pub struct RpcClient {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    nodes: Vec<Node>,
    /// Index of the node that answered last: it is asked first.
    preferred: AtomicUsize,
    max_response_bytes: usize,
    counters: Counters,
}

#[derive(Clone)]
struct Node {
    url: Url,
    host: String,
}

impl std::fmt::Debug for RpcClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts: Vec<&str> = self.inner.nodes.iter().map(|n| n.host.as_str()).collect();
        f.debug_struct("RpcClient")
            .field("hosts", &hosts)
            .finish_non_exhaustive()
    }
}

impl RpcClient {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// [`RpcConfigError`] where the URLs are not allowed or TLS cannot start.
    pub fn new(config: RpcConfig) -> Result<Self, RpcConfigError> {
        config.check()?;
        let tls_needed = config.urls.iter().any(|url| url.scheme() == "https");
        let builder = if tls_needed {
            tls::client_builder()
        } else {
            tls::plain_client_builder()
        };
        let http = builder
            .timeout(config.timeout)
            .connect_timeout(config.connect_timeout)
            .tcp_nodelay(true)
            .build()
            .map_err(|e| RpcConfigError::Client(e.without_url().to_string()))?;
        let nodes = config
            .urls
            .into_iter()
            .map(|url| Node {
                host: host(&url),
                url,
            })
            .collect();
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                nodes,
                preferred: AtomicUsize::new(0),
                max_response_bytes: config.max_response_bytes,
                counters: Counters::default(),
            }),
        })
    }

    /// Calls a method that may be repeated.
    ///
    /// # Errors
    /// The last node's [`RpcError`] once every node was asked, or the first
    /// considered refusal.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: impl Serialize + Sync,
    ) -> Result<T, RpcError> {
        let mut body = Vec::with_capacity(256);
        write_call(&mut body, 0, method, &params);
        self.ask(&body, &[method], |node, bytes| {
            serde_json::from_slice::<Answer<T>>(bytes)
                .map_err(|e| not_json(node, bytes, &e))?
                .outcome
        })
        .await
    }

    /// Sends several calls in one request; one result per call, in order.
    ///
    /// # Errors
    /// An [`RpcError`] where the batch as a whole has no answer.
    pub async fn batch<T: DeserializeOwned>(
        &self,
        batch: Batch,
    ) -> Result<Vec<Result<T, RpcError>>, RpcError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let Batch { mut body, methods } = batch;
        body.push(b']');
        self.ask(&body, &methods, |node, bytes| {
            let answers: Answers<T> =
                serde_json::from_slice(bytes).map_err(|e| not_json(node, bytes, &e))?;
            answers.in_order(methods.len()).map_err(|why| match why {
                Unanswered::Refused(error) => error,
                Unanswered::Missing => RpcError::NotJson {
                    host: node.host.clone(),
                    detail: "some calls of a batch have no answer".to_owned(),
                },
            })
        })
        .await
    }

    /// What was asked so far.
    #[must_use]
    pub fn stats(&self) -> RpcStats {
        self.inner.counters.read()
    }

    /// Hosts and ports of the nodes, for messages.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        self.inner.nodes.iter().map(|n| n.host.as_str()).collect()
    }

    /// One client per node, sharing the connections: to ask each of them the
    /// same thing, such as which network it serves. Their calls are counted apart.
    #[must_use]
    pub fn nodes(&self) -> Vec<Self> {
        let one = |node: &Node| Self {
            inner: Arc::new(Inner {
                http: self.inner.http.clone(),
                nodes: vec![node.clone()],
                preferred: AtomicUsize::new(0),
                max_response_bytes: self.inner.max_response_bytes,
                counters: Counters::default(),
            }),
        };
        self.inner.nodes.iter().map(one).collect()
    }

    /// Asks the preferred node, then the others in turn.
    async fn ask<T>(
        &self,
        body: &[u8],
        methods: &[&'static str],
        read: impl Fn(&Node, &[u8]) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let inner = &*self.inner;
        let count = inner.nodes.len();
        let first = inner.preferred.load(Ordering::Relaxed) % count;
        let mut last = None;
        for index in (0..count).map(|step| (first + step) % count) {
            let node = &inner.nodes[index];
            inner.counters.sent(methods);
            let outcome = match inner.exchange(node, body).await {
                Ok(bytes) => read(node, &bytes),
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error.is_for_another_node() => {
                    tracing::debug!(host = node.host, %error, "node passed over");
                    last = Some(error);
                }
                decided => {
                    inner.preferred.store(index, Ordering::Relaxed);
                    return decided;
                }
            }
        }
        Err(last.unwrap_or(RpcError::Transport {
            host: String::new(),
            detail: "no node is configured".to_owned(),
        }))
    }
}

impl Inner {
    async fn exchange(&self, node: &Node, body: &[u8]) -> Result<Vec<u8>, RpcError> {
        let answer = self
            .http
            .post(node.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body.to_vec())
            .send()
            .await
            .map_err(|e| transport(node, e))?;
        let status = answer.status();
        let bytes = self.read_limited(node, answer).await?;
        // Some nodes put their JSON-RPC refusals under 4xx and 5xx.
        let is_json = bytes
            .iter()
            .find(|b| !b.is_ascii_whitespace())
            .is_some_and(|b| b"{[".contains(b));
        if status.is_success() || (is_json && looks_like_refusal(&bytes)) {
            return Ok(bytes);
        }
        Err(RpcError::Http {
            host: node.host.clone(),
            status: status.as_u16(),
        })
    }

    async fn read_limited(
        &self,
        node: &Node,
        mut answer: reqwest::Response,
    ) -> Result<Vec<u8>, RpcError> {
        let announced = answer.content_length().unwrap_or(0);
        let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0).min(64 * 1024));
        while let Some(chunk) = answer.chunk().await.map_err(|e| transport(node, e))? {
            if bytes.len() + chunk.len() > self.max_response_bytes {
                return Err(RpcError::NotJson {
                    host: node.host.clone(),
                    detail: format!("more than {} bytes", self.max_response_bytes),
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn looks_like_refusal(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Answers<serde::de::IgnoredAny>>(bytes)
        .is_ok_and(|answers| answers.0.iter().any(|a| a.outcome.is_err()))
}

fn transport(node: &Node, error: reqwest::Error) -> RpcError {
    if error.is_timeout() {
        return RpcError::Timeout {
            host: node.host.clone(),
        };
    }
    let error = error.without_url();
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        detail = format!("{detail}: {inner}");
        source = inner.source();
    }
    RpcError::Transport {
        host: node.host.clone(),
        detail,
    }
}

/// Says where the parse failed and how the answer begins, never more of it.
fn not_json(node: &Node, bytes: &[u8], error: &serde_json::Error) -> RpcError {
    let start: String = String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    RpcError::NotJson {
        host: node.host.clone(),
        detail: format!("{error}; it begins with `{start}`"),
    }
}
