//! Metered grants, over any store.

use serde_json::json;
use tollway_core::{Amount, Clock, GasPurse as _, Timestamp};
use tollway_ledger::{
    Claim, DailyPurse, Evidence, ExposureCap, GrantRecord, GrantState, GrantStore, LedgerError,
    NewGrant, Outstanding, Release, SettlementStore as _, Store, StoryStore,
};

use tollway_test_records::{at, grant, hash, identity};

fn metered(n: u64) -> NewGrant {
    NewGrant {
        flow: "metered".to_owned(),
        deadline: at(100),
        ..grant(n)
    }
}

fn permitted() -> Amount {
    grant(1).expected.amount
}

fn outstanding() -> Outstanding {
    Outstanding {
        payload: json!({ "signed": 1 }),
        requirements: json!({ "asked": 1 }),
    }
}

/// Room for so many of one payer, and of all.
fn room(own: u64, all: u64) -> ExposureCap {
    ExposureCap {
        per_payer: permitted().checked_mul(own).unwrap(),
        total: permitted().checked_mul(all).unwrap(),
    }
}

async fn claimed(store: &dyn GrantStore, new: NewGrant) -> GrantRecord {
    match store.claim(new, at(1)).await.unwrap() {
        Claim::New(record) => record,
        other => panic!("{other:?}"),
    }
}

async fn begun(store: &dyn GrantStore, n: u64) -> GrantRecord {
    let record = claimed(store, metered(n)).await;
    let taken = store.meter(&record.id, outstanding(), room(50, 50), at(2));
    assert!(taken.await.unwrap());
    record
}

async fn now(store: &dyn GrantStore, record: &GrantRecord) -> GrantRecord {
    store.grant_by_id(&record.id).await.unwrap().unwrap()
}

async fn charge(store: &dyn GrantStore, record: &GrantRecord, atomic: u128) -> bool {
    let charged = Amount::from_atomic(atomic);
    match store.metered(&record.id, charged, at(3)).await {
        Ok(()) => true,
        Err(LedgerError::Conflict { .. }) => false,
        Err(error) => panic!("{error:?}"),
    }
}

async fn released(store: &dyn GrantStore, record: &GrantRecord) {
    let evidence = Evidence::Receipt {
        transaction: hash(1),
        log_index: None,
    };
    let receipt = json!({ "success": true, "transaction": hash(1) });
    let step = store.release(&record.id, &evidence, &receipt, at(9));
    assert_eq!(step.await.unwrap(), Release::Released(None));
}

pub async fn what_is_handed_out_is_charged_and_never_more_than_was_permitted(
    store: impl GrantStore + StoryStore,
) {
    let record = begun(&store, 1).await;
    let open = now(&store, &record).await;
    assert_eq!(open.state, GrantState::Settling);
    assert_eq!(open.grant.expected.amount, Amount::ZERO);
    let meter = store.meter_of(&record.id).await.unwrap().unwrap();
    assert_eq!(meter.permitted, permitted());
    assert_eq!(meter.outstanding, Some(outstanding()));

    assert!(charge(&store, &record, 3).await);
    assert!(charge(&store, &record, 5).await);
    assert!(!charge(&store, &record, 4).await, "nothing is taken back");
    let most = permitted().as_u128().unwrap();
    assert!(!charge(&store, &record, most + 1).await);
    let charged = now(&store, &record).await.grant.expected.amount;
    assert_eq!(charged, Amount::from_atomic(5));

    released(&store, &record).await;
    assert!(!charge(&store, &record, 6).await, "it has ended");
    let meter = store.meter_of(&record.id).await.unwrap().unwrap();
    assert_eq!(meter.outstanding, None);
    let story = store.story(record.id.as_str()).await.unwrap();
    let kinds: Vec<&str> = story.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["claimed", "metered", "settling", "released"]);
    assert_eq!(story[3].data["charged"], json!("5"));
}

pub async fn what_began_to_leave_is_never_claimed_again(store: impl GrantStore) {
    let record = begun(&store, 1).await;
    assert_eq!(store.refuse_orphans(&[], at(4)).await.unwrap(), 0);
    let step = store.refuse(&record.id, "spent", "Spent.", true, at(5));
    step.await.unwrap();
    assert!(!now(&store, &record).await.reclaimable);
    let again = store.claim(metered(1), at(6)).await.unwrap();
    assert!(matches!(again, Claim::Existing(_)), "{again:?}");
    // Before anything left it was an orphan like others.
    let claim = claimed(&store, metered(2)).await;
    assert_eq!(store.refuse_orphans(&[], at(7)).await.unwrap(), 1);
    assert!(now(&store, &claim).await.reclaimable);
}

