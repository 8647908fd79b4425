//! A JSON-RPC client that knows no chain.
//!
//! [`RpcClient`] speaks JSON-RPC 2.0 over HTTP to one or several nodes of one
//! network: one call, or several in one request ([`Batch`]), which one node
//! answers. Calls that are made while others are under way travel together.
//!
//! The first node that is well is asked. One that fails is put aside for a
//! growing pause and the next one is asked; one that takes long is not waited
//! for alone. So only methods that may be repeated belong here; a transaction
//! that is signed already may be, and [`RpcClient::submit`] keeps apart that a
//! node refused it and that nobody took it. What a good node is, beyond that it
//! answers, its owner says with a [`Probe`]; [`RpcClient::states`] shows what is
//! thought of each.
//!
//! What a failure means is for the caller to know, so [`RpcError`] keeps two
//! things apart: nothing is known (transport, time-out, status, not JSON-RPC,
//! another network), and the node's own refusal ([`RpcError::Rpc`]). URLs carry
//! keys: only the host ever appears in errors and logs.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod ask;
mod client;
mod config;
mod error;
mod http;
mod lane;
mod message;
mod node;
mod plain;
mod pool;
mod probe;
mod race;
mod reply;
mod split;
mod standing;
mod stats;
mod submit;
pub mod tls;

pub use client::RpcClient;
pub use config::{RpcConfig, RpcConfigError};
pub use error::RpcError;
pub use message::Batch;
pub use probe::Probe;
pub use standing::{NodeState, Why};
pub use stats::RpcStats;
pub use submit::{NotTaken, Spread};
