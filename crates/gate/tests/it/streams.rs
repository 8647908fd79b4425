//! Routes that charge what they stream: credit up to what was signed for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tollway_core::{Clock, PaymentFlow, SystemClock, Timestamp, header};
use tollway_gate::{Body, BuildError, Event, Gate, GateBuilder, Limits, Meter, Offer, Route};
use tollway_ledger::{GrantRecord, GrantState, GrantStore as _, SqliteLedger};

use crate::support::{Answer, BASE, FakeChain, PAYEE, Payment, World, limits, terms_of};

/// Fifty units of a tenth of a cent; two of them may leave unrecorded.
const MOST: &str = "$0.05";
const UNIT: u64 = 1_000;

fn offer() -> Offer {
    let offer = Offer::new(MOST, "base-sepolia", PAYEE).unwrap();
    offer.up_to().unwrap()
}

fn route(meter: &str) -> Route {
    let meter: Meter = meter.parse().unwrap();
    Route::new("GET /paid/*")
        .unwrap()
        .offer(offer())
        .meter(meter)
}

async fn by_events() -> World {
    World::with(|gate| gate.route(route("$0.001/event"))).await
}

type Feed = mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>;

/// The service behind answers with what the test sends, as events.
fn live(world: &World) -> Feed {
    let (feed, pieces) = mpsc::channel(1_000);
    let body = StreamBody::new(stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    }));
    *world.upstream.live.lock().unwrap() = Some(tollway_gate::boxed(body));
    says(world, "content-type", "text/event-stream");
    feed
}

fn says(world: &World, name: &'static str, value: &'static str) {
    let mut headers = world.upstream.headers.lock().unwrap();
    headers.insert(name, HeaderValue::from_static(value));
}

fn event(n: usize) -> Result<Frame<Bytes>, std::io::Error> {
    Ok(Frame::data(
        format!("id: {n}\ndata: the paid secret {n}\n\n").into(),
    ))
}

async fn events(feed: &Feed, how_many: usize) {
    for n in 0..how_many {
        feed.send(event(n)).await.unwrap();
    }
}

/// Takes events from an answer, one frame each.
async fn takes(answer: &mut Response<Body>, how_many: usize) {
    for _ in 0..how_many {
        let frame = answer.body_mut().frame().await.unwrap().unwrap();
        assert!(frame.into_data().unwrap().starts_with(b"id: "));
    }
}

