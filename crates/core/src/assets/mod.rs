//! Assets: which contract is which money, with how many decimals.
//!
//! What a server says about decimals or names is never believed; this table, or
//! the operator's configuration added to it, is.

mod builtin;

use std::borrow::Cow;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::wire::Object;
use crate::{Address, Network};

/// How value is moved (`extra.assetTransferMethod`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// EIP-3009 `transferWithAuthorization`; the default on EVM networks.
    Eip3009,
    /// Permit2 `permitWitnessTransferFrom` through the x402 proxy.
    Permit2,
    /// ERC-7710 delegation.
    Erc7710,
    /// EIP-2612 `permit` and `transferFrom`; our own.
    Eip2612,
    /// A transaction that exists already, shown as proof; our own.
    Txid,
}

impl Method {
    /// The wire spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eip3009 => "eip3009",
            Self::Permit2 => "permit2",
            Self::Erc7710 => "erc7710",
            Self::Eip2612 => "eip2612",
            Self::Txid => "txid",
        }
    }

    /// From the wire spelling.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Self> {
        [
            Self::Eip3009,
            Self::Permit2,
            Self::Erc7710,
            Self::Eip2612,
            Self::Txid,
        ]
        .into_iter()
        .find(|m| m.as_str() == text)
    }

    /// Whether it is ours rather than x402's; such entries come last in `accepts`.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Eip2612 | Self::Txid)
    }
}

/// What is known about an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetInfo {
    /// Where.
    pub network: Network,
    /// What people call it, such as `USDC`.
    pub symbol: Cow<'static, str>,
    /// Its contract.
    pub address: Address,
    /// The contract as it is written on the wire (checksummed on EVM).
    pub spelling: Cow<'static, str>,
    /// Digits after the point: 6 for USDC.
    pub decimals: u8,
    /// EIP-712 domain name, where it has one and it is known.
    pub name: Option<Cow<'static, str>>,
    /// EIP-712 domain version.
    pub version: Option<Cow<'static, str>>,
    /// Whether name and version come from a table that deployed clients use;
    /// otherwise they are to be read from the chain first.
    pub verified: bool,
    /// Ways to move it, the default first; empty where the family names none.
    pub methods: Cow<'static, [Method]>,
}

impl AssetInfo {
    /// What requirements for this asset carry in `extra`: the EIP-712 `name` and
    /// `version`, and `assetTransferMethod` where the default is not EIP-3009.
    #[must_use]
    pub fn extra(&self) -> Object {
        let texts = [("name", &self.name), ("version", &self.version)];
        let mut extra: Object = texts
            .into_iter()
            .filter_map(|(key, text)| Some((key.to_owned(), text.as_deref()?.into())))
            .collect();
        match self.methods.first() {
            None | Some(Method::Eip3009) => {}
            Some(method) => {
                extra.insert("assetTransferMethod".to_owned(), method.as_str().into());
            }
        }
        extra
    }
}

/// The assets that this program deals in: the built-in ones and configured ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetTable {
    rows: Vec<AssetInfo>,
}

impl AssetTable {
    /// What is known without configuration.
    #[must_use]
    pub fn builtin() -> Self {
        BUILTIN.clone()
    }

    /// A table without a row, for programs that deal in configured assets only.
    #[must_use]
    pub const fn empty() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds an asset, or replaces the row of the same network and contract.
    #[must_use]
    pub fn with(mut self, asset: AssetInfo) -> Self {
        let same =
            |row: &&mut AssetInfo| row.network == asset.network && row.address == asset.address;
        match self.rows.iter_mut().find(same) {
            Some(row) => *row = asset,
            None => self.rows.push(asset),
        }
        self
    }

    /// The asset of a contract.
    #[must_use]
    pub fn find(&self, network: &Network, address: &Address) -> Option<&AssetInfo> {
        self.on(network).find(|row| row.address == *address)
    }

    /// The asset that people call so on a network; case does not matter, and `USD`
    /// is the network's default.
    #[must_use]
    pub fn by_symbol(&self, network: &Network, symbol: &str) -> Option<&AssetInfo> {
        if symbol.eq_ignore_ascii_case("USD") {
            return self.default_for(network);
        }
        self.on(network)
            .find(|row| row.symbol.eq_ignore_ascii_case(symbol))
    }

