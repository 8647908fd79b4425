//! An embedded EVM chain with JSON-RPC, test dollars and the payment contracts.
//!
//! It runs in the process that wants it, on revm, without a disk: for the
//! demo, for tests and for benchmarks. It poses as a public chain ([`Preset`]),
//! with a test dollar at the address of that chain's USDC, so that clients
//! which know nothing of it work unmodified.
//!
//! ```
//! use tollway_devnet::{DEV_ACCOUNTS, Devnet, Mining, Preset};
//!
//! let devnet = Devnet::builder().preset(Preset::BaseSepolia).mining(Mining::Automine).build()?;
//! let dollars = devnet.balance_of(DEV_ACCOUNTS[0].address);
//! assert_eq!(dollars.to::<u64>(), 1_000_000_000_000); // six decimals
//! # Ok::<(), tollway_devnet::RpcError>(())
//! ```
//!
//! With `devnet.serve(listener)` it answers JSON-RPC over HTTP.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod block;
mod builder;
mod call;
mod chain;
mod clock;
mod contracts;
mod devnet;
mod error;
mod estimate;
mod evm;
mod pool;
mod preset;
mod rpc;
mod server;
mod simulate;
mod state;
mod trace;

pub use builder::{Builder, Mining};
pub use contracts::{
    CREATE2_DEPLOYER, Contract, Displaced, EXACT_PROXY, MULTICALL, PERMIT2, UPTO_PROXY,
    settler_address, settler_deployment,
};
pub use devnet::Devnet;
pub use error::RpcError;
pub use preset::{DEV_ACCOUNTS, DevAccount, Dollar, LOCAL_DOLLAR, Preset};
pub use server::DevnetServer;
