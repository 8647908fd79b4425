//! What is thought of one node: whether it is asked, and why not.
//!
//! A node that fails is put aside for a pause that doubles with every time, from
//! one second to a minute. Meanwhile the others are asked; when all are aside,
//! they are asked nevertheless. A node of another network is never asked.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::RpcError;

/// The first pause of a node that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Who was good for so long begins with the first pause again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(120);

/// Why a node is not asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No connection, or it broke.
    Unreachable,
    /// No answer in time, or another node's came first.
    Slow,
    /// It says that it is asked too often: HTTP 429 or its JSON-RPC likes.
    Busy,
    /// An HTTP status that is no answer.
    Status(u16),
    /// Answers that are not JSON-RPC, such as a page of HTML.
    NotJsonRpc,
    /// Its newest block is older than that of the others.
    Behind {
        /// By how many blocks.
        blocks: u64,
    },
    /// It serves another network; it is never asked while it does.
    OtherNetwork,
    /// Its owner's reason.
    Told(&'static str),
}

impl Why {
    /// A word for labels of metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Slow => "slow",
            Self::Busy => "busy",
            Self::Status(_) => "http_status",
            Self::NotJsonRpc => "not_json_rpc",
            Self::Behind { .. } => "behind",
            Self::OtherNetwork => "other_network",
            Self::Told(_) => "told",
        }
    }

    pub(crate) const fn of(error: &RpcError) -> Self {
        match error {
            RpcError::Transport { .. } => Self::Unreachable,
            RpcError::Timeout { .. } => Self::Slow,
            RpcError::Http { status: 429, .. } | RpcError::Rpc { .. } => Self::Busy,
            RpcError::Http { status, .. } => Self::Status(*status),
            RpcError::NotJson { .. } => Self::NotJsonRpc,
            RpcError::OtherNetwork { .. } => Self::OtherNetwork,
        }
    }

    /// Whether an answer in time disproves it.
    const fn ends_with_an_answer(self) -> bool {
        !matches!(
            self,
            Self::Behind { .. } | Self::OtherNetwork | Self::Told(_)
        )
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("it cannot be reached"),
            Self::Slow => f.write_str("it does not answer in time"),
            Self::Busy => f.write_str("it says that it is asked too often"),
            Self::Status(status) => write!(f, "it answers HTTP {status}"),
            Self::NotJsonRpc => f.write_str("its answers are not JSON-RPC"),
            Self::Behind { blocks: 1 } => f.write_str("it is one block behind, and stays so"),
            Self::Behind { blocks } => write!(f, "it is {blocks} blocks behind"),
            Self::OtherNetwork => f.write_str("it serves another network"),
            Self::Told(why) => f.write_str(why),
        }
    }
}

/// One node as others may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Host and port.
    pub host: String,
    /// Why it is put aside; `None` while it is asked in its turn.
    pub aside: Option<Why>,
    /// Since when it is so.
    pub since: SystemTime,
    /// HTTP requests sent to it, its probes included.
    pub requests: u64,
    /// Calls and probes that it failed.
    pub failures: u64,
    /// Its newest block, as far as its probe reads one.
    pub height: Option<u64>,
}

/// What is thought of one node.
#[derive(Debug)]
pub(crate) struct Standing {
    good: AtomicBool,
    barred: AtomicBool,
    /// Whether it has shown that it serves the right network.
    proven: AtomicBool,
    requests: AtomicU64,
    failures: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    why: Option<Why>,
    since: SystemTime,
    good_since: Instant,
    /// When its pause is over, or its next probe is due.
    look_at: Instant,
    strikes: u32,
    height: Option<u64>,
}

impl Default for Standing {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            good: AtomicBool::new(true),
            barred: AtomicBool::new(false),
            proven: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            state: Mutex::new(State {
                why: None,
                since: SystemTime::now(),
                good_since: now,
                look_at: now,
                strikes: 0,
                height: None,
            }),
        }
    }
}

impl Standing {
    pub(crate) fn is_good(&self) -> bool {
        self.good.load(Ordering::Relaxed)
    }

    pub(crate) fn is_barred(&self) -> bool {
        self.barred.load(Ordering::Relaxed)
    }

