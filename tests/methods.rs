//! Every way to pay that a route can ask for, through the whole of it.

use std::sync::Arc;

use tollway_core::wire::PaymentRequirements;
use tollway_core::{Network, Terms, Wallet as _, assets};
use tollway_evm::{EvmSigner, EvmWallet};
use tollway_rpc::{RpcClient, RpcConfig};

use crate::harness::town::{BUYER, NETWORK, PAYEE, PRICE, Town};
use crate::harness::upstream::GOODS;

const ROUTES: [&str; 10] = [
    "--route",
    "GET /permit2/*=$0.01; methods=permit2",
    "--route",
    "GET /permit/*=$0.01; methods=eip2612",
    "--route",
    "GET /metered/*=up to $0.02",
    "--route",
    "GET /either/*=$0.01; methods=permit2, eip3009",
    "--route",
    "GET /events/*=up to $0.02; meter=$0.001/event",
];

/// The buyer lets Permit2 move its dollars, once and for all.
async fn allow_permit2(town: &Town) {
    let network: Network = NETWORK.parse().unwrap();
    let dollar = assets::default_for(&network).unwrap();
    let wire = PaymentRequirements {
        scheme: "exact".to_owned(),
        network: NETWORK.to_owned(),
        amount: "1".to_owned(),
        asset: dollar.address.to_string(),
        pay_to: PAYEE.to_owned(),
        max_timeout_seconds: 60,
        extra: None,
    }
    .with_method(assets::Method::Permit2);
    let terms = Arc::new(Terms::check(wire).unwrap());
    let rpc = RpcClient::new(RpcConfig::new(vec![town.rpc().parse().unwrap()])).unwrap();
    let signer = EvmSigner::from_hex(&BUYER.key.to_string()).unwrap();
    let wallet = EvmWallet::new(signer).with_node(network.clone(), rpc);
    let raw = wallet.approval(&terms).await.unwrap();
    wallet.broadcast(&network, &raw).await.unwrap();
}

fn with_node(town: &Town) -> [String; 2] {
    ["--network".to_owned(), format!("{NETWORK}={}", town.rpc())]
}

#[tokio::test]
async fn a_route_is_paid_by_permit2_once_permit2_may_move_the_dollars() {
    let town = Town::new().await;
    let (_gate, url) = town.gate(&ROUTES).await;
    let url = format!("{url}/permit2/x");
    let node = with_node(&town);
    let node: Vec<&str> = node.iter().map(String::as_str).collect();
    let refused = town.pay(&url, &node).await;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("permit2_allowance_required"), "{said}");
    town.nothing_was_paid();

    allow_permit2(&town).await;
    let paid = town.pay(&url, &node).await.exits(0);
    assert_eq!(paid.stdout, GOODS);
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_route_is_paid_by_a_permit_that_only_its_payee_can_draw_on() {
    let town = Town::new().await;
    let (_gate, url) = town.gate(&ROUTES).await;
    let node = with_node(&town);
    let node: Vec<&str> = node.iter().map(String::as_str).collect();
    let paid = town.pay(&format!("{url}/permit/x"), &node).await.exits(0);
    assert_eq!(paid.stdout, GOODS);
    town.paid_exactly_once();
}

#[tokio::test]
async fn metered_use_is_charged_as_the_server_says_and_nothing_costs_nothing() {
    let town = Town::new().await;
    allow_permit2(&town).await;
    let (_gate, url) = town.gate(&ROUTES).await;
    let url = format!("{url}/metered/x");
    let node = with_node(&town);
    let node: Vec<&str> = node.iter().map(String::as_str).collect();
    town.upstream.charge("25%");
    let paid = town.pay(&url, &node).await.exits(0);
    assert_eq!(paid.stdout, GOODS);
    assert_eq!(town.earned(), 5_000);
    town.upstream.charge("0");
    let free = town.pay(&url, &node).await.exits(0);
    assert_eq!(free.stdout, GOODS);
    assert_eq!((town.earned(), town.transfers().len()), (5_000, 1));
    town.upstream.charge("20001");
    let refused = town.pay(&url, &node).await;
    assert_ne!(refused.stdout, GOODS);
    assert_eq!(town.earned(), 5_000);
}

#[tokio::test]
async fn of_several_ways_one_that_needs_no_allowance_is_taken() {
    let town = Town::new().await;
    let (_gate, url) = town.gate(&ROUTES).await;
    let node = with_node(&town);
    let node: Vec<&str> = node.iter().map(String::as_str).collect();
    town.pay(&format!("{url}/either/x"), &node).await.exits(0);
    assert_eq!(town.earned(), PRICE);
}

#[tokio::test]
async fn what_is_streamed_is_paid_by_the_event_up_to_what_was_signed_for() {
    let town = Town::new().await;
    allow_permit2(&town).await;
    let (_gate, url) = town.gate(&ROUTES).await;
    let node = with_node(&town);
    let mut node: Vec<&str> = node.iter().map(String::as_str).collect();
    let paid = town.pay(&format!("{url}/events/3"), &node).await.exits(0);
    assert_eq!(paid.stdout.matches(GOODS).count(), 3);
    assert_eq!(town.earned(), 3_000);
    assert!(
        paid.stderr
            .contains("paid 0.003 USDC (of at most 0.02 USDC)"),
        "{}",
        paid.stderr
    );

    node.push("--json");
    let paid = town.pay(&format!("{url}/events/50"), &node).await.exits(0);
    let told = paid.json();
    let body = told["body"].as_str().unwrap();
    assert_eq!(body.matches(GOODS).count(), 20);
    assert_eq!(told["payment"]["standing"], "confirmed");
    assert_eq!(told["payment"]["amount"], "20000");
    assert_eq!(town.earned(), 23_000);
}

#[tokio::test]
async fn an_allowance_is_given_once_for_as_much_as_was_said() {
    let town = Town::new().await;
    let (_gate, url) = town.gate(&ROUTES).await;
    let url = format!("{url}/permit2/x");
    let node = with_node(&town);
    let key = town.write_private("approving.key", &BUYER.key.to_string());
    let key = key.display().to_string();
    let of = format!("{NETWORK}={}", town.rpc());
    let mut approve = vec!["wallet", "approve", "--key-file", &key, "--network", &of];
    approve.extend(["--amount", "0.015"]);
    let told = town.run(&approve).await.exits(0);
    assert!(told.stdout.starts_with("0x"), "{}", told.stdout);
    let node: Vec<&str> = node.iter().map(String::as_str).collect();
    town.pay(&url, &node).await.exits(0);
    assert_eq!(town.earned(), PRICE);
    // What was approved is used up but for half a cent.
    let refused = town.pay(&url, &node).await;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("permit2_allowance_required"), "{said}");
    assert_eq!(town.earned(), PRICE);
}
