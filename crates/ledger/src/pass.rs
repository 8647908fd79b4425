//! Passes: what a payment opened for more than one request.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tollway_core::{Address, Amount, GrantId, Network, Timestamp};

use crate::{GrantRecord, LedgerError, NewGrant};

/// How long after its payment's deadline an unsettled pass still counts: a
/// receipt may be late, an authorization cannot be used any more.
pub const UNSETTLED_GRACE: Duration = Duration::from_secs(120);

/// A pass: `pas_` and hex digits, 128 bits of them random.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PassId(String);

impl PassId {
    /// One that the ledger named before. Nothing is checked.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for PassId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pass as it is sold: a grant keeps it from its claim on, and whatever is
/// sold later, this one is issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPass {
    /// Which routes it opens, by the name of their set.
    pub audience: String,
    /// How many requests it opens; `None`: any number until it expires.
    pub quota: Option<u64>,
    /// How many of them were made by the purchase itself.
    pub used: u64,
    /// How long it opens anything, from its issue.
    pub lifetime: Duration,
    /// Whether the seller's own server is told of it and of what becomes of it.
    pub is_told: bool,
    /// Whether it was bought at the door of tokens, and by no request.
    pub is_door: bool,
}

/// A key that signs or checks tokens, by what tells it from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKeyName {
    /// Its name, as tokens have it.
    pub name: String,
    /// A digest of the key.
    pub fingerprint: String,
}

/// A payment that is still to be settled: all that it takes to ask for it again
/// after a crash.
#[derive(Clone, Debug, PartialEq)]
pub struct Outstanding {
    /// The payment payload, as presented.
    pub payload: Value,
    /// The requirements it was made for.
    pub requirements: Value,
}

/// The most that may be promised and not settled, with what was so lost since
/// yesterday (in UTC), in atomic units of one asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExposureCap {
    /// To one payer.
    pub per_payer: Amount,
    /// To all payers.
    pub total: Amount,
}

/// What is promised to all payers and not settled, in one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenExposure {
    /// Where.
    pub network: Network,
    /// In what.
    pub asset: Address,
    /// How much, in atomic units.
    pub amount: Amount,
}

/// A pass as the ledger has it.
#[derive(Clone, Debug, PartialEq)]
pub struct PassRecord {
    /// Its name.
    pub id: PassId,
    /// The grant that it came with.
    pub grant: GrantId,
    /// Where it was paid.
    pub network: Network,
    /// Who paid.
    pub payer: Address,
    /// In what.
    pub asset: Address,
    /// How much, in atomic units.
    pub amount: Amount,
    /// Which routes it opens.
    pub audience: String,
    /// How many requests it opened at first.
    pub quota: Option<u64>,
    /// How many it still opens.
    pub uses_left: Option<u64>,
    /// After this moment its payment can no longer move money.
    pub deadline: Timestamp,
    /// From this moment it opens nothing.
    pub expires_at: Timestamp,
    /// Whether its payment failed, or somebody took it back.
    pub is_revoked: bool,
    /// Whether the money moved.
    pub is_settled: bool,
    /// What is still to be settled.
    pub outstanding: Option<Outstanding>,
    /// When it was issued.
    pub issued_at: Timestamp,
}

/// Why a pass opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassEnd {
    /// There is no such pass.
    Unknown,
    /// Its payment failed, or somebody took it back.
    Revoked,
    /// Its time is over.
    Expired,
    /// Its payment should have settled by now, and nobody knows what became of it.
    InDoubt,
    /// All its requests are made.
    UsedUp,
}

impl PassRecord {
    /// Why it opens nothing now, if it does not.
    #[must_use]
    pub fn end(&self, now: Timestamp) -> Option<PassEnd> {
        if self.is_revoked {
            return Some(PassEnd::Revoked);
        }
        let in_doubt = !self.is_settled && now > self.deadline.plus(UNSETTLED_GRACE);
        if now >= self.expires_at {
            return Some(PassEnd::Expired);
        }
        if in_doubt {
            return Some(PassEnd::InDoubt);
        }
        (self.uses_left == Some(0)).then_some(PassEnd::UsedUp)
    }
}

