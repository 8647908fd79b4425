//! The tokens that are settled here: our own table, hashed once.

use std::borrow::Cow;
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
    methods: Cow<'static, [Method]>,
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
    fn of(row: &AssetInfo, chain_id: u64) -> Option<Self> {
        if row.methods.is_empty() {
            return None;
        }
        let (name, version) = (row.name.as_deref()?, row.version.as_deref()?);
        let address = row.address.as_str().parse().ok()?;
        Some(Self {
            address,
            name: name.to_owned(),
            version: version.to_owned(),
            domain: Domain::new(name, version, chain_id, address),
            methods: row.methods.clone(),
            state: AtomicU8::new(0),
        })
    }

    /// Whether it is settled by a method. Every token has transfers that can be
    /// shown as proof, and that an account can make for another.
    pub fn moves_by(&self, method: Method) -> bool {
        matches!(method, Method::Txid | Method::Erc7710) || self.methods.contains(&method)
    }

    /// Whether anything is signed in its own domain.
    pub fn signs_itself(&self) -> bool {
        [Method::Eip3009, Method::Eip2612]
            .iter()
            .any(|method| self.methods.contains(method))
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
    /// The tokens of a network that can be moved and whose domain is known.
    pub fn from_table(table: &AssetTable, network: &Network, chain_id: u64) -> Self {
        let tokens = table.on(network).filter_map(|row| Token::of(row, chain_id));
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
