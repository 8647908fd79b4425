//! Money moves, once, and everybody can see it.

use serde_json::Value;

use crate::harness::program::{run, tollway};
use crate::harness::raw;
use crate::harness::town::{NETWORK, PAYEE, PRICE, Town};
use crate::harness::upstream::GOODS;
use crate::harness::{Buyer, Program};

#[tokio::test]
async fn the_demo_shows_one_payment_and_ends() {
    let home = tempfile::tempdir().unwrap();
    let done = run(tollway(home.path(), &["demo", "--once"]))
        .await
        .exits(0);
    for told in [
        "402 Payment Required",
        "signed",
        "settled",
        "0x",
        "0.01 USDC",
        "← 200",
    ] {
        assert!(
            done.stderr.contains(told),
            "the story does not tell {told:?}: {}",
            done.stderr
        );
    }
    let body: Value = done.json();
    assert_eq!(body["city"], "Lisbon", "the body is all that stdout holds");
    assert_empty(home.path());
}

#[tokio::test]
async fn the_demo_tells_programs_one_json_object() {
    let home = tempfile::tempdir().unwrap();
    let done = run(tollway(home.path(), &["demo", "--once", "--json"]))
        .await
        .exits(0);
    let told = done.json();
    assert_eq!(done.stdout.trim_end().lines().count(), 1);
    assert_eq!(told["status"], 200);
    assert_eq!(told["network"], NETWORK);
    assert_eq!(told["paid"], "0.01");
    assert!(told["ms"].as_u64().is_some_and(|ms| ms > 0 && ms < 60_000));
    let hash = told["transaction"].as_str().unwrap();
    assert!(hash.len() == 66 && hash.starts_with("0x"), "{hash}");
    assert_eq!(told.as_object().unwrap().len(), 5, "{told}");
    assert_empty(home.path());
}

#[tokio::test]
async fn the_demo_stays_until_it_is_told_to_stop_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let demo = Program::spawn(tollway(home.path(), &["demo"]));
    crate::harness::until(crate::harness::seconds(30), "the invitation", async || {
        demo.stderr().contains("Ctrl-C ends it")
    })
    .await;
    let url = demo.stderr();
    let (_, url) = url.split_once("tollway inspect ").unwrap();
    let url = url.lines().next().unwrap();
    assert_eq!(
        Buyer::new(&crate::harness::town::BUYER)
            .get(url, &[])
            .await
            .status,
        402
    );
    demo.signal("INT").await;
    demo.end().await.exits(0);
    assert_empty(home.path());
}

fn assert_empty(dir: &std::path::Path) {
    let left: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[tokio::test]
async fn a_payment_through_gate_and_facilitator_settles_after_the_answer() {
    one_payment_through_both("after").await;
}

#[tokio::test]
async fn a_payment_through_gate_and_facilitator_settles_before_the_answer() {
    one_payment_through_both("before").await;
}

async fn one_payment_through_both(settle: &str) {
    let town = Town::new().await;
    let (_facilitator, facilitator) = town.facilitator().await;
    let (_gate, gate) = town.gate_with(&facilitator, &["--settle", settle]).await;
    let url = format!("{gate}/paid/weather");

    let done = town.pay(&url, &["--json"]).await.exits(0);
    let told = done.json();
    assert_eq!(
        (&told["status"], &told["body"]),
        (&200.into(), &GOODS.into())
    );
    town.paid_exactly_once();
    let hash = town.transfers().remove(0);
    assert_eq!(told["payment"]["transaction"], hash.as_str());
    assert_eq!(town.upstream.asked("/paid/weather"), 1);

    // Everybody's own record tells the same payment.
    for (ledger, kind) in [("gate.db", "grant"), ("payer.db", "spend")] {
        let rows = town.records(ledger).await;
        assert_eq!(rows.len(), 1, "{ledger}: {rows:?}");
        assert_eq!(
            (&rows[0]["kind"], &rows[0]["state"]),
            (&kind.into(), &"settled".into())
        );
        assert_eq!(rows[0]["transaction"], hash.as_str());
        let whole = town.payment(ledger, rows[0]["id"].as_str().unwrap()).await;
        assert!(!whole["events"].as_array().unwrap().is_empty(), "{whole}");
    }
    let listed = town.payments("facilitator.db").await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["state"], "settled");
    assert_eq!(listed[0]["transaction"], hash.as_str());
    assert_eq!(listed[0]["amount"], PRICE.to_string());
    assert!(
        listed[0]["payee"]
            .as_str()
            .unwrap()
            .eq_ignore_ascii_case(PAYEE)
    );
    let shown = town
        .payment("facilitator.db", listed[0]["id"].as_str().unwrap())
        .await;
    assert!(shown["events"].as_array().unwrap().len() >= 3, "{shown}");
}

