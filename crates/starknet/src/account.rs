//! Who signs for an account: its owner, or a session that the owner allowed.

use starknet_crypto::Felt;
use tollway_core::{Address, Network, Refusal, Timestamp, codes};

use crate::felt;
use crate::key::{KeyError, StarkKey};
use crate::outside::{Call, OutsideExecution};
use crate::payload::SignedExecution;
use crate::refusal::refuse;
use crate::wallet::{chain_of, random_nonce};

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

    /// Lets somebody else send calls for the account, once and until a moment: they
    /// happen all, or none, and the sender pays the fee.
    ///
    /// # Errors
    /// `invalid_network`, or `wallet_unavailable` without randomness.
    pub fn allow(
        &self,
        network: &Network,
        calls: Vec<Call>,
        caller: Felt,
        until: Timestamp,
    ) -> Result<SignedExecution, Refusal> {
        let execution = OutsideExecution {
            caller,
            nonce: random_nonce()?,
            execute_after: 1,
            execute_before: u128::from(until.secs()),
            calls,
        };
        let chain_id = chain_of(network)?;
        let signature = self.key.sign(&execution.hash(&chain_id, &self.number));
        let signature =
            signature.map_err(|e| refuse(codes::WALLET_UNAVAILABLE, "try again").with_detail(e))?;
        Ok(SignedExecution {
            from: self.number,
            execution,
            signature: signature.to_vec(),
        })
    }

    /// The same as a number.
    #[must_use]
    pub const fn number(&self) -> Felt {
        self.number
    }

    /// The owner's public key.
    #[must_use]
    pub const fn public(&self) -> Felt {
        self.key.public()
    }

    /// Who signs for it.
    #[must_use]
    pub fn signer(&self) -> Signer {
        Signer::Owner(self.key.clone())
    }

    /// Which account.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }
}
