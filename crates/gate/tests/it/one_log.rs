//! One Transfer is evidence for one grant, also where the gate looks at the chain
//! itself: two authorizations of which the chain takes one, such as permits of one
//! nonce with two deadlines, open one grant.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tollway_core::PaymentFlow;
use tollway_core::wire::SettleResponse;
use tollway_gate::Route;
use tollway_ledger::{Claim, GrantRecord, GrantState, GrantStore as _, NewGrant, SqliteLedger};

use crate::support::{Answer, FakeChain, Payment, Say, World, limits, price};

/// A gate with a node of its own, whose facilitator is elsewhere.
async fn remote(flow: PaymentFlow) -> World {
    let chain: Arc<FakeChain> = Arc::default();
    chain.has_node.store(true, Ordering::SeqCst);
    let ledger = SqliteLedger::open("sqlite::memory:").await.unwrap();
    World::on(Arc::new(ledger), Arc::clone(&chain), |gate| {
        gate.route(Route::new("/paid/*").unwrap().offer(price()).flow(flow))
            .remote("https://f.example")
            .checking_chain(chain)
            .limits(limits())
    })
}

/// The chain shows the one's transfer to whoever asks for the other.
fn share_a_transfer(world: &World, one: &Payment, other: &Payment) -> String {
    let transaction = world.chain.transaction(&one.identity(world)).unwrap();
    let mut settled = world.chain.settled.lock().unwrap();
    settled.insert(other.identity(world).key(), transaction.clone());
    transaction
}

async fn grant_of(world: &World, payment: &Payment) -> GrantRecord {
    let identity = payment.identity(world);
    let found = world.ledger.grant_by_identity(&identity).await;
    found.unwrap().unwrap()
}

#[track_caller]
fn assert_duplicate(answer: &Answer, transaction: &str) {
    assert_eq!(answer.code(), "duplicate_settlement", "{answer:?}");
    assert!(!answer.has_secret() && !answer.has_terms(), "{answer:?}");
    assert_eq!(answer.receipt().transaction, transaction);
}

#[tokio::test]
async fn one_transfer_opens_one_grant_though_an_answer_is_lost() {
    for flow in [PaymentFlow::Authorization, PaymentFlow::Upfront] {
        let world = remote(flow).await;
        let one = world.payment("/paid/x").await;
        assert!(world.send(one.get("/paid/x")).await.has_secret());
        let other = world.payment("/paid/x").await.named("the-same-nonce-later");
        let transaction = share_a_transfer(&world, &one, &other);
        world.facilitator.next(Say::Lost);
        let used = SettleResponse {
            error_reason: Some("duplicate_settlement".to_owned()),
            network: "eip155:84532".to_owned(),
            ..SettleResponse::default()
        };
        world.facilitator.next(Say::Answer(Box::new(used)));
        for _ in 0..2 {
            let answer = world.send(other.get("/paid/x")).await;
            assert_duplicate(&answer, &transaction);
        }
        assert_eq!(grant_of(&world, &other).await.state, GrantState::Refused);
        let again = world.send(one.get("/paid/x")).await;
        assert!(!again.has_terms());
        assert_eq!(grant_of(&world, &one).await.state, GrantState::Released);
    }
}

#[tokio::test]
async fn one_transfer_opens_one_grant_though_a_gate_stopped_before_it_heard() {
    for (flow, identifier) in [
        ("authorization", None),
        ("upfront", None),
        ("upfront", Some("to-be-fetched-later")),
    ] {
        let world = remote(PaymentFlow::Authorization).await;
        let one = world.payment("/paid/x").await;
        assert!(world.send(one.get("/paid/x")).await.has_secret());
        let other = world.payment("/paid/x").await;
        let transaction = share_a_transfer(&world, &one, &other);
        let left = NewGrant {
            identity: other.identity(&world),
            payload_digest: "another".to_owned(),
            payment_identifier: identifier.map(str::to_owned),
            flow: flow.to_owned(),
            owner: "a gate that died".to_owned(),
            ..grant_of(&world, &one).await.grant
        };
        let now = tollway_core::Clock::now(&tollway_core::SystemClock);
        let Claim::New(left) = world.ledger.claim(left, now).await.unwrap() else {
            panic!("it was claimed before");
        };
        if flow == "authorization" {
            let served = world.ledger.served(&left.id, None, None, now).await;
            served.unwrap();
        }
        world.ledger.settling(&left.id, now).await.unwrap();
        assert_eq!(world.gate.recover().await.unwrap().still_open, 0);
        let ended = grant_of(&world, &other).await;
        assert_eq!(ended.state, GrantState::Refused, "{flow} {identifier:?}");
        assert!(!ended.reclaimable);
        assert_eq!(ended.refusal.unwrap().0, "duplicate_settlement");
        assert_eq!(ended.receipt.unwrap()["transaction"], transaction.as_str());
    }
}

#[tokio::test]
async fn what_was_checked_is_still_known_to_be_when_it_is_served_later() {
    let world = remote(PaymentFlow::Upfront).await;
    let payment = world
        .payment("/paid/x")
        .await
        .named("checked-and-then-late");
    world.store.fail("release", 1);
    world.send(payment.get("/paid/x")).await;
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    let evidence = grant_of(&world, &payment).await.evidence.unwrap();
    assert_eq!(evidence.transfer().unwrap().1, Some(0), "{evidence:?}");
}
