//! Grants: what a payment opened at the gate.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tollway_core::{Address, Amount, Expected, GrantId, Identity, Network, Timestamp, TxHash};

use crate::{ExposureCap, LedgerError, NewPass, Outstanding, PassRecord};

/// Where a grant is: `claimed → served → settling → released | refused`.
/// (`upfront`: `claimed → settling → served → released`.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// Ours, before anybody was asked.
    Claimed,
    /// The upstream answered, and the answer is stored where it can be.
    Served,
    /// Settling was asked for: from here on the facilitator may act.
    Settling,
    /// The answer may leave (again, to the same payment identifier). Last.
    Released,
    /// No answer leaves. Last, but see [`GrantRecord::reclaimable`].
    Refused,
}

/// A grant to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGrant {
    /// What makes the payment unique.
    pub identity: Identity,
    /// What it pays.
    pub expected: Expected,
    /// After this moment the payment can no longer move money.
    pub deadline: Timestamp,
    /// The route's pattern.
    pub route: String,
    /// HTTP method, and canonical URL with query.
    pub method: String,
    /// Canonical URL with query.
    pub url: String,
    /// SHA-256 of the request body, hex.
    pub body_digest: String,
    /// SHA-256 of the payment payload in canonical form, hex.
    pub payload_digest: String,
    /// The buyer's payment identifier, if it sent one.
    pub payment_identifier: Option<String>,
    /// `authorization`, `upfront`, `background` or `metered`.
    pub flow: String,
    /// Names the process, so that its orphans are known after its death.
    pub owner: String,
    /// The pass that it pays for, if it pays for one.
    pub pass: Option<NewPass>,
}

/// What kind of evidence a release rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Evidence {
    /// The receipt's Transfer, read by our own engine or by the gate itself.
    Receipt {
        /// The transaction.
        transaction: TxHash,
        /// Place of the Transfer among the logs of its transaction, where it was
        /// read for this grant: an engine that settles from the same ledger has
        /// counted it itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_index: Option<u64>,
    },
    /// The word of a remote facilitator.
    FacilitatorSaid {
        /// Its URL's origin.
        facilitator: String,
        /// The transaction that it named.
        transaction: TxHash,
    },
    /// The word of a remote facilitator, and the Transfer read by ourselves.
    Checked {
        /// Its URL's origin.
        facilitator: String,
        /// The transaction.
        transaction: TxHash,
        /// Place of the Transfer among the logs of its transaction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_index: Option<u64>,
    },
    /// Nothing was owed.
    Nothing,
}

impl Evidence {
    /// The transaction with the Transfer, and its place among the logs where it
    /// was read; on the network of the grant's identity.
    #[must_use]
    pub const fn transfer(&self) -> Option<(&TxHash, Option<u64>)> {
        match self {
            Self::Receipt {
                transaction,
                log_index,
            }
            | Self::Checked {
                transaction,
                log_index,
                ..
            } => Some((transaction, *log_index)),
            Self::FacilitatorSaid { transaction, .. } => Some((transaction, None)),
            Self::Nothing => None,
        }
    }
}

/// What became of a release.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Release {
    /// The answer may leave; with the pass that was bought, if one was.
    Released(Option<Box<PassRecord>>),
    /// The Transfer that it rests on was counted for another authorization:
    /// nothing was written, and nothing may leave.
    Anothers,
}

/// A stored answer, for handing out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// HTTP status.
    pub status: u16,
    /// Headers in order, values as they were.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Body.
    pub body: Vec<u8>,
}

/// A grant as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRecord {
    /// Its name.
    pub id: GrantId,
    /// What was claimed.
    pub grant: NewGrant,
    /// Where it is.
    pub state: GrantState,
    /// What it rests on, once it is known to be paid: released, or still to be
    /// served after it was settled.
    pub evidence: Option<Evidence>,
    /// The receipt as it was sent (`PAYMENT-RESPONSE`, decoded), once there is one.
    pub receipt: Option<serde_json::Value>,
    /// Code and sentence, once refused.
    pub refusal: Option<(String, String)>,
    /// A refused grant whose authorization may be claimed again: nothing was
    /// submitted and no byte left.
    pub reclaimable: bool,
    /// Whether an answer is stored.
    pub has_answer: bool,
    /// When it was claimed.
    pub claimed_at: Timestamp,
}

/// A grant that is charged by what is handed out.
#[derive(Clone, Debug, PartialEq)]
pub struct MeterRecord {
    /// The most that may be charged, in atomic units.
    pub permitted: Amount,
    /// What is to be settled, until the grant has ended. Its requirements name
    /// the most; the charge is the grant's expected amount.
    pub outstanding: Option<Outstanding>,
}

/// What became of claiming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Ours.
    New(GrantRecord),
    /// The authorization opened a grant before.
    Existing(GrantRecord),
    /// The payment identifier belongs to another payload: 409.
    IdentifierTaken(GrantRecord),
}

/// A payment that is looked for, by who made it and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaidBefore {
    /// Who paid.
    pub payer: Address,
    /// Where: on one of these.
    pub networks: Vec<Network>,
    /// The route's pattern.
    pub route: String,
    /// HTTP method.
    pub method: String,
    /// Canonical URL without its query.
    pub resource: String,
    /// Claimed at this moment or later.
    pub since: Timestamp,
}

/// What the gate writes.
#[async_trait]
pub trait GrantStore: Send + Sync {
    /// The same store for one owner of grants: `served`, `settling`, `release`,
    /// `refuse`, `refuse_with_receipt` and `remember_receipt` on a grant that is
    /// another owner's are a [`LedgerError::Conflict`]. A process that slept, and was taken for dead,
    /// so finds out before it delivers anything.
    fn owned_by(&self, owner: &str) -> Arc<dyn GrantStore>;

