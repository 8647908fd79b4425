//! Many payments at once, many callers, several machines, and chains that
//! change their mind.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use tollway_core::wire::SettleResponse;
use tollway_core::{Amount, Clock, Facilitator, SettleRequest, SystemClock};
use tollway_facilitator::{CallerRule, EngineConfig, GasCap, GasCaps, HttpOptions, service};
use tollway_ledger::PaymentState;
use tower::ServiceExt;

use crate::fake_chain::{FakeChain, Node};
use crate::fixtures::{ASSET, account, network, new_payment, payload, requirements};
use crate::memory_store::MemoryStore;
use crate::scene::{
    Scene, ShiftedClock, code, deadline, quick, settle_request, start, until, verify_request,
};

/// So many payments of as many payers, all at the same time.
fn burst(scene: &Scene, count: u64) -> tokio::task::JoinSet<SettleResponse> {
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..count {
        let engine = scene.engine.clone();
        callers.spawn(async move { engine.settle(&settle_request(n, n)).await.unwrap() });
    }
    callers
}

#[tokio::test]
async fn when_many_wait_they_share_transactions() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let callers = burst(&scene, 120);
    until("all are sent", || {
        scene.chain.script().sizes().iter().sum::<usize>() == 120
    })
    .await;
    let sizes = scene.chain.script().sizes();
    assert!(sizes.len() <= 12, "too many transactions: {sizes:?}");
    assert!(sizes.iter().all(|n| *n <= 100), "too large: {sizes:?}");
    scene.chain.script().include_all();
    assert!(callers.join_all().await.iter().all(|r| r.success));
    assert_eq!(scene.chain.script().transfers(), 120);
}

#[tokio::test]
async fn sharing_can_be_switched_off() {
    let mut config = quick();
    config.rules.batch_max = 1;
    let scene = Scene::with(FakeChain::new(), config);
    assert!(burst(&scene, 30).join_all().await.iter().all(|r| r.success));
    assert_eq!(scene.chain.script().sizes(), vec![1; 30]);
}

#[tokio::test]
async fn a_payment_that_asks_for_it_has_a_transaction_of_its_own() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let callers = burst(&scene, 30);
    let mut single = settle_request(77, 77);
    let wire = requirements().with_extra("singleTransaction", true);
    single.requirements = wire.into();
    let engine = scene.engine.clone();
    let alone = tokio::spawn(async move { engine.settle(&single).await.unwrap() });
    until("all are sent", || {
        scene.chain.script().sizes().iter().sum::<usize>() == 31
    })
    .await;
    scene.chain.script().include_all();
    let hash = alone.await.unwrap().transaction;
    let others = callers.join_all().await;
    assert!(others.iter().all(|r| r.success && r.transaction != hash));
}

#[tokio::test]
async fn a_poisoned_payment_fails_alone_and_holds_nobody_else() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let bad = new_payment(7, 7, deadline()).identity.key();
    scene.chain.script().poisoned.insert(bad);
    let mut callers = burst(&scene, 30);
    let mut answers = Vec::new();
    while !callers.is_empty() {
        scene.chain.script().include_all();
        let wait = tokio::time::timeout(Duration::from_millis(5), callers.join_next());
        if let Ok(Some(answer)) = wait.await {
            answers.push(answer.unwrap());
        }
    }
    let failed: Vec<_> = answers.iter().filter(|a| !a.success).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(code(failed[0]), "invalid_transaction_state");
    let sizes = scene.chain.script().sizes();
    assert_eq!(
        sizes.iter().sum::<usize>(),
        32,
        "only the bad one went again: {sizes:?}"
    );
}

#[tokio::test]
async fn a_settled_payment_whose_block_was_replaced_is_settled_again_and_told_once() {
    for depth in 1..=12 {
        let scene = Scene::new();
        let request = settle_request(1, 1);
        assert!(scene.settle(&request).await.success);
        scene.chain.script().mine_empty(depth - 1);
        scene.chain.script().reorganise(depth);
        assert_eq!(scene.chain.script().transfers(), 0);
        until("the money moved again", || {
            scene.chain.script().transfers() == 1
        })
        .await;
        until("it is settled again", || {
            let model = scene.store.model();
            let states: Vec<_> = model.payments.values().map(|p| p.state).collect();
            states == [PaymentState::Settled]
        })
        .await;
        let sent = scene.chain.script().distinct();
        assert_eq!(sent.len(), 1, "the same bytes go out again");
        assert_eq!(code(&scene.settle(&request).await), "duplicate_settlement");
    }
}

