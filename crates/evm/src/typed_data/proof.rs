//! What the payer of a transaction signs, so that nobody else can show it: a
//! hash is public as soon as it is sent.
//!
//! The domain is `{name: "x402 txid", version: "1", chainId}`; no contract checks
//! it. The type is [`PROOF_TYPE`].

use alloy_primitives::{Address, B256, U256, keccak256};

use super::{Domain, hash_words};

/// The EIP-712 type text of a proof. `network` is the CAIP-2 name, `resource` the
/// URL that is bought, `reference` the server's own of the offer, and `logIndex`
/// the place of the transfer among the transaction's logs from 0 on, or
/// `2^256 - 1` where the transaction has only one of this payer.
pub const PROOF_TYPE: &str = "TransactionProof(string network,address asset,address payTo,uint256 amount,string resource,string reference,bytes32 txHash,uint256 logIndex)";

/// A statement that a transaction pays for an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionProof<'a> {
    /// CAIP-2 name.
    pub network: &'a str,
    /// What was paid with.
    pub asset: Address,
    /// Who was paid.
    pub pay_to: Address,
    /// The amount that is asked, in atomic units.
    pub amount: U256,
    /// URL of what is bought.
    pub resource: &'a str,
    /// The server's reference of the offer.
    pub reference: &'a str,
    /// The transaction.
    pub tx_hash: B256,
    /// Which of its logs, if there are several.
    pub log_index: Option<u64>,
}

impl TransactionProof<'_> {
    /// EIP-712 struct hash.
    #[must_use]
    pub fn struct_hash(&self) -> B256 {
        hash_words(&[
            keccak256(PROOF_TYPE),
            keccak256(self.network),
            self.asset.into_word(),
            self.pay_to.into_word(),
            B256::from(self.amount),
            keccak256(self.resource),
            keccak256(self.reference),
            self.tx_hash,
            B256::from(self.log_index.map_or(U256::MAX, U256::from)),
        ])
    }

    /// The domain of proofs on a chain.
    #[must_use]
    pub fn domain(chain_id: u64) -> Domain {
        Domain::placeless("x402 txid", "1", chain_id)
    }

    /// What the payer signs.
    #[must_use]
    pub fn digest(&self, chain_id: u64) -> B256 {
        Self::domain(chain_id).digest(self.struct_hash())
    }
}
