//! A payment buys one thing, however often it is shown.

use crate::harness::town::{BUYER, NETWORK, Town, set, strings};
use crate::harness::upstream::GOODS;
use crate::harness::{Buyer, Program};

#[tokio::test]
async fn a_payment_shown_again_without_an_identifier_never_yields_the_content() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/weather");
    let payment = [buyer.pays(&url, false).await];
    let first = buyer.get(&url, &payment).await;
    assert_eq!((first.status, first.body.as_str()), (200, GOODS));
    let hash = first.receipt().unwrap().transaction;
    let elsewhere = buyer.get(&format!("{gate}/paid/other"), &payment).await;
    assert_eq!(elsewhere.status, 402, "{elsewhere:?}");
    for url in [url.clone(), format!("{url}?x=1")] {
        let again = buyer.get(&url, &payment).await;
        assert_eq!(again.status, 402, "{again:?}");
        let receipt = again.receipt().unwrap();
        assert_eq!(
            receipt.error_reason.as_deref(),
            Some("duplicate_settlement")
        );
        assert_eq!(receipt.transaction, hash);
        assert!(
            !again.headers.contains_key("payment-required"),
            "no terms: nobody pays twice"
        );
        assert!(!again.body.contains("accepts"), "{}", again.body);
    }
    assert_eq!(town.upstream.asked("/paid/weather"), 1);
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_payment_shown_again_with_its_identifier_gets_what_it_paid_for() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/weather");
    let payment = [buyer.pays(&url, true).await];
    let first = buyer.get(&url, &payment).await;
    let again = buyer.get(&url, &payment).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!((first.body.as_str(), again.body.as_str()), (GOODS, GOODS));
    assert_eq!(first.receipt(), again.receipt());
    assert_eq!(town.upstream.asked("/paid/weather"), 1, "the stored answer");
    let changed = buyer.get(&format!("{url}?x=1"), &payment).await;
    assert_eq!(changed.status, 409, "{changed:?}");
    town.paid_exactly_once();
}

async fn mass_replay(identified: bool) -> (Town, usize, Vec<u16>) {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let buyer = std::sync::Arc::new(Buyer::new(&BUYER));
    let url = format!("{gate}/paid/weather");
    let payment = buyer.pays(&url, identified).await;
    let copies: Vec<_> = (0..100)
        .map(|_| {
            let (buyer, url, payment) = (buyer.clone(), url.clone(), payment.clone());
            tokio::spawn(async move { buyer.get(&url, &[payment]).await })
        })
        .collect();
    let mut statuses = Vec::new();
    let mut goods = 0;
    for copy in copies {
        let reply = copy.await.unwrap();
        goods += usize::from(reply.body.contains(GOODS));
        statuses.push(reply.status);
    }
    (town, goods, statuses)
}

#[tokio::test]
async fn a_hundred_copies_at_once_yield_the_content_once() {
    let (town, goods, statuses) = mass_replay(false).await;
    assert_eq!(goods, 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1);
    assert!(
        statuses
            .iter()
            .all(|status| [200, 402, 503].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(town.upstream.asked("/paid/weather"), 1);
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_hundred_copies_with_one_identifier_are_one_purchase() {
    let (town, goods, statuses) = mass_replay(true).await;
    assert_eq!(goods, 100, "{statuses:?}");
    assert_eq!(town.upstream.asked("/paid/weather"), 1);
    town.paid_exactly_once();
}

#[tokio::test]
async fn two_gates_before_one_facilitator_serve_a_payment_once() {
    let town = Town::new().await;
    let (_facilitator, facilitator) = town.facilitator().await;
    let public = ["--public-url", "https://shop.example"];
    let (_one, one) = town.trusting_gate(&facilitator, &public).await;
    let mut args = town.gate_args(&facilitator, &town.rpc());
    set(&mut args, "--network", NETWORK);
    set(&mut args, "--ledger", &town.ledger("other.db"));
    args.extend(strings(&public));
    let (_two, two) = Program::serve(town.command(&args)).await;
    let buyer = std::sync::Arc::new(Buyer::new(&BUYER));
    let payment = buyer.pays(&format!("{one}/paid/weather"), false).await;
    let copies: Vec<_> = (0..20)
        .map(|n| {
            let url = format!("{}/paid/weather", if n % 2 == 0 { &one } else { &two });
            let (buyer, payment) = (buyer.clone(), payment.clone());
            tokio::spawn(async move { buyer.get(&url, &[payment]).await })
        })
        .collect();
    let mut served = 0;
    for copy in copies {
        let reply = copy.await.unwrap();
        served += usize::from(reply.body.contains(GOODS));
    }
    assert_eq!(served, 1, "over all replicas");
    town.paid_exactly_once();
}
