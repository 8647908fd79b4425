//! The story's hashes.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::Breaches;
use crate::Evidence;
use crate::ledger::Event;

/// SHA-256 over the hash before and every field, each after its length in
/// eight bytes.
pub(super) fn hash(before: &str, event: &Event) -> String {
    let fields: [&[u8]; 7] = [
        before.as_bytes(),
        event.writer.as_bytes(),
        &event.seq.to_be_bytes(),
        &event.at.to_be_bytes(),
        event.subject.as_bytes(),
        event.kind.as_bytes(),
        event.data.as_bytes(),
    ];
    let mut hasher = Sha256::new();
    for field in fields {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field);
    }
    hex::encode(hasher.finalize())
}

pub(super) fn story_holds(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for ledger in &evidence.ledgers {
        let known: Vec<&str> = ledger.events.iter().map(|e| e.hash.as_str()).collect();
        let mut ends: BTreeMap<&str, (u64, String)> = BTreeMap::new();
        for writer in &ledger.writers {
            if !writer.follows.is_empty() && !known.contains(&writer.follows.as_str()) {
                breaches.add(&writer.name, "follows an event that is gone");
            }
            ends.insert(&writer.name, (0, writer.follows.clone()));
        }
        for event in &ledger.events {
            let about = format!("{} {}", event.writer, event.seq);
            let Some((seq, before)) = ends.get_mut(event.writer.as_str()) else {
                breaches.add(about, "is by a writer that is not known");
                continue;
            };
            if event.seq != *seq + 1 {
                breaches.add(&about, "does not follow the one before it");
            }
            if event.hash != hash(before, event) {
                breaches.add(&about, "was changed");
            }
            (*seq, *before) = (event.seq, event.hash.clone());
        }
    }
}
