//! The payer as a tower layer over any HTTP client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt};
use url::Url;

use crate::body::{BoxError, PayBody};
use crate::error::{PayError, shown};
use crate::payer::Payer;
use crate::request::PayRequest;
use crate::transport::{Incoming, Lost, PaymentHeader, Transport};

/// Makes a client pay for requests that are answered 402.
///
/// Requests carry [`Bytes`], because they may have to be sent again, and an
/// absolute URI; the inner service gets them as [`Full`]. It must not follow
/// redirects. The [`crate::Payment`] is among the answer's extensions, and so is
/// the [`crate::Pass`] where an access token opened it.
#[derive(Clone)]
pub struct PayLayer(Payer);

impl PayLayer {
    /// Pays with this payer.
    #[must_use]
    pub const fn new(payer: Payer) -> Self {
        Self(payer)
    }
}

impl<S> Layer<S> for PayLayer {
    type Service = PayService<S>;

    fn layer(&self, inner: S) -> PayService<S> {
        PayService {
            inner,
            payer: self.0.clone(),
        }
    }
}

/// A client that pays; made by [`PayLayer`].
#[derive(Clone)]
pub struct PayService<S> {
    inner: S,
    payer: Payer,
}

/// Why a paying service gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The payer's own.
    #[error(transparent)]
    Pay(#[from] PayError),
    /// The inner service's, on the request without payment.
    #[error("{0}")]
    Inner(#[source] BoxError),
}

impl<S, R> Service<Request<Bytes>> for PayService<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<PayBody>;
    type Error = LayerError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<PayBody>, LayerError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LayerError>> {
        self.inner
            .poll_ready(cx)
            .map_err(|e| LayerError::Inner(e.into()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        // The clone takes the next call; the one that is ready takes this one.
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        Box::pin(handle(self.payer.clone(), ready, request))
    }
}

async fn handle<S, R>(
    payer: Payer,
    mut inner: S,
    request: Request<Bytes>,
) -> Result<Response<PayBody>, LayerError>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let engine = &payer.engine;
    let _in_flight = engine.meter.enter();
    let (head, body) = request.into_parts();
    let token = match describe(&head, &body) {
        Ok(described) => engine.token_for(&described).await,
        Err(_) => None,
    };
    let mut first = Request::from_parts(head.clone(), Full::new(body.clone()));
    if let Some((name, value)) = token.as_ref().and_then(|token| engine.bearer(token)) {
        first.headers_mut().insert(name, value);
    }
    let answered = inner.call(first).await;
    let mut response = answered
        .map_err(|e| LayerError::Inner(e.into()))?
        .map(PayBody::new);
    let paid_already = head
        .headers
        .contains_key(&tollway_core::header::PAYMENT_SIGNATURE)
        || head.headers.contains_key(&tollway_core::header::X_PAYMENT);
    if response.status() != StatusCode::PAYMENT_REQUIRED || paid_already {
        if let Some(token) = &token {
            response.extensions_mut().insert(engine.let_in(token).await);
        }
        return Ok(response);
    }
    let described = engine.noted(describe(&head, &body))?;
    let asked = Incoming {
        url: described.url.clone(),
        response,
    };
    let mut transport = Inner {
        head,
        body,
        service: inner,
    };
    let paid = engine.pay(&mut transport, &described, asked, token).await;
    Ok(engine.noted(paid)?.into_response())
}

fn describe(head: &http::request::Parts, body: &Bytes) -> Result<PayRequest, PayError> {
    let url = Url::parse(&head.uri.to_string()).map_err(|_| {
        PayError::invalid("The server asks for payment and the request's URI is not absolute; send it with scheme and host.")
    })?;
    let mut described = PayRequest::new(head.method.clone(), url);
    described.headers = head.headers.clone();
    described.body = body.clone();
    described.check()?;
    Ok(described)
}

/// Sends through the inner service.
struct Inner<S> {
    head: http::request::Parts,
    body: Bytes,
    service: S,
}

#[async_trait]
impl<S, R> Transport for Inner<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    async fn send(
        &mut self,
        request: &PayRequest,
        payment: Option<&PaymentHeader>,
    ) -> Result<Incoming, Lost> {
        let mut outgoing = Request::from_parts(self.head.clone(), Full::new(self.body.clone()));
        if let Some((name, value)) = payment {
            outgoing.headers_mut().insert(name.clone(), value.clone());
        }
        self.run(request.url.clone(), outgoing).await
    }

    async fn post(&mut self, request: &PayRequest) -> Result<Incoming, Lost> {
        let mut other = Request::new(Full::new(request.body.clone()));
        *other.method_mut() = request.method.clone();
        *other.uri_mut() = request
            .url
            .as_str()
            .parse()
            .map_err(|_| Lost("the endpoint is no URI".to_owned()))?;
        *other.headers_mut() = request.headers.clone();
        self.run(request.url.clone(), other).await
    }
}

impl<S, R> Inner<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    async fn run(&mut self, url: Url, request: Request<Full<Bytes>>) -> Result<Incoming, Lost> {
        let lost = |error: S::Error| Lost(shown(&error.into().to_string()));
        let service = self.service.ready().await.map_err(lost)?;
        let response = service.call(request).await.map_err(lost)?;
        Ok(Incoming {
            url,
            response: response.map(PayBody::new),
        })
    }
}
