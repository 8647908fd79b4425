//! Permit2's `permitWitnessTransferFrom`, with the witnesses of x402: the payee,
//! for `upto` also who may settle.

use alloy_primitives::{Address, B256, U256, b256};

use super::{Domain, hash_words};

/// `PermitWitnessTransferFrom(…,Witness witness)…Witness(address to,uint256 validAfter)`
pub const EXACT_PERMIT_TYPE_HASH: B256 =
    b256!("ebc156cd23678a74c94df13d772ef5478420637f0c94bd10d509e1dc98f521c7");
/// `PermitWitnessTransferFrom(…,Witness witness)…Witness(address to,address facilitator,uint256 validAfter)`
pub const UPTO_PERMIT_TYPE_HASH: B256 =
    b256!("51dff6974ad4388c499e7fcfe838d2bd767162553a144098ce20ea661d70c2ee");
/// `TokenPermissions(address token,uint256 amount)`
const TOKEN_PERMISSIONS_TYPE_HASH: B256 =
    b256!("618358ac3db8dc274f0cd8829da7e234bd48cd73c4a740aede1adec9846d06a1");
/// `Witness(address to,uint256 validAfter)`
const EXACT_WITNESS_TYPE_HASH: B256 =
    b256!("d97b3239a7f32295517bd14cb074edfdd188dfe5eb42f802bb26d4fd1eb12c37");
/// `Witness(address to,address facilitator,uint256 validAfter)`
const UPTO_WITNESS_TYPE_HASH: B256 =
    b256!("d4171c445a74218b01d4fd8af34ff1106580ea1e36ff837e64484bfaa2253b75");

/// What the x402 proxies add to a permit: it pays nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Who is paid.
    pub to: Address,
    /// Who alone may settle it, and say how much of it (`upto`); nobody in
    /// particular for `exact`.
    pub facilitator: Option<Address>,
    /// Valid in blocks no earlier than this Unix second.
    pub valid_after: U256,
}

impl Witness {
    /// EIP-712 struct hash.
    #[must_use]
    pub fn struct_hash(&self) -> B256 {
        let to = self.to.into_word();
        let after = B256::from(self.valid_after);
        match self.facilitator {
            None => hash_words(&[EXACT_WITNESS_TYPE_HASH, to, after]),
            Some(who) => hash_words(&[UPTO_WITNESS_TYPE_HASH, to, who.into_word(), after]),
        }
    }
}

/// A permit for one transfer through an x402 proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit2Transfer {
    /// What is paid with.
    pub token: Address,
    /// How much, in atomic units; for `upto` at most.
    pub amount: U256,
    /// The proxy that may move it.
    pub spender: Address,
    /// One bit of the owner's bitmap: the word is `nonce >> 8`.
    pub nonce: U256,
    /// Valid in blocks no later than this Unix second.
    pub deadline: U256,
    /// Who is paid.
    pub witness: Witness,
}

impl Permit2Transfer {
    /// EIP-712 struct hash.
    #[must_use]
    pub fn struct_hash(&self) -> B256 {
        let permitted = [
            TOKEN_PERMISSIONS_TYPE_HASH,
            self.token.into_word(),
            B256::from(self.amount),
        ];
        let type_hash = match self.witness.facilitator {
            None => EXACT_PERMIT_TYPE_HASH,
            Some(_) => UPTO_PERMIT_TYPE_HASH,
        };
        hash_words(&[
            type_hash,
            hash_words(&permitted),
            self.spender.into_word(),
            B256::from(self.nonce),
            B256::from(self.deadline),
            self.witness.struct_hash(),
        ])
    }

    /// What the payer signs in Permit2's domain.
    #[must_use]
    pub fn digest(&self, permit2: &Domain) -> B256 {
        permit2.digest(self.struct_hash())
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;

    use super::*;

    #[test]
    fn type_hashes_are_those_of_the_type_texts() {
        let permissions = "TokenPermissions(address token,uint256 amount)";
        let permit = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness)";
        let exact = "Witness(address to,uint256 validAfter)";
        let upto = "Witness(address to,address facilitator,uint256 validAfter)";
        assert_eq!(TOKEN_PERMISSIONS_TYPE_HASH, keccak256(permissions));
        assert_eq!(EXACT_WITNESS_TYPE_HASH, keccak256(exact));
        assert_eq!(UPTO_WITNESS_TYPE_HASH, keccak256(upto));
        let whole = |witness: &str| keccak256(format!("{permit}{permissions}{witness}"));
        assert_eq!(EXACT_PERMIT_TYPE_HASH, whole(exact));
        assert_eq!(UPTO_PERMIT_TYPE_HASH, whole(upto));
    }
}
