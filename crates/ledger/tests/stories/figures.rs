//! Figures for those who look: exact, by asset, and each record once.

use tollway_core::GrantId;
use tollway_ledger::{
    Claim, Conclusion, Evidence, GrantStore, Listing, NewGrant, SettlementStore as _, Side, Store,
    Tally, Window,
};
use tollway_test_records::{address, at, atomic, grant, hash};

use crate::settlements::accepted;

const ALL: Window = Window {
    since: tollway_core::Timestamp::from_millis(0),
    until: tollway_core::Timestamp::from_millis(1_000_000),
};

async fn claimed(store: &Store, new: NewGrant, when: u64) -> GrantId {
    match store.claim(new, at(when)).await.unwrap() {
        Claim::New(claimed) => claimed.id,
        other => panic!("{other:?}"),
    }
}

/// Sold and paid at a moment, 100 ms after the claim.
async fn sold(store: &Store, new: NewGrant, when: u64) {
    let id = claimed(store, new, when).await;
    store.served(&id, None, None, at(when)).await.unwrap();
    store.settling(&id, at(when)).await.unwrap();
    let transaction = hash(when);
    let evidence = Evidence::Receipt {
        transaction,
        log_index: None,
    };
    let receipt = serde_json::json!({});
    let released = GrantStore::release(store, &id, &evidence, &receipt, at(when + 100));
    let _released = released.await.unwrap();
}

fn priced(n: u64, amount: u128) -> NewGrant {
    let mut new = grant(n);
    new.expected.amount = atomic(amount);
    new
}

pub async fn money_is_summed_by_price_and_never_across_assets(store: Store) {
    let most = u128::MAX;
    for (n, amount) in [(1, most), (2, most), (3, 7)] {
        sold(&store, priced(n, amount), n * 1_000).await;
    }
    let mut other = priced(4, 7);
    other.expected.asset = address(0xbb);
    other.route = "GET /other".to_owned();
    sold(&store, other, 4_000).await;
    claimed(&store, priced(5, 9), 5_000).await;
    let mut takings = store.takings(Side::Sales, ALL, 10_000).await.unwrap();
    takings.sort_by_key(|one| (one.route.clone(), one.each));
    let short: Vec<_> = takings
        .iter()
        .map(|one| (one.route.as_str(), one.each, one.times, one.step))
        .collect();
    let expected = [
        ("GET /other", atomic(7), 1, 0),
        ("GET /paid/*", atomic(7), 1, 0),
        ("GET /paid/*", atomic(most), 2, 0),
    ];
    assert_eq!(short, expected);
    let payers = store.top_payers(Side::Sales, ALL, 10).await.unwrap();
    let sum = atomic(most)
        .checked_add(atomic(most))
        .and_then(|sum| sum.checked_add(atomic(7)));
    assert_eq!((payers[0].times, payers[0].amount), (3, sum));
    assert_eq!((payers[1].times, payers[1].amount), (1, Some(atomic(7))));
    let took = store.latencies(Side::Sales, ALL).await.unwrap();
    assert_eq!(took, [100; 4]);
    let open = store.unfinished(Side::Sales).await.unwrap();
    assert_eq!(
        (open.len(), open[0].times, open[0].oldest),
        (1, 1, at(5_000))
    );
    assert!(store.has_any(Side::Sales).await.unwrap());
    assert!(!store.has_any(Side::Settlements).await.unwrap());
}

pub async fn refusals_are_counted_by_reason(store: Store) {
    for n in 0..3 {
        let id = accepted(&store, n).await.id;
        let code = if n == 0 { "rare" } else { "often" }.to_owned();
        let message = String::new();
        let refused = Conclusion::Refused { code, message };
        store.conclude(&id, refused, at(2_000)).await.unwrap();
    }
    let found = store.refusals(Side::Settlements, ALL).await.unwrap();
    let short: Vec<_> = found.iter().map(|r| (r.code.as_str(), r.times)).collect();
    assert_eq!(short, [("often", 2), ("rare", 1)]);
    let before = Window {
        since: at(0),
        until: at(1_000),
    };
    assert_eq!(store.refusals(Side::Settlements, before).await.unwrap(), []);
}

pub async fn what_was_counted_adds_up_and_is_forgotten_in_time(store: Store) {
    let tally = |hour, times| Tally {
        hour,
        route: "GET /paid/*".to_owned(),
        what: "challenged".to_owned(),
        times,
    };
    store
        .tally(vec![tally(1, 5), tally(2, 6)], 0)
        .await
        .unwrap();
    store.tally(vec![tally(2, 7)], 0).await.unwrap();
    let window = Window {
        since: at(0),
        until: at(4 * 3_600_000),
    };
    let counted = store.tallies(window).await.unwrap();
    assert_eq!(counted, [tally(1, 5), tally(2, 13)]);
    store.tally(vec![tally(3, 1)], 2).await.unwrap();
    let counted = store.tallies(window).await.unwrap();
    assert_eq!(counted, [tally(2, 13), tally(3, 1)]);
}

pub async fn pages_hold_each_record_once_the_latest_first(store: Store) {
    for n in 0..5 {
        accepted(&store, n).await;
    }
    let mut listing = Listing {
        side: Side::Settlements,
        window: ALL,
        state: None,
        payer: None,
        route: None,
        network: None,
        before: None,
        limit: 2,
    };
    let mut seen = Vec::new();
    loop {
        let page = store.page(&listing).await.unwrap();
        seen.extend(page.iter().map(|row| row.began_at.millis()));
        match page.last() {
            Some(last) => listing.before = Some(last.cursor().to_string().parse().unwrap()),
            None => break,
        }
    }
    assert_eq!(seen, [1_004, 1_003, 1_002, 1_001, 1_000]);
    listing.before = None;
    for (state, payer, found) in [
        (Some("accepted"), None, 2),
        (Some("settled"), None, 0),
        (Some("served"), None, 0),
        (None, Some(address(1)), 2),
        (Some("accepted"), Some(address(1)), 2),
        (None, Some(address(2)), 0),
    ] {
        listing.state = state;
        listing.payer = payer.as_ref().map(ToString::to_string);
        let page = store.page(&listing).await.unwrap();
        assert_eq!(page.len(), found, "{listing:?}");
    }
    let row = accepted(&store, 9).await;
    let found = store.look_up(row.id.as_str()).await.unwrap().unwrap();
    assert_eq!(
        (found.id.as_str(), found.state),
        (row.id.as_str(), "accepted")
    );
    let of_it = claimed(&store, grant(9), 9_000).await;
    let other = store.other_half(&found).await.unwrap();
    assert_eq!(other, [of_it.to_string()]);
    for missing in ["pay_none", "grt_none", "spd_none", "x", ""] {
        assert_eq!(store.look_up(missing).await.unwrap(), None);
    }
}
