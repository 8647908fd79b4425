//! The facilitator's HTTP API, a thin layer over the [`Engine`].
//!
//! | route | answer |
//! |---|---|
//! | `POST /verify` | `{isValid, invalidReason?, invalidMessage?, payer?}` |
//! | `POST /settle` (header `Idempotency-Key`) | `{success, errorReason?, errorMessage?, payer?, transaction, network, amount?, extra?: {settlementId}}` |
//! | `GET /supported` | `{kinds, extensions, signers}` |
//! | `GET /discovery/resources`, `GET /discovery/search` | what can be bought |
//! | `GET /settlements/{id}` | `{id, status: settled \| pending \| failed, transaction?, network, amount, errorReason?}` |
//! | `GET /health` | 200 or 503, with what is wrong |
//! | `GET /metrics` | Prometheus text |
//!
//! Bodies of both x402 versions are read; the answer is in the version of the
//! question. What is wrong with a payment is answered with status 200; what is
//! wrong with a request with 4xx; trouble on this side with 502 or 503, a stable
//! code and `Retry-After`.

mod body;
mod call;
mod direct;
mod discovery;
mod status;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use tollway_core::codes;
use tollway_core::json::JsonLimits;

use crate::Engine;
use crate::catalog::{BAZAAR, Catalog};

pub use call::api_key;
pub use direct::{ApiBody, FacilitatorService};

/// What the HTTP API is set up with.
#[derive(Clone)]
pub struct HttpOptions {
    /// Where `/metrics` reads; without it, `/metrics` answers 404.
    pub metrics: Option<PrometheusHandle>,
    /// Size and depth of a request body.
    pub body: JsonLimits,
    /// How long a client may take to send its body.
    pub body_timeout: Duration,
    /// How long a call may take before it is answered with 503. Longer than the
    /// engine's own `settle_wait`.
    pub call_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            metrics: None,
            body: JsonLimits::BODY,
            body_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(80),
        }
    }
}

#[derive(Clone)]
struct Api {
    engine: Engine,
    options: HttpOptions,
    catalog: Arc<Catalog>,
}

impl Api {
    fn new(engine: Engine, options: HttpOptions) -> Self {
        Self {
            engine,
            options,
            catalog: Arc::default(),
        }
    }
}

/// The routes. They can be nested or merged into another router.
pub fn router(engine: Engine, options: HttpOptions) -> Router {
    routes(Api::new(engine, options))
}

fn routes(api: Api) -> Router {
    Router::new()
        .route("/verify", post(call::verify))
        .route("/settle", post(call::settle))
        .route("/supported", get(supported))
        .route("/discovery/resources", get(discovery::resources))
        .route("/discovery/search", get(discovery::search))
        .route("/settlements/{id}", get(status::settlement))
        .route("/health", get(status::health))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api)
}

/// The same as a service for any HTTP server: what is called most, `POST /verify`
/// and `POST /settle`, goes round the router and its boxes.
#[must_use]
pub fn service(engine: Engine, options: HttpOptions) -> FacilitatorService {
    FacilitatorService::new(engine, options)
}

async fn supported(State(api): State<Api>) -> Response {
    let mut supported = api.engine.kinds_for_others();
    supported.extensions.push(BAZAAR.to_owned());
    axum::Json(supported).into_response()
}

async fn metrics(State(api): State<Api>) -> Response {
    let Some(handle) = &api.options.metrics else {
        return not_found().await;
    };
    api.engine.show_open_work();
    let kind = (
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    );
    ([kind], handle.render()).into_response()
}

async fn not_found() -> Response {
    body::problem(
        StatusCode::NOT_FOUND,
        codes::NOT_FOUND,
        "Nothing is served under this address; see /supported, /verify and /settle.",
    )
}

async fn method_not_allowed() -> Response {
    body::problem(
        StatusCode::METHOD_NOT_ALLOWED,
        codes::INVALID_REQUEST,
        "The method is not one that this address takes; POST to /verify and /settle, GET the others.",
    )
}
