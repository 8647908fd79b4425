//! Payments and slots, over any store.

use tollway_core::{PaymentId, Proof};
use tollway_ledger::{
    Acceptance, Claim, Conclusion, Cost, Ending, GasSpent, GrantStore, HandOut, Lease, LedgerError,
    PaymentFilter, PaymentRecord, PaymentState, SettlementStore, SlotRef,
};

use tollway_test_records::{
    address, at, atomic, grant, hash, identity, leased, network, opened_by, payment, raw, settled,
};

pub async fn accepted(store: &impl SettlementStore, n: u64) -> PaymentRecord {
    match store.accept(payment(n), at(1_000 + n)).await.unwrap() {
        Acceptance::New(record) => record,
        Acceptance::Existing(record) => panic!("{record:?} was there"),
    }
}

fn slot(nonce: u64) -> SlotRef {
    (network(), address(9), nonce)
}

async fn allocated(store: &impl SettlementStore, lease: &Lease, confirmed: u64) -> u64 {
    let record = store.allocate_slot(lease, confirmed, at(5)).await;
    record.unwrap().nonce
}

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(result: Result<T, LedgerError>) {
    assert!(
        matches!(result, Err(LedgerError::Conflict { .. })),
        "{result:?}"
    );
}

pub async fn a_payment_comes_back_as_it_was_accepted(store: impl SettlementStore) {
    let record = accepted(&store, 1).await;
    assert_eq!(record.payment, payment(1));
    assert_eq!(record.state, PaymentState::Accepted);
    let known = store.accept(payment(1), at(9)).await.unwrap();
    assert_eq!(known, Acceptance::Existing(record.clone()));
    assert_eq!(
        store.payment(&record.id).await.unwrap(),
        Some(record.clone())
    );
    let found = store.payment_by_identity(&identity(1)).await.unwrap();
    assert_eq!(found, Some(record.clone()));
    assert_eq!(store.open_payments().await.unwrap(), [record]);
    assert_eq!(store.payment_by_identity(&identity(2)).await.unwrap(), None);
}

pub async fn a_payment_has_one_open_attempt(store: impl SettlementStore) {
    let lease = leased(&store, 9).await.unwrap();
    let record = accepted(&store, 1).await;
    let other = accepted(&store, 2).await;
    let ids = [record.id.clone()];
    let first = slot(allocated(&store, &lease, 0).await);
    store
        .store_raw(&first, &raw(1), &ids, &lease, at(10))
        .await
        .unwrap();
    let second = slot(allocated(&store, &lease, 0).await);
    assert_eq!((first.2, second.2), (0, 1));
    assert_conflict(
        store
            .store_raw(&second, &raw(2), &ids, &lease, at(11))
            .await,
    );
    assert_conflict(
        store
            .store_raw(
                &first,
                &raw(2),
                std::slice::from_ref(&other.id),
                &lease,
                at(11),
            )
            .await,
    );
    assert_conflict(
        store
            .store_raw(&second, &raw(1), &[other.id], &lease, at(11))
            .await,
    );

    store
        .store_raw(&first, &raw(3), &ids, &lease, at(12))
        .await
        .unwrap();
    let submitted = store.payment(&record.id).await.unwrap().unwrap();
    assert_eq!(submitted.state, PaymentState::Submitted);
    assert_eq!(submitted.slot, Some(first.clone()));
    assert_eq!(
        (submitted.attempts, submitted.transaction),
        (1, Some(hash(3)))
    );
    let held = store.slot(&first).await.unwrap().unwrap();
    assert_eq!(
        (held.raws, held.payments),
        (vec![raw(1), raw(3)], ids.to_vec())
    );

    let proof = Proof::Reverted {
        transaction: hash(3),
        fee: tollway_core::Amount::ZERO,
    };
    store.reopen(&record.id, &proof, at(13)).await.unwrap();
    store.close_slot(&first, &[], at(14)).await.unwrap();
    assert_conflict(store.store_raw(&first, &raw(4), &ids, &lease, at(15)).await);
    store
        .store_raw(&second, &raw(4), &ids, &lease, at(15))
        .await
        .unwrap();
    let again = store.payment(&record.id).await.unwrap().unwrap();
    assert_eq!((again.attempts, again.slot), (2, Some(second)));
}

