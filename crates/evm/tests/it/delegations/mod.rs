//! Delegations, as others write and read them.

mod fuzz;
mod grants;
mod vectors;
