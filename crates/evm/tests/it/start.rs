//! The wrong chain, the wrong token, no node at all: said so, and nothing served.

use alloy_consensus::{Transaction, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::address;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tollway_core::assets::AssetTable;
use tollway_core::{
    Amount, Broadcast, Chain, ChainError, Finality, Lookup, Network, Outcome, Phase, Slot,
};
use tollway_devnet::{Mining, Preset};
use tollway_evm::{EvmChain, EvmConfig, StartError};
use tollway_rpc::{RpcClient, RpcConfig};

use crate::support::fake_node::{self, behind};
use crate::support::world::{World, key, look, token, watch};

#[tokio::test]
async fn a_node_of_another_chain_is_refused_and_the_sentence_says_what_to_do() {
    let world = World::on(Preset::Base).await;
    let mut config = world.config(world.rpc.clone());
    config.network = Network::eip155(84532);
    let error = EvmChain::connect(config).await.unwrap_err();
    assert!(matches!(
        error,
        StartError::WrongChain {
            expected: 84532,
            found: 8453,
            ..
        }
    ));
    assert!(
        error
            .to_string()
            .ends_with("correct its RPC URL or the network")
    );
}

#[tokio::test]
async fn one_node_of_another_chain_among_several_is_found() {
    let (world, other) = (World::new().await, World::on(Preset::Base).await);
    let urls = [world.url(), other.url()].map(|url| url.parse().unwrap());
    let rpc = RpcClient::new(RpcConfig::new(urls.to_vec())).unwrap();
    let error = EvmChain::connect(world.config(rpc)).await.unwrap_err();
    assert!(
        matches!(error, StartError::WrongChain { found: 8453, .. }),
        "{error}"
    );

    // One that is down is passed over.
    let urls = ["http://127.0.0.1:9".to_owned(), world.url()].map(|url| url.parse().unwrap());
    let rpc = RpcClient::new(RpcConfig::new(urls.to_vec())).unwrap();
    EvmChain::connect(world.config(rpc)).await.unwrap();
}

#[tokio::test]
async fn a_chain_that_changes_behind_its_url_is_noticed_by_health() {
    let world = World::new().await;
    let lies = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&lies);
    let rpc = behind(&world.devnet, move |method, _| {
        (method == "eth_chainId" && told.load(Ordering::SeqCst)).then(|| Ok(json!("0x1")))
    })
    .await;
    let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
    lies.store(true, Ordering::SeqCst);
    assert!(chain.health().await.ready, "believed for a while");
    world.wait(15 * 60);
    let health = chain.health().await;
    assert!(!health.ready && health.problem.unwrap().contains("eip155:1,"));
    let error = chain
        .verify(world.pay().await, Phase::Verify, Amount::ZERO)
        .await
        .unwrap_err();
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_receipt_of_another_transaction_settles_nothing() {
    let world = World::new().await;
    let (paid, _) = world.send(&world.pay().await).await;
    let devnet = world.devnet.clone();
    let theirs = move || {
        devnet
            .request("eth_getTransactionReceipt", json!([paid.hash]))
            .unwrap()
    };
    let rpc = behind(&world.devnet, move |method, _| {
        (method == "eth_getTransactionReceipt").then(|| Ok(theirs()))
    })
    .await;
    let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
    world.devnet.set_mining(Mining::Manual);
    let intent = world.pay().await;
    let (_, watch) = world.send(&intent).await;
    assert_eq!(look(&chain, &watch).await, Outcome::Unknown);
}

#[tokio::test]
async fn a_token_whose_domain_is_not_ours_is_refused() {
    let world = World::new().await;
    let mut config = world.config(world.rpc.clone());
    let dollar = world.devnet.dollar().address;
    config.assets = AssetTable::empty().with(token(&world.network, dollar, "USD Coin"));
    let error = EvmChain::connect(config).await.unwrap_err();
    assert!(matches!(error, StartError::OtherDomain { .. }), "{error}");
}

#[tokio::test]
async fn a_chain_without_any_of_our_tokens_is_refused() {
    let world = World::new().await;
    let mut config = world.config(world.rpc.clone());
    let nothing = address!("00000000000000000000000000000000000000ee");
    config.assets = AssetTable::empty().with(token(&world.network, nothing, "USDC"));
    let error = EvmChain::connect(config).await.unwrap_err();
    assert!(matches!(error, StartError::NoContract(_)), "{error}");

    let mut config = world.config(world.rpc.clone());
    config.assets = AssetTable::empty();
    assert!(matches!(EvmChain::new(config), Err(StartError::NoAsset(_))));
    let mut config = world.config(world.rpc.clone());
    config.network = "starknet:SN_MAIN".parse().unwrap();
    assert!(matches!(EvmChain::new(config), Err(StartError::NotEvm(_))));
}

#[tokio::test]
async fn a_facilitator_may_start_before_its_node_and_says_so_until_it_is_there() {
    let world = World::new().await;
    let intent = world.pay().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let chain =
        EvmChain::new(world.config(fake_node::client(&format!("http://{address}")))).unwrap();

    let down = chain.health().await;
    assert!(!down.ready);
    assert!(down.problem.unwrap().contains("try again later"));
    let error = chain
        .verify(intent.clone(), Phase::Verify, Amount::ZERO)
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");

    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let _server = world.devnet.serve(listener).unwrap();
    world.wait(2);
    chain
        .verify(intent, Phase::Verify, Amount::ZERO)
        .await
        .unwrap();
    let up = chain.health().await;
    assert!(up.ready, "{up:?}");
    assert_eq!(up.block_number, Some(world.devnet.block_number()));
}

#[tokio::test]
async fn an_account_without_gas_money_is_a_health_problem() {
    let world = World::new().await;
    assert!(world.chain.health().await.ready);
    world
        .devnet
        .set_balance(key(2).address(), alloy_primitives::U256::ZERO);
    let health = world.chain.health().await;
    assert!(!health.ready);
    assert!(health.problem.unwrap().ends_with("fund one"));
}

#[tokio::test]
async fn a_node_that_fails_decides_nothing_about_a_payment() {
    let world = World::new().await;
    let intent = world.pay().await;
    for words in ["header not found", "internal error", "rate limit exceeded"] {
        let rpc = behind(&world.devnet, move |method, params| {
            let call = params[0]["data"].as_str().unwrap_or_default();
            let tries = params[0]["to"].is_null() || call.starts_with("0xe3ee160e");
            (method == "eth_call" && tries).then(|| Err((-32000, words.to_owned())))
        })
        .await;
        let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
        let error = chain
            .verify(intent.clone(), Phase::Verify, Amount::ZERO)
            .await
            .unwrap_err();
        assert!(
            matches!(error, ChainError::Unavailable { .. }),
            "{words}: {error:?}"
        );
        assert!(
            !error.to_string().contains(words),
            "node words stay in the log"
        );
    }
}

#[tokio::test]
async fn a_missing_receipt_is_no_proof_while_the_token_says_used() {
    let world = World::new().await;
    let intent = world.pay().await;
    let slot = world.slot().await;
    let (raw, _) = world.send(&intent).await;
    // A node that knows the new nonce and no receipt, as behind a balancer.
    let rpc = behind(&world.devnet, |method, _| {
        (method == "eth_getTransactionReceipt").then(|| Ok(Value::Null))
    })
    .await;
    let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
    let outcome = look(&chain, &watch(&intent, &slot, &[&raw])).await;
    assert_eq!(outcome, Outcome::Unknown);
    let lookup = chain.lookup(&intent.identity, &intent.expected, Finality::Included);
    assert_eq!(lookup.await.unwrap(), Lookup::Unknown);
}

#[tokio::test]
async fn log_queries_are_cut_down_to_what_a_node_allows() {
    let world = World::new().await;
    let intent = world.pay().await;
    world.send(&intent).await;
    world.devnet.mine(30).unwrap();
    let rpc = behind(&world.devnet, |method, params| {
        let at = |key: &str| {
            let text = params[0][key].as_str().unwrap_or("0x0");
            u64::from_str_radix(&text[2..], 16).unwrap()
        };
        let too_long = method == "eth_getLogs" && at("toBlock") - at("fromBlock") >= 10;
        too_long.then(|| Err((-32600, "up to a 10 block range".to_owned())))
    })
    .await;
    let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
    let found = chain
        .lookup(&intent.identity, &intent.expected, Finality::Included)
        .await
        .unwrap();
    assert!(matches!(found, Lookup::Settled(_)), "{found:?}");
}

fn max_fee(raw: &tollway_core::Raw) -> u128 {
    let envelope = TxEnvelope::decode_2718(&mut raw.bytes.as_slice()).unwrap();
    envelope.max_fee_per_gas()
}

#[tokio::test]
async fn gas_above_the_cap_is_waited_for_not_paid() {
    let world = World::new().await;
    let intent = world.pay().await;
    let plan = world.plan(&intent).await;
    let mut config: EvmConfig = world.config(world.rpc.clone());
    config.limits.max_fee_per_gas = 1000;
    let chain = EvmChain::connect(config).await.unwrap();
    let error = chain.seal(&plan, &world.slot().await).await.unwrap_err();
    assert!(error.is_retryable());
    assert!(error.to_string().contains("fees"), "{error}");

    // A replacement that would have to exceed the cap is not made either.
    let first = world.chain.seal(&plan, &world.slot().await).await.unwrap();
    let mut config = world.config(world.rpc.clone());
    // A tenth more is not the eighth that nodes ask for.
    config.limits.max_fee_per_gas = max_fee(&first) / 10 * 11;
    let chain = EvmChain::connect(config).await.unwrap();
    let slot = Slot {
        replaces: Some(first),
        ..world.slot().await
    };
    assert!(chain.seal(&plan, &slot).await.is_err());
}

#[tokio::test]
async fn a_node_that_recommends_a_mad_tip_is_not_followed_and_one_without_advice_will_do() {
    let world = World::new().await;
    let plan = world.plan(&world.pay().await).await;
    for advice in [
        Ok(json!("0xde0b6b3a7640000")),
        Err((-32601, "no such method".to_owned())),
    ] {
        let mad = advice.is_ok();
        let rpc = behind(&world.devnet, move |method, _| {
            (method == "eth_maxPriorityFeePerGas").then(|| advice.clone())
        })
        .await;
        let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
        let raw = chain.seal(&plan, &world.slot().await).await.unwrap();
        let sealed = TxEnvelope::decode_2718(&mut raw.bytes.as_slice()).unwrap();
        let limits = chain.limits();
        let expected = if mad {
            limits.max_priority_fee
        } else {
            limits.min_priority_fee
        };
        assert_eq!(sealed.max_priority_fee_per_gas(), Some(expected));
        assert!(sealed.max_fee_per_gas() <= limits.max_fee_per_gas);
    }
}

#[tokio::test]
async fn one_answer_does_not_raise_the_tip_fifty_times() {
    let world = World::new().await;
    let plan = world.plan(&world.pay().await).await;
    let advice = Arc::new(AtomicBool::new(false));
    let mad = Arc::clone(&advice);
    let rpc = behind(&world.devnet, move |method, _| {
        let gwei = if mad.load(Ordering::SeqCst) { 50 } else { 1 };
        let tip = json!(format!("{:#x}", gwei * 1_000_000_000_u64));
        (method == "eth_maxPriorityFeePerGas").then(|| Ok(tip))
    })
    .await;
    let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
    let mut tips = Vec::new();
    for _ in 0..5 {
        let raw = chain.seal(&plan, &world.slot().await).await.unwrap();
        let sealed = TxEnvelope::decode_2718(&mut raw.bytes.as_slice()).unwrap();
        tips.push(sealed.max_priority_fee_per_gas().unwrap() / 1_000_000_000);
        advice.store(true, Ordering::SeqCst);
        world.wait(31);
    }
    assert_eq!(tips, [1, 4, 16, 50, 50], "what is meant is said again");
}

#[tokio::test]
async fn a_token_that_hides_its_separator_shows_its_domain_in_parts() {
    let world = World::new().await;
    let hides = |method: &str, params: &Value| {
        let call = params[0]["data"].as_str().unwrap_or_default();
        let asked = method == "eth_call" && call == "0x3644e515";
        asked.then(|| Err((3, "execution reverted".to_owned())))
    };
    let rpc = behind(&world.devnet, hides).await;
    EvmChain::connect(world.config(rpc)).await.unwrap();

    let rpc = behind(&world.devnet, hides).await;
    let mut config = world.config(rpc);
    let dollar = world.devnet.dollar().address;
    config.assets = AssetTable::empty().with(token(&world.network, dollar, "USD Coin"));
    let error = EvmChain::connect(config).await.unwrap_err();
    assert!(matches!(error, StartError::OtherDomain { .. }), "{error}");
}

#[tokio::test]
async fn a_broadcast_whose_answer_is_lost_is_repeated_safely() {
    let world = World::new().await;
    world.devnet.set_mining(Mining::Manual);
    let intent = world.pay().await;
    let slot = world.slot().await;
    let raw = world
        .chain
        .seal(&world.plan(&intent).await, &slot)
        .await
        .unwrap();
    for odd in [
        Err((-32603, "internal error".to_owned())),
        Ok(json!(format!("0x{:064x}", 5))),
    ] {
        let devnet = world.devnet.clone();
        let rpc = behind(&world.devnet, move |method, params| {
            (method == "eth_sendRawTransaction").then(|| {
                let _ = devnet.request(method, params.clone());
                odd.clone()
            })
        })
        .await;
        let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
        let error = chain.broadcast(&raw).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
    }
    assert_eq!(world.devnet.waiting(), 1);
    assert_eq!(
        world.chain.broadcast(&raw).await.unwrap(),
        Broadcast::Accepted
    );
    let watch = watch(&intent, &slot, &[&raw]);
    assert_eq!(world.outcome(&watch).await, Outcome::Unknown);
    let before = world.rpc.stats().http_requests;
    assert_eq!(world.outcome(&watch).await, Outcome::Unknown);
    assert_eq!(
        world.rpc.stats().http_requests,
        before + 1,
        "waiting costs one round trip"
    );
    world.devnet.mine(1).unwrap();
    assert!(matches!(world.outcome(&watch).await, Outcome::Settled(_)));
}

#[tokio::test]
async fn a_key_that_is_not_ours_signs_nothing() {
    let world = World::new().await;
    let plan = world.plan(&world.pay().await).await;
    let slot = Slot {
        signer: world
            .network
            .address(&format!("{:#x}", key(5).address()))
            .unwrap(),
        nonce: 0,
        replaces: None,
    };
    assert!(world.chain.seal(&plan, &slot).await.is_err());
    assert_eq!(json!(world.chain.kinds())[0]["scheme"], "exact");
}
