//! Keys at rest: private files, and wallets in the Web3 keystore format (scrypt).

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use tollway_evm::EvmSigner;
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::exit::Failure;

/// No file of ours that holds a key or names one is larger.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Reads a file that only its owner may read.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |what: &dyn std::fmt::Display| {
        Failure::usage(format!(
            "{} cannot be read: {what}; name a readable file.",
            path.display()
        ))
    };
    let file = fs::File::open(path).map_err(|e| failed(&e))?;
    let metadata = file.metadata().map_err(|e| failed(&e))?;
    if !metadata.is_file() {
        return Err(failed(&"it is not a regular file"));
    }
    if !is_ours(&metadata) {
        return Err(Failure::usage(format!(
            "{} belongs to somebody else, who could change it; run `chown` on it.",
            path.display()
        )));
    }
    if !is_private(&metadata) {
        return Err(Failure::usage(format!(
            "{} can be read by others; run `chmod 600 {}`.",
            path.display(),
            path.display()
        )));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(|e| failed(&e))?;
    Ok(text)
}

/// Whether nobody but its owner may read a file. What systemd hands over is root's
/// with mode 0440: that is how it lets one user more read it, and nobody else.
fn is_private(metadata: &fs::Metadata) -> bool {
    let mode = metadata.permissions().mode() & 0o777;
    let is_handed_over = (metadata.uid(), metadata.gid(), mode) == (0, 0, 0o440);
    mode & 0o077 == 0 || is_handed_over
}

/// Whether a file belongs to this process's user, or to root.
fn is_ours(metadata: &fs::Metadata) -> bool {
    let ours = fs::metadata("/proc/self").map(|process| process.uid());
    metadata.uid() == 0 || ours.is_ok_and(|uid| uid == metadata.uid())
}

/// Writes a file that only its owner may read, and that was not there before.
pub fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| {
        Failure::new(format!(
            "{} cannot be written: {e}; check the directory.",
            path.display()
        ))
    })
}

/// Makes a directory for its owner alone, with its parents.
pub fn private_directory(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| {
            Failure::usage(format!(
                "{} cannot be made: {e}; set TOLLWAY_HOME to a writable directory.",
                path.display()
            ))
        })
}

/// A signer from a file with one hex key.
pub fn signer_from_file(path: &Path) -> Result<EvmSigner, Failure> {
    EvmSigner::from_hex(read_private(path)?.trim()).map_err(|_| {
        Failure::usage(format!(
            "{} does not hold a private key; it must hold 64 hex digits and nothing else.",
            path.display()
        ))
    })
}

/// Wallets by name, one encrypted file each.
pub struct Keystore {
    directory: PathBuf,
}

/// A wallet as it is listed: no passphrase is needed to see it.
pub struct WalletEntry {
    /// Its name.
    pub name: String,
    /// Its EVM address.
    pub address: String,
}

impl Keystore {
    /// The keystore below the home directory.
    pub fn open(home: &Path) -> Result<Self, Failure> {
        let directory = home.join("wallets");
        private_directory(&directory)?;
        Ok(Self { directory })
    }

    fn path(&self, name: &str) -> Result<PathBuf, Failure> {
        if is_name(name) {
            Ok(self.directory.join(format!("{name}.json")))
        } else {
            Err(Failure::usage(format!(
                "`{name}` is not a wallet name; use up to 64 letters, digits, - and _."
            )))
        }
    }

    /// Unlocks a wallet below the home directory by the passphrase that is given as
    /// [`passphrase`] says.
    pub fn unlocked(
        name: &str,
        passphrase_file: Option<&Path>,
        environment: &Environment,
    ) -> Result<EvmSigner, Failure> {
        let passphrase = passphrase(passphrase_file, environment, false)?;
        Self::open(&environment.home()?)?.unlock(name, &passphrase)
    }

    /// Makes a wallet with a fresh key.
    pub fn create(&self, name: &str, passphrase: &str) -> Result<EvmSigner, Failure> {
        let signer = EvmSigner::random()
            .map_err(|e| Failure::new(format!("No key can be drawn: {e}; try again.")))?;
        self.store(name, signer, passphrase)
    }

    /// Encrypts a key under a name.
    pub fn store(
        &self,
        name: &str,
        signer: EvmSigner,
        passphrase: &str,
    ) -> Result<EvmSigner, Failure> {
        let path = self.path(name)?;
        if path.exists() {
            return Err(exists(name));
        }
        let digits = signer.address().to_string();
        let digits = digits.trim_start_matches("0x").to_ascii_lowercase();
        let key = signer.secret_bytes();
        match seal(
            &path,
            key.as_slice(),
            passphrase,
            ("address", digits.into()),
        ) {
            Ok(()) => Ok(signer),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(name)),
            Err(e) => Err(Failure::new(format!(
                "The wallet cannot be written: {e}; check {}.",
                self.directory.display()
            ))),
        }
    }

    /// Decrypts a wallet.
    pub fn unlock(&self, name: &str, passphrase: &str) -> Result<EvmSigner, Failure> {
        let path = self.path(name)?;
        if !path.exists() {
            return Err(Failure::usage(format!(
                "There is no wallet {name}; see `tollway wallet list`, or make it with `tollway wallet new {name}`."
            )));
        }
        let key = unseal(&path, passphrase).ok_or_else(|| {
            Failure::usage(format!(
                "Wallet {name} does not open with this passphrase; check the passphrase."
            ))
        })?;
        let broken = || {
            Failure::usage(format!(
                "Wallet {name} holds no valid key; restore it from its backup."
            ))
        };
        let key: Zeroizing<[u8; 32]> =
            Zeroizing::new(key.as_slice().try_into().map_err(|_| broken())?);
        EvmSigner::from_bytes(&key).map_err(|_| broken())
    }

    /// A wallet's address, without its passphrase.
    pub fn address(&self, name: &str) -> Result<String, Failure> {
        let entry = self.list()?.into_iter().find(|entry| entry.name == name);
        entry.map(|entry| entry.address).ok_or_else(|| {
            Failure::usage(format!(
                "There is no wallet {name}; see `tollway wallet list`."
            ))
        })
    }

    /// All wallets, by name.
    pub fn list(&self) -> Result<Vec<WalletEntry>, Failure> {
        let entries = fs::read_dir(&self.directory).map_err(|e| {
            Failure::new(format!(
                "{} cannot be read: {e}; check it.",
                self.directory.display()
            ))
        })?;
        let mut wallets: Vec<WalletEntry> = entries
            .filter_map(|entry| wallet_entry(&entry.ok()?.path()))
            .collect();
        wallets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(wallets)
    }
}

