//! A route with its prices.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::request::Parts;
use tollway_core::wire::ResourceInfo;
use tollway_core::{PaymentFlow, Refusal};

use super::{Pattern, PatternError};
use crate::Offer;

/// What a request costs, as a function of the request says.
#[derive(Clone, Debug, PartialEq)]
pub enum Quote {
    /// Nothing: it is passed on.
    Free,
    /// Any of these.
    Pay(Vec<Offer>),
}

pub(crate) type PriceFn =
    Arc<dyn Fn(&Parts) -> BoxFuture<'static, Result<Quote, Refusal>> + Send + Sync>;

#[derive(Clone)]
pub(crate) enum Pricing {
    Fixed(Vec<Offer>),
    Asked(PriceFn),
}

/// A route that costs money.
///
/// ```
/// use tollway_gate::{Offer, Route};
///
/// let payee = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
/// let route = Route::new("GET /reports/:id")?
///     .offer(Offer::new("$0.01", "base-sepolia", payee)?)
///     .offer(Offer::new("$0.01", "sei-testnet", payee)?)
///     .describe("A report", "application/json");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Route {
    pub(crate) pattern: Pattern,
    pub(crate) pricing: Pricing,
    pub(crate) flow: PaymentFlow,
    pub(crate) resource: ResourceInfo,
}

impl Route {
    /// A route by its pattern ([`Pattern`]), without a price yet.
    ///
    /// # Errors
    /// [`PatternError`] if the pattern would protect nothing.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        Ok(Self {
            pattern: pattern.parse()?,
            pricing: Pricing::Fixed(Vec::new()),
            flow: PaymentFlow::Authorization,
            resource: ResourceInfo::default(),
        })
    }

    /// Adds a way to pay. Replaces a price function.
    #[must_use]
    pub fn offer(mut self, offer: Offer) -> Self {
        match &mut self.pricing {
            Pricing::Fixed(offers) => offers.push(offer),
            Pricing::Asked(_) => self.pricing = Pricing::Fixed(vec![offer]),
        }
        self
    }

    /// Asks a function of the request (all but its body) for the price, once
    /// without payment and again with it. It may refuse: the request then gets
    /// 403 with the refusal's code.
    #[must_use]
    pub fn price_with<F, Fut>(mut self, price: F) -> Self
    where
        F: Fn(&Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Quote, Refusal>> + Send + 'static,
    {
        self.pricing = Pricing::Asked(Arc::new(move |parts| Box::pin(price(parts))));
        self
    }

    /// When the money moves: after the service behind answered (default), or
    /// before it is asked, which streaming answers need.
    #[must_use]
    pub fn flow(mut self, flow: PaymentFlow) -> Self {
        self.flow = flow;
        self
    }

    /// Says what is sold: in words, and the media type of the answer.
    #[must_use]
    pub fn describe(mut self, description: &str, mime_type: &str) -> Self {
        let text = |t: &str| Some(t.chars().take(500).collect()).filter(|t: &String| !t.is_empty());
        self.resource.description = text(description);
        self.resource.mime_type = text(mime_type);
        self
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route")
            .field("pattern", &self.pattern.as_str())
            .field("flow", &self.flow)
            .finish_non_exhaustive()
    }
}
