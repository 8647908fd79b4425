use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tollway_payer::{ErrorKind, Policy};

use crate::bench::{Buyer, text};
use crate::seller::*;
use crate::wallet::FakeWallet;

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

/// Addresses of our own network, however they are spelled; `{p}` is a port at which
/// somebody listens on this machine.
const INNER: [&str; 44] = [
    "http://127.0.0.1:{p}/",
    "http://127.1:{p}/",
    "http://127.0.1:{p}/",
    "http://2130706433:{p}/",
    "http://0x7f000001:{p}/",
    "http://0x7f.0.0.1:{p}/",
    "http://0177.0.0.1:{p}/",
    "http://017700000001:{p}/",
    "http://127.255.255.254:{p}/",
    "http://0:{p}/",
    "http://0.0.0.0:{p}/",
    "http://１２７.0.0.1:{p}/",
    "http://127.0.0.1.:{p}/",
    "http://user@127.0.0.1:{p}/",
    "http://localhost:{p}/",
    "http://LOCALHOST.:{p}/",
    "http://a.localhost:{p}/",
    "http://[::1]:{p}/",
    "http://[0:0:0:0:0:0:0:1]:{p}/",
    "http://[::]:{p}/",
    "http://[::ffff:127.0.0.1]:{p}/",
    "http://[::ffff:7f00:1]:{p}/",
    "http://[::127.0.0.1]:{p}/",
    "http://[64:ff9b::7f00:1]:{p}/",
    "http://[64:ff9b:1::7f00:1]:{p}/",
    "http://[2002:7f00:1::]:{p}/",
    "http://[2001:0:1:1:1:1:80ff:fffe]:{p}/",
    "http://10.0.0.8/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data",
    "http://[::ffff:a9fe:a9fe]/latest/meta-data",
    "http://[fd00:ec2::254]/latest/meta-data",
    "http://100.64.0.1/",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[fe80::1]/",
    "http://[fc00::1]/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{p}/",
    "ftp://127.0.0.1:{p}/",
];

/// Somebody who listens on this machine, and whom nobody may reach; and how many did.
async fn inner() -> (u16, Arc<AtomicUsize>) {
    let reached: Arc<AtomicUsize> = Arc::default();
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind(("::1", port)).await.ok();
    for listener in [Some(first), second].into_iter().flatten() {
        let reached = Arc::clone(&reached);
        tokio::spawn(async move {
            while let Ok(_caller) = listener.accept().await {
                reached.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    (port, reached)
}

#[tokio::test]
async fn no_spelling_of_an_inner_address_is_followed_and_nobody_there_is_connected_to() {
    let (port, reached) = inner().await;
    // Headers are ASCII.
    for to in INNER.into_iter().filter(|to| to.is_ascii()) {
        let to = to.replace("{p}", &port.to_string());
        for scheme in ["http://", "https://"] {
            let to = to.replace("http://", scheme);
            let shown = to.clone();
            let seller =
                Seller::start(move |_| Reply::status(301).with_text("location", &to)).await;
            let refusal = Buyer::new().await.refusal(&seller.url).await;
            assert_eq!(refusal, "policy_redirect", "{shown}");
            assert_eq!(seller.seen().len(), 1);
        }
    }
    assert_eq!(
        reached.load(Ordering::SeqCst),
        0,
        "somebody was connected to"
    );
}

/// A URL that a program chose, as an agent's tools get it.
#[tokio::test]
async fn an_agent_reaches_no_inner_address_by_any_spelling() {
    let (port, reached) = inner().await;
    let buyer = Buyer::with(FakeWallet::default(), |builder| {
        builder.policy(Policy {
            guard_urls: true,
            allow_insecure: true,
            ..Policy::default()
        })
    })
    .await;
    for url in INNER {
        let url = url.replace("{p}", &port.to_string());
        let Ok(url) = url.parse::<url::Url>() else {
            continue;
        };
        let refused = buyer.get(&url).await;
        assert!(refused.is_err(), "{url} was fetched");
    }
    assert_eq!(
        reached.load(Ordering::SeqCst),
        0,
        "somebody was connected to"
    );
    assert_eq!(buyer.wallet.signed(), 0);
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