#[tokio::test]
async fn a_payment_deep_enough_is_watched_no_longer() {
    let mut config = quick();
    config.rules.reorg_watch = 4;
    let scene = Scene::with(FakeChain::new(), config);
    assert!(scene.settle(&settle_request(1, 1)).await.success);
    assert_eq!(scene.store.model().watched().len(), 1);
    scene.chain.script().mine_empty(4);
    until("it is final", || scene.store.model().watched().is_empty()).await;
    let looks = scene.chain.script().looks;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        scene.chain.script().looks <= looks + 1,
        "it looks for nothing"
    );
}

#[tokio::test]
async fn signers_without_gas_are_said_before_anything_is_served() {
    let config = EngineConfig {
        signer_interval: Duration::from_millis(20),
        ..quick()
    };
    let scene = Scene::with(FakeChain::with_signers(2), config);
    scene.chain.script().low.insert(account(0xa1));
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(burst(&scene, 8).join_all().await.iter().all(|r| r.success));
    let sent = scene.chain.script().distinct();
    assert!(sent.iter().all(|(signer, ..)| *signer == account(0xa2)));
    let health = scene.engine.health().await;
    assert_eq!(health.networks[0].low_signers, [account(0xa1).to_string()]);
    assert!(health.ready, "one signer is enough");

    scene.chain.script().low.insert(account(0xa2));
    tokio::time::sleep(Duration::from_millis(60)).await;
    let error = scene
        .engine
        .check(&verify_request(50, 50))
        .await
        .unwrap_err();
    assert_eq!(error.code, "signer_unavailable");
    let error = scene.engine.pay(&settle_request(50, 50)).await.unwrap_err();
    assert_eq!(error.code, "signer_unavailable");
    assert!(!scene.engine.health().await.ready);
    scene.chain.script().low.clear();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(scene.settle(&settle_request(50, 50)).await.success);
}

#[tokio::test]
async fn what_a_payer_wastes_in_a_day_is_bounded_also_over_restarts() {
    let config = EngineConfig {
        gas: GasCaps {
            lost_per_payer_and_day: GasCap::Fees(Amount::from_atomic(2500)),
            per_day: GasCap::Unbounded,
        },
        ..quick()
    };
    let scene = Scene::with(FakeChain::new(), config.clone());
    scene.chain.script().reverts = 3;
    let response = scene.settle(&settle_request(1, 1)).await;
    assert_eq!(code(&response), "invalid_transaction_state");
    until("the slots are closed", || {
        scene.store.model().gas_spent(None).lost == Amount::from_atomic(3000)
    })
    .await;
    let refused = async |engine: &tollway_facilitator::Engine| {
        let error = engine.check(&verify_request(1, 2)).await.unwrap_err();
        assert_eq!(error.code, "gas_budget_exhausted");
        let error = engine.pay(&settle_request(1, 2)).await.unwrap_err();
        assert_eq!(error.code, "gas_budget_exhausted");
        let other = engine.check(&verify_request(2, 2)).await.unwrap();
        assert!(other.is_valid, "another payer wasted nothing");
    };
    refused(&scene.engine).await;
    let store = scene.store.clone();
    drop(scene.engine);
    let engine = start(&scene.chain, store, &scene.clock, config);
    refused(&engine).await;
}

