//! What a power loss makes of writes that were not synced.

use std::sync::Arc;

use crate::disk::put;
use crate::random::Random;

/// A disk writes this much at once, or not at all.
const SECTOR: usize = 512;

/// What a power loss makes of the writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None of them reached the disk.
    Everything,
    /// All of them did: the same as a process that is killed.
    Nothing,
    /// Some did, each whole.
    Some,
    /// Some did, each whole, in any order.
    SomeInAnyOrder,
    /// Each sector is as it was at a moment of its own since the last sync.
    EachSectorForItself,
    /// All up to one of them, of which only whole sectors.
    TornBetweenSectors,
    /// All up to one of them, of which any number of bytes.
    TornWithinASector,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Everything,
        Self::Nothing,
        Self::Some,
        Self::SomeInAnyOrder,
        Self::EachSectorForItself,
        Self::TornBetweenSectors,
        Self::TornWithinASector,
    ];
}

/// A change of one file that is not durable yet.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Write { offset: usize, bytes: Arc<[u8]> },
    Truncate { length: usize },
}

impl Change {
    pub fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => put(file, *offset, bytes),
            Self::Truncate { length } => file.resize(*length, 0),
        }
    }

    /// Does only the first `kept` bytes of a write, and nothing of a truncation.
    fn apply_torn(&self, file: &mut Vec<u8>, kept: impl FnOnce(usize, usize) -> usize) {
        if let Self::Write { offset, bytes } = self {
            let kept = kept(*offset, bytes.len()).min(bytes.len());
            put(file, *offset, bytes.get(..kept).unwrap_or_default());
        }
    }
}

/// What is left of a file.
pub(crate) fn left_of(
    durable: &[u8],
    pending: &[Change],
    loss: Loss,
    random: &mut Random,
) -> Vec<u8> {
    let mut file = durable.to_vec();
    match loss {
        Loss::Everything => {}
        Loss::Nothing => pending.iter().for_each(|c| c.apply(&mut file)),
        Loss::Some => some(pending, random).for_each(|c| c.apply(&mut file)),
        Loss::SomeInAnyOrder => {
            let mut kept: Vec<_> = some(pending, random).collect();
            for last in (1..kept.len()).rev() {
                kept.swap(last, random.below(last + 1));
            }
            kept.iter().for_each(|c| c.apply(&mut file));
        }
        Loss::EachSectorForItself => each_sector(&mut file, pending, random),
        Loss::TornBetweenSectors | Loss::TornWithinASector => {
            torn(&mut file, pending, loss, random);
        }
    }
    file
}

fn some<'a>(pending: &'a [Change], random: &mut Random) -> impl Iterator<Item = &'a Change> {
    let kept: Vec<_> = pending.iter().map(|_| random.coin()).collect();
    let kept = pending.iter().zip(kept).filter(|(_, kept)| *kept);
    kept.map(|(change, _)| change)
}

/// The last change is torn, or any one and all after it are lost.
fn torn(file: &mut Vec<u8>, pending: &[Change], loss: Loss, random: &mut Random) {
    let at = if random.coin() {
        pending.len().saturating_sub(1)
    } else {
        random.below(pending.len())
    };
    pending.iter().take(at).for_each(|c| c.apply(file));
    let Some(change) = pending.get(at) else {
        return;
    };
    change.apply_torn(file, |offset, length| {
        let end = offset + random.below(length);
        match loss {
            Loss::TornBetweenSectors => (end - end % SECTOR).saturating_sub(offset),
            _ => end - offset,
        }
    });
}

/// The file's length is that of one moment, and each sector's bytes of another.
fn each_sector(file: &mut Vec<u8>, pending: &[Change], random: &mut Random) {
    let mut longest = file.clone();
    let mut moments = vec![file.clone()];
    for change in pending {
        change.apply(&mut longest);
        moments.push(longest.clone());
    }
    let length = moments[random.below(moments.len())].len();
    file.resize(length, 0);
    for start in (0..length).step_by(SECTOR) {
        let end = (start + SECTOR).min(length);
        let moment = &moments[random.below(moments.len())];
        let there = moment.get(start..end.min(moment.len())).unwrap_or_default();
        let sector = &mut file[start..end];
        sector.fill(0);
        sector[..there.len()].copy_from_slice(there);
    }
}
