//! Payments that share a transaction, each of which stands or falls alone.

use alloy_primitives::{Address as Account, Bytes, U256};
use alloy_sol_types::{SolCall, SolValue, sol};
use serde_json::{Value, json};
use tollway_core::assets::AssetTable;
use tollway_core::{Chain, Finality, Lookup, Outcome, Proof, Watch};
use tollway_devnet::{Contract, Devnet, MULTICALL, Mining};
use tollway_evm::{BatchWay, EvmChain, EvmConfig, executor_address};

use crate::support::world::{NOW, PRICE, World, key, outcomes, planned, verify_all};

sol! {
    struct Execution { address target; uint256 value; bytes callData; }
    function execute(bytes32 mode, bytes executionCalldata);
    function initialize(address owner);
}

/// A chain with Base's blocks.
async fn wide() -> World {
    let devnet = Devnet::builder()
        .fixed_time(NOW)
        .block_gas_limit(400_000_000)
        .build()
        .unwrap();
    World::with(devnet, AssetTable::builtin()).await
}

async fn with(world: &World, change: impl FnOnce(&mut EvmConfig)) -> EvmChain {
    let mut config = world.config(world.rpc.clone());
    change(&mut config);
    EvmChain::connect(config).await.unwrap()
}

/// One whose settling account calls as itself.
async fn self_calling(world: &World) -> EvmChain {
    let chain = with(world, |c| c.limits.batch_way = BatchWay::SelfCall).await;
    chain.set_up_self_calls().await.unwrap();
    chain
}

fn settled(outcomes: &[Outcome]) -> Vec<bool> {
    let settled = |outcome: &Outcome| matches!(outcome, Outcome::Settled(_));
    outcomes.iter().map(settled).collect()
}

fn gas_used(world: &World, watch: &Watch) -> u64 {
    let receipt = json!([watch.hashes[0]]);
    let receipt = world
        .devnet
        .request("eth_getTransactionReceipt", receipt)
        .unwrap();
    u64::from_str_radix(&receipt["gasUsed"].as_str().unwrap()[2..], 16).unwrap()
}

#[tokio::test]
async fn a_hundred_payers_share_one_transaction_and_most_of_its_gas() {
    let world = wide().await;
    let (_, first) = world.send(&world.payments(1)[0]).await;
    let (_, alone) = world.send(&world.payments(1)[0]).await;
    assert!(matches!(world.outcome(&first).await, Outcome::Settled(_)));
    let single = gas_used(&world, &alone);

    for chain in [with(&world, |_| {}).await, self_calling(&world).await] {
        let before = world.payee_has();
        let (plan, watch) = world.send_together(&chain, &world.payments(100)).await;
        assert_eq!(plan.payments.len(), 100);
        assert!(plan.gas_limit < 1 << 24, "{}", plan.gas_limit);
        let outcomes = outcomes(&chain, &watch).await;
        assert_eq!(settled(&outcomes), [true; 100]);
        assert_eq!(world.payee_has() - before, U256::from(100 * PRICE));
        let each = gas_used(&world, &watch) / 100;
        println!(
            "{:?}: {each} gas a payment, {single} alone",
            chain.limits().batch_way
        );
        assert!(each * 100 < single * 75, "{each} of {single}");

        let mut logs: Vec<u64> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Outcome::Settled(settled) => settled.log_index.unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        logs.dedup();
        assert_eq!(logs.len(), 100, "each has a log of its own");
    }
}

#[tokio::test]
async fn what_cannot_be_paid_fails_alone() {
    let world = wide().await;
    for chain in [with(&world, |_| {}).await, self_calling(&world).await] {
        world.devnet.set_mining(Mining::Manual);
        let intents = world.payments(5);
        let (_, watch) = world.send_together(&chain, &intents).await;
        // A stranger is faster with one of them.
        let mut config = world.config(world.rpc.clone());
        config.signers = vec![key(3).into()];
        config.limits.min_priority_fee = 5_000_000_000;
        let stranger = EvmChain::connect(config).await.unwrap();
        let slot = tollway_core::Slot {
            signer: stranger.signers().remove(0),
            nonce: world.devnet.nonce(key(3).address()),
            replaces: None,
        };
        let stolen = world.plan(&intents[2]).await;
        let stolen = stranger.seal(&stolen, &slot).await.unwrap();
        stranger.broadcast(&stolen).await.unwrap();
        world.devnet.mine(1).unwrap();

        let outcomes = outcomes(&chain, &watch).await;
        assert_eq!(settled(&outcomes), [true, true, false, true, true]);
        let Outcome::NotSettled(Proof::NoTransfer { fee, .. }) = &outcomes[2] else {
            panic!("{:?}", outcomes[2]);
        };
        assert!(!fee.is_zero());
        let lookup = chain.lookup(
            &intents[2].identity,
            &intents[2].expected,
            Finality::Included,
        );
        assert!(matches!(lookup.await.unwrap(), Lookup::Settled(s) if s.by_third_party));
        world.devnet.set_mining(Mining::Automine);
    }
}