pub async fn a_cancellation_leaves_the_slots_payments(store: impl SettlementStore) {
    let lease = leased(&store, 9).await.unwrap();
    let record = accepted(&store, 1).await;
    let slot = slot(allocated(&store, &lease, 4).await);
    let ids = [record.id.clone()];
    store
        .store_raw(&slot, &raw(1), &ids, &lease, at(10))
        .await
        .unwrap();
    store
        .store_raw(&slot, &raw(2), &[], &lease, at(11))
        .await
        .unwrap();
    let held = store.slot(&slot).await.unwrap().unwrap();
    assert_eq!((held.raws.len(), held.payments), (2, ids.to_vec()));
    let payment = store.payment(&record.id).await.unwrap().unwrap();
    assert_eq!(payment.transaction, Some(hash(1)));
}

pub async fn nonces_are_given_out_without_gaps(store: impl SettlementStore) {
    let lease = leased(&store, 9).await.unwrap();
    assert_eq!(allocated(&store, &lease, 3).await, 3);
    // Nothing was stored under it: it is given out again.
    assert_eq!(allocated(&store, &lease, 3).await, 3);
    store
        .store_raw(&slot(3), &raw(3), &[], &lease, at(1))
        .await
        .unwrap();
    assert_eq!(allocated(&store, &lease, 3).await, 4);
    store
        .store_raw(&slot(4), &raw(4), &[], &lease, at(1))
        .await
        .unwrap();
    store.close_slot(&slot(3), &[], at(2)).await.unwrap();
    // A node that lags behind does not bring a used nonce back.
    assert_eq!(allocated(&store, &lease, 3).await, 5);
    // Somebody else used the key: an unused slot below the chain is no gap.
    assert_eq!(allocated(&store, &lease, 8).await, 8);
    let open = store.open_slots().await.unwrap();
    let nonces: Vec<_> = open.iter().map(|s| s.nonce).collect();
    assert_eq!(nonces, [4, 5, 8]);
}

pub async fn a_payment_ends_once(store: impl SettlementStore) {
    let one = accepted(&store, 1).await;
    let done = Conclusion::Settled(settled(5));
    let ended = store.conclude(&one.id, done.clone(), at(20)).await.unwrap();
    assert_eq!(ended.state, PaymentState::Settled);
    assert_eq!(
        (ended.settled.clone(), ended.transaction.clone()),
        (Some(settled(5)), Some(hash(5)))
    );
    assert_eq!(store.conclude(&one.id, done, at(21)).await.unwrap(), ended);
    assert_conflict(
        store
            .conclude(&one.id, Conclusion::Settled(settled(6)), at(21))
            .await,
    );
    assert_conflict(store.conclude(&one.id, Conclusion::Expired, at(21)).await);

    let two = accepted(&store, 2).await;
    let refusal = Conclusion::Refused {
        code: "invalid_transaction_state".to_owned(),
        message: "It was reverted; sign a new one.".to_owned(),
    };
    let refused = store.conclude(&two.id, refusal, at(22)).await.unwrap();
    assert_eq!(refused.refusal.unwrap().0, "invalid_transaction_state");
    assert_conflict(store.hand_out(&two.id, None, at(23)).await);
    assert_eq!(store.open_payments().await.unwrap(), []);
}

pub async fn one_transfer_settles_one_payment(store: impl SettlementStore) {
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(accepted(&store, n).await.id);
    }
    let by = |log_index| {
        let log_index = Some(log_index);
        let settled = settled(5);
        Conclusion::Settled(tollway_core::Settled {
            log_index,
            ..settled
        })
    };
    let ended = store.conclude(&ids[0], by(3), at(2)).await.unwrap();
    assert_eq!(ended.state, PaymentState::Settled);
    let second = store.conclude(&ids[1], by(3), at(3)).await.unwrap();
    assert_eq!(
        (second.state, &second.settled),
        (PaymentState::Refused, &None)
    );
    assert_eq!(second.refusal.clone().unwrap().0, "duplicate_settlement");
    assert_eq!(second.transaction, Some(hash(5)), "it is told of what");
    assert_eq!(store.payment(&ids[1]).await.unwrap(), Some(second));
    assert_conflict(store.hand_out(&ids[1], None, at(3)).await);

    let beside = store.conclude(&ids[2], by(4), at(4)).await.unwrap();
    assert_eq!(beside.state, PaymentState::Settled, "a log of its own");

    let gone = "block 7 is gone";
    store.take_back(&ids[0], gone, at(5)).await.unwrap();
    let ending = |id: &PaymentId| Ending {
        id: id.clone(),
        conclusion: by(3),
        hand_out: Some(None),
    };
    let endings = vec![ending(&ids[3]), ending(&ids[0])];
    let ended = store.conclude_all(endings, at(6)).await.unwrap();
    let states = ended.iter().map(|e| {
        let (record, told) = e.as_ref().unwrap();
        (record.state, *told)
    });
    let expected = [
        (PaymentState::Settled, Some(HandOut::First)),
        (PaymentState::Refused, None),
    ];
    assert_eq!(states.collect::<Vec<_>>(), expected);
}

