//! Grants, over any store.

use serde_json::json;
use tollway_core::GrantId;
use tollway_ledger::{
    Acceptance, Claim, Conclusion, Evidence, GrantRecord, GrantState, GrantStore, LedgerError,
    NewGrant, PaidBefore, PaymentState, Release, SettlementStore, StoryStore,
};

use tollway_test_records::{answer, at, grant, hash, identity, payment, settled};

async fn claimed(store: &impl GrantStore, new: NewGrant) -> GrantRecord {
    match store.claim(new, at(1)).await.unwrap() {
        Claim::New(record) => record,
        other => panic!("{other:?}"),
    }
}

fn receipt() -> serde_json::Value {
    json!({ "success": true, "transaction": hash(1), "network": "eip155:84532" })
}

fn evidence() -> Evidence {
    log_of(1, 3)
}

/// A Transfer, by its transaction and its place among the logs.
fn log_of(transaction: u64, log_index: u64) -> Evidence {
    Evidence::Receipt {
        transaction: hash(transaction),
        log_index: Some(log_index),
    }
}

async fn released(store: &impl GrantStore, id: &GrantId) -> Result<(), LedgerError> {
    let released = store.release(id, &evidence(), &receipt(), at(9)).await;
    released.map(|release| assert_eq!(release, Release::Released(None)))
}

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(result: Result<T, LedgerError>) {
    assert!(
        matches!(result, Err(LedgerError::Conflict { .. })),
        "{result:?}"
    );
}

pub async fn one_authorization_opens_one_grant(store: impl GrantStore) {
    let first = claimed(&store, grant(1)).await;
    assert_eq!(first.grant, grant(1));
    let mut elsewhere = grant(1);
    elsewhere.url = "https://shop.example/paid/2".to_owned();
    let again = store.claim(elsewhere, at(2)).await.unwrap();
    assert_eq!(again, Claim::Existing(first.clone()));
    assert_eq!(
        store.open_grants().await.unwrap(),
        std::slice::from_ref(&first)
    );
    let found = store.grant_by_identity(&identity(1)).await.unwrap();
    assert_eq!(found, Some(first));
}

pub async fn a_payment_identifier_belongs_to_one_payload(store: impl GrantStore) {
    let named = |n| NewGrant {
        payment_identifier: Some("id-1".to_owned()),
        ..grant(n)
    };
    let first = claimed(&store, named(1)).await;
    let taken = store.claim(named(2), at(2)).await.unwrap();
    assert_eq!(taken, Claim::IdentifierTaken(first.clone()));
    let again = store.claim(named(1), at(2)).await.unwrap();
    assert_eq!(again, Claim::Existing(first.clone()));
    let mut signed_anew = named(1);
    signed_anew.payload_digest = "ff".repeat(32);
    let taken = store.claim(signed_anew, at(2)).await.unwrap();
    assert_eq!(taken, Claim::IdentifierTaken(first.clone()));
    let found = store.grant_by_identifier("id-1").await.unwrap();
    assert_eq!(found, Some(first));
    assert_eq!(store.grant_by_identifier("id-2").await.unwrap(), None);
}

