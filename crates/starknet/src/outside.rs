//! SNIP-9 version 2 outside executions: calls that somebody else may send for an
//! account, and their SNIP-12 revision 1 hash.

use starknet_crypto::{Felt, poseidon_hash_many};

/// `sn_keccak` of the SNIP-12 type texts, checked by a test.
const DOMAIN_TYPE: Felt =
    Felt::from_hex_unchecked("0x1ff2f602e42168014d405a94f75e8a93d640751d71d16311266e140d8b0a210");
const EXECUTION_TYPE: Felt =
    Felt::from_hex_unchecked("0x312b56c05a7965066ddbda31c016d8d05afc305071c0ca3cdc2192c3c2f1f0f");
const CALL_TYPE: Felt =
    Felt::from_hex_unchecked("0x3635c7f2a7ba93844c0d064e18e487f35ab90f7c39d00f186a781fc3f0c2ca9");
/// 'StarkNet Message'
const PREFIX: Felt = Felt::from_hex_unchecked("0x537461726b4e6574204d657373616765");
/// 'Account.execute_from_outside'
const DOMAIN_NAME: Felt =
    Felt::from_hex_unchecked("0x4163636f756e742e657865637574655f66726f6d5f6f757473696465");
/// 'ANY_CALLER': lets anybody send the execution.
pub const ANY_CALLER: Felt = Felt::from_hex_unchecked("0x414e595f43414c4c4552");

/// One call of a contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The contract.
    pub to: Felt,
    /// Its entry point.
    pub selector: Felt,
    /// What it is given.
    pub calldata: Vec<Felt>,
}

impl Call {
    /// As accounts take calls: to, selector, length, calldata.
    pub(crate) fn write(&self, out: &mut Vec<Felt>) {
        out.extend([self.to, self.selector, Felt::from(self.calldata.len())]);
        out.extend(&self.calldata);
    }

    fn hash(&self) -> Felt {
        let calldata = poseidon_hash_many(&self.calldata);
        poseidon_hash_many(&[CALL_TYPE, self.to, self.selector, calldata])
    }
}

/// Several calls as accounts take them: how many, then each.
#[must_use]
pub fn calls_calldata(calls: &[Call]) -> Vec<Felt> {
    let mut out = vec![Felt::from(calls.len())];
    calls.iter().for_each(|call| call.write(&mut out));
    out
}

/// What an account lets somebody else do, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideExecution {
    /// Who may send it; [`ANY_CALLER`] is anybody.
    pub caller: Felt,
    /// Unique for the account: it can be used once.
    pub nonce: Felt,
    /// Blocks must be later than this, Unix seconds.
    pub execute_after: u128,
    /// And earlier than this.
    pub execute_before: u128,
    /// What is done, all or nothing on accounts that keep to the standard.
    pub calls: Vec<Call>,
}

impl OutsideExecution {
    /// The hash that the account signs (SNIP-12 revision 1).
    #[must_use]
    pub fn hash(&self, chain_id: &Felt, account: &Felt) -> Felt {
        poseidon_hash_many(&[PREFIX, domain_hash(chain_id), *account, self.struct_hash()])
    }

    /// The hash of the message alone.
    #[must_use]
    pub fn struct_hash(&self) -> Felt {
        let calls: Vec<Felt> = self.calls.iter().map(Call::hash).collect();
        poseidon_hash_many(&[
            EXECUTION_TYPE,
            self.caller,
            self.nonce,
            Felt::from(self.execute_after),
            Felt::from(self.execute_before),
            poseidon_hash_many(&calls),
        ])
    }

    /// The calldata of `execute_from_outside_v2`.
    #[must_use]
    pub fn calldata(&self, signature: &[Felt]) -> Vec<Felt> {
        let mut out = vec![
            self.caller,
            self.nonce,
            Felt::from(self.execute_after),
            Felt::from(self.execute_before),
        ];
        out.extend(calls_calldata(&self.calls));
        out.push(Felt::from(signature.len()));
        out.extend(signature);
        out
    }
}

/// The hash of the domain of outside executions, version 2, on a chain.
#[must_use]
pub fn domain_hash(chain_id: &Felt) -> Felt {
    let (version, revision) = (Felt::TWO, Felt::ONE);
    poseidon_hash_many(&[DOMAIN_TYPE, DOMAIN_NAME, version, *chain_id, revision])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::felt;

    #[test]
    fn the_constants_are_the_hashes_and_names_that_they_stand_for() {
        let call = r#""Call"("To":"ContractAddress","Selector":"selector","Calldata":"felt*")"#;
        let execution = r#""OutsideExecution"("Caller":"ContractAddress","Nonce":"felt","Execute After":"u128","Execute Before":"u128","Calls":"Call*")"#;
        let domain = r#""StarknetDomain"("name":"shortstring","version":"shortstring","chainId":"shortstring","revision":"shortstring")"#;
        assert_eq!(felt::sn_keccak(call), CALL_TYPE);
        assert_eq!(
            felt::sn_keccak(&format!("{execution}{call}")),
            EXECUTION_TYPE
        );
        assert_eq!(felt::sn_keccak(domain), DOMAIN_TYPE);
        for (name, constant) in [
            ("StarkNet Message", PREFIX),
            ("Account.execute_from_outside", DOMAIN_NAME),
            ("ANY_CALLER", ANY_CALLER),
        ] {
            assert_eq!(felt::short_string(name), Some(constant), "{name}");
        }
    }
}
