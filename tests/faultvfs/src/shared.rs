//! The memory that connections in WAL mode share, with its eight locks. All
//! connections are of one process, so it is plain memory.

use std::sync::atomic::AtomicU64;

use libsqlite3_sys as sqlite;

use crate::disk::Refusal;
use crate::locks::Handle;

const LOCKS: usize = sqlite::SQLITE_SHM_NLOCK as usize;

/// A region that SQLite reads and writes through a plain pointer, from any
/// thread, by its own rules. It is never moved and never read from here.
struct Region(Box<[AtomicU64]>);

/// One file's shared memory.
#[derive(Default)]
pub(crate) struct SharedMemory {
    regions: Vec<Region>,
    users: Vec<Handle>,
    shared: [Vec<Handle>; LOCKS],
    exclusive: [Option<Handle>; LOCKS],
}

impl SharedMemory {
    /// A region's address; it is made where `extend` allows, else null.
    pub fn map(
        &mut self,
        handle: Handle,
        region: usize,
        bytes: usize,
        extend: bool,
    ) -> *mut std::ffi::c_void {
        if !self.users.contains(&handle) {
            self.users.push(handle);
        }
        while extend && self.regions.len() <= region {
            let words = bytes.div_ceil(8);
            let zeros = (0..words).map(|_| AtomicU64::new(0));
            self.regions.push(Region(zeros.collect()));
        }
        match self.regions.get(region) {
            Some(region) => region.0.as_ptr().cast_mut().cast(),
            None => std::ptr::null_mut(),
        }
    }

    /// Takes or gives back locks of a handle, all or none.
    pub fn lock(
        &mut self,
        handle: Handle,
        first: usize,
        count: usize,
        flags: i32,
    ) -> Result<(), Refusal> {
        let slots = first..(first + count).min(LOCKS);
        if flags & sqlite::SQLITE_SHM_UNLOCK != 0 {
            for slot in slots {
                self.shared[slot].retain(|h| *h != handle);
                self.exclusive[slot].take_if(|h| *h == handle);
            }
            return Ok(());
        }
        let wants_all = flags & sqlite::SQLITE_SHM_EXCLUSIVE != 0;
        let is_taken = |slot: usize| {
            let by_writer = self.exclusive[slot].is_some_and(|h| h != handle);
            by_writer || (wants_all && self.shared[slot].iter().any(|h| *h != handle))
        };
        if slots.clone().any(is_taken) {
            return Err(sqlite::SQLITE_BUSY);
        }
        for slot in slots {
            if wants_all {
                self.exclusive[slot] = Some(handle);
            } else if !self.shared[slot].contains(&handle) {
                self.shared[slot].push(handle);
            }
        }
        Ok(())
    }

    /// A handle goes. Whether nobody is left, and the memory may go too.
    pub fn leave(&mut self, handle: Handle) -> bool {
        self.users.retain(|h| *h != handle);
        let all = sqlite::SQLITE_SHM_UNLOCK;
        self.lock(handle, 0, LOCKS, all).is_ok() && self.users.is_empty()
    }
}
