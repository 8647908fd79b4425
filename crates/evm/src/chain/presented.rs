//! The signature as it was presented.

use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256, Bytes, Keccak256};
use alloy_sol_types::SolValue;
use tollway_core::Refusal;

use super::recent::Recent;
use crate::abi::{WRAPPED_SUFFIX, Wrapped};
use crate::refusal::refuse;
use crate::signer::{KnownKey, recover_key};

/// A signature, as far as it can be told without the chain.
pub(super) struct Presented {
    /// The bytes that the chain gets: those inside an EIP-6492 wrapper.
    pub signature: Bytes,
    /// What an EIP-6492 wrapper says: who deploys the account, by which call.
    pub deployment: Option<(Address, Bytes)>,
    /// Whether it is the payer's own key's, for payers without code.
    pub by_key: bool,
    /// What it is known by: what was signed, and these bytes.
    pub id: B256,
}

/// Signatures that were checked a moment ago, since a payment is verified before
/// it is served and again before it is settled; and the keys of those who paid,
/// since they pay again.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    own: Mutex<Recent<B256, ()>>,
    keys: Mutex<Recent<Address, KnownKey>>,
}

impl Signatures {
    /// Whether a plain account's own key made a signature.
    fn is_own(&self, id: B256, digest: B256, payer: Address, signature: &[u8]) -> bool {
        if locked(&self.own).get(&id).is_some() {
            return true;
        }
        let own = self.signed(digest, payer, signature);
        if own {
            locked(&self.own).insert(id, ());
        }
        own
    }

    fn signed(&self, digest: B256, payer: Address, signature: &[u8]) -> bool {
        let known = locked(&self.keys).get(&payer).copied();
        if let Some(key) = known {
            return key.has_signed(digest, signature);
        }
        let Some(key) = recover_key(digest, signature) else {
            return false;
        };
        let own = key.address() == payer;
        if own {
            locked(&self.keys).insert(payer, key);
        }
        own
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is said to have signed what.
#[derive(Clone, Copy)]
pub(super) struct Claim<'a> {
    pub payer: Address,
    pub digest: B256,
    pub signature: &'a Bytes,
    /// The code for a signature that is not the payer's.
    pub wrong: &'static str,
}

impl Presented {
    pub fn new(claim: Claim<'_>, signatures: &Signatures) -> Result<Self, Refusal> {
        let (digest, bytes) = (claim.digest, claim.signature);
        let mut id = Keccak256::new();
        id.update(digest);
        id.update(bytes);
        let id = id.finalize();
        if let Some(body) = bytes.strip_suffix(&WRAPPED_SUFFIX) {
            let inner = unwrapped(body, claim.wrong)?;
            return Ok(Self {
                signature: inner.signature,
                deployment: Some((inner.factory, inner.factoryCalldata)),
                by_key: false,
                id,
            });
        }
        Ok(Self {
            by_key: signatures.is_own(id, digest, claim.payer, bytes),
            signature: bytes.clone(),
            deployment: None,
            id,
        })
    }

    /// Whether it came in an EIP-6492 wrapper.
    pub const fn is_wrapped(&self) -> bool {
        self.deployment.is_some()
    }
}

/// The signature that the chain gets: the one inside an EIP-6492 wrapper.
pub(super) fn inner_signature(bytes: &Bytes, wrong: &'static str) -> Result<Bytes, Refusal> {
    match bytes.strip_suffix(&WRAPPED_SUFFIX) {
        Some(body) => Ok(unwrapped(body, wrong)?.signature),
        None => Ok(bytes.clone()),
    }
}

fn unwrapped(body: &[u8], wrong: &'static str) -> Result<Wrapped, Refusal> {
    Wrapped::abi_decode_params(body).map_err(|_| wrong_signature(wrong))
}

pub(super) fn wrong_signature(code: &'static str) -> Refusal {
    refuse(code, "sign with the paying account")
}
