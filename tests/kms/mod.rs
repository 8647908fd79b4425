//! Keys in key services: nothing that runs here has a key, and a stand-in on this
//! machine has both. Neither was tried against the real service.

#[cfg(feature = "aws-kms")]
mod aws;
#[cfg(feature = "gcp-kms")]
mod gcp;

use std::sync::Mutex;

use alloy_primitives::{U256, uint};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secp256k1::{Message, SECP256K1, SecretKey};
use tollway_devnet::DevAccount;

use crate::harness::program::Finished;
use crate::harness::town::{Town, set};

/// What stands before a point in `SubjectPublicKeyInfo` of secp256k1.
const SPKI: &str = "3056301006072a8648ce3d020106052b8104000a034200";
const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

/// What services signed, in base64 of DER.
#[derive(Default)]
struct Signatures(Mutex<Vec<String>>);

impl Signatures {
    /// Signs a digest in base64. Services do not care which of the two signatures they
    /// give: every other one is high.
    fn sign(&self, account: &DevAccount, digest: &str) -> String {
        let digest = STANDARD.decode(digest).unwrap();
        let message = Message::from_digest(digest.try_into().unwrap());
        let compact = SECP256K1
            .sign_ecdsa(message, &secret(account))
            .serialize_compact();
        let (r, s) = (
            U256::from_be_slice(&compact[..32]),
            U256::from_be_slice(&compact[32..]),
        );
        let mut all = self.0.lock().unwrap();
        let high = all.len().is_multiple_of(2);
        let signature = STANDARD.encode(der(&[r, if high { ORDER - s } else { s }]));
        all.push(signature.clone());
        signature
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Asserts that a talkative process told nobody about any of them, or about
    /// other secrets.
    #[track_caller]
    fn are_told_by_nobody(&self, said: &[Finished], secrets: &[&str]) {
        let signatures = self.0.lock().unwrap();
        for done in said {
            assert!(done.stderr.len() > 1_000, "it was talkative");
            let text = format!("{}{}", done.stdout, done.stderr);
            for secret in signatures
                .iter()
                .map(String::as_str)
                .chain(secrets.iter().copied())
            {
                assert!(!text.contains(secret), "{secret}");
            }
        }
    }
}

fn secret(account: &DevAccount) -> SecretKey {
    SecretKey::from_byte_array(account.key.0).unwrap()
}

/// An account's public key, as `SubjectPublicKeyInfo`.
fn public(account: &DevAccount) -> Vec<u8> {
    let point = secret(account)
        .public_key(SECP256K1)
        .serialize_uncompressed();
    [&hex(SPKI)[..], &point].concat()
}

fn hex(digits: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// A sequence of positive integers.
fn der(numbers: &[U256]) -> Vec<u8> {
    let mut inner = Vec::new();
    for number in numbers {
        let mut bytes = number.to_be_bytes_trimmed_vec();
        if bytes[0] >= 0x80 {
            bytes.insert(0, 0);
        }
        inner.extend([2, u8::try_from(bytes.len()).unwrap()]);
        inner.extend(bytes);
    }
    [&[0x30, u8::try_from(inner.len()).unwrap()][..], &inner].concat()
}

/// A home without a key.
async fn keyless() -> Town {
    let town = Town::new().await;
    for key in ["signer.key", "buyer.key"] {
        std::fs::remove_file(town.path(key)).unwrap();
    }
    town
}

fn gate_args(town: &Town, key: &str) -> Vec<String> {
    let mut args = town.gate_args("local", &town.rpc());
    set(&mut args, "--signer-key-file", key);
    args
}

fn pay_args(town: &Town, url: &str, key: &str) -> Vec<String> {
    let mut args = town.pay_args(url, &[]);
    set(&mut args, "--key-file", key);
    args
}