/// Four payments; then the second payer's account gets code that burns gas.
async fn poisoned(world: &World, chain: &EvmChain) -> (Vec<Outcome>, Watch) {
    let intents = world.payments(4);
    let verified = verify_all(chain, &intents).await;
    let payments: Vec<_> = verified.into_iter().map(|v| planned(v.unwrap())).collect();
    let plan = chain.plan(&payments).await.unwrap().remove(0);
    let payer: Account = intents[1].identity.payer.as_str().parse().unwrap();
    let burner = Contract::GasBurnerWallet.runtime();
    world.devnet.set_code(payer, burner).unwrap();
    let watch = world.send_plan(chain, &plan).await;
    (outcomes(chain, &watch).await, watch)
}

#[tokio::test]
async fn a_payer_that_burns_the_gas_of_all_stops_the_others_and_takes_nothing() {
    let world = wide().await;
    let (outcomes, watch) = poisoned(&world, &world.chain).await;
    // Multicall3 bounds no call: the transaction runs dry and is undone.
    assert_eq!(settled(&outcomes), [false; 4]);
    assert!(
        gas_used(&world, &watch) < 1_000_000,
        "what four need, and no more"
    );
    for (at, (outcome, item)) in outcomes.iter().zip(&watch.expected).enumerate() {
        assert!(matches!(
            outcome,
            Outcome::NotSettled(Proof::Reverted { .. })
        ));
        let lookup = world
            .chain
            .lookup(&item.identity, &item.expected, Finality::Included);
        assert!(
            matches!(lookup.await.unwrap(), Lookup::Unused { .. }),
            "{at}"
        );
    }
}

#[tokio::test]
async fn where_each_payments_gas_is_bounded_a_burner_fails_alone() {
    let world = wide().await;
    let chain = self_calling(&world).await;
    let (outcomes, watch) = poisoned(&world, &chain).await;
    assert_eq!(settled(&outcomes), [true, false, true, true]);
    assert!(gas_used(&world, &watch) < 700_000);
}

#[tokio::test]
async fn contracts_and_payments_that_ask_for_it_have_transactions_of_their_own() {
    let world = World::new().await;
    let smart = Account::repeat_byte(0xc1);
    world
        .devnet
        .set_code(smart, Contract::YesWallet.runtime())
        .unwrap();
    world.devnet.mint(smart, U256::from(PRICE)).unwrap();
    let mut intents = world.payments(4);
    intents.insert(1, world.authorize(&world.terms(), smart, &key(4)));
    let mut payments: Vec<_> = world
        .verify_all(&intents)
        .await
        .into_iter()
        .map(|v| planned(v.unwrap()))
        .collect();
    payments[2].alone = true;
    let plans = world.chain.plan(&payments).await.unwrap();
    let sizes: Vec<usize> = plans.iter().map(|p| p.payments.len()).collect();
    assert_eq!(sizes, [3, 1, 1]);
    assert_eq!(plans[0].payments[1], payments[3], "in order");
    let limits = world.chain.limits();
    assert_eq!(plans[1].gas_limit, limits.contract_payment_gas);
    assert!(plans[2].gas_limit < plans[0].gas_limit);
    for plan in &plans {
        let watch = world.send_plan(&world.chain, plan).await;
        assert!(
            settled(&outcomes(&world.chain, &watch).await)
                .iter()
                .all(|s| *s)
        );
    }
}

