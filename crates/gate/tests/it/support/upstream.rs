//! The service behind the gate: it gives its secret to whoever reaches it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tollway_gate::Body;
use tower::util::BoxCloneSyncService;

pub const SECRET: &str = "the paid secret";

/// What it got.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone, Default)]
pub struct Upstream {
    pub calls: Arc<AtomicUsize>,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// Answers with this status instead of 200.
    pub status: Arc<Mutex<Option<StatusCode>>>,
    /// Adds these to its answer.
    pub headers: Arc<Mutex<HeaderMap>>,
    /// Takes so long.
    pub delay: Arc<Mutex<Duration>>,
    /// Bytes of its answer that left it, when it streams.
    pub streamed: Arc<AtomicUsize>,
    /// What the next answer at `live` streams.
    pub live: Arc<Mutex<Option<Body>>>,
}

impl Upstream {
    pub fn count(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn answer_with(&self, status: StatusCode) {
        *self.status.lock().unwrap() = Some(status);
    }

    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().expect("a call")
    }

    pub fn service(&self) -> BoxCloneSyncService<Request<Body>, Response<Body>, Infallible> {
        let this = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request| {
            this.clone().answer(request)
        }))
    }

    fn answer(
        self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            self.calls.fetch_add(1, Ordering::SeqCst);
            let path = parts.uri.path().to_owned();
            self.seen.lock().unwrap().push(Seen {
                method: parts.method.to_string(),
                uri: parts.uri.to_string(),
                headers: parts.headers,
                body,
            });
            let delay = *self.delay.lock().unwrap();
            tokio::time::sleep(delay).await;
            assert!(!path.ends_with("/panic"), "the service behind breaks down");
            Ok(self.response(&path))
        })
    }

    fn response(&self, path: &str) -> Response<Body> {
        let body = match path.rsplit('/').next().unwrap_or_default() {
            "big" => tollway_gate::full(vec![b'x'; 9 << 20]),
            "two-megabytes" => tollway_gate::full(vec![b'y'; 2 << 20]),
            "stream" => self.stream(),
            "live" => self.live.lock().unwrap().take().expect("a body"),
            "broken" => tollway_gate::boxed(Broken),
            "call" => with_trailers("0"),
            "failing-call" => with_trailers("13"),
            _ => tollway_gate::full(format!("{SECRET} of {path}")),
        };
        let mut response = Response::new(body);
        if let Some(status) = *self.status.lock().unwrap() {
            *response.status_mut() = status;
        }
        response
            .headers_mut()
            .extend(self.headers.lock().unwrap().clone());
        if path.ends_with("call") {
            let kind = http::HeaderValue::from_static("application/grpc+proto");
            response.headers_mut().insert("content-type", kind);
        }
        if path.ends_with("/stream") {
            let kind = http::HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert("content-type", kind);
        }
        response
    }

    /// A chunk every few milliseconds, counted as it leaves.
    fn stream(&self) -> Body {
        let streamed = Arc::clone(&self.streamed);
        let chunks = futures_util::stream::iter(0..5).then(move |_| {
            let streamed = Arc::clone(&streamed);
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                streamed.fetch_add(SECRET.len(), Ordering::SeqCst);
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(SECRET.as_bytes())))
            }
        });
        tollway_gate::boxed(StreamBody::new(chunks))
    }
}

/// A body that promises a hundred bytes and breaks off.
struct Broken;

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Ready(Some(Err(std::io::ErrorKind::UnexpectedEof.into())))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(100)
    }
}

/// A gRPC answer: it tells in its trailers whether it succeeded.
fn with_trailers(status: &'static str) -> Body {
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static(status),
    )]);
    let frames = [
        Frame::data(Bytes::from_static(SECRET.as_bytes())),
        Frame::trailers(trailers),
    ];
    let frames = frames.map(Ok::<_, Infallible>);
    tollway_gate::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}
