//! What stands behind a gate's address: `/health`, and everything else.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, Either};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tollway_facilitator::Engine;
use tollway_gate::{Body, Gate, GateService, Proxy, empty, full};
use tower::Service;
use tracing::Instrument as _;
use tracing::instrument::Instrumented;

use crate::operate::{self, State};
use crate::sdk::{self, SdkRoutes};
use crate::traces;

/// `/health` by itself, the gate for all other paths. No router: it stands
/// before every request.
#[derive(Clone)]
pub struct Doors {
    health: Arc<Health>,
    current: Arc<Current>,
    /// Which of those this is.
    version: u64,
    open: Open,
}

/// What is sold, and how.
#[derive(Clone)]
pub struct Open {
    /// The gate before the service behind.
    pub priced: GateService<Proxy>,
    /// Routes that speak another exchange.
    pub sdk: Option<SdkRoutes>,
}

/// What is sold now. Requests ask for its version only, until that changes.
pub struct Current {
    version: AtomicU64,
    open: RwLock<Open>,
}

impl Current {
    /// Sells this from the next request on.
    pub fn replace(&self, open: Open) {
        let mut current = self.open.write().unwrap_or_else(PoisonError::into_inner);
        *current = open;
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl Doors {
    /// The doors of a gate.
    pub fn new(health: Arc<Health>, open: Open) -> Self {
        Self {
            health,
            current: Arc::new(Current {
                version: AtomicU64::new(0),
                open: RwLock::new(open.clone()),
            }),
            version: 0,
            open,
        }
    }

    /// Where what is sold can be changed.
    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current)
    }

    /// Sells what is sold now.
    fn keep_up(&mut self) {
        if self.current.version.load(Ordering::Acquire) == self.version {
            return;
        }
        let current = self.current.open.read();
        let current = current.unwrap_or_else(PoisonError::into_inner);
        // Neither changes while this is held.
        self.open = current.clone();
        self.version = self.current.version.load(Ordering::Acquire);
    }
}

type Answer = Result<Response<Body>, Infallible>;
type Priced = Instrumented<<GateService<Proxy> as Service<Request<Incoming>>>::Future>;
type Own = Either<Ready<Answer>, Pin<Box<dyn Future<Output = Answer> + Send>>>;

impl Service<Request<Incoming>> for Doors {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Priced, Own>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.keep_up();
        Service::<Request<Incoming>>::poll_ready(&mut self.open.priced, cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        if request.uri().path() != "/health" {
            let span = traces::of_request("gate", &request);
            let open = &mut self.open;
            if open.sdk.as_ref().is_some_and(|sdk| sdk.covers(&request)) {
                let answer = sdk::exchange(open.priced.clone(), request);
                return Either::Right(Either::Right(Box::pin(answer.instrument(span))));
            }
            let answer = span.in_scope(|| open.priced.call(request));
            return Either::Left(answer.instrument(span));
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
    state: Arc<State>,
    last: Mutex<Option<Look>>,
}

/// How it was at a moment.
#[derive(Clone)]
struct Look {
    at: Instant,
    ready: bool,
    body: Map<String, Value>,
}

impl Health {
    /// The health of a gate, and of the engine in its process if it has one.
    pub fn new(gate: Gate, engine: Option<Engine>, state: Arc<State>) -> Self {
        Self {
            gate,
            engine,
            state,
            last: Mutex::default(),
        }
    }

    async fn answer(&self) -> Response<Body> {
        let (ready, body) = operate::Health::look(self).await;
        let mut response = Response::new(full(body.to_string()));
        if !ready {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// How it was within the last second, and whether it is leaving now.
    async fn told(&self) -> (bool, Value) {
        let mut last = self.last.lock().await;
        let fresh = last.clone().filter(|look| look.at.elapsed() < HEALTH_AGE);
        let Look {
            ready, mut body, ..
        } = match fresh {
            Some(look) => look,
            None => last.insert(self.look_now().await).clone(),
        };
        let ready = self.state.add_to(&mut body) && ready;
        (ready, Value::Object(body))
    }

    async fn look_now(&self) -> Look {
        let settling = match &self.engine {
            Some(engine) => tokio::time::timeout(Duration::from_secs(10), engine.health())
                .await
                .ok(),
            None => None,
        };
        let engine_ready =
            self.engine.is_none() || settling.as_ref().is_some_and(|health| health.ready);
        let ledger = self.gate.ledger_is_well();
        let ready = ledger && engine_ready;
        let said = [
            ("ready", ready.into()),
            ("ledger", if ledger { "ok" } else { "failed" }.into()),
            ("engine", json!(settling)),
        ];
        let body = said.map(|(name, value)| (name.to_owned(), value));
        Look {
            at: Instant::now(),
            ready,
            body: body.into_iter().collect(),
        }
    }
}

impl operate::Health for Health {
    fn look(&self) -> BoxFuture<'_, (bool, Value)> {
        Box::pin(self.told())
    }
}
