//! A ledger by its URL, and its parts by who uses them.

use std::sync::Arc;

use crate::{
    EngineLock, GrantStore, LedgerError, LedgerHealth, PassStore, ReplicaStore, SettlementStore,
    SpendStore, Store, StoryStore,
};

/// A ledger by its URL, whichever store is behind it. A clone is another
/// handle to the same ledger.
#[derive(Clone)]
pub struct Ledger(Store);

impl Ledger {
    /// Opens or creates the ledger that a URL names; see [`Store::open`].
    ///
    /// # Errors
    /// If no store knows the URL's scheme, or the store cannot be opened.
    pub async fn connect(url: &str) -> Result<Self, LedgerError> {
        Store::open(url).await.map(Self)
    }

    /// For the engine.
    #[must_use]
    pub fn settlements(&self) -> Arc<dyn SettlementStore> {
        Arc::new(self.0.clone())
    }

    /// For the gate.
    #[must_use]
    pub fn grants(&self) -> Arc<dyn GrantStore> {
        Arc::new(self.0.clone())
    }

    /// For the gate that sells passes.
    #[must_use]
    pub fn passes(&self) -> Arc<dyn PassStore> {
        Arc::new(self.0.clone())
    }

    /// For whoever takes part.
    #[must_use]
    pub fn replicas(&self) -> Arc<dyn ReplicaStore> {
        Arc::new(self.0.clone())
    }

    /// For the payer.
    #[must_use]
    pub fn spends(&self) -> Arc<dyn SpendStore> {
        Arc::new(self.0.clone())
    }

    /// For people.
    #[must_use]
    pub fn stories(&self) -> Arc<dyn StoryStore> {
        Arc::new(self.0.clone())
    }

    /// Whether steps can be taken now.
    #[must_use]
    pub fn health(&self) -> LedgerHealth {
        self.0.health()
    }

    /// Whether several machines may share it; see [`Store::is_shared`].
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    /// Takes the engine's place; see [`Store::lock_engine`].
    ///
    /// # Errors
    /// If another engine settles from this ledger.
    pub fn lock_engine(&self) -> Result<EngineLock, LedgerError> {
        self.0.lock_engine()
    }

    /// Writes what waits and closes; see [`Store::close`].
    pub async fn close(&self) {
        self.0.close().await;
    }
}
