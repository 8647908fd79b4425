//! One look at the chain for everything that is under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use alloy_primitives::U256;
use serde_json::json;
use tollway_core::assets::AssetTable;
use tollway_core::{Broadcast, Chain, Finality, Head, Lookup, Outcome, Sight, Slot, Watch};
use tollway_devnet::{Devnet, Mining};
use tollway_evm::EvmChain;
use tollway_rpc::{RpcClient, RpcConfig};

use crate::support::fake_node::{self, behind};
use crate::support::world::{NOW, World, key, outcomes, watch, watched};

async fn waiting() -> World {
    let devnet = Devnet::builder()
        .fixed_time(NOW)
        .mining(Mining::Manual)
        .finality(2, 4)
        .build()
        .unwrap();
    World::with(devnet, AssetTable::builtin()).await
}

fn methods(world: &World) -> BTreeMap<&'static str, u64> {
    world.rpc.stats().methods.into_iter().collect()
}

/// What was asked since, without the probe that runs beside.
fn asked(world: &World, before: &BTreeMap<&'static str, u64>) -> Vec<(&'static str, u64)> {
    let since = |(method, count): (&'static str, u64)| {
        let more = count - before.get(method).copied().unwrap_or(0);
        (more > 0 && method != "eth_chainId").then_some((method, more))
    };
    methods(world).into_iter().filter_map(since).collect()
}

async fn look(chain: &EvmChain, last: Option<&Head>, watches: &[Watch]) -> Sight {
    chain.look(last, watches).await.unwrap()
}

/// So many payments, each in a transaction of its own, sent and not mined.
async fn many(world: &World, chain: &EvmChain, count: usize) -> Vec<Watch> {
    let mut watches = Vec::new();
    for (nonce, intent) in world.payments(count).iter().enumerate() {
        let slot = Slot {
            signer: chain.signers().remove(0),
            nonce: nonce as u64,
            replaces: None,
        };
        let plan = world.plan(intent).await;
        let raw = chain.seal(&plan, &slot).await.unwrap();
        chain.broadcast(&raw).await.unwrap();
        watches.push(watch(intent, &slot, &[&raw]));
    }
    watches
}

fn all_settled(sight: &Sight) -> bool {
    let settled =
        |outcome: &Option<Vec<Outcome>>| matches!(outcome.as_deref(), Some([Outcome::Settled(_)]));
    sight.outcomes.iter().all(settled)
}

#[tokio::test]
async fn while_there_is_no_new_block_only_the_newest_is_asked_for() {
    let world = waiting().await;
    let start = look(&world.chain, None, &[]).await;
    let (raw, watch) = world.send(&world.payments(1)[0]).await;
    let watches = [watch];
    let before = methods(&world);
    // It was sent after the newest block was seen: it can be in none yet.
    let first = look(&world.chain, Some(&start.head), &watches).await;
    let second = look(&world.chain, Some(&first.head), &watches).await;
    assert_eq!(second.outcomes, [None]);
    assert_eq!(asked(&world, &before), [("eth_getBlockByNumber", 2)]);

    world.devnet.mine(1).unwrap();
    let before = methods(&world);
    let third = look(&world.chain, Some(&second.head), &watches).await;
    assert!(all_settled(&third), "{third:?}");
    let receipt = ("eth_getTransactionReceipt", 1);
    assert_eq!(
        asked(&world, &before),
        [("eth_getBlockByNumber", 1), receipt]
    );
    assert_eq!(third.replaced_from, None);
    let hash = world.chain.block_hash(third.head.number).await.unwrap();
    assert_eq!(hash, Some(third.head.hash));
    assert_eq!(world.chain.block_hash(1000).await.unwrap(), None);

    // What the node knows better is asked for, new block or not.
    world.chain.broadcast(&raw).await.unwrap();
    let again = look(&world.chain, None, &watches).await;
    assert!(all_settled(&again), "{again:?}");
}

#[tokio::test]
async fn many_transactions_are_found_by_one_question_about_their_block() {
    let world = waiting().await;
    let start = look(&world.chain, None, &[]).await;
    let watches = many(&world, &world.chain, 12).await;
    world.devnet.mine(1).unwrap();
    let before = methods(&world);
    let sight = look(&world.chain, Some(&start.head), &watches).await;
    assert!(all_settled(&sight), "{sight:?}");
    let expected = [("eth_getBlockByNumber", 1), ("eth_getBlockReceipts", 1)];
    assert_eq!(asked(&world, &before), expected);
}

