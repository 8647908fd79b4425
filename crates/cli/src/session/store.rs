//! Sessions by name, one private file each below the home directory.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tollway_core::{Address, Amount, Network};
use tollway_starknet::session::SealedSession;

use crate::exit::Failure;
use crate::keys;

/// A session as it is kept. All but the key is in the clear.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeptSession {
    /// Where its account is.
    pub network: Network,
    /// Nodes, preferred first. Their URLs may hold keys, which is one more reason why
    /// the file is its owner's alone.
    pub rpc: Vec<String>,
    /// Whether plain http may leave the machine to them.
    #[serde(default)]
    pub allow_http: bool,
    /// For whom it spends.
    pub account: String,
    /// With what.
    pub token: Token,
    /// At most so many calls.
    pub max_calls: u32,
    /// At most so much by each, atomic units.
    pub max_per_call: Amount,
    /// Selectors that it may call; empty is all but the account's own.
    pub entrypoints: Vec<String>,
    /// How long it was made for.
    pub lifetime_seconds: u64,
    /// The key.
    pub key: SealedSession,
}

/// What a session pays with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Token {
    /// What people call it.
    pub symbol: String,
    /// Its contract.
    pub contract: String,
    /// Digits after the point.
    pub decimals: u8,
}

impl KeptSession {
    /// The account.
    pub fn account(&self) -> Result<Address, Failure> {
        self.address(&self.account)
    }

    /// The token's contract.
    pub fn token(&self) -> Result<Address, Failure> {
        self.address(&self.token.contract)
    }

    fn address(&self, text: &str) -> Result<Address, Failure> {
        let broken =
            |e| Failure::usage(format!("The session's file is damaged ({e}); restore it."));
        self.network.address(text).map_err(broken)
    }
}

/// All sessions that are kept here.
pub struct Sessions {
    directory: PathBuf,
}

impl Sessions {
    /// Those below the home directory.
    pub fn open(home: &Path) -> Result<Self, Failure> {
        let directory = home.join("sessions");
        keys::private_directory(&directory)?;
        Ok(Self { directory })
    }

    fn path(&self, name: &str) -> Result<PathBuf, Failure> {
        match keys::is_name(name) {
            true => Ok(self.directory.join(format!("{name}.json"))),
            false => Err(Failure::usage(format!(
                "`{name}` is not a session's name; use up to 64 letters, digits, - and _."
            ))),
        }
    }

    /// Whether the name is free.
    pub fn check_free(&self, name: &str) -> Result<(), Failure> {
        match self.path(name)?.exists() {
            true => Err(Failure::usage(format!(
                "There is a session {name} already; choose another name, or end it with `tollway session revoke {name}`."
            ))),
            false => Ok(()),
        }
    }

    /// Keeps a session under a name that is free.
    pub fn keep(&self, name: &str, session: &KeptSession) -> Result<(), Failure> {
        self.check_free(name)?;
        keys::write_private(&self.path(name)?, &text(session)?)
    }

    /// Keeps what is to take a session's place beside it, until that is sure.
    pub fn stage(&self, name: &str, session: &KeptSession) -> Result<Staged, Failure> {
        let path = self.path(name)?;
        let fresh = self.directory.join(format!(
            ".{name}.{:016x}.new",
            rand::RngCore::next_u64(&mut rand::rngs::OsRng)
        ));
        keys::write_private(&fresh, &text(session)?)?;
        Ok(Staged { fresh, path })
    }

    /// What was to take a session's place, and of which nobody knows whether it did.
    pub fn staged(&self, name: &str) -> Result<Vec<(Staged, KeptSession)>, Failure> {
        let path = self.path(name)?;
        let before = format!(".{name}.");
        let mut staged = Vec::new();
        for file in self.files()? {
            let Some(rest) = file.strip_prefix(&before) else {
                continue;
            };
            // A name may have no dot: what follows is the number of a staged file.
            if rest.len() != "0123456789abcdef.new".len() || !rest.ends_with(".new") {
                continue;
            }
            let fresh = self.directory.join(&file);
            let kept = read(&fresh)?;
            let path = path.clone();
            staged.push((Staged { fresh, path }, kept));
        }
        Ok(staged)
    }

    /// Reads a session.
    pub fn read(&self, name: &str) -> Result<KeptSession, Failure> {
        let path = self.path(name)?;
        if !path.exists() {
            return Err(Failure::usage(format!(
                "There is no session {name}; see `tollway session list`, or make it with `tollway session create {name}`."
            )));
        }
        read(&path)
    }

    /// Forgets a session's key.
    pub fn remove(&self, name: &str) -> Result<(), Failure> {
        let path = self.path(name)?;
        fs::remove_file(&path).map_err(|e| {
            Failure::new(format!(
                "{} cannot be removed: {e}; remove it by hand.",
                path.display()
            ))
        })
    }

    fn files(&self) -> Result<Vec<String>, Failure> {
        let entries = fs::read_dir(&self.directory).map_err(|e| {
            Failure::new(format!(
                "{} cannot be read: {e}; check it.",
                self.directory.display()
            ))
        })?;
        let name =
            |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        Ok(entries.filter_map(name).collect())
    }

    /// All of them, by name. What is none is left out.
    pub fn list(&self) -> Result<Vec<(String, KeptSession)>, Failure> {
        let files = self.files()?.into_iter();
        let name = |file: String| file.strip_suffix(".json").map(str::to_owned);
        let mut names: Vec<String> = files.filter_map(name).collect();
        names.sort();
        let read = |name: String| Some((name.clone(), self.read(&name).ok()?));
        Ok(names.into_iter().filter_map(read).collect())
    }
}

fn read(path: &Path) -> Result<KeptSession, Failure> {
    serde_json::from_str(&keys::read_private(path)?).map_err(|e| {
        Failure::usage(format!(
            "{} is no session of ours ({e}); restore it, or remove it and create another one.",
            path.display()
        ))
    })
}

/// A session on disk that has not its name yet.
pub struct Staged {
    /// Where it is.
    pub fresh: PathBuf,
    path: PathBuf,
}

impl Staged {
    /// Takes the old one's place.
    pub fn promote(self) -> Result<(), Failure> {
        fs::rename(&self.fresh, &self.path).map_err(|e| {
            Failure::new(format!(
                "{} cannot be replaced: {e}; move {} there by hand.",
                self.path.display(),
                self.fresh.display()
            ))
        })
    }

    /// Is not needed.
    pub fn discard(self) {
        let _ = fs::remove_file(&self.fresh);
    }
}

fn text(session: &KeptSession) -> Result<String, Failure> {
    serde_json::to_string_pretty(session)
        .map_err(|e| Failure::new(format!("The session cannot be written: {e}; try again.")))
}
