//! Why a gate cannot be built, or does not start.

use tollway_core::{Network, Refusal};
use tollway_ledger::LedgerError;
use url::Url;

use crate::UsageError;

/// What of a refused URL may be told: a password, a path or a query may hold
/// a secret.
pub(crate) fn shown(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if url.has_host() => {
            let host: String = url
                .host_str()
                .unwrap_or_default()
                .chars()
                .take(80)
                .collect();
            format!("{}://{host}/…", url.scheme())
        }
        _ => "what was given".to_owned(),
    }
}

/// Why a gate cannot be built: a defect of its configuration, found before the
/// first request.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The base URL is not an absolute `http` or `https` URL without query.
    #[error("{0} is not a base URL; write one such as https://api.example.com")]
    BaseUrl(String),
    /// There is no route.
    #[error("the gate has no routes; add at least one")]
    NoRoutes,
    /// More than 1024 routes.
    #[error("the gate has more than 1024 routes; join some with a wildcard")]
    TooManyRoutes,
    /// A route without a price.
    #[error("the route `{0}` has no price; add an offer or a price function")]
    NoPrice(String),
    /// More than 16 offers on a route.
    #[error("the route `{0}` has more than 16 offers; leave some out")]
    TooManyOffers(String),
    /// An offer that does not hold.
    #[error("the route `{route}` has an offer that cannot be made: {refusal}")]
    Offer {
        /// The route's pattern.
        route: String,
        /// What is wrong.
        refusal: Refusal,
    },
    /// An offer on a network without a chain.
    #[error("the route `{route}` is priced on {network}, which the gate has no chain for; add one")]
    NoChain {
        /// The route's pattern.
        route: String,
        /// The network.
        network: Network,
    },
    /// The terms would not fit into the 402 header.
    #[error(
        "the terms take {bytes} bytes of header with the longest path and at most 8192 are sent; shorten the description or leave offers out"
    )]
    TermsTooLong {
        /// With the longest path.
        bytes: usize,
    },
    /// The terms cannot be written as JSON.
    #[error("the terms cannot be written as JSON; check the routes' texts")]
    Terms,
    /// An origin for CORS that is no header value.
    #[error("`{0}` is not an origin; write * or one such as https://app.example.com")]
    Origin(String),
    /// A route sells a pass and the gate sells none.
    #[error("the route `{0}` sells a pass; let the gate sell passes, or leave it out")]
    NoPasses(String),
    /// A route sells a pass for what is only known afterwards.
    #[error("the route `{0}` sells a pass and is metered; give the pass a fixed price")]
    MeteredPass(String),
    /// A route takes transaction proofs and the gate has no keys for their references.
    #[error(
        "the route `{0}` takes transaction proofs; give the gate the keys that mark their references"
    )]
    NoProofKeys(String),
    /// A metered route that cannot be.
    #[error("the route `{route}` cannot be metered: {why}")]
    Meter {
        /// The route's pattern.
        route: String,
        /// What to change.
        why: &'static str,
    },
    /// A route that cannot be opened again by signing in.
    #[error("the route `{route}` cannot be opened by signing in: {why}")]
    Returning {
        /// The route's pattern.
        route: String,
        /// What to change.
        why: &'static str,
    },
    /// A webhook that is not https to somebody or http to this machine.
    #[error("{0} cannot be told of events; name an https URL without user, password and query")]
    Webhook(String),
    /// A webhook's key of less than 16 bytes.
    #[error("the key of the webhook has less than 16 bytes; take a longer one")]
    WebhookKey,
    /// A door of passes that is no plain path.
    #[error(
        "the paths of tokens and settlements are plain ones such as /token and /settlements/; correct them"
    )]
    PassPath,
    /// What a route says of its use cannot be told.
    #[error("the route `{route}`: {why}")]
    Usage {
        /// The route's pattern.
        route: String,
        /// What is wrong.
        why: UsageError,
    },
    /// The page's logo is on a priced route.
    #[error("the page's logo {0} costs money itself; name one that is free")]
    Logo(String),
    /// The system gave no randomness.
    #[error("the system has no randomness to give; try again")]
    Random,
}

/// Why a gate does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Tokens that are out, or that another gate hands out, would open nothing
    /// here, and ours nothing there: their buyers would pay again.
    #[error(
        "access tokens of this ledger are signed with the key `{0}`, which is not among the token keys; add its line, since all gates over one ledger need the same keys"
    )]
    TokenKeys(String),
}
