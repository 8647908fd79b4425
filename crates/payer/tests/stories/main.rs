//! What a payer promises, told as stories between it and sellers of all kinds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod budget;
mod buying;
mod doors;
mod looking;
mod open_payments;
mod policy;
mod receipts;
mod redirects;
mod seller;
mod signature;
mod unclear;
mod undelivered;
mod wallet;
