//! Prices as people write them, made into atomic units without floats.
//!
//! `$0.10`, `0.10`, `0.10 USDC`, `0.10 0x036C…` and `{"amount":"100000","asset":"0x…"}`
//! are prices. A price that an asset cannot express exactly is refused, never rounded.
//!
//! ```
//! use tollway_core::{Amount, Network, assets::AssetTable, money::Price};
//!
//! let price: Price = "$0.01".parse()?;
//! let table = AssetTable::builtin();
//! let priced = price.resolve(&Network::resolve("base-sepolia").unwrap(), &table)?;
//! assert_eq!(priced.amount, Amount::from_atomic(10_000));
//! assert_eq!(priced.spelling, "0x036CbD53842c5426634e7929541eC2318f3dCF7e");
//! # Ok::<(), tollway_core::money::MoneyError>(())
//! ```

use std::fmt;
use std::str::FromStr;

use ruint::aliases::U256;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::assets::{AssetInfo, AssetTable};
use crate::wire::Object;
use crate::{Address, Amount, AmountError, Network, NetworkError, Refusal, codes};

/// Longest price text in bytes.
const MAX_TEXT: usize = 160;
/// Most digits: what 256 bits can hold.
const MAX_DIGITS: usize = 77;

/// Why a price means no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a number with an optional `$` before and an optional symbol after it.
    #[error("`{0}` is not a price; write it like $0.10, 0.10 or 0.10 USDC")]
    Format(String),
    /// Zero, without having been asked for.
    #[error("a price of zero is not asked for; write `free` if the route is to be free")]
    Zero,
    /// More digits after the point than the asset has.
    #[error("{symbol} has {decimals} digits after the point, and the price has more; round it")]
    TooPrecise {
        /// The asset.
        symbol: String,
        /// What it has.
        decimals: u8,
    },
    /// More than 2^256 - 1 atomic units.
    #[error("the price does not fit in 256 bits; write a smaller one")]
    TooLarge,
    /// No asset stands for plain dollars on this network.
    #[error("no default asset is known on {0}; name an asset, or add one to the configuration")]
    NoDefault(Network),
    /// The symbol is not known on this network.
    #[error(
        "no asset called {symbol} is known on {network}; give its contract, or add it to the configuration"
    )]
    UnknownSymbol {
        /// The symbol.
        symbol: String,
        /// Where it was looked for.
        network: Network,
    },
    /// A decimal price in an asset whose decimals are not known.
    #[error(
        "the decimals of {asset} on {network} are not known; give the amount in atomic units, or add the asset to the configuration"
    )]
    UnknownAsset {
        /// The contract.
        asset: Address,
        /// Where it was looked for.
        network: Network,
    },
    /// An atomic amount without its asset.
    #[error("an amount in atomic units needs its asset; add the contract")]
    NoAsset,
    /// An atomic amount that is none.
    #[error(transparent)]
    Atomic(#[from] AmountError),
    /// A contract that is none.
    #[error(transparent)]
    Address(#[from] NetworkError),
}

impl From<MoneyError> for Refusal {
    fn from(error: MoneyError) -> Self {
        Self::new(codes::INVALID_PRICE, error.to_string())
    }
}

/// A decimal number as it was written: digits and a scale, never a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    digits: U256,
    scale: u8,
}

impl Decimal {
    /// The decimal that a JSON or TOML number was written as, as far as its
    /// shortest text tells: `0.1` is `0.1`, and `1e-7` is `0.0000001`.
    ///
    /// # Errors
    /// [`MoneyError::Format`] for negative numbers, NaN, infinity, and more digits
    /// than 77.
    pub fn from_f64(number: f64) -> Result<Self, MoneyError> {
        number.to_string().parse()
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.digits.is_zero()
    }

    /// How many digits were written after the point.
    #[must_use]
    pub const fn scale(&self) -> u8 {
        self.scale
    }

    /// In atomic units of an asset with so many decimals; `None` if it was written
    /// with more digits after the point than that, or is too large.
    #[must_use]
    pub fn to_atomic(self, decimals: u8) -> Option<Amount> {
        let missing = decimals.checked_sub(self.scale)?;
        let factor = U256::from(10).checked_pow(U256::from(missing))?;
        self.digits.checked_mul(factor).map(Amount::from)
    }
}