pub async fn success_is_handed_out_once(store: impl SettlementStore) {
    for (n, key) in [(1, Some("key")), (2, None)] {
        let id = accepted(&store, n).await.id;
        assert_conflict(store.hand_out(&id, key, at(19)).await);
        let done = Conclusion::Settled(settled(n));
        store.conclude(&id, done, at(20)).await.unwrap();
        assert_eq!(
            store.hand_out(&id, key, at(21)).await.unwrap(),
            HandOut::First
        );
        let again = store.hand_out(&id, key, at(22)).await.unwrap();
        let expected = if key.is_some() {
            HandOut::Again
        } else {
            HandOut::Duplicate
        };
        assert_eq!(again, expected);
        let other = store.hand_out(&id, Some("other"), at(22)).await.unwrap();
        assert_eq!(other, HandOut::Duplicate);
        let nobody = store.hand_out(&id, None, at(22)).await.unwrap();
        assert_eq!(nobody, HandOut::Duplicate);
    }
}

pub async fn success_is_for_the_key_that_opened_the_payment(store: impl SettlementStore) {
    let new = opened_by("opener", 1);
    let Acceptance::New(record) = store.accept(new, at(1)).await.unwrap() else {
        panic!("it was known");
    };
    let ending = Ending {
        id: record.id.clone(),
        conclusion: Conclusion::Settled(settled(1)),
        hand_out: Some(Some("thief".to_owned())),
    };
    let ended = store.conclude_all(vec![ending], at(2)).await.unwrap();
    assert_ne!(ended[0].as_ref().unwrap().1, Some(HandOut::First));
    for thief in [Some("thief"), None] {
        let told = store.hand_out(&record.id, thief, at(3)).await.unwrap();
        assert_eq!(told, HandOut::Duplicate);
    }
    let told = store.hand_out(&record.id, Some("opener"), at(4)).await;
    assert_eq!(told.unwrap(), HandOut::First);
}

pub async fn a_reorganisation_brings_the_attempt_back(store: impl SettlementStore) {
    let lease = leased(&store, 9).await.unwrap();
    let record = accepted(&store, 1).await;
    let slot = slot(allocated(&store, &lease, 0).await);
    store
        .store_raw(
            &slot,
            &raw(1),
            std::slice::from_ref(&record.id),
            &lease,
            at(2),
        )
        .await
        .unwrap();
    store
        .conclude(&record.id, Conclusion::Settled(settled(1)), at(3))
        .await
        .unwrap();
    store.close_slot(&slot, &[], at(3)).await.unwrap();
    assert_eq!(store.open_slots().await.unwrap(), []);
    store
        .take_back(&record.id, "block 7 is gone", at(4))
        .await
        .unwrap();
    let back = store.payment(&record.id).await.unwrap().unwrap();
    assert_eq!(
        (back.state, back.slot),
        (PaymentState::Submitted, Some(slot.clone()))
    );
    assert_eq!(back.settled, None);
    assert!(!store.slot(&slot).await.unwrap().unwrap().closed);
    assert_conflict(store.take_back(&record.id, "twice", at(5)).await);
}