#[tokio::test]
async fn shared_transactions_keep_within_their_limits() {
    let world = wide().await;
    let intents = world.payments(7);
    let sizes = async |world: &World, change: &dyn Fn(&mut EvmConfig)| {
        let chain = with(world, change).await;
        let verified = verify_all(&chain, &intents).await;
        let payments: Vec<_> = verified.into_iter().map(|v| planned(v.unwrap())).collect();
        let plans = chain.plan(&payments).await.unwrap();
        let sizes: Vec<usize> = plans.iter().map(|p| p.payments.len()).collect();
        sizes
    };
    assert_eq!(sizes(&world, &|_| {}).await, [7]);
    assert_eq!(sizes(&world, &|c| c.limits.batch_max = 3).await, [3, 3, 1]);
    assert_eq!(sizes(&world, &|c| c.limits.batch_max = 1).await, [1; 7]);
    let tight = |c: &mut EvmConfig| c.limits.batch_gas = 500_000;
    assert_eq!(sizes(&world, &tight).await, [3, 3, 1]);
    world.devnet.set_code(MULTICALL, Bytes::new()).unwrap();
    assert_eq!(sizes(&world, &|_| {}).await, [1; 7], "no Multicall3");
}

#[tokio::test]
async fn a_shared_transaction_takes_a_quarter_of_a_block_at_most() {
    let devnet = Devnet::builder()
        .fixed_time(NOW)
        .block_gas_limit(2_000_000)
        .build()
        .unwrap();
    let world = World::with(devnet, AssetTable::builtin()).await;
    let verified = world.verify_all(&world.payments(9)).await;
    let payments: Vec<_> = verified.into_iter().map(|v| planned(v.unwrap())).collect();
    for plan in world.chain.plan(&payments).await.unwrap() {
        assert!(plan.gas_limit <= 500_000, "{}", plan.gas_limit);
    }
}

fn try_call(
    world: &World,
    from: Account,
    mode: &str,
    executions: Vec<Execution>,
) -> Result<Value, String> {
    let call = executeCall {
        mode: format!("{mode:0<66}").parse().unwrap(),
        executionCalldata: executions.abi_encode().into(),
    };
    let request =
        json!({"from": from, "to": key(2).address(), "data": Bytes::from(call.abi_encode())});
    let answer = world.devnet.request("eth_call", json!([request, "latest"]));
    answer.map_err(|e| e.message.to_string())
}

#[tokio::test]
async fn nobody_else_can_use_the_executor() {
    let world = wide().await;
    let chain = self_calling(&world).await;
    let own = key(2).address();
    assert_eq!(
        chain.set_up_self_calls().await.unwrap(),
        [],
        "once is enough"
    );
    assert_eq!(world.devnet.code(own).len(), 23);
    let steal = || {
        vec![Execution {
            target: key(3).address(),
            value: U256::from(1),
            callData: Bytes::new(),
        }]
    };
    try_call(&world, own, "0x0101", steal()).unwrap();
    for mode in ["0x0100", "0x0001", "0x01010001"] {
        assert!(try_call(&world, own, mode, steal()).is_err(), "{mode}");
    }
    assert!(try_call(&world, key(3).address(), "0x0101", steal()).is_err());
    // Nor through another contract, nor at the executor's own address.
    assert!(try_call(&world, MULTICALL, "0x0101", steal()).is_err());
    // Ether still arrives.
    let gift = json!([{"from": key(3).address(), "to": own, "value": "0x1"}, "latest"]);
    world.devnet.request("eth_call", gift).unwrap();
}

#[tokio::test]
async fn the_executor_is_deployed_where_it_is_missing_and_other_code_is_left_alone() {
    let world = wide().await;
    world
        .devnet
        .set_code(executor_address(), Bytes::new())
        .unwrap();
    world.devnet.set_nonce(executor_address(), 0);
    let chain = with(&world, |c| c.limits.batch_way = BatchWay::SelfCall).await;
    assert_eq!(chain.set_up_self_calls().await.unwrap().len(), 2);
    let (_, watch) = world.send_together(&chain, &world.payments(3)).await;
    assert_eq!(settled(&outcomes(&chain, &watch).await), [true; 3]);

    let other = wide().await;
    let designator = [&[0xef, 0x01, 0x00], MULTICALL.as_slice()].concat();
    other
        .devnet
        .set_code(key(2).address(), designator.into())
        .unwrap();
    let chain = with(&other, |c| c.limits.batch_way = BatchWay::SelfCall).await;
    assert!(chain.set_up_self_calls().await.is_err());
    // Without it, payments share by Multicall3.
    let (_, watch) = other.send_together(&chain, &other.payments(3)).await;
    assert_eq!(settled(&outcomes(&chain, &watch).await), [true; 3]);
}
