//! One way to pay for a route.

use std::sync::Arc;

use tollway_core::assets::{self, AssetInfo, AssetTable, Method};
use tollway_core::money::Price;
use tollway_core::wire::{Object, PaymentRequirements};
use tollway_core::{Network, PaymentFlow, Refusal, Scheme, Terms};

/// Default of `maxTimeoutSeconds`, as the x402 server SDKs have it.
const DEFAULT_TIMEOUT_SECONDS: u64 = 300;
/// A shorter time cannot be verified, served and settled within.
const MIN_TIMEOUT_SECONDS: u64 = 60;
/// Buyers sign nothing that lives longer.
const MAX_TIMEOUT_SECONDS: u64 = 900;

/// Of an asset that no table knows, as most dollars have it.
const DEFAULT_DECIMALS: u8 = 6;

/// One way to pay: an amount of an asset on a network, to somebody.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    terms: Arc<Terms>,
    /// Of the asset, to read a charge in whole units by.
    decimals: u8,
    /// What people call the asset, where that is known.
    symbol: Option<Arc<str>>,
}

impl Offer {
    /// A price such as `$0.01` or `0.5 EURC` on a network, by its CAIP-2 name
    /// (`eip155:84532`) or a known one (`base-sepolia`), with the built-in
    /// asset table.
    ///
    /// # Errors
    /// `invalid_price`, `invalid_network` or `invalid_payment_requirements`.
    pub fn new(price: &str, network: &str, pay_to: &str) -> Result<Self, Refusal> {
        let network = Network::resolve(network)
            .map_err(|e| Refusal::new("invalid_network", e.to_string()))?;
        let price: Price = price.parse()?;
        Self::priced(&price, &network, pay_to, &AssetTable::builtin())
    }

    /// A parsed price on a network, with an asset table of one's own.
    ///
    /// # Errors
    /// `invalid_price` or `invalid_payment_requirements`.
    pub fn priced(
        price: &Price,
        network: &Network,
        pay_to: &str,
        assets: &AssetTable,
    ) -> Result<Self, Refusal> {
        let priced = price.resolve(network, assets)?;
        let decimals = priced.info.map_or(DEFAULT_DECIMALS, |info| info.decimals);
        let wire = PaymentRequirements {
            scheme: "exact".to_owned(),
            network: network.to_string(),
            amount: priced.amount.to_string(),
            asset: priced.spelling,
            pay_to: pay_to.to_owned(),
            max_timeout_seconds: DEFAULT_TIMEOUT_SECONDS,
            extra: Some(priced.extra).filter(|extra| !extra.is_empty()),
        };
        let symbol = priced.info.map(|info| Arc::from(&*info.symbol));
        Self::checked(wire, decimals, symbol)
    }

    /// The same paid by another transfer method, such as Permit2.
    ///
    /// # Errors
    /// What [`Terms::check`] refuses.
    pub fn by(self, method: Method) -> Result<Self, Refusal> {
        let wire = PaymentRequirements::clone(&self.terms.wire).with_method(method);
        self.saying(wire)
    }

    /// The same paid by a transaction of the buyer's own that nobody signs for, as some
    /// demonstrations do (method `txid`, `extra.proofProfile` `unsigned`). Whoever
    /// shows a transfer to the payee first gets the goods: offer
    /// [`Method::Txid`] instead wherever buyers can sign.
    ///
    /// # Errors
    /// What [`Terms::check`] refuses.
    pub fn by_unsigned_proof(self) -> Result<Self, Refusal> {
        let wire = PaymentRequirements::clone(&self.terms.wire).with_method(Method::Txid);
        self.saying(wire.with_extra("proofProfile", "unsigned"))
    }

    /// The same as the most that may be charged (`upto`): the service behind says
    /// how much it is in the end ([`crate::Charge`]).
    ///
    /// # Errors
    /// What [`Terms::check`] refuses.
    pub fn up_to(self) -> Result<Self, Refusal> {
        let mut wire = PaymentRequirements::clone(&self.terms.wire);
        wire.scheme = Scheme::Upto.as_str().to_owned();
        self.saying(wire.with_method(Method::Permit2))
    }

