//! The simulated disk: what was written, what fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libsqlite3_sys as sqlite;

use crate::image::Image;
use crate::locks::FileLock;
use crate::shared::SharedMemory;
use crate::vfs;

/// A call that changed the disk, or was meant to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A file got a name. `durable`: its name survives a power loss at once.
    Create {
        /// The file's number.
        file: usize,
        /// Its name.
        name: String,
        /// Whether its maker has synced the folder.
        durable: bool,
    },
    /// Bytes were written.
    Write {
        /// The file's number.
        file: usize,
        /// Where.
        offset: usize,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// The file got shorter.
    Truncate {
        /// The file's number.
        file: usize,
        /// Its new length.
        length: usize,
    },
    /// What was written to the file is durable.
    Sync {
        /// The file's number.
        file: usize,
    },
    /// A sync was refused: what was not durable before never becomes so.
    FailedSync {
        /// The file's number.
        file: usize,
    },
    /// A sync was answered with success, and nothing was done.
    IgnoredSync,
    /// A name was taken away. `durable`: for good, even after a power loss.
    Delete {
        /// The name.
        name: String,
        /// Whether the folder was synced in the same call.
        durable: bool,
    },
    /// A call that failed and changed nothing.
    Refused,
}

/// What goes wrong, and when. Calls are counted from 1 as in [`Disk::calls`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// At this call the power goes: it may still reach the disk, and every
    /// later call fails.
    PowerLossAt(u64),
    /// From this call on there is no room to write (`ENOSPC`), until the fault
    /// is taken away. Of the first failing write half may have been written.
    FullFrom(u64),
    /// The first write at this call or later fails (`EIO`), once.
    WriteFailsAt(u64),
    /// After so many more syncs that succeed, one fails (`EIO`).
    SyncFailsAfter(u64),
    /// Syncs succeed and do nothing.
    SyncsLie,
}

/// SQLite's result code of a call that failed.
pub(crate) type Refusal = std::ffi::c_int;

/// A file as programs see it, durable or not.
#[derive(Clone, Default)]
pub(crate) struct File {
    pub bytes: Vec<u8>,
    pub lock: FileLock,
}

#[derive(Default)]
pub(crate) struct State {
    pub files: Vec<File>,
    names: BTreeMap<String, usize>,
    log: Vec<Call>,
    fault: Fault,
    /// Whether the fault that happens once has happened.
    pub struck: bool,
    dark: bool,
    pub shared: BTreeMap<usize, SharedMemory>,
}

impl State {
    fn number(&self) -> u64 {
        self.log.len() as u64 + 1
    }

    /// Whether the disk answers at all.
    pub fn powered(&self) -> Result<(), Refusal> {
        if self.dark {
            return Err(sqlite::SQLITE_IOERR);
        }
        Ok(())
    }

    /// Notes a call that was carried out. The one at which the power goes is
    /// noted too, for it may have reached the disk, but not answered.
    fn note(&mut self, call: Call) -> Result<(), Refusal> {
        let goes_dark = self.fault == Fault::PowerLossAt(self.number());
        self.log.push(call);
        if goes_dark {
            (self.dark, self.struck) = (true, true);
            return Err(sqlite::SQLITE_IOERR);
        }
        Ok(())
    }

