//! Passes, over any store.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tollway_core::{PaymentId, Timestamp};
use tollway_ledger::{
    Conclusion, Evidence, ExposureCap, GrantRecord, GrantState, GrantStore, Issue, NewGrant,
    NewPass, Outstanding, PassEnd, PassRecord, PassStore, Release, SettlementStore, StoryStore,
    TokenKeyName,
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
        lifetime: Duration::from_millis(END - 1),
        is_told: true,
        is_door: true,
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
        log_index: None,
    };
    let receipt = json!({ "success": true, "transaction": hash(1) });
    let released = store.release(&grant.id, &evidence, &receipt, now).await;
    assert_eq!(released.unwrap(), Release::Released(None));
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
    assert_eq!(
        try_it(4, room(2, 9)).await,
        None,
        "one is open, and one was lost"
    );
    assert_eq!(try_it(4, room(9, 2)).await, None, "of all, too");
    assert!(try_it(4, room(3, 3)).await.is_some());
}

const DAY: u64 = 86_400_000;

pub async fn what_was_promised_and_never_paid_counts_for_a_day(store: impl PassStore + GrantStore) {
    let try_it = async |n, now| {
        let issue = store.issue(background(n), day(), outstanding(), room(1, 1), at(now));
        match issue.await.unwrap() {
            Issue::New(grant, pass) => Some((*grant, *pass)),
            Issue::OverExposed => None,
            Issue::Existing(_) => panic!("it is new"),
        }
    };
    let fail = async |grant: &GrantRecord, now| {
        let refused = store.refuse(&grant.id, "balance", "Gone.", false, at(now));
        refused.await.unwrap();
    };
    let (first, _) = try_it(1, 3 * DAY).await.unwrap();
    fail(&first, 3 * DAY + 1).await;
    for (n, later) in [(2, 3 * DAY + 2), (3, 4 * DAY), (4, 5 * DAY - 1)] {
        assert_eq!(try_it(n, later).await, None, "at {later}");
    }
    let forgotten = store.forget_passes(at(0), at(5 * DAY - 1));
    forgotten.await.unwrap();
    assert_eq!(try_it(5, 5 * DAY - 1).await, None, "it still counts");
    let (second, _) = try_it(6, 5 * DAY).await.expect("two days later");
    fail(&second, 5 * DAY).await;
    store.forget_passes(at(0), at(7 * DAY)).await.unwrap();
    assert!(try_it(7, 7 * DAY).await.is_some());
}

/// Its engine says how the payment of a pass ended.
async fn with_its_payment(
    store: &(impl PassStore + GrantStore + SettlementStore),
    n: u64,
) -> (PaymentId, GrantRecord, PassRecord) {
    let payment = accepted(store, n).await;
    let new = NewGrant {
        identity: payment.payment.identity.clone(),
        ..background(n)
    };
    let issue = store.issue(new, day(), outstanding(), room(1, 1), at(1));
    match issue.await.unwrap() {
        Issue::New(grant, pass) => (payment.id, *grant, *pass),
        other => panic!("{other:?}"),
    }
}

pub async fn what_the_seller_takes_back_stays_taken_back(
    store: impl PassStore + GrantStore + SettlementStore,
) {
    let (payment, grant, pass) = with_its_payment(&store, 1).await;
    store.revoke(&pass.id, at(2)).await.unwrap();
    let open = store.issue(background(2), day(), outstanding(), room(1, 1), at(2));
    assert_eq!(
        open.await.unwrap(),
        Issue::OverExposed,
        "it is to settle all the same"
    );
    let done = Conclusion::Settled(settled(1));
    store.conclude(&payment, done.clone(), at(3)).await.unwrap();
    pays(&store, &grant, at(3)).await;
    let revoked = store.pass(&pass.id).await.unwrap().unwrap();
    assert!(revoked.is_settled);
    assert_eq!(revoked.end(at(4)), Some(PassEnd::Revoked));
    let used = store.use_pass(&pass.id, at(4)).await.unwrap();
    assert_eq!(used, Err(PassEnd::Revoked));

    store
        .take_back(&payment, "block 7 is gone", at(5))
        .await
        .unwrap();
    let open = store.issue(background(3), day(), outstanding(), room(1, 1), at(5));
    assert_eq!(open.await.unwrap(), Issue::OverExposed, "it is open again");
    store.conclude(&payment, done, at(6)).await.unwrap();
    let revoked = store.pass(&pass.id).await.unwrap().unwrap();
    assert_eq!(revoked.end(at(7)), Some(PassEnd::Revoked));
    let kept = store.issue(background(4), day(), outstanding(), room(1, 1), at(7));
    assert!(
        matches!(kept.await.unwrap(), Issue::New(..)),
        "and kept again"
    );
}

