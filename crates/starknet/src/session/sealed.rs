//! A session key at rest: scrypt and ChaCha20-Poly1305.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use serde::{Deserialize, Serialize};
use tollway_core::{Refusal, codes};
use zeroize::Zeroizing;

use super::key::SessionKey;
use crate::felt;
use crate::key::StarkKey;
use crate::refusal::refuse;

/// The only version of the format.
const VERSION: u8 = 1;
/// scrypt's `r` and `p`.
const BLOCK_SIZE: u32 = 8;
const PARALLELISM: u32 = 1;
/// Largest cost that a file may ask for: 1 GiB of memory.
const MAX_LOG_N: u8 = 20;

/// What deriving the key costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KdfCost {
    /// For keys of people: 128 MiB, about a third of a second.
    #[default]
    Interactive,
    /// For tests and for passphrases that are random keys: 1 MiB.
    Light,
}

impl KdfCost {
    const fn log_n(self) -> u8 {
        match self {
            Self::Interactive => 17,
            Self::Light => 10,
        }
    }
}

/// An encrypted session key, to be kept as JSON. What is not secret is in the
/// clear and authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealedSession {
    version: u8,
    /// By which the account knows the session.
    pub public_key: String,
    /// Unix seconds.
    pub valid_until: u64,
    scrypt_log_n: u8,
    salt: String,
    nonce: String,
    ciphertext: String,
}

impl SealedSession {
    /// Encrypts a key under a passphrase.
    ///
    /// # Errors
    /// `session_creation_failed` without randomness.
    pub fn seal(session: &SessionKey, passphrase: &str, cost: KdfCost) -> Result<Self, Refusal> {
        let creation = |e: &dyn std::fmt::Display| {
            refuse(codes::SESSION_CREATION_FAILED, "try again").with_detail(e)
        };
        let (mut salt, mut nonce) = ([0_u8; 16], [0_u8; 12]);
        getrandom::fill(&mut salt).map_err(|e| creation(&e))?;
        getrandom::fill(&mut nonce).map_err(|e| creation(&e))?;
        let mut sealed = Self {
            version: VERSION,
            public_key: felt::text(&session.public()),
            valid_until: session.valid_until,
            scrypt_log_n: cost.log_n(),
            salt: hex::encode(salt),
            nonce: hex::encode(nonce),
            ciphertext: String::new(),
        };
        let cipher = sealed
            .cipher(passphrase)
            .ok_or_else(|| creation(&"scrypt"))?;
        let secret = session.key.secret_hex();
        let about = sealed.about();
        let payload = Payload {
            msg: secret.as_bytes(),
            aad: about.as_bytes(),
        };
        let ciphertext = cipher.encrypt(Nonce::from_slice(&nonce), payload);
        sealed.ciphertext = hex::encode(ciphertext.map_err(|e| creation(&e))?);
        Ok(sealed)
    }

    /// Decrypts the key, and sees that it is the one that it says.
    ///
    /// # Errors
    /// `session_decryption_failed`.
    pub fn open(&self, passphrase: &str) -> Result<SessionKey, Refusal> {
        self.try_open(passphrase).ok_or_else(|| {
            refuse(
                codes::SESSION_DECRYPTION_FAILED,
                "check the passphrase, or create another session",
            )
        })
    }

    fn try_open(&self, passphrase: &str) -> Option<SessionKey> {
        if self.version != VERSION {
            return None;
        }
        let cipher = self.cipher(passphrase)?;
        let mut nonce = [0_u8; 12];
        hex::decode_to_slice(&self.nonce, &mut nonce).ok()?;
        let ciphertext = hex::decode(&self.ciphertext).ok()?;
        let about = self.about();
        let payload = Payload {
            msg: &ciphertext,
            aad: about.as_bytes(),
        };
        let secret = cipher.decrypt(Nonce::from_slice(&nonce), payload).ok()?;
        let secret = Zeroizing::new(secret);
        let key = StarkKey::from_hex(std::str::from_utf8(&secret).ok()?).ok()?;
        let is_it = felt::text(&key.public()) == self.public_key;
        is_it.then(|| SessionKey::new(key, self.valid_until))
    }

    fn cipher(&self, passphrase: &str) -> Option<ChaCha20Poly1305> {
        if !(1..=MAX_LOG_N).contains(&self.scrypt_log_n) {
            return None;
        }
        let mut salt = [0_u8; 16];
        hex::decode_to_slice(&self.salt, &mut salt).ok()?;
        let cost = scrypt::Params::new(self.scrypt_log_n, BLOCK_SIZE, PARALLELISM).ok()?;
        let mut key = Zeroizing::new([0_u8; 32]);
        scrypt::scrypt(passphrase.as_bytes(), &salt, &cost, key.as_mut_slice()).ok()?;
        Some(ChaCha20Poly1305::new(Key::from_slice(key.as_slice())))
    }

    /// What the ciphertext is bound to.
    fn about(&self) -> String {
        format!(
            "tollway session {VERSION}|{}|{}",
            self.public_key, self.valid_until
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionKey {
        SessionKey::new(
            StarkKey::from_hex("0x1234567890abcdef").unwrap(),
            1_770_021_600,
        )
    }

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_only_and_shows_nothing() {
        let sealed = SealedSession::seal(&session(), "correct horse", KdfCost::Light).unwrap();
        let text = serde_json::to_string(&sealed).unwrap();
        assert!(!text.contains("1234567890abcdef"), "{text}");
        let read: SealedSession = serde_json::from_str(&text).unwrap();
        let opened = read.open("correct horse").unwrap();
        assert_eq!(opened.public(), session().public());
        assert_eq!(opened.valid_until(), 1_770_021_600);
        let wrong = read.open("correct hors").unwrap_err();
        assert_eq!(wrong.code(), codes::SESSION_DECRYPTION_FAILED);
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let sealed = SealedSession::seal(&session(), "p", KdfCost::Light).unwrap();
        let mut changes: Vec<SealedSession> = vec![sealed.clone(); 6];
        changes[0].valid_until += 1;
        changes[1].public_key = "0x1".to_owned();
        changes[2].ciphertext.replace_range(..2, "00");
        changes[3].salt = "00".repeat(16);
        changes[4].version = 2;
        changes[5].scrypt_log_n = 63;
        for changed in changes {
            assert!(
                changed == sealed || changed.open("p").is_err(),
                "{changed:?}"
            );
        }
    }
}
