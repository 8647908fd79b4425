//! What the embedded chain promises, one story a test.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod helpers;
mod history;
mod json_rpc;
mod mempool;
mod mining;
mod server;
mod token;
