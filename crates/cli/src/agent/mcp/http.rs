//! Streamable HTTP, on this machine only and behind a token.

use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::AUTHORIZATION;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Tools;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::{keys, serve};

/// A request holds a URL, headers and a body for a seller.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// The digest of the token: comparing digests tells nothing by its time.
type Expected = Arc<[u8; 32]>;

/// Serves `/mcp` until the program is told to stop.
pub async fn serve(
    address: &str,
    token_file: Option<&Path>,
    tools: Tools,
    environment: &Environment,
) -> Result<(), Failure> {
    let (listener, bound) = serve::bind(address).await?;
    if !bound.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "{bound} is not an address of this machine alone, and whoever reaches it can spend; write --listen 127.0.0.1:PORT."
        )));
    }
    let path = match token_file {
        Some(path) => path.to_path_buf(),
        None => environment.home()?.join("mcp.token"),
    };
    let expected = expected(&path)?;
    let stop = serve::stop_on_signal()?;
    let config = StreamableHttpServerConfig::default()
        .with_cancellation_token(stop.child_token())
        .with_max_request_body_bytes(MAX_REQUEST_BYTES)
        // No web page has a business here.
        .enforce_origin_validation();
    let service = StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    let router = axum::Router::new()
        .nest_service("/mcp", service)
        .layer(middleware::from_fn_with_state(expected, admit));
    println!("tollway mcp: listening on http://{bound}/mcp");
    eprintln!("its token is in {}", path.display());
    serve::serve(listener, router, stop).await;
    Ok(())
}

/// The token of the file, which is made if it is missing.
fn expected(path: &Path) -> Result<Expected, Failure> {
    if !path.exists() {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        rand::RngCore::fill_bytes(&mut rand::rngs::OsRng, &mut *bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        keys::write_private(path, &Zeroizing::new(format!("{hex}\n")))?;
    }
    let text = keys::read_private(path)?;
    let token = text.trim();
    if token.len() < 32 {
        return Err(Failure::usage(format!(
            "The token in {} is shorter than 32 characters; remove the file to have one made.",
            path.display()
        )));
    }
    Ok(Arc::new(Sha256::digest(token).into()))
}

async fn admit(State(expected): State<Expected>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok());
    let given = given.and_then(|text| text.strip_prefix("Bearer "));
    let known = given.is_some_and(|token| Sha256::digest(token).as_slice() == expected.as_slice());
    match known {
        true => next.run(request).await,
        false => (
            StatusCode::UNAUTHORIZED,
            "Send the token as `Authorization: Bearer TOKEN`.\n",
        )
            .into_response(),
    }
}
