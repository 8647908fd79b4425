//! Reading request bodies, and answers that are no payment's.

use axum::BoxError;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Request, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::json;
use tollway_core::codes;

use super::HttpOptions;

/// Why a request is not even a question.
pub(super) struct Malformed {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
}

/// Reads a JSON request's body within its limits of size and time.
pub(super) async fn read<B>(request: Request<B>, options: &HttpOptions) -> Result<Bytes, Malformed>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        return Err(Malformed {
            status: StatusCode::BAD_REQUEST,
            code: codes::INVALID_PAYLOAD,
            message: "The body is not declared as JSON; send Content-Type: application/json.",
        });
    }
    // What announces too much is refused before it comes.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > options.body.max_bytes {
        return Err(too_large());
    }
    let limited = Limited::new(body, options.body.max_bytes);
    match tokio::time::timeout(options.body_timeout, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Malformed {
            status: StatusCode::BAD_REQUEST,
            code: codes::INVALID_PAYLOAD,
            message: "The body could not be read to its end; send it again.",
        }),
        Err(_) => Err(Malformed {
            status: StatusCode::REQUEST_TIMEOUT,
            code: codes::INVALID_PAYLOAD,
            message: "The body did not arrive in time; send it again.",
        }),
    }
}

fn too_large() -> Malformed {
    Malformed {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        code: codes::INVALID_PAYLOAD,
        message: "The body is larger than a payment can be; send at most 64 KiB.",
    }
}

/// Absent counts as JSON: it is the only thing that is taken.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let essence = value.to_str().unwrap_or("?").split(';').next();
    essence.is_some_and(|e| {
        let e = e.trim().to_ascii_lowercase();
        e == "application/json" || (e.starts_with("application/") && e.ends_with("+json"))
    })
}

/// An answer to a request that is about no payment.
pub(super) fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    (
        status,
        axum::Json(json!({"error": code, "message": message})),
    )
        .into_response()
}
