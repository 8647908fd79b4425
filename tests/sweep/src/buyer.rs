//! A payer of the client's, and what it signs.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256, U256, address};
use serde_json::{Value, json};
use tollway_checker::authorization;
use tollway_checker::client::Signed;
use tollway_evm::typed_data::{Authorization, Domain};
use tollway_evm::{EvmSigner, SignedAuthorization, sign_authorization};

use crate::Failure;
use crate::plan::Chance;

/// The network that the chain poses as.
pub const NETWORK: &str = "eip155:84532";
/// Its id.
pub const CHAIN: u64 = 84_532;
/// Its dollar.
pub const ASSET: Address = address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e");
/// Who is paid.
pub const PAYEE: Address = address!("0x5E11E75e11E75e11E75e11E75E11E75E11e75E11");
/// What everything costs, in atomic units.
pub const PRICE: u64 = 10_000;

/// A payer.
pub struct Buyer {
    pub(crate) signer: EvmSigner,
}

/// A payment that is signed.
#[derive(Clone, Debug)]
pub struct Payment {
    /// As all evidence names it.
    pub auth: String,
    /// What was signed, for the record.
    pub signed: Signed,
    /// Its nonce as the call that settles it holds it.
    pub nonce: [u8; 32],
    /// The signed authorization, where the token itself settles it.
    pub authorization: Option<SignedAuthorization>,
    /// `payload` on the wire.
    pub payload: Value,
    /// What the terms say of its method.
    pub extra: Value,
    /// What comes along with it, if anything.
    pub extensions: Option<Value>,
    /// Idempotency key or payment identifier, if it has one.
    pub key: Option<String>,
}

impl Buyer {
    /// A payer with a key by chance.
    pub fn by(chance: &mut Chance) -> Result<Self, Failure> {
        let mut key = [0_u8; 32];
        for part in key.chunks_mut(8) {
            part.copy_from_slice(&chance.any().to_be_bytes());
        }
        let signer = EvmSigner::from_bytes(&key).map_err(|e| e.to_string())?;
        Ok(Self { signer })
    }

    /// Its account.
    pub fn account(&self) -> Address {
        self.signer.address()
    }

    /// Signs the price to somebody, for so many seconds.
    pub fn sign(&self, to: Address, seconds: u64, chance: &mut Chance) -> Payment {
        let mut nonce = B256::ZERO;
        for part in nonce.chunks_mut(8) {
            part.copy_from_slice(&chance.any().to_be_bytes());
        }
        let valid_before = now() + seconds;
        let authorization = Authorization {
            from: self.account(),
            to,
            value: U256::from(PRICE),
            valid_after: U256::ZERO,
            valid_before: U256::from(valid_before),
            nonce,
        };
        let authorization = sign_authorization(&self.signer, &domain(), authorization);
        let bytes = nonce.0;
        let (payer, nonce) = (format!("{:#x}", self.account()), format!("{nonce:#x}"));
        let key = chance
            .coin()
            .then(|| format!("purchase-{:032x}", chance.any()));
        Payment {
            auth: self::authorization(&payer, &nonce),
            payload: Value::Object(authorization.to_payload()),
            signed: Signed {
                payer,
                nonce,
                to: format!("{to:#x}"),
                amount: u128::from(PRICE),
                valid_before,
                meter: None,
            },
            nonce: bytes,
            authorization: Some(authorization),
            extra: json!({ "name": "USDC", "version": "2" }),
            extensions: None,
            key,
        }
    }
}

/// Unix seconds.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// The dollar's own.
pub fn domain() -> Domain {
    Domain::new("USDC", "2", CHAIN, ASSET)
}

/// What a facilitator is asked to settle a payment for.
pub fn requirements(payment: &Payment) -> Value {
    json!({
        "scheme": "exact",
        "network": NETWORK,
        "amount": PRICE.to_string(),
        "asset": ASSET.to_checksum(None),
        "payTo": PAYEE.to_checksum(None),
        "maxTimeoutSeconds": 300,
        "extra": payment.extra,
    })
}
