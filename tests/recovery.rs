//! After a crash every payment ends by itself, and in time.

use std::time::{Duration, Instant};

use tollway_devnet::Mining;
use tollway_sweep::own_place;

use crate::harness::town::{BUYER, Town, set};
use crate::harness::{Buyer, Program, raw, seconds, until};

/// The promise.
const IN_TIME: Duration = seconds(60);

/// Starts a facilitator that dies at a place, if one is named.
async fn facilitator(town: &Town, listen: &str, dies_at: Option<&str>) -> (Program, String) {
    let mut args = town.facilitator_args(&town.rpc());
    set(&mut args, "--listen", listen);
    args.extend(["--min-validity".to_owned(), "5".to_owned()]);
    let mut command = town.command(&args);
    if let Some(place) = dies_at {
        command.env("TOLLWAY_CRASH_AT", place);
    }
    Program::serve(command).await
}

/// Has a facilitator settle one payment whose caller does not come back. It
/// stays valid for so many seconds.
async fn settle_and_go(town: &Town, url: &str, valid: u64) {
    let buyer = Buyer::new(&BUYER);
    let (gate, shop) = town.gate(&[]).await;
    let mut terms = buyer.terms(&format!("{shop}/paid/weather")).await;
    gate.crash().await;
    terms.accepts[0].max_timeout_seconds = valid;
    let payment = buyer.sign(&terms, false).await;
    let body = serde_json::json!({
        "x402Version": 2,
        "paymentPayload": payment,
        "paymentRequirements": terms.accepts[0],
    });
    let url = format!("{url}/settle");
    tokio::spawn(async move {
        let request = raw::client().post(url).body(body.to_string());
        let _ = request
            .header("content-type", "application/json")
            .send()
            .await;
    });
}

/// The one payment's state.
async fn state(town: &Town) -> String {
    let payments = town.payments("facilitator.db").await;
    let state = payments
        .first()
        .and_then(|payment| payment["state"].as_str());
    state.unwrap_or("nothing").to_owned()
}

/// Until the payment has ended so, from now.
async fn ends(town: &Town, wanted: &str) -> Duration {
    let began = Instant::now();
    until(IN_TIME, &format!("the payment is {wanted}"), async || {
        state(town).await == wanted
    })
    .await;
    began.elapsed()
}

#[tokio::test]
async fn what_was_accepted_and_not_signed_goes_on_at_once_after_a_restart() {
    let town = Town::with_manual_blocks().await;
    let (dying, url) =
        facilitator(&town, &own_place(), Some("saga::accepted::after_write=1")).await;
    settle_and_go(&town, &url, 300).await;
    dying.end().await;
    assert_eq!(state(&town).await, "accepted");
    town.chain
        .set_mining(Mining::Interval(Duration::from_millis(100)));
    let (_alive, _) = facilitator(&town, &raw::address(&url).to_string(), None).await;
    let took = ends(&town, "settled").await;
    assert!(took < seconds(10), "at once, not after {took:?}");
    town.paid_exactly_once();
}

#[tokio::test]
async fn what_was_signed_ends_within_a_minute_of_its_receipt() {
    let town = Town::with_manual_blocks().await;
    let (alive, url) = facilitator(&town, &own_place(), None).await;
    settle_and_go(&town, &url, 300).await;
    until(seconds(20), "it is in the pool", async || {
        town.chain.waiting() > 0
    })
    .await;
    alive.crash().await;
    town.chain.mine(1).unwrap();
    let (_alive, _) = facilitator(&town, &raw::address(&url).to_string(), None).await;
    ends(&town, "settled").await;
    town.paid_exactly_once();
}

#[tokio::test]
async fn what_can_no_longer_land_ends_within_a_minute_of_the_proof() {
    let town = Town::with_manual_blocks().await;
    let (alive, url) = facilitator(&town, &own_place(), None).await;
    settle_and_go(&town, &url, 12).await;
    until(seconds(20), "it is in the pool", async || {
        town.chain.waiting() > 0
    })
    .await;
    alive.crash().await;
    let payments = town.payments("facilitator.db").await;
    let hash = payments[0]["transaction"].as_str().unwrap();
    assert!(town.chain.drop_transaction(hash.parse().unwrap()));
    let (_alive, _) = facilitator(&town, &raw::address(&url).to_string(), None).await;
    let deadline = payments[0]["deadline"].as_str().unwrap_or_default();
    assert_eq!(state(&town).await, "submitted", "until {deadline}");
    tokio::time::sleep(seconds(13)).await;
    town.chain.increase_time(60).unwrap();
    town.chain
        .set_mining(Mining::Interval(Duration::from_millis(100)));
    let began = Instant::now();
    until(IN_TIME, "the payment has ended", async || {
        matches!(state(&town).await.as_str(), "expired" | "refused")
    })
    .await;
    town.nothing_was_paid();
    assert!(began.elapsed() < IN_TIME);
}
