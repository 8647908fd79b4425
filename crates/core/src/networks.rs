//! The networks that are known by name, in one table.
//!
//! A network that is not here works too, by its CAIP-2 name and a configured RPC.

/// What is known about a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkInfo {
    /// CAIP-2 name.
    pub caip2: &'static str,
    /// The name in x402 version 1, where it has one.
    pub v1_name: Option<&'static str>,
    /// Other names that people type, lower-case.
    pub aliases: &'static [&'static str],
    /// The name to show.
    pub display_name: &'static str,
    /// Whether its money is play money.
    pub testnet: bool,
    /// What a transaction hash is appended to, to see it in a block explorer.
    pub explorer_tx: Option<&'static str>,
    /// A public RPC endpoint: rate-limited, without promises, and it sees what is
    /// asked. Good for a first try; whoever falls back on it should say so.
    pub public_rpc: Option<&'static str>,
    /// Whether a receipt is final: no block that carries one is ever replaced, so
    /// one confirmation is enough, and the pending nonce equals the confirmed one.
    pub instant_finality: bool,
    /// What its gas is paid in, with 18 decimals, where that is known for certain.
    pub coin: Option<&'static str>,
}

impl NetworkInfo {
    /// Whether the text is one of its names, in any case.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.caip2)
            || self.v1_name.is_some_and(|v1| v1.eq_ignore_ascii_case(name))
            || self.aliases.iter().any(|a| a.eq_ignore_ascii_case(name))
    }

    /// The name people type: the v1 name, else the first other name.
    #[must_use]
    pub fn short_name(&self) -> &'static str {
        self.v1_name
            .or(self.aliases.first().copied())
            .unwrap_or(self.caip2)
    }
}

macro_rules! table {
    ($($caip2:literal $shown:literal $v1:tt $aliases:tt $money:ident $explorer:tt $rpc:tt $finality:ident $coin:tt;)*) => {
        &[$(NetworkInfo {
            caip2: $caip2,
            v1_name: maybe!($v1),
            aliases: &$aliases,
            display_name: $shown,
            testnet: matches!(Money::$money, Money::Play),
            explorer_tx: maybe!($explorer),
            public_rpc: maybe!($rpc),
            instant_finality: matches!(Receipt::$finality, Receipt::Final),
            coin: maybe!($coin),
        }),*]
    };
}

macro_rules! maybe {
    (-) => {
        None
    };
    ($text:literal) => {
        Some($text)
    };
}

enum Money {
    Real,
    Play,
}

enum Receipt {
    Deepens,
    Final,
}

