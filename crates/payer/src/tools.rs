//! Paying for tools: calls of the Model Context Protocol, paid as requests are.

use std::future::Future;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tollway_core::header::{PAYMENT_REQUIRED, PAYMENT_RESPONSE, encode};
use tollway_core::mcp;
use tollway_core::wire::Object;
use tower::{Layer as _, ServiceExt as _};
use url::Url;

use crate::body::BoxError;
use crate::error::PayError;
use crate::layer::{LayerError, PayLayer};
use crate::payer::Payer;
use crate::payment::Payment;

/// A result is in memory already; only what nobody can mean is refused.
const MAX_RESULT_BYTES: usize = 1 << 30;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotCalled(String);

/// A call of a tool, as it is to be sent.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: Object,
    /// What has to stand in the call's `_meta`: nothing, or the payment.
    pub meta: Object,
}

/// What a tool answered.
#[derive(Clone, Debug)]
pub struct PaidCall {
    /// The result, as the server sent it.
    pub result: Value,
    /// What was paid for it.
    pub payment: Option<Payment>,
}

impl Payer {
    /// Calls a tool, and pays for it if it asks for payment and the policy allows it.
    ///
    /// `server` is the URL of the server that has the tool: the policy's hosts are
    /// compared with its host, and what is paid is recorded below it. `send` makes
    /// one call of the tool and gives its result; it may be called more than once.
    ///
    /// Source: x402 v2, MCP transport, binding to tool results.
    ///
    /// # Errors
    /// [`LayerError`], as of [`crate::PayService`].
    pub async fn call_tool<F, Fut>(
        &self,
        server: &Url,
        name: &str,
        arguments: Object,
        send: F,
    ) -> Result<PaidCall, LayerError>
    where
        F: Fn(ToolCall) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<Value, BoxError>> + Send + 'static,
    {
        let mut request = Request::new(Bytes::from(Value::Object(arguments.clone()).to_string()));
        *request.method_mut() = Method::POST;
        let uri = place(server, name)?;
        *request.uri_mut() = uri;
        let call = ToolCall {
            name: name.to_owned(),
            arguments,
            meta: Object::new(),
        };
        let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
            let (send, mut call) = (send.clone(), call.clone());
            async move {
                let payment = mcp::payment(request.headers());
                if let Some(payment) = payment.map_err(|e| NotCalled(e.to_string()))? {
                    call.meta.insert(mcp::PAYMENT.to_owned(), payment);
                }
                let result = send(call).await;
                let result = result.map_err(|e| NotCalled(e.to_string()))?;
                Ok::<_, NotCalled>(response(&result))
            }
        });
        let paid = PayLayer::new(self.clone()).layer(service);
        let (parts, body) = paid.oneshot(request).await?.into_parts();
        let body = body.bytes(MAX_RESULT_BYTES).await;
        let body = body.map_err(|error| LayerError::Inner(error.to_string().into()))?;
        Ok(PaidCall {
            result: serde_json::from_slice(&body).map_err(|e| LayerError::Inner(e.into()))?,
            payment: parts.extensions.get::<Payment>().cloned(),
        })
    }
}

/// The tool's place below its server.
fn place(server: &Url, name: &str) -> Result<http::Uri, PayError> {
    let mut place = server.clone();
    place.set_query(None);
    place.set_fragment(None);
    if let Ok(mut path) = place.path_segments_mut() {
        path.pop_if_empty().push(name);
    }
    let uri = place.as_str().parse();
    uri.map_err(|_| {
        PayError::invalid("The server's URL has no place for a tool; name an http URL.")
    })
}

/// A result as an answer: terms and receipt in headers, and an error that is the
/// tool's own as one.
fn response(result: &Value) -> Response<Full<Bytes>> {
    let mut headers = HeaderMap::new();
    let receipt = mcp::receipt_of(result);
    put(&mut headers, &PAYMENT_RESPONSE, receipt);
    let terms = mcp::terms_of(result);
    let is_v2 = |terms: &&Value| terms.get("x402Version") == Some(&Value::from(2));
    put(
        &mut headers,
        &PAYMENT_REQUIRED,
        terms.as_ref().filter(is_v2),
    );
    let is_error = result.get("isError") == Some(&Value::Bool(true));
    // Terms of version 1 stand in the body.
    let body = terms
        .as_ref()
        .filter(|_| !headers.contains_key(&PAYMENT_REQUIRED));
    let body = body.unwrap_or(result).to_string();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.headers_mut() = headers;
    *response.status_mut() = match (terms.is_some(), receipt.is_some(), is_error) {
        // An error that tells of a payment is about the payment.
        (true, _, _) | (_, true, true) => StatusCode::PAYMENT_REQUIRED,
        (_, _, true) => status_of(result),
        (_, _, false) => StatusCode::OK,
    };
    response
}

/// An error for now is no refusal: the same payment is shown again.
fn status_of(result: &Value) -> StatusCode {
    let said = result
        .get("structuredContent")
        .and_then(|said| said.get(mcp::STATUS));
    let said = said
        .and_then(Value::as_u64)
        .and_then(|said| u16::try_from(said).ok());
    let said = said.and_then(|said| StatusCode::from_u16(said).ok());
    said.filter(|said| said.is_server_error() || *said == StatusCode::TOO_MANY_REQUESTS)
        .unwrap_or(StatusCode::UNPROCESSABLE_ENTITY)
}

fn put(headers: &mut HeaderMap, name: &http::HeaderName, said: Option<&Value>) {
    let value = said.and_then(|said| HeaderValue::from_str(&encode(said)).ok());
    if let Some(value) = value {
        headers.insert(name.clone(), value);
    }
}
