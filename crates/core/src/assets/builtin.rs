//! The assets that are known without configuration.
//!
//! Addresses and EIP-712 names are those of the official SDKs' default tables;
//! rows that are not `verified` come from published token lists, and their
//! domain has to be read from the chain before it is relied on.

use super::Method::{self, Eip2612, Eip3009, Permit2};

/// One row, in plain text.
pub(super) struct Row {
    pub(super) network: &'static str,
    pub(super) symbol: &'static str,
    pub(super) address: &'static str,
    pub(super) decimals: u8,
    pub(super) domain: Option<(&'static str, &'static str)>,
    pub(super) verified: bool,
    pub(super) methods: &'static [Method],
}

/// USDC as its issuer deploys it.
const FIAT: &[Method] = &[Eip3009, Permit2, Eip2612];
const AUTH: &[Method] = &[Eip3009, Permit2];
const PERMIT: &[Method] = &[Permit2, Eip2612];
const PERMIT2_ONLY: &[Method] = &[Permit2];
/// Families that name no method on the wire.
const UNNAMED: &[Method] = &[];

macro_rules! table {
    ($($network:literal $symbol:literal $address:literal $decimals:literal $domain:tt $source:ident $methods:ident;)*) => {
        &[$(Row {
            network: $network,
            symbol: $symbol,
            address: $address,
            decimals: $decimals,
            domain: domain!($domain),
            verified: matches!(Source::$source, Source::Deployed),
            methods: $methods,
        }),*]
    };
}

macro_rules! domain {
    (-) => {
        None
    };
    (($name:literal, $version:literal)) => {
        Some(($name, $version))
    };
}

/// Where name and version come from: a table that deployed clients sign by, or
/// a list of addresses only.
enum Source {
    Deployed,
    Listed,
}

