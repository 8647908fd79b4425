//! Accounts and contracts as canonical text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An account or contract, spelled canonically for its network so that equal
/// accounts are equal texts: EVM lower-case `0x` and 40 digits, Starknet
/// lower-case `0x` without leading zeros.
///
/// Only [`crate::Network::address`] makes one from foreign text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    pub(crate) fn from_canonical(text: String) -> Self {
        Self(text)
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
