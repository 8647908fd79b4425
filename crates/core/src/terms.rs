//! Requirements that were checked once, at the edge.

use crate::wire::PaymentRequirements;
use crate::{Address, Amount, Network, Refusal};

/// How a payment is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// The stated amount.
    Exact,
    /// What was used, at most the stated amount.
    Upto,
    /// Vouchers against a deposit.
    BatchSettlement,
}

impl Scheme {
    /// The wire spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Upto => "upto",
            Self::BatchSettlement => "batch-settlement",
        }
    }

    /// From the wire spelling.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Self> {
        [Self::Exact, Self::Upto, Self::BatchSettlement]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// When settling happens, as the buyer sees it (`extra.paymentFlow`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PaymentFlow {
    /// verify, serve, settle.
    #[default]
    Authorization,
    /// settle, serve.
    Upfront,
}

impl PaymentFlow {
    /// The wire spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Upfront => "upfront",
        }
    }
}

/// One way to pay, checked: every field means something on its network.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// As it was offered, for echoing and comparing.
    pub wire: PaymentRequirements,
    /// How the payment is measured.
    pub scheme: Scheme,
    /// Where.
    pub network: Network,
    /// What.
    pub asset: Address,
    /// To whom.
    pub pay_to: Address,
    /// How much (for `upto`: at most).
    pub amount: Amount,
    /// When settling happens.
    pub flow: PaymentFlow,
}

impl Terms {
    /// Checks requirements once.
    ///
    /// # Errors
    /// `unsupported_scheme`, `invalid_network`, or `invalid_payment_requirements`.
    pub fn check(wire: PaymentRequirements) -> Result<Self, Refusal> {
        let scheme = Scheme::from_wire(&wire.scheme).ok_or_else(|| {
            Refusal::new("unsupported_scheme", "The scheme is not one of exact, upto and batch-settlement; choose another entry of accepts.")
        })?;
        let network: Network = wire
            .network
            .parse()
            .map_err(|e: crate::NetworkError| Refusal::new("invalid_network", e.to_string()))?;
        let invalid = |what: String| {
            Refusal::new(
                "invalid_payment_requirements",
                format!("{what}; correct the payment requirements."),
            )
        };
        let asset = network
            .address(&wire.asset)
            .map_err(|e| invalid(e.to_string()))?;
        let pay_to = network
            .address(&wire.pay_to)
            .map_err(|e| invalid(e.to_string()))?;
        let amount = wire
            .amount
            .parse()
            .map_err(|e: crate::AmountError| invalid(e.to_string()))?;
        if wire.max_timeout_seconds == 0 {
            return Err(invalid("maxTimeoutSeconds must be above zero".to_owned()));
        }
        let flow = match wire.extra_str("paymentFlow") {
            None | Some("authorization") => PaymentFlow::Authorization,
            Some("upfront") => PaymentFlow::Upfront,
            Some(_) => {
                return Err(invalid(
                    "paymentFlow is not one of authorization and upfront".to_owned(),
                ));
            }
        };
        Ok(Self {
            wire,
            scheme,
            network,
            asset,
            pay_to,
            amount,
            flow,
        })
    }

    /// The asset transfer method, if it is named (`extra.assetTransferMethod`).
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.wire.extra_str("assetTransferMethod")
    }
}
