//! Did anybody use it, however long ago?

use serde_json::{Value, json};
use tollway_core::{Chain, Finality, Intent, Lookup};
use tollway_evm::EvmChain;
use tollway_rpc::RpcClient;

use crate::support::fake_node::behind;
use crate::support::world::World;

/// Log queries over more than ten blocks are refused.
async fn narrow(world: &World, forgets: bool) -> RpcClient {
    behind(&world.devnet, move |method, params| {
        let at = |key: &str| number(&params[0][key]);
        let too_long = method == "eth_getLogs" && at("toBlock") - at("fromBlock") >= 10;
        let too_old = method == "eth_call" && params[1] != "latest" && forgets;
        if too_long {
            return Some(Err((-32600, "up to a 10 block range".to_owned())));
        }
        too_old.then(|| Err((-32000, "missing trie node".to_owned())))
    })
    .await
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or("0x0");
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or("0"), 16).unwrap_or(0)
}

async fn look_up(chain: &EvmChain, intent: &Intent) -> Lookup {
    let lookup = chain.lookup(&intent.identity, &intent.expected, Finality::Included);
    lookup.await.unwrap()
}

#[tokio::test]
async fn a_use_of_long_ago_is_found_with_few_questions() {
    let world = World::new().await;
    let intent = world.pay().await;
    world.send(&intent).await;
    for _ in 0..3 {
        world.devnet.mine(10_000).unwrap();
    }
    let found = look_up(&world.chain, &intent).await;
    assert!(matches!(found, Lookup::Settled(_)), "{found:?}");
    assert!(world.rpc.stats().methods["eth_getLogs"] <= 4);
}

#[tokio::test]
async fn where_log_queries_are_short_older_states_lead_to_the_use() {
    let world = World::new().await;
    world.devnet.mine(20).unwrap();
    let intent = world.pay().await;
    world.send(&intent).await;
    world.devnet.mine(100).unwrap();
    let found = async |forgets| {
        let rpc = narrow(&world, forgets).await;
        let mut config = world.config(rpc.clone());
        config.limits.lookup_queries = 6;
        let chain = EvmChain::connect(config).await.unwrap();
        (
            look_up(&chain, &intent).await,
            rpc.stats().methods["eth_call"],
        )
    };
    let (lookup, calls) = found(false).await;
    assert!(matches!(lookup, Lookup::Settled(_)), "{lookup:?}");
    assert!(calls < 16, "{calls}");
    // Where those are gone too, nothing is known, and nothing is said.
    assert_eq!(found(true).await.0, Lookup::Unknown);
}

#[tokio::test]
async fn a_use_that_a_reorganisation_may_take_back_decides_nothing() {
    let world = World::new().await;
    let intent = world.pay().await;
    world.send(&intent).await;
    let at = |finality| {
        world
            .chain
            .lookup(&intent.identity, &intent.expected, finality)
    };
    let deep = Finality::Confirmations(3);
    assert_eq!(at(deep).await.unwrap(), Lookup::Unknown);
    world.devnet.request("anvil_mine", json!(["0x2"])).unwrap();
    assert!(matches!(at(deep).await.unwrap(), Lookup::Settled(_)));
}