#[tokio::test]
async fn the_gas_of_a_day_is_bounded_in_all() {
    let config = EngineConfig {
        gas: GasCaps {
            lost_per_payer_and_day: GasCap::Unbounded,
            per_day: GasCap::Fees(Amount::from_atomic(1)),
        },
        ..quick()
    };
    let scene = Scene::with(FakeChain::new(), config);
    assert!(scene.settle(&settle_request(1, 1)).await.success);
    until("its cost is known", || {
        !scene.store.model().gas_spent(None).fee.is_zero()
    })
    .await;
    let error = scene.engine.check(&verify_request(2, 2)).await.unwrap_err();
    assert_eq!(error.code, "gas_budget_exhausted");
    scene.clock.advance(Duration::from_secs(86_400));
    scene.store.model().forget_gas();
    let tomorrow = SystemClock.now().plus(Duration::from_secs(90_000));
    let mut request = verify_request(2, 2);
    request.payload = payload(2, 2, tomorrow).into();
    assert!(scene.engine.check(&request).await.unwrap().is_valid);
}

#[tokio::test]
async fn without_a_word_of_the_operator_a_part_of_the_gas_is_kept() {
    // What one payer lost is a hundredth of all; all that was spent is three quarters.
    for (funds, all) in [(99_000, false), (400, true)] {
        let config = EngineConfig {
            signer_interval: Duration::from_millis(20),
            ..quick()
        };
        let scene = Scene::with(FakeChain::new(), config);
        scene.chain.script().gas_of_each = Some(funds);
        tokio::time::sleep(Duration::from_millis(60)).await;
        scene.chain.script().reverts = if all { 0 } else { 1 };
        assert!(scene.settle(&settle_request(1, 1)).await.success);
        until("its cost is known", || {
            let spent = scene.store.model().gas_spent(None);
            spent.fee >= Amount::from_atomic(if all { 1 } else { 1000 })
        })
        .await;
        if all {
            scene.chain.script().gas_of_each = Some(0);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let error = scene.engine.check(&verify_request(1, 2)).await.unwrap_err();
        assert_eq!(error.code, "gas_budget_exhausted");
        let other = scene.engine.check(&verify_request(2, 2)).await;
        assert_eq!(other.is_ok_and(|verdict| verdict.is_valid), !all);
    }
}

#[tokio::test]
async fn less_than_the_least_is_refused_before_anything_is_served() {
    let place = (network(), network().address(ASSET).unwrap());
    let config = EngineConfig {
        min_amounts: [(place, Amount::from_atomic(10_000))].into(),
        ..quick()
    };
    let scene = Scene::with(FakeChain::new(), config);
    let mut small = settle_request(1, 1);
    Arc::make_mut(&mut small.requirements).amount = "9999".to_owned();
    Arc::make_mut(&mut small.payload).accepted.amount = "9999".to_owned();
    let verify = tollway_core::VerifyRequest {
        payload: small.payload.clone(),
        requirements: small.requirements.clone(),
    };
    let verdict = scene.engine.check(&verify).await.unwrap();
    assert_eq!(verdict.invalid_reason.as_deref(), Some("amount_too_small"));
    assert_eq!(code(&scene.settle(&small).await), "amount_too_small");
    // A large maximum is no way around it; nothing at all costs no gas.
    let metered = |nonce: u64, charge: &str| {
        let mut request = settle_request(1, nonce);
        Arc::make_mut(&mut request.requirements).scheme = "upto".to_owned();
        Arc::make_mut(&mut request.requirements).amount = charge.to_owned();
        Arc::make_mut(&mut request.payload).accepted.scheme = "upto".to_owned();
        request
    };
    assert_eq!(
        code(&scene.settle(&metered(2, "1")).await),
        "amount_too_small"
    );
    assert!(scene.settle(&metered(3, "0")).await.success);
    assert!(scene.settle(&settle_request(1, 4)).await.success);
}

#[tokio::test]
async fn a_verified_payment_holds_its_part_of_the_balance_for_a_while() {
    let scene = Scene::new();
    scene.chain.script().balance = Some(10_000);
    let check = async |nonce| {
        let response = scene.engine.check(&verify_request(1, nonce)).await.unwrap();
        response.invalid_reason
    };
    assert_eq!(check(1).await, None);
    assert_eq!(check(2).await.as_deref(), Some("insufficient_funds"));
    assert_eq!(check(1).await, None, "never against itself");
    scene.clock.advance(Duration::from_secs(31));
    assert_eq!(check(2).await, None, "what was not settled is forgotten");
}

#[tokio::test]
async fn what_cannot_settle_in_time_is_refused_before_anything_is_served() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let engine = scene.engine.clone();
    let waiting = tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await.unwrap() });
    until("it is sent", || !scene.chain.script().sent.is_empty()).await;
    let mut soon = verify_request(2, 2);
    let end = SystemClock.now().plus(Duration::from_secs(7));
    soon.payload = payload(2, 2, end).into();
    let error = scene.engine.check(&soon).await.unwrap_err();
    assert_eq!(error.code, "cannot_settle_in_time");
    assert!(
        scene
            .engine
            .check(&verify_request(2, 3))
            .await
            .unwrap()
            .is_valid
    );
    scene.chain.script().include_all();
    assert!(waiting.await.unwrap().success);
}

