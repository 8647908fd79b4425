//! Payments on Starknet as a facilitator and as a payer, by stories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod payloads;
mod session;
mod settle;
mod support;
mod vectors;
mod verify;
mod wallet;