    /// What a price without a symbol means on a network.
    #[must_use]
    pub fn default_for(&self, network: &Network) -> Option<&AssetInfo> {
        self.on(network).next()
    }

    /// All assets of a network, the default first.
    pub fn on<'t, 'n>(
        &'t self,
        network: &'n Network,
    ) -> impl Iterator<Item = &'t AssetInfo> + use<'t, 'n> {
        self.rows.iter().filter(move |row| row.network == *network)
    }

    /// All assets.
    pub fn iter(&self) -> impl Iterator<Item = &AssetInfo> {
        self.rows.iter()
    }
}

impl Default for AssetTable {
    fn default() -> Self {
        Self::builtin()
    }
}

static BUILTIN: LazyLock<AssetTable> = LazyLock::new(|| AssetTable {
    rows: builtin::ROWS.iter().filter_map(info).collect(),
});

/// A row whose network or address were malformed would be left out; a test
/// holds that none is.
fn info(row: &builtin::Row) -> Option<AssetInfo> {
    let network: Network = row.network.parse().ok()?;
    let address = network.address(row.address).ok()?;
    Some(AssetInfo {
        network,
        symbol: Cow::Borrowed(row.symbol),
        address,
        spelling: Cow::Borrowed(row.address),
        decimals: row.decimals,
        name: row.domain.map(|(name, _)| Cow::Borrowed(name)),
        version: row.domain.map(|(_, version)| Cow::Borrowed(version)),
        verified: row.verified,
        methods: Cow::Borrowed(row.methods),
    })
}

/// The built-in asset of a contract.
#[must_use]
pub fn find(network: &Network, address: &Address) -> Option<&'static AssetInfo> {
    BUILTIN.find(network, address)
}

/// The built-in asset that people call so on a network.
#[must_use]
pub fn by_symbol(network: &Network, symbol: &str) -> Option<&'static AssetInfo> {
    BUILTIN.by_symbol(network, symbol)
}

/// The built-in default asset of a network.
#[must_use]
pub fn default_for(network: &Network) -> Option<&'static AssetInfo> {
    BUILTIN.default_for(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_usable_and_its_network_is_known_by_name() {
        assert_eq!(BUILTIN.rows.len(), builtin::ROWS.len());
        assert_eq!(BUILTIN.rows.len(), 39);
        for row in BUILTIN.iter() {
            assert!(row.network.info().is_some(), "{}", row.network);
            assert_eq!(find(&row.network, &row.address), Some(row));
            assert_eq!(by_symbol(&row.network, &row.symbol), Some(row));
        }
    }

    #[test]
    fn usdc_of_base_sepolia_is_what_clients_sign_for() {
        let network = Network::eip155(84532);
        let usdc = by_symbol(&network, "usdc").unwrap();
        assert_eq!(usdc, default_for(&network).unwrap());
        assert_eq!(usdc.decimals, 6);
        assert_eq!(
            serde_json::to_value(usdc.extra()).unwrap(),
            serde_json::json!({"name": "USDC", "version": "2"})
        );
    }

    #[test]
    fn assets_whose_domain_nobody_confirmed_say_so() {
        let unverified: Vec<_> = BUILTIN
            .iter()
            .filter(|row| !row.verified)
            .filter_map(|row| row.network.chain_id())
            .collect();
        assert_eq!(unverified, [11_155_111, 10, 11_155_420, 10_143]);
    }

    #[test]
    fn a_configured_asset_replaces_the_row_of_the_same_contract() {
        let network = Network::eip155(84532);
        let mut own = default_for(&network).unwrap().clone();
        own.symbol = Cow::Owned("TUSD".to_owned());
        let table = AssetTable::builtin().with(own.clone());
        assert_eq!(table.find(&network, &own.address), Some(&own));
        assert_eq!(table.by_symbol(&network, "USDC"), None);
        own.address = network.address(&format!("0x{:040x}", 7)).unwrap();
        let table = AssetTable::empty().with(own.clone());
        assert_eq!(table.default_for(&network), Some(&own));
    }
}
