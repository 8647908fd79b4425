//! One file for each subcommand.

pub mod api_key;
pub mod approve;
pub mod check;
pub mod dashboard;
pub mod demo;
pub mod devnet;
pub mod doors;
pub mod facilitator;
mod facilitator_renewal;
pub mod gate;
mod gate_renewal;
pub mod health;
pub mod init;
pub mod inspect;
pub mod ledger;
pub mod pay;
pub mod permission;
mod permission_answer;
mod permission_grant;
mod permission_page;
mod permission_request;
mod permission_revoke;
pub mod receipt;
pub mod reference;
pub mod wallet;
