//! The steps of each state machine: SQL that is written once, for every store.

pub(crate) mod endings;
pub(crate) mod exposures;
pub(crate) mod gas;
pub(crate) mod grant_rows;
pub(crate) mod grants;
pub(crate) mod limits;
pub(crate) mod meters;
pub(crate) mod notices;
pub(crate) mod passes;
pub(crate) mod payments;
pub(crate) mod precedents;
pub(crate) mod replicas;
pub(crate) mod sign_ins;
pub(crate) mod slots;
pub(crate) mod spend_rows;
pub(crate) mod spends;
pub(crate) mod token_keys;
pub(crate) mod transfers;

use tollway_core::Timestamp;

use crate::LedgerError;
use crate::failure::no_randomness;

/// A fresh name that sorts by time: records of one moment lie together in every
/// index, however long the history is. The other 128 bits are random.
fn fresh_name(prefix: &str, now: Timestamp) -> Result<String, LedgerError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(no_randomness)?;
    let time = now.millis() & 0x0fff_ffff_ffff;
    Ok(format!("{prefix}_{time:011x}{}", hex::encode(bytes)))
}
