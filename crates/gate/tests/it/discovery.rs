//! What programs that look for services are told.

use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tollway_gate::{BuildError, Discovery, Gate, Quote, Route, Usage};

use crate::support::{Answer, BASE, World, price, request, terms_of};

fn weather() -> Route {
    let usage = Usage::new()
        .input(json!({"city": "Berlin"}))
        .input_schema(json!({"properties": {"city": {"type": "string"}}, "required": ["city"]}))
        .output(json!({"celsius": 21}));
    Route::new("GET /paid/weather")
        .unwrap()
        .offer(price())
        .describe("The weather of a city", "application/json")
        .usage(usage)
}

async fn told(discovery: Discovery) -> World {
    World::with(|gate| {
        gate.route(weather())
            .route(
                Route::new("POST /reports/:id/*")
                    .unwrap()
                    .offer(price().up_to().unwrap()),
            )
            .route(Route::new("/asked").unwrap().price_with(|_| {
                let offers = vec![price()];
                async { Ok(Quote::Pay(offers)) }
            }))
            .discovery(discovery)
    })
    .await
}

fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn programs_are_told_every_priced_route_and_what_it_costs() {
    let world = told(Discovery::new().title("Weather")).await;
    let listed = json_of(&world.get("/.well-known/x402").await);
    assert_eq!(
        listed["resources"],
        json!([format!("{BASE}/paid/weather"), format!("{BASE}/asked")])
    );
    assert_eq!(listed["items"].as_array().unwrap().len(), 3);
    assert_eq!(
        listed["items"][1]["resource"],
        format!("{BASE}/reports/{{id}}/{{var1}}")
    );
    let words = listed["instructions"].as_str().unwrap();
    assert!(words.contains(
        "- GET https://api.example/paid/weather: 0.01 USDC on Base Sepolia. The weather of a city"
    ));
    assert!(
        words.contains("up to 0.01 USDC") && words.contains("its price depends on the request")
    );

    let openapi = json_of(&world.get("/openapi.json").await);
    let weather = &openapi["paths"]["/paid/weather"]["get"];
    let price = json!({"mode": "fixed", "currency": "USD", "amount": "0.01"});
    assert_eq!(weather["x-payment-info"]["price"], price);
    assert_eq!(
        weather["x-payment-info"]["protocols"],
        json!([{"x402": {}}])
    );
    assert_eq!(weather["parameters"][0]["name"], "city");
    assert_eq!(weather["parameters"][0]["required"], true);
    let report = &openapi["paths"]["/reports/{id}/{var1}"]["post"];
    assert_eq!(report["x-payment-info"]["price"]["mode"], "dynamic");
    assert_eq!(report["parameters"].as_array().unwrap().len(), 2);
    assert_eq!(openapi["servers"][0]["url"], BASE);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn what_is_listed_is_what_the_402_asks() {
    let world = told(Discovery::new()).await;
    let asked = terms_of(&world.get("/paid/weather").await);
    let asked = serde_json::to_value(&asked.accepts).unwrap();
    let listed = json_of(&world.get("/.well-known/x402").await);
    assert_eq!(listed["items"][0]["accepts"], asked);
    let openapi = json_of(&world.get("/openapi.json").await);
    assert_eq!(
        openapi["paths"]["/paid/weather"]["get"]["x-payment-info"]["accepts"],
        asked
    );
}

#[tokio::test]
async fn the_documents_are_only_read() {
    let world = told(Discovery::new()).await;
    let posted = world.send(request("POST", "/openapi.json")).await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(posted.header("allow"), "GET, HEAD");
    let looked = world.send(request("HEAD", "/.well-known/x402")).await;
    assert_eq!((looked.status, looked.body.len()), (StatusCode::OK, 0));
    assert_eq!(
        world
            .get("/openapi.json")
            .await
            .header("access-control-allow-origin"),
        "*"
    );
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_file_of_the_service_behind_wins_where_the_seller_says_so() {
    let world = told(Discovery::new().upstream_first()).await;
    assert!(world.get("/openapi.json").await.has_secret());
    for status in [
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::NOT_IMPLEMENTED,
    ] {
        world.upstream.answer_with(status);
        assert_eq!(
            json_of(&world.get("/openapi.json").await)["openapi"],
            "3.1.0"
        );
    }
    world
        .upstream
        .answer_with(StatusCode::INTERNAL_SERVER_ERROR);
    let failed = world.get("/openapi.json").await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn nobody_is_told_unless_the_seller_wants_it() {
    let world = World::new().await;
    for path in ["/.well-known/x402", "/openapi.json"] {
        assert!(world.get(path).await.has_secret(), "{path}");
    }
}

#[tokio::test]
async fn a_document_that_is_priced_is_paid_for() {
    let world = World::with(|gate| {
        gate.route(Route::new("/openapi.json").unwrap().offer(price()))
            .discovery(Discovery::new())
    })
    .await;
    assert_eq!(
        world.get("/openapi.json").await.status,
        StatusCode::PAYMENT_REQUIRED
    );
}

#[tokio::test]
async fn a_route_declares_its_use_and_the_facilitator_hears_it_from_the_seller() {
    let world = told(Discovery::new()).await;
    let terms = terms_of(&world.get("/paid/weather").await);
    let declared = terms.extensions.as_ref().unwrap()["bazaar"].clone();
    assert_eq!(declared["info"]["input"]["method"], "GET");
    assert_eq!(declared["info"]["output"]["example"]["celsius"], 21);

    // Whether the buyer echoes it or not, what the facilitator gets is the seller's.
    for echo in [true, false] {
        let mut payment = world.payment("/paid/weather").await;
        if !echo {
            payment.payload.extensions = None;
        }
        assert!(world.send(payment.get("/paid/weather")).await.has_secret());
        let asked = world.facilitator.asked.lock().unwrap();
        let heard = asked.last().unwrap().payload.extensions.clone().unwrap();
        assert_eq!(heard["bazaar"], declared, "{echo}");
    }
    // Nor if it was changed on the way, or the seller changed it since.
    let mut changed = world.payment("/paid/weather").await;
    let all = changed.payload.extensions.as_mut().unwrap();
    all["bazaar"]["info"]["output"]["example"]["celsius"] = json!(99);
    assert!(world.send(changed.get("/paid/weather")).await.has_secret());
    let asked = world.facilitator.asked.lock().unwrap();
    let heard = asked.last().unwrap().payload.extensions.clone().unwrap();
    assert_eq!(heard["bazaar"], declared);
}

#[tokio::test]
async fn the_price_is_told_before_anything_of_the_request_is_looked_at() {
    let world = told(Discovery::new()).await;
    for body in ["", "{not json", "\u{0}\u{1}"] {
        let mut asked = request("POST", "/reports/no-such-report/x?format=none");
        *asked.body_mut() = tollway_gate::full(body.to_owned());
        let headers = asked.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("no/type"));
        let answer = world.send(asked).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{body}");
        assert!(answer.has_terms());
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_use_that_leads_elsewhere_is_refused_at_the_start() {
    let world = World::new().await;
    let ledger = tollway_ledger::SqliteLedger::open("sqlite::memory:")
        .await
        .unwrap();
    let usage = Usage::new().input_schema(json!({"$ref": "https://evil.example/schema"}));
    let built = Gate::builder(BASE, world.facilitator.clone(), std::sync::Arc::new(ledger))
        .chain(world.chain.clone())
        .route(weather().usage(usage))
        .build();
    assert!(matches!(built, Err(BuildError::Usage { .. })));
}