pub async fn what_was_called_lost_and_is_found_counts_no_more(
    store: impl PassStore + GrantStore + SettlementStore,
) {
    let (payment, grant, pass) = with_its_payment(&store, 1).await;
    let refused = Conclusion::Refused {
        code: "balance".to_owned(),
        message: "Too little.".to_owned(),
    };
    store.conclude(&payment, refused, at(2)).await.unwrap();
    let over = store.issue(background(2), day(), outstanding(), room(1, 1), at(2));
    assert_eq!(over.await.unwrap(), Issue::OverExposed);
    pays(&store, &grant, at(3)).await;
    let good = store.pass(&pass.id).await.unwrap().unwrap();
    assert_eq!(good.end(at(4)), None);
    let next = store.issue(background(3), day(), outstanding(), room(1, 1), at(4));
    assert!(matches!(next.await.unwrap(), Issue::New(..)));
}

pub async fn gates_that_do_not_know_each_others_keys_are_found(store: impl PassStore) {
    let key = |name: &str| TokenKeyName {
        name: name.to_owned(),
        fingerprint: format!("digest of {name}"),
    };
    let sign = async |names: &[&str], whatever_is_out| {
        let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
        store
            .sign_with(&keys, whatever_is_out, at(5))
            .await
            .unwrap()
    };
    assert_eq!(sign(&["a"], false).await, None);
    assert_eq!(sign(&["a"], false).await, None, "as before");
    assert_eq!(sign(&["b", "a"], false).await, None, "it rotates");
    assert_eq!(sign(&["b"], false).await, None, "and the old one goes");
    issued(&store, 1, day()).await;
    assert_eq!(sign(&["c"], false).await, Some("b".to_owned()));
    assert_eq!(
        sign(&["c"], false).await,
        Some("b".to_owned()),
        "nothing changed"
    );
    assert_eq!(sign(&["c"], true).await, None);
    assert_eq!(sign(&["b"], false).await, Some("c".to_owned()));
}

pub async fn every_key_whose_tokens_are_out_is_asked_for(store: impl PassStore) {
    let sign = async |names: &[&str], now| {
        let keys = names.iter().map(|name| TokenKeyName {
            name: (*name).to_owned(),
            fingerprint: format!("digest of {name}"),
        });
        let keys: Vec<_> = keys.collect();
        store.sign_with(&keys, false, at(now)).await.unwrap()
    };
    assert_eq!(sign(&["a"], 0).await, None);
    issued(&store, 1, day()).await;
    assert_eq!(sign(&["b", "a"], 10).await, None);
    assert_eq!(sign(&["c", "b", "a"], 20).await, None);
    let two_keys_ago = sign(&["d", "c", "b"], 30).await;
    assert_eq!(two_keys_ago, Some("a".to_owned()));
    assert_eq!(sign(&["d", "c", "b", "a"], 30).await, None);
    let when_nothing_opens = sign(&["e", "d"], END + 1).await;
    assert_eq!(when_nothing_opens, None);
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
    let sold = NewPass {
        used: 1,
        ..calls(100)
    };
    let new = NewGrant {
        flow: "upfront".to_owned(),
        pass: Some(sold.clone()),
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
        log_index: None,
    };
    let receipt = json!({ "success": true });
    assert_eq!(claimed.grant.pass, Some(sold), "as it was sold");
    let released = store.release(&claimed.id, &evidence, &receipt, at(3));
    let Release::Released(Some(pass)) = released.await.unwrap() else {
        panic!("the pass comes with it");
    };
    assert_eq!(
        store.pass_of(&claimed.id).await.unwrap(),
        Some(*pass.clone())
    );
    assert!(pass.is_settled);
    assert_eq!(pass.expires_at, at(END + 2), "from its issue");
    assert_eq!(pass.uses_left, Some(99));
    let ended = store.grant(&claimed.id).await.unwrap().unwrap();
    assert_eq!(ended.state, GrantState::Released);
    let forgotten = async |before| store.forget_passes(at(before), at(before)).await.unwrap();
    assert_eq!(forgotten(END + 2).await, 0);
    assert_eq!(forgotten(END + 3).await, 1);
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
