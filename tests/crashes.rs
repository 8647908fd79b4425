//! Whoever dies, whenever: the money moves once, and who paid gets the goods.

use std::time::Duration;

use tollway_devnet::Mining;
use tollway_sweep::own_place;

use crate::harness::town::{BUYER, PRICE, Town, TownOptions, set};
use crate::harness::upstream::GOODS;
use crate::harness::{Buyer, Program, raw, seconds, until};

/// A server's arguments, where nobody takes its port while it is dead.
fn coming_back(mut args: Vec<String>) -> Vec<String> {
    set(&mut args, "--listen", &own_place());
    args
}

/// Starts a server again where it was before.
async fn again(town: &Town, args: &[String], url: &str) -> Program {
    let mut args = args.to_vec();
    set(&mut args, "--listen", &raw::address(url).to_string());
    Program::serve(town.command(&args)).await.0
}

/// Waits until a settlement is on its way and not in a block yet.
async fn in_flight(town: &Town) {
    until(seconds(20), "a settlement is in flight", async || {
        town.chain.waiting() > 0
    })
    .await;
}

#[tokio::test]
async fn a_gate_that_dies_while_settling_delivers_after_its_restart() {
    dying_gate("after").await;
}

#[tokio::test]
async fn a_gate_that_dies_while_settling_first_delivers_after_its_restart() {
    dying_gate("before").await;
}

async fn dying_gate(settle: &str) {
    let town = Town::with_manual_blocks().await;
    let mut args = coming_back(town.gate_args("local", &town.rpc()));
    args.extend(["--settle".to_owned(), settle.to_owned()]);
    let (gate, url) = Program::serve(town.command(&args)).await;
    let buyer = Buyer::new(&BUYER);
    let goods = format!("{url}/paid/weather");
    let payment = [buyer.pays(&goods, true).await];
    let asking = tokio::spawn({
        let (goods, payment) = (goods.clone(), payment.clone());
        async move {
            raw::client()
                .get(goods)
                .header(&payment[0].0, &payment[0].1)
                .send()
                .await
        }
    });
    in_flight(&town).await;
    gate.crash().await;
    assert!(
        asking.await.unwrap().is_err(),
        "the buyer's connection broke"
    );
    let _gate = again(&town, &args, &url).await;
    town.chain
        .set_mining(Mining::Interval(Duration::from_millis(100)));
    let reply = persistent(&buyer, &goods, &payment).await;
    assert_eq!(reply, GOODS);
    town.paid_exactly_once();
    assert_eq!(
        town.upstream.asked("/paid/weather"),
        1,
        "the handler ran once"
    );
    let payments = town.payments("gate.db").await;
    assert_eq!(
        (payments.len(), &payments[0]["state"]),
        (1, &"settled".into())
    );
}

