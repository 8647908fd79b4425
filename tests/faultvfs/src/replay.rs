//! What is durable after each call.

use std::collections::BTreeMap;

use crate::disk::Call;
use crate::image::Image;
use crate::loss::{Change, Loss, left_of};
use crate::random::Random;

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// A change of the folder that is not durable yet.
#[derive(Clone, Debug)]
enum Naming {
    Link(String, usize),
    Unlink(String),
}

/// Follows a disk's calls, and knows after each what a power loss could leave.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    /// A folder's changes become durable in their order.
    pending: Vec<Naming>,
}

impl Replay {
    /// Takes the next call into account.
    pub fn follow(&mut self, call: &Call) {
        match call {
            Call::Create {
                file,
                name,
                durable,
            } => {
                self.files.resize_with(file + 1, File::default);
                self.pending.push(Naming::Link(name.clone(), *file));
                if *durable {
                    self.sync_folder();
                }
            }
            Call::Write {
                file,
                offset,
                bytes,
            } => self.files[*file].pending.push(Change::Write {
                offset: *offset,
                bytes: bytes.clone(),
            }),
            Call::Truncate { file, length } => {
                let length = *length;
                self.files[*file].pending.push(Change::Truncate { length });
            }
            Call::Sync { file } => self.sync(*file),
            Call::FailedSync { file } => self.files[*file].pending.clear(),
            Call::Delete { name, durable } => {
                self.pending.push(Naming::Unlink(name.clone()));
                if *durable {
                    self.sync_folder();
                }
            }
            Call::IgnoredSync | Call::Refused => {}
        }
    }

    /// SQLite syncs the folder together with a file that is new there.
    fn sync(&mut self, file: usize) {
        let File { durable, pending } = &mut self.files[file];
        pending.drain(..).for_each(|c| c.apply(durable));
        let is_new = |n: &Naming| matches!(n, Naming::Link(_, f) if *f == file);
        if self.pending.iter().any(is_new) {
            self.sync_folder();
        }
    }

    fn sync_folder(&mut self) {
        let names = std::mem::take(&mut self.names);
        let pending = std::mem::take(&mut self.pending);
        self.names = named(names, &pending);
    }

    /// How many changes a power loss could undo now.
    #[must_use]
    pub fn at_stake(&self) -> usize {
        let files: usize = self.files.iter().map(|f| f.pending.len()).sum();
        files + self.pending.len()
    }

    /// A disk as a power loss now could leave it.
    #[must_use]
    pub fn left_by(&self, loss: Loss, random: &mut Random) -> Image {
        let kept = match loss {
            Loss::Everything => 0,
            Loss::Nothing => self.pending.len(),
            _ => random.below(self.pending.len() + 1),
        };
        let kept = self.pending.get(..kept).unwrap_or_default();
        let mut files = BTreeMap::new();
        for (name, file) in named(self.names.clone(), kept) {
            let File { durable, pending } = &self.files[file];
            files.insert(name, left_of(durable, pending, loss, random));
        }
        Image { files }
    }
}

fn named(mut names: BTreeMap<String, usize>, changes: &[Naming]) -> BTreeMap<String, usize> {
    for change in changes {
        match change {
            Naming::Link(name, file) => {
                names.insert(name.clone(), *file);
            }
            Naming::Unlink(name) => {
                names.remove(name);
            }
        }
    }
    names
}
