//! Verifications that are made at the same time, and the one question they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::U256;
use tollway_core::{Amount, Chain, Phase};
use tollway_devnet::{Contract, DEV_ACCOUNTS, Mining};
use tollway_evm::EvmChain;

use crate::support::fake_node::behind;
use crate::support::world::{PRICE, World, code, key, outcomes, verify_all};

fn price() -> Amount {
    Amount::from_atomic(u128::from(PRICE))
}

#[tokio::test]
async fn an_unknown_payer_costs_one_question_and_a_forgery_of_a_known_one_none() {
    let world = World::new().await;
    let intent = world.pay().await;
    world.verify(&intent).await.unwrap();
    let before = world.rpc.stats();
    world.verify(&world.payments(1)[0]).await.unwrap();
    let after = world.rpc.stats();
    assert_eq!(after.http_requests - before.http_requests, 1);
    assert_eq!(after.methods["eth_call"], before.methods["eth_call"] + 1);
    assert_eq!(after.methods["eth_getCode"], before.methods["eth_getCode"]);

    let forged = world.authorize(&world.terms(), DEV_ACCOUNTS[0].address, &key(3));
    assert_eq!(world.refusal(&forged).await, "invalid_exact_evm_signature");
    assert_eq!(world.rpc.stats(), after);
}

#[tokio::test]
async fn payments_that_are_verified_at_once_are_tried_in_one_call() {
    let world = World::new().await;
    let intents = world.payments(60);
    let before = world.rpc.stats().methods["eth_call"];
    let verdicts = world.verify_all(&intents).await;
    assert!(verdicts.iter().all(|v| code(v) == "good"));
    // The first leaves at once, the others together.
    assert_eq!(world.rpc.stats().methods["eth_call"] - before, 2);
    let limits = world.chain.limits();
    for verified in verdicts.into_iter().flatten() {
        assert!(verified.gas < limits.payment_gas / 2, "{}", verified.gas);
        assert!(verified.gas > 60_000, "{}", verified.gas);
    }
}

#[tokio::test]
async fn those_who_ask_on_different_runtimes_each_hear_their_own() {
    let world = Arc::new(World::new().await);
    let all = Arc::new(world.payments(40));
    let poor = world.payment_of(&world.payer(PRICE - 1), 1);
    // One of its own, as each thread that serves connections has.
    let elsewhere = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let there = elsewhere.spawn({
        let (world, all) = (Arc::clone(&world), Arc::clone(&all));
        async move { world.verify_all(&all[20..]).await }
    });
    let mut here = all[..20].to_vec();
    here.push(poor);
    let mut here = world.verify_all(&here).await;
    let last = here.pop().unwrap();
    assert_eq!(code(&last), "invalid_exact_evm_insufficient_balance");
    here.extend(there.await.unwrap());
    assert!(here.iter().all(|v| code(v) == "good"));
    let payers: Vec<_> = here
        .into_iter()
        .flatten()
        .map(|v| v.intent.identity)
        .collect();
    let asked: Vec<_> = all.iter().map(|i| i.identity.clone()).collect();
    assert_eq!(payers, asked);
    elsewhere.shutdown_background();
}

#[tokio::test]
async fn two_payments_from_one_balance_see_each_other() {
    let world = World::new().await;
    let poor = world.payer(PRICE + PRICE / 2);
    let pair = [world.payment_of(&poor, 1), world.payment_of(&poor, 2)];
    for intent in &pair {
        assert_eq!(
            code(&world.verify(intent).await),
            "good",
            "one after the other"
        );
    }
    // Something under way makes both wait for the same call.
    let [one, two] = pair;
    let verdicts = world
        .verify_all(&[world.payments(1).remove(0), one, two])
        .await;
    let codes: Vec<&str> = verdicts.iter().map(code).collect();
    assert_eq!(
        codes,
        ["good", "good", "invalid_exact_evm_insufficient_balance"]
    );
}

#[tokio::test]
async fn money_that_is_promised_elsewhere_does_not_pay_again() {
    let world = World::new().await;
    let payer = world.payer(2 * PRICE);
    let intent = world.payment_of(&payer, 1);
    let verify = |held: Amount| world.chain.verify(intent.clone(), Phase::Verify, held);
    verify(price()).await.unwrap();
    let more = Amount::from_atomic(u128::from(PRICE) + 1);
    let verdict = verify(more).await;
    assert_eq!(code(&verdict), "invalid_exact_evm_insufficient_balance");

    // What is promised to one that is verified at the same time counts once.
    let other = world.payment_of(&payer, 2);
    let (_, one, two) = tokio::join!(
        world
            .chain
            .verify(world.payments(1).remove(0), Phase::Verify, Amount::ZERO),
        verify(Amount::ZERO),
        world.chain.verify(other, Phase::Verify, price()),
    );
    assert_eq!([code(&one), code(&two)], ["good", "good"]);
}

