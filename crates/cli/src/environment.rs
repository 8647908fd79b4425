//! The environment: the only room that reads it, and the `.env` file behind it.
//!
//! A variable of the process wins over `.env`. `.env` may name key files, so
//! it must belong to its owner alone (mode 0600).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tollway_core::Network;

use crate::exit::Failure;
use crate::keys;

/// Where Google Cloud KMS is asked, in place of its own host; as `gcloud` names it.
pub const GCP_KMS_ENDPOINT: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS";
/// An access token for Google's services.
pub const GCP_ACCESS_TOKEN: &str = "CLOUDSDK_AUTH_ACCESS_TOKEN";
/// The file that holds one.
pub const GCP_ACCESS_TOKEN_FILE: &str = "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE";
/// `HOST[:PORT]` of the metadata server, as Google's own libraries read it.
pub const GCE_METADATA_HOST: &str = "GCE_METADATA_HOST";
/// What Google Cloud KMS is found by; nobody else's business where it is left out.
const OF_GOOGLE: [&str; 4] = [
    GCP_KMS_ENDPOINT,
    GCP_ACCESS_TOKEN,
    GCP_ACCESS_TOKEN_FILE,
    GCE_METADATA_HOST,
];

/// Documented variables, for `--help`.
pub const TABLE: &str = "\
Environment (also from a .env file with mode 0600 in the working directory):
  TOLLWAY_HOME             where wallets and ledgers live (default ~/.tollway)
  TOLLWAY_CONFIG           behind --config
  TOLLWAY_SIGNER_KEY_FILE  behind --signer-key-file
  TOLLWAY_KEY_FILE         behind --key-file
  TOLLWAY_WALLET           behind --wallet
  TOLLWAY_AGENT            behind --agent
  TOLLWAY_SESSION          behind --session
  TOLLWAY_PASSPHRASE_FILE  behind --passphrase-file
  TOLLWAY_SIGNER           behind --signer of pay and mcp
  TOLLWAY_STARKNET_ACCOUNT behind --starknet-account
  TOLLWAY_OWNER_KEY_FILE   behind --owner-key-file
  TOLLWAY_ADD_ASSET        behind --add-asset; several with ; between
  TOLLWAY_LEDGER           behind --ledger
  TOLLWAY_RPC_<NETWORK>    RPC URL, e.g. TOLLWAY_RPC_EIP155_84532 or TOLLWAY_RPC_BASE_SEPOLIA
  TOLLWAY_OTLP_ENDPOINT    behind --otlp-endpoint
  NO_COLOR                 no colours on a terminal
  TOLLWAY_LOG              log filter, e.g. info or tollway_gate=debug (default warn)";

/// The variables that we were started with.
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// Reads the process's `TOLLWAY_*` variables, `HOME`, `NO_COLOR`, those of key
    /// services that this program is built with, and `.env`.
    pub fn read(directory: &Path) -> Result<Self, Failure> {
        let mut variables = read_dotenv(&directory.join(".env"))?;
        let ours = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| is_ours(name));
        variables.extend(ours);
        Ok(Self { variables })
    }

    /// Nothing is set: what runs in it stands by its flags alone.
    pub fn empty() -> Self {
        Self {
            variables: BTreeMap::new(),
        }
    }

    /// The same without one variable.
    pub fn without(&self, name: &str) -> Self {
        let mut variables = self.variables.clone();
        variables.remove(name);
        Self { variables }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A variable that names a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// The RPC URL for a network, by CAIP-2 or by any of its names.
    pub fn rpc_url(&self, network: &Network) -> Option<&str> {
        let known = network
            .info()
            .into_iter()
            .flat_map(|info| info.v1_name.into_iter().chain(info.aliases.iter().copied()));
        std::iter::once(network.as_str())
            .chain(known)
            .find_map(|name| self.get(&rpc_variable(name)))
    }

    /// Where wallets and ledgers live; made with mode 0700 if it is not there.
    pub fn home(&self) -> Result<PathBuf, Failure> {
        let home = match (self.path("TOLLWAY_HOME"), self.path("HOME")) {
            (Some(ours), _) => ours,
            (None, Some(users)) => users.join(".tollway"),
            (None, None) => {
                return Err(Failure::usage(
                    "There is no home directory; set TOLLWAY_HOME to where wallets and ledgers shall live.",
                ));
            }
        };
        keys::private_directory(&home)?;
        Ok(home)
    }
}

fn is_ours(name: &str) -> bool {
    let is_googles = cfg!(feature = "gcp-kms") && OF_GOOGLE.contains(&name);
    name.starts_with("TOLLWAY_") || name == "HOME" || name == "NO_COLOR" || is_googles
}

/// `base-sepolia` is `TOLLWAY_RPC_BASE_SEPOLIA`.
pub fn rpc_variable(network: &str) -> String {
    let suffix: String = network
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    format!("TOLLWAY_RPC_{suffix}")
}

/// Reads what a `.env` says about us. One that says nothing is none of our
/// business; one that does may name keys, and must be its owner's alone.
fn read_dotenv(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let ours = |line: &&str| assignment(line).starts_with("TOLLWAY_");
    match std::fs::read_to_string(path) {
        Ok(text) if text.lines().any(|line| ours(&line)) => {}
        _ => return Ok(BTreeMap::new()),
    }
    let text = keys::read_private(path)?;
    let mut variables = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| ours(line)) {
        let (name, value) = assignment(line).split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "{}:{}: not of the form NAME=value; correct or remove the line.",
                path.display(),
                index + 1
            ))
        })?;
        variables.insert(name.trim().to_owned(), unquote(value.trim()).to_owned());
    }
    Ok(variables)
}

fn assignment(line: &str) -> &str {
    let line = line.trim();
    line.strip_prefix("export ").unwrap_or(line).trim_start()
}

fn unquote(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}
