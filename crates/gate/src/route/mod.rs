//! Which requests cost money.
//!
//! A route is a pattern with prices. What decides is never one spelling of the
//! path: [`path::Spelling`] writes down every way in which a server behind the
//! gate might read it, and a request is paid if *any* reading hits a route.
//! Where readings hit different routes the request is refused. What is
//! forwarded is the canonical spelling, so that the server behind sees what
//! was decided upon.

mod path;
mod pattern;
mod priced;
mod table;

pub use path::PathError;
pub use pattern::{Pattern, PatternError};
pub(crate) use priced::Pricing;
pub use priced::{Quote, Route};
pub(crate) use table::{Decision, decide};
