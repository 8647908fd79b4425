use std::sync::{Arc, Mutex};

use serde_json::json;
use tollway_core::header::{PAYMENT_REQUIRED, PAYMENT_SIGNATURE, X_PAYMENT};
use tollway_core::wire::Version;
use tollway_core::{Amount, header};
use tollway_ledger::SpendState;
use tollway_payer::{ErrorKind, PayRequest, Standing};

use crate::bench::{Buyer, text};
use crate::seller::*;
use crate::wallet::FakeWallet;

#[tokio::test]
async fn a_free_resource_passes_and_nothing_is_signed() {
    let buyer = Buyer::new().await;
    let seller = Seller::start(|_| Reply::text(200, "free")).await;
    let answer = buyer.get(&seller.url).await.unwrap();
    assert!(answer.payment.is_none());
    assert_eq!(text(answer).await, "free");
    assert_eq!((buyer.wallet.signed(), buyer.spends().await.len()), (0, 0));
}

#[tokio::test]
async fn an_error_that_asks_for_no_payment_is_the_callers_to_read() {
    let buyer = Buyer::new().await;
    let seller = Seller::start(|_| Reply::text(404, "nothing here")).await;
    let answer = buyer.get(&seller.url).await.unwrap();
    assert_eq!(answer.response.status(), 404);
    assert!(answer.payment.is_none());
}

#[tokio::test]
async fn a_price_is_paid_and_the_goods_and_the_receipt_come_back() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&told);
    let buyer = Buyer::with(FakeWallet::default(), |b| {
        b.on_payment(move |payment| ear.lock().unwrap().push(payment.clone()))
    })
    .await;
    let seller = Seller::honest(vec![offer("10000")]).await;
    let answer = buyer.get(&seller.url).await.unwrap();
    let payment = answer.payment.clone().unwrap();
    assert_eq!(text(answer).await, "the goods");
    assert_eq!(payment.standing, Standing::Settled);
    assert_eq!(payment.words, "0.01 USDC on Base Sepolia");
    assert_eq!(payment.transaction.as_ref().unwrap().as_str(), TX);
    assert_eq!(
        payment.explorer.unwrap(),
        format!("https://sepolia.basescan.org/tx/{TX}")
    );
    assert_eq!(told.lock().unwrap().len(), 1);
    let spends = buyer.spends().await;
    assert_eq!(spends[0].state, SpendState::Paid);
    assert_eq!(spends[0].paid, Some(Amount::from_atomic(10_000)));
    let counters = buyer.payer.counters();
    assert_eq!((counters.in_flight, counters.payments), (0, 1));
    assert_eq!(counters.spent[0].amount, Amount::from_atomic(10_000));
    assert_eq!(counters.last_payment.unwrap().spend, payment.spend);
    assert_eq!(
        buyer.diary(),
        [
            "asked",
            "terms",
            "chosen",
            "reserved",
            "signed",
            "presented",
            "paid"
        ]
    );
}

#[tokio::test]
async fn the_chosen_entry_and_the_resource_are_echoed_unchanged() {
    let mut odd = offer("10000");
    odd.extra = json!({"name": "USDC", "version": "2", "decimals": 18, "zeta": [1, {"a": null}]})
        .as_object()
        .cloned();
    let (sent, extensions) = (
        odd.clone(),
        json!({"other": {"info": {"a": 1}, "schema": {}}}),
    );
    let seller = Seller::start(move |seen| match seen.payment_number {
        0 => challenge_with(vec![sent.clone()], extensions.as_object().cloned()),
        _ => goods(),
    })
    .await;
    Buyer::new().await.get(&seller.url).await.unwrap();
    let shown = seller.seen()[1].decoded();
    assert_eq!(
        serde_json::to_string(&shown.accepted).unwrap(),
        serde_json::to_string(&odd).unwrap()
    );
    assert_eq!(shown.resource, Some(terms(vec![]).resource));
    assert_eq!(
        shown.extensions.unwrap()["other"],
        json!({"info": {"a": 1}, "schema": {}})
    );
}

#[tokio::test]
async fn a_payment_identifier_is_given_where_it_is_offered_and_only_there() {
    let declared = json!({"payment-identifier": tollway_core::extensions::declare(false)});
    let seller = Seller::start(move |seen| match seen.payment_number {
        0 => challenge_with(vec![offer("10000")], declared.as_object().cloned()),
        _ => goods(),
    })
    .await;
    let buyer = Buyer::new().await;
    for _ in 0..2 {
        buyer.get(&seller.url).await.unwrap();
    }
    let seen = seller.seen();
    let ids: Vec<_> = [1, 3]
        .map(|i| {
            tollway_core::extensions::read(&seen[i].decoded())
                .unwrap()
                .unwrap()
        })
        .into();
    assert_ne!(ids[0], ids[1]);
    assert!(ids[0].as_str().len() >= 32);
    let plain = Seller::honest(vec![offer("10000")]).await;
    buyer.get(&plain.url).await.unwrap();
    assert_eq!(plain.seen()[1].decoded().extensions, None);
}