async fn opened(world: &World) -> (Payment, Response<Body>) {
    let payment = world.payment("/paid/live").await;
    let answer = world.start(payment.get("/paid/live")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    (payment, answer)
}

async fn grant(world: &World, payment: &Payment) -> GrantRecord {
    let identity = payment.identity(world);
    let found = world.ledger.grant_by_identity(&identity).await;
    found.unwrap().unwrap()
}

/// Waits until a payment's grant has ended.
async fn ended(world: &World, payment: &Payment) -> GrantRecord {
    for _ in 0..200 {
        let grant = grant(world, payment).await;
        if matches!(grant.state, GrantState::Released | GrantState::Refused) {
            return grant;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not end");
}

fn charges(world: &World) -> Vec<u64> {
    let charges = world.facilitator.charges.lock().unwrap();
    charges.iter().map(|c| c.parse().unwrap()).collect()
}

/// Units and why it ended, of the streams that did.
fn metered(world: &World) -> Vec<(u64, &'static str)> {
    let told = world.events.lock().unwrap();
    let told = told.iter().filter_map(|event| match event {
        Event::Metered { units, end, .. } => Some((*units, *end)),
        _ => None,
    });
    told.collect()
}

#[tokio::test]
async fn a_stream_leaves_as_it_comes_and_is_charged_by_its_events() {
    let world = by_events().await;
    let feed = live(&world);
    let (payment, mut answer) = opened(&world).await;
    events(&feed, 3).await;
    takes(&mut answer, 3).await;
    assert!(charges(&world).is_empty(), "it goes on");
    drop(feed);
    assert!(answer.body_mut().frame().await.is_none());
    let grant = ended(&world, &payment).await;
    assert_eq!(charges(&world), [3 * UNIT]);
    assert_eq!(metered(&world), [(3, "whole")]);
    assert_eq!(grant.state, GrantState::Released);
    assert_eq!(grant.grant.expected.amount.to_string(), "3000");
    let again = world.send(payment.get("/paid/live")).await;
    assert_eq!(again.code(), "duplicate_settlement");
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn the_terms_say_what_a_unit_costs_and_the_settlement_what_it_came_to() {
    let world = by_events().await;
    let terms = terms_of(&world.get("/paid/live").await);
    assert_eq!(terms.accepts[0].extra_str("meter"), Some("1000/event"));
    assert_eq!(terms.accepts[0].extra_str("paymentFlow"), None);
    let feed = live(&world);
    let (payment, mut answer) = opened(&world).await;
    let name = answer.headers()["tollway-payment"].to_str().unwrap();
    let told = format!("/settlements/{name}");
    let read = async || {
        let answer = world.get(&told).await;
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()
    };
    assert_eq!(read().await["status"], "pending");
    events(&feed, 4).await;
    takes(&mut answer, 4).await;
    drop((feed, answer));
    ended(&world, &payment).await;
    let told = read().await;
    assert_eq!(told["status"], "settled");
    assert_eq!(
        (&told["amount"], &told["maximum"]),
        (&"4000".into(), &"50000".into())
    );
}

#[tokio::test]
async fn who_asks_for_trailers_gets_the_receipt_in_them() {
    let world = by_events().await;
    let feed = live(&world);
    let payment = world.payment("/paid/live").await;
    let mut request = payment.get("/paid/live");
    request
        .headers_mut()
        .insert("te", HeaderValue::from_static("trailers"));
    let mut answer = world.start(request).await;
    assert_eq!(answer.headers()["trailer"], "PAYMENT-RESPONSE");
    events(&feed, 2).await;
    takes(&mut answer, 2).await;
    drop(feed);
    let last = answer.body_mut().frame().await.unwrap().unwrap();
    let receipt = header::receipt(&last.into_trailers().unwrap())
        .unwrap()
        .unwrap();
    assert!(
        receipt.success && !receipt.transaction.is_empty(),
        "{receipt:?}"
    );
    assert_eq!(charges(&world), [2 * UNIT]);
}

#[tokio::test]
async fn a_stream_ends_at_what_was_signed_for() {
    for in_one_piece in [false, true] {
        let world = by_events().await;
        let feed = live(&world);
        let (payment, answer) = opened(&world).await;
        if in_one_piece {
            let all: Vec<u8> = (0..70)
                .flat_map(|n| event(n).unwrap().into_data().unwrap())
                .collect();
            feed.send(Ok(Frame::data(all.into()))).await.unwrap();
        } else {
            events(&feed, 70).await;
        }
        let body = Answer::read(answer).await.body;
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(body.matches("data: ").count(), 50);
        assert!(body.ends_with("secret 49\n\n"), "{body}");
        ended(&world, &payment).await;
        assert_eq!(charges(&world), [50 * UNIT]);
        assert_eq!(metered(&world), [(50, "maximum")]);
        assert!(feed.is_closed(), "the service behind is not asked on");
    }
}

#[tokio::test]
async fn bytes_are_charged_by_each_unit_that_was_begun() {
    let world = World::with(|gate| gate.route(route("$0.001/kB"))).await;
    let feed = live(&world);
    let (payment, answer) = opened(&world).await;
    for _ in 0..3 {
        feed.send(Ok(Frame::data(vec![b'x'; 1_001].into())))
            .await
            .unwrap();
    }
    drop(feed);
    assert_eq!(Answer::read(answer).await.body.len(), 3_003);
    ended(&world, &payment).await;
    assert_eq!(charges(&world), [4 * UNIT]);

    let feed = live(&world);
    let (payment, answer) = opened(&world).await;
    feed.send(Ok(Frame::data(vec![b'x'; 60_000].into())))
        .await
        .unwrap();
    assert_eq!(Answer::read(answer).await.body.len(), 50_000);
    ended(&world, &payment).await;
    assert_eq!(charges(&world), [4 * UNIT, 50 * UNIT]);
}

#[tokio::test]
async fn who_hangs_up_pays_for_what_it_took() {
    let world = by_events().await;
    let feed = live(&world);
    let (payment, mut answer) = opened(&world).await;
    events(&feed, 20).await;
    takes(&mut answer, 7).await;
    drop(answer);
    ended(&world, &payment).await;
    assert_eq!(charges(&world), [7 * UNIT]);
    assert_eq!(metered(&world), [(7, "client_left")]);
    assert!(feed.is_closed(), "nobody makes what nobody takes");
}

#[tokio::test]
async fn who_took_nothing_pays_nothing_and_the_payment_is_used() {
    let world = by_events().await;
    let feed = live(&world);
    let (payment, answer) = opened(&world).await;
    feed.send(Ok(Frame::data(": hello\n\n".into())))
        .await
        .unwrap();
    drop(answer);
    let grant = ended(&world, &payment).await;
    assert_eq!(
        (grant.state, charges(&world)),
        (GrantState::Released, vec![0])
    );
    let again = world.send(payment.get("/paid/live")).await;
    assert_eq!(again.code(), "duplicate_settlement");
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn who_reads_nothing_is_not_waited_for() {
    let short = Limits {
        stalled_reader: Duration::from_millis(60),
        ..limits()
    };
    let world = World::with(|gate| gate.limits(short).route(route("$0.001/event"))).await;
    let feed = live(&world);
    let (payment, mut answer) = opened(&world).await;
    events(&feed, 20).await;
    takes(&mut answer, 1).await;
    ended(&world, &payment).await;
    assert_eq!(metered(&world), [(1, "client_stalled")]);
    assert_eq!(charges(&world), [UNIT]);
    // What was on its way is not handed out after it was settled.
    let late = answer.body_mut().frame().await;
    assert!(late.is_none_or(|frame| frame.is_err()));
}

/// A clock that is ahead.
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.0)
    }
}

fn ahead(gate: GateBuilder, millis: u64) -> GateBuilder {
    let minute = offer().with_timeout_seconds(60).unwrap();
    let meter: Meter = "$0.001/event".parse().unwrap();
    let route = Route::new("GET /paid/*")
        .unwrap()
        .offer(minute)
        .meter(meter);
    let clock = Arc::new(Ahead(Duration::from_millis(millis)));
    gate.clock(clock).route(route)
}

#[tokio::test]
async fn a_stream_ends_while_there_is_time_to_settle() {
    let world = World::with(|gate| ahead(gate, 28_500)).await;
    let feed = live(&world);
    let (payment, mut answer) = opened(&world).await;
    events(&feed, 2).await;
    takes(&mut answer, 2).await;
    let cut = answer.body_mut().frame().await;
    assert!(cut.is_some_and(|frame| frame.is_err()), "it is not whole");
    ended(&world, &payment).await;
    assert_eq!(metered(&world), [(2, "time")]);
    assert_eq!(charges(&world), [2 * UNIT]);
}

#[tokio::test]
async fn an_authorization_that_ends_too_soon_streams_nothing() {
    let world = World::with(|gate| ahead(gate, 31_000)).await;
    let payment = world.payment("/paid/live").await;
    let answer = world.send(payment.get("/paid/live")).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.code(), "cannot_settle_in_time");
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn what_breaks_off_is_charged_as_far_as_it_came() {
    let world = by_events().await;
    let feed = live(&world);
    let (payment, mut answer) = opened(&world).await;
    events(&feed, 2).await;
    feed.send(Err(std::io::ErrorKind::BrokenPipe.into()))
        .await
        .unwrap();
    takes(&mut answer, 2).await;
    assert!(answer.body_mut().frame().await.unwrap().is_err());
    ended(&world, &payment).await;
    assert_eq!(charges(&world), [2 * UNIT]);
    assert_eq!(metered(&world), [(2, "upstream_broke")]);
}

#[tokio::test]
async fn an_answer_that_cannot_be_counted_is_not_given_away() {
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ] {
        let world = by_events().await;
        let _feed = live(&world);
        says(&world, name, value);
        let payment = world.payment("/paid/live").await;
        let answer = world.send(payment.get("/paid/live")).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{value}");
        assert!(charges(&world).is_empty());
        let grant = grant(&world, &payment).await;
        assert!(grant.reclaimable, "the payment stays good");
    }
}

#[tokio::test]
async fn events_are_asked_for_as_they_are() {
    let world = by_events().await;
    let feed = live(&world);
    let payment = world.payment("/paid/live").await;
    let mut request: Request<Body> = payment.get("/paid/live");
    request
        .headers_mut()
        .insert("accept-encoding", HeaderValue::from_static("gzip"));
    drop((world.start(request).await, feed));
    assert!(
        !world
            .upstream
            .last()
            .headers
            .contains_key("accept-encoding")
    );
}

#[tokio::test]
async fn a_service_behind_that_fails_costs_nothing() {
    let world = by_events().await;
    world.upstream.answer_with(StatusCode::SERVICE_UNAVAILABLE);
    let payment = world.payment("/paid/x").await;
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(charges(&world).is_empty());
    assert!(grant(&world, &payment).await.reclaimable);
}

#[tokio::test]
async fn what_is_streamed_and_not_settled_is_capped() {
    let credit = |gate: GateBuilder| {
        let (own, all) = ("0.05".parse().unwrap(), "1".parse().unwrap());
        gate.credit(own, all).route(route("$0.001/event"))
    };
    let world = World::with(credit).await;
    let first = live(&world);
    let (payment, answer) = opened(&world).await;
    let _second = live(&world);
    let other = world.payment("/paid/live").await;
    let full = world.send(other.get("/paid/live")).await;
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(full.code(), "too_many_requests");
    assert!(grant(&world, &other).await.reclaimable);
    drop((first, answer));
    ended(&world, &payment).await;
    let _third = live(&world);
    let answer = world.start(other.get("/paid/live")).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_ledger_that_records_nothing_ends_the_stream() {
    let world = by_events().await;
    let feed = live(&world);
    let (payment, mut answer) = opened(&world).await;
    world.store.fail("metered", 2);
    events(&feed, 20).await;
    takes(&mut answer, 2).await;
    let cut = answer.body_mut().frame().await.unwrap();
    assert!(cut.is_err(), "no more leaves than may be lost");
    ended(&world, &payment).await;
    assert_eq!(charges(&world), [2 * UNIT]);
    assert_eq!(metered(&world), [(2, "unrecorded")]);
}

#[tokio::test]
async fn who_takes_over_from_a_dead_gate_settles_what_was_recorded_and_the_dead_hands_out_no_more()
{
    let ledger = Arc::new(SqliteLedger::open("sqlite::memory:").await.unwrap());
    let chain: Arc<FakeChain> = Arc::default();
    let first = World::on(ledger.clone(), chain.clone(), |gate| {
        gate.route(route("$0.001/event"))
    });
    let feed = live(&first);
    let (payment, mut answer) = opened(&first).await;
    events(&feed, 50).await;
    takes(&mut answer, 11).await;

    let second = World::on(ledger, chain, |gate| gate.route(route("$0.001/event")));
    second.gate.start().await.unwrap();
    let grant = ended(&second, &payment).await;
    assert_eq!(grant.state, GrantState::Released);
    let charged = charges(&second);
    assert!(
        matches!(charged[..], [charge] if (9 * UNIT..=11 * UNIT).contains(&charge)),
        "no more than a piece is given away: {charged:?}"
    );
    // The first was not dead: what it may still hand out is a piece.
    let mut more = 0;
    while let Some(Ok(frame)) = answer.body_mut().frame().await {
        more += usize::from(frame.is_data());
    }
    assert!(more <= 3, "{more}");
    assert!(charges(&first).is_empty());
    let again = second.send(payment.get("/paid/live")).await;
    assert_eq!(again.code(), "duplicate_settlement");
}

#[tokio::test]
async fn head_pays_for_nothing() {
    let world = by_events().await;
    let payment = world.payment("/paid/live").await;
    let answer = world.send(payment.request("HEAD", "/paid/live")).await;
    assert_ne!(answer.status, StatusCode::OK);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn only_what_has_a_most_that_pays_for_a_unit_is_metered() {
    let fixed = || Offer::new(MOST, "base-sepolia", PAYEE).unwrap();
    let with = |offer: Offer, meter: &str| {
        let meter: Meter = meter.parse().unwrap();
        Route::new("/paid/*").unwrap().offer(offer).meter(meter)
    };
    let dear = Offer::new("$1.01", "base-sepolia", PAYEE).unwrap();
    for route in [
        with(fixed(), "$0.001/event"),
        with(offer(), "$0.06/event"),
        with(offer(), "$0.0000001/byte"),
        with(dear.up_to().unwrap(), "$0.001/event"),
        with(offer(), "$0.001/event").flow(PaymentFlow::Upfront),
    ] {
        let world = by_events().await;
        let built = Gate::builder(BASE, world.facilitator.clone(), world.store.clone())
            .chain(world.chain.clone())
            .route(route)
            .build();
        assert!(matches!(built, Err(BuildError::Meter { .. })), "{built:?}");
    }
}
