//! The ways to pay by name, and which of them a buyer prefers.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use tollway_core::assets::Method;
use tollway_core::{Scheme, Terms};

/// A way to pay that a buyer can prefer or leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PayMethod {
    /// EIP-3009 authorizations.
    Eip3009,
    /// Permit2 transfers of the stated amount.
    Permit2,
    /// Permit2 transfers of what was used, at most the stated amount.
    Upto,
    /// ERC-7710 delegations.
    Erc7710,
    /// EIP-2612 permits for the payee's settler.
    Eip2612,
    /// A transaction of the buyer's own, shown as proof: the money is gone before
    /// the goods are made.
    Txid,
}

/// Why a text names no way to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a method is one of eip3009, permit2, upto, erc7710, eip2612 and txid; write one of them")]
pub struct PayMethodError;

impl PayMethod {
    /// All of them, in the order of preference that holds where none is set.
    pub const ALL: [Self; 6] = [
        Self::Eip3009,
        Self::Permit2,
        Self::Upto,
        Self::Erc7710,
        Self::Eip2612,
        Self::Txid,
    ];

    /// All of them, these first.
    #[must_use]
    pub fn preferring(first: &[Self]) -> Vec<Self> {
        let rest = Self::ALL.into_iter().filter(|m| !first.contains(m));
        let mut all = first.to_vec();
        all.extend(rest);
        all
    }

    /// How terms are paid; `None` where the family knows only one way, which has
    /// no name, or where the name is not known.
    #[must_use]
    pub fn of(terms: &Terms) -> Option<Self> {
        if terms.scheme == Scheme::Upto {
            return Some(Self::Upto);
        }
        Some(match terms.transfer_method()? {
            Method::Eip3009 => Self::Eip3009,
            Method::Permit2 => Self::Permit2,
            Method::Erc7710 => Self::Erc7710,
            Method::Eip2612 => Self::Eip2612,
            Method::Txid => Self::Txid,
        })
    }

    /// The name that people and programs write.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eip3009 => "eip3009",
            Self::Permit2 => "permit2",
            Self::Upto => "upto",
            Self::Erc7710 => "erc7710",
            Self::Eip2612 => "eip2612",
            Self::Txid => "txid",
        }
    }
}

impl FromStr for PayMethod {
    type Err = PayMethodError;

    fn from_str(text: &str) -> Result<Self, PayMethodError> {
        let named = Self::ALL.into_iter().find(|m| m.as_str() == text);
        named.ok_or(PayMethodError)
    }
}

impl fmt::Display for PayMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
