//! The buyer's side: policy, budget and a paying HTTP client.
//!
//! A [`Payer`] sends a request; if the answer is 402 it reads the terms, checks
//! them against a [`Policy`], reserves the price in a durable record, has a
//! wallet sign, records the signature, and only then shows it to the server.
//! While the answer is unclear it shows the same payment again; it never signs
//! a second one for the same purchase. It is also a middleware for reqwest
//! ([`PayMiddleware`]) and a tower layer ([`PayLayer`]).
//!
//! # What is held
//! A payment that left counts against the budget until it is paid or proved
//! dead. A server's refusal is no proof: whoever saw the authorization can still
//! settle it until it expires. So authorizations are short (the server's
//! time-out, at most 15 minutes), and [`Payer::reconcile`] gives them back once
//! they have expired and a [`Reconciler`] shows them unused. Without a
//! reconciler nothing can be proved, and what was refused stays counted.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod asked;
mod body;
mod budget;
mod choose;
pub mod code;
mod conclude;
mod counters;
mod crash;
mod engine;
mod error;
mod event;
mod guard;
mod hosts;
mod http_client;
mod inspect;
mod layer;
mod method;
mod middleware;
mod note;
mod offer;
mod payer;
mod payment;
mod policy;
mod policy_file;
mod present;
mod price;
mod ready;
mod receipt;
mod reconcile;
mod request;
mod rules;
mod settings;
mod sign;
mod sign_in;
mod signer;
mod statements;
mod token;
mod tools;
mod transport;
mod verdict;

pub use body::{BoxError, PayBody};
pub use budget::{Budget, DAY};
pub use counters::{Counters, Spent};
pub use error::{Answer, ErrorKind, PayError};
pub use event::Event;
pub use hosts::{HostPattern, HostPatternError};
pub use http_client::client_builder;
pub use inspect::{Inspection, OfferView, RefusalView};
pub use layer::{LayerError, PayLayer, PayService};
pub use method::{PayMethod, PayMethodError};
pub use middleware::PayMiddleware;
pub use offer::{Offer, Via};
pub use payer::{PaidResponse, Payer, PayerBuilder};
pub use payment::{Payment, Standing};
pub use policy::{MAX_LIFETIME, Policy};
pub use policy_file::{LimitsFile, PolicyFile, PolicyFileError};
pub use price::{UnitPrice, UnitPriceError};
pub use reconcile::{ChainReconciler, EXPIRY_MARGIN, Reconciled, Reconciler};
pub use request::PayRequest;
pub use settings::Patience;
pub use signer::{MOST_PER_HOUR, RemoteWallet, SignerSocket, SocketError};
pub use statements::{KeptReceipt, ReceiptWorth, SignedBy};
pub use token::{AccessToken, KeptToken, MemoryTokens, Pass, TokenDirectory, TokenStore};
pub use tools::{PaidCall, ToolCall};
