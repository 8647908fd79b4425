//! Figures about a ledger, for those who look at how a business goes.

use tollway_core::{Address, Amount, Network, Timestamp};

use crate::LookCursor;

/// From when, to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From this moment on.
    pub since: Timestamp,
    /// Up to before this one.
    pub until: Timestamp,
}

/// Which side of the ledger: what a gate sold, or what an engine settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Grants.
    Sales,
    /// Payments.
    Settlements,
}

/// Money that came in, of one price: exact, and never added to another asset's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takings {
    /// Steps since 1970, of the length that was asked for.
    pub step: u64,
    /// The gate's route; empty on the engine's side.
    pub route: String,
    /// Where.
    pub network: Network,
    /// In what.
    pub asset: Address,
    /// What each of them was.
    pub each: Amount,
    /// How many there were.
    pub times: u64,
}

/// What has not ended, by state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The state's word.
    pub state: String,
    /// How many.
    pub times: u64,
    /// When the oldest of them began.
    pub oldest: Timestamp,
}

/// Refusals of one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals {
    /// The stable code.
    pub code: String,
    /// How many.
    pub times: u64,
}

/// Somebody who paid often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payer {
    /// Who.
    pub payer: Address,
    /// Where.
    pub network: Network,
    /// In what.
    pub asset: Address,
    /// How often.
    pub times: u64,
    /// How much in all; `None` where it is too large to say.
    pub amount: Option<Amount>,
}

/// What fees a network's transactions cost on one UTC day, in its own coin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GasDay {
    /// Days since 1970.
    pub day: u64,
    /// All of it.
    pub fee: Amount,
    /// What of it moved no payment.
    pub lost: Amount,
}

/// How often something happened that leaves no record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tally {
    /// Hours since 1970.
    pub hour: u64,
    /// The gate's route.
    pub route: String,
    /// A stable word: `challenged`, or `refused:` and a code.
    pub what: String,
    /// How often.
    pub times: u64,
}

/// Which records to list, the latest begun first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Which side.
    pub side: Side,
    /// When they began.
    pub window: Window,
    /// Only in this state, one of [`crate::LOOK_STATES`].
    pub state: Option<&'static str>,
    /// Only of this payer.
    pub payer: Option<String>,
    /// Only by this route; the engine's side has none.
    pub route: Option<String>,
    /// Only here.
    pub network: Option<String>,
    /// Begun before this place.
    pub before: Option<LookCursor>,
    /// At most so many (at most 1000).
    pub limit: u32,
}
