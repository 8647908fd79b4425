//! The seller's server: it knows nothing of payments, and counts who asks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// What only a buyer may read.
pub const GOODS: &str = "sunny, 24 degrees";

/// How many bytes `/paid/big` has.
pub const BIG: usize = 20 << 20;

/// What an upstream does with a request.
type Serve = dyn Fn(&str) -> (StatusCode, String) + Send + Sync;

struct Inner {
    seen: Mutex<Vec<String>>,
    pause: Mutex<Duration>,
    charge: Mutex<Option<String>>,
    serve: Box<Serve>,
}

/// A running upstream.
#[derive(Clone)]
pub struct Upstream {
    inner: Arc<Inner>,
    url: String,
}

impl Upstream {
    /// The usual one: `/paid/broken` fails, `/free` is free, `/paid/big` is big, `/events/N` are N events, all else are the goods.
    pub async fn start() -> Self {
        Self::serving(|path| match path {
            "/paid/broken" => (StatusCode::INTERNAL_SERVER_ERROR, "broken".to_owned()),
            "/free" => (StatusCode::OK, "free of charge".to_owned()),
            "/paid/big" => (StatusCode::OK, "x".repeat(BIG)),
            _ => (StatusCode::OK, GOODS.to_owned()),
        })
        .await
    }

    /// One that answers as it is told, by the request's target as it arrives.
    pub async fn serving(
        serve: impl Fn(&str) -> (StatusCode, String) + Send + Sync + 'static,
    ) -> Self {
        let inner = Arc::new(Inner {
            seen: Mutex::default(),
            pause: Mutex::default(),
            charge: Mutex::default(),
            serve: Box::new(serve),
        });
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { inner, url }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How often a target was asked for.
    pub fn asked(&self, target: &str) -> usize {
        self.inner
            .seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| *seen == target)
            .count()
    }

    /// From now on it says that this is to be charged.
    pub fn charge(&self, amount: &str) {
        *self.inner.charge.lock().unwrap() = Some(amount.to_owned());
    }

    /// From now on it takes this long to answer.
    pub fn pause(&self, pause: Duration) {
        *self.inner.pause.lock().unwrap() = pause;
    }
}

/// So many events, one every few milliseconds.
fn events(how_many: usize) -> Response {
    let events = futures_util::stream::unfold(0, move |n| async move {
        if n == how_many {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        let event = format!("data: {GOODS} {n}\n\n");
        Some((Ok::<_, std::io::Error>(event), n + 1))
    });
    let mut response = Body::from_stream(events).into_response();
    let kind = http::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert("content-type", kind);
    response
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request<Body>) -> Response {
    let target = request.uri().to_string();
    inner.seen.lock().unwrap().push(target.clone());
    let pause = *inner.pause.lock().unwrap();
    tokio::time::sleep(pause).await;
    let mut response = match target.strip_prefix("/events/").map(str::parse) {
        Some(Ok(how_many)) => events(how_many),
        _ => (inner.serve)(&target).into_response(),
    };
    if let Some(charge) = inner.charge.lock().unwrap().as_deref() {
        let overrides = serde_json::json!({ "amount": charge }).to_string();
        let value = overrides.parse().unwrap();
        response.headers_mut().insert("settlement-overrides", value);
    }
    response
}