    fn refuse(&mut self, call: Call, code: Refusal) -> Result<(), Refusal> {
        self.struck = true;
        self.note(call).and(Err(code))
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub fn create(&mut self, name: &str, durable: bool) -> Result<usize, Refusal> {
        self.powered()?;
        let file = self.files.len();
        self.files.push(File::default());
        self.names.insert(name.to_owned(), file);
        let name = name.to_owned();
        self.note(Call::Create {
            file,
            name,
            durable,
        })?;
        Ok(file)
    }

    /// A file that was there before.
    fn hold(&mut self, name: &str, bytes: &[u8]) {
        let file = self.files.len();
        let lock = FileLock::default();
        let held = File {
            bytes: bytes.to_vec(),
            lock,
        };
        self.files.push(held);
        self.names.insert(name.to_owned(), file);
        let (name, durable) = (name.to_owned(), true);
        let (offset, bytes) = (0, bytes.into());
        self.log.extend([
            Call::Create {
                file,
                name,
                durable,
            },
            Call::Write {
                file,
                offset,
                bytes,
            },
            Call::Sync { file },
        ]);
    }

    pub fn write(&mut self, file: usize, offset: usize, bytes: &[u8]) -> Result<(), Refusal> {
        self.powered()?;
        match self.fault {
            Fault::FullFrom(n) if self.number() >= n => {
                let room = if self.struck { 0 } else { bytes.len() / 2 };
                let written = bytes.get(..room).unwrap_or_default();
                put(&mut self.files[file].bytes, offset, written);
                let call = Call::Write {
                    file,
                    offset,
                    bytes: written.into(),
                };
                self.refuse(call, sqlite::SQLITE_FULL)
            }
            Fault::WriteFailsAt(n) if self.number() >= n && !self.struck => {
                self.refuse(Call::Refused, sqlite::SQLITE_IOERR_WRITE)
            }
            _ => {
                put(&mut self.files[file].bytes, offset, bytes);
                self.note(Call::Write {
                    file,
                    offset,
                    bytes: bytes.into(),
                })
            }
        }
    }

    pub fn truncate(&mut self, file: usize, length: usize) -> Result<(), Refusal> {
        self.powered()?;
        self.files[file].bytes.resize(length, 0);
        self.note(Call::Truncate { file, length })
    }

    pub fn sync(&mut self, file: usize) -> Result<(), Refusal> {
        self.powered()?;
        match self.fault {
            Fault::SyncFailsAfter(0) if !self.struck => {
                self.refuse(Call::FailedSync { file }, sqlite::SQLITE_IOERR_FSYNC)
            }
            Fault::SyncFailsAfter(more) if !self.struck => {
                self.fault = Fault::SyncFailsAfter(more - 1);
                self.note(Call::Sync { file })
            }
            // A sync that the power loss interrupts has promised nothing.
            Fault::PowerLossAt(n) if self.number() == n => self.note(Call::IgnoredSync),
            Fault::SyncsLie => self.note(Call::IgnoredSync),
            _ => self.note(Call::Sync { file }),
        }
    }

    pub fn delete(&mut self, name: &str, durable: bool) -> Result<(), Refusal> {
        self.powered()?;
        if self.names.remove(name).is_none() {
            return Err(sqlite::SQLITE_IOERR_DELETE_NOENT);
        }
        let cut = self.fault == Fault::PowerLossAt(self.number());
        let name = name.to_owned();
        self.note(Call::Delete {
            name,
            durable: durable && !cut,
        })
    }
}

/// Writes bytes into a file, with zeros in a gap before them.
pub(crate) fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if bytes.is_empty() {
        return;
    }
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

/// A simulated disk. A clone is another handle to the same one.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// Puts an empty disk under an existing folder: databases that are opened
    /// there from now on live on it. What was there before is out of reach.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn mount(folder: &Path) -> std::io::Result<Self> {
        let disk = Self::default();
        vfs::mount(folder, disk.clone())?;
        Ok(disk)
    }

    /// Puts a disk with these files, all durable, under an existing folder.
    /// Who holds the disk that was there keeps it, and it is switched off.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn replace(&self, folder: &Path, image: &Image) -> std::io::Result<Self> {
        self.state().dark = true;
        let mut next = State::default();
        for (name, bytes) in &image.files {
            next.hold(name, bytes);
        }
        let disk = Self(Arc::new(Mutex::new(next)));
        vfs::mount(folder, disk.clone())?;
        Ok(disk)
    }

    /// The process ends and a new one begins, without a power loss: who holds
    /// this disk gets errors only, and who opens the folder from now on finds
    /// all that was written, durable or not.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn restart(&self, folder: &Path) -> std::io::Result<Self> {
        let mut old = self.state();
        let mut next = State {
            files: std::mem::take(&mut old.files),
            names: std::mem::take(&mut old.names),
            log: std::mem::take(&mut old.log),
            ..State::default()
        };
        // Handles to the old disk will still be closed.
        old.files = vec![File::default(); next.files.len()];
        old.dark = true;
        let unlocked = |file: &mut File| file.lock = FileLock::default();
        next.files.iter_mut().for_each(unlocked);
        let disk = Self(Arc::new(Mutex::new(next)));
        vfs::mount(folder, disk.clone())?;
        Ok(disk)
    }

    /// Sets what goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        let mut state = self.state();
        (state.fault, state.struck) = (fault, false);
    }

    /// Whether the fault that was set last has happened.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        self.state().struck
    }

    /// How many calls changed the disk so far, or were meant to.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().log.len() as u64
    }

    /// Those calls after the first `known`, oldest first.
    #[must_use]
    pub fn calls_after(&self, known: u64) -> Vec<Call> {
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let state = self.state();
        state.log.get(known..).unwrap_or_default().to_vec()
    }

    /// Names and lengths.
    pub(crate) fn listing(&self) -> BTreeMap<String, u64> {
        let state = self.state();
        let length = |file: &usize| state.files[*file].bytes.len() as u64;
        let names = state.names.iter();
        names
            .map(|(name, file)| (name.clone(), length(file)))
            .collect()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