pub async fn a_gap_is_filled_and_a_freed_nonce_opens_again(store: impl SettlementStore) {
    let lease = leased(&store, 9).await.unwrap();
    let record = accepted(&store, 1).await;
    let ids = [record.id.clone()];
    assert_eq!(allocated(&store, &lease, 5).await, 5);
    let five = slot(5);
    let open = store.reopen_slot(&five, &lease, at(2)).await.unwrap();
    assert_eq!((open.nonce, open.closed), (5, false));
    store
        .store_raw(&five, &raw(1), &ids, &lease, at(2))
        .await
        .unwrap();
    store.close_slot(&five, &[], at(3)).await.unwrap();
    let again = store.reopen_slot(&five, &lease, at(4)).await.unwrap();
    assert_eq!((again.closed, again.raws), (false, vec![raw(1)]));
    assert_eq!(again.payments, ids);
    let found = store.slot(&five).await.unwrap().unwrap();
    assert!(!found.closed);
    // A nonce below that nobody had.
    let gap = store.reopen_slot(&slot(4), &lease, at(5)).await.unwrap();
    assert_eq!((gap.nonce, gap.raws, gap.payments), (4, vec![], vec![]));
    store
        .store_raw(&slot(4), &raw(2), &[], &lease, at(6))
        .await
        .unwrap();
    let nobody = PaymentId::from_text("pay_nobody");
    let found = store
        .payments_of(&[nobody, record.id.clone()])
        .await
        .unwrap();
    assert_eq!(
        found.iter().map(|p| &p.id).collect::<Vec<_>>(),
        [&record.id]
    );
}

pub async fn listings_are_newest_first_and_bounded(store: impl SettlementStore) {
    for n in 0..5 {
        accepted(&store, n).await;
    }
    let store = &store;
    let list = |filter| async move { store.payments(&filter).await.unwrap() };
    let two = list(PaymentFilter {
        limit: 2,
        ..Default::default()
    })
    .await;
    let times: Vec<_> = two.iter().map(|p| p.accepted_at.millis()).collect();
    assert_eq!(times, [1_004, 1_003]);
    let before = Some(two[1].accepted_at);
    let rest = list(PaymentFilter {
        limit: 9,
        before,
        state: None,
    })
    .await;
    assert_eq!(rest.len(), 3);
    let state = Some(PaymentState::Settled);
    assert_eq!(
        list(PaymentFilter {
            state,
            limit: 9,
            before: None
        })
        .await,
        []
    );
}

fn cost(payer: u8, fee: u128, lost: bool) -> Cost {
    Cost {
        payer: address(payer),
        fee: atomic(fee),
        lost,
    }
}

pub async fn what_transactions_cost_is_counted_by_day_and_payer(store: impl SettlementStore) {
    const DAY: u64 = 86_400_000;
    let lease = leased(&store, 9).await.unwrap();
    let costs = [cost(1, 5, false), cost(1, 7, true), cost(2, 11, true)];
    for (nonce, now) in [(0, DAY - 1), (1, DAY), (2, 3 * DAY)] {
        let slot = slot(allocated(&store, &lease, nonce).await);
        store
            .store_raw(&slot, &raw(nonce), &[], &lease, at(now))
            .await
            .unwrap();
        store.close_slot(&slot, &costs, at(now)).await.unwrap();
        // Closed again, it costs nothing more.
        store.close_slot(&slot, &costs, at(now)).await.unwrap();
    }
    let spent = async |since, payer: Option<u8>| {
        let payer = payer.map(address);
        let spent = store.gas_spent(&network(), at(since), payer.as_ref()).await;
        let GasSpent { fee, lost } = spent.unwrap();
        (fee.as_u128().unwrap(), lost.as_u128().unwrap())
    };
    assert_eq!(spent(0, None).await, (69, 54));
    assert_eq!(
        spent(2 * DAY - 1, None).await,
        (46, 36),
        "the whole day counts"
    );
    assert_eq!(spent(2 * DAY, None).await, (23, 18));
    assert_eq!(spent(0, Some(1)).await, (36, 21));
    assert_eq!(spent(2 * DAY, Some(2)).await, (11, 11));
    assert_eq!(spent(4 * DAY, None).await, (0, 0));
    assert_eq!(spent(0, Some(3)).await, (0, 0));
}

