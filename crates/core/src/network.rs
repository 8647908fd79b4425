//! Networks by their CAIP-2 name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::networks::{NETWORKS, NetworkInfo};
use crate::{Address, TxHash};

/// A chain family: what decides the shape of accounts and signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `eip155:*`
    Evm,
    /// `starknet:*`
    Starknet,
    /// `solana:*`: understood, and refused for now.
    Solana,
}

/// A network by its CAIP-2 name, such as `eip155:84532`.
///
/// Parsing takes CAIP-2 only; [`Network::resolve`] also takes the names people
/// and x402 v1 use (`base-sepolia`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Network(String);

/// Why a text names no network or no account on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not `namespace:reference` with a namespace that we know.
    #[error(
        "`{0}` is not a network; write a CAIP-2 name such as eip155:8453, or a known name such as base"
    )]
    Unknown(String),
    /// Not an account or contract of the network.
    #[error("`{text}` is not an address on {network}; write {shape}")]
    Address {
        /// The text, shortened.
        text: String,
        /// The network it was meant for.
        network: String,
        /// What one looks like.
        shape: &'static str,
    },
}

impl Network {
    /// An EVM chain by its chain id.
    #[must_use]
    pub fn eip155(chain_id: u64) -> Self {
        Self(format!("eip155:{chain_id}"))
    }

    /// A network by any of its names: CAIP-2, x402 v1 (`base-sepolia`), or another
    /// name that people type (`mainnet`, `op`). Case and outer spaces do not matter.
    ///
    /// # Errors
    /// [`NetworkError::Unknown`] if no network is called so.
    pub fn resolve(text: &str) -> Result<Self, NetworkError> {
        let text = text.trim();
        match NETWORKS.iter().find(|info| info.is_called(text)) {
            Some(info) => Ok(Self(info.caip2.to_owned())),
            None => text.parse(),
        }
    }

    /// A network by its x402 v1 name, and by that only.
    #[must_use]
    pub fn from_v1(name: &str) -> Option<Self> {
        let info = NETWORKS.iter().find(|info| info.v1_name == Some(name))?;
        Some(Self(info.caip2.to_owned()))
    }

    /// What the network table knows about it.
    #[must_use]
    pub fn info(&self) -> Option<&'static NetworkInfo> {
        NETWORKS.iter().find(|info| info.caip2 == self.0)
    }

    /// Its name in x402 v1, where it has one.
    #[must_use]
    pub fn v1_name(&self) -> Option<&'static str> {
        self.info()?.v1_name
    }

    /// Where people can look at a transaction, where an explorer is known.
    #[must_use]
    pub fn explorer_tx(&self, hash: &TxHash) -> Option<String> {
        Some(format!("{}{hash}", self.info()?.explorer_tx?))
    }

    /// The CAIP-2 name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The family that the namespace names.
    #[must_use]
    pub fn family(&self) -> Family {
        match self.0.split(':').next() {
            Some("starknet") => Family::Starknet,
            Some("solana") => Family::Solana,
            _ => Family::Evm,
        }
    }

    /// The EVM chain id, on an EVM network.
    #[must_use]
    pub fn chain_id(&self) -> Option<u64> {
        self.0.strip_prefix("eip155:")?.parse().ok()
    }

    /// The canonical spelling of an account or contract on this network.
    ///
    /// # Errors
    /// [`NetworkError::Address`] if the text does not name one.
    pub fn address(&self, text: &str) -> Result<Address, NetworkError> {
        let digits = text
            .strip_prefix("0x")
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let canonical = match (self.family(), digits) {
            (Family::Evm, Some(d)) if d.len() == 40 => {
                Some(format!("0x{}", d.to_ascii_lowercase()))
            }
            (Family::Starknet, Some(d)) if (1..=64).contains(&d.len()) => starknet_address(d),
            (Family::Solana, _) if solana_shaped(text) => Some(text.to_owned()),
            _ => None,
        };
        canonical
            .map(Address::from_canonical)
            .ok_or_else(|| NetworkError::Address {
                text: text.chars().take(80).collect(),
                network: self.0.clone(),
                shape: self.address_shape(),
            })
    }

    fn address_shape(&self) -> &'static str {
        match self.family() {
            Family::Evm => "0x and 40 hex digits",
            Family::Starknet => "0x and up to 64 hex digits, below the field prime",
            Family::Solana => "32 to 44 base58 characters",
        }
    }
}

/// Drops leading zeros; refuses values that are not below the field prime
/// 2^251 + 17 * 2^192 + 1.
fn starknet_address(digits: &str) -> Option<String> {
    const PRIME: &str = "0800000000000011000000000000000000000000000000000000000000000001";
    let lower = digits.to_ascii_lowercase();
    let padded = format!("{lower:0>64}");
    if padded.as_str() >= PRIME {
        return None;
    }
    let trimmed = lower.trim_start_matches('0');
    Some(format!(
        "0x{}",
        if trimmed.is_empty() { "0" } else { trimmed }
    ))
}

fn solana_shaped(text: &str) -> bool {
    const BASE58: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    (32..=44).contains(&text.len()) && text.chars().all(|c| BASE58.contains(c))
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let unknown = || NetworkError::Unknown(text.chars().take(80).collect());
        let (namespace, reference) = text.split_once(':').ok_or_else(unknown)?;
        let fits = match namespace {
            "eip155" => reference
                .parse::<u64>()
                .is_ok_and(|id| id > 0 && id.to_string() == reference),
            "starknet" | "solana" => {
                (1..=64).contains(&reference.len())
                    && reference
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            }
            _ => false,
        };
        fits.then(|| Self(text.to_owned())).ok_or_else(unknown)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
