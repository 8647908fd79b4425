//! Permissions at rest: one encrypted file each, by name, and a tombstone beside
//! the file of each that was revoked.
//!
//! The file holds the session account's key and the granted chain. What the
//! permission allows stands beside them in the clear, so that it can be listed.

use std::fs;
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, Bytes, hex};
use serde::{Deserialize, Serialize};
use tollway_core::{Network, codes};
use tollway_evm::EvmSigner;
use tollway_evm::delegation::{Delegation, Dependency, decode_context, encode_context};
use zeroize::{Zeroize, Zeroizing};

use crate::exit::{Exit, Failure};
use crate::keys;

/// What a permission allows, for people and for the budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Where.
    pub network: String,
    /// Whose money.
    pub payer: String,
    /// Who may spend it.
    pub session: String,
    /// The token.
    pub asset: String,
    /// Atomic units: at most so much, in all or in each period.
    pub allowance: String,
    /// Seconds of a period; absent: in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    /// Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Who may redeem it; absent: whom the session names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeemers: Option<Vec<String>>,
    /// Who alone is paid; absent: anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payee: Option<String>,
    /// The delegation manager.
    pub manager: String,
}

/// A permission that can be spent.
pub struct Permission {
    /// Where.
    pub network: Network,
    /// The delegation manager.
    pub manager: Address,
    /// The session account's key.
    pub session: EvmSigner,
    /// The session account: the key's own, or one with code that takes its signatures.
    pub account: Address,
    /// The granted chain, leaf first.
    pub chain: Vec<Delegation>,
    /// What must be deployed before anything can be paid.
    pub dependencies: Vec<Dependency>,
}

/// A permission as it is listed.
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub facts: Facts,
    /// Whether it was revoked here.
    pub revoked: bool,
}

/// What is encrypted.
#[derive(Serialize, Deserialize)]
struct Secret {
    network: String,
    manager: Address,
    key: String,
    context: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<Address>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<Dependency>,
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// All permissions of a home directory.
pub struct Permissions {
    directory: PathBuf,
}

impl Permissions {
    /// Those below the home directory.
    pub fn open(home: &Path) -> Result<Self, Failure> {
        let directory = home.join("permissions");
        keys::private_directory(&directory)?;
        Ok(Self { directory })
    }

    fn path(&self, name: &str, ending: &str) -> Result<PathBuf, Failure> {
        match keys::is_name(name) {
            true => Ok(self.directory.join(format!("{name}.{ending}"))),
            false => Err(Failure::usage(format!(
                "`{name}` is not a permission's name; use up to 64 letters, digits, - and _."
            ))),
        }
    }

    /// Fails where a name is taken, before anybody is asked for anything.
    pub fn require_free(&self, name: &str) -> Result<(), Failure> {
        match self.path(name, "json")?.exists() || self.is_revoked(name)? {
            true => Err(taken(name)),
            false => Ok(()),
        }
    }