pub async fn many_end_in_one_step_each_for_itself(store: impl SettlementStore) {
    let ids = [accepted(&store, 1).await.id, accepted(&store, 2).await.id];
    let refused = accepted(&store, 3).await.id;
    store
        .conclude(&refused, Conclusion::Expired, at(2))
        .await
        .unwrap();
    let ending = |id: &PaymentId, n, hand_out| Ending {
        id: id.clone(),
        conclusion: Conclusion::Settled(settled(n)),
        hand_out,
    };
    let endings = vec![
        ending(&ids[0], 1, Some(Some("key".to_owned()))),
        ending(&refused, 2, Some(None)),
        ending(&PaymentId::from_text("pay_nobody"), 2, None),
        ending(&ids[1], 2, None),
        ending(&ids[0], 1, Some(Some("key".to_owned()))),
        ending(&ids[0], 1, Some(None)),
    ];
    let ended = store.conclude_all(endings, at(3)).await.unwrap();
    let told: Vec<_> = ended
        .iter()
        .map(|ended| match ended {
            Ok((record, told)) => Ok((record.state, *told)),
            Err(LedgerError::Conflict { .. }) => Err("conflict"),
            Err(LedgerError::NotFound(_)) => Err("not found"),
            Err(broken) => panic!("{broken:?}"),
        })
        .collect();
    let expected = [
        Ok((PaymentState::Settled, Some(HandOut::First))),
        Err("conflict"),
        Err("not found"),
        Ok((PaymentState::Settled, None)),
        Ok((PaymentState::Settled, Some(HandOut::Again))),
        Ok((PaymentState::Settled, Some(HandOut::Duplicate))),
    ];
    assert_eq!(told, expected);
    let (record, _) = ended[0].clone().unwrap();
    assert_eq!(store.payment(&ids[0]).await.unwrap(), Some(record));
    let late = store.hand_out(&ids[1], None, at(4)).await.unwrap();
    assert_eq!(late, HandOut::First);
}

pub async fn what_is_settled_is_watched_until_it_is_final(store: impl SettlementStore) {
    let mut ids = Vec::new();
    for n in 0..5 {
        let id = accepted(&store, n).await.id;
        let done = if n == 4 {
            Conclusion::SettledWithoutTransaction
        } else {
            Conclusion::Settled(settled(n))
        };
        store.conclude(&id, done, at(2)).await.unwrap();
        ids.push(id);
    }
    let watched = async |after: Option<&PaymentId>, limit| {
        let found = store.settled_since(&network(), after, limit).await.unwrap();
        found.into_iter().map(|p| p.id).collect::<Vec<_>>()
    };
    assert_eq!(watched(None, 3).await, ids[..3]);
    assert_eq!(
        watched(Some(&ids[2]), 3).await,
        ids[3..4],
        "the last moved nothing"
    );
    store.mark_final(&ids[..2], at(3)).await.unwrap();
    store.mark_final(&ids[..2], at(3)).await.unwrap();
    store
        .take_back(&ids[2], "block 7 is gone", at(4))
        .await
        .unwrap();
    assert_eq!(watched(None, 0).await, ids[3..4]);
    assert!(!store.payment(&ids[0]).await.unwrap().unwrap().is_watched);
}

pub async fn a_payer_cannot_promise_the_same_money_twice(store: impl SettlementStore + GrantStore) {
    let held = async |except| {
        let (asset, payer) = (address(0xaa), address(1));
        let held = store
            .held(&network(), &asset, &payer, &identity(except))
            .await;
        held.unwrap().as_u128().unwrap()
    };
    assert_eq!(held(9).await, 0);
    let one = accepted(&store, 1).await.id;
    let two = accepted(&store, 2).await.id;
    assert_eq!(held(9).await, 20_000);
    assert_eq!(held(1).await, 10_000, "the one that asks does not count");
    // The same authorization at the gate and in the engine is one promise.
    let Claim::New(same) = store.claim(grant(1), at(1)).await.unwrap() else {
        panic!("it was claimed before");
    };
    let Claim::New(_) = store.claim(grant(3), at(1)).await.unwrap() else {
        panic!("it was claimed before");
    };
    assert_eq!(held(9).await, 30_000);
    store
        .conclude(&one, Conclusion::Settled(settled(1)), at(2))
        .await
        .unwrap();
    assert_eq!(held(9).await, 30_000, "its grant is open");
    store
        .refuse(&same.id, "code", "Sentence.", true, at(2))
        .await
        .unwrap();
    store
        .conclude(&two, Conclusion::Expired, at(2))
        .await
        .unwrap();
    assert_eq!(held(9).await, 10_000);
    let (asset, other) = (address(0xbb), address(2));
    let elsewhere = store
        .held(&network(), &asset, &address(1), &identity(9))
        .await;
    let others = store
        .held(&network(), &address(0xaa), &other, &identity(9))
        .await;
    assert_eq!(
        (elsewhere.unwrap(), others.unwrap()),
        (atomic(0), atomic(0))
    );
}
