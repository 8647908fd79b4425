use tollway_payer::ErrorKind;

use crate::bench::{Buyer, text};
use crate::seller::*;

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_and_paid_where_it_ends() {
    let seller = Seller::start(|seen| match (seen.path.as_str(), seen.payment_number) {
        ("/goods", _) => Reply::status(307).with_text("location", "/moved/goods?x=1"),
        (_, 0) => challenge(vec![offer("10000")]),
        _ => goods(),
    })
    .await;
    let answer = Buyer::new().await.get(&seller.url).await.unwrap();
    assert_eq!(answer.url.path(), "/moved/goods");
    assert_eq!(text(answer).await, "the goods");
    let paths: Vec<_> = seller.seen().into_iter().map(|s| s.path).collect();
    assert_eq!(paths, ["/goods", "/moved/goods?x=1", "/moved/goods?x=1"]);
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_not_paid_and_not_asked_inside_our_network() {
    let thief = Seller::honest(vec![offer("10000")]).await;
    let to = thief.url.to_string();
    let seller = Seller::start(move |_| Reply::status(302).with_text("location", &to)).await;
    let buyer = Buyer::new().await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(
        (error.code(), error.kind()),
        ("policy_redirect", ErrorKind::Declined)
    );
    assert!(
        thief.seen().is_empty(),
        "a server led us into our own network"
    );
    assert_eq!(buyer.wallet.signed(), 0);
}

#[tokio::test]
async fn no_spelling_of_an_inner_address_is_followed() {
    for to in [
        "http://2130706433:1/",
        "//127.1:1/",
        "http://[::ffff:127.0.0.1]:1/",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost:1/",
        "https://10.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:1/",
        "https://user@[::1]:1/",
    ] {
        let seller = Seller::start(move |_| Reply::status(301).with_text("location", to)).await;
        assert_eq!(
            Buyer::new().await.refusal(&seller.url).await,
            "policy_redirect",
            "{to}"
        );
        assert_eq!(seller.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let seller = Seller::start(|_| Reply::status(302).with_text("location", "/goods")).await;
    assert_eq!(
        Buyer::new().await.refusal(&seller.url).await,
        "policy_redirect"
    );
    assert_eq!(seller.seen().len(), 6);
}

#[tokio::test]
async fn no_redirect_is_followed_with_a_payment() {
    let thief = Seller::honest(vec![offer("10000")]).await;
    for to in [thief.url.to_string(), "/elsewhere".to_owned()] {
        let seller = Seller::selling(vec![offer("10000")], move |_| {
            Reply::status(307).with_text("location", &to)
        })
        .await;
        let error = Buyer::new().await.get(&seller.url).await.unwrap_err();
        assert_eq!(error.answer().unwrap().status, 307);
        assert!(!error.payment().unwrap().is_settled());
        assert_eq!(seller.distinct_payments(), 1);
        assert!(seller.seen().iter().all(|seen| seen.path == "/goods"));
    }
    assert!(thief.seen().is_empty());
}

#[tokio::test]
async fn a_post_that_is_sent_elsewhere_keeps_its_body_only_where_http_says_so() {
    for (status, method, body) in [(303, "GET", ""), (302, "GET", ""), (308, "POST", "data")] {
        let seller = Seller::start(move |seen| match seen.path.as_str() {
            "/goods" => Reply::status(status).with_text("location", "/b"),
            _ => Reply::text(200, "ok"),
        })
        .await;
        let request =
            tollway_payer::PayRequest::new(http::Method::POST, seller.url.clone()).body("data");
        Buyer::new().await.payer.fetch(request).await.unwrap();
        let last = &seller.seen()[1];
        assert_eq!(
            (last.method.as_str(), &last.body[..]),
            (method, body.as_bytes())
        );
    }
}
