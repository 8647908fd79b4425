//! The whole of Tollway, as its users run it: stories, each named for the
//! promise that it keeps.
//!
//! Servers are real processes on free ports, with a home and ledgers of their
//! own below a temporary directory; every wait has an end, and every process
//! is killed when its story is over. The chain runs inside the test, so that a
//! story can stop it, look at it and count the money.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

mod agents;
mod bad_flags;
mod bad_requests;
mod books;
mod check;
mod check_url;
mod clean_stop;
mod crashes;
mod dashboard;
mod delivery;
mod duplicates;
mod first_payment;
mod front_runner;
mod init;
#[cfg(any(feature = "aws-kms", feature = "gcp-kms"))]
mod kms;
mod mcp;
mod mcp_gate;
mod methods;
mod operations;
mod outages;
mod own_assets;
mod packaging;
mod pages;
mod passes;
mod paths;
mod places;
mod proofs;
mod recovery;
mod reference;
mod refusals;
mod renewals;
mod replay;
mod returning;
mod rpc_faults;
mod rpc_faults_caller;
mod rpc_faults_case;
mod rpc_faults_reorg;
mod rpc_faults_two;
mod secrets;
#[cfg(feature = "starknet-node")]
mod sessions;
mod shown;
mod signer;
mod statements;
mod tls;
mod tools;
mod traces;
mod two_copies;
