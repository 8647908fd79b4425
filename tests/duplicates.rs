//! One authorization, shown a thousand times at once: one transaction leaves,
//! and one caller hears of success.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tollway_core::wire::PaymentPayload;
use tollway_devnet::{DEV_ACCOUNTS, Mining};
use tollway_test_postgres::Postgres;

use crate::harness::town::{BUYER, NETWORK, SIGNER, Town, TownOptions, set, strings};
use crate::harness::upstream::GOODS;
use crate::harness::{Buyer, Program, raw};

/// Callers at once.
const CALLERS: usize = 1_000;

async fn town() -> Town {
    Town::with(TownOptions {
        mining: Mining::Interval(Duration::from_millis(100)),
        ..TownOptions::default()
    })
    .await
}

/// What `/settle` is asked for one payment of the buyer.
async fn question(town: &Town) -> Value {
    let (gate, url) = town.gate(&[]).await;
    let buyer = Buyer::new(&BUYER);
    let terms = buyer.terms(&format!("{url}/paid/weather")).await;
    let payment: PaymentPayload = buyer.sign(&terms, false).await;
    gate.crash().await;
    json!({
        "x402Version": 2,
        "paymentPayload": payment,
        "paymentRequirements": terms.accepts[0],
    })
}

/// Settles at all of these at once; the answers.
async fn settle_everywhere(facilitators: &[String], question: &Value) -> Vec<Value> {
    let client = raw::client();
    let question = Arc::new(question.to_string());
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..CALLERS {
        let url = format!("{}/settle", facilitators[n % facilitators.len()]);
        let (client, question) = (client.clone(), Arc::clone(&question));
        asking.spawn(async move {
            let request = client.post(url).header("content-type", "application/json");
            let answer = request.body(question.as_str().to_owned()).send().await;
            answer.unwrap().json::<Value>().await.unwrap()
        });
    }
    asking.join_all().await
}

/// One success, and everybody else is told that it was had, with its hash.
fn one_success(answers: &[Value]) {
    let (yes, no): (Vec<&Value>, Vec<&Value>) =
        answers.iter().partition(|answer| answer["success"] == true);
    assert_eq!(yes.len(), 1, "{:?}", &answers[..5]);
    for other in no {
        assert_eq!(other["errorReason"], "duplicate_settlement", "{other}");
        assert_eq!(other["transaction"], yes[0]["transaction"], "{other}");
    }
}

#[tokio::test]
async fn a_thousand_identical_settles_at_one_facilitator_move_the_money_once() {
    let town = town().await;
    let question = question(&town).await;
    let (_facilitator, url) = town.facilitator().await;
    let answers = settle_everywhere(&[url], &question).await;
    one_success(&answers);
    town.paid_exactly_once();
    assert_eq!(town.chain.nonce(SIGNER.address), 1, "one transaction left");
}

#[tokio::test]
async fn a_thousand_identical_settles_at_two_facilitators_of_one_database_move_the_money_once() {
    let town = town().await;
    let question = question(&town).await;
    let server = Postgres::start();
    let ledger = server.database().await;
    let mut args = town.facilitator_args(&town.rpc());
    set(&mut args, "--ledger", &ledger);
    town.write_private("second.key", &DEV_ACCOUNTS[1].key.to_string());
    args.extend(strings(&["--signer-key-file", &town.arg("second.key")]));
    let (_one, one) = Program::serve(town.command(&args)).await;
    let (_two, two) = Program::serve(town.command(&args)).await;
    let answers = settle_everywhere(&[one, two], &question).await;
    one_success(&answers);
    town.paid_exactly_once();
    let left = [SIGNER.address, DEV_ACCOUNTS[1].address].map(|signer| town.chain.nonce(signer));
    assert_eq!(left.iter().sum::<u64>(), 1, "one transaction left");
}

#[tokio::test]
async fn two_gates_of_one_database_serve_a_payment_once() {
    let town = town().await;
    let server = Postgres::start();
    let ledger = server.database().await;
    let mut args = town.gate_args("local", &town.rpc());
    set(&mut args, "--ledger", &ledger);
    args.extend(strings(&["--public-url", "https://shop.example"]));
    town.write_private("second.key", &DEV_ACCOUNTS[1].key.to_string());
    args.extend(strings(&["--signer-key-file", &town.arg("second.key")]));
    let (_one, one) = Program::serve(town.command(&args)).await;
    let (_two, two) = Program::serve(town.command(&args)).await;
    let buyer = Arc::new(Buyer::new(&BUYER));
    let payment = buyer.pays(&format!("{one}/paid/weather"), false).await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..100 {
        let url = format!("{}/paid/weather", if n % 2 == 0 { &one } else { &two });
        let (buyer, payment) = (Arc::clone(&buyer), payment.clone());
        asking.spawn(async move { buyer.get(&url, &[payment]).await });
    }
    let replies = asking.join_all().await;
    let served = replies.iter().filter(|reply| reply.body.contains(GOODS));
    assert_eq!(served.count(), 1, "over both of {NETWORK}");
    assert_eq!(town.upstream.asked("/paid/weather"), 1);
    town.paid_exactly_once();
}
