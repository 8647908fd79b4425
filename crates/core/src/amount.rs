//! Money as an integer of atomic units.

use std::fmt;
use std::str::FromStr;

use ruint::aliases::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of an asset's atomic units (for USDC: millionths of a dollar).
///
/// On the wire it is a decimal string. It carries no unit of its own: the
/// asset stands beside it wherever it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(U256);

/// Why a text is not an amount of atomic units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Empty, signed, fractional, padded with zeros, or with a foreign digit.
    #[error("an amount is a decimal integer of atomic units without sign, point or leading zeros")]
    NotAnInteger,
    /// More than 2^256 - 1.
    #[error("an amount must fit in 256 bits")]
    TooLarge,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);
    /// The largest amount, 2^256 - 1.
    pub const MAX: Self = Self(U256::MAX);

    /// An amount from a number of atomic units.
    #[must_use]
    pub fn from_atomic(units: u128) -> Self {
        Self(U256::from(units))
    }

    /// The number of atomic units.
    #[must_use]
    pub fn as_u256(self) -> U256 {
        self.0
    }

    /// The number of atomic units where it fits in 128 bits.
    #[must_use]
    pub fn as_u128(self) -> Option<u128> {
        u128::try_from(self.0).ok()
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Sum, unless it overflows.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Difference, unless it is negative.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Product, unless it overflows.
    #[must_use]
    pub fn checked_mul(self, factor: u64) -> Option<Self> {
        self.0.checked_mul(U256::from(factor)).map(Self)
    }

    /// So many parts of a whole, rounded down, unless that overflows.
    #[must_use]
    pub fn share(self, parts: u64, whole: u64) -> Option<Self> {
        let product = self.0.checked_mul(U256::from(parts))?;
        product.checked_div(U256::from(whole)).map(Self)
    }

    /// The amount in whole units as people write it, without trailing zeros:
    /// `Amount::from_atomic(10_000).to_decimal(6)` is `0.01`.
    #[must_use]
    pub fn to_decimal(self, decimals: u8) -> String {
        let digits = self.0.to_string();
        let places = usize::from(decimals);
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = padded.split_at(padded.len() - places);
        match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            rest => format!("{whole}.{rest}"),
        }
    }
}

impl From<U256> for Amount {
    fn from(units: U256) -> Self {
        Self(units)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let canonical = !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        if !canonical {
            return Err(AmountError::NotAnInteger);
        }
        // 2^256 has 78 digits.
        if text.len() > 78 {
            return Err(AmountError::TooLarge);
        }
        U256::from_str_radix(text, 10)
            .map(Self)
            .map_err(|_| AmountError::TooLarge)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
