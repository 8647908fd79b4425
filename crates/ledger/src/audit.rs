//! What a look at the whole ledger shows: whether its history is as it was
//! written, and whether its records say what their history says.

use serde::Serialize;

use crate::EventRecord;

/// Most faults that one look tells of; the rest are only counted.
pub const FAULTS_TOLD: usize = 100;

/// What is wrong with a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Fault {
    /// An event does not have the hash that it was written with: it, its place
    /// or what it follows was changed.
    EventChanged {
        /// Whose chain.
        writer: String,
        /// Its number there.
        seq: u64,
        /// The record that it tells of.
        subject: String,
        /// What it says happened.
        kind: String,
    },
    /// Events that were there are gone.
    EventsMissing {
        /// Whose chain.
        writer: String,
        /// The first number that is gone.
        seq: u64,
    },
    /// A checkpoint has another hash than the event that it was made of.
    CheckpointChanged {
        /// Whose chain.
        writer: String,
        /// The event's number.
        seq: u64,
    },
    /// Checkpoints that were made are gone, or there are more than were made.
    CheckpointsMissing {
        /// Whose chain.
        writer: String,
        /// How many were made.
        made: u64,
        /// How many are there.
        found: u64,
    },
    /// A writer says that it began after an event that is not there.
    LooseBeginning {
        /// Who.
        writer: String,
    },
    /// An end of the history that somebody noted down is not in it.
    HeadMissing {
        /// The hash that was noted.
        hash: String,
    },
    /// A record says something else than its events.
    RowChanged {
        /// The record.
        subject: String,
        /// In which column.
        column: &'static str,
        /// What the record says.
        row: String,
        /// What its events say.
        events: String,
    },
    /// A record whose events are there is gone.
    RowMissing {
        /// The record.
        subject: String,
    },
    /// A record of which no event tells.
    RowWithoutEvents {
        /// The record.
        subject: String,
    },
}

/// What a look at the hash chains showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainReport {
    /// Chains: one for each time that a process opened the ledger and wrote.
    pub writers: u64,
    /// Events.
    pub events: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// The latest event: whoever notes its hash somewhere else can tell later
    /// whether anything up to it was changed.
    pub head: Option<EventRecord>,
    /// What is wrong, at most [`FAULTS_TOLD`].
    pub faults: Vec<Fault>,
    /// How many are wrong.
    pub fault_count: u64,
}

/// What a look at the records showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowReport {
    /// Payments, grants and spends that were looked at.
    pub rows: u64,
    /// What is wrong, at most [`FAULTS_TOLD`].
    pub faults: Vec<Fault>,
    /// How many are wrong.
    pub fault_count: u64,
}

impl ChainReport {
    pub(crate) fn note(&mut self, fault: Fault) {
        note(&mut self.faults, &mut self.fault_count, fault);
    }
}

impl RowReport {
    pub(crate) fn note(&mut self, fault: Fault) {
        note(&mut self.faults, &mut self.fault_count, fault);
    }
}

fn note(faults: &mut Vec<Fault>, count: &mut u64, fault: Fault) {
    *count += 1;
    if faults.len() < FAULTS_TOLD {
        faults.push(fault);
    }
}

/// Told how much was looked at so far, now and then.
pub type Progress<'a> = &'a (dyn Fn(u64) + Send + Sync);
