//! The client: one connection pool, several nodes, the first one that answers.

use std::sync::Arc;

use reqwest::Certificate;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tracing::Instrument as _;
use url::Url;

use crate::config::host;
use crate::http::{Http, Way};
use crate::lane::Lane;
use crate::message::Batch;
use crate::node::Node;
use crate::plain::Plain;
use crate::pool::{Pool, only};
use crate::probe::Probe;
use crate::reply::read;
use crate::standing::{NodeState, Standing, Why};
use crate::stats::Counters;
use crate::{RpcConfig, RpcConfigError, RpcError, RpcStats, tls};

/// Calls of several callers that are sent together wait this part of the
/// time-out for their common answer.
const PATIENCE: u32 = 4;

/// A JSON-RPC client of one network. Cloning shares connections and counts.
#[derive(Clone)]
pub struct RpcClient {
    pub(crate) pool: Arc<Pool>,
}

impl std::fmt::Debug for RpcClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RpcClient")
            .field("hosts", &self.hosts())
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
                let places = Arc::new(Semaphore::new(config.max_requests_at_once.max(1)));
                Ok(node(http, Arc::clone(&counters), Arc::default(), places))
            })
            .collect::<Result<_, RpcConfigError>>()?;
        let pool = Pool::new(nodes, counters, config.hedge);
        Ok(Self {
            pool: Arc::new(pool),
        })
    }

    /// From now on nodes are probed: one of another network is never asked, one
    /// that is behind the others is asked after them, and one that was put aside
    /// comes back when it passes. The first probe that is given stays.
    pub fn set_probe(&self, probe: Probe) {
        self.pool.set_probe(probe);
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
        let span = tracing::info_span!("rpc", otel.name = method, otel.kind = "client");
        self.pool.ask(batch, only).instrument(span).await.outcome
    }

    /// The same for a question that has gathered what it asks for already: it
    /// waits for no others, and its parameters are written as JSON already.
    ///
    /// # Errors
    /// As [`RpcClient::call`].
    pub async fn call_at_once<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &str,
    ) -> Result<T, RpcError> {
        let batch = Batch::at_once(method, params);
        self.pool.ask(batch, only).await.outcome
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
        let all =
            |node: &Node, replies: &[_]| replies.iter().map(|reply| read(node, reply)).collect();
        let span = tracing::info_span!(
            "rpc",
            otel.name = "batch",
            otel.kind = "client",
            calls = batch.len()
        );
        self.pool.ask(batch, all).instrument(span).await.outcome
    }

    /// What was asked so far.
    #[must_use]
    pub fn stats(&self) -> RpcStats {
        self.pool.counters.read()
    }

    /// What is thought of each node, in the order of the configuration.
    #[must_use]
    pub fn states(&self) -> Vec<NodeState> {
        let state = |node: &Arc<Node>| node.standing.read(&node.http.host);
        self.pool.nodes.iter().map(state).collect()
    }

    /// Puts a node aside for a while, by its place in the configuration, for
    /// what only its owner can know.
    pub fn put_aside(&self, index: usize, why: &'static str) {
        if let Some(node) = self.pool.nodes.get(index) {
            node.standing.blame(&node.http.host, Why::Told(why));
        }
    }

    /// Hosts and ports of the nodes, for messages.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        self.pool.hosts()
    }

    /// One client per node, sharing the connections and what is thought of the
    /// node: to ask each of them the same thing. They are not probed, and their
    /// calls are counted apart.
    #[must_use]
    pub fn nodes(&self) -> Vec<Self> {
        let one = |shared: &Arc<Node>| {
            let counters = Arc::new(Counters::default());
            let node = node(
                shared.http.clone(),
                Arc::clone(&counters),
                Arc::clone(&shared.standing),
                Arc::clone(&shared.places),
            );
            let pool = Pool::new(vec![node], counters, self.pool.hedge);
            Self {
                pool: Arc::new(pool),
            }
        };
        self.pool.nodes.iter().map(one).collect()
    }
}

fn node(
    http: Http,
    counters: Arc<Counters>,
    standing: Arc<Standing>,
    places: Arc<Semaphore>,
) -> Arc<Node> {
    Arc::new(Node {
        patience: http.timeout / PATIENCE,
        http,
        lane: Arc::new(Lane::default()),
        counters,
        standing,
        places,
        proving: tokio::sync::Mutex::default(),
    })
}

fn secure_client(config: &RpcConfig) -> Result<reqwest::Client, RpcConfigError> {
    let roots = extra_roots(config).ok_or(RpcConfigError::Root)?;
    tls::client_builder()
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .tls_certs_merge(roots)
        .build()
        .map_err(|e| RpcConfigError::Client(e.without_url().to_string()))
}

/// The configured roots, if a client takes them.
fn extra_roots(config: &RpcConfig) -> Option<Vec<Certificate>> {
    let mut roots = Vec::new();
    for pem in &config.extra_roots {
        let found = Certificate::from_pem_bundle(pem).ok();
        roots.extend(found.filter(|found| !found.is_empty())?);
    }
    if !roots.is_empty() {
        let tried = tls::plain_client_builder().tls_certs_only(roots.clone());
        tried.build().ok()?;
    }
    Some(roots)
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
