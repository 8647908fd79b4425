//! Accounts that are not there yet, and who deploys them.
//!
//! A wallet that grants a permission of such an account says so in its answer's
//! `dependencies` (ERC-7715), or by the wrapper of EIP-6492 around the signature. It
//! comes to the same: a factory, and the call that makes it deploy the account.
//! Neither is signed by anybody, so neither is believed: what counts is what is
//! there afterwards.

use alloy_primitives::{Address, Bytes, hex};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Delegation, MAX_BYTES};
use crate::abi::{WRAPPED_SUFFIX, Wrapped};

/// Most accounts that one permission says are to be deployed.
pub const MAX_DEPENDENCIES: usize = 4;
/// Most bytes of the call to a factory.
pub const MAX_FACTORY_DATA: usize = 4096;

/// An account that a factory deploys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Whom to call.
    pub factory: Address,
    /// With what.
    pub factory_data: Bytes,
}

impl Dependency {
    /// As wallets write it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "factory": self.factory.to_checksum(None),
            "factoryData": hex::encode_prefixed(&self.factory_data),
        })
    }
}

impl Delegation {
    /// Takes an EIP-6492 wrapper off the signature, which no delegation's hash has a
    /// part in: what the chain gets is inside. `None` where there is none, or where
    /// it holds nothing that can be read.
    pub fn unwrap_signature(&mut self) -> Option<Dependency> {
        let body = self.signature.strip_suffix(&WRAPPED_SUFFIX)?;
        let inner = Wrapped::abi_decode_params(body).ok()?;
        if inner.signature.len() > MAX_BYTES {
            return None;
        }
        self.signature = inner.signature;
        Some(Dependency {
            factory: inner.factory,
            factory_data: inner.factoryCalldata,
        })
    }
}

/// Takes the wrappers off all signatures of a chain: what they say that is to be
/// deployed, each once.
#[must_use]
pub fn unwrap_chain(chain: &mut [Delegation]) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    for dependency in chain.iter_mut().filter_map(Delegation::unwrap_signature) {
        if !found.contains(&dependency) {
            found.push(dependency);
        }
    }
    found
}
