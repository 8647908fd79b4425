//! The EVM family: typed data, signing, verification, plans and receipts.
//!
//! [`EvmChain`] is a network seen from the facilitator, [`EvmWallet`] a key seen
//! from the payer. Both settle by EIP-3009 `transferWithAuthorization`.
//!
//! What decides that money moved is a receipt with the exact transfer in it;
//! simulations and signatures only decide what is worth sending. A node that
//! fails decides nothing.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod abi;
mod authorization;
mod chain;
mod contracts;
mod node;
mod receipt;
mod refusal;
mod signer;
mod token;
pub mod typed_data;
mod wallet;

pub use authorization::{MAX_SIGNATURE_BYTES, SignedAuthorization};
pub use chain::{BatchWay, EvmChain, EvmConfig, EvmLimits, StartError};
pub use contracts::{CREATE2_DEPLOYER, MULTICALL3, executor_address, executor_deployment};
pub use signer::{EvmSigner, KeyError, recover};
pub use wallet::{EvmWallet, sign_authorization};
