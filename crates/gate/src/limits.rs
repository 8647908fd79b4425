//! Every limit of a gate, in one place.

use std::time::Duration;

/// How much and how long. The defaults suit a public API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a paying request's body; it is read before payment is
    /// looked at, since the purchase is bound to it. 1 MiB.
    pub max_request_body_bytes: usize,
    /// Longest wait for a paying request's body. 30 s.
    pub request_body_timeout: Duration,
    /// Most payments that are verified, served and settled at once; more wait,
    /// and then get 503. 512.
    pub max_in_flight: usize,
    /// How long a payment waits for its turn. 2 s.
    pub place_wait: Duration,
    /// Most bytes of an answer that is held back until it is paid (flow
    /// `authorization`). Larger and streaming answers need `upfront`. 8 MiB.
    pub max_held_answer_bytes: usize,
    /// Most bytes of an answer that is stored, so that who paid can fetch it
    /// again. 1 MiB.
    pub max_stored_answer_bytes: usize,
    /// Longest wait for the service behind, its whole body included where it
    /// is held back. 120 s.
    pub upstream_timeout: Duration,
    /// Longest wait for the facilitator's yes or no. 30 s.
    pub verify_timeout: Duration,
    /// Longest wait for the seller's own code at a step; what is told afterwards is
    /// ended then. Before settling it is taken off the service's time. 10 s.
    pub hook_wait: Duration,
    /// How long a buyer waits for an unknown outcome before it is told to ask
    /// again; settling goes on. 60 s.
    pub settle_wait: Duration,
    /// How long a repeated payment waits for the first one. 60 s.
    pub repeat_wait: Duration,
    /// How long stored answers are kept. 24 h.
    pub keep_answers: Duration,
    /// Pause before an unknown settlement is asked for again; doubles, up to
    /// thirty seconds. 500 ms.
    pub settle_backoff: Duration,
    /// How long after an authorization's deadline an unknown outcome is still
    /// asked for. 10 min.
    pub settle_grace: Duration,
    /// Most metered answers that stream at once; more get 503. 512.
    pub max_streams: usize,
    /// How long the client of a metered stream may take nothing before it is
    /// ended. 30 s.
    pub stalled_reader: Duration,
    /// How long a settlement that a remote facilitator reported may stay
    /// unseen by our own node before it counts as unknown. 15 s.
    pub check_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_body_bytes: 1 << 20,
            request_body_timeout: Duration::from_secs(30),
            max_in_flight: 512,
            place_wait: Duration::from_secs(2),
            max_held_answer_bytes: 8 << 20,
            max_stored_answer_bytes: 1 << 20,
            upstream_timeout: Duration::from_secs(120),
            verify_timeout: Duration::from_secs(30),
            hook_wait: Duration::from_secs(10),
            settle_wait: Duration::from_secs(60),
            repeat_wait: Duration::from_secs(60),
            keep_answers: Duration::from_secs(24 * 60 * 60),
            settle_backoff: Duration::from_millis(500),
            settle_grace: Duration::from_secs(600),
            max_streams: 512,
            stalled_reader: Duration::from_secs(30),
            check_wait: Duration::from_secs(15),
        }
    }
}

/// Most bytes of our own 402 header.
pub(crate) const MAX_CHALLENGE_HEADER_BYTES: usize = 8 * 1024;
/// Most bytes of a priced path, so that the 402 header stays within its limit.
pub(crate) const MAX_PRICED_PATH_BYTES: usize = 2048;
/// Most bytes of a path with its query.
pub(crate) const MAX_TARGET_BYTES: usize = 16 * 1024;
/// Most bytes of a URL that the ledger keeps.
pub(crate) const MAX_STORED_URL_BYTES: usize = 2 * 1024;
/// Most bytes of the query of a priced request.
pub(crate) const MAX_PRICED_QUERY_BYTES: usize = 6 * 1024;
/// Most ways to pay for one route.
pub(crate) const MAX_OFFERS: usize = 16;
/// Most routes of a gate.
pub(crate) const MAX_ROUTES: usize = 1024;
/// Most repeats that ask the ledger what other processes make of their grants.
pub(crate) const MAX_ASKERS: usize = 64;
/// Longest pause between two attempts to learn an unknown outcome.
pub(crate) const MAX_SETTLE_BACKOFF: Duration = Duration::from_secs(30);
/// What is left of an authorization when the service behind must be done.
pub(crate) const SETTLE_MARGIN: Duration = Duration::from_secs(8);
/// What is left of an authorization when a metered stream must end: its answer has
/// left, so what was handed out must settle.
pub(crate) const STREAM_MARGIN: Duration = Duration::from_secs(30);
