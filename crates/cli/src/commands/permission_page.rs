//! A page on this machine where a browser wallet is asked, once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::hex;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tollway_core::codes;

use crate::exit::{Exit, Failure};

/// A wallet's answer holds a context of some kilobytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The page's scripts and styles come from here, it talks to nobody else, and
/// nobody shows it inside another page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the page's routes share.
struct Page {
    token: String,
    address: SocketAddr,
    request: Value,
    wish: Value,
    answers: Mutex<Option<mpsc::Sender<Value>>>,
}

/// Serves the page until one answer came, or nobody answered in time: what the
/// person reads there, and what the wallet is asked.
pub async fn ask(shown: Value, asked: Value, wait: u64) -> Result<Value, Failure> {
    let unserved =
        |e: std::io::Error| Failure::new(format!("The page cannot be served: {e}; try again."));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(unserved)?;
    let address = listener.local_addr().map_err(unserved)?;
    let (sender, mut answers) = mpsc::channel(1);
    let page = Arc::new(Page {
        token: token(),
        address,
        request: asked,
        wish: shown,
        answers: Mutex::new(Some(sender)),
    });
    let url = format!("http://{address}/{}/", page.token);
    println!("{url}");
    eprintln!("Open this page in the browser that has your wallet. It is good for one answer.");
    let app = Router::new()
        .route("/{token}/", get(document))
        .route("/{token}/{file}", get(file))
        .route("/{token}/answer", post(answer))
        .layer(DefaultBodyLimit::max(MAX_ANSWER_BYTES))
        .with_state(page);
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let patience = Duration::from_secs(wait);
    let said = tokio::time::timeout(patience, answers.recv()).await;
    // The page still has to hear that its answer was taken.
    tokio::time::sleep(Duration::from_millis(200)).await;
    serving.abort();
    said.ok().flatten().ok_or_else(|| {
        Failure::coded(
            Exit::Failed,
            codes::PERMISSION_TIMEOUT,
            format!("Nobody answered on the page within {wait} s; ask again (--wait)."),
        )
    })
}

/// 128 bits that only whoever was told the address knows.
fn token() -> String {
    let mut bytes = [0_u8; 16];
    rand::RngCore::fill_bytes(&mut rand::rngs::OsRng, &mut bytes);
    hex::encode(bytes)
}

impl Page {
    /// Whether a request comes by the address that was told: another name for this
    /// machine is a page of somebody else's.
    fn is_ours(&self, token: &str, headers: &HeaderMap) -> bool {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        host == Some(self.address.to_string().as_str()) && token == self.token
    }
}

type Shared = State<Arc<Page>>;

async fn document(State(page): Shared, Path(token): Path<String>, headers: HeaderMap) -> Response {
    match page.is_ours(&token, &headers) {
        true => text("text/html", include_str!("../page/permission.html")),
        false => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn file(
    State(page): Shared,
    Path((token, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if !page.is_ours(&token, &headers) {
        return StatusCode::NOT_FOUND.into_response();
    }
    match name.as_str() {
        "page.js" => text("text/javascript", include_str!("../page/page.js")),
        "page.css" => text("text/css", include_str!("../page/page.css")),
        "request" => Json(json!({"request": page.request, "wish": page.wish})).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn answer(
    State(page): Shared,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let origin = headers
        .get(header::ORIGIN)
        .and_then(|origin| origin.to_str().ok());
    let own = origin == Some(format!("http://{}", page.address).as_str());
    if !page.is_ours(&token, &headers) || !own {
        return StatusCode::NOT_FOUND.into_response();
    }
    let told = |status: StatusCode, message: &str| {
        (status, Json(json!({"message": message}))).into_response()
    };
    let Ok(said) = serde_json::from_slice::<Value>(&body) else {
        return told(StatusCode::BAD_REQUEST, "That is no answer; ask again.");
    };
    match page.answers.lock().await.take() {
        Some(sender) => {
            let _ = sender.send(said).await;
            told(
                StatusCode::OK,
                "Taken. See the terminal for what became of it; this page can be closed.",
            )
        }
        None => told(
            StatusCode::GONE,
            "This page was answered already; ask for a new one.",
        ),
    }
}

fn text(kind: &str, body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format!("{kind}; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, body).into_response()
}
