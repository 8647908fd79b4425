//! Two gates over one database: one works on a grant, the other waits for it,
//! and goes on where the first one died.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tollway_core::PaymentFlow;
use tollway_gate::{Limits, Route};
use tollway_ledger::{Replica, ReplicaStore as _, Store};
use tollway_test_postgres::Postgres;

use crate::support::{FakeChain, Say, World, limits, price};

const LONG: Duration = Duration::from_secs(600);

/// Two gates that sell the same route, settled first.
struct Two {
    one: World,
    two: World,
    of_one: Replica,
    ledger: Arc<Store>,
    _server: Postgres,
}

impl Two {
    async fn start() -> Self {
        let server = Postgres::start();
        let url = server.database().await;
        let chain: Arc<FakeChain> = Arc::default();
        let ledger = Arc::new(Store::open(&url).await.unwrap());
        let of_one = ledger.join("one", LONG).await.unwrap();
        let one = gate(&ledger, &of_one, &chain);
        let second = Arc::new(Store::open(&url).await.unwrap());
        let of_two = second.join("two", LONG).await.unwrap();
        let two = gate(&second, &of_two, &chain);
        Self {
            one,
            two,
            of_one,
            ledger,
            _server: server,
        }
    }

    fn served(&self) -> usize {
        self.one.upstream.count() + self.two.upstream.count()
    }
}

fn gate(ledger: &Arc<Store>, replica: &Replica, chain: &Arc<FakeChain>) -> World {
    World::on(Arc::clone(ledger), Arc::clone(chain), |gate| {
        let route = Route::new("/paid/*").unwrap().offer(price());
        gate.route(route.flow(PaymentFlow::Upfront))
            .owner(replica.id.as_str(), &[])
            .limits(Limits {
                settle_wait: Duration::from_secs(10),
                repeat_wait: Duration::from_secs(10),
                ..limits()
            })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_living_gate_works_on_is_not_ended_by_another() {
    let both = Two::start().await;
    let payment = both.one.payment("/paid/x").await.unnamed();
    *both.one.upstream.delay.lock().unwrap() = Duration::from_millis(1_500);
    let (answer, again) = tokio::join!(both.one.send(payment.get("/paid/x")), async {
        while both.one.upstream.count() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        both.two.gate.recover().await.unwrap();
        both.two.send(payment.get("/paid/x")).await
    });
    assert!(
        answer.has_secret() && answer.receipt().success,
        "{answer:?}"
    );
    assert_eq!(again.code(), "duplicate_settlement", "{again:?}");
    assert_eq!(both.served(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_payment_at_two_gates_asks_the_service_behind_once() {
    let both = Two::start().await;
    let payment = both
        .one
        .payment("/paid/x")
        .await
        .named("shown-to-both-gates");
    let slowly = Say::Slow(Duration::from_millis(800));
    both.one.facilitator.next(slowly.clone());
    both.two.facilitator.next(slowly);
    let (first, second) = tokio::join!(both.one.send(payment.get("/paid/x")), async {
        while both.one.facilitator.settle_calls.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        both.two.send(payment.get("/paid/x")).await
    });
    assert!(first.has_secret() && first.receipt().success, "{first:?}");
    assert!(second.has_secret(), "the stored answer: {second:?}");
    assert_eq!(both.served(), 1);
    assert_eq!(both.one.chain.settled.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_gate_was_paid_for_is_served_by_another() {
    let both = Two::start().await;
    let payment = both
        .one
        .payment("/paid/x")
        .await
        .named("named-and-its-gate-died");
    both.one.facilitator.next(Say::Hang);
    let request = payment.get("/paid/x");
    let (first, second) = tokio::join!(
        tokio::time::timeout(Duration::from_secs(3), both.one.send(request)),
        async {
            while both.one.facilitator.settle_calls.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            both.ledger.leave(&both.of_one.id).await.unwrap();
            both.two.send(payment.get("/paid/x")).await
        }
    );
    assert!(first.is_err(), "{first:?}");
    assert!(
        second.has_secret() && second.receipt().success,
        "{second:?}"
    );
    assert_eq!(both.served(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_was_taken_for_dead_delivers_nothing_when_it_wakes() {
    let both = Two::start().await;
    let payment = both
        .one
        .payment("/paid/x")
        .await
        .named("its-gate-was-taken-for-dead");
    both.one
        .facilitator
        .next(Say::Slow(Duration::from_millis(1_500)));
    let (first, second) = tokio::join!(both.one.send(payment.get("/paid/x")), async {
        while both.one.facilitator.settle_calls.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        both.ledger.leave(&both.of_one.id).await.unwrap();
        both.two.send(payment.get("/paid/x")).await
    });
    assert!(
        second.has_secret() && second.receipt().success,
        "{second:?}"
    );
    assert!(!first.has_secret() && !first.has_terms(), "{first:?}");
    assert_eq!(both.served(), 1);
}
