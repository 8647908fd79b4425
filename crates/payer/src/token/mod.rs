//! Access tokens: bought once by posting a signed payment to the seller's token
//! endpoint, kept until they expire, and shown instead of paying again.
//!
//! This is the wire of `x402_mock` 0.1.1 and 0.3.0. A 402 answer names the
//! endpoint and the prices in its body; the endpoint takes a permit and gives a
//! bearer token; the seller settles the permit when it likes. So what was signed
//! stays on the budget until the chain shows what became of it.

mod door;
mod number;
mod permit;
mod purchase;
mod reply;
mod store;
mod visit;

pub(crate) use door::TokenDoor;
pub(crate) use permit::{NO_VERSION, TokenPurchase, body};
pub use store::{AccessToken, KeptToken, MemoryTokens, TokenDirectory, TokenStore};
pub use visit::Pass;
pub(crate) use visit::Visits;
