//! Code of the seller's own at each step.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use tollway_core::wire::{SettleResponse, VerifyResponse};
use tollway_core::{PaymentFlow, Refusal};
use tollway_gate::{HookedPayment, Hooks, Route, Step};

use crate::support::{Payment, Say, World, price};

/// Writes down what it is told, and refuses at a step.
#[derive(Default)]
struct Diary {
    told: Mutex<Vec<String>>,
    refuses: Option<Step>,
}

impl Diary {
    fn write(&self, what: &str, payment: &HookedPayment) {
        assert!(payment.url.contains("/paid/"));
        self.told.lock().unwrap().push(what.to_owned());
    }

    fn asked(&self, step: Step) -> Result<(), Refusal> {
        match self.refuses == Some(step) {
            true => Err(Refusal::new("not_today", "Come back tomorrow.")),
            false => Ok(()),
        }
    }

    async fn told(&self, last: &str) -> Vec<String> {
        for _ in 0..200 {
            let told = self.told.lock().unwrap().clone();
            if told.iter().any(|what| what == last) {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{last} was never told: {:?}", self.told.lock().unwrap());
    }
}

#[async_trait]
impl Hooks for Diary {
    async fn before_verify(&self, payment: &HookedPayment) -> Result<(), Refusal> {
        self.write("before verify", payment);
        self.asked(Step::Verify)
    }

    async fn after_verify(&self, payment: &HookedPayment) {
        self.write("after verify", payment);
    }

    async fn before_settle(&self, payment: &HookedPayment) -> Result<(), Refusal> {
        self.write("before settle", payment);
        self.asked(Step::Settle)
    }

    async fn after_settle(&self, payment: &HookedPayment, receipt: &SettleResponse) {
        assert!(receipt.success && !receipt.transaction.is_empty());
        self.write("after settle", payment);
    }

    async fn on_failure(&self, payment: &HookedPayment, step: Step, refusal: &Refusal) {
        self.write(&format!("{step:?} failed: {}", refusal.code()), payment);
    }
}

async fn shop(flow: PaymentFlow, refuses: Option<Step>) -> (World, Arc<Diary>) {
    let diary = Arc::new(Diary {
        refuses,
        ..Diary::default()
    });
    let hooks = Arc::clone(&diary);
    let route = Route::new("/paid/*").unwrap().offer(price()).flow(flow);
    (
        World::with(|gate| gate.route(route).hooks(hooks)).await,
        diary,
    )
}

#[tokio::test]
async fn each_step_of_a_payment_is_told_in_its_order() {
    let (world, diary) = shop(PaymentFlow::Authorization, None).await;
    assert!(
        world
            .send(world.payment("/paid/x").await.get("/paid/x"))
            .await
            .has_secret()
    );
    let mut told = diary.told("after settle").await;
    // What is told afterwards may overtake what is asked next.
    assert!(
        told.iter().position(|t| t == "before verify")
            < told.iter().position(|t| t == "before settle")
    );
    told.sort();
    assert_eq!(
        told,
        [
            "after settle",
            "after verify",
            "before settle",
            "before verify"
        ]
    );

    let (world, diary) = shop(PaymentFlow::Upfront, None).await;
    assert!(
        world
            .send(world.payment("/paid/x").await.get("/paid/x"))
            .await
            .has_secret()
    );
    assert_eq!(
        diary.told("after settle").await,
        ["before settle", "after settle"]
    );
}

#[tokio::test]
async fn who_refuses_before_a_step_keeps_it_from_happening() {
    let (world, _) = shop(PaymentFlow::Authorization, Some(Step::Verify)).await;
    let refused = world
        .send(world.payment("/paid/x").await.get("/paid/x"))
        .await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::FORBIDDEN, "not_today")
    );
    assert_eq!(
        (world.facilitator.verify_calls(), world.upstream.count()),
        (0, 0)
    );

    for flow in [PaymentFlow::Authorization, PaymentFlow::Upfront] {
        let (world, _) = shop(flow, Some(Step::Settle)).await;
        let payment = world.payment("/paid/x").await;
        for _ in 0..2 {
            let refused = world.send(payment.get("/paid/x")).await;
            assert_eq!(refused.code(), "not_today", "{flow:?}");
            assert!(!refused.has_secret() && !refused.has_terms());
        }
        assert_eq!(world.facilitator.settlements(), 0);
    }
}

#[tokio::test]
async fn a_failure_is_told_with_its_step_and_changes_nothing() {
    let (world, diary) = shop(PaymentFlow::Authorization, None).await;
    let invalid = VerifyResponse {
        invalid_reason: Some("invalid_exact_evm_signature".to_owned()),
        ..VerifyResponse::default()
    };
    *world.facilitator.verdict.lock().unwrap() = Some(Ok(invalid));
    let refused = world
        .send(world.payment("/paid/x").await.get("/paid/x"))
        .await;
    assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED);
    diary
        .told("Verify failed: invalid_exact_evm_signature")
        .await;

    *world.facilitator.verdict.lock().unwrap() = None;
    let failed = SettleResponse {
        error_reason: Some("invalid_exact_evm_insufficient_balance".to_owned()),
        network: "eip155:84532".to_owned(),
        ..SettleResponse::default()
    };
    world.facilitator.next(Say::Answer(Box::new(failed)));
    let refused = world
        .send(world.payment("/paid/x").await.get("/paid/x"))
        .await;
    assert!(!refused.has_secret());
    diary
        .told("Settle failed: invalid_exact_evm_insufficient_balance")
        .await;
}

#[tokio::test]
async fn money_that_moved_is_told_once_though_the_ledger_failed_between() {
    let (world, diary) = shop(PaymentFlow::Upfront, None).await;
    world.store.fail("settled_first", 1);
    let payment = world.payment("/paid/x").await.named(&"a".repeat(32));
    let first = world.send(payment.get("/paid/x")).await;
    assert!(!first.has_secret(), "{first:?}");
    let again = world.send(payment.get("/paid/x")).await;
    assert!(again.has_secret(), "{again:?}");
    diary.told("after settle").await;
    world.gate.drain(Duration::from_secs(5)).await;
    let told = diary.told("after settle").await;
    let settled = told.iter().filter(|told| *told == "after settle");
    assert_eq!(settled.count(), 1, "{told:?}");
}

#[tokio::test]
async fn the_time_of_the_sellers_own_code_is_kept_free_before_the_deadline() {
    let ends_in = |payment: &mut Payment, left: u64| {
        let now = tollway_core::Clock::now(&tollway_core::SystemClock).secs();
        payment.payload.payload["authorization"]["validBefore"] = (now + left).to_string().into();
    };
    let (ruled, _) = shop(PaymentFlow::Authorization, None).await;
    let plain = World::new().await;
    for (world, too_few, enough) in [(&plain, 7, 14), (&ruled, 17, 24)] {
        let mut short = world.payment("/paid/x").await;
        ends_in(&mut short, too_few);
        let refused = world.send(short.get("/paid/x")).await;
        assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED, "{refused:?}");
        assert_eq!(refused.code(), "cannot_settle_in_time");
        assert_eq!(world.upstream.count(), 0, "nothing is done for nothing");
        assert!(!world.kinds().contains(&"claimed"));
        let mut long = world.payment("/paid/x").await;
        ends_in(&mut long, enough);
        assert!(world.send(long.get("/paid/x")).await.has_secret());
    }
}
