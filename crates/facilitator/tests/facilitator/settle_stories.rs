//! What callers of settle and verify are promised, on a fake chain.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tollway_core::wire::SettleResponse;
use tollway_core::{Facilitator, FacilitatorError, PaymentId, SettleRequest};
use tollway_facilitator::EngineConfig;
use tollway_facilitator::SettlementEvent;
use tollway_facilitator::engine::machine::{Rules, Update};
use tollway_ledger::PaymentState;

use crate::fake_chain::{FakeChain, Node};
use crate::fixtures::new_payment;
use crate::scene::{Scene, code, deadline, quick, settle_request, until, verify_request};

fn id_of(response: &SettleResponse) -> PaymentId {
    let extra = response.extra.as_ref().unwrap();
    PaymentId::from_text(extra["settlementId"].as_str().unwrap())
}

#[tokio::test]
async fn success_names_the_transaction_the_payer_the_amount_and_the_settlement() {
    let scene = Scene::new();
    let response = scene.settle(&settle_request(1, 1)).await;
    assert!(response.success, "{response:?}");
    assert!(response.transaction.starts_with("0x"));
    assert_eq!(response.network, "eip155:84532");
    assert_eq!(response.amount.as_deref(), Some("10000"));
    assert!(response.payer.unwrap().ends_with("01"));
    let extra = response.extra.unwrap();
    let id = PaymentId::from_text(extra["settlementId"].as_str().unwrap());
    let record = scene.engine.status(&id).await.unwrap().unwrap();
    assert_eq!(record.state, PaymentState::Settled);
}

#[tokio::test]
async fn a_thousand_identical_settles_broadcast_once_and_succeed_once() {
    let scene = Scene::new();
    let request = settle_request(1, 1);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (engine, request) = (scene.engine.clone(), request.clone());
        callers.spawn(async move { engine.settle(&request).await.unwrap() });
    }
    let answers = callers.join_all().await;
    let successes = answers.iter().filter(|a| a.success).count();
    assert_eq!(successes, 1);
    let hash = &answers.iter().find(|a| a.success).unwrap().transaction;
    for other in answers.iter().filter(|a| !a.success) {
        assert_eq!(code(other), "duplicate_settlement");
        assert_eq!(&other.transaction, hash);
    }
    assert_eq!(scene.chain.script().distinct().len(), 1);
    assert_eq!(scene.chain.script().transfers(), 1);
}

#[tokio::test]
async fn the_same_idempotency_key_hears_success_again_and_any_other_does_not() {
    let scene = Scene::new();
    let keyed = |key: Option<&str>| SettleRequest {
        idempotency_key: key.map(str::to_owned),
        ..settle_request(1, 1)
    };
    let mut request = keyed(Some("first"));
    let first = scene.settle(&request).await;
    let again = scene.settle(&request).await;
    assert!(first.success && again.success);
    assert_eq!(first, again);
    for key in [None, Some("second")] {
        request.idempotency_key = key.map(str::to_owned);
        assert_eq!(code(&scene.settle(&request).await), "duplicate_settlement");
    }
    request.idempotency_key = Some("with\nnewline".to_owned());
    assert_eq!(
        code(&scene.settle(&request).await),
        "invalid_idempotency_key"
    );
}

#[tokio::test]
async fn an_unknown_outcome_is_pending_with_the_hash_and_success_comes_later_once() {
    let mut config = quick();
    config.settle_wait = Duration::from_millis(100);
    let scene = Scene::with(FakeChain::new(), config);
    scene.chain.script().node = Node::Slow;
    let request = settle_request(1, 1);
    let pending = scene.settle(&request).await;
    assert!(!pending.success);
    assert_eq!(code(&pending), "settlement_pending");
    assert!(pending.transaction.starts_with("0x"));
    assert_eq!(code(&scene.settle(&request).await), "settlement_pending");
    scene.chain.script().include_all();
    let id = id_of(&pending);
    until("the payment is settled", || {
        scene.store.model().payment(&id).unwrap().state == PaymentState::Settled
    })
    .await;
    let success = scene.settle(&request).await;
    assert!(success.success);
    assert_eq!(success.transaction, pending.transaction);
    let repeat = scene.settle(&request).await;
    assert_eq!(code(&repeat), "duplicate_settlement");
    assert_eq!(repeat.transaction, pending.transaction);
    assert_eq!(scene.chain.script().distinct().len(), 1);
}

