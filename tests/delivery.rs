//! Who paid gets what was paid for, whole, and does not pay for it again.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::chaos::{Act, Chaos};
use crate::harness::program::run;
use crate::harness::town::{BUYER, NETWORK, Town, strings, without};
use crate::harness::upstream::{BIG, GOODS};
use crate::harness::{Buyer, raw};

#[tokio::test]
async fn an_answer_that_breaks_off_is_fetched_again_by_itself() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let chaos = Chaos::before(&gate).await;
    let cut = AtomicUsize::new(0);
    chaos.obey(move |seen| {
        let paying = seen.head.to_lowercase().contains("payment-signature:");
        match paying && cut.fetch_add(1, Ordering::SeqCst) == 0 {
            true => Act::CutAnswer,
            false => Act::Pass,
        }
    });
    let done = town
        .pay(&format!("{}/paid/weather", chaos.url()), &[])
        .await
        .exits(0);
    assert_eq!(done.stdout, GOODS, "whole, and once");
    town.paid_exactly_once();
}

#[tokio::test]
async fn an_answer_that_keeps_breaking_off_can_be_fetched_later_without_paying_again() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let chaos = Chaos::before(&gate).await;
    chaos.obey(
        |seen| match seen.head.to_lowercase().contains("payment-signature:") {
            true => Act::CutAnswer,
            false => Act::Pass,
        },
    );
    let url = format!("{}/paid/weather", chaos.url());
    let done = town.pay(&url, &[]).await.exits(7);
    assert!(
        done.stderr.contains("[paid_not_delivered]"),
        "{}",
        done.stderr
    );
    assert_eq!(done.stdout, "", "half an answer is none");
    town.paid_exactly_once();
    chaos.obey(|_| Act::Pass);
    let spend = done
        .stderr
        .split_whitespace()
        .find(|word| word.starts_with("spd_"))
        .expect("the record is named")
        .trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .to_owned();
    let again = town.pay(&url, &["--again", &spend]).await.exits(0);
    assert_eq!(again.stdout, GOODS);
    town.paid_exactly_once();
}

#[tokio::test]
async fn an_answer_that_cannot_be_written_is_not_paid_for_twice() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let url = format!("{gate}/paid/weather");
    let done = town.pay(&url, &["-o", "/no/such/folder/answer"]).await;
    assert!(!matches!(done.code, Some(0)), "{done:?}");
    assert!(done.stderr.contains("-o"), "{}", done.stderr);
    town.pay(&url, &["-o", &town.arg("answer")]).await.exits(0);
    assert_eq!(std::fs::read_to_string(town.path("answer")).unwrap(), GOODS);
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_large_answer_arrives_whole_when_it_is_paid_before() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&["--settle", "before"]).await;
    town.pay(&format!("{gate}/paid/big"), &["-o", &town.arg("big")])
        .await
        .exits(0);
    assert_eq!(
        std::fs::metadata(town.path("big")).unwrap().len(),
        BIG as u64
    );
    town.paid_exactly_once();
}

#[tokio::test]
async fn an_answer_too_large_to_hold_back_is_not_charged() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/big");
    let reply = buyer.get(&url, &[buyer.pays(&url, true).await]).await;
    assert_eq!(reply.status, 502, "{:.300}", reply.body);
    assert!(
        reply.body.contains("response_too_large"),
        "{:.300}",
        reply.body
    );
    town.nothing_was_paid();
}

#[tokio::test]
async fn a_paid_request_takes_its_body_along_within_limits() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&["--route", "POST /echo=$0.01"]).await;
    let url = format!("{gate}/echo");
    std::fs::write(town.path("body"), "x".repeat(1 << 20)).unwrap();
    let file = format!("@{}", town.arg("body"));
    town.pay(&url, &["-d", &file]).await.exits(0);
    assert_eq!(town.upstream.asked("/echo"), 1);
    std::fs::write(town.path("body"), "x".repeat((1 << 20) + 1)).unwrap();
    let done = town.pay(&url, &["-d", &file]).await.exits(5);
    assert!(done.stderr.contains("413"), "{}", done.stderr);
    assert_eq!(town.upstream.asked("/echo"), 1);
    town.paid_exactly_once();
}

#[tokio::test]
async fn everything_secret_can_come_from_a_private_env_file() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let lines = format!(
        "# who pays\nexport TOLLWAY_KEY_FILE=\"{}\"\nTOLLWAY_RPC_BASE_SEPOLIA='{}'\nTOLLWAY_LEDGER={}\n",
        town.arg("buyer.key"),
        town.rpc(),
        town.ledger("env.db")
    );
    town.write_private(".env", &lines);
    let url = format!("{gate}/paid/weather");
    let bare = strings(&["pay", &url, "--max", "0.02", "--network", NETWORK]);
    assert_eq!(town.run(&bare).await.exits(0).stdout, GOODS);
    assert!(town.path("env.db").is_file());
    // A variable of the process wins over the file, and a flag over both.
    let mut command = town.command(&bare);
    command.env("TOLLWAY_KEY_FILE", "/no/such/file");
    let done = run(command).await.exits(2);
    assert!(done.stderr.contains("/no/such/file"), "{}", done.stderr);
    let mut command = town.command(&without(&town.pay_args(&url, &[]), "--ledger"));
    command.env("TOLLWAY_KEY_FILE", "/no/such/file");
    run(command).await.exits(0);
}

#[tokio::test]
async fn a_wallet_made_here_pays() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let secret = town
        .write_private("secret", "correct horse\n")
        .display()
        .to_string();
    let new = strings(&["wallet", "new", "agent", "--passphrase-file", &secret]);
    let address = town.run(&new).await.exits(0).stdout.trim().to_owned();
    town.chain
        .mint(address.parse().unwrap(), "10000".parse().unwrap())
        .unwrap();
    let url = format!("{gate}/paid/weather");
    let pay = strings(&[
        "pay",
        &url,
        "--max",
        "0.02",
        "--wallet",
        "agent",
        "--passphrase-file",
        &secret,
    ]);
    assert_eq!(town.run(&pay).await.exits(0).stdout, GOODS);
    town.paid_exactly_once();
    let shown = town
        .run(&["wallet", "address", "agent"])
        .await
        .exits(0)
        .stdout;
    assert!(
        shown.trim().eq_ignore_ascii_case(&address),
        "{shown} {address}"
    );
    let health = raw::send(&gate, &raw::get("/health", &[])).await;
    assert_eq!(health.status, 200);
}
