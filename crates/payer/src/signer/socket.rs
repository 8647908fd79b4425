//! The socket: a file that only its owner reaches, and one signer at a time.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Payments that a signer signs for within an hour, unless another number is given.
pub const MOST_PER_HOUR: u64 = 3_600;

/// A bound socket. The file goes with it.
#[derive(Debug)]
pub struct SignerSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Users whose programs are served.
    pub(super) callers: Vec<u32>,
    /// Payments that are signed for within an hour.
    pub(super) most_per_hour: u64,
    /// Held while the socket is ours: what is there otherwise is a dead signer's.
    _lock: File,
}

/// Why no socket was bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another signer is alive there.
    #[error("a signer answers at {0} already; stop it first, or choose another path")]
    Taken(String),
    /// Something that is no socket is in the way.
    #[error("{0} is there and is no socket; remove it, or choose another path")]
    NotASocket(String),
    /// Others could put a socket of theirs in the place of ours, or reach it.
    #[error("others reach the folder {folder} (mode {mode:o}); {cure}")]
    Open {
        /// The folder.
        folder: String,
        /// Its permissions.
        mode: u32,
        /// What to do.
        cure: &'static str,
    },
    /// Programs of other users are to come in, and cannot.
    #[error(
        "other users do not get into the folder {folder} (mode {mode:o}); give it mode 0711, or leave out --serve-user"
    )]
    Closed {
        /// The folder.
        folder: String,
        /// Its permissions.
        mode: u32,
    },
    /// Everybody could put another folder in the place of the socket's.
    #[error(
        "everybody may change the folder {folder} (mode {mode:o}), in which the socket's is; choose a path elsewhere, such as in your home"
    )]
    OpenAbove {
        /// The folder.
        folder: String,
        /// Its permissions.
        mode: u32,
    },
    /// The system said no.
    #[error(
        "the socket {path} cannot be made: {error}; choose a path of at most 100 bytes in a folder of your own"
    )]
    Io {
        /// Where.
        path: String,
        /// Why.
        error: io::Error,
    },
}

impl SocketError {
    fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io {
            path: path.display().to_string(),
            error,
        }
    }
}

