//! The seller's side: a price on any route of any HTTP service.
//!
//! A [`Gate`] is a tower layer. What a request costs is decided on its
//! canonical path ([`Route`], [`Pattern`]); without payment it gets 402 with
//! the terms of x402 version 2 (header) and 1 (body); with one it is verified,
//! claimed once and for all in a ledger, served, settled and released. No byte
//! of a paid answer leaves before the money moved.
//!
//! ```
//! use std::sync::Arc;
//! use tollway_core::{Chain, Facilitator};
//! use tollway_gate::{Gate, Offer, Route};
//! use tollway_ledger::GrantStore;
//!
//! fn gate(
//!     facilitator: Arc<dyn Facilitator>,
//!     chain: Arc<dyn Chain>,
//!     ledger: Arc<dyn GrantStore>,
//! ) -> Result<Gate, Box<dyn std::error::Error>> {
//!     let payee = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
//!     let price = Offer::new("$0.01", "base-sepolia", payee)?;
//!     Ok(Gate::builder("https://api.example.com", facilitator, ledger)
//!         .chain(chain)
//!         .route(Route::new("GET /paid/*")?.offer(price))
//!         .build()?)
//! }
//!
//! fn app(gate: &Gate) -> axum::Router {
//!     axum::Router::new()
//!         .route("/paid/hello", axum::routing::get(async || "hello, payer"))
//!         .layer(gate.layer())
//! }
//! ```
//!
//! Put the layer outermost: inside a nested router it would see only a part
//! of the path. With nothing to wrap, [`Proxy`] is a service that forwards to
//! another server, and [`RemoteFacilitator`] settles over HTTP.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod access;
mod answer;
mod body;
mod builder;
mod challenge;
mod charge;
mod cors;
mod crash;
mod discovery;
mod error;
mod event;
mod flow;
mod gate;
mod hooks;
mod hygiene;
mod limits;
mod meter;
mod offer;
mod pass;
mod paywall;
mod proof;
mod propagate;
mod proxy;
mod purchase;
mod redeemers;
mod remote;
mod renew;
mod route;
mod service;
mod sign_in;
mod statements;
mod tally;
mod telemetry;
mod tools;
mod tunnel;

pub use access::{Access, AccessError};
pub use body::{Body, BoxError, boxed, empty, full};
pub use builder::GateBuilder;
pub use charge::Charge;
pub use discovery::{Discovery, Usage, UsageError};
pub use error::{BuildError, StartError};
pub use event::{Event, OnEvent};
pub use gate::{Gate, StartReport};
pub use hooks::{HookedPayment, Hooks, Step};
pub use limits::Limits;
pub use meter::Meter;
pub use offer::Offer;
pub use pass::{KeyError, PassOffer, Passes, TokenKeys};
pub use paywall::{Page, PageError};
pub use propagate::propagate_with;
pub use proxy::{ClientAddress, Proxy, ProxyBuilder, ProxyError};
pub use remote::{RemoteBuilder, RemoteError, RemoteFacilitator};
pub use renew::RenewError;
pub use route::{PathError, Pattern, PatternError, Quote, Route};
pub use service::{GateLayer, GateService};
pub use tally::Count;
pub use tools::ToolCall;
