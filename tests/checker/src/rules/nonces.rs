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

/// How a nonce stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nonce {
    /// Nobody used it yet.
    Unused,
    /// One of our transactions used it, in this block.
    Ours(u64),
    /// Somebody else used it: nothing of ours can land under it.
    Taken,
}

fn standing(evidence: &Evidence, slot: &Slot) -> Nonce {
    let mut mined = evidence.chain.mined.iter();
    let ours = mined.find(|mined| mined.from == slot.signer && mined.nonce == slot.nonce);
    let next = evidence.chain.nonces.get(&slot.signer).copied();
    match ours {
        Some(mined) => Nonce::Ours(mined.block),
        None if next.is_some_and(|next| slot.nonce < next) => Nonce::Taken,
        None => Nonce::Unused,
    }
}

/// Where one payment was signed under several nonces, each but the last was
/// used up in an earlier block than the next one: it was dead before.
pub(super) fn no_overlap(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for ledger in &evidence.ledgers {
        for (id, slots) in attempts(ledger) {
            let standings: Vec<Nonce> = slots.iter().map(|s| standing(evidence, s)).collect();
            if standings.len() > 1 && standings.contains(&Nonce::Unused) {
                breaches.add(id, "is signed under nonces of which one may still land");
                continue;
            }
            let ours = standings.iter().filter_map(|standing| match standing {
                Nonce::Ours(block) => Some(*block),
                Nonce::Unused | Nonce::Taken => None,
            });
            let mut blocks: Vec<u64> = ours.collect();
            blocks.sort_unstable();
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
            // One that somebody else used is nobody's gap.
            let before = at.checked_sub(1).map(|before| slots[before].nonce + 1);
            if before.is_some_and(|before| before.max(next) < slot.nonce) {
                breaches.add(&name, "does not follow the one before it");
            }
        }
    }
}
