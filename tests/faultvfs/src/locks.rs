//! SQLite's five locks on a file, among the connections of one process
//! (<https://sqlite.org/lockingv3.html>).

use libsqlite3_sys as sqlite;

use crate::disk::Refusal;

/// Names a connection's opening of a file.
pub(crate) type Handle = usize;

/// Who holds what of one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileLock {
    shared: Vec<Handle>,
    reserved: Option<Handle>,
    pending: Option<Handle>,
    exclusive: Option<Handle>,
}

impl FileLock {
    /// Raises a handle's lock to `level`, if nobody is in the way.
    pub fn lock(&mut self, handle: Handle, level: i32) -> Result<(), Refusal> {
        let is_free = |holder: Option<Handle>| holder.is_none_or(|h| h == handle);
        match level {
            sqlite::SQLITE_LOCK_SHARED => {
                if !is_free(self.pending) || !is_free(self.exclusive) {
                    return Err(sqlite::SQLITE_BUSY);
                }
                if !self.shared.contains(&handle) {
                    self.shared.push(handle);
                }
            }
            sqlite::SQLITE_LOCK_RESERVED => {
                if ![self.reserved, self.pending, self.exclusive]
                    .into_iter()
                    .all(is_free)
                {
                    return Err(sqlite::SQLITE_BUSY);
                }
                self.reserved = Some(handle);
            }
            sqlite::SQLITE_LOCK_EXCLUSIVE => {
                if !is_free(self.pending) || !is_free(self.reserved) {
                    return Err(sqlite::SQLITE_BUSY);
                }
                self.pending = Some(handle);
                if self.shared.iter().any(|h| *h != handle) {
                    return Err(sqlite::SQLITE_BUSY);
                }
                self.exclusive = Some(handle);
            }
            _ => {}
        }
        Ok(())
    }

    /// Lowers a handle's lock to `level`: shared or none.
    pub fn unlock(&mut self, handle: Handle, level: i32) {
        for holder in [&mut self.reserved, &mut self.pending, &mut self.exclusive] {
            holder.take_if(|h| *h == handle);
        }
        if level == sqlite::SQLITE_LOCK_NONE {
            self.shared.retain(|h| *h != handle);
        }
    }

    /// Whether anybody is about to write.
    pub const fn is_reserved(&self) -> bool {
        self.reserved.is_some() || self.pending.is_some() || self.exclusive.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writes_when_nobody_reads() {
        let mut lock = FileLock::default();
        lock.lock(1, sqlite::SQLITE_LOCK_SHARED).unwrap();
        lock.lock(2, sqlite::SQLITE_LOCK_SHARED).unwrap();
        lock.lock(1, sqlite::SQLITE_LOCK_RESERVED).unwrap();
        assert!(lock.lock(2, sqlite::SQLITE_LOCK_RESERVED).is_err());
        assert!(lock.lock(1, sqlite::SQLITE_LOCK_EXCLUSIVE).is_err());
        assert!(
            lock.lock(3, sqlite::SQLITE_LOCK_SHARED).is_err(),
            "one waits"
        );
        lock.unlock(2, sqlite::SQLITE_LOCK_NONE);
        lock.lock(1, sqlite::SQLITE_LOCK_EXCLUSIVE).unwrap();
        lock.unlock(1, sqlite::SQLITE_LOCK_NONE);
        assert!(!lock.is_reserved());
        lock.lock(3, sqlite::SQLITE_LOCK_SHARED).unwrap();
    }
}
