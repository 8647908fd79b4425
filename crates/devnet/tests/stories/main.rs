//! What the embedded chain promises, one story a test.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cheats;
mod helpers;
mod history;
mod json_rpc;
mod mempool;
mod mining;
mod permit2;
mod server;
mod settler;
mod token;
