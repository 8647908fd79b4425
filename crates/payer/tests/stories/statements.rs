//! What a seller signed about a purchase: kept, and believed only where it is the
//! seller's and about this payment.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tollway_core::extensions::offer_receipt::{
    Notary as _, OFFER_RECEIPT, OfferStatement, ReceiptStatement, declare_offers, declare_receipt,
};
use tollway_core::wire::Object;
use tollway_core::{Clock as _, SystemClock};
use tollway_evm::{EvmNotary, EvmSigner, EvmStatements};
use tollway_payer::{KeptReceipt, ReceiptWorth, SignedBy};

use crate::bench::{Buyer, text};
use crate::seller::*;
use crate::wallet::{FakeWallet, PAYER};

/// The payee's own key.
const PAYEES: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
/// Somebody else's.
const OTHERS: &str = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
const RESOURCE: &str = "https://seller.test/goods";

fn notary(key: &str) -> EvmNotary {
    EvmNotary::new(EvmSigner::from_hex(key).unwrap())
}

fn said() -> ReceiptStatement {
    ReceiptStatement {
        version: 1,
        network: "eip155:84532".to_owned(),
        resource_url: RESOURCE.to_owned(),
        payer: PAYER.to_owned(),
        issued_at: SystemClock.now().secs(),
        transaction: String::new(),
    }
}

fn one(value: Value) -> Option<Object> {
    let mut all = Object::new();
    all.insert(OFFER_RECEIPT.to_owned(), value);
    Some(all)
}

/// Offers signed by one key, and a receipt as it came.
async fn bought(offerer: Option<&str>, receipt_said: Value) -> (Option<ReceiptWorth>, usize) {
    let offers = offerer.map(|key| {
        let stated = OfferStatement::of(&offer("10000"), RESOURCE, SystemClock.now().secs());
        declare_offers(&[notary(key).offer(&stated)])
    });
    let seller = Seller::start(move |seen| match seen.payment_number {
        0 => challenge_with(vec![offer("10000")], offers.clone().and_then(one)),
        _ => {
            let mut settled = success();
            settled.extensions = one(receipt_said.clone());
            receipt(Reply::text(200, "the goods"), &settled)
        }
    })
    .await;
    let kept: Arc<Mutex<Vec<KeptReceipt>>> = Arc::default();
    let shelf = Arc::clone(&kept);
    let buyer = Buyer::with(FakeWallet::default(), |builder| {
        builder.receipts(Arc::new(EvmStatements), move |receipt| {
            shelf.lock().unwrap().push(receipt.clone());
        })
    })
    .await;
    let answer = buyer.get(&seller.url).await.unwrap();
    let payment = answer.payment.clone().unwrap();
    assert_eq!(text(answer).await, "the goods");
    assert!(
        payment.is_settled(),
        "a receipt changes nothing of the money"
    );
    let kept = kept.lock().unwrap();
    for one in kept.iter() {
        // What is kept says the same later, to whoever reads it.
        let copied = serde_json::to_string(one).unwrap();
        let copied: KeptReceipt = serde_json::from_str(&copied).unwrap();
        assert_eq!(Some(copied.worth(&EvmStatements)), payment.receipt);
    }
    (payment.receipt, kept.len())
}

async fn worth(offerer: Option<&str>, signer: &str, said: ReceiptStatement) -> ReceiptWorth {
    let declared = declare_receipt(&notary(signer).receipt(&said));
    let (worth, kept) = bought(offerer, declared).await;
    assert_eq!(kept, 1);
    worth.unwrap()
}

#[tokio::test]
async fn a_receipt_of_the_payee_or_of_the_key_that_signed_the_offer_is_the_sellers() {
    let by_payee = worth(None, PAYEES, said()).await;
    assert!(
        matches!(&by_payee, ReceiptWorth::Proved { signer, by: SignedBy::Payee } if signer == PAYEE),
        "{by_payee:?}"
    );
    let by_offerer = worth(Some(OTHERS), OTHERS, said()).await;
    assert!(
        matches!(
            by_offerer,
            ReceiptWorth::Proved {
                by: SignedBy::Offerer,
                ..
            }
        ),
        "{by_offerer:?}"
    );
}

#[tokio::test]
async fn a_signature_that_nothing_ties_to_the_seller_proves_nothing() {
    for offerer in [None, Some(PAYEES)] {
        let worth = worth(offerer, OTHERS, said()).await;
        assert!(matches!(worth, ReceiptWorth::Unproved { .. }), "{worth:?}");
    }
}

#[tokio::test]
async fn a_receipt_of_something_else_proves_nothing_whoever_signed_it() {
    let now = SystemClock.now().secs();
    for (what, changed) in [
        (
            "resource",
            ReceiptStatement {
                resource_url: format!("{RESOURCE}2"),
                ..said()
            },
        ),
        (
            "network",
            ReceiptStatement {
                network: "eip155:8453".to_owned(),
                ..said()
            },
        ),
        (
            "payer",
            ReceiptStatement {
                payer: PAYEE.to_owned(),
                ..said()
            },
        ),
        (
            "transaction",
            ReceiptStatement {
                transaction: TX.replace('a', "c"),
                ..said()
            },
        ),
        (
            "version",
            ReceiptStatement {
                version: 2,
                ..said()
            },
        ),
        (
            "time",
            ReceiptStatement {
                issued_at: now - 7200,
                ..said()
            },
        ),
        (
            "time",
            ReceiptStatement {
                issued_at: now + 7200,
                ..said()
            },
        ),
    ] {
        let worth = worth(None, PAYEES, changed).await;
        assert!(
            matches!(&worth, ReceiptWorth::False { why } if why.contains(what)),
            "{what}: {worth:?}"
        );
    }
    let named = ReceiptStatement {
        transaction: TX.to_owned(),
        ..said()
    };
    assert!(matches!(
        worth(None, PAYEES, named).await,
        ReceiptWorth::Proved { .. }
    ));
}

#[tokio::test]
async fn a_receipt_that_cannot_be_read_is_told_and_never_trusted() {
    let mut changed = serde_json::to_value(notary(PAYEES).receipt(&said())).unwrap();
    changed["payload"]["issuedAt"] = json!(said().issued_at - 1);
    for receipt in [
        json!(7),
        json!({"format": "jws", "signature": "a.b.c"}),
        json!({"format": "eip712", "signature": "0x00"}),
        changed,
    ] {
        let declared = json!({"info": {"receipt": receipt}});
        let (worth, kept) = bought(None, declared).await;
        let trusted = matches!(worth, None | Some(ReceiptWorth::Proved { .. }));
        assert!(!trusted && kept == 1, "{receipt}: {worth:?}");
    }
    assert_eq!(bought(None, json!({})).await, (None, 0));
}
