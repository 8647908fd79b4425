//! What the ledger keeps when the disk beneath it loses power, fills up or fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod controls;
mod failed_syncs;
mod failed_writes;
mod life;
mod no_room;
mod power_loss;
mod record;
mod script;
