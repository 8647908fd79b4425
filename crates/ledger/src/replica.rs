//! Processes that share one ledger: who is alive, and who may use a signer.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tollway_core::{Address, Network};

use crate::LedgerError;

/// A process's name in the ledger, new at every start: `rep_` and 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaId(String);

impl ReplicaId {
    /// One that the ledger named before.
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

impl std::fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A process that takes part in a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its name in the ledger.
    pub id: ReplicaId,
    /// Its name for people, such as host and process.
    pub name: String,
}

/// The right to allocate nonces of a signer and to sign under them. It ends
/// when another replica takes it, which the ledger checks in every such step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who has it.
    pub replica: ReplicaId,
    /// How many had it, this one included.
    pub epoch: u64,
    /// Where the signer signs.
    pub network: Network,
    /// The signer.
    pub signer: Address,
}

/// Who takes part, by the ledger's own clock: the database's, where several
/// machines share one.
#[async_trait]
pub trait ReplicaStore: Send + Sync {
    /// Takes part under a new name, alive for `ttl` without a beat. In a file,
    /// where one engine runs at a time, whoever joined earlier is dead now.
    async fn join(&self, name: &str, ttl: Duration) -> Result<Replica, LedgerError>;

    /// Alive for another `ttl`.
    async fn beat(&self, replica: &ReplicaId, ttl: Duration) -> Result<(), LedgerError>;

    /// Ends in order: its signers are free and its payments may be adopted at once.
    async fn leave(&self, replica: &ReplicaId) -> Result<(), LedgerError>;
}