#[tokio::test]
async fn a_version_1_seller_is_paid_in_version_1() {
    let seller = Seller::start(|seen| match seen.payment_number {
        0 => challenge_v1(vec![offer("10000")]),
        _ => {
            let (name, value) = header::response(Version::V1, &success());
            Reply::text(200, "old goods").with(name, value)
        }
    })
    .await;
    let answer = Buyer::new().await.get(&seller.url).await.unwrap();
    let payment = answer.payment.unwrap();
    assert_eq!((payment.version, payment.is_settled()), (1, true));
    let paying = &seller.seen()[1];
    assert!(!paying.headers.contains_key(&PAYMENT_SIGNATURE));
    let text = paying.headers[&X_PAYMENT].to_str().unwrap();
    let shown: serde_json::Value = header::decode(text).unwrap();
    assert_eq!(shown["x402Version"], 1);
    assert_eq!(shown["network"], "base-sepolia");
    assert_eq!(shown["scheme"], "exact");
    assert_eq!(shown["payload"]["signature"], "fake signature 1");
    assert!(shown.get("accepted").is_none());
}

#[tokio::test]
async fn a_version_2_header_wins_over_a_version_1_body() {
    let seller = Seller::start(|seen| match seen.payment_number {
        0 => {
            let (name, value) = header::challenge(&terms(vec![offer("10000")]));
            let Reply::Http(status, _, body) = challenge_v1(vec![offer("1")]) else {
                unreachable!()
            };
            Reply::Http(status, vec![(name, value)], body)
        }
        _ => goods(),
    })
    .await;
    let payment = Buyer::new()
        .await
        .get(&seller.url)
        .await
        .unwrap()
        .payment
        .unwrap();
    assert_eq!(
        (payment.version, payment.amount),
        (2, Amount::from_atomic(10_000))
    );
    assert!(!seller.seen()[1].headers.contains_key(&X_PAYMENT));
}

