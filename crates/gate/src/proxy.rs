//! The service behind a gate that stands alone: a reverse proxy.
//!
//! It forwards what a [`crate::GateLayer`] lets through: hop-by-hop headers
//! end here, `X-Forwarded-*` say what was really asked, bodies stream, and on
//! free routes a protocol switch (WebSocket) is tunnelled.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONNECTION, EXPECT, HOST, HeaderName, LOCATION, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::upgrade::OnUpgrade;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tollway_core::codes;
use tower::Service;

use crate::body::{self, Body, BoxError};
use crate::error::shown;
use crate::{answer, hygiene, propagate, tunnel};

/// What only a proxy may say; a client's word does not pass.
const FORWARDED: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-real-ip",
];
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Put into a request's extensions by whoever accepts connections, so that the
/// server behind learns who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub SocketAddr);

/// Put into the extensions of a paid request: the gate counts those itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HasPlace;

/// Put into the extensions of an answer that is no answer of the service behind,
/// though that may have got the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MayHaveActed;

fn perhaps_acted(mut response: Response<Body>) -> Response<Body> {
    response.extensions_mut().insert(MayHaveActed);
    response
}

/// Why a proxy cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Not an absolute `http` or `https` URL without query.
    #[error("{0} is not the URL of a server; write one such as http://127.0.0.1:3000")]
    Url(String),
    /// TLS could not be set up.
    #[error("TLS to the server behind cannot be set up; check the system's certificates")]
    Tls(#[source] rustls::Error),
}

/// Sets up a [`Proxy`].
pub struct ProxyBuilder {
    upstream: String,
    timeout: Duration,
    preserve_host: bool,
    public_scheme: &'static str,
    http2_only: bool,
    max_connections: usize,
    tunnel_idle: Duration,
}

impl ProxyBuilder {
    /// Most connections to the server behind at once (default 4096): one for
    /// each request until its answer is read, two for each switched protocol,
    /// whose client's connection nobody else counts. What comes beyond is
    /// answered 503, but for what is paid: that is counted by the gate.
    #[must_use]
    pub fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most.min(Semaphore::MAX_PERMITS);
        self
    }

    /// How long a switched protocol may be silent both ways before it is ended
    /// (default 5 min).
    #[must_use]
    pub fn tunnel_idle(mut self, idle: Duration) -> Self {
        self.tunnel_idle = idle;
        self
    }

    /// How long the server behind may take to begin its answer (default 110 s).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends the Host that was asked for instead of the upstream's own.
    #[must_use]
    pub fn preserve_host(mut self, preserve: bool) -> Self {
        self.preserve_host = preserve;
        self
    }

    /// Tells the server behind that clients came by HTTPS.
    #[must_use]
    pub fn public_https(mut self) -> Self {
        self.public_scheme = "https";
        self
    }

    /// Speaks HTTP/2 without asking first, as gRPC servers without TLS expect.
    #[must_use]
    pub fn http2_only(mut self) -> Self {
        self.http2_only = true;
        self
    }

    /// Checks everything. Asks nobody.
    ///
    /// # Errors
    /// [`ProxyError`] says what to correct.
    pub fn build(self) -> Result<Proxy, ProxyError> {
        let wrong = || ProxyError::Url(shown(&self.upstream));
        let uri: Uri = self.upstream.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(wrong());
        };
        let http = *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
        if !http || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .http2_only(self.http2_only)
            .build(connector(scheme)?);
        Ok(Proxy {
            shared: Arc::new(Shared {
                client,
                scheme: scheme.clone(),
                authority: authority.clone(),
                prefix: uri.path().trim_end_matches('/').to_owned(),
                timeout: self.timeout,
                preserve_host: self.preserve_host,
                public_scheme: HeaderValue::from_static(self.public_scheme),
                places: Arc::new(Semaphore::new(self.max_connections)),
                tunnel_idle: self.tunnel_idle,
            }),
        })
    }
}

/// A reverse proxy as a service that never fails: when the server behind
/// cannot be reached it answers 502 with `upstream_unavailable`.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    scheme: Scheme,
    authority: Authority,
    prefix: String,
    timeout: Duration,
    preserve_host: bool,
    public_scheme: HeaderValue,
    /// One for each connection.
    places: Arc<Semaphore>,
    tunnel_idle: Duration,
}

impl Proxy {
    /// To the server at a URL; a path in it is put before every path.
    ///
    /// # Errors
    /// [`ProxyError`] says what to correct.
    pub fn new(upstream: &str) -> Result<Self, ProxyError> {
        Self::builder(upstream).build()
    }

    /// Starts to set one up.
    #[must_use]
    pub fn builder(upstream: &str) -> ProxyBuilder {
        ProxyBuilder {
            upstream: upstream.to_owned(),
            timeout: Duration::from_secs(110),
            preserve_host: false,
            public_scheme: "http",
            http2_only: false,
            max_connections: 4096,
            tunnel_idle: Duration::from_secs(300),
        }
    }
}

impl<B> Service<Request<B>> for Proxy
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let request = request.map(body::boxed);
        Box::pin(async move { Ok(shared.forward(request).await) })
    }
}

