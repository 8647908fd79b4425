//! Every way in which serving and settling can end (flow `authorization`).

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use http::StatusCode;
use tollway_core::Chain;
use tollway_core::wire::SettleResponse;
use tollway_gate::Route;
use tollway_ledger::{Evidence, GrantState, GrantStore, SqliteLedger};

use crate::support::{Payment, Say, World, limits, price};

fn says(success: bool, reason: Option<&str>, transaction: &str, network: &str) -> Say {
    Say::Answer(Box::new(SettleResponse {
        success,
        error_reason: reason.map(str::to_owned),
        transaction: transaction.to_owned(),
        network: network.to_owned(),
        ..SettleResponse::default()
    }))
}

const HASH: &str = "0xabababababababababababababababababababababababababababababababab";
const HERE: &str = "eip155:84532";

/// Everything that is not success, and the status it ends in.
fn failures() -> Vec<(&'static str, Say, u16)> {
    vec![
        (
            "refused",
            says(false, Some("insufficient_funds"), "", HERE),
            402,
        ),
        (
            "reverted",
            says(false, Some("invalid_transaction_state"), HASH, HERE),
            402,
        ),
        ("failed without a reason", says(false, None, "", HERE), 402),
        (
            "somebody else's",
            says(false, Some("duplicate_settlement"), HASH, HERE),
            402,
        ),
        (
            "pending",
            says(false, Some("settlement_pending"), HASH, HERE),
            402,
        ),
        (
            "pending without a hash",
            says(false, Some("settlement_pending"), "", HERE),
            503,
        ),
        ("success without a hash", says(true, None, "", HERE), 503),
        ("success elsewhere", says(true, None, HASH, "eip155:1"), 503),
        ("answer lost", Say::Lost, 503),
        ("nonsense", Say::Nonsense, 503),
        ("hangs", Say::Hang, 503),
        ("unavailable", Say::Unavailable, 503),
    ]
}