pub async fn what_may_be_handed_out_unsettled_is_capped(store: impl GrantStore) {
    let first = claimed(&store, metered(1)).await;
    let second = claimed(&store, metered(2)).await;
    let third = claimed(&store, metered(3)).await;
    let try_it = async |record: &GrantRecord, cap| {
        let step = store.meter(&record.id, outstanding(), cap, at(2));
        step.await.unwrap()
    };
    assert!(try_it(&first, room(2, 9)).await);
    assert!(try_it(&second, room(2, 9)).await);
    assert!(!try_it(&third, room(2, 9)).await, "the payer's own cap");
    assert!(!try_it(&third, room(9, 2)).await, "the cap of all");
    assert_eq!(now(&store, &third).await.state, GrantState::Claimed);
    // What was permitted is promised, and free again when less was charged.
    assert!(charge(&store, &first, 1).await);
    released(&store, &first).await;
    assert!(try_it(&third, room(2, 2)).await);
    let fourth = claimed(&store, metered(4)).await;
    assert!(!try_it(&fourth, room(2, 2)).await);
    let step = store.refuse(&second.id, "spent", "Spent.", false, at(5));
    step.await.unwrap();
    assert!(try_it(&fourth, room(2, 2)).await);
    // What was handed out and not paid counts on.
    assert!(charge(&store, &fourth, permitted().as_u128().unwrap()).await);
    let step = store.refuse(&fourth.id, "spent", "Spent.", false, at(6));
    step.await.unwrap();
    let fifth = claimed(&store, metered(5)).await;
    assert!(!try_it(&fifth, room(2, 2)).await);
    assert!(try_it(&fifth, room(3, 3)).await);
}

pub async fn who_lost_a_metered_grant_hands_out_nothing_more(store: impl GrantStore) {
    let new = NewGrant {
        owner: "first".to_owned(),
        ..metered(1)
    };
    let first = store.owned_by("first");
    let record = claimed(first.as_ref(), new).await;
    let taken = first.meter(&record.id, outstanding(), room(9, 9), at(2));
    assert!(taken.await.unwrap());
    assert!(charge(first.as_ref(), &record, 2).await);
    let heir = store.take_over(&record.id, "second", &[], at(3));
    assert!(heir.await.unwrap().is_some());
    assert!(!charge(first.as_ref(), &record, 3).await);
    let left = now(&store, &record).await.grant.expected.amount;
    assert_eq!(left, Amount::from_atomic(2));
}

pub async fn only_a_claim_of_that_flow_is_metered(store: impl GrantStore) {
    let plain = claimed(&store, grant(1)).await;
    let step = store.meter(&plain.id, outstanding(), room(9, 9), at(2));
    assert!(matches!(step.await, Err(LedgerError::Conflict { .. })));
    assert!(!charge(&store, &plain, 1).await);
    let record = begun(&store, 2).await;
    let step = store.meter(&record.id, outstanding(), room(9, 9), at(2));
    assert!(matches!(step.await, Err(LedgerError::Conflict { .. })));
}

pub async fn what_is_paid_for_others_is_bounded_by_the_day(store: Store) {
    struct Noon(std::sync::Mutex<u64>);
    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(*self.0.lock().unwrap())
        }
    }
    const DAY: u64 = 86_400_000;
    let clock = std::sync::Arc::new(Noon(std::sync::Mutex::new(DAY)));
    let wei = Amount::from_atomic;
    let purse = || DailyPurse::new(store.clone(), clock.clone(), wei(100), wei(60));
    let network = identity(1).network;
    let (one, two) = ("one", "two");
    let take = async |whom: &str, most| {
        let taken = purse().take(&network, whom, wei(most)).await;
        taken.unwrap()
    };
    assert!(take(one, 60).await.is_some());
    assert_eq!(take(one, 1).await, None, "his part is used up");
    assert_eq!(take(two, 41).await, None, "and of all only so much is left");
    let taken = take(two, 40).await.unwrap();
    assert_eq!(take(two, 1).await, None);

    // Whose fees are paid takes nothing from who is helped.
    let callers = || DailyPurse::of_callers(store.clone(), clock.clone(), wei(60));
    for caller in [one, two] {
        let fee = callers().take(&network, caller, wei(60)).await.unwrap();
        assert!(fee.is_some(), "{caller}");
        let more = callers().take(&network, caller, wei(1)).await.unwrap();
        assert_eq!(more, None, "{caller}");
    }
    let spent = store.gas_spent(&network, clock.now(), None).await.unwrap();
    assert!(spent.fee.is_zero(), "it is counted apart from settling");
    *clock.0.lock().unwrap() = 2 * DAY;
    let today = take(one, 60).await.unwrap();
    assert_eq!(today.day, 2, "another day");
    // To the day that it was taken from, and for both.
    purse().give_back(taken).await.unwrap();
    assert_eq!(take(two, 41).await, None);
    purse().give_back(today).await.unwrap();
    assert!(take(two, 41).await.is_some());
    assert!(take(one, 59).await.is_some());
}
