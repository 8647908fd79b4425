//! Signed payments, made before the clock starts.

use std::time::Duration;

use serde_json::json;
use tollway_core::assets::AssetTable;
use tollway_core::money::Price;
use tollway_core::wire::{PaymentPayload, PaymentRequirements, ResourceInfo};
use tollway_core::{Amount, Limits, Network, Scheme, Terms, Wallet};
use tollway_devnet::DEV_ACCOUNTS;
use tollway_evm::{EvmSigner, EvmWallet};

/// The settling key: the first account of every devnet.
pub fn settling_key() -> String {
    DEV_ACCOUNTS[0].key.to_string()
}

/// Bodies for /verify or /settle, from nine payers, each with its own nonce.
pub async fn verify_bodies(count: usize) -> Vec<Vec<u8>> {
    let requirements = requirements();
    let terms = Terms::check(requirements.clone()).expect("terms");
    let limits = Limits {
        max_amount: Amount::from_atomic(1_000_000),
        max_lifetime: Duration::from_secs(900),
    };
    let wallets: Vec<EvmWallet> = DEV_ACCOUNTS[1..]
        .iter()
        .map(|account| EvmWallet::new(EvmSigner::from_bytes(&account.key.0).expect("key")))
        .collect();
    let mut bodies = Vec::with_capacity(count);
    for wallet in wallets.iter().cycle().take(count) {
        let prepared = wallet.prepare(&terms, &limits).await.expect("payment");
        let payload = PaymentPayload {
            x402_version: 2,
            resource: Some(ResourceInfo {
                url: "http://127.0.0.1/paid/weather".into(),
                ..ResourceInfo::default()
            }),
            accepted: requirements.clone(),
            payload: prepared.payload,
            extensions: None,
        };
        let body = json!({ "x402Version": 2, "paymentPayload": payload, "paymentRequirements": requirements });
        bodies.push(body.to_string().into_bytes());
    }
    bodies
}

fn requirements() -> PaymentRequirements {
    let price: Price = "$0.01".parse().expect("price");
    PaymentRequirements::priced(
        Scheme::Exact,
        &Network::eip155(84532),
        &price,
        &AssetTable::builtin(),
        "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
        300,
    )
    .expect("requirements")
}
