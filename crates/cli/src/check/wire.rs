//! HTTP/1.1 with the target exactly as it is written: a spelling that a client
//! library would mend is what is to be tried here.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of a body that are read; the rest is cut off.
const MAX_BODY: usize = 256 * 1024;
/// Most bytes of a head that are read.
const MAX_HEAD: usize = 128 * 1024;

/// What is asked, as it goes out.
#[derive(Clone, Debug)]
pub struct Ask {
    /// With which method.
    pub method: Method,
    /// The request target, unchanged.
    pub target: String,
    /// Headers beside the host.
    pub headers: Vec<(&'static str, String)>,
    /// A body, as JSON.
    pub body: Option<Vec<u8>>,
}

impl Ask {
    /// A question without headers and body.
    pub fn new(method: &Method, target: impl Into<String>) -> Self {
        Self {
            method: method.clone(),
            target: target.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// With a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With a body of JSON.
    pub fn json(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, at most so much of it as is read.
    pub body: Bytes,
}

impl Answer {
    /// Bytes of the status line and all headers, as they are on the wire.
    pub fn head_bytes(&self) -> usize {
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
        self.headers.iter().map(line).sum::<usize>() + "HTTP/1.1 402 Payment Required\r\n\r\n".len()
    }

    /// A header that is text.
    pub fn text(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether it serves something: any 2xx.
    pub fn serves(&self) -> bool {
        self.status.is_success()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub enum NoAnswer {
    /// The target is none that can be sent.
    Unsendable,
    /// Nobody answered, with the cause.
    Silent(String),
}

/// One server, asked over connections that are kept.
pub struct Wire {
    host: String,
    port: u16,
    host_header: String,
    tls: Option<TlsConnector>,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Wire {
    /// To the server of a URL.
    ///
    /// # Errors
    /// A sentence, where TLS cannot be set up or the URL names no host.
    pub fn to(url: &Url) -> Result<Self, String> {
        let host = url.host_str().ok_or("The URL names no host; correct it.")?;
        let default = if url.scheme() == "https" { 443 } else { 80 };
        let port = url.port().unwrap_or(default);
        let host_header = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let tls = (url.scheme() == "https").then(connector).transpose()?;
        Ok(Self {
            // Brackets belong to the URL, not to the address.
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            host_header,
            tls,
            open: None,
        })
    }

    /// Asks, and reads the answer.
    pub async fn ask(&mut self, ask: &Ask) -> Result<Answer, NoAnswer> {
        let late = |_| Err(NoAnswer::Silent("no answer in 10 s".to_owned()));
        // A kept connection may have been closed meanwhile: then on a fresh one, once.
        if self.open.is_some() {
            let kept = tokio::time::timeout(PATIENCE, self.exchange(ask)).await;
            match kept {
                Ok(Err(NoAnswer::Silent(_))) => self.open = None,
                Ok(done) => return done,
                Err(_) => self.open = None,
            }
        }
        let fresh = tokio::time::timeout(PATIENCE, self.exchange(ask)).await;
        fresh.unwrap_or_else(late).inspect_err(|_| self.open = None)
    }

    async fn exchange(&mut self, ask: &Ask) -> Result<Answer, NoAnswer> {
        let request = self.request(ask)?;
        let mut sender = match self.open.take() {
            Some(sender) => sender,
            None => self.connect().await.map_err(NoAnswer::Silent)?,
        };
        let silent = |e: hyper::Error| NoAnswer::Silent(cause(&e));
        sender.ready().await.map_err(silent)?;
        let response = sender.send_request(request).await.map_err(silent)?;
        let (parts, body) = response.into_parts();
        let read = Limited::new(body, MAX_BODY).collect().await;
        // What is longer, or breaks off, is judged by its head.
        let (body, whole) = match read {
            Ok(read) => (read.to_bytes(), true),
            Err(_) => (Bytes::from_static(b"(cut)"), false),
        };
        if whole && !sender.is_closed() {
            self.open = Some(sender);
        }
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let uri: Uri = ask.target.parse().map_err(|_| NoAnswer::Unsendable)?;
        let body = ask.body.clone().unwrap_or_default();
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(uri)
            .header(header::HOST, &self.host_header)
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                concat!("tollway-check/", env!("CARGO_PKG_VERSION")),
            );
        if ask.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let mut request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| NoAnswer::Unsendable)?;
        for (name, value) in &ask.headers {
            let value = HeaderValue::from_str(value).map_err(|_| NoAnswer::Unsendable)?;
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| NoAnswer::Unsendable)?;
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|e| cause(&e))?;
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return shaken(stream).await;
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|e| cause(&e))?;
        let stream = tls.connect(name, stream).await.map_err(|e| cause(&e))?;
        shaken(stream).await
    }
}

async fn shaken(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, String> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let shaken = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|e| cause(&e))?;
    // It ends with its sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

fn connector() -> Result<TlsConnector, String> {
    let failed = |e: rustls::Error| {
        format!("TLS cannot be set up: {e}; install the system's CA certificates.")
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_platform_verifier()
        .map_err(failed)?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// An error with its causes.
fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
