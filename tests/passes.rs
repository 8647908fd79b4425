//! Passes, from the permit to the money: bought at the token door of a real
//! gate, and settled on the chain.

use alloy_primitives::{Address, B256, U256};
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tollway_devnet::Mining;
use tollway_evm::typed_data::{Authorization, Domain};
use tollway_evm::{EvmSigner, sign_authorization};
use tollway_sweep::own_place;

use crate::harness::town::{BUYER, NETWORK, PRICE, Town, set};
use crate::harness::upstream::GOODS;
use crate::harness::{Buyer, Program, raw, seconds, until};

/// What the town pays with.
const DOLLAR: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
const HOURLY: &str = "GET /paid/*=$0.01; pass=1h";

/// A gate that sells an hour, and dies at a place if one is named.
async fn shop(town: &Town, route: &str, dies_at: Option<&str>) -> (Program, String) {
    shop_at(town, &own_place(), route, dies_at).await
}

async fn shop_at(
    town: &Town,
    listen: &str,
    route: &str,
    dies_at: Option<&str>,
) -> (Program, String) {
    let mut args = town.gate_args("local", &town.rpc());
    set(&mut args, "--route", route);
    set(&mut args, "--listen", listen);
    let mut command = town.command(&args);
    if let Some(place) = dies_at {
        command.env("TOLLWAY_CRASH_AT", place);
    }
    Program::serve(command).await
}

/// Posts to a door; nothing if nobody answers.
async fn post(url: &str, body: &Value) -> Option<(u16, Value)> {
    let request = raw::client().post(url).body(body.to_string());
    let request = request.header("content-type", "application/json");
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    let text = answer.text().await.ok()?;
    Some((status, serde_json::from_str(&text).unwrap_or_default()))
}

async fn bought(gate: &str, payment: &Value) -> String {
    let (status, body) = post(&format!("{gate}/token"), payment).await.unwrap();
    assert_eq!(status, 200, "{body}");
    body["access_token"].as_str().unwrap().to_owned()
}

fn shown(token: &str) -> [(HeaderName, HeaderValue); 1] {
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    [(http::header::AUTHORIZATION, value)]
}

/// The authorization as a client of permit doors posts it.
fn permit(payment: &Value) -> Value {
    let signed = &payment["payload"]["authorization"];
    let number = |key: &str| signed[key].as_str().unwrap().parse::<u64>().unwrap();
    let signature = payment["payload"]["signature"].as_str().unwrap();
    let half = |at: usize| format!("0x{}", signature[at..at + 64].trim_start_matches('0'));
    json!({
        "version": "Version 0.1",
        "permit": {
            "permit_type": "ERC3009",
            "signature": {
                "r": half(2),
                "s": half(66),
                "v": u64::from_str_radix(&signature[130..], 16).unwrap(),
            },
            "token": payment["accepted"]["asset"],
            "chain_id": 84532,
            "authorizer": signed["from"],
            "recipient": signed["to"],
            "value": number("value"),
            "validAfter": number("validAfter"),
            "validBefore": number("validBefore"),
            "nonce": signed["nonce"],
        },
    })
}

async fn signed(gate: &str) -> Value {
    let buyer = Buyer::new(&BUYER);
    let terms = buyer.terms(&format!("{gate}/paid/weather")).await;
    serde_json::to_value(buyer.sign(&terms, false).await).unwrap()
}

