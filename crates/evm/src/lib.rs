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
mod chain;
mod contracts;
pub mod delegation;
mod facts;
mod methods;
mod node;
mod receipt;
mod refusal;
mod signer;
mod signing_key;
mod statements;
mod token;
pub mod typed_data;
mod wallet;

pub use chain::{BatchWay, EvmChain, EvmConfig, EvmLimits, HelperAccount, StartError};
pub use contracts::{
    CREATE2_DEPLOYER, Contracts, EXACT_PROXY, MULTICALL3, PERMIT2, UPTO_PROXY, executor_address,
    executor_deployment, settler_address, settler_deployment,
};
pub use facts::{TokenFacts, token_facts};
pub use methods::MAX_SIGNATURE_BYTES;
pub use methods::eip2612::SignedPermit;
pub use methods::eip3009::SignedAuthorization;
pub use methods::erc7710::PermissionPayment;
pub use methods::permit2::{SignedPermit2, permit2_domain};
pub use methods::sponsoring::{EIP2612_GAS_SPONSORING, ERC20_APPROVAL_GAS_SPONSORING};
pub use methods::txid::SignedProof;
pub use signer::{EvmSigner, KeyError, recover};
pub use signing_key::{KeyService, SigningKey};
pub use statements::{EvmNotary, EvmStatements, OFFER_TYPE, RECEIPT_TYPE};
pub use wallet::{Bestowal, DelegatorCode, EvmWallet, PermissionWallet, sign_authorization};
