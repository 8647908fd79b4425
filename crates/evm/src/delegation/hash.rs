//! EIP-712 hashes of delegations.

use alloy_primitives::{Address, B256, Keccak256, b256, keccak256};

use super::{Caveat, Delegation};
use crate::typed_data::Domain;

/// `Delegation(address delegate,address delegator,bytes32 authority,Caveat[] caveats,uint256 salt)Caveat(address enforcer,bytes terms)`
pub const DELEGATION_TYPE_HASH: B256 =
    b256!("88c1d2ecf185adf710588203a5f263f0ff61be0d33da39792cde19ba9aa4331e");
/// `Caveat(address enforcer,bytes terms)`
pub const CAVEAT_TYPE_HASH: B256 =
    b256!("80ad7e1b04ee6d994a125f4714ca0720908bd80ed16063ec8aee4b88e9253e2d");

/// The EIP-712 domain of a delegation manager.
#[must_use]
pub fn delegation_domain(chain_id: u64, manager: Address) -> Domain {
    Domain::new("DelegationManager", "1", chain_id, manager)
}

impl Caveat {
    fn struct_hash(&self) -> B256 {
        let mut hash = Keccak256::new();
        hash.update(CAVEAT_TYPE_HASH);
        hash.update(self.enforcer.into_word());
        hash.update(keccak256(&self.terms));
        hash.finalize()
    }
}

impl Delegation {
    /// What it is known by: the EIP-712 struct hash, the manager's
    /// `getDelegationHash`. It is the same on every chain; neither the signature nor
    /// the caveats' arguments are part of it.
    #[must_use]
    pub fn hash(&self) -> B256 {
        let mut caveats = Keccak256::new();
        for caveat in &self.caveats {
            caveats.update(caveat.struct_hash());
        }
        let mut hash = Keccak256::new();
        hash.update(DELEGATION_TYPE_HASH);
        hash.update(self.delegate.into_word());
        hash.update(self.delegator.into_word());
        hash.update(self.authority);
        hash.update(caveats.finalize());
        hash.update(self.salt.to_be_bytes::<32>());
        hash.finalize()
    }

    /// What its delegator signs in the manager's domain: this binds the chain.
    #[must_use]
    pub fn digest(&self, domain: &Domain) -> B256 {
        domain.digest(self.hash())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_hashes_are_those_of_the_type_texts() {
        let caveat = "Caveat(address enforcer,bytes terms)";
        let delegation = "Delegation(address delegate,address delegator,bytes32 authority,Caveat[] caveats,uint256 salt)";
        assert_eq!(CAVEAT_TYPE_HASH, keccak256(caveat));
        assert_eq!(
            DELEGATION_TYPE_HASH,
            keccak256(format!("{delegation}{caveat}"))
        );
    }
}
