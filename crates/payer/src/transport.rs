//! How a request leaves: our own client, or somebody else's.

use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method, header};
use url::Url;

use crate::body::PayBody;
use crate::error::shown;
use crate::request::PayRequest;

/// A payment header.
pub(crate) type PaymentHeader = (HeaderName, HeaderValue);

/// An answer, and where it came from.
pub(crate) struct Incoming {
    pub(crate) url: Url,
    pub(crate) response: http::Response<PayBody>,
}

/// Why there is no answer. Whether the request arrived is not known.
#[derive(Debug)]
pub(crate) struct Lost(pub(crate) String);

/// Something that sends the request, with or without payment. One call, one
/// request on the wire; redirects are not followed.
#[async_trait]
pub(crate) trait Transport: Send {
    async fn send(
        &mut self,
        request: &PayRequest,
        payment: Option<&PaymentHeader>,
    ) -> Result<Incoming, Lost>;

    /// Sends another request than the caller's, to the same origin.
    async fn post(&mut self, request: &PayRequest) -> Result<Incoming, Lost>;
}

/// Our own clients.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    /// For URLs that the caller gave.
    pub(crate) typed: reqwest::Client,
    /// For URLs that a server gave.
    pub(crate) guarded: reqwest::Client,
}

/// One of our own clients.
pub(crate) struct Direct(pub(crate) reqwest::Client);

#[async_trait]
impl Transport for Direct {
    async fn send(
        &mut self,
        request: &PayRequest,
        payment: Option<&PaymentHeader>,
    ) -> Result<Incoming, Lost> {
        let mut outgoing = reqwest::Request::new(request.method.clone(), request.url.clone());
        *outgoing.headers_mut() = request.headers.clone();
        if let Some((name, value)) = payment {
            outgoing.headers_mut().insert(name.clone(), value.clone());
        }
        if !request.body.is_empty() {
            *outgoing.body_mut() = Some(request.body.clone().into());
        }
        let response = self.0.execute(outgoing).await.map_err(lost)?;
        Ok(incoming(response))
    }

    async fn post(&mut self, request: &PayRequest) -> Result<Incoming, Lost> {
        self.send(request, None).await
    }
}

pub(crate) fn incoming(response: reqwest::Response) -> Incoming {
    let url = response.url().clone();
    let response = http::Response::<reqwest::Body>::from(response).map(PayBody::new);
    Incoming { url, response }
}

/// The cause without the URL, which may hold secrets.
fn lost(error: reqwest::Error) -> Lost {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Lost(shown(&text))
}

/// Sends, and waits for the head of the answer at most so long.
pub(crate) async fn send_within(
    transport: &mut dyn Transport,
    request: &PayRequest,
    payment: Option<&PaymentHeader>,
    limit: Duration,
) -> Result<Incoming, Lost> {
    within(limit, transport.send(request, payment)).await
}

/// Sends another request than the caller's, and waits likewise.
pub(crate) async fn post_within(
    transport: &mut dyn Transport,
    request: &PayRequest,
    limit: Duration,
) -> Result<Incoming, Lost> {
    within(limit, transport.post(request)).await
}

async fn within(
    limit: Duration,
    answer: impl Future<Output = Result<Incoming, Lost>>,
) -> Result<Incoming, Lost> {
    let late = || Lost(format!("no answer within {} s", limit.as_secs()));
    let answer = tokio::time::timeout(limit, answer).await;
    answer.unwrap_or_else(|_| Err(late()))
}

/// Where a redirect leads, if the answer is one with a target.
pub(crate) fn redirect_target(incoming: &Incoming) -> Option<Result<Url, ()>> {
    let status = incoming.response.status().as_u16();
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = incoming.response.headers().get(header::LOCATION)?;
    let target = location
        .to_str()
        .ok()
        .and_then(|text| incoming.url.join(text).ok());
    Some(target.ok_or(()))
}

/// The request as a redirect changes it (RFC 9110 §15.4): a 303 becomes a GET,
/// and so does a POST that is answered 301 or 302.
pub(crate) fn redirected(request: &PayRequest, status: u16, target: Url) -> PayRequest {
    let mut next = request.clone();
    let becomes_get = match status {
        303 => next.method != Method::HEAD,
        301 | 302 => next.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        next.method = Method::GET;
        next.body = bytes::Bytes::new();
        next.headers.remove(header::CONTENT_TYPE);
        next.headers.remove(header::CONTENT_LENGTH);
    }
    next.url = target;
    next
}
