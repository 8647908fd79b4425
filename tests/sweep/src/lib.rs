//! Kills Tollway at every place there is, and lets the checker judge what is left.
//!
//! A round is a world of its own: an embedded chain, a server that is the real
//! binary, and a client with 32 payments that it shows until each has ended.
//! The server dies where the round's plan says, comes back on the same ledger,
//! and everything must end by itself. Then `tollway-checker`, a process that
//! shares no code with the server, reads chain, ledger and client's record.
//!
//! All that a round does by chance follows from its seed.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod ask;
mod bot;
mod buyer;
mod holder;
mod life;
mod load;
mod permits;
mod place;
pub mod places;
pub mod plan;
mod round;
mod server;
mod stream;
mod verdict;
mod weather;
mod world;

pub use bot::Stranger;
pub use place::own_place;
pub use plan::{Death, Plan, Scene, Setup};
pub use round::{Round, play};
pub use world::Tools;

/// Why a round could not be played; not a broken promise.
pub type Failure = String;

/// Bytes from hex digits.
///
/// # Errors
/// If they are none.
pub fn from_hex(digits: &str) -> Result<Vec<u8>, Failure> {
    alloy_primitives::hex::decode(digits).map_err(|e| e.to_string())
}
