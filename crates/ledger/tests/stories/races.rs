//! Many at once: one wins.

use std::sync::Arc;

use tokio::task::JoinSet;
use tollway_ledger::{
    Acceptance, Claim, GrantStore, HandOut, Limit, LimitScope, NewSpend, Reservation,
    SettlementStore, SpendStore,
};

use crate::settlements::accepted;
use tollway_test_records::{at, grant, limit, payment, settled, spend};

const MANY: u64 = 1_000;

/// Runs one call a thousand times at once, and counts those that won.
async fn winners<F>(call: impl Fn(u64) -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let mut calls = JoinSet::new();
    for n in 0..MANY {
        calls.spawn(call(n));
    }
    let won = calls.join_all().await;
    won.into_iter().filter(|won| *won).count()
}

pub async fn a_thousand_accepts_make_one_payment(store: impl SettlementStore + 'static) {
    let store = Arc::new(store);
    let won = winners(|n| {
        let store = Arc::clone(&store);
        async move {
            let acceptance = store.accept(payment(1), at(n)).await.unwrap();
            matches!(acceptance, Acceptance::New(_))
        }
    });
    assert_eq!(won.await, 1);
    assert_eq!(store.open_payments().await.unwrap().len(), 1);
}

pub async fn a_thousand_claims_open_one_grant(store: impl GrantStore + 'static) {
    let store = Arc::new(store);
    let won = winners(|n| {
        let store = Arc::clone(&store);
        async move {
            let claim = store.claim(grant(1), at(n)).await.unwrap();
            matches!(claim, Claim::New(_))
        }
    });
    assert_eq!(won.await, 1);
}

pub async fn a_thousand_are_told_of_success_once(store: impl SettlementStore + 'static) {
    let store = Arc::new(store);
    let id = accepted(&*store, 1).await.id;
    let done = tollway_ledger::Conclusion::Settled(settled(1));
    store.conclude(&id, done, at(1)).await.unwrap();
    let won = winners(|n| {
        let (store, id) = (Arc::clone(&store), id.clone());
        async move {
            let told = store.hand_out(&id, None, at(n)).await.unwrap();
            told == HandOut::First
        }
    });
    assert_eq!(won.await, 1);
}

pub async fn a_thousand_reservations_stay_within_a_keys_payments(store: impl SpendStore + 'static) {
    let store = Arc::new(store);
    let calls = Limit {
        scope: LimitScope::KeyCalls("session".to_owned()),
        ..limit(17)
    };
    let won = winners(|n| {
        let (store, calls) = (Arc::clone(&store), calls.clone());
        async move {
            let new = NewSpend {
                key: Some("session".to_owned()),
                ..spend(n)
            };
            let reservation = store.reserve(new, &[calls], at(n)).await;
            matches!(reservation.unwrap(), Reservation::Reserved(_))
        }
    });
    assert_eq!(won.await, 17);
}

pub async fn a_thousand_payments_by_one_transfer_settle_once(
    store: impl SettlementStore + 'static,
) {
    let store = Arc::new(store);
    let won = winners(|n| {
        let store = Arc::clone(&store);
        async move {
            let id = accepted(&*store, n).await.id;
            let done = tollway_ledger::Conclusion::Settled(settled(1));
            let ended = store.conclude(&id, done, at(n)).await.unwrap();
            ended.state == tollway_ledger::PaymentState::Settled
        }
    });
    assert_eq!(won.await, 1);
}

pub async fn a_thousand_reservations_stay_within_the_budget(store: impl SpendStore + 'static) {
    let store = Arc::new(store);
    let won = winners(|n| {
        let store = Arc::clone(&store);
        async move {
            let reservation = store.reserve(spend(n), &[limit(1_234)], at(n)).await;
            matches!(reservation.unwrap(), Reservation::Reserved(_))
        }
    });
    assert_eq!(won.await, 123);
    let total = crate::spends::total(&*store, &limit(0), 0).await;
    assert_eq!(total, (0, 1_230));
}
