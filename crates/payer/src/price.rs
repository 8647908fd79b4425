//! Prices in whole units, so that offers in different assets can be compared.

use std::fmt;
use std::str::FromStr;

use tollway_core::Amount;
use tollway_core::money::Decimal;

/// Digits after the point that are kept. No known asset has more.
const PLACES: u8 = tollway_ledger::PRICE_PLACES;

/// A price in whole units of whatever asset is paid: `0.02` is two cents of any
/// dollar. The built-in asset table holds dollars only; whoever adds an asset
/// of another worth compares it like a dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitPrice(Amount);

/// Why a text is not a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a price is a number such as 0.02, with at most 18 digits after the point; write it like that"
)]
pub struct UnitPriceError;

impl UnitPrice {
    /// The price of an amount of an asset with so many decimals; `None` where
    /// it has more than 18 or the product overflows.
    #[must_use]
    pub fn of(amount: Amount, decimals: u8) -> Option<Self> {
        let up = PLACES.checked_sub(decimals)?;
        amount.checked_mul(10_u64.pow(u32::from(up))).map(Self)
    }

    /// The price in [`tollway_ledger::PRICE_PLACES`] places of a whole unit.
    #[must_use]
    pub const fn amount(self) -> Amount {
        self.0
    }

    /// From [`tollway_ledger::PRICE_PLACES`] places of a whole unit.
    #[must_use]
    pub const fn from_amount(amount: Amount) -> Self {
        Self(amount)
    }

    /// So many hundredths of a unit: `UnitPrice::cents(10)` is `0.1`.
    #[must_use]
    pub fn cents(cents: u32) -> Self {
        Self(Amount::from_atomic(u128::from(cents) * 10_u128.pow(16)))
    }
}

impl FromStr for UnitPrice {
    type Err = UnitPriceError;

    fn from_str(text: &str) -> Result<Self, UnitPriceError> {
        let text = text.strip_prefix('$').unwrap_or(text);
        let decimal: Decimal = text.parse().map_err(|_| UnitPriceError)?;
        decimal.to_atomic(PLACES).map(Self).ok_or(UnitPriceError)
    }
}

impl fmt::Display for UnitPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_decimal(PLACES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_compare_across_decimals() {
        let six = UnitPrice::of(Amount::from_atomic(20_000), 6).unwrap();
        let eighteen = UnitPrice::of(Amount::from_atomic(20_000_000_000_000_001), 18).unwrap();
        let typed: UnitPrice = "$0.02".parse().unwrap();
        assert_eq!(six, typed);
        assert!(typed < eighteen);
        assert_eq!(typed.to_string(), "0.02");
    }

    #[test]
    fn what_is_not_a_plain_decimal_is_no_price() {
        for text in [
            "",
            "$",
            ".5",
            "5.",
            "-1",
            "+1",
            "1e3",
            "0,02",
            "１",
            " 1",
            "1.0000000000000000001",
        ] {
            assert_eq!(text.parse::<UnitPrice>(), Err(UnitPriceError), "{text}");
        }
    }

    #[test]
    fn an_amount_too_large_to_compare_has_no_price() {
        assert_eq!(UnitPrice::of(Amount::MAX, 6), None);
        assert_eq!(UnitPrice::of(Amount::from_atomic(1), 19), None);
    }
}
