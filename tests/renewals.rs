//! Settings are read anew while a server serves: whole or not at all, and nobody
//! who is being served loses anything by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tollway_core::header;
use tollway_core::wire::Version;
use tollway_devnet::DEV_ACCOUNTS;

use crate::harness::town::{BUYER, PRICE, Town, strings, without};
use crate::harness::upstream::GOODS;
use crate::harness::{Buyer, Program, raw, seconds, until};

fn write(town: &Town, text: &str) {
    // As editors do: the file is whole at every moment.
    let draft = town.path("draft.toml");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, town.path("tollway.toml")).unwrap();
}

fn priced(price: &str) -> String {
    format!("[gate]\nroutes = [\"GET /paid/*={price}\"]\n")
}

/// A gate whose routes are in a file.
async fn gate(town: &Town) -> (Program, String) {
    let mut args = without(&town.gate_args("local", &town.rpc()), "--route");
    args.extend(strings(&["--config", &town.arg("tollway.toml")]));
    Program::serve(town.command(&args)).await
}

async fn health(url: &str) -> (u16, Value) {
    let answer = raw::client().get(format!("{url}/health")).send();
    let answer = answer.await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Has the settings read anew, and waits until they count.
async fn renew(program: &Program, url: &str) {
    let before = health(url).await.1["settings"]["renewed"].as_u64().unwrap();
    program.signal("HUP").await;
    until(seconds(20), "the settings are read anew", async || {
        health(url).await.1["settings"]["renewed"].as_u64().unwrap() > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_change_under_load_and_every_buyer_pays_what_it_was_told() {
    let town = Town::new().await;
    write(&town, &priced("$0.01"));
    let (gate, url) = gate(&town).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let paid = format!("{url}/paid/weather");
    let buyers = (2..8).map(|account| {
        let (is_over, paid) = (Arc::clone(&is_over), paid.clone());
        tokio::spawn(async move {
            let buyer = Buyer::new(&DEV_ACCOUNTS[account]);
            let mut told = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let terms = buyer.terms(&paid).await;
                let payment = buyer.sign(&terms, true).await;
                let header = header::payment(Version::V2, &payment).unwrap();
                let reply = buyer.get(&paid, std::slice::from_ref(&header)).await;
                assert_eq!((reply.status, reply.body.as_str()), (200, GOODS));
                let amount: u64 = terms.accepts[0].amount.parse().unwrap();
                let receipt = reply.receipt().unwrap();
                assert!(receipt.success, "{receipt:?}");
                told.push(amount);
            }
            told
        })
    });
    let buyers: Vec<_> = buyers.collect();
    for round in 0..16 {
        let price = if round % 2 == 0 { "$0.02" } else { "$0.01" };
        write(&town, &priced(price));
        renew(&gate, &url).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for buyer in buyers {
        told.extend(buyer.await.unwrap());
    }
    assert_eq!(
        told.iter().sum::<u64>(),
        town.earned(),
        "what was told is what moved"
    );
    assert_eq!(told.len(), town.transfers().len());
    for price in [PRICE, 2 * PRICE] {
        assert!(told.contains(&price), "some were told {price}: {told:?}");
    }
    let (status, now) = health(&url).await;
    assert_eq!(
        (status, now["settings"]["renewed"].as_u64()),
        (200, Some(16))
    );
    assert_eq!(now["settings"]["problem"], Value::Null);
}

#[tokio::test]
async fn what_was_told_or_bought_before_a_change_still_counts() {
    let town = Town::new().await;
    write(&town, &priced("$0.01"));
    let (gate, url) = gate(&town).await;
    let (buyer, paid) = (Buyer::new(&BUYER), format!("{url}/paid/weather"));
    let bought = buyer.pays(&paid, true).await;
    let first = buyer.get(&paid, std::slice::from_ref(&bought)).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let told = buyer.pays(&paid, true).await;
    let begun = buyer.pays(&paid, true).await;
    town.upstream.pause(seconds(2));
    let under_way = tokio::spawn({
        let (paid, begun) = (paid.clone(), begun.clone());
        async move { Buyer::new(&BUYER).get(&paid, &[begun]).await }
    });
    until(seconds(10), "the service behind is asked", async || {
        town.upstream.asked("/paid/weather") == 2
    })
    .await;

    // Another price, and another pattern for the same path.
    write(&town, "[gate]\nroutes = [\"GET /paid/:what=$0.05\"]\n");
    renew(&gate, &url).await;
    let terms = buyer.terms(&paid).await;
    assert_eq!(terms.accepts[0].amount, "50000");
    let under_way = under_way.await.unwrap();
    assert_eq!((under_way.status, under_way.body.as_str()), (200, GOODS));
    town.upstream.pause(Duration::ZERO);
    let again = buyer.get(&paid, &[bought]).await;
    assert_eq!(
        (again.status, again.body.as_str()),
        (200, GOODS),
        "the same answer"
    );
    let late = buyer.get(&paid, &[told]).await;
    assert_eq!(
        (late.status, late.body.as_str()),
        (200, GOODS),
        "by what was told"
    );
    assert_eq!(
        town.upstream.asked("/paid/weather"),
        3,
        "the first is not served again"
    );
    assert_eq!((town.transfers().len(), town.earned()), (3, 3 * PRICE));
}

#[tokio::test]
async fn settings_that_cannot_be_taken_change_nothing_and_the_log_says_why() {
    let town = Town::new().await;
    write(&town, &priced("$0.01"));
    let (gate, url) = gate(&town).await;
    let secret = "canary-in-the-file";
    for (text, says, line) in [
        (
            format!("[gate]\nroutes = [\"/x=$1\"]\nwebhok = \"{secret}\"\n"),
            "webhok",
            Some("line 3"),
        ),
        (
            format!("[gate]\nroutes = [\"/x=$1\"\n# {secret}\n"),
            "TOML",
            Some("line "),
        ),
        (
            "[gate]\nroutes = [\"/x=much\"]\n".to_owned(),
            "`much`",
            None,
        ),
        (
            "[gate]\nroutes = []\n".to_owned(),
            "--route is missing",
            None,
        ),
        (
            "[gate]\nroutes = [\"/x=$1 on base\"]\n".to_owned(),
            "not configured",
            None,
        ),
        (
            "[gate]\nroutes = [\"/x=$1\"]\nlog = \"=\"\n".to_owned(),
            "log filter",
            None,
        ),
        (
            "[gate]\nroutes = [\"/x=$1\"]\nbatch = 3\npublic_url = \"http://other.example\"\n"
                .to_owned(),
            "batch, public-url. Restart it",
            None,
        ),
    ] {
        let before = gate.stderr().len();
        write(&town, &text);
        gate.signal("HUP").await;
        until(seconds(10), "the log says why", async || {
            gate.stderr()[before..].contains(says)
        })
        .await;
        until(seconds(10), "and so that it is not taken", async || {
            health(&url).await.1["settings"]["problem"].is_string()
        })
        .await;
        let (status, told) = health(&url).await;
        let problem = told["settings"]["problem"].as_str().unwrap().to_owned();
        assert_eq!(status, 200, "it goes on: {told}");
        assert!(line.is_none_or(|line| problem.contains(line)), "{problem}");
        assert!(!told.to_string().contains(secret), "{told}");
        let terms = Buyer::new(&BUYER)
            .terms(&format!("{url}/paid/weather"))
            .await;
        assert_eq!(terms.accepts[0].amount, PRICE.to_string());
        write(&town, &priced("$0.01"));
        renew(&gate, &url).await;
        let told = health(&url).await.1;
        assert_eq!(told["settings"]["problem"], Value::Null, "{told}");
    }
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    town.paid_exactly_once();
}

#[tokio::test]
async fn callers_and_the_log_of_a_facilitator_are_read_anew() {
    let town = Town::new().await;
    let caller = |name: &str, key: &str, per_minute: u32| {
        let digest = hex(&sha256(key.as_bytes()));
        format!(
            "[[facilitator.callers]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\nper_minute = {per_minute}\n"
        )
    };
    write(&town, &caller("shop", "key-1", 1));
    let mut args = town.facilitator_args(&town.rpc());
    args.extend(strings(&["--config", &town.arg("tollway.toml")]));
    let (facilitator, url) = Program::serve(town.command(&args)).await;
    let status = async |key: &str| {
        let asking = raw::client().post(format!("{url}/verify"));
        let asking = asking.bearer_auth(key).json(&serde_json::json!({}));
        asking.send().await.unwrap().status().as_u16()
    };
    assert_eq!((status("key-1").await, status("key-2").await), (400, 401));
    assert!(!facilitator.stderr().contains("DEBUG"));

    let settings = "[facilitator]\nlog = \"debug\"\n";
    write(&town, &format!("{settings}{}", caller("shop", "key-2", 1)));
    renew(&facilitator, &url).await;
    assert_eq!((status("key-1").await, status("key-2").await), (401, 400));
    until(seconds(10), "more is logged", async || {
        let _ = health(&url).await;
        facilitator.stderr().contains("DEBUG")
    })
    .await;

    // A file that was emptied opens the doors to nobody.
    write(&town, settings);
    facilitator.signal("HUP").await;
    until(seconds(10), "it is refused", async || {
        facilitator.stderr().contains("anybody could call")
    })
    .await;
    assert_eq!((status("key-1").await, status("key-2").await), (401, 400));
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode(bytes)
}