#[tokio::test]
async fn who_knows_an_identity_but_not_its_signature_takes_no_success() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let honest = settle_request(1, 1);
    let mut thief = honest.clone();
    Arc::make_mut(&mut thief.payload)
        .payload
        .insert("signature".to_owned(), json!("guessed"));
    let mut other_payee = honest.clone();
    Arc::make_mut(&mut other_payee.requirements).pay_to =
        "0x00000000000000000000000000000000000000dd".to_owned();
    let waiting = {
        let (engine, honest) = (scene.engine.clone(), honest.clone());
        tokio::spawn(async move { engine.settle(&honest).await.unwrap() })
    };
    until("it is sent", || !scene.chain.script().sent.is_empty()).await;
    for request in [&thief, &other_payee] {
        let answer = scene.settle(request).await;
        assert_eq!(code(&answer), "duplicate_settlement");
        assert!(
            answer.extra.is_none(),
            "the settlement's name was given away"
        );
    }
    scene.chain.script().include_all();
    assert!(waiting.await.unwrap().success);
}

#[tokio::test]
async fn verify_commits_nothing_and_says_why_not() {
    let scene = Scene::new();
    let request = verify_request(1, 1);
    assert!(scene.engine.verify(&request).await.unwrap().is_valid);
    let mut forged = request.clone();
    Arc::make_mut(&mut forged.payload)
        .payload
        .insert("signature".to_owned(), json!("bad"));
    let answer = scene.engine.verify(&forged).await.unwrap();
    assert_eq!(
        answer.invalid_reason.as_deref(),
        Some("invalid_exact_evm_signature")
    );
    let mut foreign = request;
    Arc::make_mut(&mut foreign.requirements).network = "eip155:1".to_owned();
    let answer = scene.engine.verify(&foreign).await.unwrap();
    assert_eq!(answer.invalid_reason.as_deref(), Some("invalid_network"));
    assert!(scene.store.model().payments.is_empty());
}

#[tokio::test]
async fn what_is_refused_before_acceptance_leaves_no_record() {
    let scene = Scene::new();
    let mut forged = settle_request(1, 1);
    Arc::make_mut(&mut forged.payload)
        .payload
        .insert("signature".to_owned(), json!("bad"));
    let answer = scene.settle(&forged).await;
    assert_eq!(code(&answer), "invalid_exact_evm_signature");
    assert_eq!(answer.transaction, "");
    assert!(scene.store.model().payments.is_empty());
}

#[tokio::test]
async fn a_dead_node_is_an_error_that_can_be_retried_and_takes_nothing() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Down;
    let request = settle_request(1, 1);
    let error = scene.engine.settle(&request).await.unwrap_err();
    assert!(matches!(error, FacilitatorError::Unavailable(_)), "{error}");
    assert!(scene.store.model().payments.is_empty());
    assert!(!scene.engine.health().await.ready);
    scene.chain.script().node = Node::Automine;
    assert!(scene.settle(&request).await.success);
}

#[tokio::test]
async fn a_front_run_payment_counts_as_paid_once() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let request = settle_request(1, 1);
    let waiting = {
        let (engine, request) = (scene.engine.clone(), request.clone());
        tokio::spawn(async move { engine.settle(&request).await.unwrap() })
    };
    until("it is sent", || !scene.chain.script().sent.is_empty()).await;
    let identity = new_payment(1, 1, deadline()).identity;
    scene.chain.script().front_run(&identity);
    scene.chain.script().include_all(); // Ours reverts.
    let response = waiting.await.unwrap();
    assert!(response.success, "{response:?}");
    assert_eq!(response.transaction, "0xbeef");
    assert_eq!(code(&scene.settle(&request).await), "duplicate_settlement");
}

#[tokio::test]
async fn an_authorization_sent_by_somebody_between_verify_and_settle_is_paid_once() {
    paid_once_though_somebody_sent_it(None).await;
}

