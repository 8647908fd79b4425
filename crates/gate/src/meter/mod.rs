//! What a metered route charges for what it streams: a price for each unit that
//! was begun, up to the most that the buyer signed for.
//!
//! Counted are the units of the body as they are handed to the client's
//! connection: of bytes (after the service behind compressed them, if it did), or
//! server-sent events. A unit is charged when its first byte is handed out, so
//! that nobody takes all but the end of one for nothing; an event begins with its
//! first line of data.

mod count;

pub(crate) use count::Counter;

use std::str::FromStr;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use tollway_core::money::Decimal;
use tollway_core::{Amount, Refusal, codes};

/// The price of one unit of what a route streams.
///
/// ```
/// use tollway_gate::{Meter, Offer, Route};
///
/// let payee = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
/// let route = Route::new("GET /tokens")?
///     .offer(Offer::new("$0.10", "base-sepolia", payee)?.up_to()?)
///     .meter("$0.001/event".parse::<Meter>()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    price: Decimal,
    unit: Unit,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// So many bytes of the body.
    Bytes(u64),
    /// A server-sent event with data.
    Event,
}

/// How units are written.
const UNITS: [(&str, Unit); 8] = [
    ("event", Unit::Event),
    ("byte", Unit::Bytes(1)),
    ("kB", Unit::Bytes(1_000)),
    ("MB", Unit::Bytes(1_000_000)),
    ("GB", Unit::Bytes(1_000_000_000)),
    ("KiB", Unit::Bytes(1 << 10)),
    ("MiB", Unit::Bytes(1 << 20)),
    ("GiB", Unit::Bytes(1 << 30)),
];

impl FromStr for Meter {
    type Err = Refusal;

    /// `$0.001/event` or `$0.01/MB`: whole units of the asset for each `event`,
    /// `byte`, `kB`, `MB`, `GB`, `KiB`, `MiB` or `GiB` that was begun.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong = || {
            let text: String = text.chars().take(40).collect();
            Refusal::new(
                codes::INVALID_PRICE,
                format!(
                    "`{text}` is no price of a unit; write for example $0.001/event or $0.01/MB."
                ),
            )
        };
        let (price, unit) = text.split_once('/').ok_or_else(wrong)?;
        let price = price.trim().strip_prefix('$').ok_or_else(wrong)?;
        let price: Decimal = price.parse().map_err(|_| wrong())?;
        let known = UNITS.iter().find(|(name, _)| *name == unit.trim());
        let (_, unit) = known.filter(|_| !price.is_zero()).ok_or_else(wrong)?;
        Ok(Self { price, unit: *unit })
    }
}

/// A meter with the most that a buyer signs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Of one unit.
    price: Amount,
    pub unit: Unit,
    /// Units that the most pays for: one at least.
    pub most: u64,
}

impl Meter {
    /// The rate under an offer; `None` if the asset cannot express the price of a
    /// unit, or the most does not pay for one.
    pub(crate) fn rate(&self, maximum: Amount, decimals: u8) -> Option<Rate> {
        let price = self.price.to_atomic(decimals)?;
        let most = maximum.as_u256().checked_div(price.as_u256())?;
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        (most > 0).then_some(Rate {
            price,
            unit: self.unit,
            most,
        })
    }
}

impl Rate {
    /// What so many units come to. Never more than the most.
    pub(crate) fn charge(&self, units: u64) -> Amount {
        let units = units.min(self.most);
        // The most is a product that fits.
        self.price.checked_mul(units).unwrap_or(Amount::MAX)
    }

    /// Why an answer cannot be metered, if it cannot.
    pub(crate) fn unfit(&self, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name| headers.get(name).map(HeaderValue::as_bytes);
        match self.unit {
            Unit::Event => {
                let kind = text(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
                let plain = text(CONTENT_ENCODING).is_none_or(|coding| coding == b"identity");
                (!kind.starts_with(b"text/event-stream") || !plain).then_some(
                    "The server behind the gate answered no plain stream of events, which this route is metered by; nothing was charged, tell the seller.",
                )
            }
            Unit::Bytes(size) => {
                let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
                let length = length.and_then(|length| length.parse::<u64>().ok());
                let units = length.map(|length| length.div_ceil(size));
                units.is_some_and(|units| units > self.most).then_some(
                    "The answer is longer than the most that was signed for pays for; nothing was charged. Ask for a part of it (Range), or the seller must raise the maximum.",
                )
            }
        }
    }
}

impl std::fmt::Display for Rate {
    /// Atomic units for a unit, as the terms tell it: `1000/event`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = UNITS.iter().find(|(_, unit)| *unit == self.unit);
        let name = named.map_or("unit", |(name, _)| name);
        write!(f, "{}/{name}", self.price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_is_an_exact_price_of_a_known_unit() {
        let most = Amount::from_atomic(100_000);
        let rate = |text: &str| {
            let meter = text.parse::<Meter>().ok()?;
            let rate = meter.rate(most, 6)?;
            Some((rate.charge(1).as_u128().unwrap(), rate.most))
        };
        assert_eq!(rate("$0.001/event"), Some((1_000, 100)));
        assert_eq!(rate("$0.01/MB"), Some((10_000, 10)));
        assert_eq!(rate("$0.000001 / KiB"), Some((1, 100_000)));
        assert_eq!(rate("$0.03/GiB"), Some((30_000, 3)));
        for text in [
            "",
            "$0.01",
            "/event",
            "$/event",
            "0.01/event",
            "$0/event",
            "$-1/event",
            "$1e-3/event",
            "$0.01/",
            "$0.01/events",
            "$0.01/mb",
            "$0.01/MB/s",
            "$0.0000001/event",
            "$0.11/MB",
        ] {
            assert_eq!(rate(text), None, "{text}");
        }
    }

    #[test]
    fn units_never_come_to_more_than_the_most() {
        let meter: Meter = "$0.03/event".parse().unwrap();
        let rate = meter.rate(Amount::from_atomic(100_000), 6).unwrap();
        assert_eq!(rate.most, 3);
        let charge = |units| rate.charge(units).as_u128().unwrap();
        assert_eq!([charge(0), charge(3), charge(4)], [0, 90_000, 90_000]);
        assert_eq!(charge(u64::MAX), 90_000);
    }

    #[test]
    fn an_answer_that_cannot_be_counted_is_not_handed_out() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                let name = http::HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            pairs.collect::<HeaderMap>()
        };
        let most = Amount::from_atomic(100_000);
        let rate = |text: &str| text.parse::<Meter>().unwrap().rate(most, 6).unwrap();
        let events = rate("$0.001/event");
        let stream = ("content-type", "Text/Event-Stream; charset=utf-8");
        assert_eq!(events.unfit(&headers(&[stream])), None);
        for bad in [
            headers(&[]),
            headers(&[("content-type", "application/json")]),
            headers(&[stream, ("content-encoding", "gzip")]),
        ] {
            assert!(events.unfit(&bad).is_some(), "{bad:?}");
        }
        let bytes = rate("$0.01/kB");
        assert_eq!(bytes.unfit(&headers(&[("content-encoding", "gzip")])), None);
        assert_eq!(bytes.unfit(&headers(&[("content-length", "10000")])), None);
        let long = headers(&[("content-length", "10001")]);
        assert!(bytes.unfit(&long).is_some());
    }
}
