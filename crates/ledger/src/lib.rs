//! The durable record: settlements, grants and spending.
//!
//! A trait for each state machine's owner: the engine writes through
//! [`SettlementStore`], the gate through [`GrantStore`] and [`PassStore`], the
//! payer through [`SpendStore`]. Every method is one atomic, durable step: when it returns
//! `Ok`, the step survives a power loss; a store that cannot do that says so.
//! Each step appends an event to the record's story in the same commit.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod audit;
mod error;
mod failure;
mod figures;
mod grant;
mod health;
mod ledger;
mod look;
mod pass;
mod postgres;
mod purse;
mod replica;
mod schema;
mod settlement;
mod spend;
mod sql;
mod sqlite;
mod steps;
mod store;
mod story;
mod words;

pub use audit::{ChainReport, FAULTS_TOLD, Fault, Progress, RowReport};
pub use error::LedgerError;
pub use figures::{GasDay, Listing, Payer, Refusals, Side, Takings, Tally, Unfinished, Window};
pub use grant::{
    Claim, Evidence, GrantRecord, GrantState, GrantStore, MeterRecord, NewGrant, PaidBefore,
    Release, StoredAnswer,
};
pub use health::LedgerHealth;
pub use ledger::Ledger;
pub use look::{Claimed, LOOK_STATES, LookCursor, LookFilter, LookKind, LookRow};
pub use pass::{
    ExposureCap, Issue, NewPass, Notice, OpenExposure, Outstanding, PassEnd, PassId, PassRecord,
    PassStore, Revocations, TokenKeyName, UNSETTLED_GRACE,
};
pub use purse::DailyPurse;
pub use replica::{Lease, Replica, ReplicaId, ReplicaStore};
pub use schema::{OLDER_SCHEMA, SCHEMA_VERSION};
pub use settlement::{
    Acceptance, Conclusion, Cost, Ended, Ending, GasSpent, HandOut, NewPayment, PaymentFilter,
    PaymentRecord, PaymentState, SettlementStore, SlotRecord, SlotRef,
};
pub use spend::{
    Limit, LimitScope, NewSpend, PRICE_PLACES, Precedent, Reservation, Rules, SignedSpend,
    SpendRecord, SpendState, SpendStore, SpendTotal,
};
pub use sqlite::EngineLock;
pub use store::{Store, WriterStats};
pub use story::{EventRecord, StoryStore};

/// The store by the name of what it is without further ado: a file.
pub type SqliteLedger = Store;