fn wallet_entry(path: &Path) -> Option<WalletEntry> {
    let name = path
        .file_name()?
        .to_str()?
        .strip_suffix(".json")?
        .to_owned();
    let text = fs::read_to_string(path).ok()?;
    let keystore: serde_json::Value = serde_json::from_str(&text).ok()?;
    let address: Address = keystore.get("address")?.as_str()?.parse().ok()?;
    let address = address.to_string();
    (!name.starts_with('.')).then_some(WalletEntry { name, address })
}

/// Encrypts bytes into a file that was not there before, with something beside
/// them that anybody who can read the file may know.
///
/// # Errors
/// `AlreadyExists` if the file is there, and whatever writing it fails with.
pub fn seal(
    path: &Path,
    secret: &[u8],
    passphrase: &str,
    plain: (&str, serde_json::Value),
) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let staging = format!(
        ".{:016x}.new",
        rand::RngCore::next_u64(&mut rand::rngs::OsRng)
    );
    let mut random = rand::rngs::OsRng;
    eth_keystore::encrypt_key(directory, &mut random, secret, passphrase, Some(&staging))
        .map_err(std::io::Error::other)?;
    let staged = directory.join(&staging);
    let finished = finish_keystore_file(&staged, path, plain);
    let _ = fs::remove_file(&staged);
    finished
}

/// The bytes of such a file; `None` if the passphrase is not its own.
pub fn unseal(path: &Path, passphrase: &str) -> Option<Zeroizing<Vec<u8>>> {
    eth_keystore::decrypt_key(path, passphrase)
        .map(Zeroizing::new)
        .ok()
}

/// Adds what stands beside the secret, such as the address, as other wallets write
/// it, then makes the file private and durable under its own name.
fn finish_keystore_file(
    staged: &Path,
    path: &Path,
    (name, value): (&str, serde_json::Value),
) -> std::io::Result<()> {
    let mut keystore: serde_json::Value = serde_json::from_str(&fs::read_to_string(staged)?)?;
    if let Some(object) = keystore.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
    fs::write(staged, serde_json::to_string(&keystore)?)?;
    fs::set_permissions(staged, fs::Permissions::from_mode(0o600))?;
    fs::File::open(staged)?.sync_all()?;
    // A link is made only where there is nothing: of two at once, one wins.
    fs::hard_link(staged, path)?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn exists(name: &str) -> Failure {
    Failure::usage(format!(
        "There is a wallet {name} already; choose another name, keys are never overwritten."
    ))
}

/// Whether a name can stand for a file of ours on every system.
pub fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

/// The passphrase: from the private file that a flag or the environment names, or
/// asked for on the terminal; asked for twice where it is new.
pub fn passphrase(
    flag: Option<&Path>,
    environment: &Environment,
    new: bool,
) -> Result<Zeroizing<String>, Failure> {
    let behind = environment.path("TOLLWAY_PASSPHRASE_FILE");
    secret(flag.or(behind.as_deref()), new)
}

/// The same from this file only, or asked for.
pub fn secret(file: Option<&Path>, new: bool) -> Result<Zeroizing<String>, Failure> {
    let passphrase = match file {
        Some(file) => {
            let text = read_private(file)?;
            Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned())
        }
        None => ask_passphrase(new)?,
    };
    if new && passphrase.is_empty() {
        return Err(Failure::usage(
            "The passphrase is empty, which protects nothing; choose one.",
        ));
    }
    Ok(passphrase)
}

fn ask_passphrase(twice: bool) -> Result<Zeroizing<String>, Failure> {
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map(Zeroizing::new)
            .map_err(|e| {
                Failure::usage(format!(
                    "No passphrase can be asked for here: {e}; use --passphrase-file."
                ))
            })
    };
    let first = ask("Passphrase: ")?;
    if twice && *ask("Again: ")? != *first {
        return Err(Failure::usage("The passphrases differ; try again."));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_wallets_of_one_name_made_at_once_one_is_told_so() {
        let home = tempfile::tempdir().unwrap();
        let made: Vec<Result<EvmSigner, Failure>> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| Keystore::open(home.path())?.create("agent", "secret")))
                .collect();
            makers
                .into_iter()
                .map(|maker| maker.join().unwrap())
                .collect()
        });
        let mut winners = made.into_iter().filter_map(Result::ok);
        let winner = winners.next().unwrap();
        assert!(
            winners.next().is_none(),
            "one key survives, so one is promised"
        );
        let keystore = Keystore::open(home.path()).unwrap();
        let kept = keystore.unlock("agent", "secret").unwrap();
        assert_eq!(kept.address(), winner.address());
        assert_eq!(keystore.list().unwrap().len(), 1);
    }
}
