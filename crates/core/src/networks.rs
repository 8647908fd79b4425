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

/// All networks that are known by name.
pub static NETWORKS: &[NetworkInfo] = &[
    NetworkInfo {
        caip2: "eip155:1",
        v1_name: Some("ethereum"),
        aliases: &["mainnet", "eth", "ethereum-mainnet"],
        display_name: "Ethereum",
        testnet: false,
        explorer_tx: Some("https://etherscan.io/tx/"),
        public_rpc: Some("https://eth.merkle.io"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:11155111",
        v1_name: Some("sepolia"),
        aliases: &["ethereum-sepolia", "eth-sepolia"],
        display_name: "Sepolia",
        testnet: true,
        explorer_tx: Some("https://sepolia.etherscan.io/tx/"),
        public_rpc: Some("https://11155111.rpc.thirdweb.com"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:8453",
        v1_name: Some("base"),
        aliases: &["base-mainnet"],
        display_name: "Base",
        testnet: false,
        explorer_tx: Some("https://basescan.org/tx/"),
        public_rpc: Some("https://mainnet.base.org"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:84532",
        v1_name: Some("base-sepolia"),
        aliases: &["base-testnet"],
        display_name: "Base Sepolia",
        testnet: true,
        explorer_tx: Some("https://sepolia.basescan.org/tx/"),
        public_rpc: Some("https://sepolia.base.org"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:10",
        v1_name: None,
        aliases: &["optimism", "op-mainnet", "op"],
        display_name: "OP Mainnet",
        testnet: false,
        explorer_tx: Some("https://optimistic.etherscan.io/tx/"),
        public_rpc: Some("https://mainnet.optimism.io"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:11155420",
        v1_name: None,
        aliases: &["optimism-sepolia", "op-sepolia"],
        display_name: "OP Sepolia",
        testnet: true,
        explorer_tx: Some("https://optimism-sepolia.blockscout.com/tx/"),
        public_rpc: Some("https://sepolia.optimism.io"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:42161",
        v1_name: None,
        aliases: &["arbitrum", "arbitrum-one"],
        display_name: "Arbitrum One",
        testnet: false,
        explorer_tx: Some("https://arbiscan.io/tx/"),
        public_rpc: Some("https://arb1.arbitrum.io/rpc"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:421614",
        v1_name: None,
        aliases: &["arbitrum-sepolia"],
        display_name: "Arbitrum Sepolia",
        testnet: true,
        explorer_tx: Some("https://sepolia.arbiscan.io/tx/"),
        public_rpc: Some("https://sepolia-rollup.arbitrum.io/rpc"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:137",
        v1_name: Some("polygon"),
        aliases: &["polygon-mainnet", "matic"],
        display_name: "Polygon",
        testnet: false,
        explorer_tx: Some("https://polygonscan.com/tx/"),
        public_rpc: Some("https://polygon.drpc.org"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:80002",
        v1_name: Some("polygon-amoy"),
        aliases: &["amoy"],
        display_name: "Polygon Amoy",
        testnet: true,
        explorer_tx: Some("https://amoy.polygonscan.com/tx/"),
        public_rpc: Some("https://rpc-amoy.polygon.technology"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:43114",
        v1_name: Some("avalanche"),
        aliases: &["avax", "avalanche-mainnet"],
        display_name: "Avalanche",
        testnet: false,
        explorer_tx: Some("https://snowtrace.io/tx/"),
        public_rpc: Some("https://api.avax.network/ext/bc/C/rpc"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:43113",
        v1_name: Some("avalanche-fuji"),
        aliases: &["fuji"],
        display_name: "Avalanche Fuji",
        testnet: true,
        explorer_tx: Some("https://testnet.snowtrace.io/tx/"),
        public_rpc: Some("https://api.avax-test.network/ext/bc/C/rpc"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:1329",
        v1_name: Some("sei"),
        aliases: &["sei-mainnet", "pacific-1"],
        display_name: "Sei",
        testnet: false,
        explorer_tx: Some("https://seiscan.io/tx/"),
        public_rpc: Some("https://evm-rpc.sei-apis.com"),
        instant_finality: true,
    },
    NetworkInfo {
        caip2: "eip155:1328",
        v1_name: Some("sei-testnet"),
        aliases: &["atlantic-2"],
        display_name: "Sei Testnet",
        testnet: true,
        explorer_tx: Some("https://testnet.seiscan.io/tx/"),
        public_rpc: Some("https://evm-rpc-testnet.sei-apis.com"),
        instant_finality: true,
    },
    NetworkInfo {
        caip2: "eip155:42220",
        v1_name: Some("celo"),
        aliases: &["celo-mainnet"],
        display_name: "Celo",
        testnet: false,
        explorer_tx: Some("https://celoscan.io/tx/"),
        public_rpc: Some("https://forno.celo.org"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:11142220",
        v1_name: None,
        aliases: &["celo-sepolia"],
        display_name: "Celo Sepolia",
        testnet: true,
        explorer_tx: Some("https://celo-sepolia.blockscout.com/tx/"),
        public_rpc: Some("https://forno.celo-sepolia.celo-testnet.org"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:143",
        v1_name: Some("monad"),
        aliases: &["monad-mainnet"],
        display_name: "Monad",
        testnet: false,
        explorer_tx: Some("https://monadvision.com/tx/"),
        public_rpc: Some("https://rpc.monad.xyz"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:10143",
        v1_name: None,
        aliases: &["monad-testnet"],
        display_name: "Monad Testnet",
        testnet: true,
        explorer_tx: Some("https://testnet.monadexplorer.com/tx/"),
        public_rpc: Some("https://testnet-rpc.monad.xyz"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:50",
        v1_name: None,
        aliases: &["xdc", "xdc-mainnet"],
        display_name: "XDC Network",
        testnet: false,
        explorer_tx: Some("https://xdcscan.com/tx/"),
        public_rpc: Some("https://rpc.xdcrpc.com"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:51",
        v1_name: None,
        aliases: &["apothem", "xdc-testnet"],
        display_name: "XDC Apothem",
        testnet: true,
        explorer_tx: Some("https://testnet.xdcscan.com/tx/"),
        public_rpc: Some("https://erpc.apothem.network"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:2741",
        v1_name: Some("abstract"),
        aliases: &["abstract-mainnet"],
        display_name: "Abstract",
        testnet: false,
        explorer_tx: Some("https://abscan.org/tx/"),
        public_rpc: Some("https://api.mainnet.abs.xyz"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:11124",
        v1_name: Some("abstract-testnet"),
        aliases: &[],
        display_name: "Abstract Testnet",
        testnet: true,
        explorer_tx: Some("https://sepolia.abscan.org/tx/"),
        public_rpc: Some("https://api.testnet.abs.xyz"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:4689",
        v1_name: Some("iotex"),
        aliases: &[],
        display_name: "IoTeX",
        testnet: false,
        explorer_tx: Some("https://iotexscan.io/tx/"),
        public_rpc: Some("https://babel-api.mainnet.iotex.io"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:3338",
        v1_name: Some("peaq"),
        aliases: &[],
        display_name: "peaq",
        testnet: false,
        explorer_tx: Some("https://peaq.subscan.io/tx/"),
        public_rpc: Some("https://quicknode1.peaq.xyz"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:1514",
        v1_name: Some("story"),
        aliases: &[],
        display_name: "Story",
        testnet: false,
        explorer_tx: Some("https://storyscan.io/tx/"),
        public_rpc: Some("https://mainnet.storyrpc.io"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:41923",
        v1_name: Some("educhain"),
        aliases: &["edu-chain"],
        display_name: "EDU Chain",
        testnet: false,
        explorer_tx: Some("https://educhain.blockscout.com/tx/"),
        public_rpc: Some("https://rpc.edu-chain.raas.gelato.cloud"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:4326",
        v1_name: Some("megaeth"),
        aliases: &["mega"],
        display_name: "MegaETH",
        testnet: false,
        explorer_tx: Some("https://mega.etherscan.io/tx/"),
        public_rpc: Some("https://mainnet.megaeth.com/rpc"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:988",
        v1_name: Some("stable"),
        aliases: &[],
        display_name: "Stable",
        testnet: false,
        explorer_tx: Some("https://stablescan.xyz/tx/"),
        public_rpc: Some("https://rpc.stable.xyz"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:2201",
        v1_name: Some("stable-testnet"),
        aliases: &[],
        display_name: "Stable Testnet",
        testnet: true,
        explorer_tx: Some("https://testnet.stablescan.xyz/tx/"),
        public_rpc: Some("https://rpc.testnet.stable.xyz"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:14",
        v1_name: Some("flare"),
        aliases: &[],
        display_name: "Flare",
        testnet: false,
        explorer_tx: Some("https://flare-explorer.flare.network/tx/"),
        public_rpc: Some("https://flare-api.flare.network/ext/C/rpc"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:324705682",
        v1_name: Some("skale-base-sepolia"),
        aliases: &["skale-testnet"],
        display_name: "SKALE Base Sepolia",
        testnet: true,
        explorer_tx: None,
        public_rpc: None,
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:31612",
        v1_name: None,
        aliases: &["mezo"],
        display_name: "Mezo",
        testnet: false,
        explorer_tx: Some("https://explorer.mezo.org/tx/"),
        public_rpc: Some("https://rpc.mezo.org"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:31611",
        v1_name: None,
        aliases: &["mezo-testnet"],
        display_name: "Mezo Testnet",
        testnet: true,
        explorer_tx: Some("https://explorer.test.mezo.org/tx/"),
        public_rpc: Some("https://rpc.test.mezo.org"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:723487",
        v1_name: None,
        aliases: &["radius"],
        display_name: "Radius",
        testnet: false,
        explorer_tx: Some("https://network.radiustech.xyz/tx/"),
        public_rpc: Some("https://rpc.radiustech.xyz"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:72344",
        v1_name: None,
        aliases: &["radius-testnet"],
        display_name: "Radius Testnet",
        testnet: true,
        explorer_tx: Some("https://testnet.radiustech.xyz/tx/"),
        public_rpc: Some("https://rpc.testnet.radiustech.xyz"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:36900",
        v1_name: None,
        aliases: &["adi"],
        display_name: "ADI Chain",
        testnet: false,
        explorer_tx: Some("https://explorer.adifoundation.ai/tx/"),
        public_rpc: Some("https://rpc.adifoundation.ai"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:190415",
        v1_name: None,
        aliases: &["hpp"],
        display_name: "HPP",
        testnet: false,
        explorer_tx: Some("https://explorer.hpp.io/tx/"),
        public_rpc: Some("https://mainnet.hpp.io"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:181228",
        v1_name: None,
        aliases: &["hpp-sepolia"],
        display_name: "HPP Sepolia",
        testnet: true,
        explorer_tx: Some("https://sepolia-explorer.hpp.io/tx/"),
        public_rpc: Some("https://testnet.hpp.io"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "eip155:38833",
        v1_name: None,
        aliases: &["igra"],
        display_name: "Igra",
        testnet: false,
        explorer_tx: Some("https://explorer.igralabs.com/tx/"),
        public_rpc: Some("https://rpc.igralabs.com:8545"),
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "starknet:SN_MAIN",
        v1_name: None,
        aliases: &["starknet", "starknet-mainnet"],
        display_name: "Starknet",
        testnet: false,
        explorer_tx: Some("https://voyager.online/tx/"),
        public_rpc: None,
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "starknet:SN_SEPOLIA",
        v1_name: None,
        aliases: &["starknet-sepolia"],
        display_name: "Starknet Sepolia",
        testnet: true,
        explorer_tx: Some("https://sepolia.voyager.online/tx/"),
        public_rpc: None,
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
        v1_name: Some("solana"),
        aliases: &["solana-mainnet"],
        display_name: "Solana",
        testnet: false,
        explorer_tx: Some("https://solscan.io/tx/"),
        public_rpc: None,
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1",
        v1_name: Some("solana-devnet"),
        aliases: &[],
        display_name: "Solana Devnet",
        testnet: true,
        explorer_tx: None,
        public_rpc: None,
        instant_finality: false,
    },
    NetworkInfo {
        caip2: "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z",
        v1_name: Some("solana-testnet"),
        aliases: &[],
        display_name: "Solana Testnet",
        testnet: true,
        explorer_tx: None,
        public_rpc: None,
        instant_finality: false,
    },
];

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