#[tokio::test]
async fn a_forgotten_transaction_below_others_is_sent_again_and_all_settle() {
    let mut config = quick();
    config.rules.rebroadcast_after = Duration::from_millis(100);
    let scene = Scene::with(FakeChain::new(), config);
    scene.chain.script().node = Node::Slow;
    let callers = burst(&scene, 3);
    until("all are sent", || {
        scene.chain.script().sizes().iter().sum::<usize>() == 3
    })
    .await;
    scene.chain.script().forget_waiting();
    scene.chain.script().node = Node::Automine;
    assert!(callers.join_all().await.iter().all(|r| r.success));
}

struct Two {
    first: tollway_facilitator::Engine,
    second: tollway_facilitator::Engine,
    chain: Arc<FakeChain>,
    store: Arc<MemoryStore>,
}

/// Two machines over one ledger; the first has the only signer.
async fn two() -> Two {
    let config = EngineConfig {
        adopt_interval: Duration::from_millis(30),
        replica_ttl: Duration::from_millis(90),
        rules: tollway_facilitator::engine::machine::Rules {
            patience: Duration::from_millis(20),
            ..quick().rules
        },
        ..quick()
    };
    let (chain, store) = (FakeChain::new(), Arc::new(MemoryStore::of_several()));
    let clock = Arc::<ShiftedClock>::default();
    let first = start(&chain, store.clone(), &clock, config.clone());
    tokio::time::sleep(Duration::from_millis(30)).await;
    let second = start(&chain, store.clone(), &clock, config);
    tokio::time::sleep(Duration::from_millis(30)).await;
    Two {
        first,
        second,
        chain,
        store,
    }
}

#[tokio::test]
async fn a_machine_without_a_signer_leaves_its_payments_to_one_that_has_one() {
    let two = two().await;
    let response = two.second.settle(&settle_request(1, 1)).await.unwrap();
    assert!(response.success, "{response:?}");
    assert_eq!(two.chain.script().transfers(), 1);
}

#[tokio::test]
async fn duplicates_over_two_machines_are_broadcast_once_and_succeed_once() {
    let two = two().await;
    let request = settle_request(1, 1);
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..100 {
        let engine = if n % 2 == 0 { &two.first } else { &two.second };
        let (engine, request) = (engine.clone(), request.clone());
        callers.spawn(async move { engine.settle(&request).await.unwrap() });
    }
    let answers = callers.join_all().await;
    assert_eq!(answers.iter().filter(|a| a.success).count(), 1);
    let others = answers.iter().filter(|a| !a.success);
    assert!(others.map(code).all(|c| c == "duplicate_settlement"));
    assert_eq!(two.chain.script().distinct().len(), 1);
}

#[tokio::test]
async fn the_work_of_a_dead_machine_is_taken_over() {
    let two = two().await;
    two.chain.script().node = Node::Slow;
    let request = settle_request(1, 1);
    let caller = {
        let (engine, request) = (two.first.clone(), request.clone());
        tokio::spawn(async move { engine.settle(&request).await })
    };
    until("it is sent", || !two.chain.script().sent.is_empty()).await;
    caller.abort();
    let _ = caller.await;
    drop(two.first);
    let dead = two.store.model().alive.iter().next().unwrap().clone();
    two.store.model().alive.remove(&dead);
    two.chain.script().include_all();
    let response = two.second.settle(&request).await.unwrap();
    assert!(response.success, "{response:?}");
    assert_eq!(two.chain.script().distinct().len(), 1);
}

