//! The client: one connection pool, several nodes, the first one that answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::config::host;
use crate::http::{Http, Way};
use crate::lane::Lane;
use crate::message::{Answer, Batch};
use crate::node::Node;
use crate::plain::Plain;
use crate::stats::Counters;
use crate::{RpcConfig, RpcConfigError, RpcError, RpcStats, tls};

/// Calls of several callers that are sent together wait this part of the
/// time-out for their common answer.
const PATIENCE: u32 = 4;

/// A JSON-RPC client of one network. Cloning shares connections and counts.
#[derive(Clone)]
pub struct RpcClient {
    inner: Arc<Inner>,
}

struct Inner {
    nodes: Vec<Arc<Node>>,
    /// Index of the node that answered last: it is asked first.
    preferred: AtomicUsize,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for RpcClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts: Vec<&str> = self
            .inner
            .nodes
            .iter()
            .map(|n| n.http.host.as_str())
            .collect();
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
        // Programs that ask nodes also build HTTP clients of their own.
        tls::install_provider();
        let secure = config.urls.iter().any(|url| url.scheme() == "https");
        let client = secure.then(|| secure_client(&config)).transpose()?;
        let counters = Arc::new(Counters::default());
        let nodes = config
            .urls
            .iter()
            .map(|url| {
                let http = Http {
                    way: way(url, client.as_ref(), &config)?,
                    host: host(url),
                    timeout: config.timeout,
                    max_response_bytes: config.max_response_bytes,
                };
                Ok(Arc::new(Node {
                    http,
                    lane: Arc::default(),
                    counters: Arc::clone(&counters),
                    patience: config.timeout / PATIENCE,
                }))
            })
            .collect::<Result<_, RpcConfigError>>()?;
        Ok(Self::of(nodes, counters))
    }

    fn of(nodes: Vec<Arc<Node>>, counters: Arc<Counters>) -> Self {
        Self {
            inner: Arc::new(Inner {
                nodes,
                preferred: AtomicUsize::new(0),
                counters,
            }),
        }
    }

    /// Calls a method that may be repeated. While other calls are under way it
    /// may wait for at most a millisecond, to travel with others in one request.
    ///
    /// # Errors
    /// The last node's [`RpcError`] once every node was asked, or the first
    /// considered refusal.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: impl Serialize + Sync,
    ) -> Result<T, RpcError> {
        let mut batch = Batch::new();
        batch.push(method, &params);
        self.ask(batch, |node, answers| match answers {
            [answer] => read(node, answer)?,
            _ => Err(node.http.not_json_rpc(&[])),
        })
        .await
    }

    /// Sends several calls in one request, or singly to a node that takes no
    /// batches; one result per call, in order.
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
        self.ask(batch, |node, answers| {
            answers.iter().map(|answer| read(node, answer)).collect()
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
        self.inner
            .nodes
            .iter()
            .map(|n| n.http.host.as_str())
            .collect()
    }

    /// One client per node, sharing the connections: to ask each of them the
    /// same thing, such as which network it serves. Their calls are counted apart.
    #[must_use]
    pub fn nodes(&self) -> Vec<Self> {
        let one = |node: &Arc<Node>| {
            let counters = Arc::new(Counters::default());
            let node = Node {
                http: node.http.clone(),
                lane: Arc::new(Lane::default()),
                counters: Arc::clone(&counters),
                patience: node.patience,
            };
            Self::of(vec![Arc::new(node)], counters)
        };
        self.inner.nodes.iter().map(one).collect()
    }

    /// Asks the preferred node, then the others in turn.
    async fn ask<T>(
        &self,
        calls: Batch,
        read: impl Fn(&Node, &[Bytes]) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let calls = Arc::new(calls);
        let inner = &*self.inner;
        let count = inner.nodes.len();
        let first = inner.preferred.load(Ordering::Relaxed) % count;
        let mut last = None;
        for index in (0..count).map(|step| (first + step) % count) {
            let node = &inner.nodes[index];
            let outcome = match node.ask(&calls).await {
                Ok(answers) => read(node, &answers),
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error.is_for_another_node() => {
                    tracing::debug!(host = node.http.host, %error, "node passed over");
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

fn secure_client(config: &RpcConfig) -> Result<reqwest::Client, RpcConfigError> {
    tls::client_builder()
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .build()
        .map_err(|e| RpcConfigError::Client(e.without_url().to_string()))
}

fn way(
    url: &Url,
    client: Option<&reqwest::Client>,
    config: &RpcConfig,
) -> Result<Way, RpcConfigError> {
    if let Some(client) = client.filter(|_| url.scheme() == "https") {
        return Ok(Way::Secure(client.clone(), url.clone()));
    }
    Plain::new(url, config.connect_timeout, config.max_response_bytes)
        .map(Way::Plain)
        .ok_or_else(|| RpcConfigError::NotHttp { host: host(url) })
}

/// One call's own outcome; the outer error is of an answer that is none.
fn read<T: DeserializeOwned>(node: &Node, answer: &Bytes) -> Result<Result<T, RpcError>, RpcError> {
    serde_json::from_slice::<Answer<T>>(answer)
        .map(|answer| answer.outcome)
        .map_err(|e| node.http.unreadable(answer, &e))
}