#[tokio::test]
async fn a_payment_through_a_gate_that_settles_by_itself_settles_before_the_answer() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&["--settle", "before"]).await;
    let done = town
        .pay(&format!("{gate}/paid/weather"), &[])
        .await
        .exits(0);
    assert_eq!(done.stdout, GOODS, "the body, and nothing else");
    assert!(done.stderr.contains("paid 0.01 USDC"), "{}", done.stderr);
    assert!(done.stderr.contains(&format!(
        "https://sepolia.basescan.org/tx/{}",
        town.transfers()[0]
    )));
    town.paid_exactly_once();
    assert_eq!(town.payments("gate.db").await[0]["state"], "settled");
}

#[tokio::test]
async fn a_paid_answer_carries_its_receipt_and_is_private() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let url = format!("{gate}/paid/weather");
    let done = town
        .pay(&url, &["-i", "-o", &town.arg("answer")])
        .await
        .exits(0);
    assert_eq!(done.stdout, "");
    let answer = std::fs::read_to_string(town.path("answer"))
        .unwrap()
        .to_lowercase();
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("\r\npayment-response: "), "{answer}");
    assert!(
        answer.contains("\r\ncache-control: private\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with(&format!("\r\n\r\n{GOODS}")), "{answer}");
}

#[tokio::test]
async fn terms_are_never_cached_and_say_what_it_costs() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let buyer = Buyer::new(&crate::harness::town::BUYER);
    let url = format!("{gate}/paid/weather");
    let reply = buyer.get(&url, &[]).await;
    assert_eq!(reply.status, 402);
    assert_eq!(reply.headers["cache-control"], "no-store");
    let terms = buyer.terms(&url).await;
    assert_eq!(terms.resource.url, url);
    assert_eq!(terms.accepts[0].amount, PRICE.to_string());
    assert_eq!(terms.accepts[0].network, NETWORK);
    assert!(terms.accepts[0].pay_to.eq_ignore_ascii_case(PAYEE));
    assert_eq!(town.upstream.asked("/paid/weather"), 0);
}

#[tokio::test]
async fn a_free_route_costs_nothing_and_says_so() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let done = town.pay(&format!("{gate}/free"), &[]).await.exits(3);
    assert_eq!(done.stdout, "free of charge");
    assert!(done.stderr.contains("nothing was paid"), "{}", done.stderr);
    town.nothing_was_paid();
}

#[tokio::test]
async fn inspect_says_the_price_and_signs_nothing() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let url = format!("{gate}/paid/weather");
    let done = town.run(&["inspect", &url]).await.exits(0);
    assert!(done.stdout.contains("0.01 USDC"), "{}", done.stdout);
    let told = town.run(&["inspect", &url, "--json"]).await.exits(0).json();
    assert_eq!(told["offers"][0]["amount"], PRICE.to_string());
    town.nothing_was_paid();
    assert_eq!(town.upstream.asked("/paid/weather"), 0);
    assert!(town.payments("gate.db").await.is_empty());
}

#[tokio::test]
async fn the_devnet_and_every_server_run_as_programs_of_their_own() {
    let town = Town::new().await;
    let args = [
        "devnet",
        "--listen",
        "127.0.0.1:0",
        "--chain-id",
        "1328",
        "--block-time",
        "0.3",
    ];
    let (_chain, rpc) = Program::serve(town.command(&args)).await;
    let network = format!("sei-testnet={rpc}");
    let args = [
        "facilitator",
        "--listen",
        "127.0.0.1:0",
        "--network",
        &network,
        "--signer-key-file",
        &town.arg("signer.key"),
        "--ledger",
        &town.ledger("facilitator.db"),
    ];
    let (_facilitator, facilitator) = Program::serve(town.command(&args)).await;
    let args = [
        "gate",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        town.upstream.url(),
        "--route",
        "/paid/*=0.01 USDC",
        "--pay-to",
        PAYEE,
        "--network",
        "sei-testnet",
        "--facilitator",
        &facilitator,
        "--ledger",
        &town.ledger("gate.db"),
    ];
    let (_gate, gate) = Program::serve(town.command(&args)).await;
    let paid = town
        .pay(
            &format!("{gate}/paid/x"),
            &["--network", &network, "--json"],
        )
        .await;
    let told = paid.exits(0).json();
    assert_eq!(told["payment"]["network"], "eip155:1328");
    for server in [&gate, &facilitator] {
        let health = raw::send(server, &raw::get("/health", &[])).await;
        assert_eq!(health.status, 200, "{}", health.text);
    }
    let metrics = raw::send(&facilitator, &raw::get("/metrics", &[])).await;
    assert!(
        metrics.status == 200 && metrics.text.contains("tollway_"),
        "{}",
        metrics.text
    );
    let balance = raw::client()
        .post(&rpc)
        .json(&serde_json::json!({
            "jsonrpc": "2.0", "id": 1, "method": "eth_call",
            "params": [{
                "to": "0x4fCF1784B31630811181f670Aea7A7bEF803eaED",
                "data": format!("0x70a08231{:0>64}", &PAYEE[2..])
            }, "latest"]
        }))
        .send()
        .await
        .unwrap();
    let balance: Value = balance.json().await.unwrap();
    assert_eq!(balance["result"], format!("0x{PRICE:064x}"));
}
