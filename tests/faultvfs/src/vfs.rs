//! The VFS that SQLite uses for every path that no VFS is named for: a mounted
//! folder's files live on its simulated disk, all others where they always did.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use libsqlite3_sys as sqlite;

use crate::disk::Disk;
use crate::file::{OpenFile, place};

static MOUNTS: LazyLock<Mutex<HashMap<PathBuf, Disk>>> = LazyLock::new(Mutex::default);
/// Address of the operating system's VFS; 0 where SQLite has none.
static REGISTERED: LazyLock<usize> = LazyLock::new(register);

/// Puts a disk under a folder, in place of one that was there. Who looks at the
/// folder past SQLite finds the names and lengths that the disk has now.
pub(crate) fn mount(folder: &Path, disk: Disk) -> io::Result<()> {
    let folder = folder.canonicalize()?;
    let shown = disk.listing();
    for entry in folder.read_dir()? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_companion = name.ends_with("-wal") || name.ends_with("-journal");
        if is_companion && !shown.contains_key(&name) {
            std::fs::remove_file(folder.join(name))?;
        }
    }
    for (name, length) in shown {
        File::create(folder.join(name))?.set_len(length)?;
    }
    if *REGISTERED == 0 {
        return Err(io::Error::other("SQLite has no VFS to stand on"));
    }
    let mut mounts = MOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    mounts.insert(folder, disk);
    Ok(())
}

/// Registers the VFS as SQLite's default; it stays for the process's life.
fn register() -> usize {
    // SAFETY: SQLite hands out its default VFS, which lives as long as the process.
    let system = unsafe { sqlite::sqlite3_vfs_find(std::ptr::null()) };
    if system.is_null() {
        return 0;
    }
    // SAFETY: not null, and the struct is plain data.
    let mut ours = unsafe { *system };
    ours.zName = c"tollway-faulty".as_ptr();
    ours.pNext = std::ptr::null_mut();
    ours.szOsFile = ours.szOsFile.max(OpenFile::SIZE);
    ours.xOpen = Some(open);
    ours.xDelete = Some(delete);
    ours.xAccess = Some(access);
    // SAFETY: the struct is leaked, so it outlives SQLite's use of it.
    let done = unsafe { sqlite::sqlite3_vfs_register(Box::leak(Box::new(ours)), 1) };
    if done == sqlite::SQLITE_OK {
        system.expose_provenance()
    } else {
        0
    }
}

fn system() -> *mut sqlite::sqlite3_vfs {
    std::ptr::with_exposed_provenance_mut(*REGISTERED)
}

/// The disk and the name on it that a path stands for.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn mounted(path: *const c_char) -> Option<(Disk, String)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    let path = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    let mounts = MOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let disk = mounts.get(path.parent()?)?.clone();
    Some((disk, path.file_name()?.to_str()?.to_owned()))
}

unsafe extern "C" fn open(
    _: *mut sqlite::sqlite3_vfs,
    path: sqlite::sqlite3_filename,
    file: *mut sqlite::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes null or a C string.
    let Some((disk, name)) = (unsafe { mounted(path) }) else {
        let system = system();
        // SAFETY: the same call, passed on to the VFS that it was meant for;
        // `szOsFile` is large enough for its files.
        return unsafe {
            match (*system).xOpen {
                Some(open) => open(system, path, file, flags, out_flags),
                None => sqlite::SQLITE_CANTOPEN,
            }
        };
    };
    match OpenFile::open(disk, &name, flags) {
        Ok(opened) => {
            // SAFETY: `file` has `szOsFile` bytes for us, and `out_flags` is
            // null or writable.
            unsafe {
                place(file, opened);
                if let Some(out) = out_flags.as_mut() {
                    *out = flags;
                }
            }
            sqlite::SQLITE_OK
        }
        Err(code) => {
            // SAFETY: as above; no methods means that there is nothing to close.
            unsafe { (*file).pMethods = std::ptr::null() };
            code
        }
    }
}

unsafe extern "C" fn delete(
    _: *mut sqlite::sqlite3_vfs,
    path: *const c_char,
    sync_folder: c_int,
) -> c_int {
    // SAFETY: SQLite passes a C string.
    if let Some((disk, name)) = unsafe { mounted(path) } {
        return code(disk.state().delete(&name, sync_folder != 0));
    }
    let system = system();
    // SAFETY: passed on unchanged.
    unsafe {
        match (*system).xDelete {
            Some(delete) => delete(system, path, sync_folder),
            None => sqlite::SQLITE_IOERR_DELETE,
        }
    }
}

unsafe extern "C" fn access(
    _: *mut sqlite::sqlite3_vfs,
    path: *const c_char,
    flags: c_int,
    answer: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a C string.
    if let Some((disk, name)) = unsafe { mounted(path) } {
        let state = disk.state();
        if let Err(code) = state.powered() {
            return code;
        }
        let file = state.find(&name).and_then(|f| state.files.get(f));
        // As SQLite's own VFS has it: an empty file does not exist.
        let asks_for_bytes = flags == sqlite::SQLITE_ACCESS_EXISTS;
        let yes = file.is_some_and(|f| !asks_for_bytes || !f.bytes.is_empty());
        // SAFETY: SQLite passes a place for the answer.
        unsafe { *answer = c_int::from(yes) };
        return sqlite::SQLITE_OK;
    }
    let system = system();
    // SAFETY: passed on unchanged.
    unsafe {
        match (*system).xAccess {
            Some(access) => access(system, path, flags, answer),
            None => sqlite::SQLITE_IOERR,
        }
    }
}

/// A result as SQLite wants it.
pub(crate) fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(sqlite::SQLITE_OK)
}
