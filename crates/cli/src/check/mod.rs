//! What `tollway check` looks at, a file for each concern: what is found is told at
//! once, green, yellow or red, and each red ends with its cure.
//!
//! Nothing here pays, signs or sends a transaction, and nothing follows a redirect.

mod answers;
mod door;
mod facilitator;
pub mod flags;
pub mod inside;
mod ledger;
mod nodes;
pub mod outside;
pub mod payees;
mod report;
mod resource;
mod spellings;
mod stand;
mod terms;
mod wire;

pub use report::Report;
