//! Requirements that were checked once, at the edge.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::assets::Method;
use crate::wire::PaymentRequirements;
use crate::{Address, Amount, Finality, Network, Refusal, codes};

/// Longest text of a requirements field or of a text in `extra`, in bytes.
const MAX_TEXT_BYTES: usize = 256;
/// Longest `extra`, in bytes of JSON.
const MAX_EXTRA_BYTES: usize = 4096;
/// Longest `maxTimeoutSeconds`: a year. The payer has a far smaller limit of its own.
const MAX_TIMEOUT_SECONDS: u64 = 31_536_000;

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
    pub wire: Arc<PaymentRequirements>,
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
    /// How deep the receipt must lie before it counts, where the seller says so
    /// (`extra.finality`).
    pub finality: Option<Finality>,
    /// Whether the payment must have a transaction of its own, and so a hash that
    /// it shares with nobody (`extra.singleTransaction`).
    pub settles_alone: bool,
}

impl Terms {
    /// Checks requirements once.
    ///
    /// Zero is an amount: it is what an `upto` payment may be charged in the end.
    ///
    /// # Errors
    /// `unsupported_scheme`, `invalid_network`, or `invalid_payment_requirements`.
    pub fn check(wire: impl Into<Arc<PaymentRequirements>>) -> Result<Self, Refusal> {
        let wire = wire.into();
        check_sizes(&wire)?;
        let scheme = Scheme::from_wire(&wire.scheme).ok_or_else(|| {
            Refusal::new(
                codes::UNSUPPORTED_SCHEME,
                "The scheme is not one of exact, upto and batch-settlement; choose another entry of accepts.",
            )
        })?;
        let network: Network = wire.network.parse().map_err(|e: crate::NetworkError| {
            Refusal::new(codes::INVALID_NETWORK, e.to_string())
        })?;
        let asset = account(&network, &wire.asset, "asset")?;
        let pay_to = account(&network, &wire.pay_to, "payTo")?;
        if pay_to == asset {
            return Err(Refusal::new(
                codes::INVALID_PAYMENT_REQUIREMENTS,
                "payTo is the asset's own contract, where money is lost; name the payee.",
            ));
        }
        let amount = wire
            .amount
            .parse()
            .map_err(|e: crate::AmountError| invalid(&e.to_string()))?;
        if !(1..=MAX_TIMEOUT_SECONDS).contains(&wire.max_timeout_seconds) {
            return Err(invalid("maxTimeoutSeconds must be from 1 to 31536000"));
        }
        let flow = flow(&wire)?;
        let finality = finality(&wire)?;
        let settles_alone = settles_alone(&wire)?;
        Ok(Self {
            wire,
            scheme,
            network,
            asset,
            pay_to,
            amount,
            flow,
            finality,
            settles_alone,
        })
    }

    /// The asset transfer method, if it is named (`extra.assetTransferMethod`).
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        // Some servers let slip the word by which the SDK means that none is named.
        self.wire
            .extra_str("assetTransferMethod")
            .filter(|method| *method != "default")
    }

    /// The asset transfer method: the one that is named, else the family's default.
    /// `None` if the named one is not known, or the family names none.
    #[must_use]
    pub fn transfer_method(&self) -> Option<Method> {
        match (self.method(), self.network.family()) {
            (Some(method), _) => Method::from_wire(method),
            // A method that is known in a later version and is no text.
            (None, _) if self.wire.extra_has_odd("assetTransferMethod") => None,
            (None, crate::Family::Evm) => Some(match self.scheme {
                Scheme::Upto => Method::Permit2,
                Scheme::Exact | Scheme::BatchSettlement => Method::Eip3009,
            }),
            (None, _) => None,
        }
    }

    /// Longest time the payment may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.wire.max_timeout_seconds)
    }

    /// The same terms with what is really charged (`upto`, at settle).
    #[must_use]
    pub fn charging(&self, amount: Amount) -> Self {
        let mut terms = self.clone();
        terms.amount = amount;
        Arc::make_mut(&mut terms.wire).amount = amount.to_string();
        terms
    }
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(
        codes::INVALID_PAYMENT_REQUIREMENTS,
        format!("{what}; correct the payment requirements."),
    )
}