    /// Requirements as they shall stand in `accepts`.
    ///
    /// # Errors
    /// What [`Terms::check`] refuses, and a `maxTimeoutSeconds` outside 60 to 900.
    pub fn from_requirements(wire: PaymentRequirements) -> Result<Self, Refusal> {
        let known = known(&wire);
        let decimals = known.map_or(DEFAULT_DECIMALS, |info| info.decimals);
        let symbol = known.map(|info| Arc::from(&*info.symbol));
        Self::checked(wire, decimals, symbol)
    }

    fn checked(
        wire: PaymentRequirements,
        decimals: u8,
        symbol: Option<Arc<str>>,
    ) -> Result<Self, Refusal> {
        if !(MIN_TIMEOUT_SECONDS..=MAX_TIMEOUT_SECONDS).contains(&wire.max_timeout_seconds) {
            return Err(Refusal::new(
                "invalid_payment_requirements",
                "maxTimeoutSeconds must lie between 60 and 900; correct the route.",
            ));
        }
        Terms::check(wire).map(|terms| Self {
            terms: Arc::new(terms),
            decimals,
            symbol,
        })
    }

    /// Sets `maxTimeoutSeconds`, from 60 to 900 (default 300).
    ///
    /// # Errors
    /// `invalid_payment_requirements` if it lies outside.
    pub fn with_timeout_seconds(self, seconds: u64) -> Result<Self, Refusal> {
        let mut wire = PaymentRequirements::clone(&self.terms.wire);
        wire.max_timeout_seconds = seconds;
        self.saying(wire)
    }

    /// What it asks, checked.
    #[must_use]
    pub fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// The same offer in other words.
    pub(crate) fn saying(&self, wire: PaymentRequirements) -> Result<Self, Refusal> {
        Self::checked(wire, self.decimals, self.symbol.clone())
    }

    /// Whether its method is our own rather than x402's.
    pub(crate) fn is_own(&self) -> bool {
        self.terms.transfer_method().is_some_and(Method::is_own)
    }

    /// The same offer in a flow, with what the facilitator adds to `extra`. A
    /// transaction that was made already is always shown upfront.
    pub(crate) fn complete(&self, flow: PaymentFlow, added: &Object) -> Result<Self, Refusal> {
        let mut wire = PaymentRequirements::clone(&self.terms.wire);
        let flow = match wire.proof_profile() {
            Some(_) => PaymentFlow::Upfront,
            None => flow,
        };
        let mut extra = wire.extra.take().unwrap_or_default();
        for (key, value) in added {
            extra.entry(key.clone()).or_insert_with(|| value.clone());
        }
        match flow {
            PaymentFlow::Authorization => extra.shift_remove("paymentFlow"),
            PaymentFlow::Upfront => extra.insert("paymentFlow".to_owned(), flow.as_str().into()),
        };
        wire.extra = Some(extra).filter(|extra| !extra.is_empty());
        self.saying(wire)
    }

    /// The price, as people say it of a network that they call so.
    pub(crate) fn in_words(&self, network: &str) -> String {
        let terms = &self.terms;
        let most = match terms.scheme {
            Scheme::Upto => "up to ",
            _ => "",
        };
        match &self.symbol {
            Some(symbol) => {
                let amount = terms.amount.to_decimal(self.decimals);
                format!("{most}{amount} {symbol} on {network}")
            }
            None => format!(
                "{most}{} units of {} on {network}",
                terms.amount, terms.asset
            ),
        }
    }

    /// What people call the asset, where that is known.
    pub(crate) fn symbol(&self) -> Option<&str> {
        self.symbol.as_deref()
    }

    /// Decimals of the asset.
    pub(crate) const fn decimals(&self) -> u8 {
        self.decimals
    }
}

fn known(wire: &PaymentRequirements) -> Option<&'static AssetInfo> {
    let network: Network = wire.network.parse().ok()?;
    let asset = network.address(&wire.asset).ok()?;
    assets::find(&network, &asset)
}
