//! The public half of a key, as the service shows it.

use alloy_primitives::{Address, hex};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secp256k1::PublicKey;
use serde::Deserialize;

use super::checksum;
use super::name::KeyName;
use crate::exit::Failure;

/// The only algorithm whose signatures EVM networks know.
const ALGORITHM: &str = "EC_SIGN_SECP256K1_SHA256";
/// What stands before an uncompressed point in `SubjectPublicKeyInfo` of secp256k1
/// (RFC 5480).
const BEFORE_POINT: [u8; 23] = hex!("3056301006072a8648ce3d020106052b8104000a034200");

/// An answer of `getPublicKey`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownKey {
    algorithm: String,
    pem: String,
    pem_crc32c: Option<String>,
}

impl ShownKey {
    /// Whether it can sign here.
    pub fn require_algorithm(&self, name: &KeyName) -> Result<(), Failure> {
        if self.algorithm == ALGORITHM {
            return Ok(());
        }
        let known = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        let theirs: String = self.algorithm.chars().filter(known).take(60).collect();
        Err(Failure::usage(format!(
            "The key {name} signs by {theirs}; make one for {ALGORITHM} (`gcloud kms keys create … --purpose asymmetric-signing --protection-level hsm --default-algorithm ec-sign-secp256k1-sha256`) and name a version of it.",
        )))
    }

    /// The account.
    pub fn address(&self) -> Result<Address, &'static str> {
        if !checksum::fits(self.pem_crc32c.as_deref(), self.pem.as_bytes()) {
            return Err("its public key is not the one that it sent");
        }
        point(&self.pem)
            .map(|point| Address::from_raw_public_key(&point.serialize_uncompressed()[1..]))
            .ok_or("its public key is not a point of secp256k1 in PEM")
    }
}

fn point(pem: &str) -> Option<PublicKey> {
    let inner = pem
        .trim()
        .strip_prefix("-----BEGIN PUBLIC KEY-----")?
        .strip_suffix("-----END PUBLIC KEY-----")?;
    let digits: String = inner.split_whitespace().collect();
    let der = STANDARD.decode(digits).ok()?;
    PublicKey::from_slice(der.strip_prefix(&BEFORE_POINT[..])?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `openssl ec -pubout` writes that of the private key 1.
    const ONE: &str = "-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEeb5mfvncu6xVoGKVzocLBwKb/NstzijZ
WfKBWxb4F5hIOtp3JqPEZV2k+/wOEQio/Re0SKaFVBmcR9CP+xDUuA==
-----END PUBLIC KEY-----
";

    fn shown(pem: &str) -> ShownKey {
        ShownKey {
            algorithm: ALGORITHM.to_owned(),
            pem: pem.to_owned(),
            pem_crc32c: None,
        }
    }

    #[test]
    fn the_account_is_that_of_the_public_key() {
        let address = shown(ONE).address().map(|address| address.to_string());
        assert_eq!(
            address.as_deref(),
            Ok("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf")
        );
    }

    #[test]
    fn what_is_no_point_of_the_curve_has_no_account() {
        for bad in [
            String::new(),
            ONE.replace("PUBLIC", "PRIVATE"),
            // Of P-256, and beside the curve.
            ONE.replace("MFYwEAYHKoZIzj0CAQYFK4EEAAo", "MFkwEwYHKoZIzj0CAQYIKoZIzj0"),
            ONE.replace("+xDUuA==", "+xDUuQ=="),
            ONE.replace("+xDUuA==", ""),
        ] {
            assert!(shown(&bad).address().is_err(), "{bad}");
        }
        let mut changed = shown(ONE);
        changed.pem_crc32c = Some("1".to_owned());
        assert!(changed.address().is_err());
    }
}