impl FromStr for Decimal {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let wrong = || MoneyError::Format(text.chars().take(40).collect());
        let (whole, fraction) = match text.split_once('.') {
            None => (text, ""),
            Some((_, "")) => return Err(wrong()),
            Some(parts) => parts,
        };
        let digits = format!("{whole}{fraction}");
        let plain = !whole.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let significant = digits.trim_start_matches('0');
        if !plain || significant.len() > MAX_DIGITS || fraction.len() > MAX_DIGITS {
            return Err(wrong());
        }
        Ok(Self {
            digits: U256::from_str_radix(&digits, 10).map_err(|_| wrong())?,
            scale: u8::try_from(fraction.len()).map_err(|_| wrong())?,
        })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = usize::from(self.scale);
        let padded = format!("{:0>width$}", self.digits.to_string(), width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        f.write_str(whole)?;
        if scale > 0 {
            write!(f, ".{fraction}")?;
        }
        Ok(())
    }
}

/// A price as somebody wrote it, not yet bound to a network.
#[derive(Clone, Debug, PartialEq)]
pub enum Price {
    /// The word `free`: nothing is to be paid, and that is meant.
    Free,
    /// In whole units.
    Decimal {
        /// How many.
        amount: Decimal,
        /// Of what: a symbol or a contract; without, the network's default asset.
        asset: Option<String>,
    },
    /// In atomic units of a contract.
    Atomic {
        /// How many.
        amount: Amount,
        /// The contract.
        asset: String,
        /// What the requirements are to carry in `extra`, instead of the table's.
        extra: Option<Object>,
    },
}

/// A price on a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Priced<'a> {
    /// The contract.
    pub asset: Address,
    /// The contract as it is to be written on the wire.
    pub spelling: String,
    /// Atomic units.
    pub amount: Amount,
    /// The asset's row, where it has one.
    pub info: Option<&'a AssetInfo>,
    /// For `extra` of the requirements.
    pub extra: Object,
}

impl Price {
    /// A price from JSON (or TOML made into it): a text, a number, or
    /// `{"amount": "12345", "asset": "0x…", "extra"?: {…}}` in atomic units.
    ///
    /// # Errors
    /// [`MoneyError`] if it is none of these.
    pub fn from_json(value: &Value) -> Result<Self, MoneyError> {
        match value {
            Value::String(text) => text.parse(),
            Value::Number(number) => Ok(Self::Decimal {
                amount: match number.as_f64().filter(|_| number.is_f64()) {
                    Some(float) => Decimal::from_f64(float)?,
                    None => number.to_string().parse()?,
                },
                asset: None,
            }),
            Value::Object(object) => Self::from_object(object),
            _ => Err(MoneyError::Format(
                value.to_string().chars().take(40).collect(),
            )),
        }
    }

    fn from_object(object: &Object) -> Result<Self, MoneyError> {
        let text = |key| object.get(key).and_then(Value::as_str);
        Ok(Self::Atomic {
            amount: text("amount").unwrap_or_default().parse()?,
            asset: text("asset").ok_or(MoneyError::NoAsset)?.to_owned(),
            extra: object.get("extra").and_then(Value::as_object).cloned(),
        })
    }

    /// Whether it is the word `free`.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    /// What the price is on a network. `free` is zero of the default asset.
    ///
    /// # Errors
    /// [`MoneyError`] if the asset is not known or cannot express the price.
    pub fn resolve<'a>(
        &self,
        network: &Network,
        assets: &'a AssetTable,
    ) -> Result<Priced<'a>, MoneyError> {
        match self {
            Self::Free => Ok(priced(find(network, assets, None)?, Amount::ZERO)),
            Self::Decimal { amount, asset } => {
                let info = find(network, assets, asset.as_deref())?;
                Ok(priced(info, scale(amount, info)?))
            }
            Self::Atomic {
                amount,
                asset,
                extra,
            } => {
                if amount.is_zero() {
                    return Err(MoneyError::Zero);
                }
                let address = network.address(asset)?;
                let info = assets.find(network, &address);
                Ok(Priced {
                    spelling: asset.clone(),
                    amount: *amount,
                    extra: match extra {
                        Some(extra) => extra.clone(),
                        None => info.map(AssetInfo::extra).unwrap_or_default(),
                    },
                    asset: address,
                    info,
                })
            }
        }
    }
}

fn priced(info: &AssetInfo, amount: Amount) -> Priced<'_> {
    Priced {
        asset: info.address.clone(),
        spelling: info.spelling.clone().into_owned(),
        amount,
        extra: info.extra(),
        info: Some(info),
    }
}