    /// Encrypts a permission under a name.
    pub fn store(
        &self,
        name: &str,
        permission: &Permission,
        facts: &Facts,
        passphrase: &str,
    ) -> Result<(), Failure> {
        self.require_free(name)?;
        let secret = Secret {
            network: permission.network.to_string(),
            manager: permission.manager,
            key: hex::encode(permission.session.secret_bytes().as_slice()),
            context: encode_context(&permission.chain),
            account: Some(permission.account),
            dependencies: permission.dependencies.clone(),
        };
        let secret = Zeroizing::new(serde_json::to_vec(&secret).map_err(Failure::new)?);
        let facts = serde_json::to_value(facts).map_err(Failure::new)?;
        let path = self.path(name, "json")?;
        keys::seal(&path, &secret, passphrase, ("permission", facts)).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => taken(name),
            _ => Failure::new(format!(
                "The permission cannot be written: {e}; check {}.",
                self.directory.display()
            )),
        })
    }

    /// Decrypts a permission, whether it was revoked or not.
    pub fn read(&self, name: &str, passphrase: &str) -> Result<Permission, Failure> {
        let path = self.path(name, "json")?;
        if !path.exists() {
            return Err(Failure::usage(format!(
                "There is no permission {name}; see `tollway permission list`."
            )));
        }
        let secret = keys::unseal(&path, passphrase).ok_or_else(|| {
            Failure::usage(format!(
                "Permission {name} does not open with this passphrase; check the passphrase."
            ))
        })?;
        let broken = || {
            Failure::usage(format!(
                "Permission {name} cannot be read; revoke it and ask for another one."
            ))
        };
        let mut secret: Secret = serde_json::from_slice(&secret).map_err(|_| broken())?;
        let session = EvmSigner::from_hex(&secret.key).map_err(|_| broken())?;
        Ok(Permission {
            network: secret.network.parse().map_err(|_| broken())?,
            manager: secret.manager,
            account: secret.account.unwrap_or_else(|| session.address()),
            session,
            dependencies: std::mem::take(&mut secret.dependencies),
            chain: decode_context(&secret.context).map_err(|_| broken())?,
        })
    }

    /// Decrypts a permission that may be spent.
    pub fn unlock(&self, name: &str, passphrase: &str) -> Result<Permission, Failure> {
        if self.is_revoked(name)? {
            return Err(Failure::coded(
                Exit::RefusedByPolicy,
                codes::PERMISSION_REVOKED,
                format!("Permission {name} was revoked; ask for another one."),
            ));
        }
        self.read(name, passphrase)
    }

    /// Marks a permission as revoked, durably: nothing here spends it any more.
    pub fn bury(&self, name: &str) -> Result<(), Failure> {
        if !self.path(name, "json")?.exists() {
            return Err(Failure::usage(format!(
                "There is no permission {name}; see `tollway permission list`."
            )));
        }
        if self.is_revoked(name)? {
            return Ok(());
        }
        keys::write_private(&self.path(name, "revoked")?, "")?;
        let directory = fs::File::open(&self.directory).and_then(|folder| folder.sync_all());
        directory.map_err(|e| {
            Failure::new(format!(
                "{} cannot be written: {e}; check the disk.",
                self.directory.display()
            ))
        })
    }

    fn is_revoked(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.path(name, "revoked")?.exists())
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<Vec<Entry>, Failure> {
        let entries = fs::read_dir(&self.directory).map_err(|e| {
            Failure::new(format!(
                "{} cannot be read: {e}; check it.",
                self.directory.display()
            ))
        })?;
        let mut found: Vec<Entry> = entries
            .filter_map(|entry| self.entry(&entry.ok()?.path()))
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn entry(&self, path: &Path) -> Option<Entry> {
        let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
        let text = fs::read_to_string(path).ok()?;
        let mut file: serde_json::Value = serde_json::from_str(&text).ok()?;
        let facts = serde_json::from_value(file.get_mut("permission")?.take()).ok()?;
        Some(Entry {
            name: name.to_owned(),
            facts,
            revoked: self.is_revoked(name).ok()?,
        })
    }
}

fn taken(name: &str) -> Failure {
    Failure::usage(format!(
        "There is, or was, a permission {name}; choose another name."
    ))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, U256};

    use super::*;

    fn permission() -> Permission {
        Permission {
            network: Network::eip155(84532),
            manager: Address::repeat_byte(7),
            session: EvmSigner::random().unwrap(),
            account: Address::repeat_byte(1),
            dependencies: vec![Dependency {
                factory: Address::repeat_byte(3),
                factory_data: Bytes::from_static(b"deploy"),
            }],
            chain: vec![Delegation {
                delegate: Address::repeat_byte(1),
                delegator: Address::repeat_byte(2),
                authority: B256::repeat_byte(0xff),
                caveats: Vec::new(),
                salt: U256::from(9),
                signature: Bytes::from_static(b"signature"),
            }],
        }
    }

    fn facts() -> Facts {
        Facts {
            network: "eip155:84532".to_owned(),
            payer: "0x02".to_owned(),
            session: "0x01".to_owned(),
            asset: "0x03".to_owned(),
            allowance: "10".to_owned(),
            period: None,
            expires: None,
            redeemers: None,
            payee: None,
            manager: "0x07".to_owned(),
        }
    }

    fn code(result: Result<Permission, Failure>) -> Option<String> {
        result.err().and_then(|failure| failure.code)
    }

    #[test]
    fn a_permission_is_kept_encrypted_and_not_spent_once_it_was_revoked() {
        let home = tempfile::tempdir().unwrap();
        let store = Permissions::open(home.path()).unwrap();
        let kept = permission();
        store.store("weather", &kept, &facts(), "sesame").unwrap();

        let file = fs::read_to_string(home.path().join("permissions/weather.json")).unwrap();
        let key = hex::encode(kept.session.secret_bytes().as_slice());
        assert!(!file.contains(&key) && !file.contains(&hex::encode("signature")));
        assert!(file.contains("\"allowance\":\"10\""), "it can be listed");

        let read = store.unlock("weather", "sesame").unwrap();
        assert_eq!(read.session.address(), kept.session.address());
        assert_eq!((read.manager, read.chain), (kept.manager, kept.chain));
        assert_eq!(
            (read.account, read.dependencies),
            (kept.account, kept.dependencies)
        );
        assert!(store.unlock("weather", "other").is_err());
        assert!(store.require_free("weather").is_err());

        store.bury("weather").unwrap();
        let revoked = Some(codes::PERMISSION_REVOKED.to_owned());
        assert_eq!(code(store.unlock("weather", "sesame")), revoked);
        assert!(
            store.read("weather", "sesame").is_ok(),
            "to revoke it on chain"
        );
        assert!(store.list().unwrap()[0].revoked);
        store.bury("weather").unwrap();
        assert!(store.bury("nothing").is_err());
        assert!(store.require_free("../weather").is_err());
    }
}
