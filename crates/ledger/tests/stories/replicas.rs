//! Several processes over one ledger: who works on what, over any store.

use std::time::Duration;

use tollway_core::{PaymentId, Proof};
use tollway_ledger::{
    Acceptance, Conclusion, Lease, LedgerError, PaymentState, ReplicaId, SettlementStore, SlotRef,
    StoryStore,
};

use tollway_test_records::{LONG, address, at, network, payment, raw, settled};

pub async fn joined(store: &impl SettlementStore) -> ReplicaId {
    store.join("engine", LONG).await.unwrap().id
}

pub async fn lease(store: &impl SettlementStore, replica: &ReplicaId, signer: u8) -> Option<Lease> {
    let (network, signer) = (network(), address(signer));
    let lease = store.lease_signer(replica, &network, &signer).await;
    lease.unwrap()
}

pub async fn accepted_by(store: &dyn SettlementStore, n: u64) -> PaymentId {
    match store.accept(payment(n), at(n)).await.unwrap() {
        Acceptance::New(record) => record.id,
        Acceptance::Existing(record) => panic!("{record:?} was there"),
    }
}

/// Allocates a slot, stores a transaction for a payment in it.
pub async fn submitted(
    store: &dyn SettlementStore,
    lease: &Lease,
    id: &PaymentId,
    n: u64,
) -> SlotRef {
    let slot = store.allocate_slot(lease, 0, at(n)).await.unwrap();
    let slot = (slot.network, slot.signer, slot.nonce);
    let ids = std::slice::from_ref(id);
    store
        .store_raw(&slot, &raw(n), ids, lease, at(n))
        .await
        .unwrap();
    slot
}

#[track_caller]
fn assert_lost<T: std::fmt::Debug>(result: Result<T, LedgerError>) {
    assert!(
        matches!(result, Err(LedgerError::LeaseLost { .. })),
        "{result:?}"
    );
}

#[track_caller]
fn assert_anothers<T: std::fmt::Debug>(result: Result<T, LedgerError>) {
    match result {
        Err(LedgerError::Conflict { state, .. }) => assert_eq!(state, "held by another replica"),
        other => panic!("{other:?}"),
    }
}

fn refusal() -> Conclusion {
    Conclusion::Refused {
        code: "code".to_owned(),
        message: "Sentence.".to_owned(),
    }
}

pub async fn who_leaves_leaves_all_to_the_next(store: impl SettlementStore + StoryStore) {
    let first = joined(&store).await;
    let acting = store.acting_as(&first);
    let nine = lease(&store, &first, 9).await.unwrap();
    assert_eq!(
        lease(&store, &first, 9).await.as_ref(),
        Some(&nine),
        "again the same"
    );
    let one = accepted_by(&*acting, 1).await;
    let two = accepted_by(&*acting, 2).await;
    let three = accepted_by(&*acting, 3).await;
    let slot = submitted(&*acting, &nine, &one, 1).await;
    acting.conclude(&three, refusal(), at(4)).await.unwrap();
    store.leave(&first).await.unwrap();

    let second = joined(&store).await;
    let acting = store.acting_as(&second);
    assert_eq!(acting.open_payments().await.unwrap(), []);
    assert_eq!(acting.open_slots().await.unwrap(), []);
    // What is submitted goes with its signer.
    let adopted = store.adopt(&second, &network(), 10).await.unwrap();
    assert_eq!(adopted.iter().map(|p| &p.id).collect::<Vec<_>>(), [&two]);
    let again = lease(&store, &second, 9).await.unwrap();
    assert_eq!((nine.epoch, again.epoch), (1, 2));
    let adopted = store.adopt(&second, &network(), 10).await.unwrap();
    assert_eq!(adopted.iter().map(|p| &p.id).collect::<Vec<_>>(), [&one]);
    assert_eq!(adopted[0].replica, Some(second.clone()));
    assert_eq!(store.adopt(&second, &network(), 10).await.unwrap(), []);
    let open = acting.open_payments().await.unwrap();
    assert_eq!(open.iter().map(|p| &p.id).collect::<Vec<_>>(), [&one, &two]);
    assert_eq!(acting.open_slots().await.unwrap()[0].nonce, slot.2);
    let story = store.story(one.as_str()).await.unwrap();
    let kinds: Vec<_> = story.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["accepted", "stored_raw", "adopted"]);
}

