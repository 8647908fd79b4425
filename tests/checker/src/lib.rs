//! The judge of a crash sweep: it reads what the chain, the ledgers and a
//! client say of the same payments, and names every promise that was broken.
//!
//! It shares no code with what it judges: it speaks JSON-RPC and SQL by itself
//! and recomputes the ledger's hash chain from its description. It only reads.
//!
//! | evidence | from | module |
//! |---|---|---|
//! | what was signed, sent and answered | a file of JSON lines that the client syncs before it acts | [`client`] |
//! | what moved | logs, blocks and state of the node | [`chain`] |
//! | what was written down | the tables of the ledgers | [`ledger`] |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod chain;
pub mod client;
pub mod ledger;
mod rpc;
pub mod rules;
mod tables;

pub use chain::Chain;
pub use client::Client;
pub use ledger::Ledger;
pub use rules::{Violation, check};

/// All that is known of some payments.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What the client did and heard.
    pub client: Client,
    /// What happened on chain.
    pub chain: Chain,
    /// What was written down: an engine's ledger, a gate's, or one of both.
    pub ledgers: Vec<Ledger>,
}

/// What makes an authorization unique, as all evidence is joined by it:
/// `payer/nonce` in lower-case hex.
pub fn authorization(payer: &str, nonce: &str) -> String {
    format!("{}/{}", payer.to_lowercase(), nonce.to_lowercase())
}
