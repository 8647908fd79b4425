//! The payer as a middleware for reqwest.

use async_trait::async_trait;
use http::{Extensions, StatusCode};
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{Error, Middleware, Next, Result};

use crate::error::PayError;
use crate::payer::Payer;
use crate::payment::Payment;
use crate::request::PayRequest;
use crate::transport::{Incoming, Lost, PaymentHeader, Transport, incoming};

/// Pays for requests that are answered 402.
///
/// Put it on a client made with [`crate::client_builder`]: a client that follows
/// redirects by itself would carry a payment along. A request whose body is a
/// stream cannot be sent twice and is not paid. The [`Payment`] is among the
/// answer's extensions; failures are [`PayError`]s inside
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
        let response = next.clone().run(request, extensions).await?;
        if response.status() != StatusCode::PAYMENT_REQUIRED {
            return Ok(response);
        }
        let mut transport = Nested {
            copy,
            extensions,
            next,
        };
        let asked = incoming(response);
        let url = asked.url.clone();
        let paid = engine.pay(&mut transport, &pay_request, asked).await;
        let (response, payment) = engine.noted(paid).map_err(Error::middleware)?;
        Ok(answer(response, url, payment))
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

fn answer(response: http::Response<crate::PayBody>, url: url::Url, payment: Payment) -> Response {
    let (mut head, body) = response.into_parts();
    head.extensions.insert(payment);
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
        let sent = self.next.clone().run(request, self.extensions).await;
        sent.map(incoming).map_err(|error| match error {
            Error::Reqwest(error) => lost(error.without_url().to_string()),
            Error::Middleware(error) => lost(error.to_string()),
        })
    }
}
