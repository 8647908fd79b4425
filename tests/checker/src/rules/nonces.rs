//! The settling accounts' nonces, and what was signed under them.

use std::collections::{BTreeMap, BTreeSet};

use super::Breaches;
use crate::ledger::Slot;
use crate::{Evidence, Ledger};

pub(super) fn hashes_are_kept(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    let slots = || evidence.ledgers.iter().flat_map(|ledger| &ledger.slots);
    let kept: BTreeSet<&str> = slots()
        .flat_map(|slot| &slot.hashes)
        .map(String::as_str)
        .collect();
    for mined in &evidence.chain.mined {
        if !kept.contains(mined.hash.as_str()) {
            breaches.add(&mined.hash, "is mined, and in no ledger");
        }
    }
    let moved = evidence.chain.transfers.iter();
    let moved: BTreeSet<&str> = moved.map(|t| t.transaction.as_str()).collect();
    for (auth, lived) in &evidence.client.payments {
        for (_, answer) in &lived.answers {
            let told = answer.transaction.as_deref().unwrap_or_default();
            let told = told.to_lowercase();
            if !told.is_empty() && !kept.contains(&*told) && !moved.contains(&*told) {
                breaches.add(auth, format!("was told {told}, which nobody knows"));
            }
        }
    }
}

/// The block in which a nonce was used.
fn used_in(evidence: &Evidence, slot: &Slot) -> Option<u64> {
    let mined = evidence.chain.mined.iter();
    mined
        .filter(|mined| mined.from == slot.signer && mined.nonce == slot.nonce)
        .map(|mined| mined.block)
        .next()
}

/// Where one payment was signed under several nonces, each but the last was
/// used up in an earlier block than the next one: it was dead before.
pub(super) fn no_overlap(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for ledger in &evidence.ledgers {
        for (id, slots) in attempts(ledger) {
            let mut blocks: Vec<Option<u64>> =
                slots.iter().map(|slot| used_in(evidence, slot)).collect();
            let unused = blocks.iter().filter(|block| block.is_none()).count();
            if unused > 1 || (unused == 1 && blocks.len() > 1) {
                breaches.add(id, "is signed under nonces of which one may still land");
                continue;
            }
            blocks.sort();
            if blocks.windows(2).any(|pair| pair[0] == pair[1]) {
                breaches.add(id, "is signed under two nonces that were used in one block");
            }
        }
    }
}

fn attempts(ledger: &Ledger) -> BTreeMap<&str, Vec<&Slot>> {
    let mut attempts: BTreeMap<&str, Vec<&Slot>> = BTreeMap::new();
    for slot in ledger.slots.iter().filter(|slot| !slot.hashes.is_empty()) {
        for payment in &slot.payments {
            attempts.entry(payment).or_default().push(slot);
        }
    }
    attempts
}

pub(super) fn no_gaps(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    let mut signers: BTreeMap<&str, Vec<&Slot>> = BTreeMap::new();
    for slot in evidence.ledgers.iter().flat_map(|ledger| &ledger.slots) {
        signers.entry(&slot.signer).or_default().push(slot);
    }
    for (signer, mut slots) in signers {
        slots.sort_by_key(|slot| slot.nonce);
        let next = evidence.chain.nonces.get(signer).copied().unwrap_or(0);
        for (at, slot) in slots.iter().enumerate() {
            let name = format!("{signer} {}", slot.nonce);
            // One that nothing was signed under waits for the next payment.
            let is_spare = slot.hashes.is_empty() && slot.nonce >= next;
            if !slot.closed && !is_spare {
                breaches.add(&name, "is still open");
            }
            if slot.nonce >= next && !is_spare {
                breaches.add(&name, "is not used on chain");
            }
            if at > 0 && slots[at - 1].nonce + 1 != slot.nonce {
                breaches.add(&name, "does not follow the one before it");
            }
        }
        let last = slots.last().map_or(0, |slot| slot.nonce + 1);
        if next > last {
            breaches.add(signer, format!("has {next} nonces used, {last} known"));
        }
    }
}
