//! What programs that look for services are told: which routes cost what, and how
//! they are used.
//!
//! Three places say it, all from the routes themselves: `/.well-known/x402` and
//! `/openapi.json`, which are made once and cost nothing, and the extension
//! `bazaar` in the 402 of a route that says how it is used, by which facilitators
//! list it. The terms that count are those of the 402; these only lead there.

mod openapi;
mod place;
mod report;
mod usage;
mod well_known;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::Value;

pub(crate) use report::Listing;
pub use usage::{Usage, UsageError};

use crate::answer;
use crate::body::{self, Body};
use crate::gate::Sale;
use crate::route::Route;

/// The extension by which a facilitator lists a route.
pub(crate) const BAZAAR: &str = "bazaar";

const WELL_KNOWN: &str = "/.well-known/x402";
const OPENAPI: &str = "/openapi.json";
/// How long it may be kept, in seconds: prices change when a gate is restarted.
const MAX_AGE: &str = "public, max-age=60";
/// Longest title, in characters.
const MAX_TITLE: usize = 60;

/// Tells programs which routes there are and what they cost, at
/// `/.well-known/x402` and `/openapi.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    title: Option<String>,
    yields: bool,
}

impl Discovery {
    /// At both paths, in the place of what the service behind has there.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The service's name (default: its host), cut to 60 characters.
    #[must_use]
    pub fn title(mut self, title: &str) -> Self {
        let plain = title.chars().filter(|c| !c.is_control());
        self.title = Some(plain.take(MAX_TITLE).collect());
        self
    }

    /// Lets the service behind answer first; ours is told where it has nothing
    /// (404, 405 or 501).
    #[must_use]
    pub const fn upstream_first(mut self) -> Self {
        self.yields = true;
        self
    }

    /// Whether the service behind is asked first.
    pub(crate) const fn yields(&self) -> bool {
        self.yields
    }
}

/// A document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    WellKnown,
    OpenApi,
}

impl Document {
    /// The document of a canonical path.
    pub(crate) fn at(path: &str) -> Option<Self> {
        match path {
            WELL_KNOWN => Some(Self::WellKnown),
            OPENAPI => Some(Self::OpenApi),
            _ => None,
        }
    }
}

/// Both documents, as they are sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Documents {
    well_known: Bytes,
    openapi: Bytes,
}

/// A route as it is listed: its price is in the sale, where it has a fixed one.
pub(crate) struct Listed<'a> {
    pub route: &'a Route,
    pub sale: Option<&'a Sale>,
}

impl<'a> Listed<'a> {
    pub(crate) fn new((route, sale): (&'a Route, &'a Option<Arc<Sale>>)) -> Self {
        Self {
            route,
            sale: sale.as_deref(),
        }
    }
}

impl Documents {
    pub(crate) fn of(discovery: &Discovery, base_url: &str, listed: &[Listed<'_>]) -> Self {
        let host = base_url.split("://").last().unwrap_or(base_url);
        let title = discovery.title.as_deref().unwrap_or(host);
        let text = |document: Value| Bytes::from(document.to_string());
        Self {
            well_known: text(well_known::document(title, base_url, listed)),
            openapi: text(openapi::document(title, base_url, listed)),
        }
    }

    /// The answer to a request for one.
    pub(crate) fn answer(&self, document: Document, method: &Method) -> Response<Body> {
        let bytes = match document {
            Document::WellKnown => &self.well_known,
            Document::OpenApi => &self.openapi,
        };
        let mut response = match *method {
            Method::GET => Response::new(body::full(bytes.clone())),
            Method::HEAD => Response::new(body::empty()),
            _ => {
                let mut refused = answer::problem(
                    StatusCode::METHOD_NOT_ALLOWED,
                    tollway_core::codes::METHOD_NOT_ALLOWED,
                    "This is only read; ask with GET.",
                );
                let allowed = HeaderValue::from_static("GET, HEAD");
                refused.headers_mut().insert(ALLOW, allowed);
                return refused;
            }
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(MAX_AGE));
        response
    }
}
