//! A gate with doubles around it: a facilitator and a chain that only pretend.

mod chain;
mod facilitator;
mod payment;
mod store;
mod upstream;
mod wire;

pub use chain::FakeChain;
pub use facilitator::{FakeFacilitator, Say};
pub use payment::{Payment, terms_of};
pub use store::UnsteadyStore;
pub use upstream::{SECRET, Upstream};
pub use wire::{Raw, raw_client, raw_server};

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tollway_core::wire::SettleResponse;
use tollway_core::{PaymentFlow, header};
use tollway_gate::{Body, Event, Gate, GateBuilder, Limits, Offer, Route};
use tollway_ledger::SqliteLedger;
use tower::{Layer, ServiceExt};

pub const PAYEE: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
pub const BASE: &str = "https://api.example";

/// A gate, its doubles and the service behind it.
pub struct World {
    pub gate: Gate,
    pub facilitator: Arc<FakeFacilitator>,
    pub chain: Arc<FakeChain>,
    pub upstream: Upstream,
    pub ledger: Arc<SqliteLedger>,
    pub store: Arc<UnsteadyStore>,
    pub events: Arc<Mutex<Vec<Event>>>,
}

/// An answer that was read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub fn price() -> Offer {
    Offer::new("$0.01", "base-sepolia", PAYEE).unwrap()
}

/// Short waits, so that stories about hanging end.
pub fn limits() -> Limits {
    Limits {
        settle_wait: Duration::from_millis(400),
        repeat_wait: Duration::from_millis(800),
        settle_backoff: Duration::from_millis(20),
        place_wait: Duration::from_millis(20),
        upstream_timeout: Duration::from_secs(5),
        check_wait: Duration::from_millis(100),
        ..Limits::default()
    }
}

impl World {
    /// A gate that sells `/paid/*` for a cent.
    pub async fn new() -> Self {
        Self::with(|gate| gate.route(Route::new("/paid/*").unwrap().offer(price()))).await
    }

    /// The same, where everybody waits however busy the machine is.
    pub async fn patient() -> Self {
        let patient = Limits {
            repeat_wait: Duration::from_secs(30),
            settle_wait: Duration::from_secs(30),
            ..limits()
        };
        let route = Route::new("/paid/*").unwrap().offer(price());
        Self::with(|gate| gate.route(route).limits(patient)).await
    }

    /// A gate that settles before it serves.
    pub async fn upfront() -> Self {
        let route = Route::new("/paid/*")
            .unwrap()
            .offer(price())
            .flow(PaymentFlow::Upfront);
        Self::with(|gate| gate.route(route)).await
    }

    pub async fn with(finish: impl FnOnce(GateBuilder) -> GateBuilder) -> Self {
        let ledger = SqliteLedger::open("sqlite::memory:").await.unwrap();
        Self::on(Arc::new(ledger), Arc::default(), finish)
    }

    /// A gate over a ledger and a chain that were there before.
    pub fn on(
        ledger: Arc<SqliteLedger>,
        chain: Arc<FakeChain>,
        finish: impl FnOnce(GateBuilder) -> GateBuilder,
    ) -> Self {
        let facilitator = Arc::new(FakeFacilitator::new(Arc::clone(&chain)));
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let heard = Arc::clone(&events);
        let store = Arc::new(UnsteadyStore::new(ledger.clone()));
        let builder = Gate::builder(BASE, facilitator.clone(), store.clone())
            .chain(chain.clone())
            .limits(limits())
            .on_event(move |event| heard.lock().unwrap().push(event.clone()));
        let gate = finish(builder).build().unwrap();
        Self {
            gate,
            facilitator,
            chain,
            upstream: Upstream::default(),
            ledger,
            store,
            events,
        }
    }

    /// Sends a request and reads the answer whole.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        Answer::read(self.start(request).await).await
    }

    /// Sends a request; the body is not read.
    pub async fn start(&self, request: Request<Body>) -> Response<Body> {
        let service = self.gate.layer().layer(self.upstream.service());
        service.oneshot(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path)).await
    }

    /// A payment for what a path's 402 answer asks.
    pub async fn payment(&self, path: &str) -> Payment {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{path}");
        Payment::for_terms(terms_of(&answer))
    }

    pub fn kinds(&self) -> Vec<&'static str> {
        self.events
            .lock()
            .unwrap()
            .iter()
            .map(Event::kind)
            .collect()
    }

    pub fn released(&self) -> usize {
        self.kinds().iter().filter(|k| **k == "released").count()
    }
}

impl Answer {
    pub async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub fn has_secret(&self) -> bool {
        String::from_utf8_lossy(&self.body).contains(SECRET)
    }

    pub fn receipt(&self) -> SettleResponse {
        header::receipt(&self.headers)
            .unwrap()
            .expect("an answer with a receipt")
    }

    pub fn has_terms(&self) -> bool {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        self.headers.contains_key("payment-required") || body.get("accepts").is_some()
    }

    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["error"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

pub fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(tollway_gate::empty())
        .unwrap()
}