/// What became of issuing a pass before its payment settled.
#[derive(Clone, Debug, PartialEq)]
pub enum Issue {
    /// It is issued, and its payment is to be settled.
    New(Box<GrantRecord>, Box<PassRecord>),
    /// The authorization opened a grant before.
    Existing(Box<GrantRecord>),
    /// Too much would be promised and not settled: settle first.
    OverExposed,
}

/// Passes that may no longer be trusted without reading them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Each with the moment from which it opens nothing anyway.
    pub passes: Vec<(PassId, Timestamp)>,
    /// Whence to ask on.
    pub seq: u64,
}

/// Something to tell the seller's own server.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Its name: the same however often it is told.
    pub id: String,
    /// Stable word.
    pub kind: String,
    /// What to tell, as JSON.
    pub body: String,
    /// How often it was taken before.
    pub attempts: u64,
    /// When it happened.
    pub at: Timestamp,
}

/// What the gate writes about passes.
#[async_trait]
pub trait PassStore: Send + Sync {
    /// The same store for one owner of grants, as [`crate::GrantStore::owned_by`].
    fn passes_of_owner(&self, owner: &str) -> Arc<dyn PassStore>;

    /// Claims a grant of the flow `background`, issues its pass, counts what is
    /// promised against the cap and keeps what is to be settled, all in one
    /// commit. The grant is settling from then on, and is refused for good or
    /// released: a token has left.
    async fn issue(
        &self,
        new: NewGrant,
        pass: NewPass,
        outstanding: Outstanding,
        cap: ExposureCap,
        now: Timestamp,
    ) -> Result<Issue, LedgerError>;

    /// By name.
    async fn pass(&self, id: &PassId) -> Result<Option<PassRecord>, LedgerError>;

    /// The one that came with a grant.
    async fn pass_of(&self, grant: &GrantId) -> Result<Option<PassRecord>, LedgerError>;

    /// By name, the grant that a pass came with.
    async fn grant(&self, id: &GrantId) -> Result<Option<GrantRecord>, LedgerError>;

    /// Makes one request of a pass that counts them: at most as many succeed as
    /// it has left.
    async fn use_pass(
        &self,
        id: &PassId,
        now: Timestamp,
    ) -> Result<Result<PassRecord, PassEnd>, LedgerError>;

    /// Gives a request back that was made and not served.
    async fn give_use_back(&self, id: &PassId) -> Result<(), LedgerError>;

    /// Takes a pass back, whatever becomes of its payment.
    async fn revoke(&self, id: &PassId, now: Timestamp) -> Result<(), LedgerError>;

    /// What may no longer be trusted unread since `after`; at most 1000.
    async fn revocations(&self, after: u64) -> Result<Revocations, LedgerError>;

    /// Whence to ask for revocations from now on.
    async fn latest_revocation(&self) -> Result<u64, LedgerError>;

    /// Forgets passes and revocations that expired before this moment and are
    /// of no use to anybody, losses that count no more on the day of `now`, and
    /// notices that nobody took in four days. Returns how many passes.
    async fn forget_passes(&self, before: Timestamp, now: Timestamp) -> Result<u64, LedgerError>;

    /// Tokens are signed with the first of these keys from now on, and checked
    /// by all of them. The name of another key, if tokens that it signed would
    /// be unknown: of several gates over one database, or while any pass is
    /// good; then nothing changes, unless `whatever_is_out`.
    async fn sign_with(
        &self,
        keys: &[TokenKeyName],
        whatever_is_out: bool,
        now: Timestamp,
    ) -> Result<Option<String>, LedgerError>;

    /// Takes notices that are due, at most so many; each is due again at
    /// `again`, unless it was told.
    async fn take_notices(
        &self,
        limit: u32,
        again: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Notice>, LedgerError>;

    /// A notice was told, or is given up.
    async fn told(&self, id: &str) -> Result<(), LedgerError>;
}
