use tollway_core::header::PAYMENT_RESPONSE;
use tollway_core::wire::SettleResponse;
use tollway_ledger::SpendState;
use tollway_payer::Standing;

use crate::bench::{Buyer, text};
use crate::seller::*;

/// The goods come with this receipt; what the payer makes of it.
async fn standing(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Standing {
    let seller = Seller::selling(vec![offer("10000")], move |_| reply()).await;
    let buyer = Buyer::new().await;
    let answer = buyer.get(&seller.url).await.unwrap();
    let payment = answer.payment.clone().unwrap();
    assert_eq!(text(answer).await, "the goods");
    let expected = if payment.is_settled() {
        SpendState::Paid
    } else {
        SpendState::Unknown
    };
    assert_eq!(buyer.states().await, [expected]);
    assert_eq!(
        buyer.payer.counters().payments,
        u64::from(payment.is_settled())
    );
    assert_eq!(seller.payments().len(), 1);
    payment.standing
}

async fn with(change: impl FnOnce(&mut SettleResponse)) -> Standing {
    let mut response = success();
    change(&mut response);
    standing(move || receipt(Reply::text(200, "the goods"), &response)).await
}

async fn is_held(change: impl FnOnce(&mut SettleResponse)) -> bool {
    matches!(with(change).await, Standing::Held { .. })
}

#[tokio::test]
async fn goods_without_a_receipt_are_told_as_such() {
    let Standing::Held { reason } = standing(|| Reply::text(200, "the goods")).await else {
        panic!("no receipt was taken for one");
    };
    assert_eq!(reason, "the server sent no receipt");
}

#[tokio::test]
async fn a_receipt_that_says_no_is_not_a_yes_because_of_a_200() {
    assert!(is_held(|r| *r = failure("invalid_transaction_state", "")).await);
}

#[tokio::test]
async fn a_receipt_for_something_else_is_none() {
    assert!(is_held(|r| r.network = "eip155:8453".into()).await);
    assert!(is_held(|r| r.payer = Some(PAYEE.into())).await);
    assert!(is_held(|r| r.amount = Some("9999".into())).await);
    assert!(is_held(|r| r.amount = Some("1e4".into())).await);
    assert!(is_held(|r| r.transaction = String::new()).await);
    assert!(is_held(|r| r.transaction = "0x\u{7}not a hash".into()).await);
}

#[tokio::test]
async fn a_receipt_that_states_what_was_signed_is_taken() {
    let fits = with(|r| {
        r.payer = Some(crate::wallet::PAYER.to_uppercase().replace("0X", "0x"));
        r.amount = Some("10000".into());
    });
    assert_eq!(fits.await, Standing::Settled);
    assert_eq!(with(|r| r.network = String::new()).await, Standing::Settled);
}

#[tokio::test]
async fn a_receipt_that_is_not_strictly_typed_is_none() {
    for json in [
        r#"{"success":"true","transaction":"TX","network":"eip155:84532"}"#,
        r#"{"success":1,"transaction":"TX","network":"eip155:84532"}"#,
        r#"{"transaction":"TX","network":"eip155:84532"}"#,
        r#"{"success":true,"success":true,"transaction":"TX","network":"eip155:84532"}"#,
        r#"[true,"TX"]"#,
        "yes",
    ] {
        let json = json.replace("TX", TX);
        let held = standing(move || {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(&json);
            Reply::text(200, "the goods").with(PAYMENT_RESPONSE.clone(), text.parse().unwrap())
        });
        assert!(matches!(held.await, Standing::Held { .. }));
    }
}

#[tokio::test]
async fn two_receipts_are_none() {
    let two = standing(|| receipt(goods(), &failure("x", "")));
    assert!(matches!(two.await, Standing::Held { .. }));
}
