//! Spends and limits, over any store.

use std::time::Duration;

use tollway_core::{Address, Amount, SpendId};
use tollway_ledger::{
    LedgerError, Limit, LimitScope, NewSpend, Reservation, Rules, SpendState, SpendStore,
    SpendTotal,
};

use tollway_test_records::{address, at, atomic, hash, limit, network, signed, spend};

const MINUTE: u64 = 60_000;

async fn reserved(store: &impl SpendStore, n: u64, limits: &[Limit], now: u64) -> SpendId {
    match store.reserve(spend(n), limits, at(now)).await.unwrap() {
        Reservation::Reserved(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn paid(store: &impl SpendStore, n: u64, limits: &[Limit], now: u64) {
    let id = reserved(store, n, limits, now).await;
    store.signed(&id, signed(n), at(now)).await.unwrap();
    store.presented(&id, at(now)).await.unwrap();
    store.paid(&id, atomic(10), None, at(now)).await.unwrap();
}

pub async fn total(store: &impl SpendStore, limit: &Limit, now: u64) -> (u128, u128) {
    let (account, asset) = (address(1), address(0xaa));
    let total = store
        .total(&account, &network(), &asset, limit, at(now))
        .await;
    let SpendTotal { paid, held } = total.unwrap();
    (paid.as_u128().unwrap(), held.as_u128().unwrap())
}

#[track_caller]
fn assert_exceeded(result: Result<Reservation, LedgerError>, used: u128) {
    match result {
        Ok(Reservation::Exceeded { used: found, .. }) => assert_eq!(found, atomic(used)),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(result: Result<T, LedgerError>) {
    assert!(
        matches!(result, Err(LedgerError::Conflict { .. })),
        "{result:?}"
    );
}

pub async fn one_spend_is_found_among_many_by_what_it_is_known_by(store: impl SpendStore) {
    let (one, two) = (address(1), address(2));
    let signed_one = reserved(&store, 1, &[], 1).await;
    let what = signed(1);
    let sent = what.transaction.clone().unwrap().hash;
    store
        .signed(&signed_one, what.clone(), at(2))
        .await
        .unwrap();
    let unsigned = reserved(&store, 2, &[], 10).await;
    let record = store.spend(&signed_one).await.unwrap();
    assert!(record.is_some());

    assert_eq!(
        store.open_ids(&one).await.unwrap(),
        [signed_one.clone(), unsigned.clone()]
    );
    assert_eq!(store.open_ids(&two).await.unwrap(), []);
    let found = store.unsigned_ids(&one).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&unsigned));
    assert_eq!(store.unsigned_ids(&two).await.unwrap(), []);

    let (first, second) = (spend(1).request, spend(2).request);
    assert_eq!(store.open_of_request(&one, &first).await.unwrap(), record);
    assert_eq!(store.open_of_request(&two, &first).await.unwrap(), None);
    let nothing = store.open_of_request(&one, &second).await.unwrap();
    assert_eq!(nothing, None, "nothing is signed for it");
    assert_eq!(
        store.open_of_transaction(&one, &sent).await.unwrap(),
        record
    );
    assert_eq!(store.open_of_transaction(&two, &sent).await.unwrap(), None);
    assert_eq!(
        store.open_of_transaction(&one, &hash(8)).await.unwrap(),
        None
    );
    assert_eq!(store.spend_of(&what.identity).await.unwrap(), record);
    let other = signed(2).identity;
    assert_eq!(store.spend_of(&other).await.unwrap(), None);

    assert_eq!(store.reserved_after(at(0)).await.unwrap(), 2);
    assert_eq!(store.reserved_after(at(1)).await.unwrap(), 1);
    // What ended is open no more, and was reserved all the same.
    store.release(&signed_one, "over", at(11)).await.unwrap();
    assert_eq!(store.open_ids(&one).await.unwrap(), [unsigned]);
    assert_eq!(store.open_of_request(&one, &first).await.unwrap(), None);
    assert_eq!(store.open_of_transaction(&one, &sent).await.unwrap(), None);
    let ended = store.spend_of(&what.identity).await.unwrap().unwrap();
    assert_eq!(ended.state, SpendState::Released);
    assert_eq!(store.reserved_after(at(0)).await.unwrap(), 2);
}

pub async fn a_spend_comes_back_as_it_was_signed(store: impl SpendStore) {
    let id = reserved(&store, 1, &[], 1).await;
    store.signed(&id, signed(1), at(2)).await.unwrap();
    let record = store.spend(&id).await.unwrap().unwrap();
    assert_eq!(
        (record.spend.clone(), record.signed.clone()),
        (spend(1), Some(signed(1)))
    );
    // The same request presents the same authorization.
    let again = store.reserve(spend(1), &[limit(0)], at(3)).await.unwrap();
    assert_eq!(again, Reservation::Open(Box::new(record.clone())));
    assert_eq!(store.open_spends(&address(1)).await.unwrap(), [record]);
    assert_eq!(store.open_spends(&address(2)).await.unwrap(), []);

    store.presented(&id, at(4)).await.unwrap();
    store
        .unclear(&id, "the connection broke", at(5))
        .await
        .unwrap();
    store.presented(&id, at(6)).await.unwrap();
    store
        .paid(&id, atomic(7), Some(&hash(1)), at(7))
        .await
        .unwrap();
    let record = store.spend(&id).await.unwrap().unwrap();
    assert_eq!(
        (record.state, record.paid),
        (SpendState::Paid, Some(atomic(7)))
    );
    assert_eq!(record.transaction, Some(hash(1)));
    assert_eq!(store.spends(10).await.unwrap(), [record]);
    // What was reserved beyond it is free again.
    assert_eq!(total(&store, &limit(0), 8).await, (7, 0));
}

pub async fn states_follow_their_order(store: impl SpendStore) {
    let id = reserved(&store, 1, &[], 1).await;
    assert_conflict(store.presented(&id, at(2)).await);
    assert_conflict(store.unclear(&id, "", at(2)).await);
    assert_conflict(store.paid(&id, atomic(10), None, at(2)).await);
    store.signed(&id, signed(1), at(2)).await.unwrap();
    assert_conflict(store.signed(&id, signed(2), at(2)).await);
    assert_conflict(store.paid(&id, atomic(11), None, at(2)).await);
    store.release(&id, "expired unused", at(3)).await.unwrap();
    store.release(&id, "again", at(3)).await.unwrap();
    assert_conflict(store.presented(&id, at(4)).await);
    assert_conflict(store.paid(&id, atomic(10), None, at(4)).await);
    // An authorization is signed once.
    let other = reserved(&store, 2, &[], 5).await;
    assert_conflict(store.signed(&other, signed(1), at(6)).await);
}

pub async fn a_limit_is_never_passed(store: impl SpendStore) {
    let limits = [limit(25)];
    let first = reserved(&store, 1, &limits, 1).await;
    paid(&store, 2, &limits, 1).await;
    assert_exceeded(store.reserve(spend(3), &limits, at(1)).await, 20);
    assert_eq!(total(&store, &limits[0], 1).await, (10, 10));
    store.release(&first, "never signed", at(2)).await.unwrap();
    assert_eq!(total(&store, &limits[0], 2).await, (10, 0));
    reserved(&store, 3, &limits, 2).await;
}

pub async fn each_scope_counts_its_own(store: impl SpendStore) {
    let scoped = |scope, max| Limit {
        scope,
        window: None,
        max: atomic(max),
    };
    let host = |name: &str| scoped(LimitScope::Host(name.to_owned()), 15);
    let limits = [
        limit(1_000),
        host("shop.example"),
        host("other.example"),
        scoped(LimitScope::Agent("somebody else".to_owned()), 0),
        scoped(LimitScope::Payee(address(2)), 35),
    ];
    reserved(&store, 1, &limits, 1).await;
    let refused = store.reserve(spend(2), &limits, at(1)).await.unwrap();
    let used = atomic(10);
    assert_eq!(
        refused,
        Reservation::Exceeded {
            limit: host("shop.example"),
            used
        }
    );
    let elsewhere = |n| NewSpend {
        host: "other.example".to_owned(),
        ..spend(n)
    };
    let third = store.reserve(elsewhere(3), &limits, at(1)).await.unwrap();
    assert!(matches!(third, Reservation::Reserved(_)));
    let foreign = NewSpend {
        asset: address(0xbb),
        ..spend(4)
    };
    let fourth = store.reserve(foreign, &limits, at(1)).await.unwrap();
    assert!(
        matches!(fourth, Reservation::Reserved(_)),
        "another asset is other money"
    );
    assert_eq!(total(&store, &limits[4], 1).await, (0, 20));
}

pub async fn a_window_slides_and_never_back(store: impl SpendStore) {
    let window = Some(Duration::from_secs(60));
    let limits = [Limit {
        window,
        ..limit(20)
    }];
    paid(&store, 1, &limits, 10 * MINUTE).await;
    paid(&store, 2, &limits, 10 * MINUTE + 30_000).await;
    assert_exceeded(
        store.reserve(spend(3), &limits, at(11 * MINUTE - 1)).await,
        20,
    );
    // Exactly one window later the first has left it.
    paid(&store, 3, &limits, 11 * MINUTE).await;
    assert_eq!(total(&store, &limits[0], 11 * MINUTE).await, (20, 0));
    // A clock that was set back sees what the latest moment saw.
    assert_exceeded(store.reserve(spend(4), &limits, at(MINUTE)).await, 20);
    assert_eq!(total(&store, &limits[0], MINUTE).await, (20, 0));
}

pub async fn what_is_held_counts_in_every_window(store: impl SpendStore) {
    let window = Some(Duration::from_secs(60));
    let limits = [Limit {
        window,
        ..limit(10)
    }];
    let id = reserved(&store, 1, &limits, MINUTE).await;
    assert_exceeded(store.reserve(spend(2), &limits, at(99 * MINUTE)).await, 10);
    store
        .release(&id, "never signed", at(99 * MINUTE))
        .await
        .unwrap();
    reserved(&store, 2, &limits, 99 * MINUTE).await;
}

pub async fn sums_of_the_largest_amounts_do_not_wrap(store: impl SpendStore) {
    let all = |n| NewSpend {
        amount: Amount::MAX,
        ..spend(n)
    };
    let unlimited = [Limit {
        max: Amount::MAX,
        ..limit(0)
    }];
    let first = store.reserve(all(1), &unlimited, at(1)).await.unwrap();
    assert!(matches!(first, Reservation::Reserved(_)));
    let second = store.reserve(all(2), &unlimited, at(1)).await.unwrap();
    assert!(matches!(
        second,
        Reservation::Exceeded {
            used: Amount::MAX,
            ..
        }
    ));
    assert_conflict(store.reserve(all(2), &[], at(1)).await);
}

pub async fn a_key_signs_no_more_payments_and_no_more_money_than_it_may(store: impl SpendStore) {
    let by = |key: &str, n: u64, asset: u8| NewSpend {
        key: Some(key.to_owned()),
        asset: address(asset),
        ..spend(n)
    };
    let calls = |max| Limit {
        scope: LimitScope::KeyCalls("a".to_owned()),
        ..limit(max)
    };
    let limits = [calls(2)];
    let reserve = async |new| store.reserve(new, &limits, at(1)).await;
    let first = match reserve(by("a", 1, 0xaa)).await.unwrap() {
        Reservation::Reserved(id) => id,
        other => panic!("{other:?}"),
    };
    // Whatever it moves, it counts.
    let second = reserve(by("a", 2, 0xbb)).await.unwrap();
    assert!(matches!(second, Reservation::Reserved(_)));
    assert_exceeded(reserve(by("a", 3, 0xaa)).await, 2);
    let others = reserve(by("b", 4, 0xaa)).await.unwrap();
    assert!(matches!(others, Reservation::Reserved(_)));
    store.signed(&first, signed(1), at(2)).await.unwrap();
    store.presented(&first, at(2)).await.unwrap();
    store.paid(&first, atomic(7), None, at(3)).await.unwrap();
    assert_eq!(
        total(&store, &calls(2), 3).await,
        (1, 1),
        "paid is one, whatever it cost"
    );
    assert_exceeded(reserve(by("a", 5, 0xaa)).await, 2);
    let money = [Limit {
        scope: LimitScope::Key("a".to_owned()),
        ..limit(16)
    }];
    let over = store.reserve(by("a", 6, 0xaa), &money, at(4)).await;
    assert_exceeded(over, 7);
}

pub async fn an_execution_counts_as_many_as_it_makes_calls(store: impl SpendStore) {
    let key = || Some("a".to_owned());
    let executes = |n, calls| NewSpend {
        key: key(),
        calls: Some(calls),
        ..spend(n)
    };
    let limits = [Limit {
        scope: LimitScope::KeyCalls("a".to_owned()),
        ..limit(5)
    }];
    let reserve = async |new| store.reserve(new, &limits, at(1)).await;
    let three = match reserve(executes(1, 3)).await.unwrap() {
        Reservation::Reserved(id) => id,
        other => panic!("{other:?}"),
    };
    let kept = store.spend(&three).await.unwrap().unwrap();
    assert_eq!(kept.spend, executes(1, 3));
    assert_exceeded(reserve(executes(2, 3)).await, 3);
    let pays = NewSpend {
        key: key(),
        ..spend(3)
    };
    let payment = reserve(pays).await.unwrap();
    assert!(matches!(payment, Reservation::Reserved(_)), "{payment:?}");
    store.signed(&three, signed(1), at(2)).await.unwrap();
    store.paid(&three, atomic(10), None, at(3)).await.unwrap();
    assert_eq!(total(&store, &limits[0], 3).await, (3, 1));
    assert_exceeded(reserve(executes(4, 2)).await, 4);
    store.reserve(executes(5, 1), &[], at(4)).await.unwrap();
    assert_eq!(total(&store, &limits[0], 4).await, (3, 2));
}

pub async fn another_signature_takes_the_firsts_place_under_one_authorization(
    store: impl SpendStore,
) {
    let plain = |n| tollway_ledger::SignedSpend {
        transaction: None,
        ..signed(n)
    };
    let id = reserved(&store, 1, &[], 1).await;
    assert_conflict(store.signed_again(&id, plain(1), at(1)).await);
    store.signed(&id, plain(1), at(1)).await.unwrap();
    store.presented(&id, at(2)).await.unwrap();
    assert_conflict(store.signed_again(&id, plain(2), at(3)).await);
    let mut again = plain(1);
    again
        .payload
        .payload
        .insert("by".to_owned(), "owner".into());
    again.valid_until = at(1);
    store.signed_again(&id, again.clone(), at(3)).await.unwrap();
    let record = store.spend(&id).await.unwrap().unwrap();
    assert_eq!(record.state, SpendState::Presented);
    let kept = record.signed.unwrap();
    assert_eq!(kept.payload, again.payload);
    assert_eq!(
        kept.valid_until,
        plain(1).valid_until,
        "the first one's end still counts"
    );
    store.paid(&id, atomic(10), None, at(4)).await.unwrap();
    assert_conflict(store.signed_again(&id, plain(1), at(5)).await);
}

/// A spend of 10 with decimals, so that it counts in budgets.
fn of(decimals: u8, n: u64) -> NewSpend {
    NewSpend {
        decimals: Some(decimals),
        ..spend(n)
    }
}

pub async fn a_budget_spans_accounts_networks_and_assets(store: impl SpendStore) {
    let worth = |tens: u64| {
        atomic(10)
            .checked_mul(10_u64.pow(12))
            .unwrap()
            .checked_mul(tens)
            .unwrap()
    };
    let budget = |scope, tens| Limit {
        scope,
        window: None,
        max: worth(tens),
    };
    let agent = spend(1).agent;
    let host = |host: &str| LimitScope::BudgetHost {
        agent: agent.clone(),
        host: host.to_owned(),
    };
    let all = budget(LimitScope::Budget(agent.clone()), 3);
    let limits = [all.clone(), budget(host("shop.example"), 2)];
    let reserve = async |new| store.reserve(new, &limits, at(1)).await.unwrap();
    assert!(matches!(reserve(of(6, 1)).await, Reservation::Reserved(_)));
    // Eighteen decimals, another asset, another network, another account, another host:
    // the same money by what it is worth.
    let elsewhere = |n| NewSpend {
        account: address(0x77),
        network: "eip155:8453".parse().unwrap(),
        asset: address(0xbb),
        amount: worth(1),
        host: "other.example".to_owned(),
        ..of(18, n)
    };
    let Reservation::Reserved(second) = reserve(elsewhere(2)).await else {
        panic!("there was room");
    };
    assert!(matches!(reserve(of(6, 3)).await, Reservation::Reserved(_)));
    let over = reserve(elsewhere(4)).await;
    let used = worth(3);
    let limit = all.clone();
    assert_eq!(over, Reservation::Exceeded { limit, used });
    // What another agent spends is another budget.
    let theirs = NewSpend {
        agent: "another".to_owned(),
        ..of(6, 5)
    };
    assert!(matches!(reserve(theirs).await, Reservation::Reserved(_)));
    // Given back, there is room again, but the first host has used up its part.
    store.release(&second, "never signed", at(2)).await.unwrap();
    let over = store.reserve(of(6, 6), &limits, at(2)).await.unwrap();
    assert!(
        matches!(over, Reservation::Exceeded { limit, .. } if limit.scope == host("shop.example"))
    );
    let total = store
        .total(
            &address(9),
            &"eip155:1".parse().unwrap(),
            &address(9),
            &all,
            at(2),
        )
        .await
        .unwrap();
    assert_eq!(total.held, worth(2));
}

pub async fn a_payee_is_pinned_where_it_was_paid_first(store: impl SpendStore) {
    let pinned = |also: &[Address]| Rules {
        pinned_or: Some(also.to_vec()),
        ..Rules::default()
    };
    let to = |payee, network: &str, n| NewSpend {
        payee: address(payee),
        network: network.parse().unwrap(),
        ..of(6, n)
    };
    let reserve = async |new, rules| store.reserve_within(new, rules, at(1)).await.unwrap();
    let Reservation::Reserved(first) = reserve(to(1, "eip155:8453", 1), pinned(&[])).await else {
        panic!("the first use pins");
    };
    let other = reserve(to(2, "eip155:8453", 2), pinned(&[])).await;
    let pin = address(1);
    assert_eq!(
        other,
        Reservation::OtherPayee {
            pinned: pin.clone()
        }
    );
    // Another network of the family is no way around it.
    let other = reserve(to(2, "eip155:1329", 3), pinned(&[])).await;
    assert_eq!(other, Reservation::OtherPayee { pinned: pin });
    let consented = reserve(to(2, "eip155:8453", 4), pinned(&[address(2)])).await;
    let Reservation::Reserved(fourth) = consented else {
        panic!("the owner agreed");
    };
    // Nor is another agent bound by it; and what was given back pins nothing.
    store.release(&first, "never signed", at(2)).await.unwrap();
    store.release(&fourth, "never signed", at(2)).await.unwrap();
    let later = reserve(to(3, "eip155:8453", 5), pinned(&[])).await;
    assert!(matches!(later, Reservation::Reserved(_)));
    let (here, network) = (spend(1), "eip155:1".parse().unwrap());
    let seen = store
        .precedent(&here.agent, &here.host, &network, &here.url)
        .await;
    assert_eq!(seen.unwrap().payee, Some(address(3)));
}

pub async fn a_price_that_jumps_is_compared_with_the_last(store: impl SpendStore) {
    let rules = Rules {
        max_rise_percent: Some(300),
        ..Rules::default()
    };
    let costing = |amount, n| NewSpend {
        amount: atomic(amount),
        ..of(6, n)
    };
    let reserve = async |new| {
        let rules = rules.clone();
        store.reserve_within(new, rules, at(1)).await.unwrap()
    };
    assert!(matches!(
        reserve(costing(10, 1)).await,
        Reservation::Reserved(_)
    ));
    let last = atomic(10 * 10_u128.pow(12));
    assert_eq!(
        reserve(costing(31, 2)).await,
        Reservation::PriceJump { last }
    );
    // The same jump in an asset of other decimals is the same jump.
    let disguised = NewSpend {
        decimals: Some(18),
        asset: address(0xbb),
        ..costing(31 * 10_u128.pow(12), 3)
    };
    assert_eq!(reserve(disguised).await, Reservation::PriceJump { last });
    let elsewhere = NewSpend {
        url: "https://shop.example/other".to_owned(),
        ..costing(1_000, 4)
    };
    assert!(matches!(reserve(elsewhere).await, Reservation::Reserved(_)));
    assert!(matches!(
        reserve(costing(30, 5)).await,
        Reservation::Reserved(_)
    ));
    assert!(matches!(
        reserve(costing(90, 6)).await,
        Reservation::Reserved(_)
    ));
}
