//! Plain HTTP/1.1 to one node: nodes on the same machine or network.
//!
//! A connection belongs to one request at a time and is driven by whoever waits
//! for that request, so that a call wakes no other task.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Connections that are kept for later.
const MOST_IDLE: usize = 32;
/// An unused connection is not believed to be open for longer.
const IDLE_FOR: Duration = Duration::from_secs(20);

/// Why there is no answer, for the log; it names no URL.
pub(crate) enum Fault {
    /// The connection failed or broke.
    Broken(String),
    /// The answer has more bytes than allowed.
    TooLong,
}

/// The way to one node. Cloning shares connections.
#[derive(Clone)]
pub(crate) struct Plain {
    inner: Arc<Inner>,
}

struct Inner {
    /// Host and port to connect to.
    address: String,
    uri: Uri,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    connect_timeout: Duration,
    max_response_bytes: usize,
    idle: Mutex<Vec<(Instant, Line)>>,
}

/// A connection, and the way to ask on it.
struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
}

impl Plain {
    /// The way to an `http` URL; `None` for one that cannot be gone.
    pub(crate) fn new(
        url: &url::Url,
        connect_timeout: Duration,
        max_response_bytes: usize,
    ) -> Option<Self> {
        let host = url.host_str()?;
        let port = url.port_or_known_default()?;
        let named = url
            .port()
            .map_or_else(|| host.to_owned(), |p| format!("{host}:{p}"));
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        Some(Self {
            inner: Arc::new(Inner {
                address: format!("{host}:{port}"),
                uri: target.parse().ok()?,
                host: HeaderValue::from_str(&named).ok()?,
                authorization: authorization(url),
                connect_timeout,
                max_response_bytes,
                idle: Mutex::default(),
            }),
        })
    }

    /// Sends a body; the answer's status and body. What fails on a connection
    /// that was used before is sent again on a new one: that one may have been
    /// closed meanwhile, and calls may be repeated.
    pub(crate) async fn post(&self, body: Bytes) -> Result<(u16, Bytes), Fault> {
        if let Some(line) = self.inner.idle_line() {
            match self.inner.ask(line, body.clone()).await {
                Err(Fault::Broken(_)) => {}
                answer => return answer,
            }
        }
        let line = self.inner.connect().await?;
        self.inner.ask(line, body).await
    }
}

impl Inner {
    fn idle_line(&self) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, _)| since.elapsed() < IDLE_FOR);
        idle.pop().map(|(_, line)| line)
    }

    fn keep(&self, line: Line) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE && !line.sender.is_closed() {
            idle.push((Instant::now(), line));
        }
    }

    async fn connect(&self) -> Result<Line, Fault> {
        let connecting = TcpStream::connect(&self.address);
        let stream = tokio::time::timeout(self.connect_timeout, connecting)
            .await
            .map_err(|_| Fault::Broken("connecting took too long".to_owned()))?
            .map_err(|e| Fault::Broken(e.to_string()))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        Ok(Line {
            sender,
            connection: Box::pin(connection),
        })
    }

    async fn ask(&self, mut line: Line, body: Bytes) -> Result<(u16, Bytes), Fault> {
        let request = self.request(body);
        let Line { sender, connection } = &mut line;
        let answer = async {
            sender.ready().await.map_err(broken)?;
            let answer = sender.send_request(request).await.map_err(broken)?;
            let status = answer.status().as_u16();
            Ok((status, self.read(answer).await?))
        };
        let (answer, ended) = driving(connection.as_mut(), answer).await;
        if answer.is_ok() && !ended {
            self.keep(line);
        }
        answer
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Bytes, Fault> {
        let mut body = answer.into_body();
        let mut whole = Bytes::new();
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            if whole.len() + chunk.len() > self.max_response_bytes {
                return Err(Fault::TooLong);
            }
            whole = joined(whole, chunk);
        }
        Ok(whole)
    }
}

/// Most answers come in one piece, which is then not copied.
pub(crate) fn joined(before: Bytes, chunk: Bytes) -> Bytes {
    if before.is_empty() {
        return chunk;
    }
    let mut whole = before
        .try_into_mut()
        .unwrap_or_else(|before| BytesMut::from(&before[..]));
    whole.extend_from_slice(&chunk);
    whole.freeze()
}

/// Waits for an answer, and moves the connection that it comes on. Also whether
/// the connection has ended.
async fn driving<T>(
    mut connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    answer: impl Future<Output = Result<T, Fault>>,
) -> (Result<T, Fault>, bool) {
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready((answer, false));
        }
        let ended = connection.as_mut().poll(cx).is_ready();
        // What the connection read may be what was waited for.
        match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready((answer, ended)),
            Poll::Pending if ended => {
                let detail = "the connection was closed before the answer".to_owned();
                Poll::Ready((Err(Fault::Broken(detail)), true))
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn broken(error: hyper::Error) -> Fault {
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        detail = format!("{detail}: {inner}");
        source = inner.source();
    }
    Fault::Broken(detail)
}

/// Basic authentication by user and password of the URL (RFC 7617).
fn authorization(url: &url::Url) -> Option<HeaderValue> {
    let password = url.password();
    if url.username().is_empty() && password.is_none() {
        return None;
    }
    let decoded = |text: &str| -> Vec<u8> { percent_encoding::percent_decode_str(text).collect() };
    let mut pair = decoded(url.username());
    pair.push(b':');
    pair.extend(decoded(password.unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}
