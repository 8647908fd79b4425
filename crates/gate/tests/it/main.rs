//! The gate's promises, as stories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

mod access;
mod bodies;
mod browsers;
mod crashes;
mod discovery;
mod doors;
mod hooks;
mod identifiers;
mod metered;
mod one_log;
mod outcomes;
mod owed;
mod pass_sales;
mod pass_tokens;
mod passes;
mod paywall;
mod proofs;
mod proxied;
mod remote;
mod renewals;
mod restarts;
mod sign_in;
mod spellings;
mod statements;
mod streams;
mod terms;
mod two_gates;
mod upfront;
