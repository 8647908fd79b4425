//! With the real wallet: what leaves is a payment that any facilitator can check.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use tollway_evm::typed_data::Domain;
use tollway_evm::{EvmSigner, EvmWallet, SignedAuthorization, recover};
use tollway_ledger::SqliteLedger;
use tollway_payer::{PayRequest, Payer};

use crate::seller::*;

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

#[tokio::test]
async fn a_real_wallet_pays_exactly_what_was_offered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spends.db");
    let ledger = SqliteLedger::open(&format!("sqlite:{}", path.display()))
        .await
        .unwrap();
    let signer = EvmSigner::from_hex(KEY).unwrap();
    let account = signer.address();
    let payer = Payer::builder()
        .wallet(Arc::new(EvmWallet::new(signer)))
        .spends(Arc::new(ledger))
        .build()
        .unwrap();
    let mut long = offer("10000");
    long.max_timeout_seconds = 31_536_000;
    for offered in [offer("10000"), long] {
        let seller = Seller::honest(vec![offered]).await;
        let answer = payer
            .fetch(PayRequest::get(seller.url.clone()))
            .await
            .unwrap();
        assert!(answer.payment.unwrap().is_settled());
        let shown = SignedAuthorization::parse(&seller.seen()[1].decoded().payload).unwrap();
        let signed = shown.authorization;
        let usdc: Address = USDC.parse().unwrap();
        let digest = signed.digest(&Domain::new("USDC", "2", 84532, usdc));
        assert_eq!(recover(digest, &shown.signature), Some(account));
        assert_eq!((signed.from, signed.to), (account, PAYEE.parse().unwrap()));
        assert_eq!(signed.value, U256::from(10_000));
        assert!(signed.valid_before - signed.valid_after <= U256::from(900));
    }
}