pub async fn what_was_paid_for_can_be_fetched_again(store: impl GrantStore) {
    let id = claimed(&store, grant(1)).await.id;
    assert_conflict(released(&store, &id).await);
    assert_conflict(store.settling(&id, at(2)).await);
    store
        .served(&id, Some(answer()), None, at(2))
        .await
        .unwrap();
    assert_conflict(store.served(&id, Some(answer()), None, at(2)).await);
    assert_conflict(released(&store, &id).await);
    store.settling(&id, at(3)).await.unwrap();
    let pending = json!({ "errorReason": "settlement_pending", "transaction": hash(1) });
    store.remember_receipt(&id, &pending, at(4)).await.unwrap();
    // Not forgotten while it is open, however old it is.
    assert_eq!(store.forget_answers(at(100)).await.unwrap(), 0);
    released(&store, &id).await.unwrap();

    let record = store
        .grant_by_identity(&identity(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record.state, GrantState::Released);
    assert_eq!(record.evidence, Some(evidence()));
    assert_eq!(record.receipt, Some(receipt()));
    assert!(record.has_answer);
    assert_eq!(store.answer(&id).await.unwrap(), Some(answer()));
    assert_conflict(store.refuse(&id, "late", "Too late.", true, at(10)).await);
    assert_eq!(store.open_grants().await.unwrap(), []);

    assert_eq!(store.forget_answers(at(2)).await.unwrap(), 0);
    assert_eq!(store.forget_answers(at(3)).await.unwrap(), 1);
    assert_eq!(store.answer(&id).await.unwrap(), None);
}

pub async fn upfront_settles_before_it_serves(store: impl GrantStore) {
    let upfront = NewGrant {
        flow: "upfront".to_owned(),
        ..grant(1)
    };
    let id = claimed(&store, upfront).await.id;
    assert_conflict(store.served(&id, None, None, at(2)).await);
    store.settling(&id, at(2)).await.unwrap();
    assert_conflict(released(&store, &id).await);
    store.served(&id, None, None, at(3)).await.unwrap();
    // It was settled: it is nobody's orphan.
    assert_eq!(store.refuse_orphans(&[], at(4)).await.unwrap(), 0);
    released(&store, &id).await.unwrap();
}

async fn settling(store: &impl GrantStore, n: u64) -> GrantId {
    let id = claimed(store, grant(n)).await.id;
    store.served(&id, None, None, at(2)).await.unwrap();
    store.settling(&id, at(3)).await.unwrap();
    id
}

async fn release(store: &impl GrantStore, id: &GrantId, evidence: Evidence) -> Release {
    let released = store.release(id, &evidence, &receipt(), at(9)).await;
    released.unwrap()
}

async fn settles(store: &impl SettlementStore, n: u64, transaction: u64) -> PaymentState {
    let accepted = store.accept(payment(n), at(1)).await.unwrap();
    let (Acceptance::New(record) | Acceptance::Existing(record)) = accepted;
    let done = Conclusion::Settled(settled(transaction));
    store.conclude(&record.id, done, at(8)).await.unwrap().state
}

pub async fn one_transfer_is_evidence_for_one_grant(store: impl GrantStore + SettlementStore) {
    let ours = Release::Released(None);
    let (one, two) = (settling(&store, 1).await, settling(&store, 2).await);
    assert_eq!(release(&store, &one, log_of(1, 3)).await, ours);
    assert_eq!(release(&store, &two, log_of(1, 3)).await, Release::Anothers);
    let open = store.grant_by_id(&two).await.unwrap().unwrap();
    assert_eq!((open.state, open.evidence), (GrantState::Settling, None));
    assert_eq!(release(&store, &two, log_of(1, 4)).await, ours, "beside it");

    // An engine that settles from the same ledger sees the same transfer.
    assert_eq!(settles(&store, 3, 7).await, PaymentState::Settled);
    let (three, four) = (settling(&store, 3).await, settling(&store, 4).await);
    assert_eq!(
        release(&store, &four, log_of(7, 3)).await,
        Release::Anothers
    );
    assert_eq!(release(&store, &three, log_of(7, 3)).await, ours);
    assert_eq!(release(&store, &four, log_of(8, 3)).await, ours);
    assert_eq!(settles(&store, 5, 8).await, PaymentState::Refused);
    assert_eq!(settles(&store, 4, 8).await, PaymentState::Settled);
}

pub async fn what_is_settled_first_rests_on_a_transfer_of_its_own(store: impl GrantStore) {
    let one = settling(&store, 1).await;
    assert_conflict(
        store
            .settled_first(&one, &log_of(1, 3), &receipt(), at(4))
            .await,
    );
    let ours = Release::Released(None);
    assert_eq!(release(&store, &one, log_of(1, 3)).await, ours);
    let upfront = NewGrant {
        flow: "upfront".to_owned(),
        ..grant(2)
    };
    let two = claimed(&store, upfront).await.id;
    store.settling(&two, at(2)).await.unwrap();
    let settled_first = async |evidence| {
        store
            .settled_first(&two, &evidence, &receipt(), at(4))
            .await
    };
    assert!(!settled_first(log_of(1, 3)).await.unwrap());
    let open = store.grant_by_id(&two).await.unwrap().unwrap();
    assert_eq!((open.evidence, open.receipt), (None, None));
    assert!(settled_first(log_of(2, 3)).await.unwrap());
    let paid = store.grant_by_id(&two).await.unwrap().unwrap();
    assert_eq!(paid.state, GrantState::Settling);
    assert_eq!(
        paid.evidence,
        Some(log_of(2, 3)),
        "whoever goes on knows it"
    );
    store.served(&two, None, None, at(5)).await.unwrap();
    assert_eq!(release(&store, &two, log_of(2, 3)).await, ours);
}

pub async fn a_refused_grant_can_be_claimed_again_if_nothing_happened(store: impl GrantStore) {
    let named = |n| NewGrant {
        payment_identifier: Some("id-1".to_owned()),
        ..grant(n)
    };
    let first = claimed(&store, named(1)).await;
    store
        .served(&first.id, Some(answer()), None, at(2))
        .await
        .unwrap();
    let refusal = store.refuse(&first.id, "busy", "Try again.", true, at(3));
    refusal.await.unwrap();
    assert_eq!(store.answer(&first.id).await.unwrap(), None);
    let second = claimed(&store, named(1)).await;
    assert_ne!(first.id, second.id);
    // Whoever still believes in the first claim can do nothing with it.
    assert_conflict(store.served(&first.id, None, None, at(4)).await);
    let refusal = store.refuse(&second.id, "spent", "Sign a new one.", false, at(5));
    refusal.await.unwrap();
    let third = store.claim(named(1), at(6)).await.unwrap();
    let Claim::Existing(third) = third else {
        panic!("{third:?}")
    };
    let refusal = ("spent".to_owned(), "Sign a new one.".to_owned());
    assert_eq!((third.id, third.refusal), (second.id, Some(refusal)));
}

pub async fn only_the_dead_leave_orphans(store: impl GrantStore) {
    let owned = |n, owner: &str| NewGrant {
        owner: owner.to_owned(),
        ..grant(n)
    };
    let dead = claimed(&store, owned(1, "dead")).await;
    let dead_settling = claimed(&store, owned(2, "dead")).await;
    store
        .served(&dead_settling.id, None, None, at(2))
        .await
        .unwrap();
    store.settling(&dead_settling.id, at(3)).await.unwrap();
    let alive = claimed(&store, owned(3, "alive")).await;
    let refused = store.refuse_orphans(&["alive".to_owned()], at(4)).await;
    assert_eq!(refused.unwrap(), 1);
    let open = store.open_grants().await.unwrap();
    let ids: Vec<_> = open.into_iter().map(|g| g.id).collect();
    assert_eq!(ids, [dead_settling.id, alive.id]);
    let orphan = store.grant_by_identity(&dead.grant.identity).await.unwrap();
    assert!(orphan.unwrap().reclaimable);
}

fn upfront(n: u64) -> NewGrant {
    NewGrant {
        flow: "upfront".to_owned(),
        ..grant(n)
    }
}

async fn told(store: &impl StoryStore, id: &GrantId) -> Vec<(String, u64)> {
    let story = store.story(id.as_str()).await.unwrap();
    let event = |e: tollway_ledger::EventRecord| (e.kind, e.at.millis());
    story.into_iter().map(event).collect()
}

pub async fn what_came_to_nothing_is_forgotten_without_a_trace(
    store: impl GrantStore + StoryStore,
) {
    // Anybody can cause these, as often as they like.
    let garbage = claimed(&store, upfront(1)).await.id;
    store.settling(&garbage, at(2)).await.unwrap();
    let failed = claimed(&store, grant(2)).await.id;
    for id in [&garbage, &failed] {
        let refusal = store.refuse(id, "invalid_signature", "Sign it.", true, at(10));
        refusal.await.unwrap();
        assert_eq!(told(&store, id).await, []);
    }
    let spent = claimed(&store, upfront(3)).await.id;
    store.settling(&spent, at(3)).await.unwrap();
    let refusal = store.refuse(&spent, "spent", "Sign a new one.", false, at(10));
    refusal.await.unwrap();

    assert_eq!(store.forget_refused(at(10)).await.unwrap(), 0);
    assert_eq!(store.forget_refused(at(11)).await.unwrap(), 2);
    for (n, is_kept) in [(1, false), (2, false), (3, true)] {
        let found = store.grant_by_identity(&identity(n)).await.unwrap();
        assert_eq!(found.is_some(), is_kept, "{n}");
    }
    claimed(&store, upfront(1)).await;
    let story = [("claimed", 1), ("settling", 3), ("refused", 10)];
    assert_eq!(
        told(&store, &spent).await,
        story.map(|(k, t)| (k.to_owned(), t))
    );
}

pub async fn what_was_paid_or_served_has_its_whole_story(store: impl GrantStore + StoryStore) {
    // Paid by its own transaction, and nobody whom the seller serves.
    let owed = claimed(&store, upfront(3)).await.id;
    store
        .refuse_with_receipt(&owed, "payer_refused", "No.", false, &receipt(), at(2))
        .await
        .unwrap();
    let story = [("claimed", 1), ("receipt", 2), ("refused", 2)];
    assert_eq!(
        told(&store, &owed).await,
        story.map(|(k, t)| (k.to_owned(), t))
    );
    let kept = store.grant_by_id(&owed).await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.receipt),
        (GrantState::Refused, Some(receipt()))
    );

    let paid = claimed(&store, upfront(1)).await.id;
    store.settling(&paid, at(2)).await.unwrap();
    store
        .remember_receipt(&paid, &receipt(), at(3))
        .await
        .unwrap();
    store.served(&paid, None, None, at(4)).await.unwrap();
    released(&store, &paid).await.unwrap();
    let story = [
        ("claimed", 1),
        ("settling", 2),
        ("receipt", 3),
        ("served", 4),
        ("released", 9),
    ];
    assert_eq!(
        told(&store, &paid).await,
        story.map(|(k, t)| (k.to_owned(), t))
    );

    let served = claimed(&store, grant(2)).await.id;
    store.served(&served, None, None, at(2)).await.unwrap();
    store.settling(&served, at(3)).await.unwrap();
    store
        .refuse(&served, "busy", "Again.", true, at(4))
        .await
        .unwrap();
    let story = [
        ("claimed", 1),
        ("served", 2),
        ("settling", 3),
        ("refused", 4),
    ];
    assert_eq!(
        told(&store, &served).await,
        story.map(|(k, t)| (k.to_owned(), t))
    );
    assert_eq!(store.forget_refused(at(5)).await.unwrap(), 1);
    assert_eq!(told(&store, &served).await.len(), 4);
}

