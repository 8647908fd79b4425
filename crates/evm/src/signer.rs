//! Keys and signatures of secp256k1, by libsecp256k1.

use alloy_primitives::{Address, B256, keccak256};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId, Signature};
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use zeroize::Zeroizing;

/// Half the order of the curve: a larger `s` is a signature's malleable twin.
const HALF_ORDER: B256 =
    alloy_primitives::b256!("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0");

/// A private key and its address. The key is erased when it is dropped and
/// never printed.
pub struct EvmSigner {
    key: SecretKey,
    address: Address,
}

/// Why bytes or text are not a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 32 bytes in hex, or zero, or not below the curve's order.
    #[error("a private key is 64 hex digits, with or without 0x, not zero; check the key file")]
    Invalid,
    /// The system's random source failed.
    #[error("the system has no randomness for a key; try again")]
    Random,
}

impl EvmSigner {
    /// From 64 hex digits, with or without `0x`.
    ///
    /// # Errors
    /// [`KeyError::Invalid`].
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let mut bytes = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(digits, bytes.as_mut_slice()).map_err(|_| KeyError::Invalid)?;
        Self::from_bytes(&bytes)
    }

    /// From 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::Invalid`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SecretKey::from_byte_array(*bytes).map_err(|_| KeyError::Invalid)?;
        let address = address_of(&key.public_key(SECP256K1));
        Ok(Self { key, address })
    }

    /// A fresh key from the operating system's random source.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Random)?;
        Self::from_bytes(&bytes)
    }

    /// The account.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// The key's bytes, for an encrypted keystore and nothing else.
    #[must_use]
    pub fn secret_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.secret_bytes())
    }

    /// Signs a digest: `r ‖ s ‖ v`, low `s`, `v` 27 or 28, nonce by RFC 6979.
    #[must_use]
    pub fn sign(&self, digest: B256) -> [u8; 65] {
        let (id, compact) = SECP256K1
            .sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.key)
            .serialize_compact();
        let mut signature = [0_u8; 65];
        signature[..64].copy_from_slice(&compact);
        signature[64] = 27 + u8::from(id == RecoveryId::One);
        signature
    }
}

impl Clone for EvmSigner {
    fn clone(&self) -> Self {
        Self {
            key: self.key,
            address: self.address,
        }
    }
}

impl Drop for EvmSigner {
    fn drop(&mut self) {
        self.key.non_secure_erase();
    }
}

impl std::fmt::Debug for EvmSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvmSigner")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Who signed a digest. Strict as the tokens are: 65 bytes, `v` 27 or 28, low
/// `s`; everything else is nobody.
#[must_use]
pub fn recover(digest: B256, signature: &[u8]) -> Option<Address> {
    Some(recover_key(digest, signature)?.address())
}

/// The key that made a signature, as [`recover`].
pub(crate) fn recover_key(digest: B256, signature: &[u8]) -> Option<KnownKey> {
    let (compact, id) = parts(signature)?;
    let signature = RecoverableSignature::from_compact(compact, id).ok()?;
    let key = signature.recover(Message::from_digest(digest.0)).ok()?;
    Some(KnownKey(key))
}

/// A public key that was recovered before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownKey(PublicKey);

impl KnownKey {
    pub(crate) fn address(&self) -> Address {
        address_of(&self.0)
    }

    /// Whether the key signed this digest: `r` and `s` are checked, and that `v`
    /// is one of the two, but not that it is the right one of them. That costs a
    /// seventh of a recovery more, and whoever chooses the wrong one on purpose
    /// fails in the simulation, as with a balance that is too low.
    pub(crate) fn has_signed(&self, digest: B256, signature: &[u8]) -> bool {
        let Some((compact, _)) = parts(signature) else {
            return false;
        };
        Signature::from_compact(compact).is_ok_and(|signature| {
            SECP256K1
                .verify_ecdsa(Message::from_digest(digest.0), &signature, &self.0)
                .is_ok()
        })
    }
}

fn parts(signature: &[u8]) -> Option<(&[u8], RecoveryId)> {
    let signature: &[u8; 65] = signature.try_into().ok()?;
    let id = match signature[64] {
        27 => RecoveryId::Zero,
        28 => RecoveryId::One,
        _ => return None,
    };
    let is_low = signature[32..64] <= HALF_ORDER[..];
    is_low.then_some((&signature[..64], id))
}

fn address_of(key: &PublicKey) -> Address {
    let bytes = key.serialize_uncompressed();
    Address::from_slice(&keccak256(&bytes[1..])[12..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn a_signature_recovers_to_its_signer_and_nothing_else_does() {
        let signer = EvmSigner::from_hex(KEY).unwrap();
        let digest = keccak256("digest");
        let good = signer.sign(digest);
        assert_eq!(recover(digest, &good), Some(signer.address()));
        assert_ne!(recover(keccak256("other"), &good), Some(signer.address()));
        let key = recover_key(digest, &good).unwrap();
        assert!(key.has_signed(digest, &good));
        assert!(!key.has_signed(keccak256("other"), &good));

        for v in [0, 1, 26, 29, 255] {
            let mut bad = good;
            bad[64] = v;
            assert_eq!(recover(digest, &bad), None, "v = {v}");
            assert!(!key.has_signed(digest, &bad), "v = {v}");
        }
        assert_eq!(recover(digest, &good[..64]), None);
        assert_eq!(recover(digest, &[&good[..], &[0]].concat()), None);
        assert_eq!(recover(digest, &[0; 65]), None);
        assert_eq!(recover(digest, &[]), None);
    }

    #[test]
    fn the_malleable_twin_of_a_signature_is_refused() {
        let order = alloy_primitives::U256::from_be_bytes(HALF_ORDER.0)
            * alloy_primitives::U256::from(2)
            + alloy_primitives::U256::from(1);
        let signer = EvmSigner::from_hex(KEY).unwrap();
        let digest = keccak256("digest");
        let mut twin = signer.sign(digest);
        let key = recover_key(digest, &twin).unwrap();
        let s = alloy_primitives::U256::from_be_slice(&twin[32..64]);
        twin[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
        twin[64] = 55 - twin[64];
        assert_eq!(recover(digest, &twin), None);
        assert!(!key.has_signed(digest, &twin));
    }

    #[test]
    fn a_key_is_never_printed() {
        let signer = EvmSigner::from_hex(KEY).unwrap();
        let shown = format!("{signer:?}").to_lowercase();
        assert!(shown.contains("f39fd6e51aad88f6f4ce6ab8827279cfffb92266"));
        assert!(!shown.contains("ac0974"));
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        for text in ["", "0x", "0x12", &"0".repeat(64), order, &"zz".repeat(32)] {
            assert_eq!(EvmSigner::from_hex(text).err(), Some(KeyError::Invalid));
        }
    }
}
