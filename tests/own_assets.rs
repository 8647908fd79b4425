//! Money that no table of ours knows is dealt in where its owner says what it is.

use tollway_devnet::{Devnet, Dollar};

use crate::harness::program::{Program, run};
use crate::harness::town::{Town, TownOptions, set, strings};
use crate::harness::upstream::GOODS;

const CHAIN: u64 = 31337;
const TOKEN: &str = "0x0000000000000000000000000000000000C0FFEE";

/// A chain that no table knows, with a token that no table knows.
async fn town() -> Town {
    let token = Dollar {
        address: TOKEN.parse().unwrap(),
        name: "Own Dollar".to_owned(),
        version: "3".to_owned(),
    };
    let chain = Devnet::builder().chain_id(CHAIN).extra_dollar(token);
    Town::with(TownOptions {
        chain,
        ..TownOptions::default()
    })
    .await
}

fn own(version: &str) -> String {
    format!("OWN={TOKEN},6,eip155:{CHAIN},Own Dollar,{version}")
}

fn gate(town: &Town, version: &str) -> Vec<String> {
    let mut args = town.gate_args("local", "");
    set(
        &mut args,
        "--network",
        &format!("eip155:{CHAIN}={}", town.rpc()),
    );
    set(&mut args, "--route", "GET /paid/*=0.02 OWN");
    args.extend(strings(&["--add-asset", &own(version)]));
    args
}

#[tokio::test]
async fn a_token_and_a_chain_of_ones_own_are_paid_with_by_who_knows_them() {
    let town = town().await;
    let (_gate, url) = Program::serve(town.command(&gate(&town, "3"))).await;
    let url = format!("{url}/paid/x");
    let stranger = town.pay(&url, &[]).await.exits(4);
    assert!(stranger.stderr.contains("OWN") || stranger.stderr.contains("asset"));
    assert_eq!(town.transfers().len(), 0);

    let paid = town.pay(&url, &["--add-asset", &own("3")]).await.exits(0);
    assert_eq!(paid.stdout, GOODS);
    assert!(paid.stderr.contains("0.02 OWN"), "{}", paid.stderr);
    assert_eq!(town.transfers().len(), 1);
}

#[tokio::test]
async fn a_domain_that_the_token_does_not_have_is_found_before_anybody_signs_by_it() {
    let town = town().await;
    let refused = run(town.command(&gate(&town, "2"))).await;
    assert_ne!(refused.code, Some(0));
    let told = &refused.stderr;
    assert!(told.contains("another EIP-712 domain"), "{told}");

    // A buyer who was told wrongly signs what the gate refuses, and loses nothing.
    let (_gate, url) = Program::serve(town.command(&gate(&town, "3"))).await;
    let url = format!("{url}/paid/x");
    town.pay(&url, &["--add-asset", &own("2")]).await.exits(4);
    assert_eq!(town.transfers().len(), 0);
}
