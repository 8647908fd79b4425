//! Who showed a transaction had paid before anybody could refuse it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use tollway_core::assets::Method;
use tollway_core::wire::VerifyResponse;
use tollway_core::{ProofProfile, Refusal};
use tollway_gate::{
    Access, GateBuilder, HookedPayment, Hooks, Limits, PassOffer, Passes, Route, Step, TokenKeys,
};
use tollway_ledger::{GrantRecord, GrantState, GrantStore as _};

use crate::passes::{keys, ledger, post};
use crate::support::{Answer, Payment, World, limits, price, terms_of};

const HASH: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const PAYER: &str = "0x857b06519E91e3A54538791bDbb0E22373e36b66";

fn sells(gate: GateBuilder) -> GateBuilder {
    let marks = TokenKeys::parse(&format!("k1 {}", "5a".repeat(32))).unwrap();
    let route = Route::new("/paid/*").unwrap();
    gate.route(route.offer(price().by(Method::Txid).unwrap()))
        .proofs(marks)
}

async fn proof(world: &World, hash: &str) -> Payment {
    let terms = terms_of(&world.get("/paid/x").await);
    Payment::shown(&terms, ProofProfile::Signed, hash)
}

fn says(world: &World, code: Option<&str>) {
    let refused = code.map(|code| VerifyResponse {
        invalid_reason: Some(code.to_owned()),
        ..VerifyResponse::default()
    });
    *world.facilitator.verdict.lock().unwrap() = refused.map(Ok);
}

async fn on_record(world: &World, payment: &Payment) -> Option<GrantRecord> {
    let identity = payment.identity(world);
    world.ledger.grant_by_identity(&identity).await.unwrap()
}

/// It is not served, is not told to pay, and the seller sees whom it owes.
async fn is_owed(world: &World, payment: &Payment, answer: &Answer, code: &str) {
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{answer:?}");
    assert_eq!(answer.code(), code);
    assert!(!answer.has_terms() && !answer.has_secret(), "{answer:?}");
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(!said.contains("nothing was charged"), "{said}");
    assert!(said.contains("send its hash to the seller"), "{said}");
    let receipt = answer.receipt();
    assert_eq!(
        (receipt.success, receipt.transaction.as_str()),
        (false, HASH)
    );
    let record = on_record(world, payment).await.unwrap();
    assert_eq!(record.state, GrantState::Refused);
    assert!(!record.reclaimable, "it is not forgotten");
    assert_eq!(record.receipt.unwrap()["transaction"], HASH);
    assert_eq!(record.refusal.unwrap().0, code);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_payer_that_is_kept_out_is_told_the_transaction_and_is_on_record() {
    for access in [
        Access::new().block(PAYER).unwrap(),
        Access::new().allow("0xff").unwrap(),
    ] {
        let world = World::with(|gate| sells(gate).access(access)).await;
        let payment = proof(&world, HASH).await;
        for _ in 0..2 {
            let answer = world.send(payment.get("/paid/x")).await;
            is_owed(&world, &payment, &answer, "payer_refused").await;
        }
        assert_eq!(world.facilitator.verify_calls(), 1, "the repeat is known");
    }
}

#[tokio::test]
async fn what_is_no_good_transaction_of_a_payer_leaves_nothing_on_record() {
    let access = Access::new().block(PAYER).unwrap();
    let world = World::with(|gate| sells(gate).access(access)).await;
    let payment = proof(&world, HASH).await;
    for code in [
        "invalid_exact_evm_txid_signature",
        "invalid_exact_evm_txid_not_final",
    ] {
        says(&world, Some(code));
        let answer = world.send(payment.get("/paid/x")).await;
        assert_eq!((answer.code().as_str(), answer.has_secret()), (code, false));
        assert_eq!(on_record(&world, &payment).await, None);
    }
    says(&world, None);
    let answer = world.send(payment.get("/paid/x")).await;
    is_owed(&world, &payment, &answer, "payer_refused").await;
}

#[tokio::test]
async fn however_often_its_payer_paid_a_transaction_is_served() {
    let access = Access::new().per_payer(1);
    let world = World::with(|gate| sells(gate).access(access)).await;
    for n in 1..4 {
        let payment = proof(&world, &format!("0x{n:064x}")).await;
        assert!(world.send(payment.get("/paid/x")).await.has_secret());
    }
}

/// Refuses at a step, or thinks for ever.
struct Rule {
    at: Step,
    thinks: bool,
}

impl Rule {
    async fn asked(&self, step: Step) -> Result<(), Refusal> {
        match (self.at == step, self.thinks) {
            (true, true) => std::future::pending().await,
            (true, false) => Err(Refusal::new("not_today", "Come back tomorrow.")),
            (false, _) => Ok(()),
        }
    }
}

#[async_trait]
impl Hooks for Rule {
    async fn before_verify(&self, _: &HookedPayment) -> Result<(), Refusal> {
        self.asked(Step::Verify).await
    }

    async fn before_settle(&self, _: &HookedPayment) -> Result<(), Refusal> {
        self.asked(Step::Settle).await
    }
}

async fn ruled(at: Step, thinks: bool) -> World {
    let rule = Arc::new(Rule { at, thinks });
    World::with(|gate| {
        sells(gate).hooks(rule).limits(Limits {
            hook_wait: Duration::from_millis(50),
            ..limits()
        })
    })
    .await
}

#[tokio::test]
async fn what_the_sellers_own_code_refuses_is_told_the_transaction_and_is_on_record() {
    for at in [Step::Verify, Step::Settle] {
        let world = ruled(at, false).await;
        let payment = proof(&world, HASH).await;
        for _ in 0..2 {
            let answer = world.send(payment.get("/paid/x")).await;
            is_owed(&world, &payment, &answer, "not_today").await;
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(said.contains("Come back tomorrow."), "{said}");
        }
    }
}

#[tokio::test]
async fn where_the_sellers_own_code_does_not_answer_a_transaction_is_shown_again() {
    for at in [Step::Verify, Step::Settle] {
        let world = ruled(at, true).await;
        let payment = proof(&world, HASH).await;
        let answer = world.send(payment.get("/paid/x")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!answer.header("retry-after").is_empty() && !answer.has_terms());
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!said.contains("nothing was charged"), "{said}");
        let record = on_record(&world, &payment).await;
        assert!(record.is_none_or(|record| record.reclaimable));
    }
}

