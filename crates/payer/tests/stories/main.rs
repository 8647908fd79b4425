//! What a payer promises, told as stories between it and sellers of all kinds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod budget;
mod buying;
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
mod seller;
mod signature;
mod tokens;
mod unclear;
mod undelivered;
mod wallet;
