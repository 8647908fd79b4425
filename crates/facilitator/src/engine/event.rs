//! Settlement events, for hooks: what a story, a log line or a webhook is made of.

use std::sync::Arc;
use std::time::Duration;

use tollway_core::{Identity, PaymentId, Refusal};
use tollway_ledger::PaymentRecord;

use super::machine::Update;

/// Something that happened to a payment.
#[derive(Clone, Debug)]
pub enum SettlementEvent {
    /// It was verified; nothing was committed.
    Verified {
        /// What makes it unique.
        identity: Identity,
        /// Why it would not settle, if it would not.
        refusal: Option<Refusal>,
        /// How long that took.
        took: Duration,
    },
    /// It is durable, and will end settled, refused or expired.
    Accepted {
        /// As the ledger has it.
        record: Arc<PaymentRecord>,
    },
    /// It moved on.
    Moved {
        /// Which.
        id: PaymentId,
        /// How.
        update: Update,
    },
}

/// Called for every event, in the engine's tasks: it must not block.
pub type Hook = Arc<dyn Fn(&SettlementEvent) + Send + Sync>;
