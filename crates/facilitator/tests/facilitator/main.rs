//! The engine and its HTTP API, tested as a user of the crate would use them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod catalog_stories;
mod counted_stories;
mod crash_stories;
mod deep_stories;
mod devnet_stories;
mod edge_stories;
mod fake_chain;
mod fixtures;
mod fuse;
mod http_stories;
mod memory_store;
mod methods_stories;
mod model_store;
mod pinned_stories;
mod proof_stories;
mod recovery_stories;
mod rng;
mod scene;
mod settle_stories;
mod step_stories;
mod traffic_stories;
mod world;