/// The first row of a network is its default asset.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = table! {
    // network, symbol, address, decimals, EIP-712 name and version, source, methods
    "eip155:8453" "USDC" "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913" 6 ("USD Coin", "2") Deployed FIAT;
    "eip155:84532" "USDC" "0x036CbD53842c5426634e7929541eC2318f3dCF7e" 6 ("USDC", "2") Deployed FIAT;
    "eip155:1" "USDC" "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48" 6 ("USD Coin", "2") Deployed FIAT;
    "eip155:11155111" "USDC" "0x1c7D4B196Cb0C7B01d743Fbc6116a902379C7238" 6 ("USDC", "2") Listed FIAT;
    "eip155:137" "USDC" "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359" 6 ("USD Coin", "2") Deployed FIAT;
    "eip155:80002" "USDC" "0x41E94Eb019C0762f9Bfcf9Fb1E58725BfB0e7582" 6 ("USDC", "2") Deployed FIAT;
    "eip155:42161" "USDC" "0xaf88d065e77c8cC2239327C5EDb3A432268e5831" 6 ("USD Coin", "2") Deployed FIAT;
    "eip155:421614" "USDC" "0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d" 6 ("USD Coin", "2") Deployed FIAT;
    "eip155:10" "USDC" "0x0b2C639c533813f4Aa9D7837CAf62653d097Ff85" 6 ("USD Coin", "2") Listed FIAT;
    "eip155:11155420" "USDC" "0x5fd84259d66Cd46123540766Be93DFE6D43130D7" 6 - Listed FIAT;
    "eip155:43114" "USDC" "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E" 6 ("USD Coin", "2") Deployed FIAT;
    "eip155:43113" "USDC" "0x5425890298aed601595a70AB815c96711a31Bc65" 6 ("USD Coin", "2") Deployed FIAT;
    "eip155:1329" "USDC" "0xe15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392" 6 ("USDC", "2") Deployed FIAT;
    "eip155:1328" "USDC" "0x4fCF1784B31630811181f670Aea7A7bEF803eaED" 6 ("USDC", "2") Deployed FIAT;
    "eip155:42220" "USDC" "0xcebA9300f2b948710d2653dD7B07f33A8B32118C" 6 ("USDC", "2") Deployed FIAT;
    "eip155:42220" "USDT" "0x48065fbBE25f71C9282ddf5e1cD6D6A887483D5e" 6 ("Tether USD", "1") Deployed AUTH;
    "eip155:42220" "USAT" "0xD2ab3C9A02DBBAB236BfEC45D1d755DF4267F771" 6 ("Tether America USD", "1") Deployed AUTH;
    "eip155:11142220" "USDC" "0x01C5C0122039549AD1493B8220cABEdD739BC44E" 6 ("USDC", "2") Deployed FIAT;
    "eip155:143" "USDC" "0x754704Bc059F8C67012fEd69BC8A327a5aafb603" 6 ("USDC", "2") Deployed FIAT;
    "eip155:10143" "USDC" "0x534b2f3A21130d7a60830c2Df862319e593943A3" 6 ("USDC", "2") Listed FIAT;
    "eip155:50" "USDC" "0xfA2958CB79b0491CC627c1557F441eF849Ca8eb1" 6 ("USDC", "2") Deployed FIAT;
    "eip155:51" "USDC" "0xb5AB69F7bBada22B28e79C8FFAECe55eF1c771D4" 6 ("USDC", "2") Deployed FIAT;
    "eip155:988" "USDT0" "0x779Ded0c9e1022225f8E0630b35a9b54bE713736" 6 ("USDT0", "1") Deployed AUTH;
    "eip155:2201" "USDT0" "0x78Cf24370174180738C5B8E352B6D14c83a6c9A9" 6 ("USDT0", "1") Deployed AUTH;
    "eip155:14" "USDT0" "0xe7cd86e13AC4309349F30B3435a9d337750fC82D" 6 ("USD₮0", "1") Deployed AUTH;
    "eip155:4326" "USDm" "0xFAfDdbb3FC7688494971a79cc65DCa3EF82079E7" 18 ("MegaUSD", "1") Deployed PERMIT;
    "eip155:31612" "MUSD" "0xdD468A1DDc392dcdbEf6db6e34E89AA338F9F186" 18 ("Mezo USD", "1") Deployed PERMIT;
    "eip155:31611" "MUSD" "0x118917a40FAF1CD7a13dB0Ef56C86De7973Ac503" 18 ("Mezo USD", "1") Deployed PERMIT;
    "eip155:723487" "SBC" "0x33ad9e4BD16B69B5BFdED37D8B5D9fF9aba014Fb" 6 ("Stable Coin", "1") Deployed PERMIT;
    "eip155:72344" "SBC" "0x33ad9e4BD16B69B5BFdED37D8B5D9fF9aba014Fb" 6 ("Stable Coin", "1") Deployed PERMIT;
    "eip155:36900" "USDC.e" "0x9cb8142aEBBcdc60AF7c97Af897A67A8f3CA71C2" 6 ("USDC.e", "2") Deployed AUTH;
    "eip155:190415" "USDC.e" "0x401eCb1D350407f13ba348573E5630B83638E30D" 6 ("Bridged USDC", "2") Deployed AUTH;
    "eip155:181228" "USDC.e" "0x401eCb1D350407f13ba348573E5630B83638E30D" 6 ("Bridged USDC", "2") Deployed AUTH;
    "eip155:38833" "USDC" "0xA5b8BF902b2844dA17d4506cc827F7F1681735E7" 6 ("USDC", "1") Deployed PERMIT2_ONLY;
    "starknet:SN_MAIN" "USDC" "0x033068F6539f8e6e6b131e6B2B814e6c34A5224bC66947c47DaB9dFeE93b35fb" 6 - Deployed UNNAMED;
    "starknet:SN_SEPOLIA" "USDC" "0x0512feAc6339Ff7889822cb5aA2a86C848e9D392bB0E3E237C008674feeD8343" 6 - Deployed UNNAMED;
    "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp" "USDC" "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v" 6 - Deployed UNNAMED;
    "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1" "USDC" "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU" 6 - Deployed UNNAMED;
    "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z" "USDC" "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU" 6 - Deployed UNNAMED;
};
