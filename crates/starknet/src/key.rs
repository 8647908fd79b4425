//! Keys and signatures of the STARK curve.

use starknet_crypto::{Felt, SignError, get_public_key, rfc6979_generate_k, sign};
use zeroize::{Zeroize, Zeroizing};

use crate::felt;

/// The order of the curve; keys are below it.
const ORDER: &str = "0x800000000000010ffffffffffffffffb781126dcae7b2321e66a241adc64d2f";
/// How many times a nonce that cannot be used is replaced. One is practically
/// never needed.
const MAX_TRIES: u64 = 8;

/// A private key of the STARK curve and its public key. The key is erased when
/// it is dropped and never printed.
#[derive(Clone)]
pub struct StarkKey {
    /// Big-endian: the curve's own type cannot be erased.
    secret: Zeroizing<[u8; 32]>,
    public: Felt,
}

/// Why there is no key or no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not hex, or zero, or not below the curve's order.
    #[error(
        "a Starknet private key is 0x and up to 64 hex digits, not zero, below the curve's order; check the key file"
    )]
    Invalid,
    /// The system's random source failed.
    #[error("the system has no randomness for a key; try again")]
    Random,
    /// The curve cannot sign so large a number.
    #[error("this message cannot be signed; make it anew with another nonce")]
    Message,
}

impl StarkKey {
    /// From hex, with or without `0x`.
    ///
    /// # Errors
    /// [`KeyError::Invalid`].
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let prefixed = Zeroizing::new(format!("0x{digits}"));
        let secret = felt::parse(&prefixed).map_err(|_| KeyError::Invalid)?;
        Self::from_felt(secret)
    }

    fn from_felt(secret: Felt) -> Result<Self, KeyError> {
        let order = felt::parse(ORDER).map_err(|_| KeyError::Invalid)?;
        if secret == Felt::ZERO || secret >= order {
            return Err(KeyError::Invalid);
        }
        Ok(Self {
            public: get_public_key(&secret),
            secret: Zeroizing::new(secret.to_bytes_be()),
        })
    }

    /// A fresh key from the operating system's random source.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        for _ in 0..MAX_TRIES {
            getrandom::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Random)?;
            // 251 bits: nearly every such number is a key.
            bytes[0] &= 0x07;
            if let Ok(key) = Self::from_felt(Felt::from_bytes_be(&bytes)) {
                return Ok(key);
            }
        }
        Err(KeyError::Random)
    }

    /// The public key: the x coordinate.
    #[must_use]
    pub const fn public(&self) -> Felt {
        self.public
    }

    /// The key in hex, for an encrypted keystore and nothing else.
    #[must_use]
    pub fn secret_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(felt::text(&Felt::from_bytes_be(&self.secret)))
    }

    /// Signs a hash: `[r, s]`, nonce by RFC 6979.
    ///
    /// # Errors
    /// [`KeyError::Message`] for the few numbers that the curve does not sign.
    pub fn sign(&self, hash: &Felt) -> Result<[Felt; 2], KeyError> {
        let mut secret = Felt::from_bytes_be(&self.secret);
        let signature = sign_with(&secret, hash);
        secret = wiped(secret);
        debug_assert_eq!(secret, Felt::ZERO);
        signature
    }
}

/// Overwrites the copy that signing needed, as far as the type allows.
fn wiped(secret: Felt) -> Felt {
    let mut limbs = secret.to_raw();
    limbs.zeroize();
    Felt::from_raw(limbs)
}

fn sign_with(secret: &Felt, hash: &Felt) -> Result<[Felt; 2], KeyError> {
    for seed in 0..MAX_TRIES {
        let seed = (seed > 0).then(|| Felt::from(seed));
        let k = rfc6979_generate_k(hash, secret, seed.as_ref());
        match sign(secret, hash, &k) {
            Ok(signature) => return Ok([signature.r, signature.s]),
            Err(SignError::InvalidMessageHash) => return Err(KeyError::Message),
            Err(SignError::InvalidK) => {}
        }
    }
    Err(KeyError::Message)
}

/// Whether a signature over a hash is a key's.
#[must_use]
pub fn verifies(public: &Felt, hash: &Felt, signature: &[Felt; 2]) -> bool {
    let [r, s] = signature;
    starknet_crypto::verify(public, hash, r, s).unwrap_or(false)
}

impl std::fmt::Debug for StarkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StarkKey")
            .field("public", &felt::text(&self.public))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let key = StarkKey::from_hex("0x1234567890abcdef").unwrap();
        let shown = format!("{key:?}");
        assert!(
            shown.contains("0x2abbefdcbf731195ee2acd186441eb536e86f888327b3655cffbd07b57dbf26")
        );
        assert!(!shown.contains("1234567890abcdef"));
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let zeros = "0".repeat(64);
        for text in ["", "0x", "0x0", ORDER, "0xzz", &zeros, &"f".repeat(64)] {
            assert_eq!(
                StarkKey::from_hex(text).err(),
                Some(KeyError::Invalid),
                "{text}"
            );
        }
        assert_eq!(
            StarkKey::from_hex("1234567890abcdef").unwrap().public(),
            StarkKey::from_hex(" 0x1234567890abcdef\n")
                .unwrap()
                .public()
        );
    }

    #[test]
    fn keys_do_not_repeat_and_their_signatures_verify() {
        let (one, other) = (StarkKey::random().unwrap(), StarkKey::random().unwrap());
        assert_ne!(one.public(), other.public());
        let hash = Felt::from(7_u8);
        let [r, s] = one.sign(&hash).unwrap();
        assert!(starknet_crypto::verify(&one.public(), &hash, &r, &s).unwrap());
        assert!(!starknet_crypto::verify(&other.public(), &hash, &r, &s).unwrap());
        let unsigned = Felt::ZERO - Felt::ONE;
        assert_eq!(one.sign(&unsigned), Err(KeyError::Message));
    }
}