#[tokio::test]
async fn a_payment_that_is_shown_ten_times_at_once_is_as_good_as_one() {
    let world = World::new().await;
    let intent = world.payments(1).remove(0);
    let verdicts = world.verify_all(&vec![intent; 10]).await;
    assert!(verdicts.iter().all(|v| code(v) == "good"));
}

#[tokio::test]
async fn a_signature_that_was_good_once_makes_no_other_payment_good() {
    let world = World::new().await;
    let payer = world.payer(10 * PRICE);
    let good = world.payment_of(&payer, 1);
    assert_eq!(code(&world.verify(&good).await), "good");
    let signature = good.payload.payload["signature"].clone();
    // Another authorization with those bytes, and those bytes changed.
    let mut other = world.payment_of(&payer, 2);
    Arc::make_mut(&mut other.payload).payload["signature"] = signature.clone();
    let mut twisted = good.clone();
    let text = signature.as_str().unwrap();
    let end = if text.ends_with("1b") { "1c" } else { "1b" };
    let text = format!("{}{end}", &text[..text.len() - 2]);
    Arc::make_mut(&mut twisted.payload).payload["signature"] = text.into();
    for bad in [other, twisted] {
        assert_eq!(
            code(&world.verify(&bad).await),
            "invalid_exact_evm_signature"
        );
    }
    assert_eq!(code(&world.verify(&good).await), "good");
}

#[tokio::test]
async fn everybody_gets_the_same_verdict_in_company_as_alone() {
    let world = World::new().await;
    let smart = alloy_primitives::Address::repeat_byte(0xc1);
    world
        .devnet
        .set_code(smart, Contract::YesWallet.runtime())
        .unwrap();
    world.devnet.mint(smart, U256::from(PRICE)).unwrap();
    let spent = world.payments(1).remove(0);
    world.send(&spent).await;
    let forger = world.payer(PRICE);
    let intents = [
        world.payments(1).remove(0),
        world.authorize(&world.terms(), forger.address(), &key(3)),
        world.payment_of(&world.payer(PRICE - 1), 1),
        spent,
        world.authorize(&world.terms(), smart, &key(4)),
        world.payments(1).remove(0),
    ];
    let expected = [
        "good",
        "invalid_exact_evm_signature",
        "invalid_exact_evm_insufficient_balance",
        "invalid_exact_evm_nonce_already_used",
        "good",
        "good",
    ];
    let together = world.verify_all(&intents).await;
    assert_eq!(together.iter().map(code).collect::<Vec<_>>(), expected);
    assert_eq!(together[4].as_ref().unwrap().signers, world.chain.signers());
    for (intent, expected) in intents.iter().zip(expected) {
        assert_eq!(code(&world.verify(intent).await), expected);
    }
}

#[tokio::test]
async fn a_node_that_cannot_try_many_at_once_is_asked_singly() {
    let world = World::new().await;
    let tried = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&tried);
    let rpc = behind(&world.devnet, move |method, params| {
        let many = method == "eth_call" && params[0]["to"].is_null();
        many.then(|| {
            count.fetch_add(1, Ordering::SeqCst);
            Err((-32602, "missing value for required argument: to".to_owned()))
        })
    })
    .await;
    let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
    let poor = world.payment_of(&world.payer(PRICE - 1), 1);
    let mut intents = world.payments(8);
    intents.push(poor);
    let verdicts = verify_all(&chain, &intents).await;
    assert!(verdicts[..8].iter().all(|v| code(v) == "good"));
    assert_eq!(code(&verdicts[8]), "invalid_exact_evm_insufficient_balance");
    let held = chain
        .verify(intents.remove(0), Phase::Verify, price())
        .await;
    assert_eq!(code(&held), "invalid_exact_evm_insufficient_balance");
    assert!(
        tried.load(Ordering::SeqCst) <= 2,
        "it is not asked so again"
    );
}

#[tokio::test]
async fn what_this_block_showed_is_not_tried_again_before_the_next() {
    let world = World::new().await;
    world.devnet.set_mining(Mining::Manual);
    let (_, watch) = world.send(&world.payments(1)[0]).await;
    world.devnet.mine(1).unwrap();
    outcomes(&world.chain, &watch).await;
    let payer = world.payer(PRICE);
    let intent = world.payment_of(&payer, 1);
    let calls = || world.rpc.stats().methods["eth_call"];
    let settle = |held| world.chain.verify(intent.clone(), Phase::Settle, held);

    world.verify(&intent).await.unwrap();
    let before = calls();
    settle(Amount::ZERO).await.unwrap();
    assert_eq!(calls(), before);
    // Promises count all the same.
    assert_eq!(
        code(&settle(price()).await),
        "invalid_exact_evm_insufficient_balance"
    );

    // In the next block the money is gone.
    let transfer = world.payment_of(&payer, 2);
    let (_, other) = world.send(&transfer).await;
    world.devnet.mine(1).unwrap();
    outcomes(&world.chain, &other).await;
    assert_eq!(
        code(&settle(Amount::ZERO).await),
        "invalid_exact_evm_insufficient_balance"
    );
}
