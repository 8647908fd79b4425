//! Session keys: keys that an account lets spend within limits, for a while.
//!
//! [`SessionKey`] is made and kept encrypted ([`SealedSession`]; [`salted`] reads
//! and writes the published SDK's format). The owner [`register`]s it with a list
//! of entry points and a [`Policy`]; [`SessionStatus`] is what the account really
//! has on record, and its preflight refuses, before anything is signed, what the
//! account would refuse. [`SessionWallet`] pays with it.

mod calls;
mod execute;
mod key;
pub mod salted;
mod sealed;
mod status;
mod wallet;

pub use calls::{
    Policy, Registration, register, register_public, remove_policy, revoke, set_policy,
};
pub use key::{DEFAULT_DURATION, SessionKey};
pub use sealed::{KdfCost, SealedSession};
pub use status::{SESSION_CLASSES, SessionData, SessionStatus, Wanted, falls_back};
pub use wallet::SessionWallet;
