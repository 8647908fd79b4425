//! Coming back to what was paid for: a message is signed instead of a payment, where the
//! record shows that one was made.

use serde_json::json;
use tollway_core::extensions::sign_in::{
    SIGN_IN_HEADER, SIGN_IN_WITH_X, SignIn, SignInChain, SignInInfo, SignInOffer,
};
use tollway_core::header;
use tollway_core::wire::Object;
use tollway_core::{Clock as _, SystemClock};
use tollway_payer::PayRequest;

use crate::bench::{Buyer, text};
use crate::seller::*;
use crate::wallet::PAYER;

fn offered(host: &str, change: impl Fn(&mut SignInOffer)) -> Option<Object> {
    let mut offer = SignInOffer {
        info: SignInInfo {
            domain: host.to_owned(),
            uri: format!("http://{host}/goods"),
            version: "1".to_owned(),
            nonce: "0011223344556677".to_owned(),
            issued_at: SystemClock.now().to_rfc3339(),
            ..SignInInfo::default()
        },
        supported_chains: vec![SignInChain {
            chain_id: "eip155:84532".to_owned(),
            kind: "eip191".to_owned(),
        }],
    };
    change(&mut offer);
    let mut all = Object::new();
    all.insert(SIGN_IN_WITH_X.to_owned(), offer.declared());
    Some(all)
}

/// A seller that opens to whoever signs in, and what it offers changed.
async fn seller(change: impl Fn(&mut SignInOffer) + Send + Sync + 'static) -> Seller {
    Seller::start(move |seen| {
        let host = seen.headers["host"].to_str().unwrap();
        let signed = seen.headers.contains_key(SIGN_IN_HEADER);
        match (seen.payment_number, signed) {
            (0, true) => Reply::text(200, "the goods again"),
            (0, false) => challenge_with(vec![offer("10000")], offered(host, &change)),
            _ => goods(),
        }
    })
    .await
}

#[tokio::test]
async fn who_paid_before_signs_in_and_pays_nothing() {
    let seller = seller(|_| {}).await;
    let buyer = Buyer::new().await;
    assert_eq!(
        text(buyer.get(&seller.url).await.unwrap()).await,
        "the goods"
    );
    assert!(
        buyer.wallet.messages.lock().unwrap().is_empty(),
        "nothing was paid before"
    );
    let again = buyer.get(&seller.url).await.unwrap();
    assert!(again.payment.is_none());
    assert_eq!(text(again).await, "the goods again");
    assert_eq!((buyer.wallet.signed(), buyer.spends().await.len()), (1, 1));
    assert!(buyer.diary().contains(&"signed_in".to_owned()));

    let seen = seller.seen();
    let shown = seen.last().unwrap().headers[SIGN_IN_HEADER]
        .to_str()
        .unwrap();
    let shown: SignIn = header::decode(shown).unwrap();
    assert_eq!(
        (shown.address.as_str(), shown.signature.as_str()),
        (PAYER, "0xsigned")
    );
    let messages = buyer.wallet.messages.lock().unwrap();
    assert!(
        messages[0].contains(&format!("URI: {}", seller.url)),
        "{}",
        messages[0]
    );
    let diary = json!(*buyer.diary.lock().unwrap()).to_string();
    assert!(!diary.contains("0xsigned"), "the story holds a signature");
}

#[tokio::test]
async fn a_purchase_of_its_own_name_is_paid_for() {
    let seller = seller(|_| {}).await;
    let buyer = Buyer::new().await;
    buyer.get(&seller.url).await.unwrap();
    let another = PayRequest::get(seller.url.clone()).purchase("second");
    assert!(buyer.payer.fetch(another).await.unwrap().payment.is_some());
    assert!(buyer.wallet.messages.lock().unwrap().is_empty());
}

#[tokio::test]
async fn no_message_for_another_origin_or_chain_or_time_is_signed() {
    let changes: [fn(&mut SignInOffer); 8] = [
        |o| o.info.domain = "bank.example".to_owned(),
        |o| o.info.uri = "https://bank.example/goods".to_owned(),
        |o| o.info.statement = Some("a\nURI: https://bank.example".to_owned()),
        |o| o.info.issued_at = "2020-01-01T00:00:00Z".to_owned(),
        |o| o.info.version = "2".to_owned(),
        |o| o.supported_chains[0].chain_id = "eip155:8453".to_owned(),
        |o| o.supported_chains[0].kind = "ed25519".to_owned(),
        |o| o.supported_chains.clear(),
    ];
    for change in changes {
        let seller = seller(change).await;
        let buyer = Buyer::new().await;
        for _ in 0..2 {
            assert!(buyer.get(&seller.url).await.unwrap().payment.is_some());
        }
        assert!(buyer.wallet.messages.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_seller_that_asks_all_the_same_is_paid_by_its_new_terms() {
    let seller = Seller::start(|seen| {
        let host = seen.headers["host"].to_str().unwrap();
        match seen.payment_number {
            0 => challenge_with(vec![offer("10000")], offered(host, |_| {})),
            _ => goods(),
        }
    })
    .await;
    let buyer = Buyer::new().await;
    buyer.get(&seller.url).await.unwrap();
    let again = buyer.get(&seller.url).await.unwrap();
    assert!(again.payment.is_some());
    assert_eq!(
        buyer.wallet.messages.lock().unwrap().len(),
        1,
        "one message a purchase"
    );
    assert_eq!(buyer.wallet.signed(), 2);
}