pub async fn who_takes_over_from_the_dead_is_the_owner(store: impl GrantStore) {
    let upfront = |n| NewGrant {
        flow: "upfront".to_owned(),
        ..grant(n)
    };
    let first = claimed(&store, upfront(1)).await;
    let (owner, alive) = (first.grant.owner.clone(), [first.grant.owner.clone()]);
    store.settling(&first.id, at(2)).await.unwrap();
    let anothers = store.take_over(&first.id, "heir", &alive, at(3)).await;
    assert_eq!(anothers.unwrap(), None);
    let taken = store
        .take_over(&first.id, "heir", &[], at(3))
        .await
        .unwrap();
    assert_eq!(taken.unwrap().grant.owner, "heir");

    let (late, heir) = (store.owned_by(&owner), store.owned_by("heir"));
    assert_conflict(late.remember_receipt(&first.id, &receipt(), at(4)).await);
    assert_conflict(late.served(&first.id, None, None, at(4)).await);
    assert_conflict(late.refuse(&first.id, "c", "m", true, at(4)).await);
    heir.remember_receipt(&first.id, &receipt(), at(4))
        .await
        .unwrap();
    heir.served(&first.id, Some(answer()), None, at(5))
        .await
        .unwrap();
    assert_conflict(
        late.release(&first.id, &evidence(), &receipt(), at(6))
            .await,
    );
    let heirs = heir
        .release(&first.id, &evidence(), &receipt(), at(6))
        .await;
    assert_eq!(heirs.unwrap(), Release::Released(None));
    let ended = store.take_over(&first.id, "third", &[], at(7)).await;
    let ended = ended.unwrap().unwrap();
    assert_eq!(ended.state, GrantState::Released);
    assert_eq!(ended.grant.owner, "heir", "what has ended stays as it is");

    let second = claimed(&store, grant(2)).await;
    assert_conflict(heir.settling(&second.id, at(8)).await);
    assert_conflict(heir.refuse(&second.id, "c", "m", true, at(8)).await);
}

