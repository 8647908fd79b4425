//! Records as those who look at a ledger see them: what was bought and paid,
//! without payload, signature or the buyer's URL.

use std::fmt;
use std::str::FromStr;

use tollway_core::{Expected, Identity, Network, Timestamp, TxHash};

/// Which kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LookKind {
    /// An engine's payment.
    Payment,
    /// A gate's grant.
    Grant,
    /// A buyer's spend.
    Spend,
}

impl LookKind {
    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Grant => "grant",
            Self::Spend => "spend",
        }
    }
}

/// The states that a record is shown in. A grant that was released and a spend
/// that was paid are `settled`; a spend that was given back is `refused`.
pub const LOOK_STATES: [&str; 12] = [
    "accepted",
    "submitted",
    "claimed",
    "served",
    "settling",
    "reserved",
    "signed",
    "presented",
    "unknown",
    "settled",
    "refused",
    "expired",
];

/// A record as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct LookRow {
    /// Which kind.
    pub kind: LookKind,
    /// Its name.
    pub id: String,
    /// One of [`LOOK_STATES`].
    pub state: &'static str,
    /// Where.
    pub network: Network,
    /// Asset, payer, payee and amount; the amount is what was charged, once that
    /// is known.
    pub expected: Expected,
    /// The gate's route, where a gate sold it; the host, where it was bought.
    pub place: Option<String>,
    /// The transaction, once there is one.
    pub transaction: Option<TxHash>,
    /// Its block, where our own engine saw it.
    pub block: Option<u64>,
    /// Stable code, once refused or expired.
    pub code: Option<String>,
    /// When it began.
    pub began_at: Timestamp,
    /// When it changed last.
    pub changed_at: Timestamp,
    pub(crate) seq: u64,
}

/// Which records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookFilter {
    /// Begun then or later.
    pub since: Timestamp,
    /// Begun before.
    pub until: Timestamp,
    /// Only in this state, one of [`LOOK_STATES`].
    pub state: Option<&'static str>,
}

impl Default for LookFilter {
    fn default() -> Self {
        Self {
            since: Timestamp::default(),
            until: Timestamp::from_millis(u64::MAX),
            state: None,
        }
    }
}

/// A place among the records of a kind, in the order in which they began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookCursor {
    pub(crate) at: Timestamp,
    pub(crate) seq: u64,
}

impl fmt::Display for LookCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at.millis(), self.seq)
    }
}

impl FromStr for LookCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, seq) = text.split_once('-').ok_or(())?;
        Ok(Self {
            at: Timestamp::from_millis(at.parse().map_err(drop)?),
            seq: seq.parse().map_err(drop)?,
        })
    }
}

impl LookRow {
    /// Its place.
    #[must_use]
    pub const fn cursor(&self) -> LookCursor {
        LookCursor {
            at: self.began_at,
            seq: self.seq,
        }
    }
}

/// Money that a record says has moved, to be looked for on its chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// Which kind of record says so.
    pub kind: LookKind,
    /// Its name.
    pub id: String,
    /// What makes the payment unique.
    pub identity: Identity,
    /// The exact transfer.
    pub expected: Expected,
    /// In which transaction.
    pub transaction: TxHash,
    pub(crate) seq: u64,
}

impl Claimed {
    /// Its number among the records of its kind.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.seq
    }
}
