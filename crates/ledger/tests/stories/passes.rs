//! Passes, over any store.

use serde_json::json;
use tokio::task::JoinSet;
use tollway_core::Timestamp;
use tollway_ledger::{
    Conclusion, Evidence, ExposureCap, GrantRecord, GrantState, GrantStore, Issue, NewGrant,
    NewPass, Outstanding, PassEnd, PassRecord, PassStore, SettlementStore, StoryStore,
};

use crate::settlements::accepted;
use tollway_test_records::{at, grant, hash, settled};

/// When passes end, long after their payments' deadline.
const END: u64 = 1_000_000;

fn day() -> NewPass {
    NewPass {
        audience: "GET /paid/*".to_owned(),
        quota: None,
        used: 0,
        expires_at: at(END),
        is_told: true,
    }
}

fn calls(quota: u64) -> NewPass {
    NewPass {
        quota: Some(quota),
        ..day()
    }
}

fn background(n: u64) -> NewGrant {
    NewGrant {
        flow: "background".to_owned(),
        deadline: at(100),
        ..grant(n)
    }
}

fn outstanding() -> Outstanding {
    Outstanding {
        payload: json!({ "signed": 1 }),
        requirements: json!({ "asked": 1 }),
    }
}

/// Room for so many payments of one payer, and of all.
fn room(own: u64, all: u64) -> ExposureCap {
    let price = grant(1).expected.amount;
    ExposureCap {
        per_payer: price.checked_mul(own).unwrap(),
        total: price.checked_mul(all).unwrap(),
    }
}

async fn issued(store: &impl PassStore, n: u64, pass: NewPass) -> (GrantRecord, PassRecord) {
    let issue = store.issue(background(n), pass, outstanding(), room(50, 50), at(1));
    match issue.await.unwrap() {
        Issue::New(grant, pass) => (*grant, *pass),
        other => panic!("{other:?}"),
    }
}

async fn pays(store: &impl GrantStore, grant: &GrantRecord, now: Timestamp) {
    let evidence = Evidence::Receipt {
        transaction: hash(1),
    };
    let receipt = json!({ "success": true, "transaction": hash(1) });
    store
        .release(&grant.id, &evidence, &receipt, now)
        .await
        .unwrap();
}

pub async fn one_payment_opens_one_pass(store: impl PassStore + GrantStore + StoryStore) {
    let (grant, pass) = issued(&store, 1, day()).await;
    assert_eq!(grant.state, GrantState::Settling);
    assert_eq!(pass.outstanding, Some(outstanding()));
    assert_eq!((pass.is_settled, pass.end(at(2))), (false, None));
    let again = store
        .issue(background(1), day(), outstanding(), room(9, 9), at(2))
        .await
        .unwrap();
    assert_eq!(again, Issue::Existing(Box::new(grant.clone())));
    assert_eq!(store.pass(&pass.id).await.unwrap(), Some(pass.clone()));
    assert_eq!(store.pass_of(&grant.id).await.unwrap(), Some(pass.clone()));

    pays(&store, &grant, at(3)).await;
    let paid = store.pass(&pass.id).await.unwrap().unwrap();
    assert!(paid.is_settled && paid.outstanding.is_none(), "{paid:?}");
    assert_eq!(paid.end(at(END - 1)), None, "longer than its authorization");
    assert_eq!(paid.end(at(END)), Some(PassEnd::Expired));
    let story = store.story(grant.id.as_str()).await.unwrap();
    let kinds: Vec<&str> = story.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["claimed", "pass_issued", "settling", "released"]);
}

pub async fn no_more_is_promised_than_the_cap(store: impl PassStore + GrantStore) {
    let try_it = async |n, cap| {
        let issue = store.issue(background(n), day(), outstanding(), cap, at(1));
        match issue.await.unwrap() {
            Issue::New(grant, _) => Some(*grant),
            Issue::OverExposed => None,
            Issue::Existing(_) => panic!("it is new"),
        }
    };
    let first = try_it(1, room(2, 9)).await.unwrap();
    let second = try_it(2, room(2, 9)).await.unwrap();
    assert_eq!(try_it(3, room(2, 9)).await, None, "the payer's own cap");
    assert_eq!(try_it(3, room(9, 2)).await, None, "the cap of all");
    let identity = &background(3).identity;
    let left = store.grant_by_identity(identity).await.unwrap();
    assert_eq!(left, None, "nothing was claimed");
    pays(&store, &first, at(2)).await;
    assert!(try_it(3, room(2, 2)).await.is_some(), "one was kept");
    store
        .refuse(&second.id, "spent", "Spent.", false, at(3))
        .await
        .unwrap();
    assert!(try_it(4, room(2, 2)).await.is_some(), "one is owed no more");
    assert_eq!(try_it(5, room(2, 2)).await, None);
}

pub async fn a_pass_dies_with_its_payment(store: impl PassStore + GrantStore) {
    let from = store.latest_revocation().await.unwrap();
    let (grant, pass) = issued(&store, 1, day()).await;
    store
        .refuse(&grant.id, "balance", "Too little.", true, at(2))
        .await
        .unwrap();
    let dead = store.pass(&pass.id).await.unwrap().unwrap();
    assert_eq!(dead.end(at(3)), Some(PassEnd::Revoked));
    let told = store.revocations(from).await.unwrap();
    assert_eq!(told.passes, [(pass.id.clone(), at(END))]);
    assert_eq!(store.revocations(told.seq).await.unwrap().passes, []);
    assert_eq!(store.latest_revocation().await.unwrap(), told.seq);
    let refused = store.grant(&grant.id).await.unwrap().unwrap();
    assert!(!refused.reclaimable, "its token has left");

    let (_, bought) = issued(&store, 2, day()).await;
    store.revoke(&bought.id, at(4)).await.unwrap();
    store.revoke(&bought.id, at(4)).await.unwrap();
    let told = store.revocations(told.seq).await.unwrap();
    assert_eq!(told.passes.len(), 1, "once");
}

