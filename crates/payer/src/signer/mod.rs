//! A signer in a process of its own, which whoever pays asks over a Unix socket.
//!
//! The paying program has no key. It sends terms, never a hash, and gets a payment
//! that the signer made of them itself: by its own asset table, within its own
//! policy, and after it reserved the price in its own record. So whoever takes the
//! paying program over gets what the signer's owner allows, and no more.
//!
//! [`RemoteWallet`] asks, [`crate::Payer::sign_at`] answers. The signer is a payer
//! that fetches nothing: wallet, policy, record and reconciler are set up as one's.

mod answers;
mod desk;
mod door;
mod frame;
mod remote;
mod serve;
mod socket;
mod wire;

pub use remote::RemoteWallet;
pub use socket::{MOST_PER_HOUR, SignerSocket, SocketError};