#[tokio::test]
async fn a_permission_redeemed_by_somebody_between_verify_and_settle_is_paid_once() {
    paid_once_though_somebody_sent_it(Some("invalid_exact_evm_erc7710_already_used")).await;
}

async fn paid_once_though_somebody_sent_it(says_used: Option<&'static str>) {
    let scene = Scene::new();
    scene.chain.script().says_used = says_used;
    let request = settle_request(1, 1);
    let check = tollway_core::VerifyRequest {
        payload: request.payload.clone(),
        requirements: request.requirements.clone(),
    };
    assert!(scene.engine.verify(&check).await.unwrap().is_valid);
    let identity = new_payment(1, 1, deadline()).identity;
    scene.chain.script().front_run(&identity);
    let response = scene.settle(&request).await;
    assert!(response.success, "{response:?}");
    assert_eq!(response.transaction, "0xbeef");
    assert_eq!(code(&scene.settle(&request).await), "duplicate_settlement");
    assert!(scene.chain.script().sent.is_empty());
}

#[tokio::test]
async fn an_authorization_that_was_used_before_we_saw_it_buys_nothing() {
    let scene = Scene::new();
    let identity = new_payment(1, 1, deadline()).identity;
    scene.chain.script().front_run(&identity);
    let response = scene.settle(&settle_request(1, 1)).await;
    assert_eq!(code(&response), "invalid_exact_evm_nonce_already_used");
    assert!(scene.store.model().payments.is_empty());
}

#[tokio::test]
async fn one_balance_under_many_payments_pays_for_one_and_costs_no_reverts() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    scene.chain.script().balance = Some(10_000);
    let mut callers = tokio::task::JoinSet::new();
    for nonce in 0..40 {
        let engine = scene.engine.clone();
        callers.spawn(async move { engine.settle(&settle_request(1, nonce)).await.unwrap() });
    }
    let mut answers = Vec::new();
    while !callers.is_empty() {
        scene.chain.script().include_all();
        let wait = tokio::time::timeout(Duration::from_millis(5), callers.join_next());
        if let Ok(Some(answer)) = wait.await {
            answers.push(answer.unwrap());
        }
    }
    assert_eq!(answers.iter().filter(|a| a.success).count(), 1);
    let reverted = scene.chain.script().reverted();
    assert_eq!(reverted, 0, "transactions were reverted");
}

#[tokio::test]
async fn pending_is_a_promise_only_to_the_key_that_opened_the_payment() {
    let mut config = quick();
    config.settle_wait = Duration::from_millis(80);
    let scene = Scene::with(FakeChain::new(), config);
    scene.chain.script().node = Node::Slow;
    let keyed = |key: &str| SettleRequest {
        idempotency_key: Some(key.to_owned()),
        ..settle_request(1, 1)
    };
    let mut request = keyed("mine");
    let first = scene.settle(&request).await;
    assert_eq!(code(&first), "settlement_pending");
    request.idempotency_key = Some("another".to_owned());
    let other = scene.settle(&request).await;
    assert_eq!(code(&other), "duplicate_settlement");
    assert_eq!(other.transaction, first.transaction);
    request.idempotency_key = Some("mine".to_owned());
    assert_eq!(code(&scene.settle(&request).await), "settlement_pending");
}

#[tokio::test]
async fn success_waits_for_the_key_that_opened_the_payment_even_when_only_another_asks() {
    let mut config = quick();
    config.settle_wait = Duration::from_millis(80);
    let scene = Scene::with(FakeChain::new(), config);
    scene.chain.script().node = Node::Slow;
    let request = settle_request(1, 1);
    let keyed = |key: &str| SettleRequest {
        idempotency_key: Some(key.to_owned()),
        ..request.clone()
    };
    assert_eq!(
        code(&scene.settle(&keyed("mine")).await),
        "settlement_pending"
    );
    let thief = {
        let (engine, request) = (scene.engine.clone(), keyed("another"));
        tokio::spawn(async move { engine.settle(&request).await.unwrap() })
    };
    scene.chain.script().include_all();
    assert_eq!(code(&thief.await.unwrap()), "duplicate_settlement");
    let mine = scene.settle(&keyed("mine")).await;
    assert!(mine.success, "{mine:?}");
}

