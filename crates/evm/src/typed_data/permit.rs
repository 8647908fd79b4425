//! EIP-2612 permits.

use alloy_primitives::{Address, B256, U256, b256};

use super::{Domain, hash_words};

/// `Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)`
pub const PERMIT_TYPE_HASH: B256 =
    b256!("6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9");

/// An allowance that is given by a signature. It does not say who is paid: its
/// spender decides that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Whose money it is.
    pub owner: Address,
    /// Who may move it.
    pub spender: Address,
    /// How much, in atomic units.
    pub value: U256,
    /// The owner's next nonce in the token: they are used in order.
    pub nonce: U256,
    /// Valid in blocks no later than this Unix second.
    pub deadline: U256,
}

impl Permit {
    /// EIP-712 struct hash.
    #[must_use]
    pub fn struct_hash(&self) -> B256 {
        hash_words(&[
            PERMIT_TYPE_HASH,
            self.owner.into_word(),
            self.spender.into_word(),
            B256::from(self.value),
            B256::from(self.nonce),
            B256::from(self.deadline),
        ])
    }

    /// What the owner signs in the token's domain.
    #[must_use]
    pub fn digest(&self, token: &Domain) -> B256 {
        token.digest(self.struct_hash())
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;

    use super::*;

    #[test]
    fn the_type_hash_is_that_of_the_type_text() {
        assert_eq!(
            PERMIT_TYPE_HASH,
            keccak256(
                "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
            )
        );
    }
}