    pub(crate) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Acquire)
    }

    pub(crate) fn strikes(&self) -> u32 {
        self.lock().strikes
    }

    pub(crate) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A call or a probe came to nothing.
    pub(crate) fn blame(&self, host: &str, why: Why) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.put_aside(host, why);
    }

    /// It is asked after the others for a while. What fails at the same time
    /// counts once.
    pub(crate) fn put_aside(&self, host: &str, why: Why) {
        let mut state = self.lock();
        let now = Instant::now();
        if why == Why::OtherNetwork {
            self.barred.store(true, Ordering::Relaxed);
            self.proven.store(false, Ordering::Release);
        }
        if state.why.is_some() && now < state.look_at && why != Why::OtherNetwork {
            return;
        }
        if state.why.is_none() && state.good_since.elapsed() >= FORGIVEN_AFTER {
            state.strikes = 0;
        }
        if state.why != Some(why) {
            tracing::warn!(host, %why, "a node is put aside");
        }
        if state.why.is_none() {
            state.since = SystemTime::now();
        }
        state.why = Some(why);
        state.strikes = state.strikes.saturating_add(1);
        state.look_at = now + pause(state.strikes);
        self.good.store(false, Ordering::Relaxed);
    }

    /// It answered a call. Of those put aside only who was given time comes back.
    pub(crate) fn credit(&self, host: &str) {
        if self.is_good() {
            return;
        }
        let mut state = self.lock();
        let over = Instant::now() >= state.look_at;
        if over && state.why.is_some_and(Why::ends_with_an_answer) {
            self.take_back(&mut state, host);
        }
    }

    /// It passed its probe, which is repeated after `every`.
    pub(crate) fn passed(&self, host: &str, every: Duration) {
        let mut state = self.lock();
        if state.why.is_some() {
            self.take_back(&mut state, host);
        }
        state.look_at = Instant::now() + every;
    }

    /// It serves the right network.
    pub(crate) fn prove(&self) {
        self.barred.store(false, Ordering::Relaxed);
        self.proven.store(true, Ordering::Release);
    }

    fn take_back(&self, state: &mut State, host: &str) {
        tracing::info!(host, "a node is asked again");
        state.why = None;
        state.since = SystemTime::now();
        state.good_since = Instant::now();
        self.good.store(true, Ordering::Relaxed);
    }

    /// When it is to be probed.
    pub(crate) fn look_at(&self) -> Instant {
        self.lock().look_at
    }

    pub(crate) fn saw_height(&self, height: u64) {
        self.lock().height = Some(height);
    }

    pub(crate) fn height(&self) -> Option<u64> {
        self.lock().height
    }

    pub(crate) fn read(&self, host: &str) -> NodeState {
        let state = self.lock();
        NodeState {
            host: host.to_owned(),
            aside: state.why,
            since: state.since,
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            height: state.height,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One second, two, four, … up to a minute.
fn pause(strikes: u32) -> Duration {
    let doubled = 1_u32 << strikes.saturating_sub(1).min(6);
    (FIRST_PAUSE * doubled).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_a_minute() {
        let pauses: Vec<u64> = (1..=9).map(|strikes| pause(strikes).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn failures_at_the_same_time_count_once() {
        let standing = Standing::default();
        (0..50).for_each(|_| standing.blame("h", Why::Slow));
        assert_eq!((standing.strikes(), standing.is_good()), (1, false));
        let state = standing.read("h");
        assert_eq!((state.aside, state.failures), (Some(Why::Slow), 50));
        // An answer within the pause is not yet a node that is well.
        standing.credit("h");
        assert!(!standing.is_good());
        standing.passed("h", Duration::ZERO);
        assert!(standing.is_good() && standing.read("h").aside.is_none());
        standing.blame("h", Why::Slow);
        assert_eq!(standing.strikes(), 2, "it was not good for long");
    }

    #[test]
    fn another_network_outweighs_every_pause() {
        let standing = Standing::default();
        standing.prove();
        standing.blame("h", Why::Slow);
        standing.blame("h", Why::OtherNetwork);
        assert!(standing.is_barred() && !standing.is_proven());
        assert_eq!(standing.read("h").aside, Some(Why::OtherNetwork));
    }
}