/// All networks that are known by name.
#[rustfmt::skip]
pub static NETWORKS: &[NetworkInfo] = table! {
    // CAIP-2, shown as, v1 name, other names, money, explorer, public RPC, receipt, coin
    "eip155:1" "Ethereum" "ethereum" ["mainnet", "eth", "ethereum-mainnet"] Real "https://etherscan.io/tx/" "https://eth.merkle.io" Deepens "ETH";
    "eip155:11155111" "Sepolia" "sepolia" ["ethereum-sepolia", "eth-sepolia"] Play "https://sepolia.etherscan.io/tx/" "https://11155111.rpc.thirdweb.com" Deepens "ETH";
    "eip155:8453" "Base" "base" ["base-mainnet"] Real "https://basescan.org/tx/" "https://mainnet.base.org" Deepens "ETH";
    "eip155:84532" "Base Sepolia" "base-sepolia" ["base-testnet"] Play "https://sepolia.basescan.org/tx/" "https://sepolia.base.org" Deepens "ETH";
    "eip155:10" "OP Mainnet" - ["optimism", "op-mainnet", "op"] Real "https://optimistic.etherscan.io/tx/" "https://mainnet.optimism.io" Deepens "ETH";
    "eip155:11155420" "OP Sepolia" - ["optimism-sepolia", "op-sepolia"] Play "https://optimism-sepolia.blockscout.com/tx/" "https://sepolia.optimism.io" Deepens "ETH";
    "eip155:42161" "Arbitrum One" - ["arbitrum", "arbitrum-one"] Real "https://arbiscan.io/tx/" "https://arb1.arbitrum.io/rpc" Deepens "ETH";
    "eip155:421614" "Arbitrum Sepolia" - ["arbitrum-sepolia"] Play "https://sepolia.arbiscan.io/tx/" "https://sepolia-rollup.arbitrum.io/rpc" Deepens "ETH";
    "eip155:137" "Polygon" "polygon" ["polygon-mainnet", "matic"] Real "https://polygonscan.com/tx/" "https://polygon.drpc.org" Deepens "POL";
    "eip155:80002" "Polygon Amoy" "polygon-amoy" ["amoy"] Play "https://amoy.polygonscan.com/tx/" "https://rpc-amoy.polygon.technology" Deepens "POL";
    "eip155:43114" "Avalanche" "avalanche" ["avax", "avalanche-mainnet"] Real "https://snowtrace.io/tx/" "https://api.avax.network/ext/bc/C/rpc" Deepens "AVAX";
    "eip155:43113" "Avalanche Fuji" "avalanche-fuji" ["fuji"] Play "https://testnet.snowtrace.io/tx/" "https://api.avax-test.network/ext/bc/C/rpc" Deepens "AVAX";
    "eip155:1329" "Sei" "sei" ["sei-mainnet", "pacific-1"] Real "https://seiscan.io/tx/" "https://evm-rpc.sei-apis.com" Final "SEI";
    "eip155:1328" "Sei Testnet" "sei-testnet" ["atlantic-2"] Play "https://testnet.seiscan.io/tx/" "https://evm-rpc-testnet.sei-apis.com" Final "SEI";
    "eip155:42220" "Celo" "celo" ["celo-mainnet"] Real "https://celoscan.io/tx/" "https://forno.celo.org" Deepens "CELO";
    "eip155:11142220" "Celo Sepolia" - ["celo-sepolia"] Play "https://celo-sepolia.blockscout.com/tx/" "https://forno.celo-sepolia.celo-testnet.org" Deepens "CELO";
    "eip155:143" "Monad" "monad" ["monad-mainnet"] Real "https://monadvision.com/tx/" "https://rpc.monad.xyz" Deepens "MON";
    "eip155:10143" "Monad Testnet" - ["monad-testnet"] Play "https://testnet.monadexplorer.com/tx/" "https://testnet-rpc.monad.xyz" Deepens "MON";
    "eip155:50" "XDC Network" - ["xdc", "xdc-mainnet"] Real "https://xdcscan.com/tx/" "https://rpc.xdcrpc.com" Deepens "XDC";
    "eip155:51" "XDC Apothem" - ["apothem", "xdc-testnet"] Play "https://testnet.xdcscan.com/tx/" "https://erpc.apothem.network" Deepens "TXDC";
    "eip155:2741" "Abstract" "abstract" ["abstract-mainnet"] Real "https://abscan.org/tx/" "https://api.mainnet.abs.xyz" Deepens "ETH";
    "eip155:11124" "Abstract Testnet" "abstract-testnet" [] Play "https://sepolia.abscan.org/tx/" "https://api.testnet.abs.xyz" Deepens "ETH";
    "eip155:4689" "IoTeX" "iotex" [] Real "https://iotexscan.io/tx/" "https://babel-api.mainnet.iotex.io" Deepens "IOTX";
    "eip155:3338" "peaq" "peaq" [] Real "https://peaq.subscan.io/tx/" "https://quicknode1.peaq.xyz" Deepens "PEAQ";
    "eip155:1514" "Story" "story" [] Real "https://storyscan.io/tx/" "https://mainnet.storyrpc.io" Deepens "IP";
    "eip155:41923" "EDU Chain" "educhain" ["edu-chain"] Real "https://educhain.blockscout.com/tx/" "https://rpc.edu-chain.raas.gelato.cloud" Deepens "EDU";
    "eip155:4326" "MegaETH" "megaeth" ["mega"] Real "https://mega.etherscan.io/tx/" "https://mainnet.megaeth.com/rpc" Deepens "ETH";
    "eip155:988" "Stable" "stable" [] Real "https://stablescan.xyz/tx/" "https://rpc.stable.xyz" Deepens -;
    "eip155:2201" "Stable Testnet" "stable-testnet" [] Play "https://testnet.stablescan.xyz/tx/" "https://rpc.testnet.stable.xyz" Deepens -;
    "eip155:14" "Flare" "flare" [] Real "https://flare-explorer.flare.network/tx/" "https://flare-api.flare.network/ext/C/rpc" Deepens "FLR";
    "eip155:324705682" "SKALE Base Sepolia" "skale-base-sepolia" ["skale-testnet"] Play - - Deepens -;
    "eip155:31612" "Mezo" - ["mezo"] Real "https://explorer.mezo.org/tx/" "https://rpc.mezo.org" Deepens "BTC";
    "eip155:31611" "Mezo Testnet" - ["mezo-testnet"] Play "https://explorer.test.mezo.org/tx/" "https://rpc.test.mezo.org" Deepens "BTC";
    "eip155:723487" "Radius" - ["radius"] Real "https://network.radiustech.xyz/tx/" "https://rpc.radiustech.xyz" Deepens -;
    "eip155:72344" "Radius Testnet" - ["radius-testnet"] Play "https://testnet.radiustech.xyz/tx/" "https://rpc.testnet.radiustech.xyz" Deepens -;
    "eip155:36900" "ADI Chain" - ["adi"] Real "https://explorer.adifoundation.ai/tx/" "https://rpc.adifoundation.ai" Deepens -;
    "eip155:190415" "HPP" - ["hpp"] Real "https://explorer.hpp.io/tx/" "https://mainnet.hpp.io" Deepens "ETH";
    "eip155:181228" "HPP Sepolia" - ["hpp-sepolia"] Play "https://sepolia-explorer.hpp.io/tx/" "https://testnet.hpp.io" Deepens "ETH";
    "eip155:38833" "Igra" - ["igra"] Real "https://explorer.igralabs.com/tx/" "https://rpc.igralabs.com:8545" Deepens -;
    "starknet:SN_MAIN" "Starknet" - ["starknet", "starknet-mainnet"] Real "https://voyager.online/tx/" - Deepens -;
    "starknet:SN_SEPOLIA" "Starknet Sepolia" - ["starknet-sepolia"] Play "https://sepolia.voyager.online/tx/" - Deepens -;
    "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp" "Solana" "solana" ["solana-mainnet"] Real "https://solscan.io/tx/" - Deepens -;
    "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1" "Solana Devnet" "solana-devnet" [] Play - - Deepens -;
    "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z" "Solana Testnet" "solana-testnet" [] Play - - Deepens -;
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::Network;

    #[test]
    fn every_name_belongs_to_one_network_and_resolves_to_it() {
        let mut seen = HashSet::new();
        for info in NETWORKS {
            let network: Network = info.caip2.parse().unwrap();
            assert_eq!(network.info(), Some(info));
            let names = info.aliases.iter().chain(&info.v1_name);
            for name in names.chain([&info.caip2]) {
                assert!(seen.insert(*name), "{name} twice");
                assert_eq!(Network::resolve(name).unwrap(), network);
                assert_eq!(
                    Network::resolve(&name.to_ascii_uppercase()).unwrap(),
                    network
                );
            }
        }
        assert_eq!(NETWORKS.len(), 44);
    }

    #[test]
    fn urls_are_https_and_end_where_the_hash_begins() {
        for info in NETWORKS {
            let urls = info.explorer_tx.iter().chain(&info.public_rpc);
            assert!(
                urls.clone()
                    .all(|u| url::Url::parse(u).unwrap().scheme() == "https")
            );
            assert!(info.explorer_tx.is_none_or(|u| u.ends_with("/tx/")));
        }
    }

    #[test]
    fn the_version_1_names_are_the_official_ones() {
        let v1 = |id| Network::eip155(id).v1_name();
        assert_eq!(v1(84532), Some("base-sepolia"));
        assert_eq!(v1(1328), Some("sei-testnet"));
        assert_eq!(v1(42161), None);
        assert_eq!(Network::from_v1("sei"), Some(Network::eip155(1329)));
        assert_eq!(Network::from_v1("mainnet"), None);
        assert_eq!(NETWORKS.iter().filter(|n| n.v1_name.is_some()).count(), 26);
    }
}