fn find<'a>(
    network: &Network,
    assets: &'a AssetTable,
    name: Option<&str>,
) -> Result<&'a AssetInfo, MoneyError> {
    let Some(name) = name else {
        return assets
            .default_for(network)
            .ok_or_else(|| MoneyError::NoDefault(network.clone()));
    };
    if let Some(info) = assets.by_symbol(network, name) {
        return Ok(info);
    }
    match network.address(name) {
        Ok(asset) => assets
            .find(network, &asset)
            .ok_or_else(|| MoneyError::UnknownAsset {
                asset,
                network: network.clone(),
            }),
        Err(_) => Err(MoneyError::UnknownSymbol {
            symbol: name.to_owned(),
            network: network.clone(),
        }),
    }
}

fn scale(amount: &Decimal, info: &AssetInfo) -> Result<Amount, MoneyError> {
    if amount.is_zero() {
        return Err(MoneyError::Zero);
    }
    if amount.scale() > info.decimals {
        return Err(MoneyError::TooPrecise {
            symbol: info.symbol.clone().into_owned(),
            decimals: info.decimals,
        });
    }
    amount.to_atomic(info.decimals).ok_or(MoneyError::TooLarge)
}

impl FromStr for Price {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let wrong = || MoneyError::Format(text.chars().take(40).collect());
        if text.len() > MAX_TEXT {
            return Err(wrong());
        }
        let price = text.trim_matches(' ');
        if price.eq_ignore_ascii_case("free") {
            return Ok(Self::Free);
        }
        let plain = price
            .strip_prefix('$')
            .unwrap_or(price)
            .trim_start_matches(' ');
        let (number, asset) = match plain.split_once(' ') {
            None => (plain, None),
            Some((number, rest)) => (number, Some(rest.trim_start_matches(' '))),
        };
        if asset.is_some_and(|name| !is_asset_name(name)) {
            return Err(wrong());
        }
        Ok(Self::Decimal {
            amount: number.parse().map_err(|_| wrong())?,
            asset: asset.map(str::to_owned),
        })
    }
}

/// A symbol starts with a letter (`USDC.e`); a contract starts with `0x`, or is base58.
fn is_asset_name(name: &str) -> bool {
    let symbol = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    let hex = name
        .strip_prefix("0x")
        .is_some_and(|d| (1..=64).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_hexdigit()));
    let base58 = (32..=44).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    symbol || hex || base58
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("free"),
            Self::Decimal {
                amount,
                asset: None,
            } => write!(f, "${amount}"),
            Self::Decimal {
                amount,
                asset: Some(asset),
            } => write!(f, "{amount} {asset}"),
            Self::Atomic { amount, asset, .. } => write!(f, "{amount} atomic units of {asset}"),
        }
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, chain_id: u64) -> Result<String, MoneyError> {
        let assets = AssetTable::builtin();
        let price: Price = text.parse()?;
        price
            .resolve(&Network::eip155(chain_id), &assets)
            .map(|p| format!("{} {}", p.amount, p.spelling))
    }

    #[test]
    fn an_asset_can_be_named_by_symbol_or_contract() {
        let usdc = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
        let expected = Ok(format!("10000 {usdc}"));
        assert_eq!(resolve("$0.01", 84532), expected);
        assert_eq!(resolve("0.01 usdc", 84532), expected);
        assert_eq!(
            resolve(&format!("0.01 {}", usdc.to_lowercase()), 84532),
            expected
        );
        assert!(matches!(
            resolve("1 0x0000000000000000000000000000000000000001", 84532),
            Err(MoneyError::UnknownAsset { .. })
        ));
    }

    #[test]
    fn zero_is_free_only_where_the_word_says_so() {
        assert_eq!(resolve("0", 84532), Err(MoneyError::Zero));
        assert_eq!(resolve("$0.00", 84532), Err(MoneyError::Zero));
        assert!(resolve("free", 84532).unwrap().starts_with("0 "));
    }

    #[test]
    fn the_largest_price_fits_and_the_next_digit_does_not() {
        let nines = |n: usize| "9".repeat(n);
        assert!(resolve(&nines(71), 84532).is_ok());
        assert_eq!(resolve(&nines(77), 84532), Err(MoneyError::TooLarge));
        assert!(matches!(
            resolve(&nines(78), 84532),
            Err(MoneyError::Format(_))
        ));
    }
}
