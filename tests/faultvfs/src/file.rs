//! An open file: what SQLite calls on it.

use std::ffi::{c_int, c_void};
use std::mem::size_of;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use libsqlite3_sys as sqlite;

use crate::disk::{Disk, Refusal, State};
use crate::locks::Handle;
use crate::vfs::code;

/// What SQLite keeps for an open file: its methods first, then ours.
#[repr(C)]
struct Slot {
    base: sqlite::sqlite3_file,
    opened: *mut OpenFile,
}

/// A connection's opening of a file.
pub(crate) struct OpenFile {
    disk: Disk,
    file: usize,
    name: String,
    handle: Handle,
    delete_on_close: bool,
}

static NEXT: AtomicUsize = AtomicUsize::new(1);

impl OpenFile {
    /// Bytes that SQLite must set aside.
    pub const SIZE: c_int = size_of::<Slot>() as c_int;

    pub fn open(disk: Disk, name: &str, flags: c_int) -> Result<Self, Refusal> {
        let mut state = disk.state();
        state.powered()?;
        let is_database = flags & sqlite::SQLITE_OPEN_MAIN_DB != 0;
        let file = match state.find(name) {
            Some(file) => file,
            // A database's file counts as there already, empty and durable: who
            // wants it private makes it before SQLite can, and syncs the folder.
            None if is_database => state.create(name, true)?,
            // The names of journals are synced with their first bytes.
            None if flags & sqlite::SQLITE_OPEN_CREATE != 0 => state.create(name, false)?,
            None => return Err(sqlite::SQLITE_CANTOPEN),
        };
        drop(state);
        Ok(Self {
            disk,
            file,
            name: name.to_owned(),
            handle: NEXT.fetch_add(1, Ordering::Relaxed),
            delete_on_close: flags & sqlite::SQLITE_OPEN_DELETEONCLOSE != 0,
        })
    }

    fn close(self) {
        let mut state = self.disk.state();
        let none = sqlite::SQLITE_LOCK_NONE;
        state.files[self.file].lock.unlock(self.handle, none);
        self.leave(&mut state);
        if self.delete_on_close {
            let _ = state.delete(&self.name, false);
        }
    }

    fn leave(&self, state: &mut State) {
        if let Some(shared) = state.shared.get_mut(&self.file)
            && shared.leave(self.handle)
        {
            state.shared.remove(&self.file);
        }
    }

    fn read(&self, buffer: &mut [u8], offset: usize) -> Result<(), Refusal> {
        let state = self.disk.state();
        state.powered()?;
        let bytes = &state.files[self.file].bytes;
        let there = bytes.get(offset.min(bytes.len())..).unwrap_or_default();
        let there = &there[..there.len().min(buffer.len())];
        let (found, missing) = buffer.split_at_mut(there.len());
        found.copy_from_slice(there);
        missing.fill(0);
        if missing.is_empty() {
            Ok(())
        } else {
            Err(sqlite::SQLITE_IOERR_SHORT_READ)
        }
    }
}

/// Puts an opened file where SQLite wants it.
///
/// # Safety
/// `file` has room for [`OpenFile::SIZE`] bytes.
pub(crate) unsafe fn place(file: *mut sqlite::sqlite3_file, opened: OpenFile) {
    let slot = file.cast::<Slot>();
    let base = sqlite::sqlite3_file {
        pMethods: &raw const METHODS,
    };
    let opened = Box::into_raw(Box::new(opened));
    // SAFETY: the caller's promise.
    unsafe { slot.write(Slot { base, opened }) };
}

/// # Safety
/// `file` was filled by [`place`] and is not closed.
unsafe fn ours<'a>(file: *mut sqlite::sqlite3_file) -> &'a OpenFile {
    // SAFETY: the caller's promise.
    unsafe { &*(*file.cast::<Slot>()).opened }
}

