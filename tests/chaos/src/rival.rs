//! Somebody who watches what is sent and sends its content first.

use std::sync::atomic::{AtomicU64, Ordering};

use alloy_consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{B256, Signature, TxKind, hex};
use secp256k1::{Message, SECP256K1, SecretKey};
use serde_json::{Value, json};
use tollway_devnet::{DEV_ACCOUNTS, DevAccount, Devnet};

/// Who does it.
const RIVAL: DevAccount = DEV_ACCOUNTS[8];
/// What it pays beside the base fee: more than anybody.
const TIP: u128 = 50_000_000_000;

/// Somebody with an account.
#[derive(Debug)]
pub(crate) struct Rival {
    nonce: AtomicU64,
}

impl Rival {
    pub(crate) const fn new() -> Self {
        Self {
            nonce: AtomicU64::new(0),
        }
    }

    /// Sends the same call from another account, at a higher price.
    pub(crate) fn overtake(&self, chain: &Devnet, params: &Value) -> Option<()> {
        let raw = hex::decode(params[0].as_str()?).ok()?;
        let seen = TxEnvelope::decode_2718(&mut raw.as_slice()).ok()?;
        let tx = TxEip1559 {
            chain_id: chain.chain_id(),
            nonce: self.nonce.fetch_add(1, Ordering::SeqCst),
            gas_limit: seen.gas_limit(),
            max_fee_per_gas: 2 * TIP + seen.max_fee_per_gas(),
            max_priority_fee_per_gas: TIP,
            to: TxKind::Call(seen.to()?),
            value: seen.value(),
            input: seen.input().clone(),
            ..TxEip1559::default()
        };
        let signature = sign(tx.signature_hash())?;
        let envelope = TxEnvelope::from(tx.into_signed(signature));
        let raw = json!([hex::encode_prefixed(envelope.encoded_2718())]);
        chain.request(crate::fault::SEND, raw).ok().map(drop)
    }
}

fn sign(digest: B256) -> Option<Signature> {
    let secret = SecretKey::from_byte_array(RIVAL.key.0).ok()?;
    let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest.0), &secret);
    let (parity, bytes) = signature.serialize_compact();
    Some(Signature::from_bytes_and_parity(
        &bytes,
        i32::from(parity) == 1,
    ))
}
