//! A JSON-RPC client that knows no chain.
//!
//! [`RpcClient`] speaks JSON-RPC 2.0 over HTTP to one or several nodes of one
//! network: one call, or several in one request ([`Batch`]). Calls that are made
//! while others are under way travel together. A node that does
//! not answer is passed over for the next one, so only methods that may be
//! repeated belong here; sending an already signed transaction is one of them.
//!
//! What a failure means is for the caller to know, so [`RpcError`] keeps three
//! things apart: nothing is known (transport, time-out, status, not JSON-RPC),
//! and the node's own refusal ([`RpcError::Rpc`]). URLs carry keys: only the
//! host ever appears in errors and logs.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod client;
mod config;
mod error;
mod http;
mod lane;
mod message;
mod node;
mod plain;
mod split;
mod stats;
pub mod tls;

pub use client::RpcClient;
pub use config::{RpcConfig, RpcConfigError};
pub use error::RpcError;
pub use message::Batch;
pub use stats::RpcStats;
