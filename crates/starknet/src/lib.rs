//! The Starknet family: SNIP-12 and SNIP-9, session keys, verification, plans and
//! receipts.
//!
//! A payer signs a SNIP-9 outside execution of one `transfer`; the facilitator's
//! own account sends it by `execute_from_outside_v2`. The signature is the
//! account's own matter: an owner's `[r, s]` and a session's
//! `[session key, r, s, valid until]` are one way of paying.
//!
//! What decides that money moved is a receipt that succeeded with exactly the
//! expected Transfer in it; simulations and signatures only decide what is worth
//! sending. A node that fails decides nothing.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod account;
mod chain;
mod class;
pub mod compat;
mod deploy;
pub mod felt;
pub mod invoke;
mod key;
mod node;
pub mod outside;
mod payload;
mod prices;
mod refusal;
pub mod rules;
pub mod selectors;
mod sender;
pub mod session;
mod sponsor;
mod trace;
mod transfer;
pub mod typed_data;
mod wallet;

pub use account::{Signer, StarknetAccount};
pub use chain::{StarknetChain, StarknetConfig, StarknetLimits, StartError};
pub use class::{ACCOUNT_CLASS_HASH, class_hash};
pub use deploy::NewAccount;
pub use felt::Felt;
pub use key::{KeyError, StarkKey, verifies};
pub use outside::{ANY_CALLER, Call, OutsideExecution};
pub use payload::{MAX_SIGNATURE_FELTS, SignedExecution};
pub use sender::{OwnerSender, is_deployed, wait};
pub use sponsor::{Sponsor, SponsorRules, Sponsored};
pub use wallet::{StarknetWallet, random_nonce};