#[tokio::test]
async fn a_revert_of_a_good_authorization_is_followed_by_a_new_attempt() {
    let scene = Scene::new();
    scene.chain.script().reverts = 1;
    let response = scene.settle(&settle_request(1, 1)).await;
    assert!(response.success, "{response:?}");
    let nonces: Vec<u64> = scene
        .chain
        .script()
        .distinct()
        .iter()
        .map(|t| t.1)
        .collect();
    assert_eq!(nonces, [0, 1]);
    assert_eq!(scene.chain.script().transfers(), 1);
}

#[tokio::test]
async fn reverts_without_end_are_refused_after_a_few_attempts() {
    let scene = Scene::new();
    scene.chain.script().reverts = 100;
    let response = scene.settle(&settle_request(1, 1)).await;
    assert_eq!(code(&response), "invalid_transaction_state");
    assert_eq!(scene.chain.script().distinct().len(), 3);
}

#[tokio::test]
async fn a_stuck_transaction_is_replaced_under_its_nonce_with_higher_fees() {
    let mut config = quick();
    config.rules.stuck_after = Duration::from_millis(150);
    let scene = Scene::with(FakeChain::new(), config);
    scene.chain.script().node = Node::Slow;
    let waiting = {
        let engine = scene.engine.clone();
        tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await.unwrap() })
    };
    until("it is replaced", || {
        scene.chain.script().distinct().len() == 2
    })
    .await;
    let sent = scene.chain.script().distinct();
    assert_eq!(sent[0].1, sent[1].1, "the nonce must stay");
    assert!(sent[1].2 > sent[0].2, "the fee must rise");
    scene.chain.script().include_all();
    assert!(waiting.await.unwrap().success);
}

