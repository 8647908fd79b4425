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

    /// Where the sectors start that a write touches.
    fn sectors(&self) -> impl Iterator<Item = usize> + use<> {
        let (start, end) = match self {
            Self::Write { offset, bytes } => (offset - offset % SECTOR, offset + bytes.len()),
            Self::Truncate { length } => (length - length % SECTOR, *length),
        };
        (start..end).step_by(SECTOR)
    }

    /// Does what falls into the sector that starts at `start`.
    fn apply_within(&self, sector: &mut [u8; SECTOR], start: usize) {
        match self {
            Self::Write { offset, bytes } => {
                let skipped = start.saturating_sub(*offset);
                let at = offset.saturating_sub(start).min(SECTOR);
                let bytes = bytes.get(skipped..).unwrap_or_default();
                let length = bytes.len().min(SECTOR - at);
                sector[at..at + length].copy_from_slice(&bytes[..length]);
            }
            Self::Truncate { length } => {
                sector[length.saturating_sub(start).min(SECTOR)..].fill(0);
            }
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
    let before = file.clone();
    let length = length_after(before.len(), moment(pending, random));
    file.resize(length, 0);
    let mut sectors: Vec<usize> = pending.iter().flat_map(Change::sectors).collect();
    sectors.sort_unstable();
    sectors.dedup();
    for start in sectors.into_iter().filter(|start| *start < length) {
        let end = (start + SECTOR).min(length);
        let changed = sector_after(&before, start, moment(pending, random));
        file[start..end].copy_from_slice(&changed[..end - start]);
    }
}

/// What had been written at some moment.
fn moment<'a>(pending: &'a [Change], random: &mut Random) -> &'a [Change] {
    let (done, _) = pending.split_at(random.below(pending.len() + 1));
    done
}

fn length_after(length: usize, done: &[Change]) -> usize {
    done.iter().fold(length, |length, change| match change {
        Change::Write { offset, bytes } => length.max(offset + bytes.len()),
        Change::Truncate { length } => *length,
    })
}

/// The sector that starts at `start`, with zeros where the file has no bytes.
fn sector_after(before: &[u8], start: usize, done: &[Change]) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    let first = Change::Write {
        offset: 0,
        bytes: before
            .get(start..)
            .unwrap_or_default()
            .iter()
            .copied()
            .take(SECTOR)
            .collect(),
    };
    first.apply_within(&mut sector, 0);
    done.iter().for_each(|c| c.apply_within(&mut sector, start));
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: usize, byte: u8, length: usize) -> Change {
        let bytes = vec![byte; length].into();
        Change::Write { offset, bytes }
    }

    fn outcomes(pending: &[Change], loss: Loss) -> Vec<Vec<u8>> {
        let left = |seed| left_of(&[1; 2_000], pending, loss, &mut Random::new(seed));
        let mut outcomes: Vec<_> = (0..200).map(left).collect();
        outcomes.sort();
        outcomes.dedup();
        outcomes
    }

    #[test]
    fn unsynced_writes_are_lost_kept_or_torn() {
        let pending = [write(1_000, 2, 1_000), write(1_500, 3, 1_000)];
        let before = vec![1; 2_000];
        let after = [vec![1; 1_000], vec![2; 500], vec![3; 1_000]].concat();
        assert_eq!(outcomes(&pending, Loss::Everything), [before]);
        assert_eq!(outcomes(&pending, Loss::Nothing), [after]);
        assert_eq!(outcomes(&pending, Loss::Some).len(), 4);
        assert_eq!(outcomes(&pending, Loss::SomeInAnyOrder).len(), 5);
        for loss in [Loss::EachSectorForItself, Loss::TornBetweenSectors] {
            let all = outcomes(&pending, loss);
            assert!(all.len() > 4, "{loss:?}: {}", all.len());
            // A sector is whole, wherever the writes began and ended.
            for sector in all.iter().filter_map(|file| file.get(1_024..1_500)) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "{loss:?}");
            }
        }
        assert!(outcomes(&pending, Loss::TornWithinASector).len() > 50);
    }

    #[test]
    fn a_truncation_is_lost_or_kept_too() {
        let pending = [Change::Truncate { length: 10 }, write(600, 2, 10)];
        let left = outcomes(&pending, Loss::EachSectorForItself);
        let lengths: Vec<_> = left.iter().map(Vec::len).collect();
        for length in [10, 610, 2_000] {
            assert!(lengths.contains(&length), "{length}");
        }
    }
}