#[tokio::test]
async fn no_byte_of_the_answer_leaves_unless_settling_succeeded() {
    for upfront in [false, true] {
        for (name, say, status) in failures() {
            let world = if upfront {
                World::upfront().await
            } else {
                World::new().await
            };
            let payment = world.payment("/paid/x").await;
            world.facilitator.always(Some(say));
            let answer = world.send(payment.get("/paid/x")).await;
            assert_eq!(answer.status.as_u16(), status, "{name}, upfront: {upfront}");
            assert!(!answer.has_secret(), "{name}");
            assert_eq!(answer.header("cache-control"), "no-store", "{name}");
            assert_eq!(world.released(), 0, "{name}");
            assert_eq!(world.upstream.count(), usize::from(!upfront), "{name}");
            if let Some(receipt) = tollway_core::header::receipt(&answer.headers).unwrap() {
                assert!(!receipt.success, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_refused_settlement_brings_the_terms_and_the_reason() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    world
        .facilitator
        .next(says(false, Some("insufficient_funds"), "", HERE));
    let answer = world.send(payment.get("/paid/x")).await;
    assert!(answer.has_terms());
    assert_eq!(
        answer.receipt().error_reason.as_deref(),
        Some("insufficient_funds")
    );
    // Nothing was sent, so the same authorization may be tried again.
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn a_settlement_that_failed_on_chain_is_final() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    world
        .facilitator
        .next(says(false, Some("invalid_transaction_state"), HASH, HERE));
    world.send(payment.get("/paid/x")).await;
    let again = world.send(payment.get("/paid/x")).await;
    assert_eq!(again.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(again.code(), "invalid_transaction_state");
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn an_unknown_outcome_is_told_without_terms_and_ends_by_itself() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await.named("story-of-the-unknown");
    world
        .facilitator
        .always(Some(says(false, Some("settlement_pending"), HASH, HERE)));
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.code(), "settlement_pending");
    assert!(!answer.has_terms());
    assert_eq!(answer.receipt().transaction, HASH);
    assert!(!answer.header("retry-after").is_empty());
    let keys = world.facilitator.keys.lock().unwrap().clone();
    assert!(
        keys.len() > 1 && keys.iter().all(|key| *key == keys[0]),
        "one key: {keys:?}"
    );

    world.facilitator.always(None);
    let again = world.send(payment.get("/paid/x")).await;
    assert_eq!(again.status, StatusCode::OK);
    assert!(again.has_secret() && again.receipt().success);
    assert_eq!(world.upstream.count(), 1);
    assert_eq!(world.facilitator.settlements(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_key() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    world.facilitator.next(Say::LoseAnswer);
    let answer = world.send(payment.get("/paid/x")).await;
    assert!(answer.has_secret(), "{answer:?}");
    assert_eq!(world.facilitator.settlements(), 1);
}

#[tokio::test]
async fn a_facilitator_that_goes_away_before_settling_leaves_the_payment_good() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    world.facilitator.next(Say::Unavailable);
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.has_terms());
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn a_service_that_fails_is_not_charged_for() {
    let world = World::new().await;
    for status in [400, 404, 500, 503] {
        let payment = world.payment("/paid/x").await;
        world
            .upstream
            .answer_with(StatusCode::from_u16(status).unwrap());
        let answer = world.send(payment.get("/paid/x")).await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(!answer.headers.contains_key("payment-response"));
        assert_eq!(world.facilitator.settlements(), 0);
    }
    let payment = world.payment("/paid/panic").await;
    let answer = world.send(payment.get("/paid/panic")).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(world.facilitator.settlements(), 0);
}

#[tokio::test]
async fn a_redirect_within_the_host_is_free_and_one_to_another_may_be_the_goods() {
    for (location, charged) in [
        ("/paid/x/", false),
        ("../elsewhere", false),
        ("http://api.example/paid/x", false),
        ("https://files.example/signed?key=1", true),
        ("//files.example/x", true),
    ] {
        let world = World::new().await;
        world.upstream.answer_with(StatusCode::FOUND);
        let target = http::HeaderValue::from_static(location);
        world
            .upstream
            .headers
            .lock()
            .unwrap()
            .insert("location", target);
        let payment = world.payment("/paid/x").await;
        let answer = world.send(payment.get("/paid/x")).await;
        assert_eq!(answer.status, StatusCode::FOUND);
        assert_eq!(
            answer.headers.contains_key("payment-response"),
            charged,
            "{location}"
        );
        assert_eq!(
            world.facilitator.settlements(),
            usize::from(charged),
            "{location}"
        );
    }
}

#[tokio::test]
async fn a_service_that_asks_for_a_payment_of_its_own_does_not_get_through() {
    let world = World::new().await;
    world.upstream.answer_with(StatusCode::PAYMENT_REQUIRED);
    let payment = world.payment("/paid/x").await;
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(world.facilitator.settlements(), 0);
}

#[tokio::test]
async fn a_grpc_failure_brings_no_goods_and_costs_nothing() {
    let world = World::new().await;
    let status = http::HeaderValue::from_static("5");
    world
        .upstream
        .headers
        .lock()
        .unwrap()
        .insert("grpc-status", status);
    let payment = world.payment("/paid/x").await;
    let served = world.send(payment.get("/paid/x")).await;
    assert!(
        served.receipt().success,
        "a header of that name alone means nothing"
    );

    let kind = http::HeaderValue::from_static("application/grpc");
    world
        .upstream
        .headers
        .lock()
        .unwrap()
        .insert("content-type", kind);
    let payment = world.payment("/paid/x").await;
    let failed = world.send(payment.get("/paid/x")).await;
    assert!(!failed.has_secret());
    assert_eq!(failed.header("grpc-status"), "5");
    assert_eq!(world.facilitator.settlements(), 1);

    // gRPC-Web says how it ended at the end of its body, and this one does not.
    let kind = http::HeaderValue::from_static("application/grpc-web+proto");
    let web = http::HeaderMap::from_iter([(http::header::CONTENT_TYPE, kind)]);
    *world.upstream.headers.lock().unwrap() = web;
    let payment = world.payment("/paid/x").await;
    assert!(!world.send(payment.get("/paid/x")).await.has_secret());
    assert_eq!(world.facilitator.settlements(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_is_still_served_to_the_end() {
    let world = Arc::new(World::new().await);
    let payment = world.payment("/paid/x").await.named("who-went-away-early");
    *world.upstream.delay.lock().unwrap() = Duration::from_millis(100);
    let gone = tokio::spawn({
        let (world, request) = (Arc::clone(&world), payment.get("/paid/x"));
        async move { world.start(request).await }
    });
    while world.upstream.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert!(world.gate.drain(Duration::from_secs(5)).await);
    assert_eq!(world.released(), 1);
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    assert_eq!(world.upstream.count(), 1);
}

async fn evidence(world: &World, payment: &Payment) -> Option<Evidence> {
    let terms = tollway_core::Terms::check(payment.payload.accepted.clone()).unwrap();
    let (payload, terms) = (payment.payload.clone().into(), terms.into());
    let identity = world.chain.inspect(&payload, &terms).unwrap().identity;
    let record = world
        .ledger
        .grant_by_identity(&identity)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        record.state == GrantState::Released,
        record.evidence.is_some()
    );
    record.evidence
}

#[tokio::test]
async fn the_ledger_says_what_a_release_rests_on() {
    let route = || Route::new("/paid/*").unwrap().offer(price());
    let local = World::new().await;
    let payment = local.payment("/paid/x").await;
    local.send(payment.get("/paid/x")).await;
    assert!(matches!(
        evidence(&local, &payment).await,
        Some(Evidence::Receipt { .. })
    ));

    let remote = World::with(|gate| gate.route(route()).remote("https://f.example")).await;
    let payment = remote.payment("/paid/x").await;
    remote.send(payment.get("/paid/x")).await;
    let said = evidence(&remote, &payment).await;
    assert!(
        matches!(said, Some(Evidence::FacilitatorSaid { facilitator, .. }) if facilitator == "https://f.example")
    );
}

/// A gate with a node of its own does not take a remote facilitator's word.
async fn doubting() -> World {
    let chain: Arc<crate::support::FakeChain> = Arc::default();
    chain
        .has_node
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let ledger = tollway_ledger::SqliteLedger::open("sqlite::memory:")
        .await
        .unwrap();
    World::on(Arc::new(ledger), Arc::clone(&chain), |gate| {
        gate.route(Route::new("/paid/*").unwrap().offer(price()))
            .remote("https://f.example")
            .checking_chain(chain)
            .limits(limits())
    })
}

#[tokio::test]
async fn a_lying_facilitator_opens_nothing_where_the_gate_has_a_node() {
    let world = doubting().await;
    let payment = world.payment("/paid/x").await;
    world.facilitator.always(Some(says(true, None, HASH, HERE)));
    let answer = world.send(payment.get("/paid/x")).await;
    assert!(!answer.has_secret());
    assert_eq!(
        answer.code(),
        "settlement_pending",
        "the authorization may still land"
    );
    assert!(!answer.has_terms());
    assert_eq!(world.released(), 0);

    world.facilitator.always(None);
    let honest = world.payment("/paid/x").await;
    assert!(world.send(honest.get("/paid/x")).await.has_secret());
    assert!(matches!(
        evidence(&world, &honest).await,
        Some(Evidence::Checked { .. })
    ));
}

#[tokio::test]
async fn a_transaction_that_the_node_does_not_know_is_looked_for_by_the_authorization() {
    let world = doubting().await;
    world
        .chain
        .knows_transactions
        .store(false, std::sync::atomic::Ordering::SeqCst);
    let payment = world.payment("/paid/x").await;
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    world.facilitator.next(says(true, None, HASH, HERE));
    let lied = world.payment("/paid/x").await;
    world.facilitator.always(Some(says(true, None, HASH, HERE)));
    let answer = world.send(lied.get("/paid/x")).await;
    assert_eq!(answer.code(), "settlement_pending");
    assert!(!answer.has_secret());
}

#[tokio::test]
async fn a_node_that_cannot_say_leaves_the_outcome_unknown() {
    let world = doubting().await;
    world
        .chain
        .has_node
        .store(false, std::sync::atomic::Ordering::SeqCst);
    let payment = world.payment("/paid/x").await.named("the-node-cannot-say");
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.code(), "settlement_pending");
    assert!(!answer.has_secret() && !answer.has_terms());
    world
        .chain
        .has_node
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn a_failure_that_the_lost_call_may_have_caused_is_asked_of_the_chain() {
    for reason in ["invalid_exact_evm_nonce_already_used", "insufficient_funds"] {
        let world = World::new().await;
        let payment = world.payment("/paid/x").await.named("lost-and-then-denied");
        world.facilitator.next(Say::LoseAnswer);
        world.facilitator.next(says(false, Some(reason), "", HERE));
        world.facilitator.next(Say::Hang);
        // Without a node nobody can say.
        let answer = world.send(payment.get("/paid/x")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{reason}");
        assert!(!answer.has_terms() && !answer.has_secret());

        let world = World::new().await;
        world
            .chain
            .has_node
            .store(true, std::sync::atomic::Ordering::SeqCst);
        let payment = world.payment("/paid/x").await;
        world.facilitator.next(Say::LoseAnswer);
        world.facilitator.next(says(false, Some(reason), "", HERE));
        assert!(
            world.send(payment.get("/paid/x")).await.has_secret(),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn another_payment_may_take_the_name_of_one_that_came_to_nothing() {
    let world = World::new().await;
    let (first, second) = (
        world.payment("/paid/x").await,
        world.payment("/paid/x").await,
    );
    world
        .upstream
        .answer_with(StatusCode::INTERNAL_SERVER_ERROR);
    world
        .send(first.named("a-name-for-the-purchase").get("/paid/x"))
        .await;
    world.upstream.answer_with(StatusCode::OK);
    let second = second.named("a-name-for-the-purchase");
    assert!(world.send(second.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn without_a_ledger_no_payment_is_taken_and_the_gate_says_so() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    assert!(world.gate.ledger_is_well());
    world.ledger.close().await;
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.code(), "ledger_unavailable");
    assert!(!answer.header("retry-after").is_empty());
    assert!(!world.gate.ledger_is_well());
    assert_eq!(
        (world.upstream.count(), world.facilitator.settlements()),
        (0, 0)
    );
    assert_eq!(
        world.get("/paid/x").await.status,
        StatusCode::PAYMENT_REQUIRED
    );
    assert!(world.get("/free").await.has_secret());
}

#[tokio::test]
async fn with_a_dead_ledger_nobody_waits_for_what_cannot_be_written() {
    for world in [World::new().await, World::upfront().await] {
        let payment = world.payment("/paid/x").await.named("when-the-disk-died");
        // Of the same file: an engine in this process fails with it.
        world.facilitator.next(Say::LoseAnswer);
        world.store.fail("remember_receipt", usize::MAX);
        let (settled, began) = (world.facilitator.settle_calls.load(SeqCst), Instant::now());
        let answer = world.send(payment.get("/paid/x")).await;
        assert!(
            began.elapsed() < limits().settle_wait / 2,
            "{:?}",
            began.elapsed()
        );
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.code(), "payment_in_progress");
        assert!(!answer.has_terms() && !answer.has_secret());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(
            world.facilitator.settle_calls.load(SeqCst),
            settled + 1,
            "nobody asks on in vain"
        );
        // With room again, it goes on where it stopped.
        world.store.fail("remember_receipt", 0);
        let answer = world.send(payment.get("/paid/x")).await;
        assert!(answer.has_secret(), "{answer:?}");
        assert_eq!(world.facilitator.settlements(), 1);
    }
}

/// The same authorization, settled on chain by somebody else.
fn front_run(world: &World, payment: &Payment) {
    let terms = tollway_core::Terms::check(payment.payload.accepted.clone()).unwrap();
    let (payload, terms) = (payment.payload.clone().into(), terms.into());
    let identity = world.chain.inspect(&payload, &terms).unwrap().identity;
    world.chain.include(&identity, "a stranger's key");
}

#[tokio::test]
async fn who_was_front_run_after_verification_has_paid_and_is_served() {
    let world = World::new().await;
    world
        .chain
        .has_node
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let payment = world.payment("/paid/x").await;
    front_run(&world, &payment);
    let used = "invalid_exact_evm_nonce_already_used";
    world.facilitator.next(says(false, Some(used), "", HERE));
    let answer = world.send(payment.get("/paid/x")).await;
    assert!(answer.has_secret(), "{answer:?}");
    assert!(!answer.receipt().transaction.is_empty());
}

#[tokio::test]
async fn a_pending_settlement_of_another_key_never_becomes_ours() {
    let world = World::new().await;
    world
        .chain
        .has_node
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let payment = world.payment("/paid/x").await;
    front_run(&world, &payment);
    world
        .facilitator
        .next(says(false, Some("settlement_pending"), HASH, HERE));
    world
        .facilitator
        .next(says(false, Some("duplicate_settlement"), HASH, HERE));
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.code(), "duplicate_settlement");
    assert_eq!(answer.receipt().transaction, HASH);
    assert!(!answer.has_secret() && !answer.has_terms());
}

#[tokio::test]
async fn a_remote_failure_that_names_a_transaction_is_not_believed() {
    for reason in ["unexpected_settle_error", "invalid_transaction_state"] {
        let world = doubting().await;
        let payment = world.payment("/paid/x").await;
        front_run(&world, &payment);
        world
            .facilitator
            .next(says(false, Some(reason), HASH, HERE));
        assert!(
            world.send(payment.get("/paid/x")).await.has_secret(),
            "{reason}"
        );

        let world = doubting().await;
        let payment = world.payment("/paid/x").await;
        world
            .facilitator
            .always(Some(says(false, Some(reason), HASH, HERE)));
        let answer = world.send(payment.get("/paid/x")).await;
        assert_eq!(answer.code(), "settlement_pending", "{reason}");
        assert_eq!(answer.receipt().transaction, HASH);
        assert!(!answer.has_terms() && !answer.has_secret());
    }
}

#[tokio::test]
async fn a_repeat_of_a_failed_payment_is_told_the_same_transaction() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    world
        .facilitator
        .next(says(false, Some("invalid_transaction_state"), HASH, HERE));
    for _ in 0..2 {
        let answer = world.send(payment.get("/paid/x")).await;
        assert_eq!(answer.receipt().transaction, HASH);
    }
}

#[tokio::test]
async fn a_claim_whose_refusal_was_not_written_is_given_back_while_the_gate_lives() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    world.upstream.answer_with(StatusCode::SERVICE_UNAVAILABLE);
    world.store.fail("refuse", 1);
    world.send(payment.get("/paid/x")).await;
    assert_eq!(world.ledger.open_grants().await.unwrap().len(), 1);
    world.gate.recover().await.unwrap();
    assert_eq!(world.ledger.open_grants().await.unwrap(), []);
    world.upstream.answer_with(StatusCode::OK);
    let served = world.send(payment.get("/paid/x")).await;
    assert!(served.has_secret(), "{served:?}");
}

#[tokio::test]
async fn recovering_while_serving_ends_nothing_that_is_being_settled() {
    let ledger = Arc::new(SqliteLedger::open("sqlite::memory:").await.unwrap());
    let world = World::on(Arc::clone(&ledger), Arc::default(), |gate| {
        gate.route(Route::new("/paid/*").unwrap().offer(price()))
            .settles_here(ledger.clone(), true)
    });
    let payment = world.payment("/paid/x").await;
    world
        .facilitator
        .next(Say::Slow(Duration::from_millis(200)));
    let (answer, ()) = tokio::join!(world.send(payment.get("/paid/x")), async {
        while world.facilitator.settle_calls.load(SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.gate.recover().await.unwrap();
    });
    assert!(
        answer.has_secret() && answer.receipt().success,
        "{answer:?}"
    );
}