#[tokio::test]
async fn payments_of_one_signer_use_consecutive_nonces_without_gaps() {
    let scene = Scene::new();
    let mut callers = tokio::task::JoinSet::new();
    for nonce in 0..50 {
        let engine = scene.engine.clone();
        callers.spawn(async move { engine.settle(&settle_request(1, nonce)).await.unwrap() });
    }
    assert!(callers.join_all().await.iter().all(|r| r.success));
    let nonces: Vec<u64> = scene
        .chain
        .script()
        .distinct()
        .iter()
        .map(|t| t.1)
        .collect();
    let mut sorted = nonces.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..nonces.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn several_signers_share_the_work() {
    let scene = Scene::with(FakeChain::with_signers(3), quick());
    scene.chain.script().node = Node::Slow;
    let mut callers = tokio::task::JoinSet::new();
    for nonce in 0..12 {
        let engine = scene.engine.clone();
        callers.spawn(async move { engine.settle(&settle_request(nonce, nonce)).await.unwrap() });
    }
    until("all are sent", || {
        scene.chain.script().distinct().len() == 12
    })
    .await;
    let sent = scene.chain.script().distinct();
    let mut signers: Vec<_> = sent.iter().map(|t| t.0.clone()).collect();
    signers.sort();
    signers.dedup();
    assert_eq!(signers.len(), 3);
    scene.chain.script().include_all();
    assert!(callers.join_all().await.iter().all(|r| r.success));
}

#[tokio::test]
async fn a_transaction_shown_as_proof_is_observed_and_not_sent() {
    let scene = Scene::new();
    let mut request = settle_request(1, 1);
    let object = &mut Arc::make_mut(&mut request.payload).payload;
    object.insert("settles".to_owned(), json!("observe"));
    object.insert("nonce".to_owned(), json!("0xcafe"));
    let engine = scene.engine.clone();
    let waiting = tokio::spawn(async move { engine.settle(&request).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    scene.chain.script().known.insert("0xcafe".to_owned());
    let response = waiting.await.unwrap();
    assert!(response.success, "{response:?}");
    assert_eq!(response.transaction, "0xcafe");
    assert!(scene.chain.script().sent.is_empty());
}

#[tokio::test]
async fn a_voucher_settles_without_a_transaction() {
    let scene = Scene::new();
    let mut request = settle_request(1, 1);
    Arc::make_mut(&mut request.payload)
        .payload
        .insert("settles".to_owned(), json!("accumulate"));
    let response = scene.settle(&request).await;
    assert!(response.success, "{response:?}");
    assert_eq!(response.transaction, "");
    assert!(scene.chain.script().sent.is_empty());
}

#[tokio::test]
async fn metered_use_charges_at_most_what_was_authorized() {
    let scene = Scene::new();
    let metered = |nonce: u64, charge: &str| {
        let mut request = settle_request(1, nonce);
        Arc::make_mut(&mut request.requirements).scheme = "upto".to_owned();
        Arc::make_mut(&mut request.requirements).amount = charge.to_owned();
        Arc::make_mut(&mut request.payload).accepted.scheme = "upto".to_owned();
        request
    };
    let less = scene.settle(&metered(1, "4000")).await;
    assert!(less.success, "{less:?}");
    assert_eq!(less.amount.as_deref(), Some("4000"));
    let nothing = scene.settle(&metered(2, "0")).await;
    assert!(nothing.success, "{nothing:?}");
    assert_eq!(
        (nothing.transaction.as_str(), nothing.amount.as_deref()),
        ("", Some("0"))
    );
    let more = scene.settle(&metered(3, "10001")).await;
    assert_eq!(
        code(&more),
        "invalid_upto_evm_payload_settlement_exceeds_amount"
    );
    assert_eq!(scene.chain.script().transfers(), 1);
}

#[tokio::test]
async fn a_full_disk_stops_intake_says_why_and_loses_nothing() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let request = settle_request(1, 1);
    let waiting = {
        let (engine, request) = (scene.engine.clone(), request.clone());
        tokio::spawn(async move { engine.settle(&request).await.unwrap() })
    };
    until("it is sent", || !scene.chain.script().sent.is_empty()).await;
    scene.store.disk_is_full(true);
    scene.chain.script().include_all(); // It has settled, and that cannot be written.
    let error = scene
        .engine
        .settle(&settle_request(1, 2))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("disk is full"), "{error}");
    let refused = scene.engine.verify(&verify_request(1, 3)).await;
    assert!(matches!(refused, Err(FacilitatorError::Unavailable(_))));
    let health = scene.engine.health().await;
    assert!(!health.ready && health.ledger.unwrap().contains("disk is full"));
    scene.store.disk_is_full(false);
    assert!(waiting.await.unwrap().success);
    scene.chain.script().node = Node::Automine;
    assert!(scene.settle(&settle_request(1, 4)).await.success);
    assert!(scene.engine.health().await.ready);
    assert_eq!(scene.chain.script().transfers(), 2);
}

#[tokio::test]
async fn a_full_queue_is_said_at_verify_before_anything_is_served() {
    let config = EngineConfig {
        queue_limit: 1,
        ..quick()
    };
    let scene = Scene::with(FakeChain::new(), config);
    scene.chain.script().node = Node::Slow;
    let engine = scene.engine.clone();
    let waiting = tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await.unwrap() });
    until("it is sent", || !scene.chain.script().sent.is_empty()).await;
    let error = scene.engine.check(&verify_request(1, 2)).await.unwrap_err();
    assert_eq!(error.code, "too_many_requests");
    scene.chain.script().include_all();
    assert!(waiting.await.unwrap().success);
    assert!(
        scene
            .engine
            .check(&verify_request(1, 2))
            .await
            .unwrap()
            .is_valid
    );
}

