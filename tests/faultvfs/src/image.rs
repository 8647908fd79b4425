//! What is on a disk: names and bytes.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// What is on a disk at one moment: names and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Every file by its name.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Image {
    /// Writes the files into a folder of the operating system, and takes away
    /// what else a database left there.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        for entry in folder.read_dir()? {
            let path = entry?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            if !name.is_some_and(|name| self.files.contains_key(&name)) {
                std::fs::remove_file(path)?;
            }
        }
        for (name, bytes) in &self.files {
            // Not emptied first: most of an image is as it was in the last one.
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            let mut file = options.open(folder.join(name))?;
            file.write_all(bytes)?;
            file.set_len(bytes.len() as u64)?;
        }
        Ok(())
    }
}
