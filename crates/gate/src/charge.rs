//! What a metered request (`upto`) is charged in the end.
//!
//! The service behind says it: by the header `Settlement-Overrides`
//! (`{"amount": "1000" | "50%" | "$0.05"}`, x402), which never reaches the buyer,
//! or in code by a [`Charge`] among the answer's extensions. Who says nothing
//! charges the maximum that the buyer signed for.

use std::str::FromStr;

use http::{HeaderValue, Response};
use serde_json::Value;
use tollway_core::money::Decimal;
use tollway_core::{Amount, Refusal, Scheme, Terms, codes};

/// The header by which a service behind a proxy says it.
const SETTLEMENT_OVERRIDES: &str = "settlement-overrides";
/// Longest header that is read.
const MAX_HEADER_BYTES: usize = 256;
/// Digits after the point of a percentage.
const PERCENT_DECIMALS: u8 = 4;
/// All of it, in units of a percentage's last digit.
const WHOLE: u64 = 1_000_000;

/// How much of what the buyer permitted is charged.
///
/// ```
/// use tollway_gate::Charge;
///
/// let mut answer = http::Response::new("3 of 10 pages");
/// answer.extensions_mut().insert("30%".parse::<Charge>()?);
/// # Ok::<(), tollway_core::Refusal>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Charge(Measure);

#[derive(Clone, Debug, PartialEq)]
enum Measure {
    Atomic(Amount),
    /// Millionths of the maximum.
    Share(u64),
    /// Whole units of the asset, such as dollars.
    Units(Decimal),
}

impl Charge {
    /// An amount in atomic units of the asset that is paid in.
    #[must_use]
    pub const fn atomic(amount: Amount) -> Self {
        Self(Measure::Atomic(amount))
    }

    /// What it comes to, of a maximum; shares are rounded down.
    ///
    /// # Errors
    /// `invalid_upto_evm_payload_settlement_exceeds_amount` above the maximum.
    pub fn of(&self, maximum: Amount, decimals: u8) -> Result<Amount, Refusal> {
        let amount = match &self.0 {
            Measure::Atomic(amount) => Some(*amount),
            Measure::Share(millionths) if *millionths > WHOLE => None,
            Measure::Share(millionths) => maximum.share(*millionths, WHOLE),
            Measure::Units(units) => units.to_atomic(decimals),
        };
        amount.filter(|amount| *amount <= maximum).ok_or_else(|| {
            Refusal::new(
                codes::INVALID_UPTO_EVM_PAYLOAD_SETTLEMENT_EXCEEDS_AMOUNT,
                "The server charges more than was permitted; nothing was charged, tell the seller.",
            )
        })
    }
}

impl FromStr for Charge {
    type Err = Refusal;

    /// `1000` (atomic units), `50%` (of the maximum) or `$0.05` (of the asset's units).
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let decimal = |text: &str| text.parse::<Decimal>().map_err(|_| unreadable());
        let measure = if let Some(percent) = text.strip_suffix('%') {
            let millionths = decimal(percent)?.to_atomic(PERCENT_DECIMALS);
            let millionths = millionths.and_then(Amount::as_u128);
            let within = millionths.and_then(|share| u64::try_from(share).ok());
            Measure::Share(within.ok_or_else(unreadable)?)
        } else if let Some(units) = text.strip_prefix('$') {
            Measure::Units(decimal(units)?)
        } else {
            Measure::Atomic(text.parse().map_err(|_| unreadable())?)
        };
        Ok(Self(measure))
    }
}

fn unreadable() -> Refusal {
    Refusal::new(
        codes::UPSTREAM_FAILED,
        "The server behind the gate says in a way that is not understood what is to be charged; nothing was charged, tell the seller.",
    )
}

/// What an answer says, not read yet: where the price is fixed it means nothing.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// In code.
    Charge(Charge),
    /// By header.
    Header(HeaderValue),
}

impl Said {
    /// Takes it off an answer.
    pub(crate) fn take<B>(response: &mut Response<B>) -> Option<Self> {
        let header = response.headers_mut().remove(SETTLEMENT_OVERRIDES);
        let charge = response.extensions_mut().remove::<Charge>();
        charge.map(Self::Charge).or(header.map(Self::Header))
    }

    /// What is charged under terms: `None` for all that was signed for.
    pub(crate) fn charged(self, terms: &Terms, decimals: u8) -> Result<Option<Amount>, Refusal> {
        if terms.scheme != Scheme::Upto {
            return Ok(None);
        }
        let amount = self.read()?.of(terms.amount, decimals)?;
        Ok(Some(amount).filter(|amount| *amount != terms.amount))
    }

    fn read(self) -> Result<Charge, Refusal> {
        let value = match self {
            Self::Charge(charge) => return Ok(charge),
            Self::Header(value) => value,
        };
        let text = value.to_str().ok().filter(|t| t.len() <= MAX_HEADER_BYTES);
        let json: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
        let amount = json.as_ref().and_then(|json| json.get("amount"));
        amount
            .and_then(Value::as_str)
            .ok_or_else(unreadable)?
            .parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, maximum: u128) -> Result<u128, String> {
        let charge: Charge = text.parse().map_err(|r: Refusal| r.code().to_owned())?;
        let amount = charge.of(Amount::from_atomic(maximum), 6);
        amount
            .map(|a| a.as_u128().unwrap())
            .map_err(|r| r.code().to_owned())
    }

    #[test]
    fn a_charge_is_atomic_a_share_or_in_units_and_never_above_the_maximum() {
        assert_eq!(of("1000", 50_000), Ok(1_000));
        assert_eq!(of("0", 50_000), Ok(0));
        assert_eq!(of("50%", 50_001), Ok(25_000));
        assert_eq!(of("33.3333%", 1_000_000), Ok(333_333));
        assert_eq!(of("100%", 50_000), Ok(50_000));
        assert_eq!(of("$0.05", 50_000), Ok(50_000));
        let above = codes::INVALID_UPTO_EVM_PAYLOAD_SETTLEMENT_EXCEEDS_AMOUNT;
        for text in ["50001", "100.0001%", "$0.050001", "$1"] {
            assert_eq!(of(text, 50_000), Err(above.to_owned()), "{text}");
        }
        for text in [
            "", "-1", "1.5", "%", "-1%", "1e3%", "$", "$-1", "0x10", "50 %",
        ] {
            assert_eq!(
                of(text, 50_000),
                Err(codes::UPSTREAM_FAILED.to_owned()),
                "{text}"
            );
        }
    }
}
