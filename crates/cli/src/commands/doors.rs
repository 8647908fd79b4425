//! What stands behind a gate's address: `/health`, and everything else.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::Either;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tollway_facilitator::Engine;
use tollway_gate::{Body, Gate, GateService, Proxy, empty, full};
use tower::Service;

use crate::sdk::{self, SdkRoutes};

/// `/health` by itself, the gate for all other paths. No router: it stands
/// before every request.
#[derive(Clone)]
pub struct Doors {
    health: Arc<Health>,
    priced: GateService<Proxy>,
    sdk: Option<SdkRoutes>,
}

impl Doors {
    /// The doors of a gate.
    pub fn new(health: Health, priced: GateService<Proxy>, sdk: Option<SdkRoutes>) -> Self {
        Self {
            health: Arc::new(health),
            priced,
            sdk,
        }
    }
}

type Answer = Result<Response<Body>, Infallible>;
type Priced = <GateService<Proxy> as Service<Request<Incoming>>>::Future;
type Own = Either<Ready<Answer>, Pin<Box<dyn Future<Output = Answer> + Send>>>;

impl Service<Request<Incoming>> for Doors {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Priced, Own>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Incoming>>::poll_ready(&mut self.priced, cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        if request.uri().path() != "/health" {
            if self.sdk.as_ref().is_some_and(|sdk| sdk.covers(&request)) {
                let answer = sdk::exchange(self.priced.clone(), request);
                return Either::Right(Either::Right(Box::pin(answer)));
            }
            return Either::Left(self.priced.call(request));
        }
        let asks = matches!(*request.method(), Method::GET | Method::HEAD);
        if !asks {
            return Either::Right(Either::Left(ready(Ok(only_get()))));
        }
        let health = Arc::clone(&self.health);
        Either::Right(Either::Right(Box::pin(
            async move { Ok(health.answer().await) },
        )))
    }
}

fn only_get() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
    response
}

/// Whoever asks for health costs the nodes nothing: one look serves a second.
const HEALTH_AGE: Duration = Duration::from_secs(1);

/// `GET /health`: 200 while payments can be taken, else 503 with what is wrong.
pub struct Health {
    gate: Gate,
    engine: Option<Engine>,
    last: Mutex<Option<(Instant, bool, Value)>>,
}

impl Health {
    /// The health of a gate, and of the engine in its process if it has one.
    pub fn new(gate: Gate, engine: Option<Engine>) -> Self {
        Self {
            gate,
            engine,
            last: Mutex::default(),
        }
    }

    async fn answer(&self) -> Response<Body> {
        let mut last = self.last.lock().await;
        let fresh = last.as_ref().filter(|(at, _, _)| at.elapsed() < HEALTH_AGE);
        let (ready, body) = match fresh {
            Some((_, ready, body)) => (*ready, body.clone()),
            None => {
                let (ready, body) = self.look().await;
                *last = Some((Instant::now(), ready, body.clone()));
                (ready, body)
            }
        };
        let mut response = Response::new(full(body.to_string()));
        if !ready {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn look(&self) -> (bool, Value) {
        let settling = match &self.engine {
            Some(engine) => tokio::time::timeout(Duration::from_secs(10), engine.health())
                .await
                .ok(),
            None => None,
        };
        let engine_ready =
            self.engine.is_none() || settling.as_ref().is_some_and(|health| health.ready);
        let ledger = self.gate.ledger_is_well();
        let body = json!({
            "ready": ledger && engine_ready,
            "ledger": if ledger { "ok" } else { "failed" },
            "engine": settling,
        });
        (ledger && engine_ready, body)
    }
}
