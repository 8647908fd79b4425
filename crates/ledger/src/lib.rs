//! The durable record: settlements, grants and spending.
//!
//! Three traits, one for each state machine's owner: the engine writes through
//! [`SettlementStore`], the gate through [`GrantStore`], the payer through
//! [`SpendStore`]. Every method is one atomic, durable step: when it returns
//! `Ok`, the step survives a power loss; a store that cannot do that says so.
//! Each step appends an event to the record's story in the same commit.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod error;
mod grant;
mod health;
mod ledger;
mod settlement;
mod spend;
mod sqlite;
mod story;
mod words;

pub use error::LedgerError;
pub use grant::{Claim, Evidence, GrantRecord, GrantState, GrantStore, NewGrant, StoredAnswer};
pub use health::LedgerHealth;
pub use ledger::Ledger;
pub use settlement::{
    Acceptance, Conclusion, HandOut, NewPayment, PaymentFilter, PaymentRecord, PaymentState,
    SettlementStore, SlotRecord, SlotRef,
};
pub use spend::{
    Limit, LimitScope, NewSpend, Reservation, SignedSpend, SpendRecord, SpendState, SpendStore,
    SpendTotal,
};
pub use sqlite::{EngineLock, SCHEMA_VERSION, SqliteLedger, WriterStats};
pub use story::{EventRecord, StoryStore};
