//! Delegations, as others write and read them.

mod deployments;
mod fuzz;
mod grants;
mod vectors;
