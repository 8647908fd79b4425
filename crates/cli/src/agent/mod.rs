//! A named agent: its policy file, its budget, and the tools it gets.

pub mod budget;
pub mod flags;
pub mod mcp;

use std::path::{Path, PathBuf};

use tollway_core::assets::AssetTable;
use tollway_payer::{Policy, PolicyFile};

use crate::environment::Environment;
use crate::exit::Failure;
use crate::keys;
use flags::AgentFlags;

/// A policy is short; more is no policy.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// An agent, and what its owner lets it spend.
pub struct Agent {
    /// Under which it spends.
    pub name: String,
    /// Where its policy is.
    pub path: PathBuf,
    /// What that says.
    pub file: PolicyFile,
}

impl Agent {
    /// The agent that was named, if one was.
    pub fn find(flags: &AgentFlags, environment: &Environment) -> Result<Option<Self>, Failure> {
        let Some((name, path)) = place(flags, environment)? else {
            return Ok(None);
        };
        let file = read(&path)?.ok_or_else(|| {
            Failure::usage(format!(
                "There is no policy {}; make it with `tollway budget set --agent {name} --per-call 0.05 --total 5`.",
                path.display()
            ))
        })?;
        Ok(Some(Self { name, path, file }))
    }

    /// The agent that must have been named.
    pub fn named(flags: &AgentFlags, environment: &Environment) -> Result<Self, Failure> {
        Self::find(flags, environment)?.ok_or_else(nobody)
    }

    /// The agent that must have been named, with the default policy if it has none.
    pub fn named_or_new(flags: &AgentFlags, environment: &Environment) -> Result<Self, Failure> {
        let (name, path) = place(flags, environment)?.ok_or_else(nobody)?;
        let file = read(&path)?.unwrap_or_default();
        Ok(Self { name, path, file })
    }

    /// The checked policy, over the assets that are known.
    pub fn policy(&self, assets: &AssetTable) -> Result<Policy, Failure> {
        let policy = self.file.policy(assets);
        policy.map_err(|error| Failure::usage(format!("{}: {error}", self.path.display())))
    }

    /// Writes the policy, whole or not at all.
    pub fn write(&self) -> Result<(), Failure> {
        let text = self.file.to_text().map_err(Failure::new)?;
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let beside = folder.join(format!(".{}.{}", self.name, std::process::id()));
        let written = keys::write_private(&beside, &text);
        let renamed = written.and_then(|()| {
            std::fs::rename(&beside, &self.path).map_err(|error| {
                Failure::new(format!(
                    "{} cannot be written: {error}; make room for it.",
                    self.path.display()
                ))
            })
        });
        if renamed.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        renamed
    }
}

fn nobody() -> Failure {
    Failure::usage("No agent is named; add --agent NAME or --policy FILE.")
}

/// An agent's name, and where its policy is.
fn place(
    flags: &AgentFlags,
    environment: &Environment,
) -> Result<Option<(String, PathBuf)>, Failure> {
    let named = flags.agent.clone().or_else(|| {
        let behind = environment.get("TOLLWAY_AGENT");
        behind.filter(|_| flags.policy.is_none()).map(str::to_owned)
    });
    let name = match (&named, &flags.policy) {
        (Some(name), _) => name.clone(),
        (None, Some(path)) => {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            stem.unwrap_or_default().to_owned()
        }
        (None, None) => return Ok(None),
    };
    if !keys::is_name(&name) {
        return Err(Failure::usage(
            "An agent's name is of 1 to 64 letters, digits, - and _; add --agent NAME.",
        ));
    }
    if let Some(path) = &flags.policy {
        return Ok(Some((name, path.clone())));
    }
    let folder = environment.home()?.join("agents");
    keys::private_directory(&folder)?;
    Ok(Some((name.clone(), folder.join(format!("{name}.toml")))))
}

/// What a policy file says; none if there is none.
fn read(path: &Path) -> Result<Option<PolicyFile>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!(
            "{} cannot be read: {error}; name a readable policy.",
            path.display()
        ))
    };
    let about = match std::fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if is_others_to_write(&about) || !about.is_file() || about.len() > MAX_FILE_BYTES {
        return Err(Failure::usage(format!(
            "{} is no policy that only its owner writes; make it a short file of mode 0600 or 0644.",
            path.display()
        )));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let file = PolicyFile::parse(&text);
    let file = file.map_err(|error| Failure::usage(format!("{}: {error}", path.display())));
    file.map(Some)
}

/// Whether anybody but the owner could raise the limits.
fn is_others_to_write(about: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    about.permissions().mode() & 0o022 != 0
}
