//! Accounts that are not there yet: their address, and the transaction that
//! deploys them out of the STRK that was sent to the address before.

use serde::Serialize;
use serde_json::{Value, json};
use starknet_crypto::{Felt, pedersen_hash, poseidon_hash_many};

use crate::felt;
use crate::invoke::{Bounds, fees_hash};
use crate::outside::Call;

/// 'STARKNET_CONTRACT_ADDRESS'
const ADDRESS_PREFIX: Felt =
    Felt::from_hex_unchecked("0x535441524b4e45545f434f4e54524143545f41444452455353");
/// 'deploy_account'
const PREFIX: Felt = Felt::from_hex_unchecked("0x6465706c6f795f6163636f756e74");
/// The contract by which anybody deploys anything, the same on all networks.
const DEPLOYER: Felt =
    Felt::from_hex_unchecked("0x41a78e741e5af2fec34b695679bc6891742439f7afb8484ecd7766661ad02bf");
/// `deployContract`
const DEPLOY: Felt =
    Felt::from_hex_unchecked("0x1987cbd17808b9a23693d4de7e246a443cfe37e6e7fbaeabd7d7e6532b07c3d");
/// Addresses are below 2^251 - 256.
const ADDRESS_BOUND: Felt =
    Felt::from_hex_unchecked("0x7ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff00");

/// An account's class and what its constructor is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAccount {
    /// Its class.
    pub class_hash: Felt,
    /// Any number: with another one it has another address.
    pub salt: Felt,
    /// The owner's public key, the only argument of our class's constructor.
    pub public_key: Felt,
}

impl NewAccount {
    /// Where it will be.
    #[must_use]
    pub fn address(&self) -> Felt {
        let arguments = pedersen_array(&[self.public_key]);
        let hash = pedersen_array(&[
            ADDRESS_PREFIX,
            Felt::ZERO,
            self.salt,
            self.class_hash,
            arguments,
        ]);
        bounded(hash)
    }

    /// The call by which anybody else deploys it, at the same address.
    #[must_use]
    pub fn deployment(&self) -> Call {
        let for_all = Felt::ZERO;
        Call {
            to: DEPLOYER,
            selector: DEPLOY,
            calldata: vec![
                self.class_hash,
                self.salt,
                for_all,
                Felt::ONE,
                self.public_key,
            ],
        }
    }

    /// The hash of the transaction that deploys it, which its owner signs.
    #[must_use]
    pub fn hash(&self, bounds: &Bounds, chain_id: &Felt) -> Felt {
        let nothing = poseidon_hash_many(&[]);
        poseidon_hash_many(&[
            PREFIX,
            Felt::THREE,
            self.address(),
            fees_hash(0, bounds),
            nothing,
            *chain_id,
            Felt::ZERO,
            Felt::ZERO,
            poseidon_hash_many(&[self.public_key]),
            self.class_hash,
            self.salt,
        ])
    }

    /// As nodes take it (`BROADCASTED_DEPLOY_ACCOUNT_TXN`).
    #[must_use]
    pub fn signed(&self, bounds: &Bounds, signature: &[Felt]) -> Value {
        json!({
            "type": "DEPLOY_ACCOUNT",
            "version": "0x3",
            "signature": felt::texts(signature),
            "nonce": "0x0",
            "contract_address_salt": felt::text(&self.salt),
            "constructor_calldata": [felt::text(&self.public_key)],
            "class_hash": felt::text(&self.class_hash),
            "resource_bounds": bounds_json(bounds),
            "tip": "0x0",
            "paymaster_data": [],
            "nonce_data_availability_mode": "L1",
            "fee_data_availability_mode": "L1",
        })
    }
}

fn bounds_json(bounds: &Bounds) -> impl Serialize + use<> {
    crate::invoke::BoundsJson::from(bounds)
}

/// A hash as an address or a class's name.
pub(crate) fn bounded(hash: Felt) -> Felt {
    match hash >= ADDRESS_BOUND {
        true => hash - ADDRESS_BOUND,
        false => hash,
    }
}

fn pedersen_array(felts: &[Felt]) -> Felt {
    let all = felts
        .iter()
        .fold(Felt::ZERO, |hash, felt| pedersen_hash(&hash, felt));
    pedersen_hash(&all, &Felt::from(felts.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selector_is_that_of_the_deployer() {
        assert_eq!(felt::sn_keccak("deployContract"), DEPLOY);
    }
}
