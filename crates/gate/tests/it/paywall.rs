//! The page on which people pay: who gets it, and that nothing of a seller's words
//! is markup in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use sha2::{Digest, Sha256};
use tollway_core::assets::Method;
use tollway_core::header;
use tollway_core::wire::PaymentRequired;
use tollway_gate::{Body, BuildError, Gate, Offer, Page, PassOffer, Passes, Route, TokenKeys};

use crate::support::{Answer, BASE, PAYEE, World, price, request};

const BROWSER: [(&str, &str); 4] = [
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("user-agent", "Mozilla/5.0"),
];

fn asked(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = request(method, path);
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        request
            .headers_mut()
            .append(name, HeaderValue::from_str(value).unwrap());
    }
    request
}

async fn world(page: Page) -> World {
    World::with(|gate| {
        gate.route(Route::new("/paid/*").unwrap().offer(price()))
            .page(page)
    })
    .await
}

fn is_page(answer: &Answer) -> bool {
    answer.header("content-type").starts_with("text/html")
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

fn terms(answer: &Answer) -> PaymentRequired {
    header::decode(answer.header("payment-required")).unwrap()
}

/// What stands between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).expect(from);
    rest.split_once(to).expect(to).0
}

fn sold(answer: &Answer) -> serde_json::Value {
    let html = text(answer);
    let json = between(&html, "id=\"sold\">", "</script>");
    serde_json::from_str(json).unwrap()
}