fn check_sizes(wire: &PaymentRequirements) -> Result<(), Refusal> {
    let core = [
        &wire.scheme,
        &wire.network,
        &wire.amount,
        &wire.asset,
        &wire.pay_to,
    ];
    let extra = wire.extra.iter().flatten();
    let texts = extra.clone().filter_map(|(_, value)| value.as_str());
    if core.into_iter().any(|text| text.len() > MAX_TEXT_BYTES)
        || texts.clone().any(|text| text.len() > MAX_EXTRA_BYTES)
    {
        return Err(invalid("a field is longer than allowed"));
    }
    let domain = ["name", "version", "assetTransferMethod", "paymentFlow"];
    if domain
        .into_iter()
        .filter_map(|key| wire.extra_str(key))
        .any(|text| text.len() > MAX_TEXT_BYTES)
    {
        return Err(invalid("a text in extra is longer than 256 bytes"));
    }
    let extra_bytes: usize = extra.map(|(key, value)| key.len() + json_len(value)).sum();
    if extra_bytes > MAX_EXTRA_BYTES {
        return Err(invalid("extra is longer than 4096 bytes"));
    }
    Ok(())
}

/// About how long a value is as JSON; never less than its texts.
fn json_len(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|v| json_len(v) + 1).sum::<usize>() + 2,
        Value::Object(fields) => {
            let each = fields.iter().map(|(k, v)| k.len() + json_len(v) + 4);
            each.sum::<usize>() + 2
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// An account that can be paid or a contract: not the zero account, which would
/// burn what it gets.
fn account(network: &Network, text: &str, field: &str) -> Result<Address, Refusal> {
    let address = network
        .address(text)
        .map_err(|e| invalid(&format!("{field}: {e}")))?;
    let zero = address
        .as_str()
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|b| b == b'0'));
    if zero {
        return Err(invalid(&format!("{field} is the zero address")));
    }
    Ok(address)
}

fn flow(wire: &PaymentRequirements) -> Result<PaymentFlow, Refusal> {
    match wire.extra_str("paymentFlow") {
        None if wire.extra_has_odd("paymentFlow") => Err(invalid("paymentFlow is not a text")),
        None | Some("authorization") => Ok(PaymentFlow::Authorization),
        Some("upfront") => Ok(PaymentFlow::Upfront),
        Some(_) => Err(invalid(
            "paymentFlow is not one of authorization and upfront",
        )),
    }
}

fn finality(wire: &PaymentRequirements) -> Result<Option<Finality>, Refusal> {
    match wire.extra_str("finality") {
        None if wire.extra_has_odd("finality") => Err(invalid("finality is not a text")),
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|e: String| invalid(&e)),
    }
}

