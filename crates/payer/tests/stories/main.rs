//! What a payer promises, told as stories between it and sellers of all kinds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agents;
mod bench;
mod budget;
mod buying;
mod crowd;
mod doors;
mod looking;
mod metered;
mod methods;
mod open_payments;
mod permit2;
mod policy;
mod proofs;
mod receipts;
mod redirects;
mod remote;
mod seller;
mod sign_in;
mod signature;
mod signer_limits;
mod statements;
mod tokens;
mod unclear;
mod undelivered;
mod wallet;
