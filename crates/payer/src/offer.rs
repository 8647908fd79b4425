//! One way to pay, as it was offered and as our own tables see it.

use std::time::Duration;

use serde::Serialize;
use tollway_core::assets::AssetInfo;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{PaymentFlow, Terms, TxHash};

use crate::price::UnitPrice;

/// An offer that the policy has checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The checked terms, with the EIP-712 domain of our own table in `extra`:
    /// for signing. What is echoed to the server is the entry as it was sent.
    pub terms: Terms,
    /// What our table knows about the asset.
    pub asset: AssetInfo,
    /// What it costs, in whole units.
    pub price: UnitPrice,
    /// How long the authorization may live.
    pub lifetime: Duration,
    /// How it is shown to the server, and what it buys.
    pub via: Via,
}

/// Where a payment is shown, and what it buys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// In a header of the request itself, for its answer.
    #[default]
    Header,
    /// Posted to the seller's token endpoint, for an access token.
    Token,
}

impl Offer {
    /// What it costs: `0.01 USDC`, or `at most 0.01 USDC` where use is metered.
    #[must_use]
    pub fn cost(&self) -> String {
        let amount = self.terms.amount.to_decimal(self.asset.decimals);
        let most = match self.terms.scheme {
            tollway_core::Scheme::Exact => "",
            _ => "at most ",
        };
        format!("{most}{amount} {}", self.asset.symbol)
    }

    /// The offer in words: `0.01 USDC on Base Sepolia to 0x…`.
    #[must_use]
    pub fn words(&self) -> String {
        let what = match (self.via, self.terms.flow) {
            (Via::Token, _) => ", for an access token",
            (Via::Header, PaymentFlow::Authorization) => "",
            (Via::Header, PaymentFlow::Upfront) => ", settled before serving",
        };
        let network = network_name(&self.terms.network);
        format!(
            "{} on {network} to {}{what}",
            self.cost(),
            self.terms.pay_to
        )
    }
}

/// An offer that our tables cannot read, in words: its own, cut short.
pub(crate) fn raw_words(wire: &PaymentRequirements) -> String {
    let [amount, asset, network] =
        [&wire.amount, &wire.asset, &wire.network].map(|text| crate::error::shown(text));
    format!("{amount} atomic units of {asset} on {network}")
}

/// The name to show for a network.
pub(crate) fn network_name(network: &tollway_core::Network) -> &str {
    network
        .info()
        .map_or(network.as_str(), |info| info.display_name)
}

/// A transaction that the server names, if it is spelled like one of its network:
/// it will be shown to people and put into links.
pub(crate) fn transaction(network: &tollway_core::Network, text: &str) -> Option<TxHash> {
    use tollway_core::Family;
    let hex = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let digits = text.strip_prefix("0x");
    let fits = match network.family() {
        Family::Evm => digits.is_some_and(|d| d.len() == 64 && hex(d)),
        Family::Starknet => digits.is_some_and(|d| d.len() <= 64 && hex(d)),
        Family::Solana => false,
    };
    fits.then(|| TxHash::new(text))
}