    /// Claims a grant unless its identity or payment identifier is taken. A
    /// refused and reclaimable grant of the same identity is claimed anew.
    ///
    /// A grant's story begins with the first step after which it is more than a
    /// claim (for `upfront`, more than settling without a receipt): what comes
    /// to nothing before that leaves none, since stories are kept for ever.
    async fn claim(&self, new: NewGrant, now: Timestamp) -> Result<Claim, LedgerError>;

    /// The upstream answered; the answer is stored if there is one to store. What is
    /// charged is the grant's expected amount from now on, where that is less than
    /// was permitted (`upto`).
    async fn served(
        &self,
        id: &GrantId,
        answer: Option<StoredAnswer>,
        charged: Option<Amount>,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// The answer of a claimed grant of the flow `metered` is about to leave, and is
    /// charged by what is handed out: nothing so far. It is settling from then on,
    /// is never claimed again, and what is to be settled is kept; what it may come
    /// to is promised to its payer. False, and nothing happened, above the cap.
    async fn meter(
        &self,
        id: &GrantId,
        outstanding: Outstanding,
        cap: ExposureCap,
        now: Timestamp,
    ) -> Result<bool, LedgerError>;

    /// So much of a metered grant is handed out: its expected amount from now on.
    /// Less than before, or more than permitted, is a [`LedgerError::Conflict`].
    async fn metered(
        &self,
        id: &GrantId,
        charged: Amount,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// What was permitted to a metered grant, and what is to be settled.
    async fn meter_of(&self, id: &GrantId) -> Result<Option<MeterRecord>, LedgerError>;

    /// Settling is about to be asked for.
    async fn settling(&self, id: &GrantId, now: Timestamp) -> Result<(), LedgerError>;

    /// A grant that settles before it is served (`upfront`) was settled. Its
    /// evidence is kept, and the Transfer counted, as by [`GrantStore::release`].
    /// False, and nothing happened, if it is another authorization's.
    async fn settled_first(
        &self,
        id: &GrantId,
        evidence: &Evidence,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<bool, LedgerError>;

    /// The answer may leave. A grant that pays for a pass gets it in the same
    /// commit, unless it has one (`background`). A Transfer that was read is counted
    /// for its authorization in that commit, whoever else saw it: each log is
    /// evidence for one.
    async fn release(
        &self,
        id: &GrantId,
        evidence: &Evidence,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<Release, LedgerError>;

    /// No answer leaves.
    async fn refuse(
        &self,
        id: &GrantId,
        code: &str,
        message: &str,
        reclaimable: bool,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// [`GrantStore::refuse`] for what names a transaction: its receipt is kept in the
    /// same commit, wherever the grant is.
    async fn refuse_with_receipt(
        &self,
        id: &GrantId,
        code: &str,
        message: &str,
        reclaimable: bool,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// Keeps the latest receipt of a grant that is still settling.
    async fn remember_receipt(
        &self,
        id: &GrantId,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// By name.
    async fn grant_by_id(&self, id: &GrantId) -> Result<Option<GrantRecord>, LedgerError>;

    /// By payment identifier.
    async fn grant_by_identifier(
        &self,
        payment_identifier: &str,
    ) -> Result<Option<GrantRecord>, LedgerError>;

    /// By what makes the payment unique.
    async fn grant_by_identity(
        &self,
        identity: &Identity,
    ) -> Result<Option<GrantRecord>, LedgerError>;

    /// What a grant of the flow `background` or `metered` still has to settle.
    async fn outstanding(&self, id: &GrantId) -> Result<Option<Outstanding>, LedgerError>;

    /// Whether an account paid for a resource since a moment, and its answer left.
    async fn paid_before(&self, asked: &PaidBefore) -> Result<bool, LedgerError>;

    /// Uses a message that a payer signed to come back: false if it was used before.
    /// It is known as used until `keep_until` at least.
    async fn use_sign_in(
        &self,
        nonce: &str,
        keep_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, LedgerError>;

    /// The stored answer, if it is still kept.
    async fn answer(&self, id: &GrantId) -> Result<Option<StoredAnswer>, LedgerError>;

    /// Grants that have not ended, oldest first.
    async fn open_grants(&self) -> Result<Vec<GrantRecord>, LedgerError>;

    /// Makes a grant one's own unless its owner lives: one of `alive`, or where
    /// several machines share the ledger, a replica that beats by the store's
    /// clock. The grant as it is now, `None` if its owner lives. What has ended
    /// is given as it is.
    async fn take_over(
        &self,
        id: &GrantId,
        heir: &str,
        alive: &[String],
        now: Timestamp,
    ) -> Result<Option<GrantRecord>, LedgerError>;

    /// Refuses what dead processes left before settling (`claimed`, `served`),
    /// reclaimable; `alive` names the owners that still live. Returns how many.
    async fn refuse_orphans(&self, alive: &[String], now: Timestamp) -> Result<u64, LedgerError>;

    /// Forgets answers stored before this moment. Returns how many.
    async fn forget_answers(&self, before: Timestamp) -> Result<u64, LedgerError>;

    /// Forgets grants that were refused before this moment and may be claimed
    /// again, and of the later ones all but the newest 10,000: nothing was
    /// submitted for them, and anybody may cause any number of them. Their
    /// stories stay. Returns how many.
    async fn forget_refused(&self, before: Timestamp) -> Result<u64, LedgerError>;
}
