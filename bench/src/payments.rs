//! Signed payments, made before the clock starts.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256, U256, keccak256};
use serde_json::json;
use tollway_core::assets::AssetTable;
use tollway_core::money::Price;
use tollway_core::wire::{PaymentPayload, PaymentRequirements, ResourceInfo};
use tollway_core::{Network, Scheme};
use tollway_devnet::DEV_ACCOUNTS;
use tollway_evm::typed_data::{Authorization, Domain};
use tollway_evm::{EvmSigner, SignedAuthorization, sign_authorization};

/// Base Sepolia.
pub const CHAIN: u64 = 84_532;
/// Its USDC.
const DOLLAR: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
/// The shop: a dev account that never pays.
const SHOP: &str = "0x976EA74026E726554dB657fA54763abd0C3a0aa9";
/// How long an authorization lives, seconds.
const LIFETIME: u64 = 600;
/// How far back it begins, seconds.
const BACKDATE: u64 = 60;

/// The settling key: the first account of every devnet.
pub fn settling_key() -> String {
    DEV_ACCOUNTS[0].key.to_string()
}

/// The token that is paid with.
pub fn dollar() -> Address {
    DOLLAR.parse().expect("address")
}

/// Who is paid.
pub fn shop() -> Address {
    SHOP.parse().expect("address")
}

/// Who pays, and on which terms.
pub struct Payers {
    signers: Vec<EvmSigner>,
    requirements: PaymentRequirements,
    signed: u64,
    lifetime: u64,
}

impl Payers {
    /// The eight dev accounts that neither settle nor are paid; they have money on every devnet.
    pub fn dev() -> Self {
        let payers = DEV_ACCOUNTS[1..]
            .iter()
            .filter(|account| account.address != shop());
        Self::of(payers.map(|account| account.key))
    }

    /// So many accounts that no chain has seen.
    pub fn distinct(count: usize) -> Self {
        Self::of((0..count).map(payer_key))
    }

    fn of(keys: impl Iterator<Item = B256>) -> Self {
        Self {
            signers: keys
                .map(|key| EvmSigner::from_bytes(&key.0).expect("key"))
                .collect(),
            requirements: requirements(Scheme::Exact),
            signed: 0,
            lifetime: LIFETIME,
        }
    }

    /// Authorizations that live so many seconds.
    pub fn lasting(self, lifetime: u64) -> Self {
        Self { lifetime, ..self }
    }

    /// Each payment asks for a transaction of its own.
    pub fn one_transaction_each(mut self) -> Self {
        let extra = self.requirements.extra.get_or_insert_default();
        extra.insert("singleTransaction".into(), true.into());
        self
    }

    /// Their accounts.
    pub fn accounts(&self) -> Vec<Address> {
        self.signers.iter().map(EvmSigner::address).collect()
    }

    /// Signed authorizations, the payers in turn, each with a nonce of its own.
    pub fn sign(&mut self, count: usize) -> Vec<SignedAuthorization> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("clock")
            .as_secs();
        let domain = Domain::new("USDC", "2", CHAIN, dollar());
        let value: U256 = self.requirements.amount.parse().expect("amount");
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            let turn = usize::try_from(self.signed).expect("count") % self.signers.len();
            let signer = &self.signers[turn];
            self.signed += 1;
            let authorization = Authorization {
                from: signer.address(),
                to: shop(),
                value,
                valid_after: U256::from(now - BACKDATE),
                valid_before: U256::from(now + self.lifetime),
                nonce: nonce(self.signed),
            };
            all.push(sign_authorization(signer, &domain, authorization));
        }
        all
    }

    /// Bodies for /verify and /settle.
    pub fn bodies(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.sign(count)
            .iter()
            .map(|signed| self.body(signed))
            .collect()
    }

    /// Bodies for a token door, as clients of permit doors post them.
    pub fn permits(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.sign(count).iter().map(permit).collect()
    }

    /// What a buyer sends.
    pub fn payload(&self, signed: &SignedAuthorization) -> PaymentPayload {
        PaymentPayload {
            x402_version: 2,
            resource: Some(ResourceInfo {
                url: "http://127.0.0.1/paid/weather".into(),
                ..ResourceInfo::default()
            }),
            accepted: self.requirements.clone(),
            payload: signed.to_payload(),
            extensions: None,
        }
    }

    fn body(&self, signed: &SignedAuthorization) -> Vec<u8> {
        let payload = self.payload(signed);
        json!({ "x402Version": 2, "paymentPayload": payload, "paymentRequirements": self.requirements })
            .to_string()
            .into_bytes()
    }
}

fn permit(signed: &SignedAuthorization) -> Vec<u8> {
    let a = &signed.authorization;
    let (r, s, v) = (
        &signed.signature[..32],
        &signed.signature[32..64],
        signed.signature[64],
    );
    json!({
        "version": "Version 0.1",
        "permit": {
            "permit_type": "ERC3009",
            "signature": { "r": B256::from_slice(r), "s": B256::from_slice(s), "v": v },
            "token": dollar(),
            "chain_id": CHAIN,
            "authorizer": a.from,
            "recipient": a.to,
            "value": a.value.to_string(),
            "validAfter": a.valid_after.to_string(),
            "validBefore": a.valid_before.to_string(),
            "nonce": a.nonce,
        },
    })
    .to_string()
    .into_bytes()
}

/// Never the same twice, in this run and among runs.
fn nonce(n: u64) -> B256 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |elapsed| elapsed.as_nanos());
    keccak256(format!("{n} {nanos} {}", std::process::id()))
}

/// The n-th of many accounts.
pub fn payer_key(n: usize) -> B256 {
    keccak256(format!("tollway bench, payer {n}"))
}

/// What a cent costs by a scheme.
pub fn requirements(scheme: Scheme) -> PaymentRequirements {
    let price: Price = "$0.01".parse().expect("price");
    PaymentRequirements::priced(
        scheme,
        &Network::eip155(CHAIN),
        &price,
        &AssetTable::builtin(),
        SHOP,
        LIFETIME,
    )
    .expect("requirements")
}
