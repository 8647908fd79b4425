//! A route with its prices.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::request::Parts;
use tollway_core::wire::{Object, ResourceInfo};
use tollway_core::{Finality, PaymentFlow, Refusal};

use super::{Pattern, PatternError};
use crate::{Meter, Offer, PassOffer, Usage};

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
    /// How deep its settlements must lie, where the gate does not ask for deeper.
    pub(crate) finality: Finality,
    pub(crate) settles_alone: bool,
    pub(crate) pass: Option<PassOffer>,
    pub(crate) meter: Option<Meter>,
    /// For how long who paid gets it again by signing in.
    pub(crate) returning: Option<Duration>,
    /// What it tells programs that look for services.
    pub(crate) usage: Option<Usage>,
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
            finality: Finality::default(),
            settles_alone: false,
            pass: None,
            meter: None,
            returning: None,
            usage: None,
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
    ///
    /// A transaction that is shown as proof (method `txid`) buys what it was asked
    /// for: this method, path and query at the price of then. Headers are not part
    /// of that; a price that depends on one is not for such proofs.
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

    /// How deep a settlement must lie before its answer is released: here, and at
    /// the facilitator (`extra.finality`). A gate that asks for deeper wins.
    #[must_use]
    pub fn finality(mut self, finality: Finality) -> Self {
        self.finality = finality;
        self
    }

    /// Asks that each payment has a transaction of its own, and so a hash that it
    /// shares with nobody (`extra.singleTransaction`). It costs more gas.
    #[must_use]
    pub fn single_transaction(mut self) -> Self {
        self.settles_alone = true;
        self
    }

    /// Sells a pass: one payment opens more than one request. The gate must sell
    /// passes ([`crate::GateBuilder::passes`]).
    #[must_use]
    pub fn pass(mut self, pass: PassOffer) -> Self {
        self.pass = Some(pass);
        self
    }

    /// Charges by what its answers stream, up to what was signed for: every offer
    /// must be [`Offer::up_to`]. The answer leaves as it comes and is settled when
    /// it ends; what the service behind says of a charge means nothing.
    #[must_use]
    pub fn meter(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Opens what was paid for again to who signs in with the account that paid, for so
    /// long after the payment, as often as it signs in (extension `sign-in-with-x`). It
    /// opens the same method and path, whatever the query and the body.
    #[must_use]
    pub fn returning(mut self, within: Duration) -> Self {
        self.returning = Some(within);
        self
    }

    /// Says how it is used, so that facilitators list it (extension `bazaar`).
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// What an offer of this route says in `extra` beside the facilitator's words.
    pub(crate) fn added(&self) -> Object {
        let mut added = Object::new();
        if self.finality != Finality::default() {
            added.insert("finality".to_owned(), self.finality.to_string().into());
        }
        if self.settles_alone {
            added.insert("singleTransaction".to_owned(), true.into());
        }
        added
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