/// Shows a payment until it is answered with the goods.
async fn persistent(
    buyer: &Buyer,
    url: &str,
    payment: &[(http::HeaderName, http::HeaderValue)],
) -> String {
    let mut last = None;
    for _ in 0..100 {
        let reply = buyer.get(url, payment).await;
        if reply.status == 200 {
            return reply.body;
        }
        assert!(matches!(reply.status, 402 | 503), "{reply:?}");
        assert!(
            !reply.headers.contains_key("payment-required"),
            "never asked to pay anew: {reply:?}"
        );
        last = Some(reply);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("never delivered: {last:?}");
}

#[tokio::test]
async fn a_settlement_in_flight_ends_after_a_restart_without_its_buyer() {
    let town = Town::with_manual_blocks().await;
    let args = coming_back(town.gate_args("local", &town.rpc()));
    let (gate, url) = Program::serve(town.command(&args)).await;
    let paying = Program::spawn(town.command(&town.pay_args(&format!("{url}/paid/weather"), &[])));
    in_flight(&town).await;
    gate.crash().await;
    paying.crash().await;
    let _gate = again(&town, &args, &url).await;
    town.chain
        .set_mining(Mining::Interval(Duration::from_millis(100)));
    until(seconds(20), "the payment is settled", async || {
        town.payments("gate.db").await[0]["state"] == "settled"
    })
    .await;
    town.paid_exactly_once();
    let id = town.payments("gate.db").await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = town.payment("gate.db", &id).await;
    assert_eq!(shown["transaction"], town.transfers()[0].as_str());
}

#[tokio::test]
async fn a_buyer_waits_out_a_gate_that_dies_and_comes_back() {
    let town = Town::with_manual_blocks().await;
    let args = coming_back(town.gate_args("local", &town.rpc()));
    let (gate, url) = Program::serve(town.command(&args)).await;
    let paying = Program::spawn(town.command(&town.pay_args(&format!("{url}/paid/weather"), &[])));
    in_flight(&town).await;
    gate.crash().await;
    let _gate = again(&town, &args, &url).await;
    town.chain
        .set_mining(Mining::Interval(Duration::from_millis(100)));
    let done = paying.end().await.exits(0);
    assert_eq!(done.stdout, GOODS);
    assert!(done.stderr.contains("attempt 2"), "{}", done.stderr);
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_payer_that_dies_after_signing_pays_no_second_time() {
    let town = Town::with_manual_blocks().await;
    let (_gate, url) = town.gate(&[]).await;
    let goods = format!("{url}/paid/weather");
    let paying = Program::spawn(town.command(&town.pay_args(&goods, &[])));
    in_flight(&town).await;
    paying.crash().await;
    assert_eq!(town.spends().await.len(), 1);
    town.chain
        .set_mining(Mining::Interval(Duration::from_millis(100)));
    let done = town.pay(&goods, &[]).await.exits(0);
    assert_eq!(done.stdout, GOODS);
    assert!(
        done.stderr
            .contains("still open: the same payment is shown again"),
        "{}",
        done.stderr
    );
    assert_eq!(town.spends().await.len(), 1, "no second signature");
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_facilitator_that_dies_while_settling_settles_once_after_its_restart() {
    let town = Town::with_manual_blocks().await;
    let args = coming_back(town.facilitator_args(&town.rpc()));
    let (facilitator, facilitator_url) = Program::serve(town.command(&args)).await;
    let (_gate, url) = town.trusting_gate(&facilitator_url, &[]).await;
    let paying = Program::spawn(town.command(&town.pay_args(&format!("{url}/paid/weather"), &[])));
    in_flight(&town).await;
    facilitator.crash().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let _facilitator = again(&town, &args, &facilitator_url).await;
    town.chain
        .set_mining(Mining::Interval(Duration::from_millis(100)));
    let done = paying.end().await.exits(0);
    assert_eq!(done.stdout, GOODS);
    town.paid_exactly_once();
    assert_eq!(town.payments("facilitator.db").await[0]["state"], "settled");
}

#[tokio::test]
async fn a_transaction_that_the_node_forgot_is_sent_again() {
    let town = Town::with_manual_blocks().await;
    let args = coming_back(town.gate_args("local", &town.rpc()));
    let (gate, url) = Program::serve(town.command(&args)).await;
    let goods = format!("{url}/paid/weather");
    let paying = Program::spawn(town.command(&town.pay_args(&goods, &[])));
    in_flight(&town).await;
    gate.crash().await;
    paying.crash().await;
    let pending = town.payments("gate.db").await;
    let hash = pending[0]["transaction"].as_str().unwrap().to_owned();
    assert!(
        town.chain.drop_transaction(hash.parse().unwrap()),
        "it was waiting under that hash"
    );
    assert_eq!(town.chain.waiting(), 0);
    let _gate = again(&town, &args, &url).await;
    in_flight(&town).await;
    town.chain
        .set_mining(Mining::Interval(Duration::from_millis(100)));
    until(seconds(20), "it is mined", async || town.earned() > 0).await;
    assert_eq!(town.pay(&goods, &[]).await.exits(0).stdout, GOODS);
    assert_eq!(town.transfers(), [hash], "the very same bytes");
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_gate_killed_at_any_moment_neither_loses_nor_doubles_a_payment() {
    let town = Town::with(TownOptions {
        mining: Mining::Interval(Duration::from_millis(60)),
        ..TownOptions::default()
    })
    .await;
    let args = coming_back(town.gate_args("local", &town.rpc()));
    let (mut gate, url) = Program::serve(town.command(&args)).await;
    let buyer = Buyer::new(&BUYER);
    let goods = format!("{url}/paid/weather");
    let delays = [0, 4, 8, 12, 16, 20, 25, 30, 40, 50, 65, 80, 100, 130];
    for delay in delays {
        let payment = [buyer.pays(&goods, true).await];
        let asking = tokio::spawn({
            let (goods, payment) = (goods.clone(), payment.clone());
            async move {
                raw::client()
                    .get(goods)
                    .header(&payment[0].0, &payment[0].1)
                    .send()
                    .await
            }
        });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        gate.crash().await;
        let _ = asking.await.unwrap();
        gate = again(&town, &args, &url).await;
        assert_eq!(
            persistent(&buyer, &goods, &payment).await,
            GOODS,
            "killed after {delay} ms"
        );
    }
    let paid = delays.len() as u64;
    assert_eq!(
        town.transfers().len() as u64,
        paid,
        "one transfer for each purchase"
    );
    assert_eq!(town.earned(), paid * PRICE);
    let payments = town.payments("gate.db").await;
    assert_eq!(payments.len() as u64, paid, "each is on record");
    assert!(
        payments.iter().all(|payment| payment["state"] == "settled"),
        "{payments:?}"
    );
}

#[tokio::test]
async fn a_facilitator_killed_at_any_moment_neither_loses_nor_doubles_a_payment() {
    let town = Town::with(TownOptions {
        mining: Mining::Interval(Duration::from_millis(60)),
        ..TownOptions::default()
    })
    .await;
    let args = coming_back(town.facilitator_args(&town.rpc()));
    let (mut facilitator, facilitator_url) = Program::serve(town.command(&args)).await;
    let (_gate, url) = town.trusting_gate(&facilitator_url, &[]).await;
    let buyer = Buyer::new(&BUYER);
    let goods = format!("{url}/paid/weather");
    let delays = [0, 5, 10, 15, 25, 40, 60, 90];
    for delay in delays {
        let payment = [buyer.pays(&goods, true).await];
        let asking = tokio::spawn({
            let (goods, payment) = (goods.clone(), payment.clone());
            async move {
                raw::client()
                    .get(goods)
                    .header(&payment[0].0, &payment[0].1)
                    .send()
                    .await
            }
        });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        facilitator.crash().await;
        facilitator = again(&town, &args, &facilitator_url).await;
        let _ = asking.await.unwrap();
        let got = persistent(&buyer, &goods, &payment).await;
        assert_eq!(got, GOODS, "killed after {delay} ms");
    }
    let paid = delays.len() as u64;
    assert_eq!(
        town.transfers().len() as u64,
        paid,
        "one transfer for each purchase"
    );
    assert_eq!(town.earned(), paid * PRICE);
}

#[tokio::test]
async fn a_payer_killed_at_any_moment_pays_once_and_gets_the_goods() {
    let town = Town::with(TownOptions {
        mining: Mining::Interval(Duration::from_millis(60)),
        ..TownOptions::default()
    })
    .await;
    let (_gate, url) = town.gate(&[]).await;
    let delays = [10, 20, 30, 40, 50, 60, 80, 100, 130, 170];
    for delay in delays {
        let goods = format!("{url}/paid/{delay}");
        let paying = Program::spawn(town.command(&town.pay_args(&goods, &[])));
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let killed = paying.crash().await;
        if killed.stdout == GOODS {
            continue;
        }
        let done = town.pay(&goods, &[]).await.exits(0);
        assert_eq!(done.stdout, GOODS, "killed after {delay} ms");
    }
    assert_eq!(
        town.transfers().len(),
        delays.len(),
        "one transfer for each purchase"
    );
}
