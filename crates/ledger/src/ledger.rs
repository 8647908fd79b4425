//! A ledger by its URL, whichever store is behind it.

use std::sync::Arc;

use crate::sqlite::{EngineLock, SqliteLedger};
use crate::{GrantStore, LedgerError, LedgerHealth, SettlementStore, SpendStore, StoryStore};

/// A ledger by its URL, whichever store is behind it. A clone is another
/// handle to the same ledger.
#[derive(Clone)]
pub struct Ledger(Backend);

#[derive(Clone)]
enum Backend {
    Sqlite(SqliteLedger),
}

impl Ledger {
    /// Opens or creates the ledger that a URL names: `sqlite:PATH` or
    /// `sqlite::memory:`.
    ///
    /// # Errors
    /// If no store knows the URL's scheme, or the store cannot be opened.
    pub async fn connect(url: &str) -> Result<Self, LedgerError> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => SqliteLedger::open(url).await.map(Backend::Sqlite).map(Self),
            Some("postgres" | "postgresql") => Err(refused(
                "This Tollway keeps its ledger in SQLite only; write for example sqlite:tollway.db.",
            )),
            _ => Err(refused(
                "A ledger's URL begins with sqlite: and a path; write for example sqlite:tollway.db.",
            )),
        }
    }

    /// For the engine.
    #[must_use]
    pub fn settlements(&self) -> Arc<dyn SettlementStore> {
        let Backend::Sqlite(ledger) = &self.0;
        Arc::new(ledger.clone())
    }

    /// For the gate.
    #[must_use]
    pub fn grants(&self) -> Arc<dyn GrantStore> {
        let Backend::Sqlite(ledger) = &self.0;
        Arc::new(ledger.clone())
    }

    /// For the payer.
    #[must_use]
    pub fn spends(&self) -> Arc<dyn SpendStore> {
        let Backend::Sqlite(ledger) = &self.0;
        Arc::new(ledger.clone())
    }

    /// For people.
    #[must_use]
    pub fn stories(&self) -> Arc<dyn StoryStore> {
        let Backend::Sqlite(ledger) = &self.0;
        Arc::new(ledger.clone())
    }

    /// Whether steps can be taken now.
    #[must_use]
    pub fn health(&self) -> LedgerHealth {
        let Backend::Sqlite(ledger) = &self.0;
        ledger.health()
    }

    /// Takes the engine's place; see [`SqliteLedger::lock_engine`].
    ///
    /// # Errors
    /// If another engine settles from this ledger.
    pub fn lock_engine(&self) -> Result<EngineLock, LedgerError> {
        let Backend::Sqlite(ledger) = &self.0;
        ledger.lock_engine()
    }

    /// Writes what waits and closes; see [`SqliteLedger::close`].
    pub async fn close(&self) {
        let Backend::Sqlite(ledger) = &self.0;
        ledger.close().await;
    }
}

fn refused(message: &str) -> LedgerError {
    LedgerError::Unavailable {
        message: message.to_owned(),
        detail: "unknown scheme".to_owned(),
    }
}
