//! EIP-712 hashes of what payers sign: EIP-3009 authorizations here, and beside
//! them Permit2's permits, EIP-2612's, and the proofs of transactions.
//!
//! Written out by hand over fixed buffers, since every payment is hashed: the
//! type hashes are constants and a domain is hashed once ([`Domain`]).

mod message;
mod permit;
mod permit2;
mod proof;

pub use message::message_digest;
pub use permit::{PERMIT_TYPE_HASH, Permit};
pub use permit2::{EXACT_PERMIT_TYPE_HASH, Permit2Transfer, UPTO_PERMIT_TYPE_HASH, Witness};
pub use proof::{PROOF_TYPE, TransactionProof};

use alloy_primitives::{Address, B256, U256, b256, keccak256};

/// `EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)`
pub const DOMAIN_TYPE_HASH: B256 =
    b256!("8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f");

/// `TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)`
pub const TRANSFER_TYPE_HASH: B256 =
    b256!("7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267");

/// `EIP712Domain(string name,uint256 chainId,address verifyingContract)`
pub const UNVERSIONED_DOMAIN_TYPE_HASH: B256 =
    b256!("8cad95687ba82c2ce50e74f7b754645e5117c3a5bec8151c0726d5857980a866");

/// `EIP712Domain(string name,string version,uint256 chainId)`
pub const PLACELESS_DOMAIN_TYPE_HASH: B256 =
    b256!("c2f8787176b8ac6bf7215b4adcc1e069bf4ab82d9ab1df05a57a91d425935b6e");

/// An EIP-712 domain, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    separator: B256,
}

impl Domain {
    /// The domain of a token by name, version, chain id and address.
    #[must_use]
    pub fn new(name: &str, version: &str, chain_id: u64, contract: Address) -> Self {
        let mut words = [0_u8; 5 * 32];
        let parts = [
            DOMAIN_TYPE_HASH,
            keccak256(name),
            keccak256(version),
            B256::from(U256::from(chain_id)),
            contract.into_word(),
        ];
        write_words(&mut words, &parts);
        Self {
            separator: keccak256(words),
        }
    }

    /// The domain of a contract that states no version: Permit2.
    #[must_use]
    pub fn unversioned(name: &str, chain_id: u64, contract: Address) -> Self {
        let parts = [
            UNVERSIONED_DOMAIN_TYPE_HASH,
            keccak256(name),
            B256::from(U256::from(chain_id)),
            contract.into_word(),
        ];
        Self {
            separator: hash_words(&parts),
        }
    }

    /// The domain of what no contract verifies.
    #[must_use]
    pub fn placeless(name: &str, version: &str, chain_id: u64) -> Self {
        let parts = [
            PLACELESS_DOMAIN_TYPE_HASH,
            keccak256(name),
            keccak256(version),
            B256::from(U256::from(chain_id)),
        ];
        Self {
            separator: hash_words(&parts),
        }
    }

    /// The domain separator.
    #[must_use]
    pub const fn separator(&self) -> B256 {
        self.separator
    }

    /// What is signed: `keccak256(0x1901 ‖ separator ‖ struct hash)`.
    #[must_use]
    pub fn digest(&self, struct_hash: B256) -> B256 {
        let mut bytes = [0_u8; 66];
        bytes[..2].copy_from_slice(&[0x19, 0x01]);
        bytes[2..34].copy_from_slice(self.separator.as_slice());
        bytes[34..].copy_from_slice(struct_hash.as_slice());
        keccak256(bytes)
    }
}

/// An EIP-3009 authorization: who pays whom how much, within which seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Who pays.
    pub from: Address,
    /// Who is paid.
    pub to: Address,
    /// Atomic units.
    pub value: U256,
    /// Valid in blocks later than this Unix second.
    pub valid_after: U256,
    /// Valid in blocks earlier than this Unix second.
    pub valid_before: U256,
    /// Random; unique per payer and token.
    pub nonce: B256,
}

impl Authorization {
    /// EIP-712 struct hash.
    #[must_use]
    pub fn struct_hash(&self) -> B256 {
        let mut words = [0_u8; 7 * 32];
        let parts = [
            TRANSFER_TYPE_HASH,
            self.from.into_word(),
            self.to.into_word(),
            B256::from(self.value),
            B256::from(self.valid_after),
            B256::from(self.valid_before),
            self.nonce,
        ];
        write_words(&mut words, &parts);
        keccak256(words)
    }

    /// What the payer signs in a token's domain.
    #[must_use]
    pub fn digest(&self, domain: &Domain) -> B256 {
        domain.digest(self.struct_hash())
    }
}

/// `keccak256` over at most twelve words.
pub(crate) fn hash_words(words: &[B256]) -> B256 {
    let mut bytes = [0_u8; 12 * 32];
    write_words(&mut bytes, words);
    keccak256(bytes.get(..words.len() * 32).unwrap_or_default())
}

fn write_words(out: &mut [u8], words: &[B256]) {
    for (slot, word) in out.chunks_exact_mut(32).zip(words) {
        slot.copy_from_slice(word.as_slice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_hashes_are_those_of_the_type_texts() {
        assert_eq!(
            DOMAIN_TYPE_HASH,
            keccak256(
                "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
            )
        );
        assert_eq!(
            UNVERSIONED_DOMAIN_TYPE_HASH,
            keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)")
        );
        assert_eq!(
            PLACELESS_DOMAIN_TYPE_HASH,
            keccak256("EIP712Domain(string name,string version,uint256 chainId)")
        );
        assert_eq!(
            TRANSFER_TYPE_HASH,
            keccak256(
                "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
            )
        );
    }
}
