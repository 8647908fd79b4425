//! Offers and receipts that sellers sign (extension `offer-receipt`), by EIP-712.
//!
//! The domains are `{name: "x402 offer"|"x402 receipt", version: "1", chainId: 1}`,
//! whatever network is paid on: no contract checks them.

use alloy_primitives::{B256, U256, keccak256};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tollway_core::extensions::offer_receipt::{
    Notary, OfferStatement, ReceiptStatement, SignedStatement, StatementReader, UnreadStatement,
};

use crate::signer::{EvmSigner, recover};
use crate::typed_data::{Domain, hash_words};

/// The EIP-712 type text of an offer.
pub const OFFER_TYPE: &str = "Offer(uint256 version,string resourceUrl,string scheme,string network,string asset,string payTo,string amount,uint256 validUntil)";

/// The EIP-712 type text of a receipt.
pub const RECEIPT_TYPE: &str = "Receipt(uint256 version,string network,string resourceUrl,string payer,uint256 issuedAt,string transaction)";

const FORMAT: &str = "eip712";

/// A key that signs offers and receipts.
#[derive(Clone, Debug)]
pub struct EvmNotary(EvmSigner);

impl EvmNotary {
    /// With this key.
    #[must_use]
    pub const fn new(signer: EvmSigner) -> Self {
        Self(signer)
    }

    fn signed(&self, payload: &impl Serialize, digest: B256) -> SignedStatement {
        SignedStatement {
            format: FORMAT.to_owned(),
            accept_index: None,
            payload: serde_json::to_value(payload).ok(),
            signature: format!("0x{}", hex::encode(self.0.sign(digest))),
        }
    }
}

impl Notary for EvmNotary {
    fn offer(&self, offer: &OfferStatement) -> SignedStatement {
        self.signed(offer, offer_digest(offer))
    }

    fn receipt(&self, receipt: &ReceiptStatement) -> SignedStatement {
        self.signed(receipt, receipt_digest(receipt))
    }
}

/// Reads what was signed by EIP-712; the signer is an address, with its checksum.
#[derive(Clone, Copy, Debug, Default)]
pub struct EvmStatements;

impl StatementReader for EvmStatements {
    fn offer(&self, signed: &SignedStatement) -> Result<(OfferStatement, String), UnreadStatement> {
        read(signed, offer_digest)
    }

    fn receipt(
        &self,
        signed: &SignedStatement,
    ) -> Result<(ReceiptStatement, String), UnreadStatement> {
        read(signed, receipt_digest)
    }
}

fn read<T: DeserializeOwned>(
    signed: &SignedStatement,
    digest: impl Fn(&T) -> B256,
) -> Result<(T, String), UnreadStatement> {
    if signed.format != FORMAT {
        return Err(UnreadStatement::Format(match signed.format.as_str() {
            "jws" => "jws",
            _ => "an unknown format",
        }));
    }
    let payload = signed.payload.clone().ok_or(UnreadStatement::Malformed)?;
    let said: T = serde_json::from_value(payload).map_err(|_| UnreadStatement::Malformed)?;
    let mut signature = [0_u8; 65];
    let digits = signed.signature.strip_prefix("0x");
    let digits = digits.ok_or(UnreadStatement::Malformed)?;
    hex::decode_to_slice(digits, &mut signature).map_err(|_| UnreadStatement::Malformed)?;
    // Some signers count from zero.
    if signature[64] < 2 {
        signature[64] += 27;
    }
    let signer = recover(digest(&said), &signature).ok_or(UnreadStatement::Signature)?;
    Ok((said, signer.to_string()))
}

fn offer_digest(offer: &OfferStatement) -> B256 {
    let hash = hash_words(&[
        keccak256(OFFER_TYPE),
        B256::from(U256::from(offer.version)),
        keccak256(&offer.resource_url),
        keccak256(&offer.scheme),
        keccak256(&offer.network),
        keccak256(&offer.asset),
        keccak256(&offer.pay_to),
        keccak256(&offer.amount),
        B256::from(U256::from(offer.valid_until)),
    ]);
    Domain::placeless("x402 offer", "1", 1).digest(hash)
}

fn receipt_digest(receipt: &ReceiptStatement) -> B256 {
    let hash = hash_words(&[
        keccak256(RECEIPT_TYPE),
        B256::from(U256::from(receipt.version)),
        keccak256(&receipt.network),
        keccak256(&receipt.resource_url),
        keccak256(&receipt.payer),
        B256::from(U256::from(receipt.issued_at)),
        keccak256(&receipt.transaction),
    ]);
    Domain::placeless("x402 receipt", "1", 1).digest(hash)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    /// Made with the published package (2.27.0) and viem, with the same key.
    #[test]
    fn offers_and_receipts_of_the_published_package_are_read_and_made() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../tests/vectors/offer_receipt.json")).unwrap();
        let signer = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
        let notary = EvmNotary::new(EvmSigner::from_hex(KEY).unwrap());

        let theirs: SignedStatement = serde_json::from_value(vectors["offer"].clone()).unwrap();
        let (offer, who) = EvmStatements.offer(&theirs).unwrap();
        assert_eq!(who, signer);
        assert_eq!(notary.offer(&offer).signature, theirs.signature);

        let theirs: SignedStatement = serde_json::from_value(vectors["receipt"].clone()).unwrap();
        let (receipt, who) = EvmStatements.receipt(&theirs).unwrap();
        assert_eq!(who, signer);
        assert_eq!(notary.receipt(&receipt), theirs);
    }

    #[test]
    fn what_was_changed_has_another_signer_and_what_is_unreadable_has_none() {
        let notary = EvmNotary::new(EvmSigner::from_hex(KEY).unwrap());
        let receipt = ReceiptStatement {
            version: 1,
            network: "eip155:84532".to_owned(),
            resource_url: "https://api.example/paid".to_owned(),
            payer: "0x1".to_owned(),
            issued_at: 1,
            transaction: String::new(),
        };
        let good = notary.receipt(&receipt);
        let (_, signer) = EvmStatements.receipt(&good).unwrap();
        let mut changed = good.clone();
        changed.payload.as_mut().unwrap()["payer"] = json!("0x2");
        let said = EvmStatements.receipt(&changed);
        assert!(said.is_err() || said.is_ok_and(|(_, other)| other != signer));
        for (change, why) in [
            (json!({"format": "jws"}), UnreadStatement::Format("jws")),
            (json!({"payload": {}}), UnreadStatement::Malformed),
            (json!({"payload": null}), UnreadStatement::Malformed),
            (json!({"signature": "0x12"}), UnreadStatement::Malformed),
            (
                json!({"signature": format!("0x{}", "00".repeat(65))}),
                UnreadStatement::Signature,
            ),
        ] {
            let mut bad = serde_json::to_value(&good).unwrap();
            for (key, value) in change.as_object().unwrap() {
                bad[key] = value.clone();
            }
            let bad = serde_json::from_value(bad).unwrap();
            assert_eq!(EvmStatements.receipt(&bad).unwrap_err(), why);
        }
    }
}