fn length(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

static METHODS: sqlite::sqlite3_io_methods = sqlite::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

// For all of the following: SQLite calls them with a file that `place` filled
// and that is not closed, and with buffers of the sizes that it names.

unsafe extern "C" fn close(file: *mut sqlite::sqlite3_file) -> c_int {
    // SAFETY: `opened` came from a box, and SQLite closes a file once.
    let opened = unsafe { Box::from_raw((*file.cast::<Slot>()).opened) };
    opened.close();
    sqlite::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut sqlite::sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: see above.
    let (opened, buffer) = unsafe {
        let buffer = std::slice::from_raw_parts_mut(buffer.cast(), length(amount.into()));
        (ours(file), buffer)
    };
    code(opened.read(buffer, length(offset)))
}

unsafe extern "C" fn write(
    file: *mut sqlite::sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: see above.
    let (opened, bytes) = unsafe {
        let bytes = std::slice::from_raw_parts(buffer.cast(), length(amount.into()));
        (ours(file), bytes)
    };
    code(
        opened
            .disk
            .state()
            .write(opened.file, length(offset), bytes),
    )
}

unsafe extern "C" fn truncate(file: *mut sqlite::sqlite3_file, size: i64) -> c_int {
    // SAFETY: see above.
    let opened = unsafe { ours(file) };
    code(opened.disk.state().truncate(opened.file, length(size)))
}

unsafe extern "C" fn sync(file: *mut sqlite::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: see above.
    let opened = unsafe { ours(file) };
    code(opened.disk.state().sync(opened.file))
}

unsafe extern "C" fn file_size(file: *mut sqlite::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: see above.
    let opened = unsafe { ours(file) };
    let state = opened.disk.state();
    if let Err(code) = state.powered() {
        return code;
    }
    let bytes = state.files[opened.file].bytes.len();
    // SAFETY: see above.
    unsafe { *size = i64::try_from(bytes).unwrap_or(i64::MAX) };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut sqlite::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see above.
    let opened = unsafe { ours(file) };
    let mut state = opened.disk.state();
    let powered = state.powered();
    code(powered.and_then(|()| state.files[opened.file].lock.lock(opened.handle, level)))
}

unsafe extern "C" fn unlock(file: *mut sqlite::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see above.
    let opened = unsafe { ours(file) };
    opened.disk.state().files[opened.file]
        .lock
        .unlock(opened.handle, level);
    sqlite::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(
    file: *mut sqlite::sqlite3_file,
    answer: *mut c_int,
) -> c_int {
    // SAFETY: see above.
    let opened = unsafe { ours(file) };
    let reserved = opened.disk.state().files[opened.file].lock.is_reserved();
    // SAFETY: see above.
    unsafe { *answer = c_int::from(reserved) };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut sqlite::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    sqlite::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut sqlite::sqlite3_file) -> c_int {
    // What SQLite's own VFS says of every disk.
    4096
}

unsafe extern "C" fn device_characteristics(_: *mut sqlite::sqlite3_file) -> c_int {
    // As SQLite's own VFS has it.
    sqlite::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: see above.
    let opened = unsafe { ours(file) };
    let mut state = opened.disk.state();
    if state.powered().is_err() {
        return sqlite::SQLITE_IOERR_SHMMAP;
    }
    let shared = state.shared.entry(opened.file).or_default();
    let (region, bytes) = (length(region.into()), length(bytes.into()));
    let address = shared.map(opened.handle, region, bytes, extend != 0);
    // SAFETY: see above.
    unsafe { *out = address };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn shm_lock(
    file: *mut sqlite::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: see above.
    let opened = unsafe { ours(file) };
    let mut state = opened.disk.state();
    let gives_back = flags & sqlite::SQLITE_SHM_UNLOCK != 0;
    if state.powered().is_err() && !gives_back {
        return sqlite::SQLITE_IOERR_SHMLOCK;
    }
    let shared = state.shared.entry(opened.file).or_default();
    let (first, count) = (length(first.into()), length(count.into()));
    code(shared.lock(opened.handle, first, count, flags))
}

unsafe extern "C" fn shm_barrier(_: *mut sqlite::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: see above.
    let opened = unsafe { ours(file) };
    opened.leave(&mut opened.disk.state());
    sqlite::SQLITE_OK
}