impl SignerSocket {
    /// Binds `path` with mode 0600, in a folder that is made with mode 0700 if it is
    /// missing. A socket that a dead signer left is replaced. Only programs of the
    /// same user are served.
    ///
    /// With `others`, programs of those users (by number) are served too: then
    /// everybody can knock, and the folder must let them pass (mode 0711).
    ///
    /// # Errors
    /// [`SocketError`]. Must be called within a Tokio runtime.
    pub fn bind(path: &Path, others: &[u32]) -> Result<Self, SocketError> {
        let failed = SocketError::at(path);
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let mode = if others.is_empty() { 0o700 } else { 0o711 };
        let is_new = !folder.exists();
        let made = DirBuilder::new().recursive(true).mode(mode).create(folder);
        made.map_err(&failed)?;
        if is_new {
            // Whatever the caller's umask takes away.
            fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(&failed)?;
        }
        let lock = locked(path)?;
        let ours = lock.metadata().map_err(&failed)?.uid();
        check_folder(folder, ours, others)?;
        remove_dead(path)?;
        let listener = UnixListener::bind(path).map_err(&failed)?;
        let mode = if others.is_empty() { 0o600 } else { 0o666 };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        let mut callers = vec![ours];
        callers.extend(others);
        Ok(Self {
            listener,
            path: path.to_owned(),
            callers,
            most_per_hour: MOST_PER_HOUR,
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Signs for at most so many payments within an hour, whatever they cost: each stays
    /// on record. [`MOST_PER_HOUR`] unless another number is given.
    #[must_use]
    pub fn at_most(mut self, payments_per_hour: u64) -> Self {
        self.most_per_hour = payments_per_hour;
        self
    }

    /// Whose program connected.
    pub(super) fn user_of(caller: &UnixStream) -> Option<u32> {
        caller.peer_cred().ok().map(|peer| peer.uid())
    }
}

impl Drop for SignerSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The lock beside the socket, which ends with the process that holds it.
fn locked(path: &Path) -> Result<File, SocketError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = SocketError::at(path);
    let mut options = File::options();
    let options = options.create(true).truncate(false).write(true);
    let options = std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    let file = options.open(name).map_err(&failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(SocketError::Taken(path.display().to_string())),
        Err(fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Nobody else may change what is in the folder; nor enter it, where nobody else is
/// served.
fn check_folder(folder: &Path, ours: u32, others: &[u32]) -> Result<(), SocketError> {
    let about = fs::metadata(folder).map_err(SocketError::at(folder))?;
    let mode = about.permissions().mode() & 0o777;
    let (forbidden, cure) = match others.is_empty() {
        true => (0o077, "choose one of your own that has mode 0700"),
        false => (0o022, "choose one of your own that has mode 0711"),
    };
    let name = folder.display().to_string();
    if mode & forbidden != 0 || about.uid() != ours {
        let folder = name;
        return Err(SocketError::Open { folder, mode, cure });
    }
    if !others.is_empty() && mode & 0o011 == 0 {
        return Err(SocketError::Closed { folder: name, mode });
    }
    check_above(folder)
}

/// Who may rename a folder may put another in its place.
fn check_above(folder: &Path) -> Result<(), SocketError> {
    let whole = fs::canonicalize(folder).map_err(SocketError::at(folder))?;
    for above in whole.ancestors().skip(1) {
        let about = fs::metadata(above).map_err(SocketError::at(above))?;
        let mode = about.permissions().mode() & 0o7777;
        let only_own_names = mode & 0o1000 != 0;
        if mode & 0o002 != 0 && !only_own_names {
            let folder = above.display().to_string();
            return Err(SocketError::OpenAbove { folder, mode });
        }
    }
    Ok(())
}

/// Takes away what a signer left that is no more: we hold the lock.
fn remove_dead(path: &Path) -> Result<(), SocketError> {
    let name = || path.display().to_string();
    let failed = SocketError::at(path);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(about) if !about.file_type().is_socket() => Err(SocketError::NotASocket(name())),
        // Somebody else's program, that knows nothing of our lock.
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(SocketError::Taken(name()))
        }
        Ok(_) => fs::remove_file(path).map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        dir
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_its_owners_alone_and_goes_with_its_signer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/deep/signer.sock");
        let socket = SignerSocket::bind(&path, &[]).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_signers_socket_is_replaced_and_a_living_ones_is_not() {
        let dir = private();
        let path = dir.path().join("signer.sock");
        let first = SignerSocket::bind(&path, &[]).unwrap();
        let second = SignerSocket::bind(&path, &[]).unwrap_err();
        assert!(matches!(second, SocketError::Taken(_)), "{second}");
        assert!(path.exists(), "the living one's is still there");
        // Nor is its place taken by whoever takes its file away.
        fs::remove_file(&path).unwrap();
        let third = SignerSocket::bind(&path, &[]).unwrap_err();
        assert!(matches!(third, SocketError::Taken(_)), "{third}");
        drop(first);
        // As it is left by a process that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let third = SignerSocket::bind(&path, &[]).unwrap();
        drop(third);
        // Of another program, which holds no lock.
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let fourth = SignerSocket::bind(&path, &[]).unwrap_err();
        assert!(matches!(fourth, SocketError::Taken(_)), "{fourth}");
    }

    #[tokio::test]
    async fn neither_a_file_nor_a_folder_of_others_is_taken() {
        let dir = private();
        let path = dir.path().join("signer.sock");
        fs::write(&path, "precious").unwrap();
        let refused = SignerSocket::bind(&path, &[]).unwrap_err();
        assert!(matches!(refused, SocketError::NotASocket(_)), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        for (open, others, may) in [
            (0o755, &[][..], false),
            (0o711, &[], false),
            (0o711, &[12_345], true),
            (0o733, &[12_345], false),
            // Nobody else would get in.
            (0o700, &[12_345], false),
        ] {
            fs::set_permissions(dir.path(), Permissions::from_mode(open)).unwrap();
            let bound = SignerSocket::bind(&path, others);
            assert_eq!(bound.is_ok(), may, "{open:o} {others:?}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_everybody_may_put_another_in_the_place_of_is_not_taken() {
        let dir = private();
        let path = dir.path().join("run/signer.sock");
        for (above, may) in [(0o777, false), (0o1777, true), (0o775, true)] {
            fs::set_permissions(dir.path(), Permissions::from_mode(above)).unwrap();
            let bound = SignerSocket::bind(&path, &[]);
            let refused = matches!(bound, Err(SocketError::OpenAbove { .. }));
            assert_eq!((bound.is_ok(), refused), (may, !may), "{above:o}");
        }
    }
}
