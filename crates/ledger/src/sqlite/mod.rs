//! The ledger in one SQLite file.
//!
//! WAL with `synchronous=FULL`; one thread owns the only connection that
//! writes, and a few read. Several processes may share one file; one engine at
//! a time ([`EngineLock`]).

mod connection;
mod failure;
mod location;
mod lock;
mod open;
#[cfg(test)]
mod tests;

pub(crate) use connection::{SqliteConnection, SqliteReaders};
pub use lock::EngineLock;
pub(crate) use open::SqlitePlace;
