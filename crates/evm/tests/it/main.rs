//! EIP-3009 as a facilitator and as a payer, by stories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod looks;
mod searches;
mod settle;
mod shared;
mod start;
mod support;
mod together;
mod vectors;
mod wallet;
