//! A starknet-devnet of one's own, with accounts of our class on it, and a payer, a
//! payee and a facilitator around it. `build-node.sh` builds the program once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod node;
mod world;

pub use node::{Funded, Node, artifact, is_built};
pub use world::*;