#[tokio::test]
async fn a_permit_buys_an_hour_at_once_and_is_settled_behind_it() {
    let town = Town::with_manual_blocks().await;
    let (_gate, gate) = shop(&town, HOURLY, None).await;
    let payment = signed(&gate).await;
    let endpoint = format!("{gate}/token");
    let (status, body) = post(&endpoint, &permit(&payment)).await.unwrap();
    assert_eq!(status, 200, "{body}");
    let token = body["access_token"].as_str().unwrap();
    town.nothing_was_paid();
    let buyer = Buyer::new(&BUYER);
    for path in ["weather", "other"] {
        let reply = buyer
            .get(&format!("{gate}/paid/{path}"), &shown(token))
            .await;
        assert_eq!((reply.status, reply.body.as_str()), (200, GOODS));
    }
    let settlement = body["metadata"]["settlement"].as_str().unwrap();
    let settlement = format!("{gate}{settlement}");
    let told = async || -> Value {
        let reply = Buyer::new(&BUYER).get(&settlement, &[]).await;
        serde_json::from_str(&reply.body).unwrap()
    };
    assert_eq!(told().await["status"], "pending");
    town.chain
        .set_mining(Mining::Interval(std::time::Duration::from_millis(100)));
    until(seconds(20), "it is settled", async || {
        told().await["status"] == "settled"
    })
    .await;
    assert!(told().await["transaction"].as_str().unwrap().len() == 66);
    town.paid_exactly_once();
    // The same bytes: the same pass. What can be read on the chain: none.
    assert_eq!(bought(&gate, &permit(&payment)).await, token);
    let (status, rebuilt) = post(&endpoint, &payment).await.unwrap();
    assert_eq!((status, &rebuilt["access_token"]), (402, &Value::Null));
    let reply = buyer
        .get(&format!("{gate}/paid/weather"), &shown(token))
        .await;
    assert_eq!((reply.status, reply.body.as_str()), (200, GOODS));
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_gate_that_dies_after_the_claim_settles_once_and_gives_the_token_then() {
    for (place, dies) in [
        ("grant::issued::after_write=1", true),
        ("grant::released::before_write=1", false),
    ] {
        let town = Town::new().await;
        let (dying, url) = shop(&town, HOURLY, Some(place)).await;
        let payment = signed(&url).await;
        let answered = post(&format!("{url}/token"), &payment).await;
        assert_eq!(answered.is_none(), dies, "{place}: {answered:?}");
        dying.end().await;
        let listen = raw::address(&url).to_string();
        let (_gate, gate) = shop_at(&town, &listen, HOURLY, None).await;
        until(seconds(20), "it is settled", async || {
            town.transfers().len() == 1
        })
        .await;
        let token = bought(&gate, &payment).await;
        if let Some((_, body)) = answered {
            assert_eq!(body["access_token"], token.as_str(), "{place}");
        }
        let reply = Buyer::new(&BUYER)
            .get(&format!("{gate}/paid/x"), &shown(&token))
            .await;
        assert_eq!((reply.status, reply.body.as_str()), (200, GOODS), "{place}");
        town.paid_exactly_once();
    }
}

#[tokio::test]
async fn a_pass_for_calls_is_bought_by_header_and_used_up() {
    let town = Town::new().await;
    let (_gate, gate) = shop(&town, "/paid/*=$0.01; pass=3/1h", None).await;
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/weather");
    let first = buyer.get(&url, &[buyer.pays(&url, false).await]).await;
    assert_eq!((first.status, first.body.as_str()), (200, GOODS));
    let token = first.headers["tollway-pass"].to_str().unwrap().to_owned();
    for status in [200, 200, 402] {
        let reply = buyer.get(&url, &shown(&token)).await;
        assert_eq!(reply.status, status, "{}", reply.body);
    }
    town.paid_exactly_once();
}

/// What a wallet signs for a gate's EIP-2612 terms, as clients post it.
async fn permit_2612(town: &Town, gate: &str) -> Value {
    let terms = Buyer::new(&BUYER).terms(&format!("{gate}/paid/x")).await;
    let mut config = tollway_rpc::RpcConfig::new(vec![town.rpc().parse().unwrap()]);
    config.allow_plain_http = true;
    let node = tollway_rpc::RpcClient::new(config).unwrap();
    let signer = EvmSigner::from_bytes(&BUYER.key.0).unwrap();
    let wallet = tollway_evm::EvmWallet::new(signer).with_node(NETWORK.parse().unwrap(), node);
    let accepted = tollway_core::Terms::check(terms.accepts[0].clone()).unwrap();
    let limits = tollway_core::Limits {
        max_amount: tollway_core::Amount::from_atomic(u128::from(PRICE)),
        max_lifetime: seconds(900),
    };
    let prepared = tollway_core::Wallet::prepare(&wallet, &accepted, &limits).await;
    let signed = serde_json::to_value(prepared.unwrap().payload).unwrap();
    let (permit, signature) = (&signed["permit"], signed["signature"].as_str().unwrap());
    let number = |key: &str| permit[key].as_str().unwrap().parse::<u64>().unwrap();
    let half = |at: usize| format!("0x{}", signature[at..at + 64].trim_start_matches('0'));
    json!({
        "version": "Version 0.1",
        "permit": {
            "permit_type": "EIP2612",
            "signature": {
                "r": half(2),
                "s": half(66),
                "v": u64::from_str_radix(&signature[130..], 16).unwrap(),
            },
            "owner": permit["owner"],
            "spender": permit["spender"],
            "token": terms.accepts[0].asset,
            "value": number("value"),
            "nonce": number("nonce"),
            "deadline": number("deadline"),
            "chain_id": 84532,
        },
    })
}

/// All of the buyer's money goes elsewhere.
fn robbed(town: &Town) {
    let signer = EvmSigner::from_bytes(&BUYER.key.0).unwrap();
    let dollar = DOLLAR.parse().unwrap();
    let authorization = Authorization {
        from: signer.address(),
        to: Address::repeat_byte(0xbe),
        value: town.chain.balance_of(signer.address()),
        valid_after: U256::ZERO,
        valid_before: U256::from(u64::MAX),
        nonce: B256::repeat_byte(7),
    };
    let domain = Domain::new("USDC", "2", 84_532, dollar);
    let signed = sign_authorization(&signer, &domain, authorization);
    let (said, signature) = (&signed.authorization, &signed.signature);
    // transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)
    let mut call = vec![0xe3, 0xee, 0x16, 0x0e];
    for word in [
        said.from.into_word(),
        said.to.into_word(),
        said.value.into(),
        said.valid_after.into(),
        said.valid_before.into(),
        said.nonce,
        U256::from(signature[64]).into(),
        B256::from_slice(&signature[..32]),
        B256::from_slice(&signature[32..64]),
    ] {
        call.extend_from_slice(word.as_slice());
    }
    town.chain.system_call(dollar, call.into()).unwrap();
}

#[tokio::test]
async fn a_permit_that_failed_can_be_signed_again_under_its_number() {
    let town = Town::with_manual_blocks().await;
    let (_gate, gate) = shop(&town, "/paid/*=$0.01; pass=1h; methods=eip2612", None).await;
    let first = permit_2612(&town, &gate).await;
    let dead = bought(&gate, &first).await;
    robbed(&town);
    town.chain
        .set_mining(Mining::Interval(std::time::Duration::from_millis(100)));
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/x");
    until(seconds(40), "its token is dead", async || {
        buyer.get(&url, &shown(&dead)).await.status == 402
    })
    .await;
    town.nothing_was_paid();

    town.chain
        .mint(BUYER.address, U256::from(10 * PRICE))
        .unwrap();
    let mut second = permit_2612(&town, &gate).await;
    // Within one second it would be the very same permit.
    while second == first {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        second = permit_2612(&town, &gate).await;
    }
    let number = |posted: &Value| posted["permit"]["nonce"].clone();
    assert_eq!(number(&second), number(&first), "tokens count permits");
    let token = bought(&gate, &second).await;
    until(seconds(20), "it is settled", async || {
        town.transfers().len() == 1
    })
    .await;
    let reply = buyer.get(&url, &shown(&token)).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, GOODS));
    assert_eq!(buyer.get(&url, &shown(&dead)).await.status, 402);
    town.paid_exactly_once();
}

#[tokio::test]
async fn an_eip_2612_permit_buys_a_pass_and_pays_through_the_settler() {
    let town = Town::new().await;
    let (_gate, gate) = shop(&town, "/paid/*=$0.01; pass=1h; methods=eip2612", None).await;
    let posted = permit_2612(&town, &gate).await;
    let token = bought(&gate, &posted).await;
    let reply = Buyer::new(&BUYER)
        .get(&format!("{gate}/paid/x"), &shown(&token))
        .await;
    assert_eq!((reply.status, reply.body.as_str()), (200, GOODS));
    until(seconds(20), "it is settled", async || {
        town.transfers().len() == 1
    })
    .await;
    assert_eq!(bought(&gate, &posted).await, token);
    town.paid_exactly_once();
}