pub async fn who_paid_for_a_resource_is_found_by_account_route_and_time(store: impl GrantStore) {
    let asked = PaidBefore {
        payer: grant(1).expected.from,
        networks: vec!["eip155:8453".parse().unwrap(), grant(1).identity.network],
        route: "GET /paid/*".to_owned(),
        method: "GET".to_owned(),
        resource: "https://shop.example/paid/1".to_owned(),
        since: at(1),
    };
    let is_paid = async |asked: &PaidBefore| store.paid_before(asked).await.unwrap();
    let mut new = grant(1);
    new.url = "https://shop.example/paid/1?page=2".to_owned();
    let claim = claimed(&store, new).await;
    assert!(!is_paid(&asked).await, "a claim pays nothing");
    store.served(&claim.id, None, None, at(2)).await.unwrap();
    store.settling(&claim.id, at(3)).await.unwrap();
    assert!(!is_paid(&asked).await, "settling is not settled");
    released(&store, &claim.id).await.unwrap();
    assert!(is_paid(&asked).await);
    let another = "eip155:8453".parse().unwrap();
    for other in [
        PaidBefore {
            networks: vec![another],
            ..asked.clone()
        },
        PaidBefore {
            route: "GET /paid/other".to_owned(),
            ..asked.clone()
        },
        PaidBefore {
            method: "POST".to_owned(),
            ..asked.clone()
        },
        PaidBefore {
            resource: "https://shop.example/paid".to_owned(),
            ..asked.clone()
        },
        PaidBefore {
            resource: "https://shop.example/paid/12".to_owned(),
            ..asked.clone()
        },
        PaidBefore {
            payer: grant(1).expected.to,
            ..asked.clone()
        },
        PaidBefore {
            since: at(2),
            ..asked.clone()
        },
    ] {
        assert!(!is_paid(&other).await, "{other:?}");
    }
    // What was owed nothing for was not paid.
    let free = claimed(
        &store,
        NewGrant {
            url: "https://shop.example/paid/9".to_owned(),
            ..grant(2)
        },
    )
    .await;
    store.served(&free.id, None, None, at(2)).await.unwrap();
    store.settling(&free.id, at(3)).await.unwrap();
    let (rests_on, told) = (Evidence::Nothing, receipt());
    let nothing = store.release(&free.id, &rests_on, &told, at(9)).await;
    assert_eq!(nothing.unwrap(), Release::Released(None));
    let free = PaidBefore {
        resource: "https://shop.example/paid/9".to_owned(),
        ..asked
    };
    assert!(!is_paid(&free).await);
}

pub async fn a_message_is_used_once(store: impl GrantStore) {
    let used = async |nonce: &str, now: u64| {
        store
            .use_sign_in(nonce, at(now + 100), at(now))
            .await
            .unwrap()
    };
    assert!(used("a", 1).await);
    assert!(!used("a", 2).await);
    assert!(used("b", 3).await);
    assert!(!used("a", 101).await, "it is kept as long as was said");
    assert!(used("a", 102).await, "and forgotten then");
}
