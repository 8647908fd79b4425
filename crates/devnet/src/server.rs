//! JSON-RPC over HTTP POST.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Devnet;

/// The longest request body in bytes (geth's limit); more is answered with 413.
const MAX_BODY_BYTES: usize = 5 * 1024 * 1024;

/// A running JSON-RPC server. Dropping it stops the server.
#[derive(Debug)]
pub struct DevnetServer {
    addr: SocketAddr,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl DevnetServer {
    pub(crate) fn start(devnet: Devnet, listener: TcpListener) -> std::io::Result<Self> {
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        // Small answers must not wait for the client's acknowledgement.
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let server = axum::serve(listener, router(devnet)).with_graceful_shutdown(stopped);
        let task = tokio::spawn(async move {
            if let Err(error) = server.into_future().await {
                tracing::error!(%error, "the devnet's server stopped");
            }
        });
        Ok(Self {
            addr,
            stop,
            task: Some(task),
        })
    }

    /// The bound address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL to give to a client.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops accepting, lets running requests end, and returns when they have.
    pub fn shutdown(mut self) -> impl Future<Output = ()> + Send {
        self.stop.cancel();
        let task = self.task.take();
        async move {
            if let Some(task) = task {
                // An aborted or panicked task has stopped as well.
                let _ = task.await;
            }
        }
    }
}

impl Drop for DevnetServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn router(devnet: Devnet) -> Router {
    Router::new()
        .fallback(any(answer))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(devnet)
}

async fn answer(State(devnet): State<Devnet>, method: Method, body: Bytes) -> Response {
    let mut response = match method {
        Method::POST => post(devnet, body).await,
        // A browser asks first whether it may.
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        Method::GET | Method::HEAD => {
            (StatusCode::OK, "JSON-RPC: send a POST request\n").into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("*"),
    );
    response
}

/// The EVM runs off the async threads: a block or a long call takes a while.
async fn post(devnet: Devnet, body: Bytes) -> Response {
    let answer = tokio::task::spawn_blocking(move || devnet.handle_body(&body)).await;
    match answer {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
