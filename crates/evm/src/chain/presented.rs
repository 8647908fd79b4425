//! The signature as it was presented, and the call that it settles by.

use std::sync::{Mutex, PoisonError};

use alloy_primitives::{B256, Bytes, Keccak256};
use alloy_sol_types::{SolCall, SolValue};
use tollway_core::{Refusal, codes};

use super::recent::Recent;
use crate::abi::{Token as Abi, Wrapped};
use crate::authorization::SignedAuthorization;
use crate::refusal::refuse;
use crate::signer::recover;
use crate::typed_data::Authorization;

/// EIP-6492: a signature of an account that does not exist yet ends so.
const WRAPPED_SUFFIX: [u8; 32] = [
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
];

/// A signature, as far as it can be told without the chain.
pub(super) struct Presented {
    /// The bytes that the token gets: those inside an EIP-6492 wrapper.
    pub signature: Bytes,
    /// Whether it came wrapped.
    pub wrapped: bool,
    /// Whether it is the payer's own key's, for payers without code.
    pub by_key: bool,
    /// What it is known by: what was signed, and these bytes.
    pub id: B256,
}

/// Signatures that were recovered a moment ago: a payment is verified before it
/// is served and again before it is settled.
#[derive(Debug, Default)]
pub(super) struct Signatures(Mutex<Recent<B256, ()>>);

impl Signatures {
    /// Whether a plain account's own key made a signature.
    fn is_own(&self, id: B256, digest: B256, signed: &SignedAuthorization) -> bool {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known().get(&id).is_some() {
            return true;
        }
        let own = recover(digest, &signed.signature) == Some(signed.authorization.from);
        if own {
            known().insert(id, ());
        }
        own
    }
}

impl Presented {
    pub fn new(
        signed: &SignedAuthorization,
        digest: B256,
        signatures: &Signatures,
    ) -> Result<Self, Refusal> {
        let bytes = &signed.signature;
        let mut id = Keccak256::new();
        id.update(digest);
        id.update(bytes);
        let id = id.finalize();
        if let Some(body) = bytes.strip_suffix(&WRAPPED_SUFFIX) {
            let inner = Wrapped::abi_decode_params(body).map_err(|_| wrong_signature())?;
            return Ok(Self {
                signature: inner.signature,
                wrapped: true,
                by_key: false,
                id,
            });
        }
        Ok(Self {
            by_key: signatures.is_own(id, digest, signed),
            signature: bytes.clone(),
            wrapped: false,
            id,
        })
    }
}

/// The token's call: `v, r, s` for 65 bytes, `bytes` for anything else.
pub(super) fn transfer_call(a: &Authorization, signature: &Bytes) -> Bytes {
    let data = match <&[u8; 65]>::try_from(signature.as_ref()) {
        Ok(short) => Abi::transferWithAuthorization_0Call {
            from: a.from,
            to: a.to,
            value: a.value,
            validAfter: a.valid_after,
            validBefore: a.valid_before,
            nonce: a.nonce,
            v: short[64],
            r: B256::from_slice(&short[..32]),
            s: B256::from_slice(&short[32..64]),
        }
        .abi_encode(),
        Err(_) => Abi::transferWithAuthorization_1Call {
            from: a.from,
            to: a.to,
            value: a.value,
            validAfter: a.valid_after,
            validBefore: a.valid_before,
            nonce: a.nonce,
            signature: signature.clone(),
        }
        .abi_encode(),
    };
    data.into()
}

/// The call that settles a payment that was presented so.
pub(super) fn settle_call(signed: &SignedAuthorization) -> Result<Bytes, Refusal> {
    let inner = match signed.signature.strip_suffix(&WRAPPED_SUFFIX) {
        Some(body) => Wrapped::abi_decode_params(body)
            .map(|wrapped| wrapped.signature)
            .map_err(|_| wrong_signature())?,
        None => signed.signature.clone(),
    };
    Ok(transfer_call(&signed.authorization, &inner))
}

pub(super) fn wrong_signature() -> Refusal {
    refuse(
        codes::INVALID_EXACT_EVM_SIGNATURE,
        "sign the authorization with the paying account",
    )
}
