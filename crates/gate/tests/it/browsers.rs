//! Cross-origin requests and method tricks.

use http::{HeaderValue, Method, StatusCode};
use tollway_gate::Route;

use crate::support::{World, price, request};

fn preflight(path: &str, method: &'static str) -> http::Request<tollway_gate::Body> {
    let mut asked = request("OPTIONS", path);
    let headers = asked.headers_mut();
    headers.insert("origin", HeaderValue::from_static("https://app.example"));
    headers.insert(
        "access-control-request-method",
        HeaderValue::from_static(method),
    );
    let names = "payment-signature, access-control-expose-headers, x-mine, b\u{e4}d";
    headers.insert(
        "access-control-request-headers",
        HeaderValue::from_str(names)
            .unwrap_or(HeaderValue::from_static("payment-signature, x-mine")),
    );
    asked
}

#[tokio::test]
async fn a_browsers_preflight_is_answered_without_payment() {
    let world =
        World::with(|gate| gate.route(Route::new("GET /paid/*").unwrap().offer(price()))).await;
    let answer = world.send(preflight("/paid/x", "GET")).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-allow-methods"), "GET");
    let allowed = answer.header("access-control-allow-headers").to_lowercase();
    for name in [
        "payment-signature",
        "x-payment",
        "sign-in-with-x",
        "access-control-expose-headers",
        "content-type",
    ] {
        assert!(allowed.contains(name), "{name} in {allowed}");
    }
    assert_eq!(world.upstream.count(), 0);
    // A preflight about a free method is the service's own affair.
    assert!(
        world
            .send(preflight("/paid/x", "DELETE"))
            .await
            .has_secret()
    );
}

#[tokio::test]
async fn a_browser_may_read_terms_and_receipts() {
    let world = World::new().await;
    let unpaid = world.get("/paid/x").await;
    let paid = world
        .send(world.payment("/paid/x").await.get("/paid/x"))
        .await;
    let refused = world.get(&format!("/paid/{}", "x".repeat(4096))).await;
    assert_eq!(refused.status, StatusCode::URI_TOO_LONG);
    for answer in [unpaid, paid, refused] {
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let exposed = answer.header("access-control-expose-headers");
        assert!(exposed.contains("PAYMENT-REQUIRED") && exposed.contains("PAYMENT-RESPONSE"));
    }
}

#[tokio::test]
async fn a_route_without_a_verb_covers_every_method() {
    let world = World::new().await;
    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "X",
    ] {
        let answer = world.send(request(method, "/paid/x")).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{method}");
    }
    let connect = http::Request::builder()
        .method(Method::CONNECT)
        .uri("api.example:443");
    let connect = connect.body(tollway_gate::empty()).unwrap();
    assert_eq!(world.send(connect).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_free_method_cannot_pose_as_a_paid_one() {
    let world =
        World::with(|gate| gate.route(Route::new("GET /paid/*").unwrap().offer(price()))).await;
    for name in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
    ] {
        let mut asked = request("POST", "/paid/x");
        asked
            .headers_mut()
            .insert(name, HeaderValue::from_static("GET"));
        world.send(asked).await;
        assert!(!world.upstream.last().headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_priced_route_does_not_switch_protocols() {
    let world = World::new().await;
    let upgrade = |mut asked: http::Request<tollway_gate::Body>| {
        asked
            .headers_mut()
            .insert("connection", HeaderValue::from_static("upgrade"));
        asked
            .headers_mut()
            .insert("upgrade", HeaderValue::from_static("websocket"));
        asked
    };
    let unpaid = world.send(upgrade(request("GET", "/paid/x"))).await;
    assert_eq!(unpaid.status, StatusCode::PAYMENT_REQUIRED);
    let paid = world.payment("/paid/x").await.get("/paid/x");
    let refused = world.send(upgrade(paid)).await;
    assert_eq!(refused.code(), "upgrade_not_supported");
    assert_eq!(
        (world.upstream.count(), world.facilitator.settlements()),
        (0, 0)
    );
}

#[tokio::test]
async fn a_gate_may_leave_cross_origin_rules_to_the_service() {
    let route = || Route::new("GET /paid/*").unwrap().offer(price());
    let own = World::with(|gate| gate.route(route()).cors_origin(None)).await;
    assert!(own.send(preflight("/paid/x", "GET")).await.has_secret());
    let unpaid = own.get("/paid/x").await;
    assert_eq!(unpaid.header("access-control-allow-origin"), "");

    let one =
        World::with(|gate| gate.route(route()).cors_origin(Some("https://app.example"))).await;
    let unpaid = one.get("/paid/x").await;
    assert_eq!(
        unpaid.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert_eq!(unpaid.header("vary"), "Origin");
}
