//! EIP-3009 as a facilitator and as a payer, by stories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod settle;
mod start;
mod support;
mod vectors;
mod wallet;
