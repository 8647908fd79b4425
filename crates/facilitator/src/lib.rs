//! The settlement engine and its HTTP API.
//!
//! [`Engine`] verifies and settles payments on any number of networks, durably
//! and each at most once; it is a [`tollway_core::Facilitator`] for a gate in
//! the same process. [`http`] serves it to others.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod catalog;
pub mod engine;
pub mod http;
mod telemetry;

pub use self::http::{ApiBody, FacilitatorService, HttpOptions, api_key, router, service};
pub use engine::{
    Caller, CallerRule, Engine, EngineConfig, EngineError, EngineHealth, EngineParts, GasCap,
    GasCaps, Holds, Hook, NetworkHealth, SettlementEvent,
};