#[tokio::test]
async fn a_node_without_block_receipts_is_asked_by_hash() {
    let world = waiting().await;
    let rpc = behind(&world.devnet, |method, _| {
        let odd = method == "eth_getBlockReceipts";
        odd.then(|| Err((-32601, "the method does not exist".to_owned())))
    })
    .await;
    let chain = EvmChain::connect(world.config(rpc.clone())).await.unwrap();
    for round in 0..2 {
        let start = look(&chain, None, &[]).await;
        let watches = many(&world, &chain, 12).await;
        world.devnet.mine(1).unwrap();
        let sight = look(&chain, Some(&start.head), &watches).await;
        assert!(all_settled(&sight), "{sight:?}");
        assert_eq!(
            rpc.stats().methods["eth_getBlockReceipts"],
            1,
            "round {round}"
        );
        world.devnet.set_nonce(key(2).address(), 0);
    }
}

#[tokio::test]
async fn replaced_blocks_are_told_from_the_lowest_on() {
    for depth in 1..=12 {
        let world = waiting().await;
        world.devnet.mine(20).unwrap();
        let mut head = look(&world.chain, None, &[]).await.head;
        for _ in 0..14 {
            world.devnet.mine(1).unwrap();
            let sight = look(&world.chain, Some(&head), &[]).await;
            assert_eq!(sight.replaced_from, None);
            head = sight.head;
        }
        world.devnet.reorg(depth, true).unwrap();
        world.devnet.mine(depth + 1).unwrap();
        let sight = look(&world.chain, Some(&head), &[]).await;
        assert_eq!(
            sight.replaced_from,
            Some(head.number - depth + 1),
            "{depth} deep"
        );
        let next = look(&world.chain, Some(&sight.head), &[]).await;
        assert_eq!((next.replaced_from, next.head), (None, sight.head));
    }
}

#[tokio::test]
async fn what_was_never_seen_is_in_doubt_whole() {
    let world = waiting().await;
    world.devnet.mine(70).unwrap();
    let head = look(&world.chain, None, &[]).await.head;
    world.devnet.reorg(5, true).unwrap();
    world.devnet.mine(6).unwrap();
    // Another process knows nothing but the head that was stored.
    let chain = EvmChain::connect(world.config(world.rpc.clone()))
        .await
        .unwrap();
    assert_eq!(look(&chain, Some(&head), &[]).await.replaced_from, Some(0));
}

#[tokio::test]
async fn a_payment_whose_block_was_replaced_is_open_and_then_settled_again() {
    let world = waiting().await;
    let start = look(&world.chain, None, &[]).await;
    let (_, mut watch) = world.send(&world.payments(1)[0]).await;
    watch.expected[0].finality = Finality::Confirmations(3);
    let watches = [watch];
    world.devnet.mine(1).unwrap();
    let seen = look(&world.chain, Some(&start.head), &watches).await;
    assert_eq!(
        seen.outcomes,
        [Some(vec![Outcome::Included {
            block: seen.head.number,
            moved: true
        }])],
        "not deep enough"
    );

    world.devnet.reorg(1, false).unwrap();
    world.devnet.mine(2).unwrap();
    let gone = look(&world.chain, Some(&seen.head), &watches).await;
    assert_eq!(gone.replaced_from, Some(seen.head.number));
    assert_eq!(gone.outcomes, [Some(vec![Outcome::Unknown])]);
    // It would be deep enough, were it still there.
    world.devnet.mine(3).unwrap();
    let later = look(&world.chain, Some(&gone.head), &watches).await;
    assert!(!all_settled(&later));
}

