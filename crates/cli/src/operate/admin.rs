//! A listener of its own for whoever runs a server: metrics, and what changes
//! something, behind a token.
//!
//! | route | answer |
//! |---|---|
//! | `GET /metrics` | Prometheus text |
//! | `GET /health` | as on the server's own address |
//! | `POST /reload` | the settings are read anew: `{taken, warnings}`, or 409 `{error, message}` |
//! | `POST /drain` | the server goes out of service as at SIGTERM |
//! | `POST /passes/{id}/revoke` | a pass opens nothing any more (gates that sell passes) |
//!
//! On loopback, metrics and health are for whoever is there. On any other address
//! all but health needs the token.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as UrlPath, Request, State as Shared};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tollway_core::{Clock, SystemClock, codes};
use tollway_facilitator::api_key;
use tollway_ledger::{LedgerError, PassId, PassStore, Store};

use super::Asks;
use crate::exit::Failure;
use crate::keys;
use crate::serve::{self, Leaving};

/// Shortest token.
const MIN_TOKEN_BYTES: usize = 32;

/// What the flags say of it, read and bound.
pub struct AdminSettings {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<[u8; 32]>,
}

impl AdminSettings {
    /// Binds `--admin-listen`, where it is said.
    pub async fn open(
        listen: Option<&str>,
        token_file: Option<&PathBuf>,
    ) -> Result<Option<Self>, Failure> {
        let token = token_file.map(|file| read_token(file)).transpose()?;
        let Some(listen) = listen else {
            return match token {
                None => Ok(None),
                Some(_) => Err(Failure::usage(
                    "--admin-token-file is there and nothing listens for it; add --admin-listen 127.0.0.1:9464.",
                )),
            };
        };
        let bound = serve::bind(listen).await;
        let (listener, address) = bound.map_err(|failure| {
            let message = failure.message.replace("--listen", "--admin-listen");
            Failure { message, ..failure }
        })?;
        if token.is_none() && !address.ip().is_loopback() {
            return Err(Failure::usage(format!(
                "--admin-listen {address} can be reached from elsewhere; add --admin-token-file, or listen on 127.0.0.1."
            )));
        }
        Ok(Some(Self {
            listener,
            address,
            token,
        }))
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn read_token(file: &Path) -> Result<[u8; 32], Failure> {
    let text = keys::read_private(file)?;
    let token = text.trim();
    match token.len() >= MIN_TOKEN_BYTES {
        true => Ok(Sha256::digest(token).into()),
        false => Err(Failure::usage(format!(
            "{} holds a token of less than {MIN_TOKEN_BYTES} characters; make one with `openssl rand -hex 32`.",
            file.display()
        ))),
    }
}

/// What can be asked of a server.
pub struct Admin {
    /// Where metrics are read.
    pub metrics: PrometheusHandle,
    /// How it is.
    pub health: Arc<dyn Health>,
    /// Reads its settings anew.
    pub asks: Asks,
    /// Takes it out of service.
    pub leaving: Leaving,
    /// Where its passes are, if it sells any.
    pub passes: Option<Store>,
}

/// How a server is: whether it can be used, and in words.
pub trait Health: Send + Sync + 'static {
    /// Looks.
    fn look(&self) -> futures_util::future::BoxFuture<'_, (bool, Value)>;
}

impl Admin {
    /// Serves until the server stops.
    pub fn serve(self, settings: AdminSettings) {
        let stop = self.leaving.stop.clone();
        let (token, is_local) = (settings.token, settings.address.ip().is_loopback());
        let inner = Arc::new(Inner {
            admin: self,
            token,
            is_local,
        });
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/health", get(health))
            .route("/reload", post(reload))
            .route("/drain", post(drain))
            .route("/passes/{id}/revoke", post(revoke))
            .layer(from_fn_with_state(Arc::clone(&inner), admitted))
            .with_state(inner);
        tokio::spawn(serve::serve(settings.listener, router, stop));
    }
}

struct Inner {
    admin: Admin,
    token: Option<[u8; 32]>,
    is_local: bool,
}

impl Inner {
    /// Whether a request may be answered.
    fn admits(&self, request: &Request) -> bool {
        let only_looks = request.method() == http::Method::GET;
        let is_open = self.is_local || request.uri().path() == "/health";
        only_looks && is_open || self.knows(request.headers())
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return false;
        };
        let shown = api_key(headers).unwrap_or_default();
        let shown: [u8; 32] = Sha256::digest(shown).into();
        // Every byte is looked at, whatever the first ones are.
        let differing = token.iter().zip(shown).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

async fn admitted(Shared(inner): Shared<Arc<Inner>>, request: Request, next: Next) -> Response {
    if inner.admits(&request) {
        return next.run(request).await;
    }
    let why = match inner.token {
        Some(_) => "This needs the server's admin token; send Authorization: Bearer TOKEN.",
        None => "The server was started without an admin token; add --admin-token-file.",
    };
    problem(StatusCode::UNAUTHORIZED, codes::INVALID_API_KEY, why)
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    let body = axum::Json(json!({ "error": code, "message": message }));
    (status, body).into_response()
}

async fn metrics(Shared(inner): Shared<Arc<Inner>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], inner.admin.metrics.render()).into_response()
}

async fn health(Shared(inner): Shared<Arc<Inner>>) -> Response {
    let (is_ready, said) = inner.admin.health.look().await;
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, axum::Json(said)).into_response()
}

async fn reload(Shared(inner): Shared<Arc<Inner>>) -> Response {
    match inner.admin.asks.renew().await {
        Ok(warnings) => axum::Json(json!({ "taken": true, "warnings": warnings })).into_response(),
        Err(failure) => {
            let code = failure.code.as_deref().unwrap_or(codes::INVALID_REQUEST);
            problem(StatusCode::CONFLICT, code, &failure.message)
        }
    }
}

async fn drain(Shared(inner): Shared<Arc<Inner>>) -> Response {
    inner.admin.leaving.draining.cancel();
    let body = axum::Json(json!({ "draining": true }));
    (StatusCode::ACCEPTED, body).into_response()
}

async fn revoke(Shared(inner): Shared<Arc<Inner>>, UrlPath(id): UrlPath<String>) -> Response {
    let missing = || {
        problem(
            StatusCode::NOT_FOUND,
            codes::NOT_FOUND,
            "No pass has this name; see the claim jti of its token.",
        )
    };
    let Some(store) = &inner.admin.passes else {
        return missing();
    };
    let id = PassId::from_text(id);
    let revoked = async {
        let Some(_) = store.pass(&id).await? else {
            return Ok(false);
        };
        store.revoke(&id, SystemClock.now()).await?;
        Ok::<_, LedgerError>(true)
    };
    match revoked.await {
        Ok(true) => axum::Json(json!({ "revoked": id.as_str() })).into_response(),
        Ok(false) => missing(),
        Err(error) => {
            tracing::error!(%error, "a pass could not be taken back");
            problem(
                StatusCode::SERVICE_UNAVAILABLE,
                codes::LEDGER_UNAVAILABLE,
                "The ledger cannot be written now; try again later.",
            )
        }
    }
}