#[tokio::test]
async fn terms_that_cannot_be_read_are_a_clear_error_and_no_fallback() {
    let good = header::challenge(&terms(vec![offer("10000")]))
        .1
        .to_str()
        .unwrap()
        .to_owned();
    let cases: Vec<(&str, Vec<String>)> = vec![
        ("not base64", vec!["%%%".into()]),
        ("not JSON", vec!["aGVsbG8=".into()]),
        ("an array", vec![header::encode(&json!([1]))]),
        (
            "no accepts",
            vec![header::encode(
                &json!({"x402Version": 2, "resource": {"url": "u"}}),
            )],
        ),
        (
            "version 1 in the header of version 2",
            vec![header::encode(&json!({"x402Version": 1, "accepts": []}))],
        ),
        (
            "version 3",
            vec![header::encode(
                &json!({"x402Version": 3, "resource": {"url": "u"}, "accepts": []}),
            )],
        ),
        ("two headers", vec![good.clone(), good.clone()]),
        ("longer than 16 KiB", vec!["A".repeat(16 * 1024 + 4)]),
        (
            "nested deeply",
            vec![header::encode(
                &serde_json::from_str::<serde_json::Value>(&format!(
                    "{}1{}",
                    "{\"a\":".repeat(100),
                    "}".repeat(100)
                ))
                .unwrap(),
            )],
        ),
        ("url-safe base64", vec![good.replace('=', "-")]),
    ];
    for (what, values) in cases {
        let seller = Seller::start(move |_| {
            let mut reply = challenge_v1(vec![offer("1")]);
            for value in &values {
                reply = reply.with(PAYMENT_REQUIRED.clone(), value.parse().unwrap());
            }
            reply
        })
        .await;
        let buyer = Buyer::new().await;
        let error = buyer.get(&seller.url).await.unwrap_err();
        assert_eq!(
            (error.code(), error.kind()),
            ("invalid_offer", ErrorKind::Declined),
            "{what}"
        );
        assert_eq!(
            (buyer.wallet.signed(), seller.seen().len()),
            (0, 1),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_402_without_terms_or_with_an_endless_body_is_a_clear_error() {
    for body in ["", "pay me", "{}", &"x".repeat(70_000)] {
        let body = body.to_owned();
        let seller = Seller::start(move |_| Reply::text(402, &body)).await;
        assert_eq!(
            Buyer::new().await.refusal(&seller.url).await,
            "invalid_offer"
        );
    }
}

#[tokio::test]
async fn the_cheapest_offer_is_taken_whatever_the_order() {
    for order in [
        ["30000", "10000", "20000"],
        ["10000", "20000", "30000"],
        ["20000", "30000", "10000"],
    ] {
        let seller = Seller::honest(order.map(offer).to_vec()).await;
        let payment = Buyer::new()
            .await
            .get(&seller.url)
            .await
            .unwrap()
            .payment
            .unwrap();
        assert_eq!(payment.amount, Amount::from_atomic(10_000));
        assert_eq!(seller.seen()[1].decoded().accepted, offer("10000"));
    }
}

#[tokio::test]
async fn between_equal_prices_the_buyers_network_and_the_later_settlement_win() {
    let base = {
        let mut base = offer("10000");
        base.network = "eip155:8453".into();
        base.asset = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913".into();
        base.extra = None;
        base
    };
    let upfront = offer("10000").with_extra("paymentFlow", "upfront");
    let seller = Seller::honest(vec![upfront, base, offer("10000")]).await;
    let prefer = |first: u64, second: u64| tollway_payer::Policy {
        networks: [first, second].map(tollway_core::Network::eip155).to_vec(),
        ..tollway_payer::Policy::default()
    };
    let sepolia = Buyer::with(FakeWallet::default(), |b| b.policy(prefer(84532, 8453))).await;
    sepolia.get(&seller.url).await.unwrap();
    assert_eq!(seller.seen()[1].decoded().accepted, offer("10000"));
    let main = Buyer::with(FakeWallet::default(), |b| b.policy(prefer(8453, 84532))).await;
    main.get(&seller.url).await.unwrap();
    assert_eq!(seller.seen()[3].decoded().accepted.network, "eip155:8453");
}

#[tokio::test]
async fn method_headers_and_body_are_the_same_with_the_payment() {
    let seller = Seller::honest(vec![offer("10000")]).await;
    let request = PayRequest::new(http::Method::POST, seller.url.clone())
        .header(
            http::header::CONTENT_TYPE,
            "application/json".parse().unwrap(),
        )
        .body("{\"q\":1}");
    Buyer::new().await.payer.fetch(request).await.unwrap();
    for seen in seller.seen() {
        assert_eq!(
            (seen.method.as_str(), seen.path.as_str()),
            ("POST", "/goods")
        );
        assert_eq!(seen.headers["content-type"], "application/json");
        assert_eq!(&seen.body[..], b"{\"q\":1}");
        assert!(
            !seen.headers["user-agent"]
                .to_str()
                .unwrap()
                .contains("Mozilla")
        );
    }
}

#[tokio::test]
async fn a_request_that_carries_a_payment_already_is_refused() {
    let seller = Seller::honest(vec![offer("10000")]).await;
    let request =
        PayRequest::get(seller.url.clone()).header(X_PAYMENT.clone(), "e30=".parse().unwrap());
    let error = Buyer::new().await.payer.fetch(request).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Invalid, "invalid_request")
    );
    assert!(seller.seen().is_empty());
}

#[tokio::test]
async fn what_the_account_cannot_afford_is_not_signed() {
    let seller = Seller::honest(vec![offer("10000")]).await;
    let poor = FakeWallet {
        balance: Some(Amount::from_atomic(9_999)),
        ..FakeWallet::default()
    };
    let buyer = Buyer::with(poor, |b| b).await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Declined, "insufficient_funds")
    );
    assert_eq!(
        (
            buyer.wallet.signed(),
            seller.payments().len(),
            buyer.spends().await.len()
        ),
        (0, 0, 0)
    );
    let exact = FakeWallet {
        balance: Some(Amount::from_atomic(10_000)),
        ..FakeWallet::default()
    };
    assert!(
        Buyer::with(exact, |b| b)
            .await
            .get(&seller.url)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failure_before_payment() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(listener);
    let error = Buyer::new().await.get(&url).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Failed, "request_failed")
    );
    assert!(error.message().contains("nothing was signed"));
}

#[tokio::test]
async fn the_same_request_twice_at_once_is_two_purchases() {
    let seller = Seller::selling(vec![offer("10000")], |_| {
        Reply::After(100, Box::new(goods()))
    })
    .await;
    let buyer = Buyer::new().await;
    let second = async {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        buyer.get(&seller.url).await
    };
    let (first, second) = tokio::join!(buyer.get(&seller.url), second);
    assert_ne!(
        first.unwrap().payment.unwrap().spend,
        second.unwrap().payment.unwrap().spend
    );
    assert_eq!((buyer.wallet.signed(), seller.distinct_payments()), (2, 2));
}
