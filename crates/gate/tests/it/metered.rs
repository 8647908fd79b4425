//! Routes that charge what was used, up to what the buyer signed for.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use tollway_core::Amount;
use tollway_gate::{Charge, Offer, Route};
use tollway_ledger::{GrantRecord, GrantState, GrantStore as _, SqliteLedger};

use crate::support::{FakeChain, PAYEE, Payment, Say, World, terms_of};

fn offer() -> Offer {
    let offer = Offer::new("$0.05", "base-sepolia", PAYEE).unwrap();
    offer.up_to().unwrap()
}

async fn world() -> World {
    World::with(|gate| gate.route(Route::new("/paid/*").unwrap().offer(offer()))).await
}

fn charges(world: &World) -> Vec<String> {
    world.facilitator.charges.lock().unwrap().clone()
}

fn says(world: &World, overrides: &'static str) {
    let value = HeaderValue::from_static(overrides);
    let mut headers = world.upstream.headers.lock().unwrap();
    headers.insert("settlement-overrides", value);
}

async fn grant(world: &World, payment: &Payment) -> GrantRecord {
    let identity = payment.identity(world);
    let found = world.ledger.grant_by_identity(&identity).await;
    found.unwrap().unwrap()
}

#[tokio::test]
async fn the_terms_name_the_scheme_and_the_most_that_is_charged() {
    let terms = terms_of(&world().await.get("/paid/x").await);
    let entry = &terms.accepts[0];
    assert_eq!(
        (entry.scheme.as_str(), entry.amount.as_str()),
        ("upto", "50000")
    );
}

#[tokio::test]
async fn what_the_service_behind_says_is_charged_and_its_header_never_leaves() {
    for (says_so, charged) in [
        (r#"{"amount":"1000"}"#, "1000"),
        (r#"{"amount":"50%"}"#, "25000"),
        (r#"{"amount":"$0.03"}"#, "30000"),
        (r#"{"amount":"50000"}"#, "50000"),
    ] {
        let world = world().await;
        says(&world, says_so);
        let payment = world.payment("/paid/x").await;
        let answer = world.send(payment.get("/paid/x")).await;
        assert!(answer.has_secret() && answer.receipt().success, "{says_so}");
        assert_eq!(answer.header("settlement-overrides"), "");
        assert_eq!(charges(&world), [charged]);
        let grant = grant(&world, &payment).await;
        assert_eq!(grant.state, GrantState::Released);
        assert_eq!(grant.grant.expected.amount.to_string(), charged);
    }
}

#[tokio::test]
async fn who_says_nothing_charges_all_that_was_signed_for() {
    let world = world().await;
    let payment = world.payment("/paid/x").await;
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    assert_eq!(charges(&world), ["50000"]);
}

#[tokio::test]
async fn nothing_is_charged_or_delivered_where_the_charge_is_too_high_or_unreadable() {
    for bad in [
        r#"{"amount":"50001"}"#,
        r#"{"amount":"101%"}"#,
        r#"{"amount":"-1"}"#,
        r#"{"amount":1000}"#,
        "1000",
    ] {
        let world = world().await;
        says(&world, bad);
        let payment = world.payment("/paid/x").await;
        let answer = world.send(payment.get("/paid/x")).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{bad}");
        assert!(!answer.has_secret());
        assert!(charges(&world).is_empty());
        // The payment stays good.
        world.upstream.headers.lock().unwrap().clear();
        assert!(world.send(payment.get("/paid/x")).await.has_secret());
    }
}

#[tokio::test]
async fn a_fixed_price_is_not_changed_by_the_service_behind() {
    let world = World::new().await;
    says(&world, r#"{"amount":"1"}"#);
    let payment = world.payment("/paid/x").await;
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    assert_eq!(charges(&world), ["10000"]);
}

#[tokio::test]
async fn settling_goes_on_with_the_same_charge_after_the_process_died() {
    let ledger = Arc::new(SqliteLedger::open("sqlite::memory:").await.unwrap());
    let chain: Arc<FakeChain> = Arc::default();
    let route = || Route::new("/paid/*").unwrap().offer(offer());
    let first = World::on(ledger.clone(), chain.clone(), |gate| gate.route(route()));
    says(&first, r#"{"amount":"20%"}"#);
    let payment = first
        .payment("/paid/x")
        .await
        .named("metered-and-lost-on-the-way");
    first.facilitator.always(Some(Say::Lost));
    let lost = first.send(payment.get("/paid/x")).await;
    assert!(!lost.has_secret());
    drop(first);

    let second = World::on(ledger, chain, |gate| gate.route(route()));
    second.gate.start().await.unwrap();
    let mut answer = second.send(payment.get("/paid/x")).await;
    for _ in 0..40 {
        if answer.has_secret() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        answer = second.send(payment.get("/paid/x")).await;
    }
    assert!(answer.has_secret(), "{answer:?}");
    let charges = charges(&second);
    assert!(
        !charges.is_empty() && charges.iter().all(|c| c == "10000"),
        "{charges:?}"
    );
}

#[test]
fn a_handler_says_it_in_code() {
    let charge = Charge::atomic(Amount::from_atomic(7));
    let most = Amount::from_atomic(10);
    assert_eq!(charge.of(most, 6).unwrap(), Amount::from_atomic(7));
}
