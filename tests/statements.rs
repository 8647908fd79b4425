//! What the seller signs and the buyer keeps: offers and receipts, between two processes.

use serde_json::Value;

use crate::harness::town::{BUYER, PRICE, Town, strings};
use crate::harness::{Program, raw};

fn kept(town: &Town, spend: &str) -> std::path::PathBuf {
    town.home()
        .join("tollway-home/receipts")
        .join(format!("{spend}.json"))
}

#[tokio::test]
async fn a_buyer_keeps_the_sellers_receipt_and_can_show_what_it_proves() {
    let town = Town::new().await;
    let key = town.write_private("receipt.key", &BUYER.key.to_string());
    let key = key.display().to_string();
    let (_gate, url) = town
        .gate(&["--receipt-key-file", &key, "--receipt-transactions"])
        .await;
    let url = format!("{url}/paid/weather");
    let paid = town.pay(&url, &["--json"]).await.exits(0).json();
    assert_eq!(town.earned(), PRICE);
    let receipt = &paid["payment"]["receipt"];
    assert_eq!(receipt["worth"], "proved", "{paid}");
    assert_eq!(receipt["by"], "offerer");
    assert_eq!(receipt["signer"], BUYER.address.to_string());

    let spend = paid["payment"]["spend"].as_str().unwrap();
    let file = kept(&town, spend);
    let shown = town.run(&["receipt", spend]).await.exits(0);
    assert!(
        shown.stdout.contains("as good as who kept both"),
        "{}",
        shown.stdout
    );
    let signer = BUYER.address.to_string();
    // By itself the file may be all its holder's own.
    let name = file.display().to_string();
    town.run(&["receipt", &name]).await.exits(1);
    let known = ["receipt", &name, "--signer", &signer];
    town.run(&known).await.exits(0);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut changed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        changed["receipt"]["payload"]["transaction"],
        paid["payment"]["transaction"]
    );
    changed["receipt"]["payload"]["resourceUrl"] = "http://elsewhere/".into();
    std::fs::write(&file, changed.to_string()).unwrap();
    let shown = town
        .run(&["receipt", &name, "--json"])
        .await
        .exits(1)
        .json();
    assert_eq!(shown["receipt"]["worth"], "false", "{shown}");
    let missing = town.run(&["receipt", "spd_none"]).await.exits(2);
    assert!(
        missing.stderr.contains("name a payment"),
        "{}",
        missing.stderr
    );
}

#[tokio::test]
async fn a_gate_without_a_key_signs_nothing_and_says_what_is_missing() {
    let town = Town::new().await;
    let mut args = town.gate_args("local", &town.rpc());
    args.extend(strings(&["--receipt-transactions"]));
    let refused = town.run(&args).await.exits(2);
    assert!(
        refused.stderr.contains("add --receipt-key-file"),
        "{}",
        refused.stderr
    );
    let (_gate, url): (Program, String) = town.gate(&[]).await;
    let asked = raw::client()
        .get(format!("{url}/paid/x"))
        .send()
        .await
        .unwrap();
    let terms = asked.headers()["payment-required"].to_str().unwrap();
    let terms: Value = tollway_core::header::decode(terms).unwrap();
    assert!(
        terms["extensions"].get("offer-receipt").is_none(),
        "{terms}"
    );
}
