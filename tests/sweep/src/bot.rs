//! Strangers on the chain: one who submits an authorization before us, and one
//! who takes the payer's money away before it is settled.

use std::sync::Mutex;

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, Signature, TxKind, U256};
use alloy_sol_types::{SolCall as _, sol};
use tollway_devnet::{DevAccount, Devnet};
use tollway_evm::{EvmSigner, SignedAuthorization};

use crate::buyer::{ASSET, CHAIN};

sol! {
    function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature);
}

/// What a stranger does to a payment once it is in the pool.
pub enum Trick {
    /// Submits the same authorization, for more.
    Ahead(SignedAuthorization),
    /// Moves the payer's money elsewhere by another authorization.
    Robbed {
        /// The payment's nonce, as it is in the calldata.
        nonce: [u8; 32],
        /// What takes the money.
        by: SignedAuthorization,
    },
}

impl Trick {
    const fn nonce(&self) -> [u8; 32] {
        match self {
            Self::Ahead(signed) => signed.authorization.nonce.0,
            Self::Robbed { nonce, .. } => *nonce,
        }
    }
}

/// The call that settles an authorization.
pub fn call(signed: &SignedAuthorization) -> Vec<u8> {
    let a = &signed.authorization;
    transferWithAuthorizationCall {
        from: a.from,
        to: a.to,
        value: a.value,
        validAfter: a.valid_after,
        validBefore: a.valid_before,
        nonce: a.nonce,
        signature: signed.signature.clone(),
    }
    .abi_encode()
}

/// An account that outbids everybody.
pub struct Stranger {
    signer: EvmSigner,
    /// The next nonce.
    nonce: Mutex<u64>,
}

impl Stranger {
    /// A dev account that has sent nothing yet.
    ///
    /// # Errors
    /// If its key is none.
    pub fn new(account: &DevAccount) -> Result<Self, crate::Failure> {
        let signer = EvmSigner::from_bytes(&account.key.0).map_err(|e| e.to_string())?;
        let nonce = Mutex::new(0);
        Ok(Self { signer, nonce })
    }

    /// Calls the dollar with a tip that goes first; whether the pool took it.
    pub fn submit(&self, chain: &Devnet, data: Vec<u8>) -> bool {
        let mut nonce = self
            .nonce
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let sent = self.send(chain, *nonce, ASSET, data);
        *nonce += u64::from(sent);
        sent
    }

    /// Uses its next nonce for nothing; whether the pool took that.
    pub(crate) fn waste(&self, chain: &Devnet) -> bool {
        let own = self.signer.address();
        self.send(chain, chain.nonce(own), own, Vec::new())
    }

    fn send(&self, chain: &Devnet, nonce: u64, to: Address, data: Vec<u8>) -> bool {
        let transaction = TxEip1559 {
            chain_id: CHAIN,
            nonce,
            gas_limit: 200_000,
            max_fee_per_gas: 900_000_000_000,
            max_priority_fee_per_gas: 500_000_000_000,
            to: TxKind::Call(to),
            value: U256::ZERO,
            access_list: Default::default(),
            input: data.into(),
        };
        let signature = self.signer.sign(transaction.signature_hash());
        let Ok(signature) = Signature::try_from(&signature[..]) else {
            return false;
        };
        let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
        chain.send_raw(&envelope.encoded_2718()).is_ok()
    }

    /// Plays the tricks whose payments are in the pool; the others stay.
    pub(crate) fn play_all(&self, chain: &Devnet, tricks: &mut Vec<Trick>) {
        if tricks.is_empty() {
            return;
        }
        let pool = chain.request("tollway_pool", serde_json::json!([]));
        let pool = pool.map(|pool| pool.to_string()).unwrap_or_default();
        tricks.retain(|trick| {
            let nonce = alloy_primitives::hex::encode(trick.nonce());
            !(pool.contains(&nonce) && self.play(chain, trick))
        });
    }

    fn play(&self, chain: &Devnet, trick: &Trick) -> bool {
        match trick {
            Trick::Ahead(signed) => self.submit(chain, call(signed)),
            Trick::Robbed { by, .. } => chain.system_call(ASSET, call(by).into()).is_ok(),
        }
    }
}
