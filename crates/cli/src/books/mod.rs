//! `tollway ledger export` and `verify`: the record for an accountant, and the
//! proof that nobody changed it.

mod chains;
mod csv;
mod export;
mod verify;
pub mod when;

pub use export::{export, is_hash};
pub use verify::verify;