#[tokio::test]
async fn a_drain_takes_nothing_new_and_lets_what_is_in_flight_end() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let engine = scene.engine.clone();
    let waiting = tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await.unwrap() });
    until("it is sent", || !scene.chain.script().sent.is_empty()).await;
    let engine = scene.engine.clone();
    let drained = tokio::spawn(async move { engine.drain(Duration::from_secs(10)).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let error = scene.engine.check(&verify_request(1, 2)).await.unwrap_err();
    assert_eq!(error.code, "shutting_down");
    scene.chain.script().include_all();
    assert!(waiting.await.unwrap().success);
    assert!(drained.await.unwrap(), "everything had ended");
}

#[tokio::test]
async fn a_payment_that_nothing_could_be_signed_for_is_refused_in_time() {
    let mut config = quick();
    config.rules.unsigned_limit = Duration::from_millis(200);
    let scene = Scene::with(FakeChain::new(), config);
    scene.chain.script().plans_hang = true;
    let response = scene.settle(&settle_request(1, 1)).await;
    assert_eq!(code(&response), "settlement_failed");
    assert!(scene.chain.script().sent.is_empty());
}

#[tokio::test]
async fn a_signer_without_gas_is_shown_and_its_payment_stays_pending() {
    let config = EngineConfig {
        settle_wait: Duration::from_millis(150),
        rules: Rules {
            stuck_after: Duration::from_secs(60),
            ..quick().rules
        },
        ..quick()
    };
    let scene = Scene::with(FakeChain::new(), config);
    scene.chain.script().node = Node::Rejecting;
    let pending = scene.settle(&settle_request(1, 1)).await;
    assert_eq!(code(&pending), "settlement_pending");
    let health = scene.engine.health().await;
    let problem = health.networks[0].problem.clone().unwrap();
    assert!(problem.contains("insufficient funds"), "{problem}");
    scene.chain.script().node = Node::Automine;
    let request = settle_request(1, 1);
    let id = id_of(&pending);
    until("it is settled", || {
        scene.store.model().payment(&id).unwrap().state == PaymentState::Settled
    })
    .await;
    // The same authorization; the deadline in the payload differs, so it is another payload.
    assert_eq!(code(&scene.settle(&request).await), "duplicate_settlement");
    assert!(scene.engine.health().await.ready);
}

#[tokio::test]
async fn an_authorization_that_dies_unused_expires_and_says_so() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Rejecting;
    let engine = scene.engine.clone();
    let waiting = tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await.unwrap() });
    until("it is stored", || !scene.chain.script().sent.is_empty()).await;
    scene.clock.advance(Duration::from_secs(400));
    let response = waiting.await.unwrap();
    assert_eq!(code(&response), "authorization_expired");
    assert_eq!(scene.chain.script().transfers(), 0);
}

#[tokio::test]
async fn a_chain_that_stands_still_expires_nothing() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Rejecting;
    scene.chain.script().stands_still = true;
    let engine = scene.engine.clone();
    let mut waiting =
        tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await.unwrap() });
    until("it is stored", || !scene.chain.script().sent.is_empty()).await;
    scene.clock.advance(Duration::from_secs(400));
    let early = tokio::time::timeout(Duration::from_millis(1500), &mut waiting).await;
    assert!(
        early.is_err(),
        "its next block may still hold it: {early:?}"
    );
    scene.chain.script().stands_still = false;
    assert_eq!(code(&waiting.await.unwrap()), "authorization_expired");
}

#[tokio::test]
async fn hooks_hear_the_whole_story_in_order() {
    let scene = Scene::new();
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    scene.engine.on_event(move |event| {
        let word = match event {
            SettlementEvent::Verified { .. } => "verified",
            SettlementEvent::Accepted { .. } => "accepted",
            SettlementEvent::Moved { update, .. } => match update {
                Update::Stored { .. } => "stored",
                Update::Sent { .. } => "sent",
                Update::Ended(_) => "ended",
                Update::Included(_) | Update::LeftBlock(_) => "trouble",
                Update::Resumed(_) | Update::Left(_) | Update::TakenBack { .. } => "trouble",
                Update::Rejected { .. } | Update::Reopened { .. } => "trouble",
            },
        };
        sender.send(word).unwrap();
    });
    let request = settle_request(1, 1);
    let check = tollway_core::VerifyRequest {
        payload: request.payload.clone(),
        requirements: request.requirements.clone(),
    };
    assert!(scene.engine.verify(&check).await.unwrap().is_valid);
    assert!(scene.settle(&request).await.success);
    let mut story = Vec::new();
    while let Ok(word) = heard.try_recv() {
        story.push(word);
    }
    assert_eq!(story, ["verified", "accepted", "stored", "sent", "ended"]);
}