#[tokio::test]
async fn a_person_in_a_browser_gets_a_page_and_every_program_gets_json() {
    let world = world(Page::new()).await;
    let html = ("accept", "text/html,*/*;q=0.8");
    let (mode, dest) = (BROWSER[1], BROWSER[2]);
    let programs = [
        ("nothing", "GET", vec![]),
        (
            "curl",
            "GET",
            vec![("accept", "*/*"), ("user-agent", "curl/8.5.0")],
        ),
        ("an agent that names html", "GET", vec![html, BROWSER[3]]),
        (
            "fetch",
            "GET",
            vec![
                ("accept", "*/*"),
                ("sec-fetch-mode", "cors"),
                ("sec-fetch-dest", "empty"),
            ],
        ),
        (
            "fetch for html",
            "GET",
            vec![
                html,
                ("sec-fetch-mode", "same-origin"),
                ("sec-fetch-dest", "empty"),
            ],
        ),
        (
            "XHR",
            "GET",
            vec![
                html,
                ("sec-fetch-mode", "cors"),
                ("x-requested-with", "XMLHttpRequest"),
            ],
        ),
        (
            "a frame",
            "GET",
            vec![html, mode, ("sec-fetch-dest", "iframe")],
        ),
        (
            "an image",
            "GET",
            vec![
                ("accept", "image/*"),
                ("sec-fetch-mode", "no-cors"),
                ("sec-fetch-dest", "image"),
            ],
        ),
        (
            "html never",
            "GET",
            vec![("accept", "text/html;q=0.0, */*"), mode, dest],
        ),
        ("anything", "GET", vec![("accept", "*/*"), mode, dest]),
        (
            "two modes",
            "GET",
            vec![html, mode, ("sec-fetch-mode", "cors"), dest],
        ),
        ("a form", "POST", BROWSER.to_vec()),
        ("a look at the headers", "HEAD", BROWSER.to_vec()),
        ("no destination", "GET", vec![html, mode]),
    ];
    for (who, method, headers) in programs {
        let answer = world.send(asked(method, "/paid/x", &headers)).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{who}");
        assert_eq!(answer.header("content-type"), "application/json", "{who}");
        assert_eq!(terms(&answer).accepts.len(), 1, "{who}");
    }
    let person = world.send(asked("GET", "/paid/x", &BROWSER)).await;
    assert_eq!(person.status, StatusCode::PAYMENT_REQUIRED);
    assert!(is_page(&person));
    assert_eq!(terms(&person).resource.url, format!("{BASE}/paid/x"));
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn without_a_page_a_browser_gets_the_terms_as_json() {
    let world = World::new().await;
    let answer = world.send(asked("GET", "/paid/x", &BROWSER)).await;
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn the_page_runs_its_own_script_and_loads_nothing_from_elsewhere() {
    let world = world(Page::new()).await;
    let answer = world.send(asked("GET", "/paid/x?y=1", &BROWSER)).await;
    let html = text(&answer);
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let script = html.rsplit_once("<script>").unwrap().1;
    let script = script.split_once("</script>").unwrap().0;
    let style = between(&html, "<style>", "</style>");
    assert_eq!(
        answer.header("content-security-policy"),
        format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(script),
            hash(style)
        )
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("x-frame-options"), "DENY");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    for loaded in [
        "src=\"http",
        "src=\"//",
        "href=\"http",
        "url(",
        "@import",
        "style=\"",
        " onclick=\"",
    ] {
        assert!(!html.contains(loaded), "{loaded}");
    }
}

#[tokio::test]
async fn the_page_says_the_price_in_words_and_how_a_program_pays() {
    let route = Route::new("/paid/*")
        .unwrap()
        .offer(price())
        .offer(
            Offer::new("$0.01", "base-sepolia", PAYEE)
                .unwrap()
                .by(Method::Permit2)
                .unwrap(),
        )
        .describe("A report", "application/json");
    let world = World::with(|gate| gate.route(route).page(Page::new())).await;
    let answer = world
        .send(asked(
            "GET",
            "/paid/it's?a='b'&c=%3Cd%3E&$HOME=`x`!|%PATH%^",
            &BROWSER,
        ))
        .await;
    let html = text(&answer);
    assert!(html.contains("<h1>A report</h1>"));
    assert!(html.contains("<p class=\"price\">0.01 USDC on Base Sepolia</p>"));
    let command = between(&html, "<code id=\"command\" tabindex=\"0\">", "</code>");
    assert_eq!(
        command,
        "tollway pay &quot;https://api.example/paid/it%27s?a=%27b%27&amp;c=%3Cd%3E&amp;%24HOME=%60x%60%21%7C%25PATH%25%5E&quot; --max 0.01",
        "no shell runs what the link says"
    );
    // One price by two methods is one choice; the domain is that of our table.
    let sold = sold(&answer);
    assert_eq!(sold["offers"].as_array().unwrap().len(), 1);
    let offer = &sold["offers"][0];
    assert_eq!(offer["method"], "eip3009");
    assert_eq!(
        offer["terms"],
        serde_json::to_value(&terms(&answer).accepts[0]).unwrap()
    );
    assert_eq!(offer["terms"]["extra"]["name"], "USDC");
    assert_eq!(
        offer["chain"]["add"]["rpcUrls"][0],
        "https://sepolia.base.org"
    );
    assert_eq!(sold["resource"]["url"], "https://api.example/paid/it's");
}

#[tokio::test]
async fn what_a_wallet_in_a_browser_cannot_pay_is_said_and_not_offered() {
    let route = Route::new("/paid/*")
        .unwrap()
        .offer(price().up_to().unwrap());
    let world = World::with(|gate| gate.route(route).page(Page::new())).await;
    let answer = world.send(asked("GET", "/paid/x", &BROWSER)).await;
    assert!(text(&answer).contains("up to 0.01 USDC on Base Sepolia"));
    assert!(text(&answer).contains("A wallet in a browser cannot pay this"));
    assert_eq!(sold(&answer)["offers"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn no_word_of_a_seller_or_of_a_url_is_markup() {
    const EVIL: &str =
        "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{sold}}<!--";
    let page = Page::new()
        .name("\"><script>alert(1)</script>{{script}}")
        .unwrap();
    let page = page.text(EVIL).unwrap().logo("/logo.svg").unwrap();
    let route = || Route::new("/paid/*").unwrap().offer(price());
    let world = World::with(|gate| gate.route(route().describe(EVIL, EVIL)).page(page)).await;
    let path = "/paid/x%3C%2Fscript%3E%22?q='%22%3Cscript%3Ealert(3)%3C/script%3E";
    let answer = world.send(asked("GET", path, &BROWSER)).await;
    let html = text(&answer);
    assert!(is_page(&answer), "{html}");
    // The seller's own two elements of scripts, and not one image but the logo.
    assert_eq!(html.matches("<script").count(), 2);
    assert_eq!(html.matches("</script").count(), 2);
    assert_eq!(html.matches("<img").count(), 1);
    assert!(html.contains("<img src=\"/logo.svg\" alt=\"\">"));
    assert_eq!(html.matches("<!--").count(), 0);
    assert!(html.contains("&lt;/script&gt;"));
    assert!(
        html.contains("{{sold}}"),
        "a value is never read as a template"
    );
    assert_eq!(
        sold(&answer)["resource"]["description"].as_str(),
        Some(EVIL)
    );
}

#[tokio::test]
async fn the_page_weighs_at_most_30_kilobytes() {
    let world = world(Page::new()).await;
    let path = "/paid/weather?city=Z%C3%BCrich&days=7";
    let plain = world.send(asked("GET", path, &BROWSER)).await;
    println!("page weight: {} bytes", plain.body.len());
    assert!(text(&plain).contains("<svg class=\"qr\""));
    assert!(plain.body.len() <= 30_000);

    // As much as anybody can configure and ask: what does not fit is left out.
    let page = Page::new()
        .name(&"'".repeat(60))
        .unwrap()
        .text(&"'".repeat(500))
        .unwrap();
    let page = page
        .logo(&format!("data:image/png;base64,{}", "A".repeat(3_900)))
        .unwrap();
    let mut route = Route::new("/paid/*")
        .unwrap()
        .describe(&"\"".repeat(500), "text/html");
    for cents in 1..=3 {
        route = route.offer(Offer::new(&format!("$0.0{cents}"), "base-sepolia", PAYEE).unwrap());
    }
    let full = World::with(|gate| gate.route(route).page(page)).await;
    for length in [1, 100, 2_000] {
        let path = format!("/paid/{}?{}", "x".repeat(length), "'".repeat(2 * length));
        let answer = full.send(asked("GET", &path, &BROWSER)).await;
        println!(
            "page weight with {length} bytes of path: {} bytes",
            answer.body.len()
        );
        assert!(answer.body.len() <= 30_000, "{length}");
        assert_eq!(terms(&answer).accepts.len(), 3);
    }
}

#[tokio::test]
async fn a_page_is_only_for_who_has_not_paid() {
    let world = world(Page::new()).await;
    let payment = world.payment("/paid/x").await;
    let mut paid = payment.get("/paid/x");
    for (name, value) in BROWSER {
        paid.headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    assert!(world.send(paid).await.has_secret());
    let mut bad = payment.get("/paid/other");
    for (name, value) in BROWSER {
        bad.headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let refused = world.send(bad).await;
    assert_eq!(refused.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_logo_that_costs_money_is_refused_at_the_start() {
    let ledger = std::sync::Arc::new(
        tollway_ledger::SqliteLedger::open("sqlite::memory:")
            .await
            .unwrap(),
    );
    let world = World::new().await;
    let built = Gate::builder(BASE, world.facilitator.clone(), ledger)
        .chain(world.chain.clone())
        .route(Route::new("/paid/*").unwrap().offer(price()))
        .page(Page::new().logo("/paid/logo.png").unwrap())
        .build();
    assert!(matches!(built, Err(BuildError::Logo(_))));
}

#[tokio::test]
async fn a_route_that_sells_a_pass_has_a_page_too() {
    let keys = TokenKeys::generate().unwrap();
    let keys = TokenKeys::parse(&keys).unwrap();
    let ledger = std::sync::Arc::new(
        tollway_ledger::SqliteLedger::open("sqlite::memory:")
            .await
            .unwrap(),
    );
    let passes = Passes::new(ledger.clone(), keys);
    let route = Route::new("/paid/*")
        .unwrap()
        .offer(price())
        .pass(PassOffer::for_calls(3));
    let world = World::on(ledger, std::sync::Arc::default(), |gate| {
        gate.route(route).passes(passes).page(Page::new())
    });
    assert!(is_page(
        &world.send(asked("GET", "/paid/x", &BROWSER)).await
    ));
}

#[tokio::test]
async fn a_redirect_that_was_paid_for_is_told_to_the_page_and_left_to_programs() {
    // What the service behind says, whether it is charged, and whether the page is told.
    for (location, charged, told) in [
        ("https://files.example/signed?key=1", true, true),
        ("//files.example/x", true, true),
        ("magnet:?xt=urn:btih:1", true, true),
        ("https://api.example:8443/x", false, true),
        ("/paid/x/", false, false),
    ] {
        let world = World::new().await;
        world.upstream.answer_with(StatusCode::FOUND);
        let from_behind = [
            ("location", location),
            ("content-encoding", "gzip"),
            ("tollway-page", "its own"),
            ("x-kept", "1"),
        ];
        for (name, value) in from_behind {
            let mut headers = world.upstream.headers.lock().unwrap();
            headers.insert(name, HeaderValue::from_static(value));
        }
        let payment = world.payment("/paid/x").await.named("a_redirect_12345678");
        let mut request = payment.get("/paid/x");
        let mark = HeaderValue::from_static("1");
        request.headers_mut().insert("tollway-page", mark);
        let page = world.send(request).await;
        let seen = world.upstream.last();
        assert!(
            !seen.headers.contains_key("tollway-page"),
            "it is for the gate"
        );
        assert_eq!(page.headers.contains_key("payment-response"), charged);
        assert_eq!(page.header("x-kept"), "1");
        if told {
            assert_eq!(page.status, StatusCode::OK, "{location}");
            assert_eq!(page.header("tollway-page"), "location");
            assert!(!page.headers.contains_key("location"));
            assert!(!page.headers.contains_key("content-encoding"));
            let body: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
            assert_eq!(body, serde_json::json!({ "location": location }));
        } else {
            assert_eq!(page.status, StatusCode::FOUND, "{location}");
            assert!(!page.headers.contains_key("tollway-page"));
        }
        if charged {
            // The same purchase, fetched again by a program: what was sold is the redirect.
            let program = world.send(payment.get("/paid/x")).await;
            assert_eq!(program.status, StatusCode::FOUND);
            assert_eq!(program.header("location"), location);
            assert!(program.receipt().success);
            assert!(!program.headers.contains_key("tollway-page"));
        }
    }
}

#[tokio::test]
async fn a_redirect_within_the_origin_that_was_paid_for_first_keeps_its_receipt() {
    let world = World::upfront().await;
    world.upstream.answer_with(StatusCode::SEE_OTHER);
    let target = HeaderValue::from_static("/paid/x/");
    let headers = &world.upstream.headers;
    headers.lock().unwrap().insert("location", target);
    let mut request = world.payment("/paid/x").await.get("/paid/x");
    let mark = HeaderValue::from_static("1");
    request.headers_mut().insert("tollway-page", mark);
    let page = world.send(request).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.receipt().success);
    let body: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
    assert_eq!(body["location"], "/paid/x/");
}
