//! The payer as a middleware for reqwest.

use async_trait::async_trait;
use http::{Extensions, StatusCode};
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{Error, Middleware, Next, Result};

use crate::engine::Bought;
use crate::error::PayError;
use crate::payer::Payer;
use crate::request::PayRequest;
use crate::transport::{Incoming, Lost, PaymentHeader, Transport, incoming};

/// Pays for requests that are answered 402.
///
/// Put it on a client made with [`crate::client_builder`]: a client that follows
/// redirects by itself would carry a payment along. A request whose body is a
/// stream cannot be sent twice and is not paid. The [`crate::Payment`] is among the
/// answer's extensions, and so is the [`crate::Pass`] where an access token opened
/// it; failures are [`PayError`]s inside
/// [`reqwest_middleware::Error::Middleware`].
#[derive(Clone)]
pub struct PayMiddleware(Payer);

impl PayMiddleware {
    /// Pays with this payer.
    #[must_use]
    pub const fn new(payer: Payer) -> Self {
        Self(payer)
    }
}

#[async_trait]
impl Middleware for PayMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let Some(copy) = request.try_clone() else {
            return self.unrepeatable(request, extensions, next).await;
        };
        let pay_request = describe(&copy);
        if pay_request.carries_payment() {
            return next.run(request, extensions).await;
        }
        let engine = &self.0.engine;
        let _in_flight = engine.meter.enter();
        let token = engine.token_for(&pay_request).await;
        let shown = token.as_ref().and_then(|token| engine.bearer(token));
        let mut request = request;
        if let Some((name, value)) = shown {
            request.headers_mut().insert(name, value);
        }
        let mut response = next.clone().run(request, extensions).await?;
        if response.status() != StatusCode::PAYMENT_REQUIRED {
            if let Some(token) = &token {
                response.extensions_mut().insert(engine.let_in(token).await);
            }
            return Ok(response);
        }
        let mut transport = Nested {
            copy,
            extensions,
            next,
        };
        let asked = incoming(response);
        let url = asked.url.clone();
        let paid = engine.pay(&mut transport, &pay_request, asked, token).await;
        Ok(answer(engine.noted(paid).map_err(Error::middleware)?, url))
    }
}

impl PayMiddleware {
    async fn unrepeatable(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let response = next.run(request, extensions).await?;
        if response.status() != StatusCode::PAYMENT_REQUIRED {
            return Ok(response);
        }
        let error = PayError::invalid(
            "The server asks for payment and the request's body is a stream, which cannot be sent again; send bytes.",
        );
        self.0.engine.noted(Err(error)).map_err(Error::middleware)
    }
}

fn describe(request: &Request) -> PayRequest {
    let mut described = PayRequest::new(request.method().clone(), request.url().clone());
    described.headers = request.headers().clone();
    let bytes = request.body().and_then(reqwest::Body::as_bytes);
    described.body = bytes::Bytes::copy_from_slice(bytes.unwrap_or_default());
    described
}

fn answer(bought: Bought, url: url::Url) -> Response {
    let (mut head, body) = bought.into_response().into_parts();
    // The URL travels as an extension that only its builder can set.
    if let Ok(carrier) = http::Response::builder().url(url).body(()) {
        head.extensions.extend(carrier.into_parts().0.extensions);
    }
    http::Response::from_parts(head, reqwest::Body::wrap(body)).into()
}

/// Sends through the rest of the middleware chain.
struct Nested<'a> {
    copy: Request,
    extensions: &'a mut Extensions,
    next: Next<'a>,
}

#[async_trait]
impl Transport for Nested<'_> {
    async fn send(
        &mut self,
        _: &PayRequest,
        payment: Option<&PaymentHeader>,
    ) -> std::result::Result<Incoming, Lost> {
        let lost = |why: String| Lost(crate::error::shown(&why));
        let copy = self.copy.try_clone();
        let mut request =
            copy.ok_or_else(|| lost("the request cannot be sent again".to_owned()))?;
        if let Some((name, value)) = payment {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        self.run(request).await
    }

    async fn post(&mut self, request: &PayRequest) -> std::result::Result<Incoming, Lost> {
        let mut other = Request::new(request.method.clone(), request.url.clone());
        *other.headers_mut() = request.headers.clone();
        *other.body_mut() = Some(request.body.clone().into());
        self.run(other).await
    }
}

impl Nested<'_> {
    async fn run(&mut self, request: Request) -> std::result::Result<Incoming, Lost> {
        let sent = self.next.clone().run(request, self.extensions).await;
        sent.map(incoming).map_err(|error| {
            Lost(crate::error::shown(&match error {
                Error::Reqwest(error) => error.without_url().to_string(),
                Error::Middleware(error) => error.to_string(),
            }))
        })
    }
}
