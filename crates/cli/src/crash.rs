//! Where a test wants this process to end, as a power failure would end it.
//!
//! Nothing of this is in a binary that was built without feature `failpoints`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tollway_facilitator::EngineConfig;

use crate::environment::Environment;

/// Reads `TOLLWAY_CRASH_AT=PLACE=N`: the process aborts when it comes to the
/// place for the N-th time.
pub fn arm(environment: &Environment) {
    if !fail::has_failpoints() {
        return;
    }
    let Some((place, hit)) = environment
        .get("TOLLWAY_CRASH_AT")
        .and_then(|text| text.rsplit_once('='))
    else {
        return;
    };
    let Ok(hit) = hit.parse::<u32>() else {
        return;
    };
    let name = place.to_owned();
    let hits = AtomicU32::new(0);
    let reached = move || {
        if hits.fetch_add(1, Ordering::Relaxed) + 1 == hit {
            eprintln!("tollway: crashed at {name}");
            std::process::abort();
        }
    };
    if let Err(error) = fail::cfg_callback(place, reached) {
        eprintln!("tollway: cannot crash at {place}: {error}");
    }
}

/// Reads `TOLLWAY_TEST_HASTE=N`: what an engine waits for is N times shorter.
pub fn hasten(config: &mut EngineConfig, environment: &Environment) {
    if !fail::has_failpoints() {
        return;
    }
    let Some(haste) = environment
        .get("TOLLWAY_TEST_HASTE")
        .and_then(|text| text.parse::<u32>().ok())
        .filter(|haste| *haste > 1)
    else {
        return;
    };
    let shorter = |time: &mut Duration| *time /= haste;
    shorter(&mut config.recover_interval);
    let rules = &mut config.rules;
    shorter(&mut rules.stuck_after);
    shorter(&mut rules.rebroadcast_after);
    shorter(&mut rules.retry_max);
}