#[tokio::test]
async fn what_a_dead_machine_settled_is_watched_by_who_takes_its_signer() {
    let two = two().await;
    let request = settle_request(1, 1);
    assert!(two.first.settle(&request).await.unwrap().success);
    until("its slot is closed", || {
        two.store.model().open_slots().is_empty()
    })
    .await;
    drop(two.first);
    let dead = two.store.model().payments.values().next().unwrap().clone();
    two.store.model().alive.remove(&dead.replica.unwrap());
    tokio::time::sleep(Duration::from_millis(200)).await;
    two.chain.script().reorganise(1);
    assert_eq!(two.chain.script().transfers(), 0);
    until("the money moved again", || {
        two.chain.script().transfers() == 1
    })
    .await;
    drop(two.second);
}

fn caller(name: &str, key: &str, per_minute: u32, open: u32) -> CallerRule {
    CallerRule {
        name: name.to_owned(),
        key_sha256: Sha256::digest(key.as_bytes()).into(),
        per_minute,
        open_payments: open,
        concurrent: 8,
        payees: Vec::new(),
    }
}

/// What a caller with this key hears: status and body.
async fn post(
    api: &tollway_facilitator::FacilitatorService,
    path: &str,
    key: Option<(&str, String)>,
    request: &SettleRequest,
) -> (u16, serde_json::Value) {
    use http_body_util::BodyExt;
    let body = json!({
        "x402Version": 2,
        "paymentPayload": &*request.payload,
        "paymentRequirements": &*request.requirements,
    });
    let mut builder = http::Request::post(path).header("content-type", "application/json");
    if let Some((name, value)) = key {
        builder = builder.header(name, value);
    }
    let whole = http_body_util::Full::new(axum::body::Bytes::from(body.to_string()));
    let answer = api.clone().oneshot(builder.body(whole).unwrap()).await;
    let answer = answer.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn only_known_keys_may_call_each_within_its_quota() {
    let config = EngineConfig {
        callers: vec![
            caller("shop", "secret-1", 600, 100),
            caller("mill", "secret-2", 2, 100),
        ],
        ..quick()
    };
    let scene = Scene::with(FakeChain::new(), config);
    let api = service(scene.engine.clone(), HttpOptions::default());
    let request = settle_request(1, 1);
    let bearer = |key: &str| Some(("authorization", format!("Bearer {key}")));
    for key in [
        None,
        bearer("wrong"),
        Some(("x-api-key", "wrong".to_owned())),
    ] {
        for path in ["/verify", "/settle"] {
            let (status, body) = post(&api, path, key.clone(), &request).await;
            assert_eq!(status, 401, "{body}");
            assert!(body.to_string().contains("invalid_api_key"), "{body}");
        }
    }
    let (status, body) = post(&api, "/settle", bearer("secret-1"), &request).await;
    assert_eq!((status, &body["success"]), (200, &json!(true)), "{body}");
    let record = scene
        .store
        .model()
        .payments
        .values()
        .next()
        .unwrap()
        .clone();
    assert_eq!(record.payment.caller.as_deref(), Some("shop"));

    let mill = || Some(("x-api-key", "secret-2".to_owned()));
    let mut statuses = Vec::new();
    for n in 2..6 {
        let (status, _) = post(&api, "/verify", mill(), &settle_request(n, n)).await;
        statuses.push(status);
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    let (status, _) = post(&api, "/verify", bearer("secret-1"), &settle_request(9, 9)).await;
    assert_eq!(status, 200, "another caller is not harmed");
    let health = http::Request::get("/health").body(axum::body::Body::empty());
    let answer = api.clone().oneshot(health.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
}

fn metered(nonce: u64, charge: &str) -> SettleRequest {
    let mut request = settle_request(1, nonce);
    Arc::make_mut(&mut request.requirements).scheme = "upto".to_owned();
    Arc::make_mut(&mut request.requirements).amount = charge.to_owned();
    Arc::make_mut(&mut request.payload).accepted.scheme = "upto".to_owned();
    request
}

#[tokio::test]
async fn what_is_charged_of_a_maximum_is_said_by_its_payee_and_nobody_else() {
    let mut shop = caller("shop", "secret-1", 600, 100);
    shop.payees = vec![
        crate::fixtures::network()
            .address(crate::fixtures::PAYEE)
            .unwrap(),
    ];
    let config = EngineConfig {
        callers: vec![shop, caller("buyer", "secret-2", 600, 100)],
        ..quick()
    };
    let scene = Scene::with(FakeChain::new(), config);
    let api = service(scene.engine.clone(), HttpOptions::default());
    let bearer = |key: &str| Some(("authorization", format!("Bearer {key}")));
    // Whoever has seen the payment tries to settle it for nothing, for little, for all.
    for charge in ["0", "1", "10000"] {
        for path in ["/verify", "/settle"] {
            let (_, body) = post(&api, path, bearer("secret-2"), &metered(1, charge)).await;
            assert!(body.to_string().contains("upto_caller_not_payee"), "{body}");
        }
    }
    assert_eq!(
        scene.store.model().payments.len(),
        0,
        "nothing was consumed"
    );
    let (_, body) = post(&api, "/settle", bearer("secret-1"), &metered(1, "4000")).await;
    assert_eq!(
        (&body["success"], &body["amount"]),
        (&json!(true), &json!("4000"))
    );
    // What has a fixed price is anybody's to settle.
    let (_, body) = post(&api, "/settle", bearer("secret-2"), &settle_request(1, 2)).await;
    assert_eq!(body["success"], json!(true), "{body}");
}

#[tokio::test]
async fn without_keys_nobody_says_what_is_charged_unless_the_operator_lets_anybody() {
    for open_upto in [false, true] {
        let config = EngineConfig {
            open_upto,
            ..quick()
        };
        let scene = Scene::with(FakeChain::new(), config);
        let api = service(scene.engine.clone(), HttpOptions::default());
        let (_, body) = post(&api, "/settle", None, &metered(1, "0")).await;
        assert_eq!(body["success"], json!(open_upto), "{body}");
        // A gate in the process is its own payee's.
        assert!(scene.settle(&metered(2, "4000")).await.success);
    }
}

#[tokio::test]
async fn a_flood_of_one_caller_waits_while_another_is_served_in_its_turn() {
    let mut config = quick();
    config.callers = vec![
        caller("flood", "f", 60_000, 10_000),
        caller("shop", "s", 600, 10),
    ];
    config.rules.batch_max = 1;
    config.rules.window = 2;
    let scene = Scene::with(FakeChain::new(), config);
    scene.chain.script().node = Node::Slow;
    let flood = scene.engine.caller(Some("f")).unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..40 {
        let (engine, flood) = (scene.engine.clone(), flood.clone());
        callers.spawn(async move { engine.pay_for(&flood, &settle_request(n, n)).await.unwrap() });
    }
    until("the flood waits", || {
        scene.store.model().payments.len() == 40 && scene.chain.script().distinct().len() == 2
    })
    .await;
    let shop = scene.engine.caller(Some("s")).unwrap();
    let engine = scene.engine.clone();
    let mut other = tokio::spawn(async move {
        engine
            .pay_for(&shop, &settle_request(99, 99))
            .await
            .unwrap()
    });
    until("it is taken", || scene.store.model().payments.len() == 41).await;
    let mut blocks = 0;
    while !other.is_finished() {
        scene.chain.script().include_all();
        blocks += 1;
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(blocks < 10, "the flood goes first");
    }
    assert!((&mut other).await.unwrap().success);
    callers.abort_all();
}

#[tokio::test]
async fn five_thousand_at_once_are_settled_by_one_signer() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let mut callers = burst(&scene, 5000);
    let mut settled = 0;
    while !callers.is_empty() {
        scene.chain.script().include_all();
        tokio::time::sleep(Duration::from_millis(20)).await;
        while let Some(answer) = callers.try_join_next() {
            settled += usize::from(answer.unwrap().success);
        }
    }
    assert_eq!(settled, 5000);
    assert_eq!(scene.chain.script().transfers(), 5000);
    let transactions = scene.chain.script().sizes().len();
    assert!(transactions <= 250, "{transactions} transactions");
}
