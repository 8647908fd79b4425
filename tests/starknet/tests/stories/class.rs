//! Our class by its hash.

use std::time::Duration;

use serde_json::{Value, json};
use tollway_core::{Amount, Clock, SystemClock};
use tollway_starknet::session::{
    DEFAULT_DURATION, Policy, Registration, SessionKey, register, remove_policy, revoke, set_policy,
};
use tollway_starknet::{ACCOUNT_CLASS_HASH, Call, Felt, class_hash, felt, selectors};
use tollway_test_starknet::{STRK, World, artifact, number};

#[test]
fn the_artifact_has_the_hash_that_the_library_names() {
    let hash = class_hash(&artifact()["class"]).unwrap();
    assert_eq!(felt::text(&hash), felt::text(&ACCOUNT_CLASS_HASH));
}

#[tokio::test]
async fn a_node_gives_our_class_the_same_hash() {
    let world = World::new().await;
    let asked = json!(["latest", world.payer.address]);
    let hash = world.node.ask("starknet_getClassHashAt", asked).await;
    assert_eq!(number(hash.as_str().unwrap()), ACCOUNT_CLASS_HASH);
}

/// What the payer's account answers to a question.
async fn answer(world: &World, selector: Felt, calldata: &[Felt]) -> Felt {
    let request = json!({
        "contract_address": world.payer.address,
        "entry_point_selector": felt::text(&selector),
        "calldata": felt::texts(calldata),
    });
    let answer = world.node.ask("starknet_call", json!([request, "latest"]));
    number(answer.await[0].as_str().unwrap())
}

#[tokio::test]
async fn the_account_says_which_interfaces_it_has() {
    let world = World::new().await;
    let supports = async |id: &str| {
        let id = number(id);
        answer(&world, selectors::SUPPORTS_INTERFACE, &[id]).await == Felt::ONE
    };
    for id in [
        // SRC-5, SRC-6, SRC-9 version 2, the session manager.
        "0x3f918d17e5ee77373b56385708f855659a07f75997f365cf87748628532a055",
        "0x2ceccef7f994940b3962a6c67e0ba4fcd37df7d131417c604f91e03caecc1cd",
        "0x1d1144bb2138366ff28d8e9ab57456b1d332ac42196230c3a602003c89872",
        "0x37ab4f01106526662a612eaa2926df2aa314c4144b964f183805880bbcfa55d",
    ] {
        assert!(supports(id).await, "{id}");
    }
    assert!(!supports("0x1234").await);
    let version = selectors::parse("get_snip9_version").unwrap();
    assert_eq!(answer(&world, version, &[]).await, Felt::TWO);
}

/// The events of the payer's account in a transaction that makes calls: names hashed
/// as keys, then the other keys, then the data.
async fn events(world: &World, calls: &[Call]) -> Vec<Vec<Felt>> {
    let sender = world.sender(&world.payer);
    let hash = sender.send(calls).await.unwrap();
    sender.wait(&hash, Duration::from_secs(60)).await.unwrap();
    let asked = json!([hash.as_str()]);
    let receipt = world.node.ask("starknet_getTransactionReceipt", asked);
    let receipt = receipt.await;
    let account = number(&world.payer.address);
    let from = |event: &&Value| number(event["from_address"].as_str().unwrap()) == account;
    let felts = |list: &Value| -> Vec<Felt> {
        let list = list.as_array().unwrap().iter();
        list.map(|n| number(n.as_str().unwrap())).collect()
    };
    let both = |event: &Value| [felts(&event["keys"]), felts(&event["data"])].concat();
    let events = receipt["events"].as_array().unwrap().iter();
    events.filter(from).map(both).collect()
}

#[tokio::test]
async fn what_happens_to_a_session_is_told_in_events() {
    let world = World::new().await;
    let account = number(&world.payer.address);
    let key = SessionKey::create(SystemClock.now(), DEFAULT_DURATION).unwrap();
    let (session, token) = (key.public(), number(STRK));
    let policy = Policy {
        max_per_call: Amount::from_atomic(5),
        max_per_window: Amount::from_atomic(50),
        window_seconds: 60,
    };
    let name = |text: &str| selectors::parse(text).unwrap();
    let end = Felt::from(key.valid_until());
    let small = |n: u8| Felt::from(n);
    let told = events(
        &world,
        &[
            register(account, &key, &Registration::transfers(7)).unwrap(),
            set_policy(account, session, token, &policy).unwrap(),
        ],
    )
    .await;
    let (none, limits) = (Felt::ZERO, [small(5), small(50), small(60)]);
    let [per_call, per_window, window] = limits;
    let set = vec![
        name("SpendingPolicySet"),
        session,
        token,
        per_call,
        none,
        per_window,
        none,
        window,
    ];
    let added = vec![name("SessionKeyAdded"), session, end, small(7)];
    assert_eq!(told, [added, set]);
    let told = events(
        &world,
        &[
            remove_policy(account, session, token),
            revoke(account, session),
        ],
    )
    .await;
    let removed = vec![name("SpendingPolicyRemoved"), session, token];
    let revoked = vec![name("SessionKeyRevoked"), session];
    assert_eq!(told, [removed, revoked]);
}
