//! The whole way on a real Starknet node (starknet-devnet): our account class,
//! the owner's key and sessions, settled by the facilitator's chain.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod attacks;
mod class;
mod owner;
mod sessions;
mod signatures;
mod whole;