#[tokio::test]
async fn a_node_that_lags_replaces_nothing() {
    let world = waiting().await;
    world.devnet.mine(3).unwrap();
    let old = world
        .devnet
        .request("eth_getBlockByNumber", json!(["latest", false]))
        .unwrap();
    let lags = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&lags);
    let rpc = behind(&world.devnet, move |method, params| {
        let newest = method == "eth_getBlockByNumber" && params[0] == "latest";
        (newest && told.load(Ordering::SeqCst)).then(|| Ok(old.clone()))
    })
    .await;
    let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
    let mut head = look(&chain, None, &[]).await.head;
    for _ in 0..4 {
        world.devnet.mine(1).unwrap();
        head = look(&chain, Some(&head), &[]).await.head;
    }
    lags.store(true, Ordering::SeqCst);
    let sight = look(&chain, Some(&head), &[]).await;
    assert_eq!((sight.replaced_from, sight.head), (None, head));
}

#[tokio::test]
async fn each_payment_of_a_transaction_has_its_own_depth_and_tags_are_read_when_needed() {
    let world = waiting().await;
    let start = look(&world.chain, None, &[]).await;
    let intents = world.payments(4);
    let (_, mut watch) = world.send_together(&world.chain, &intents).await;
    let depths = [
        Finality::Included,
        Finality::Confirmations(2),
        Finality::Safe,
        Finality::Finalized,
    ];
    watch.expected = intents
        .iter()
        .zip(depths)
        .map(|(i, f)| watched(i, f))
        .collect();
    let watches = [watch];
    let mut head = start.head;
    let mut seen = Vec::new();
    for _ in 0..5 {
        world.devnet.mine(1).unwrap();
        let sight = look(&world.chain, Some(&head), &watches).await;
        head = sight.head;
        let outcomes = sight.outcomes.into_iter().next().unwrap();
        seen.push(outcomes.map(|all| {
            all.iter()
                .filter(|o| matches!(o, Outcome::Settled(_)))
                .count()
        }));
    }
    assert_eq!(seen, [Some(1), Some(2), Some(3), None, Some(4)]);

    let before = methods(&world);
    world.devnet.mine(1).unwrap();
    look(&world.chain, Some(&head), &[]).await;
    assert_eq!(asked(&world, &before), [("eth_getBlockByNumber", 1)]);
}

#[tokio::test]
async fn an_account_with_little_gas_money_is_low() {
    let world = World::new().await;
    let state = world.chain.signer_states().await.unwrap().remove(0);
    assert_eq!(state.signer, world.chain.signers()[0]);
    assert!(!state.low, "{state:?}");
    world
        .devnet
        .set_balance(key(2).address(), U256::from(10_u64.pow(17)));
    let state = world.chain.signer_states().await.unwrap().remove(0);
    assert!(state.low, "{state:?}");
    assert_eq!(state.balance.as_u256(), U256::from(10_u64.pow(17)));
}

#[tokio::test]
async fn a_batch_whose_block_is_seen_late_is_found_by_its_hash() {
    let world = waiting().await;
    let (_, watch) = world.send_together(&world.chain, &world.payments(3)).await;
    world.devnet.mine(40).unwrap();
    let found = outcomes(&world.chain, &watch).await;
    assert!(
        found.iter().all(|o| matches!(o, Outcome::Settled(_))),
        "{found:?}"
    );
}

#[tokio::test]
async fn what_a_node_knows_better_is_asked_for_at_once_and_counts_with_its_block() {
    let world = waiting().await;
    let get = ("eth_getBlockByNumber", json!(["latest", false]));
    let old = world.devnet.request(get.0, get.1).unwrap();
    let stands = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&stands);
    // Its newest block stands still; its other answers do not.
    let rpc = behind(&world.devnet, move |method, params| {
        let newest = method == "eth_getBlockByNumber" && params[0] == "latest";
        (newest && told.load(Ordering::SeqCst)).then(|| Ok(old.clone()))
    })
    .await;
    let chain = EvmChain::connect(world.config(rpc.clone())).await.unwrap();
    let plan = world.plan(&world.payments(1)[0]).await;
    let slot = world.slot().await;
    let raw = chain.seal(&plan, &slot).await.unwrap();
    chain.broadcast(&raw).await.unwrap();
    let watches = [watch(&plan.payments[0].verified.intent, &slot, &[&raw])];
    let head = look(&chain, None, &watches).await.head;
    world.devnet.mine(1).unwrap();
    let asked = || rpc.stats().methods["eth_getTransactionReceipt"];
    let before = asked();
    assert_eq!(look(&chain, Some(&head), &watches).await.outcomes, [None]);
    assert_eq!(asked(), before);
    assert_eq!(chain.broadcast(&raw).await.unwrap(), Broadcast::NonceUsed);
    let sight = look(&chain, Some(&head), &watches).await;
    assert_eq!(sight.outcomes, [Some(vec![Outcome::Unknown])]);
    assert!(asked() > before);
    stands.store(false, Ordering::SeqCst);
    assert!(all_settled(&look(&chain, Some(&head), &watches).await));
}