pub async fn a_lost_lease_stores_nothing(store: impl SettlementStore) {
    let first = joined(&store).await;
    let nine = lease(&store, &first, 9).await.unwrap();
    let acting = store.acting_as(&first);
    let one = accepted_by(&*acting, 1).await;
    let slot = submitted(&*acting, &nine, &one, 1).await;
    store.leave(&first).await.unwrap();
    assert_lost(acting.allocate_slot(&nine, 0, at(2)).await);
    let second = joined(&store).await;
    let newer = lease(&store, &second, 9).await.unwrap();
    let ids = [one.clone()];
    assert_lost(acting.store_raw(&slot, &raw(2), &ids, &nine, at(3)).await);
    assert_lost(acting.allocate_slot(&nine, 0, at(3)).await);
    // Letting go of what one has no more changes nothing.
    store.leave(&first).await.unwrap();
    assert_eq!(lease(&store, &second, 9).await, Some(newer.clone()));
    // Nor does the new holder touch what it did not adopt, or another signer's slot.
    let acting = store.acting_as(&second);
    let adopted = store.adopt(&second, &network(), 10).await.unwrap();
    assert_eq!(adopted.len(), 1);
    acting
        .store_raw(&slot, &raw(2), &ids, &newer, at(4))
        .await
        .unwrap();
    let eight = lease(&store, &second, 8).await.unwrap();
    let wrong = acting.store_raw(&slot, &raw(3), &ids, &eight, at(5)).await;
    assert!(
        matches!(wrong, Err(LedgerError::Conflict { .. })),
        "{wrong:?}"
    );
}

pub async fn what_is_anothers_is_left_alone(store: impl SettlementStore) {
    let first = joined(&store).await;
    let acting = store.acting_as(&first);
    let nine = lease(&store, &first, 9).await.unwrap();
    let [one, two] = [
        accepted_by(&*acting, 1).await,
        accepted_by(&*acting, 2).await,
    ];
    submitted(&*acting, &nine, &one, 1).await;
    let second = joined(&store).await;
    let other = store.acting_as(&second);
    let eight = lease(&store, &second, 8).await.unwrap();
    assert_anothers(other.conclude(&two, refusal(), at(3)).await);
    assert_anothers(other.conclude(&two, Conclusion::Expired, at(3)).await);
    let proof = Proof::SlotTaken { confirmed_nonce: 9 };
    assert_anothers(other.reopen(&one, &proof, at(3)).await);
    assert_anothers(other.give_up(&two).await);
    let slot = other.allocate_slot(&eight, 0, at(3)).await.unwrap();
    let slot = (slot.network, slot.signer, slot.nonce);
    let ids = [two.clone()];
    assert_anothers(other.store_raw(&slot, &raw(2), &ids, &eight, at(3)).await);
    // That the money moved is a fact.
    let done = Conclusion::Settled(settled(7));
    let ended = other.conclude(&two, done, at(4)).await.unwrap();
    assert_eq!(
        (ended.state, ended.replica),
        (PaymentState::Settled, Some(first))
    );
}

pub async fn what_is_given_up_goes_to_whoever_adopts(store: impl SettlementStore) {
    let me = joined(&store).await;
    let acting = store.acting_as(&me);
    let one = accepted_by(&*acting, 1).await;
    assert_eq!(store.adopt(&me, &network(), 10).await.unwrap(), []);
    acting.give_up(&one).await.unwrap();
    let found = store.payment(&one).await.unwrap().unwrap();
    assert_eq!(found.replica, None);
    assert_eq!(acting.open_payments().await.unwrap(), []);
    let adopted = store.adopt(&me, &network(), 10).await.unwrap();
    assert_eq!(adopted[0].id, one);
    let elsewhere = tollway_core::Network::eip155(1);
    acting.give_up(&one).await.unwrap();
    assert_eq!(store.adopt(&me, &elsewhere, 10).await.unwrap(), []);
    acting.conclude(&one, refusal(), at(5)).await.unwrap();
    let ended = acting.give_up(&one).await;
    assert!(
        matches!(ended, Err(LedgerError::Conflict { .. })),
        "{ended:?}"
    );
}

pub async fn nobody_beats_for_somebody_unknown(store: impl SettlementStore) {
    let nobody = ReplicaId::from_text("rep_nobody");
    let beat = store.beat(&nobody, Duration::from_secs(1)).await;
    assert!(matches!(beat, Err(LedgerError::NotFound(_))), "{beat:?}");
}
