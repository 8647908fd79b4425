//! A node that fails and lies in every way that nodes do.
//!
//! [`Chaos`] answers JSON-RPC over HTTP for an embedded chain, which stays
//! honest: whatever a program was told, what happened can be asked there. Each
//! [`Fault`] has a name, and is begun and ended while the program runs; a
//! [`Rule`] limits it to some methods and to some calls, by number or by chance
//! with a seed, so that a run can be repeated.
//!
//! ```no_run
//! use tollway_devnet::Devnet;
//! use tollway_test_chaos::{Chaos, Fault, Rule, When};
//!
//! # async fn story() -> Result<(), Box<dyn std::error::Error>> {
//! let chain = Devnet::builder().build()?;
//! let node = Chaos::before(&chain, 7).await?;
//! node.begin(Fault::AcceptedThenDropped);
//! node.obey(Rule::of(Fault::Status(429)).on("eth_call").when(When::Chance { percent: 30 }));
//! println!("{}", node.url());
//! node.calm();
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod answer;
mod branch;
mod fault;
mod http;
mod lies;
mod proxy;
mod rival;
mod rule;

pub use fault::Fault;
pub use proxy::Chaos;
pub use rule::{Rule, When};
