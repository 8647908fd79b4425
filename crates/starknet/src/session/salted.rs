//! The key format of the published session SDKs: CryptoJS's `Salted__` text.
//!
//! AES-256-CBC with key and IV from one round of MD5 protects little: this is for
//! bringing keys in and out, never for keeping them ([`super::SealedSession`]).

use aes::Aes256;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use tollway_core::{Refusal, codes};
use zeroize::Zeroizing;

use crate::key::StarkKey;
use crate::refusal::refuse;

const MAGIC: &[u8; 8] = b"Salted__";
const BLOCK: usize = 16;
/// Longest text that is read: a key needs 128 characters.
const MAX_TEXT: usize = 512;

/// Decrypts a key.
///
/// # Errors
/// `session_decryption_failed` for another format, a wrong password, or something
/// that is no key.
pub fn import(text: &str, password: &str) -> Result<StarkKey, Refusal> {
    let plain = decrypt(text, password).ok_or_else(failed)?;
    let plain = std::str::from_utf8(&plain).map_err(|_| failed())?;
    StarkKey::from_hex(plain).map_err(|_| failed())
}

/// Encrypts a key under a fresh salt.
///
/// # Errors
/// `session_creation_failed` without randomness.
pub fn export(key: &StarkKey, password: &str) -> Result<String, Refusal> {
    let mut salt = [0_u8; 8];
    getrandom::fill(&mut salt)
        .map_err(|e| refuse(codes::SESSION_CREATION_FAILED, "try again").with_detail(e))?;
    Ok(encrypt(key.secret_hex().as_bytes(), password, salt))
}

fn failed() -> Refusal {
    refuse(
        codes::SESSION_DECRYPTION_FAILED,
        "check the password, and that the text begins with U2FsdGVkX1",
    )
}

fn encrypt(plain: &[u8], password: &str, salt: [u8; 8]) -> String {
    let (cipher, mut last) = cipher(password, salt);
    let mut out = [&MAGIC[..], &salt].concat();
    let fill = BLOCK - plain.len() % BLOCK;
    let mut padded = Zeroizing::new(plain.to_vec());
    padded.extend(std::iter::repeat_n(u8::try_from(fill).unwrap_or(0), fill));
    for chunk in padded.chunks(BLOCK) {
        for (byte, plain) in last.iter_mut().zip(chunk) {
            *byte ^= plain;
        }
        cipher.encrypt_block(GenericArray::from_mut_slice(&mut last));
        out.extend(last);
    }
    STANDARD.encode(out)
}

fn decrypt(text: &str, password: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let bytes = STANDARD.decode(text.trim()).ok()?;
    let (salt, body) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    if body.is_empty() || body.len() % BLOCK != 0 {
        return None;
    }
    let (cipher, mut last) = cipher(password, *salt);
    let mut plain = Zeroizing::new(Vec::with_capacity(body.len()));
    for chunk in body.chunks(BLOCK) {
        let mut block = *GenericArray::from_slice(chunk);
        cipher.decrypt_block(&mut block);
        plain.extend(block.iter().zip(last).map(|(byte, before)| byte ^ before));
        last.copy_from_slice(chunk);
    }
    unpad(&mut plain).then_some(plain)
}

/// PKCS#7, strictly.
fn unpad(plain: &mut Vec<u8>) -> bool {
    let fill = usize::from(plain.last().copied().unwrap_or(0));
    let valid = (1..=BLOCK).contains(&fill)
        && fill <= plain.len()
        && plain[plain.len() - fill..]
            .iter()
            .all(|b| usize::from(*b) == fill);
    if valid {
        plain.truncate(plain.len() - fill);
    }
    valid
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round: 48 bytes.
fn cipher(password: &str, salt: [u8; 8]) -> (Aes256, [u8; BLOCK]) {
    let mut derived = Zeroizing::new([0_u8; 48]);
    for round in 0..3 {
        let mut hash = Md5::new();
        if round > 0 {
            hash.update(&derived[(round - 1) * BLOCK..round * BLOCK]);
        }
        hash.update(password.as_bytes());
        hash.update(salt);
        derived[round * BLOCK..(round + 1) * BLOCK].copy_from_slice(&hash.finalize());
    }
    let mut iv = [0_u8; BLOCK];
    iv.copy_from_slice(&derived[32..]);
    (Aes256::new(GenericArray::from_slice(&derived[..32])), iv)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn cases(kind: &str) -> Vec<Value> {
        let all: Value =
            serde_json::from_str(include_str!("../../tests/vectors/starknet.json")).unwrap();
        let cases = all["cases"].as_array().unwrap().iter();
        let found: Vec<_> = cases
            .filter(|c| c["input"]["kind"] == kind)
            .cloned()
            .collect();
        assert!(!found.is_empty());
        found
    }

    #[test]
    fn keys_are_encrypted_as_the_published_sdk_does_and_read_back() {
        for case in cases("encrypted_key") {
            let text = |key: &str| case["input"][key].as_str().unwrap();
            let salt = u64::from_str_radix(&text("salt")[2..], 16)
                .unwrap()
                .to_be_bytes();
            let encrypted = encrypt(text("plaintext").as_bytes(), text("password"), salt);
            assert_eq!(encrypted, case["expected"]["encrypted"], "{}", case["name"]);
            let plain = decrypt(&encrypted, text("password")).unwrap();
            assert_eq!(plain.as_slice(), text("plaintext").as_bytes());
        }
    }

    #[test]
    fn what_is_not_the_format_or_not_the_password_is_refused() {
        for case in cases("decrypt_key") {
            let text = |key: &str| case["input"][key].as_str().unwrap();
            let key = import(text("encrypted"), text("password"));
            assert_eq!(case["expected"]["accept"], key.is_ok(), "{}", case["name"]);
            if let Err(refusal) = key {
                assert_eq!(refusal.code(), codes::SESSION_DECRYPTION_FAILED);
            }
        }
        assert!(import(&"A".repeat(MAX_TEXT + 4), "1234").is_err());
    }

    #[test]
    fn an_exported_key_comes_back() {
        let key = StarkKey::random().unwrap();
        let text = export(&key, "passphrase").unwrap();
        assert_eq!(import(&text, "passphrase").unwrap().public(), key.public());
        assert_ne!(
            text,
            export(&key, "passphrase").unwrap(),
            "salts do not repeat"
        );
    }
}
