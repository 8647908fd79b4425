//! A transaction that the buyer made, shown as proof:
//! `{"txHash", "from", "amount"?, "logIndex"?, "reference", "signature"}`, and
//! where the seller asks for it (`extra.proofProfile: "unsigned"`) without the
//! last two.
//!
//! `logIndex` is the place of the transfer among the logs of its transaction,
//! from 0 on: unlike its place in the block that does not change when blocks are
//! replaced. It is there if the transaction holds more than one transfer of the
//! asset by this payer, and only then: so each transfer has one name.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde_json::Value;
use tollway_core::wire::Object;
use tollway_core::{PaymentFlow, Refusal, Terms, codes};

use super::fields::{Fields, decimal, invalid};
use crate::refusal::refuse;
use crate::typed_data::TransactionProof;

/// Longest reference of an offer, in bytes.
const MAX_REFERENCE_BYTES: usize = 256;
/// Highest place of a log.
const MAX_LOG_INDEX: u64 = 1_000_000;

/// What the seller's terms say about proofs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProofTerms<'a> {
    /// The offer's reference; none where proofs are unsigned.
    pub reference: Option<&'a str>,
    /// Earliest time of the transaction's block, Unix seconds.
    pub issued_at: Option<u64>,
    /// The proof is to be shown before this, Unix seconds.
    pub expires_at: Option<u64>,
    /// Whether more than the amount is refused.
    pub strict: bool,
}

impl<'a> ProofTerms<'a> {
    /// Reads `extra.reference`, `issuedAt`, `expiresAt`, `exactAmount` and
    /// `proofProfile`.
    pub fn of(terms: &'a Terms) -> Result<Self, Refusal> {
        let bad = |what: &str| {
            Refusal::new(
                codes::INVALID_PAYMENT_REQUIREMENTS,
                format!("{what}; correct the payment requirements."),
            )
        };
        if terms.flow != PaymentFlow::Upfront {
            return Err(bad(
                "a transaction proof is shown upfront: paymentFlow is another",
            ));
        }
        let extra = terms.wire.extra.as_ref();
        let value = |key: &str| extra.and_then(|e| e.get(key)).filter(|v| !v.is_null());
        let time = |key: &str| match value(key) {
            None => Ok(None),
            Some(Value::String(text)) => decimal(text)
                .and_then(|n| u64::try_from(n).ok())
                .map(Some)
                .ok_or_else(|| bad(&format!("{key} is not a time in seconds"))),
            Some(value) => value
                .as_u64()
                .map(Some)
                .ok_or_else(|| bad(&format!("{key} is not a time in seconds"))),
        };
        let strict = match value("exactAmount") {
            None => false,
            Some(Value::Bool(strict)) => *strict,
            Some(_) => return Err(bad("exactAmount is neither true nor false")),
        };
        let signed = match value("proofProfile").map(Value::as_str) {
            None | Some(Some("signed")) => true,
            Some(Some("unsigned")) => false,
            Some(_) => return Err(bad("proofProfile is neither signed nor unsigned")),
        };
        let reference = terms
            .wire
            .extra_str("reference")
            .filter(|text| (16..=MAX_REFERENCE_BYTES).contains(&text.len()));
        let (issued_at, expires_at) = (time("issuedAt")?, time("expiresAt")?);
        if signed && (reference.is_none() || issued_at.is_none() || expires_at.is_none()) {
            return Err(bad(
                "a transaction proof needs reference (16 to 256 bytes), issuedAt and expiresAt in extra",
            ));
        }
        Ok(Self {
            reference: reference.filter(|_| signed),
            issued_at,
            expires_at,
            strict,
        })
    }
}

/// A proof, decoded and not yet believed.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedProof {
    /// The transaction.
    pub tx_hash: B256,
    /// Who paid.
    pub from: Address,
    /// What was paid, if the buyer says so.
    pub amount: Option<U256>,
    /// Which of the transaction's logs, from 0 on, if the buyer says so.
    pub log_index: Option<u64>,
    /// The offer that it is for; empty where proofs are unsigned.
    pub reference: String,
    /// By the payer; empty where proofs are unsigned.
    pub signature: Bytes,
}

/// Without the signature: whoever holds it can present it.
impl std::fmt::Debug for SignedProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedProof")
            .field("tx_hash", &self.tx_hash)
            .field("from", &self.from)
            .field("log_index", &self.log_index)
            .finish_non_exhaustive()
    }
}

impl SignedProof {
    /// Decodes the payment object, signed or not.
    ///
    /// # Errors
    /// `unsupported_payload_type` for another method's object,
    /// `invalid_exact_evm_txid_payload` for anything that is malformed.
    pub fn parse(payload: &Object, signed: bool) -> Result<Self, Refusal> {
        if !payload.contains_key("txHash") {
            return Err(super::missing(payload, "txHash"));
        }
        let fields = Fields::new(payload, codes::INVALID_EXACT_EVM_TXID_PAYLOAD);
        let read = || -> Result<Self, Refusal> {
            let amount = fields
                .maybe_text("amount")?
                .map(|text| decimal(text).ok_or_else(|| invalid("amount is not a number")))
                .transpose()?;
            let (reference, signature) = match signed {
                true => (fields.text("reference")?.to_owned(), fields.signature()?),
                false => (String::new(), Bytes::new()),
            };
            if reference.len() > MAX_REFERENCE_BYTES {
                return Err(invalid("reference is too long"));
            }
            Ok(Self {
                tx_hash: fields.word("txHash")?,
                from: fields.address("from")?,
                amount,
                log_index: log_index(payload)?,
                reference,
                signature,
            })
        };
        read().map_err(|why| {
            refuse(
                codes::INVALID_EXACT_EVM_TXID_PAYLOAD,
                "send txHash, from, reference and signature",
            )
            .with_detail(why)
        })
    }

    /// The payment object.
    #[must_use]
    pub fn to_payload(&self) -> Object {
        let mut payload = Object::new();
        payload.insert("txHash".into(), format!("{:#x}", self.tx_hash).into());
        payload.insert("from".into(), self.from.to_checksum(None).into());
        if let Some(amount) = self.amount {
            payload.insert("amount".into(), amount.to_string().into());
        }
        if let Some(index) = self.log_index {
            payload.insert("logIndex".into(), index.into());
        }
        if !self.signature.is_empty() {
            payload.insert("reference".into(), self.reference.clone().into());
            payload.insert(
                "signature".into(),
                hex::encode_prefixed(&self.signature).into(),
            );
        }
        payload
    }

    /// What its payer signs for these terms and this resource.
    pub fn statement<'a>(
        &'a self,
        terms: &'a Terms,
        resource: &'a str,
    ) -> Option<TransactionProof<'a>> {
        Some(TransactionProof {
            network: terms.network.as_str(),
            asset: terms.asset.as_str().parse().ok()?,
            pay_to: terms.pay_to.as_str().parse().ok()?,
            amount: terms.amount.as_u256(),
            resource,
            reference: &self.reference,
            tx_hash: self.tx_hash,
            log_index: self.log_index,
        })
    }

    /// The nonce of its identity: the hash, and the log where there are several.
    #[must_use]
    pub fn nonce(&self) -> String {
        match self.log_index {
            None => format!("{:#x}", self.tx_hash),
            Some(index) => format!("{:#x}:{index}", self.tx_hash),
        }
    }
}

fn log_index(payload: &Object) -> Result<Option<u64>, Refusal> {
    match payload.get("logIndex") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .filter(|index| *index <= MAX_LOG_INDEX)
            .map(Some)
            .ok_or_else(|| invalid("logIndex is not a number")),
    }
}
