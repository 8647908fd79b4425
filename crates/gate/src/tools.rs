//! Paid tools: calls of the Model Context Protocol go through a gate as requests do.

use std::convert::Infallible;
use std::future::Future;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tollway_core::{mcp, wire::Object};
use tower::{Layer as _, ServiceExt as _};

use crate::Gate;
use crate::body::{self, Body};

/// What stands in the path of a tool as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'/');

/// A call of a tool, as it came.
#[derive(Clone, Debug, Default)]
pub struct ToolCall {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: Object,
    /// The `_meta` of the call; the payment stands in it.
    pub meta: Object,
}

impl Gate {
    /// Serves a call of a tool: asks for payment, takes it, calls the tool, settles,
    /// and gives the tool's result with a receipt, or what is wrong, as a result.
    ///
    /// A tool is a route of its name (`/search` for `search`), and its resource is
    /// named [`mcp::RESOURCE`] and the name where that is the gate's base URL. What the
    /// tool itself calls an error is not paid for.
    ///
    /// Source: x402 v2, MCP transport, binding to tool results.
    pub async fn call_tool<F, Fut>(&self, call: ToolCall, tool: F) -> Value
    where
        F: FnOnce(ToolCall) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Value> + Send + 'static,
    {
        let request = match request(&call) {
            Ok(request) => request,
            Err(refusal) => return refused(refusal.code(), refusal.message()),
        };
        let call = without_payment(call);
        let service = tower::service_fn(move |_: Request<Body>| {
            let (tool, call) = (tool.clone(), call.clone());
            async move { Ok::<_, Infallible>(answer(&tool(call).await)) }
        });
        let Ok(response) = self.layer().layer(service).oneshot(request).await;
        result(response).await
    }
}

/// The call as a request: its arguments are the body, so that what was paid for is
/// fetched again by the same call only.
fn request(call: &ToolCall) -> Result<Request<Body>, tollway_core::Refusal> {
    let arguments = Value::Object(call.arguments.clone()).to_string();
    let mut request = Request::new(body::full(arguments));
    *request.method_mut() = Method::POST;
    let path = format!("/{}", utf8_percent_encode(&call.name, PLAIN));
    *request.uri_mut() = path.parse().map_err(|_| {
        tollway_core::Refusal::new(
            tollway_core::codes::INVALID_REQUEST,
            "There is no tool of that name; list the tools.",
        )
    })?;
    if let Some(payment) = call.meta.get(mcp::PAYMENT) {
        let (name, value) = mcp::payment_header(payment)?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

/// A tool has no business with the payment.
fn without_payment(mut call: ToolCall) -> ToolCall {
    call.meta.remove(mcp::PAYMENT);
    call
}

/// A tool's result as an answer: an error of the tool's own is one of HTTP, so that
/// nothing is paid for it.
fn answer(result: &Value) -> Response<Body> {
    let mut answer = Response::new(body::full(result.to_string()));
    if !is_result(result) {
        // Whoever asked could not read it, and pays for nothing.
        *answer.body_mut() = body::full(Bytes::new());
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
    } else if result.get("isError") == Some(&Value::Bool(true)) {
        *answer.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    answer
}

/// A result has content, though it be none.
fn is_result(said: &Value) -> bool {
    said.get("content").is_some_and(Value::is_array)
}

/// The answer as a result.
async fn result(response: Response<Body>) -> Value {
    let (parts, body) = response.into_parts();
    let receipt = mcp::receipt(&parts.headers).ok().flatten();
    let mut result = match mcp::terms(&parts.headers) {
        Ok(Some(terms)) => mcp::error_result(&terms),
        _ => match body.collect().await {
            Ok(body) => said(parts.status, &body.to_bytes()),
            Err(_) => refused(
                tollway_core::codes::UPSTREAM_FAILED,
                "The tool's answer broke off; call it again.",
            ),
        },
    };
    if let Some(receipt) = receipt {
        mcp::put_receipt(&mut result, receipt);
    }
    result
}

/// What the tool said, or what the gate said in its place.
fn said(status: StatusCode, body: &Bytes) -> Value {
    match serde_json::from_slice::<Value>(body) {
        Ok(result) if is_result(&result) => result,
        Ok(mut problem) => {
            if let Some(problem) = problem.as_object_mut() {
                problem.insert(mcp::STATUS.to_owned(), json!(status.as_u16()));
            }
            mcp::error_result(&problem)
        }
        Err(_) => refused(
            tollway_core::codes::UPSTREAM_FAILED,
            "The tool gave no result that can be read; call it again.",
        ),
    }
}

fn refused(code: &str, message: &str) -> Value {
    mcp::error_result(&json!({"error": code, "message": message}))
}
