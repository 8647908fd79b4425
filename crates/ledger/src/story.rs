//! Events: each record's whole story, append-only and hash-chained.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tollway_core::{GrantId, Timestamp};

use crate::{Fault, GrantRecord, LedgerError};

/// Something that happened to a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Number in its writer's chain, from 1.
    pub seq: u64,
    /// Which writer (process) wrote it.
    pub writer: String,
    /// When.
    pub at: Timestamp,
    /// The record: a payment, grant, slot or spend.
    pub subject: String,
    /// What happened, a stable word (`accepted`, `stored_raw`, `settled`, …).
    pub kind: String,
    /// Facts without secrets.
    pub data: serde_json::Value,
    /// SHA-256 over the previous event's hash and this event, hex.
    pub hash: String,
}

/// Reading the record, for people and programs that look at it.
#[async_trait]
pub trait StoryStore: Send + Sync {
    /// All that happened to a record, oldest first.
    async fn story(&self, subject: &str) -> Result<Vec<EventRecord>, LedgerError>;

    /// A grant by name.
    async fn grant(&self, id: &GrantId) -> Result<Option<GrantRecord>, LedgerError>;

    /// Grants, newest first, at most `limit` (at most 1000).
    async fn grants(&self, limit: u32) -> Result<Vec<GrantRecord>, LedgerError>;

    /// Recomputes every writer's chain; the first fault, if there is one. See
    /// [`crate::Store::audit_chain`].
    async fn verify_chain(&self) -> Result<Option<Fault>, LedgerError>;
}