fn settles_alone(wire: &PaymentRequirements) -> Result<bool, Refusal> {
    let said = wire
        .extra
        .as_ref()
        .and_then(|extra| extra.get("singleTransaction"));
    match said {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(alone)) => Ok(*alone),
        Some(_) => Err(invalid("singleTransaction is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::AssetTable;

    fn offer() -> PaymentRequirements {
        PaymentRequirements::priced(
            Scheme::Exact,
            &Network::eip155(84532),
            &"$0.01".parse().unwrap(),
            &AssetTable::builtin(),
            "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
            60,
        )
        .unwrap()
    }

    fn refused(change: impl FnOnce(&mut PaymentRequirements)) -> String {
        let mut wire = offer();
        change(&mut wire);
        Terms::check(wire).unwrap_err().code().to_owned()
    }

    #[test]
    fn a_price_becomes_terms_that_hold_together() {
        let terms = Terms::check(offer()).unwrap();
        assert_eq!(terms.amount, Amount::from_atomic(10_000));
        assert_eq!(terms.timeout(), Duration::from_secs(60));
        assert_eq!(terms.transfer_method(), Some(Method::Eip3009));
        assert_eq!(terms.flow, PaymentFlow::Authorization);
        let upfront = offer()
            .with_flow(PaymentFlow::Upfront)
            .with_method(Method::Permit2);
        let upfront = Terms::check(upfront).unwrap();
        assert_eq!(upfront.flow, PaymentFlow::Upfront);
        assert_eq!(upfront.transfer_method(), Some(Method::Permit2));
        let back = PaymentRequirements::clone(&upfront.wire)
            .with_flow(PaymentFlow::Authorization)
            .with_method(Method::Eip3009);
        assert_eq!(back, offer());
    }

    #[test]
    fn requirements_that_mean_nothing_are_refused_with_their_code() {
        let bad = codes::INVALID_PAYMENT_REQUIREMENTS;
        assert_eq!(
            refused(|w| w.scheme = "deferred".into()),
            codes::UNSUPPORTED_SCHEME
        );
        assert_eq!(
            refused(|w| w.network = "base-sepolia".into()),
            codes::INVALID_NETWORK
        );
        assert_eq!(refused(|w| w.pay_to = "merchant".into()), bad);
        assert_eq!(refused(|w| w.pay_to = format!("0x{:040}", 0)), bad);
        assert_eq!(refused(|w| w.asset = "0x036C".into()), bad);
        for amount in ["", "-1", "+1", "01", "1.0", "1e3", "١", " 1", "0x1"] {
            assert_eq!(refused(|w| w.amount = amount.into()), bad, "{amount}");
        }
        assert_eq!(refused(|w| w.max_timeout_seconds = 0), bad);
        assert_eq!(refused(|w| w.max_timeout_seconds = u64::MAX), bad);
        assert_eq!(
            refused(|w| *w = w.clone().with_extra("paymentFlow", "escrow")),
            bad
        );
        assert_eq!(
            refused(|w| *w = w.clone().with_extra("paymentFlow", 1)),
            bad
        );
        assert_eq!(
            refused(|w| *w = w.clone().with_extra("name", "n".repeat(257))),
            bad
        );
        assert_eq!(
            refused(|w| *w = w.clone().with_extra("x", "n".repeat(4096))),
            bad
        );
        assert_eq!(refused(|w| w.network = "eip155:".repeat(99)), bad);
    }

    #[test]
    fn an_unknown_method_is_not_taken_for_the_default() {
        let method = |value: Value| {
            let wire = offer().with_extra("assetTransferMethod", value);
            Terms::check(wire).unwrap().transfer_method()
        };
        assert_eq!(method("default".into()), Some(Method::Eip3009));
        assert_eq!(method("teleport".into()), None);
        assert_eq!(method(1.into()), None);
    }

    #[test]
    fn a_seller_says_how_deep_and_whether_alone() {
        let plain = Terms::check(offer()).unwrap();
        assert_eq!((plain.finality, plain.settles_alone), (None, false));
        let wire = offer()
            .with_extra("finality", "12")
            .with_extra("singleTransaction", true);
        let strict = Terms::check(wire).unwrap();
        assert_eq!(strict.finality, Some(Finality::Confirmations(12)));
        assert!(strict.settles_alone);

        let bad = codes::INVALID_PAYMENT_REQUIREMENTS;
        for (key, value) in [
            ("finality", Value::from("soon")),
            ("finality", Value::from(12)),
            ("singleTransaction", Value::from("yes")),
        ] {
            assert_eq!(refused(|w| *w = w.clone().with_extra(key, value)), bad);
        }
    }

    #[test]
    fn charging_changes_the_amount_everywhere() {
        let terms = Terms::check(offer()).unwrap().charging(Amount::ZERO);
        assert!(terms.amount.is_zero());
        assert_eq!(terms.wire.amount, "0");
    }
}