pub async fn what_the_engine_refuses_kills_its_pass_at_once(
    store: impl PassStore + GrantStore + SettlementStore,
) {
    let payment = accepted(&store, 7).await;
    let new = NewGrant {
        identity: payment.payment.identity.clone(),
        ..background(7)
    };
    let issue = store.issue(new, day(), outstanding(), room(9, 9), at(1));
    let Issue::New(_, pass) = issue.await.unwrap() else {
        panic!("a new one");
    };
    let refused = Conclusion::Refused {
        code: "balance".to_owned(),
        message: "Too little.".to_owned(),
    };
    store.conclude(&payment.id, refused, at(2)).await.unwrap();
    let dead = store.pass(&pass.id).await.unwrap().unwrap();
    assert_eq!(dead.end(at(3)), Some(PassEnd::Revoked));
    assert_eq!(store.revocations(0).await.unwrap().passes.len(), 1);
}

pub async fn what_the_chain_takes_back_is_not_trusted_unread(
    store: impl PassStore + GrantStore + SettlementStore,
) {
    let payment = accepted(&store, 8).await;
    let new = NewGrant {
        identity: payment.payment.identity.clone(),
        ..background(8)
    };
    let issue = store.issue(new, day(), outstanding(), room(9, 9), at(1));
    let Issue::New(grant, pass) = issue.await.unwrap() else {
        panic!("a new one");
    };
    let evidence = settled(1);
    store
        .conclude(&payment.id, Conclusion::Settled(evidence), at(2))
        .await
        .unwrap();
    pays(&store, &grant, at(2)).await;
    let from = store.latest_revocation().await.unwrap();
    store
        .take_back(&payment.id, "its block was replaced", at(3))
        .await
        .unwrap();
    let told = store.revocations(from).await.unwrap();
    assert_eq!(told.passes.len(), 1);
    let open = store.pass(&pass.id).await.unwrap().unwrap();
    assert!(!open.is_settled && !open.is_revoked);
}

pub async fn a_pass_for_calls_opens_as_many(store: impl PassStore + GrantStore + Clone + 'static) {
    let (_, pass) = issued(&store, 1, calls(20)).await;
    let mut uses = JoinSet::new();
    for _ in 0..50 {
        let (store, id) = (store.clone(), pass.id.clone());
        uses.spawn(async move { store.use_pass(&id, at(2)).await.unwrap().is_ok() });
    }
    let used = uses.join_all().await;
    assert_eq!(used.into_iter().filter(|used| *used).count(), 20);
    let spent = store.use_pass(&pass.id, at(2)).await.unwrap();
    assert_eq!(spent, Err(PassEnd::UsedUp));
    store.give_use_back(&pass.id).await.unwrap();
    assert!(store.use_pass(&pass.id, at(2)).await.unwrap().is_ok());

    let (_, full) = issued(&store, 2, calls(3)).await;
    store.give_use_back(&full.id).await.unwrap();
    let left = store.pass(&full.id).await.unwrap().unwrap().uses_left;
    assert_eq!(left, Some(3), "never more than were bought");
    let late = store.use_pass(&full.id, at(100 + 120_001)).await.unwrap();
    assert_eq!(late, Err(PassEnd::InDoubt));
}

pub async fn a_pass_comes_with_a_release_too(store: impl PassStore + GrantStore) {
    let new = NewGrant {
        flow: "upfront".to_owned(),
        ..grant(1)
    };
    let claimed = match store.claim(new, at(1)).await.unwrap() {
        tollway_ledger::Claim::New(record) => record,
        other => panic!("{other:?}"),
    };
    store.settling(&claimed.id, at(1)).await.unwrap();
    store.served(&claimed.id, None, None, at(2)).await.unwrap();
    let evidence = Evidence::Receipt {
        transaction: hash(1),
    };
    let receipt = json!({ "success": true });
    let bought = NewPass {
        used: 1,
        ..calls(100)
    };
    let pass = store
        .release_with_pass(&claimed.id, &evidence, &receipt, bought, at(3))
        .await
        .unwrap();
    assert!(pass.is_settled);
    assert_eq!(pass.uses_left, Some(99));
    let ended = store.grant(&claimed.id).await.unwrap().unwrap();
    assert_eq!(ended.state, GrantState::Released);
    assert_eq!(store.forget_passes(at(END)).await.unwrap(), 0);
    assert_eq!(store.forget_passes(at(END + 1)).await.unwrap(), 1);
    assert_eq!(store.pass(&pass.id).await.unwrap(), None);
}

pub async fn a_notice_is_due_again_until_it_was_told(store: impl PassStore + GrantStore) {
    let (grant, pass) = issued(&store, 1, day()).await;
    pays(&store, &grant, at(2)).await;
    let taken = store.take_notices(10, at(60), at(3)).await.unwrap();
    let mut kinds: Vec<&str> = taken.iter().map(|notice| notice.kind.as_str()).collect();
    kinds.sort_unstable();
    let all = [
        "payment_requested",
        "payment_settled",
        "payment_verified",
        "token_issued",
    ];
    assert_eq!(kinds, all);
    let body: serde_json::Value = serde_json::from_str(&taken[0].body).unwrap();
    assert_eq!(body["pass"], pass.id.as_str());
    assert_eq!(body["settlement"], grant.id.as_str());
    assert_eq!(store.take_notices(10, at(60), at(4)).await.unwrap(), []);
    store.told(&taken[0].id).await.unwrap();
    let again = store.take_notices(10, at(99), at(60)).await.unwrap();
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|notice| notice.attempts == 1));
}
