//! A network that has Permit2 and the x402 proxies elsewhere than they are published:
//! each side is told so by its own operator.

use tollway_devnet::Displaced;

use crate::harness::program::Program;
use crate::harness::town::{NETWORK, Town, set, without};
use crate::harness::upstream::GOODS;

const ROUTE: [&str; 2] = ["--route", "GET /permit2/*=$0.01; methods=permit2"];

/// A node, and where the contracts are.
fn elsewhere(town: &Town, there: &Displaced) -> String {
    format!(
        "{}; permit2={}; exact-proxy={}; upto-proxy={}; multicall3={}",
        town.rpc(),
        there.permit2,
        there.exact_proxy,
        there.upto_proxy,
        there.multicall3
    )
}

/// Lets Permit2 move the buyer's dollars, where it is said to be.
async fn approve(town: &Town, network: &str) -> String {
    let key = town.arg("buyer.key");
    let args = [
        "wallet",
        "approve",
        "--key-file",
        &key,
        "--network",
        network,
        "--amount",
        "1",
    ];
    town.run(&args).await.exits(0).stderr
}

/// What is looked for is what will be used.
#[tokio::test]
async fn a_check_looks_where_the_contracts_are_said_to_be() {
    let town = Town::new().await;
    let there = town.chain.displace_contracts().unwrap();
    let check = async |node: &str| {
        let mut args = town.gate_args("local", node);
        args[0] = "check".to_owned();
        set(&mut args, ROUTE[0], ROUTE[1]);
        town.run(&args).await
    };
    let told = check(&elsewhere(&town, &there)).await;
    assert!(told.stdout.contains("Permit2 is on"), "{}", told.stdout);
    let blind = check(&town.rpc()).await.exits(1);
    assert!(blind.stdout.contains("is not on"), "{}", blind.stdout);
}

#[tokio::test]
async fn a_payment_settles_through_the_contracts_that_both_sides_were_told_of() {
    let town = Town::new().await;
    let there = town.chain.displace_contracts().unwrap();
    let node = elsewhere(&town, &there);
    let network = format!("{NETWORK}={node}");

    // The gate is told by its file.
    let file = format!("[gate]\nnetworks = [\"{network}\"]\n");
    let file = town.write_private("gate.toml", &file);
    let mut args = without(&town.gate_args("local", &node), "--network");
    args.extend(["--config".to_owned(), file.display().to_string()]);
    set(&mut args, ROUTE[0], ROUTE[1]);
    let (_gate, url) = Program::serve(town.command(&args)).await;
    let url = format!("{url}/permit2/x");

    let said = approve(&town, &network).await;
    assert!(said.contains(&there.permit2.to_string()), "{said}");
    // Who was not told signs nothing that these contracts take.
    let blind = format!("{NETWORK}={}", town.rpc());
    let refused = town.pay(&url, &["--network", &blind]).await;
    assert_ne!(refused.stdout, GOODS, "{}", refused.stderr);
    town.nothing_was_paid();

    let paid = town.pay(&url, &["--network", &network]).await.exits(0);
    assert_eq!(paid.stdout, GOODS);
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_contract_that_is_not_there_stops_every_side_before_anything_is_signed() {
    let town = Town::new().await;
    let nowhere = "0x5555555555555555555555555555555555555555";
    let node = format!("{}; exact-proxy={nowhere}", town.rpc());
    for args in [town.gate_args("local", &node), town.facilitator_args(&node)] {
        let stopped = town.run(&args).await.exits(2);
        assert!(stopped.stderr.contains(nowhere), "{}", stopped.stderr);
        assert!(stopped.stderr.contains("exact-proxy"), "{}", stopped.stderr);
    }

    let (_gate, url) = town.gate(&ROUTE).await;
    let network = format!("{NETWORK}={node}");
    approve(&town, &network).await;
    let url = format!("{url}/permit2/x");
    let refused = town.pay(&url, &["--network", &network]).await;
    assert_ne!(refused.code, Some(0));
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains(nowhere), "{said}");
    town.nothing_was_paid();
}

#[tokio::test]
async fn what_is_no_contract_of_a_network_is_refused_and_not_repeated() {
    let town = Town::new().await;
    let address = "0x5555555555555555555555555555555555555555";
    for (network, wrong) in [
        (
            format!("base=http://127.0.0.1:1; permit3={address}"),
            "none of its contracts",
        ),
        (
            "base=http://127.0.0.1:1; permit2=0x12".to_owned(),
            "no address",
        ),
        (
            "base=http://127.0.0.1:1?k=a;s3cret".to_owned(),
            "no contract",
        ),
        (
            format!("starknet=http://127.0.0.1:1; permit2={address}"),
            "only EVM networks",
        ),
        (
            format!("base=http://127.0.0.1:1; permit2={address}; upto-proxy={address}"),
            "four contracts",
        ),
    ] {
        let mut args = town.facilitator_args("");
        set(&mut args, "--network", &network);
        let refused = town.run(&args).await.exits(2);
        assert!(
            refused.stderr.contains(wrong),
            "{network}: {}",
            refused.stderr
        );
        assert!(!refused.stderr.contains("s3cret"), "{}", refused.stderr);
    }
}