/// The disk fails while it is written down whom the seller keeps out: nobody is let in
/// by that, and as soon as it can be written it is.
#[tokio::test]
async fn what_cannot_be_written_down_lets_nobody_in() {
    for failing in ["settling", "remember_receipt", "refuse"] {
        let access = Access::new().block(PAYER).unwrap();
        let world = World::with(|gate| sells(gate).access(access)).await;
        let payment = proof(&world, HASH).await.named(&"f".repeat(32));
        world.store.fail(failing, 1);
        world.send(payment.get("/paid/x")).await;
        // What was settling would be looked up, found, and sold.
        world.chain.include(&payment.identity(&world), HASH);
        world.chain.has_node.store(true, Ordering::SeqCst);
        world.gate.recover().await.unwrap();
        let answer = world.send(payment.get("/paid/x")).await;
        is_owed(&world, &payment, &answer, "payer_refused").await;
        world.gate.recover().await.unwrap();
        let again = world.send(payment.get("/paid/x")).await;
        is_owed(&world, &payment, &again, "payer_refused").await;
    }
}

#[tokio::test]
async fn a_transaction_that_was_posted_for_a_pass_is_on_record_too() {
    let ledger = ledger().await;
    let passes = Passes::new(ledger.clone(), keys());
    let world = World::on(ledger, Arc::default(), |gate| {
        let offer = price().by(Method::Txid).unwrap();
        let hour = PassOffer::for_time(Duration::from_secs(3_600));
        let route = Route::new("/paid/*").unwrap().offer(offer).pass(hour);
        let marks = TokenKeys::parse(&format!("k1 {}", "5a".repeat(32))).unwrap();
        gate.route(route)
            .passes(passes)
            .proofs(marks)
            .access(Access::new().block(PAYER).unwrap())
    });
    let payment = proof(&world, HASH).await;
    let posted = serde_json::to_value(&payment.payload).unwrap();
    for _ in 0..2 {
        let answer = world.send(post(&posted)).await;
        is_owed(&world, &payment, &answer, "payer_refused").await;
    }
}
