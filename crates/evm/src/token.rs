//! The tokens that are settled here: our own table, hashed once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};

use alloy_primitives::Address;

use tollway_core::Network;
use tollway_core::assets::{AssetInfo, AssetTable, Method};

use crate::typed_data::Domain;

/// A token of our own table, with what the chain said about it.
#[derive(Debug)]
pub(crate) struct Token {
    pub address: Address,
    pub name: String,
    pub version: String,
    pub domain: Domain,
    state: AtomicU8,
}

/// What the chain said about a token when it was last asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// Not asked yet, or it could not say.
    Unknown,
    /// Its domain separator is the one that we compute.
    Good,
    /// There is no contract.
    NoCode,
    /// Its domain separator is another one.
    OtherDomain,
}

impl Token {
    pub fn new(address: Address, name: &str, version: &str, chain_id: u64) -> Self {
        Self {
            address,
            name: name.to_owned(),
            version: version.to_owned(),
            domain: Domain::new(name, version, chain_id, address),
            state: AtomicU8::new(0),
        }
    }

    pub fn state(&self) -> TokenState {
        match self.state.load(Ordering::Acquire) {
            1 => TokenState::Good,
            2 => TokenState::NoCode,
            3 => TokenState::OtherDomain,
            _ => TokenState::Unknown,
        }
    }

    pub fn set_state(&self, state: TokenState) {
        let code = match state {
            TokenState::Unknown => 0,
            TokenState::Good => 1,
            TokenState::NoCode => 2,
            TokenState::OtherDomain => 3,
        };
        self.state.store(code, Ordering::Release);
    }
}

/// The tokens of one network by address.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<Address, Token>);

impl Tokens {
    /// The tokens of a network that move by EIP-3009 and whose domain is known.
    pub fn from_table(table: &AssetTable, network: &Network, chain_id: u64) -> Self {
        let token = |row: &AssetInfo| {
            row.methods.contains(&Method::Eip3009).then_some(())?;
            let (name, version) = (row.name.as_deref()?, row.version.as_deref()?);
            let address = row.address.as_str().parse().ok()?;
            Some(Token::new(address, name, version, chain_id))
        };
        let tokens = table.on(network).filter_map(token);
        Self(tokens.map(|t| (t.address, t)).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, address: &Address) -> Option<&Token> {
        self.0.get(address)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.0.values()
    }
}
