//! A facilitator and a payer on an EVM network, by stories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod delegations;
mod looks;
mod methods;
mod searches;
mod settle;
mod shared;
mod start;
mod support;
mod together;
mod vectors;
mod wallet;