#[tokio::test]
async fn a_block_that_comes_while_receipts_are_read_is_known_before_it_counts() {
    let world = waiting().await;
    let devnet = world.devnet.clone();
    let mines = Arc::new(AtomicBool::new(true));
    let rpc = behind(&world.devnet, move |method, _| {
        if method == "eth_getTransactionReceipt" && mines.swap(false, Ordering::SeqCst) {
            devnet.mine(1).unwrap();
        }
        None
    })
    .await;
    let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
    let (_, watch) = world.send(&world.payments(1)[0]).await;
    let watches = [watch];
    let sight = look(&chain, None, &watches).await;
    assert!(all_settled(&sight), "{sight:?}");
    assert_eq!(sight.head.number, 1);
    // So its replacement is noticed, though its successor has the same parent.
    world.devnet.reorg(1, false).unwrap();
    world.devnet.mine(1).unwrap();
    let next = look(&chain, Some(&sight.head), &[]).await;
    assert_eq!(next.replaced_from, Some(1));
}

#[tokio::test]
async fn a_block_replaced_between_nonce_and_receipt_is_no_strangers_transaction() {
    for asked_before in [0, 1] {
        let world = waiting().await;
        let (_, watch) = world.send(&world.payments(1)[0]).await;
        world.devnet.mine(2).unwrap();
        let devnet = world.devnet.clone();
        let asked = AtomicUsize::new(0);
        let rpc = behind(&world.devnet, move |method, params| match method {
            // The block with ours goes as soon as the nonce was told.
            "eth_getTransactionCount" => {
                let nonce = devnet.request(method, params.clone()).unwrap();
                if asked.fetch_add(1, Ordering::SeqCst) == asked_before {
                    devnet.reorg(2, false).unwrap();
                    devnet.mine(2).unwrap();
                }
                Some(Ok(nonce))
            }
            "eth_getTransactionReceipt" => Some(Ok(json!(null))),
            _ => None,
        })
        .await;
        let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
        let seen = outcomes(&chain, &watch).await;
        assert_eq!(seen, [Outcome::Unknown], "{asked_before}");
    }
}

#[tokio::test]
async fn one_node_alone_does_not_decide_that_nothing_moved() {
    let world = waiting().await;
    let devnet = world.devnet.clone();
    let lies = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&lies);
    let liar = fake_node::address(&world.devnet, move |method, params| {
        let about = method == "eth_getTransactionReceipt" && told.load(Ordering::SeqCst);
        about.then(|| {
            let mut receipt = devnet.request(method, params.clone()).unwrap();
            if receipt.is_object() {
                receipt["status"] = json!("0x0");
                receipt["logs"] = json!([]);
            }
            Ok(receipt)
        })
    })
    .await;
    let urls = [liar, world.url()].map(|url| url.parse().unwrap());
    let rpc = RpcClient::new(RpcConfig::new(urls.to_vec())).unwrap();
    let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
    let intent = world.payments(1).remove(0);
    let (raw, watch) = world.send(&intent).await;
    world.devnet.mine(1).unwrap();
    assert_eq!(outcomes(&chain, &watch).await, [Outcome::Unknown]);
    let lookup = chain.lookup(&intent.identity, &intent.expected, Finality::Included);
    assert_eq!(lookup.await.unwrap(), Lookup::Unknown);
    let (identity, expected) = (&intent.identity, &intent.expected);
    let observed = chain
        .observe(&raw.hash, identity, expected, Finality::Included)
        .await;
    assert_eq!(observed.unwrap(), Outcome::Unknown);

    lies.store(false, Ordering::SeqCst);
    world.devnet.mine(1).unwrap();
    let again = chain
        .look(None, std::slice::from_ref(&watch))
        .await
        .unwrap();
    assert!(all_settled(&again), "{again:?}");
}
