//! Who signs for an account: its owner, or a session that the owner allowed.

use starknet_crypto::Felt;
use tollway_core::Address;

use crate::felt;
use crate::key::{KeyError, StarkKey};

/// A key and what it is to the account.
#[derive(Clone, Debug)]
pub enum Signer {
    /// The account's own key: `[r, s]`.
    Owner(StarkKey),
    /// A session key: `[session key, r, s, valid until]`.
    Session {
        /// The session's key.
        key: StarkKey,
        /// Unix seconds; at most what the account has on record.
        valid_until: u64,
    },
}

impl Signer {
    /// The signature array over a hash, as the account takes it.
    ///
    /// # Errors
    /// [`KeyError::Message`].
    pub fn sign(&self, hash: &Felt) -> Result<Vec<Felt>, KeyError> {
        match self {
            Self::Owner(key) => Ok(key.sign(hash)?.to_vec()),
            Self::Session { key, valid_until } => {
                let [r, s] = key.sign(hash)?;
                Ok(vec![key.public(), r, s, Felt::from(*valid_until)])
            }
        }
    }

    /// The last moment at which its signatures count, Unix seconds, if there is one.
    #[must_use]
    pub const fn valid_until(&self) -> Option<u64> {
        match self {
            Self::Owner(_) => None,
            Self::Session { valid_until, .. } => Some(*valid_until),
        }
    }
}

/// An account of ours that sends transactions: its class takes Cairo 1 calls
/// and its owner's `[r, s]`.
#[derive(Clone, Debug)]
pub struct StarknetAccount {
    pub(crate) address: Address,
    pub(crate) number: Felt,
    pub(crate) key: StarkKey,
}

impl StarknetAccount {
    /// From its address on the network and its owner's key; `None` if the address
    /// is zero or none of Starknet.
    #[must_use]
    pub fn new(address: Address, key: StarkKey) -> Option<Self> {
        let number = felt::of_address(&address).filter(|number| *number != Felt::ZERO)?;
        Some(Self {
            address,
            number,
            key,
        })
    }

    /// Which account.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }
}