impl Shared {
    async fn forward(&self, mut request: Request<Body>) -> Response<Body> {
        let switch = Switch::asked(&mut request);
        let place = match self.place(&request, switch.is_some()) {
            Ok(place) => place,
            Err(response) => return *response,
        };
        let Some(uri) = self.target(request.uri()) else {
            return answer::problem(
                StatusCode::BAD_REQUEST,
                "invalid_path",
                "The request target is not a path; send one that starts with a slash.",
            );
        };
        self.rewrite(&mut request, uri, switch.as_ref());
        propagate::write(request.headers_mut());
        let answered = tokio::time::timeout(self.timeout, self.client.request(request)).await;
        match answered {
            Ok(Ok(mut response)) => {
                self.relocate(response.headers_mut());
                self.finish(response, switch, place)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the server behind the gate cannot be reached");
                let failed = answer::problem(
                    StatusCode::BAD_GATEWAY,
                    codes::UPSTREAM_UNAVAILABLE,
                    "The server behind the gate cannot be reached; nothing was charged, try again later.",
                );
                match error.is_connect() {
                    true => failed,
                    false => perhaps_acted(failed),
                }
            }
            Err(_) => perhaps_acted(answer::problem(
                StatusCode::GATEWAY_TIMEOUT,
                codes::UPSTREAM_UNAVAILABLE,
                "The server behind the gate did not answer in time; nothing was charged, try again later.",
            )),
        }
    }

    /// A place among the connections. A paid request has one at the gate.
    fn place(
        &self,
        request: &Request<Body>,
        switches: bool,
    ) -> Result<Option<OwnedSemaphorePermit>, Box<Response<Body>>> {
        if request.extensions().get::<HasPlace>().is_some() {
            return Ok(None);
        }
        let connections = if switches { 2 } else { 1 };
        let place = Arc::clone(&self.places).try_acquire_many_owned(connections);
        place.map(Some).map_err(|_| {
            Box::new(answer::unavailable(
                codes::TOO_MANY_REQUESTS,
                "The server behind the gate is asked too much at once; try again later.",
            ))
        })
    }

    /// The answer for the client; after a switch, bytes flow both ways.
    fn finish(
        &self,
        mut response: Response<hyper::body::Incoming>,
        switch: Option<Switch>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = response.headers().get(UPGRADE).cloned();
        hygiene::remove_hop_by_hop(response.headers_mut());
        let Some(switch) = switch.filter(|_| switched) else {
            if switched {
                return answer::problem(
                    StatusCode::BAD_GATEWAY,
                    codes::UPSTREAM_UNAVAILABLE,
                    "The server behind the gate switched protocols unasked; tell its operator.",
                );
            }
            return response.map(|answer| body::keeping(body::boxed(answer), place));
        };
        let server = hyper::upgrade::on(&mut response);
        let idle = self.tunnel_idle;
        tokio::spawn(async move {
            let _place = place;
            let (Ok(client), Ok(server)) = tokio::join!(switch.client, server) else {
                return;
            };
            tunnel::carry(TokioIo::new(client), TokioIo::new(server), idle).await;
        });
        let mut response = response.map(|_| body::empty());
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        put(headers, UPGRADE, protocol);
        response
    }

    /// A redirect to the upstream's own address means the same place here.
    fn relocate(&self, headers: &mut HeaderMap) {
        let own = format!("{}://{}{}", self.scheme, self.authority, self.prefix);
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(rest) = location.and_then(|location| location.strip_prefix(&own)) else {
            return;
        };
        let path = match rest.chars().next() {
            None => "/".to_owned(),
            Some('/') if !rest.starts_with("//") => rest.to_owned(),
            Some('?' | '#') => format!("/{rest}"),
            _ => return,
        };
        put(headers, LOCATION, HeaderValue::try_from(path).ok());
    }

    fn target(&self, asked: &Uri) -> Option<Uri> {
        let path = asked.path_and_query().map_or("/", PathAndQuery::as_str);
        let target = match path {
            "*" => "*".to_owned(),
            path if path.starts_with('/') => format!("{}{path}", self.prefix),
            _ => return None,
        };
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(target)
            .build()
            .ok()
    }

    fn rewrite(&self, request: &mut Request<Body>, uri: Uri, switch: Option<&Switch>) {
        let host = asked_host(request);
        let client = request.extensions().get::<ClientAddress>().copied();
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        hygiene::remove_hop_by_hop(headers);
        headers.remove(EXPECT);
        for name in FORWARDED {
            headers.remove(name);
        }
        let own = HeaderValue::from_str(self.authority.as_str()).ok();
        let sent = if self.preserve_host {
            host.clone().or(own)
        } else {
            own
        };
        put(headers, HOST, sent);
        put(headers, X_FORWARDED_HOST, host);
        put(headers, X_FORWARDED_PROTO, Some(self.public_scheme.clone()));
        let address = client.and_then(|c| HeaderValue::from_str(&c.0.ip().to_string()).ok());
        put(headers, X_FORWARDED_FOR, address);
        if let Some(switch) = switch {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, switch.protocol.clone());
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

/// The host that the client asked for.
fn asked_host(request: &Request<Body>) -> Option<HeaderValue> {
    match request.uri().authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => request.headers().get(HOST).cloned(),
    }
}

/// A client that wants to switch protocols.
struct Switch {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Switch {
    fn asked(request: &mut Request<Body>) -> Option<Self> {
        if !hygiene::wants_upgrade(request.headers()) {
            return None;
        }
        let protocol = request.headers().get(UPGRADE)?.clone();
        let client = request.extensions_mut().remove::<OnUpgrade>()?;
        Some(Self { protocol, client })
    }
}

/// Certificates are loaded only where TLS is spoken.
fn connector(scheme: &Scheme) -> Result<HttpsConnector<HttpConnector>, ProxyError> {
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(Duration::from_secs(5)));
    http.set_nodelay(true);
    http.enforce_http(false);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ProxyError::Tls)?;
    let config = match *scheme == Scheme::HTTPS {
        true => config
            .with_platform_verifier()
            .map_err(ProxyError::Tls)?
            .with_no_client_auth(),
        false => config
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth(),
    };
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http))
}
