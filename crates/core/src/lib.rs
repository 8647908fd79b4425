//! What every room of Tollway speaks: wire types, headers, money, networks,
//! assets, error codes, and the traits that the rooms meet at.
//!
//! Inside there is one model, version 2 of x402; [`wire::v1`] translates at the
//! edge. [`header`] reads and writes headers, [`json`] reads what strangers send,
//! [`money`] reads prices, [`assets`], [`networks`] and [`codes`] are the tables that
//! code, documentation and tests share.
//!
//! No I/O, no async runtime and no chain SDK live here. A chain family
//! implements [`Chain`] (facilitator side) and [`Wallet`] (buyer side); a
//! facilitator, in process or remote, is a [`Facilitator`]; time is a
//! [`Clock`]. Wire structs ([`wire`]) are plain strings as they were sent;
//! checked structs ([`Terms`], [`Intent`]) cannot be wrong.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod address;
mod amount;
pub mod assets;
pub mod calendar;
mod chain;
mod clock;
pub mod codes;
mod compare;
mod error;
pub mod extensions;
mod facilitator;
pub mod header;
mod id;
pub mod json;
pub mod mcp;
pub mod mistake;
pub mod money;
mod network;
pub mod networks;
mod offer;
mod purse;
mod terms;
mod wallet;
pub mod wire;

pub use address::Address;
pub use amount::{Amount, AmountError};
pub use chain::{
    Broadcast, Chain, ChainError, Charge, Expected, Finality, Head, Health, Identity, Intent,
    Lookup, Outcome, Phase, Plan, PlannedPayment, Proof, Raw, Settled, Settlement, Sight,
    SignedWith, SignerState, Slot, TxHash, Verified, Watch, Watched,
};
pub use clock::{Clock, SystemClock, Timestamp};
pub use error::Refusal;
pub use facilitator::{Facilitator, FacilitatorError, SettleRequest, VerifyRequest};
pub use id::{GrantId, PaymentId, SpendId};
pub use network::{Family, Network, NetworkError};
pub use offer::ProofProfile;
pub use purse::{GasPurse, Taken};
pub use terms::{PaymentFlow, Scheme, Terms};
pub use wallet::{LimitedKey, Limits, Offered, Prepared, Purchase, Wallet, WalletError};
