//! The ledger in a PostgreSQL database, for several machines.
//!
//! Each process writes through one connection, in `SERIALIZABLE` transactions
//! of many steps each; a serialization failure runs the group again. A
//! connection that breaks is made anew; if it broke during a commit, the
//! writer's mark says whether that commit stands.

mod connection;
mod failure;
mod open;
mod rows;

pub(crate) use connection::PostgresWriter;
pub(crate) use open::PostgresPlace;
pub(crate) use rows::PostgresReaders;
