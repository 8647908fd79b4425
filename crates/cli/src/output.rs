//! Where a paid answer goes. It is opened before anything is paid, so that no
//! answer is bought that cannot be kept; nothing that was there is touched
//! before the whole answer is on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// An opened `-o FILE`.
pub enum Output {
    /// A file, written beside its place and moved there when it is whole.
    Staged {
        /// Being written; gone after a rename or a drop.
        part: PathBuf,
        /// Its place.
        path: PathBuf,
        /// Open on `part`.
        file: File,
    },
    /// A device or a pipe: written as it is, never replaced.
    Direct(File),
}

impl Output {
    /// Opens what `-o` names.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::usage(format!(
                "-o {} cannot be written: {why}; name another file.",
                path.display()
            ))
        };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(failed(&"it is a directory")),
            // Behind a link, the file itself is replaced and the link stays.
            Ok(metadata) if metadata.is_file() => {
                let path = fs::canonicalize(path).map_err(|e| failed(&e))?;
                Self::staged(path).map_err(|e| failed(&e))
            }
            Ok(_) => OpenOptions::new()
                .write(true)
                .open(path)
                .map(Self::Direct)
                .map_err(|e| failed(&e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Self::staged(path.to_path_buf()).map_err(|e| failed(&e))
            }
            Err(e) => Err(failed(&e)),
        }
    }

    fn staged(path: PathBuf) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let part = path.with_file_name(format!(
            ".{}.{:016x}.part",
            name.to_string_lossy(),
            rand::RngCore::next_u64(&mut rand::rngs::OsRng)
        ));
        // Never through a link, never over a file that is there.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&part)?;
        Ok(Self::Staged { part, path, file })
    }

    /// Writes the whole answer and puts it in its place.
    pub fn keep(mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self {
            Self::Staged { part, path, file } => {
                file.write_all(bytes)?;
                file.sync_all()?;
                fs::rename(part, path)
            }
            Self::Direct(file) => file.write_all(bytes),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Self::Staged { part, .. } = self {
            // After a rename there is nothing left to remove.
            let _ = fs::remove_file(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_answer_replaces_a_file_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answer");
        fs::write(&path, "old").unwrap();
        drop(Output::open(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        Output::open(&path).unwrap().keep(b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(folder.path()), ["answer"]);
    }

    #[test]
    fn what_lies_beside_the_answer_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("answer.part"), "precious").unwrap();
        fs::write(folder.path().join("real"), "old").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("real", &link).unwrap();
        Output::open(&link).unwrap().keep(b"new").unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("real"));
        assert_eq!(
            fs::read_to_string(folder.path().join("real")).unwrap(),
            "new"
        );
        let kept = fs::read_to_string(folder.path().join("answer.part")).unwrap();
        assert_eq!(kept, "precious");
    }

    #[test]
    fn a_directory_is_refused_and_a_device_is_written_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Output::open(folder.path()).is_err());
        assert!(Output::open(&folder.path().join("no/such/folder")).is_err());
        let null = Path::new("/dev/null");
        Output::open(null).unwrap().keep(b"gone").unwrap();
        assert!(!fs::metadata(null).unwrap().is_file());
    }
}
