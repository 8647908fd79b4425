//! Other spellings of a priced path open no door.

use std::collections::BTreeSet;
use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use tollway_gate::{Body, Route};
use tower::{Layer, ServiceExt};

use crate::support::{SECRET, World, price};

/// Ways to write `/paid/report`, from the books of path tricks.
fn spellings(path: &str) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = BTreeSet::new();
    let last = path.rsplit('/').next().unwrap();
    let folder = &path[..path.len() - last.len() - 1];
    let first = &path[1..2];
    let code = format!("%{:02x}", first.as_bytes()[0]);
    for spelled in [
        format!("/{path}"),
        format!("{path}/"),
        format!("{path}//"),
        path.to_uppercase(),
        format!("{folder}//{last}"),
        format!("/.{path}"),
        format!("/x/..{path}"),
        format!("/x/%2e%2e{path}"),
        format!("/x/..%2f{}", &path[1..]),
        format!("/x/%2e%2e%2f{}", &path[1..]),
        format!("{folder}/./{last}"),
        format!("{folder}/y/../{last}"),
        format!("{folder}%2f{last}"),
        format!("{folder}%5c{last}"),
        format!("{folder}\\{last}"),
        format!("{path};x=1"),
        format!("{folder};x=1/{last}"),
        format!("{folder}/;/{last}"),
        format!("/x/..;{path}"),
        format!("{path}%00"),
        format!("/%00{path}"),
        format!("/%0a{path}"),
        format!("{folder}/%00/{last}"),
        format!("{path}%00.html"),
        format!("{path}%"),
        format!("{path}%c0"),
        format!("{path}%3fx"),
        format!("{path}%23x"),
        format!("{path}%20"),
        format!("{path}."),
        format!("{path}%2e"),
        format!("{path}%0a"),
        format!("{path}%0d%0a"),
        format!("{path}%2f"),
        format!("/{code}{}", &path[2..]),
        format!("/%25{}{}", &code[1..], &path[2..]),
        format!("/%2525{}{}", &code[1..], &path[2..]),
        format!("{folder}%252f{last}"),
        format!("/x/%252e%252e{path}"),
        format!("{path}?x=1"),
        format!("{path}?/../free"),
        format!("http://api.example{path}"),
        format!("http://evil.example//{}", &path[1..]),
    ] {
        all.insert(spelled);
    }
    for character in path.chars().filter(|c| c.is_ascii_alphabetic()) {
        let encoded = format!("%{:02X}", u32::from(character));
        all.insert(path.replacen(character, &encoded, 1));
    }
    all
}

/// A server that reads paths as loosely as the loosest there is.
async fn loose(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let mut path = request.uri().path().to_owned();
    for _ in 0..4 {
        path = percent_decode_str(&path).decode_utf8_lossy().into_owned();
    }
    let path = path.replace('\\', "/");
    let path = path.split(['?', '#', '\0']).next().unwrap_or_default();
    let mut segments: Vec<String> = Vec::new();
    for segment in path.split('/') {
        let segment: String = segment
            .split(';')
            .next()
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_control() && *c != '%' && *c != char::REPLACEMENT_CHARACTER)
            .collect();
        match segment.as_str() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name.trim_end_matches(['.', ' ']).to_lowercase()),
        }
    }
    let body = if segments == ["paid", "report"] {
        SECRET
    } else {
        "nothing"
    };
    Ok(Response::new(tollway_gate::full(body)))
}

#[tokio::test]
async fn no_spelling_of_a_priced_path_is_served_unpaid() {
    for pattern in [
        "/paid/report",
        "GET /paid/report",
        "/paid/*",
        "/paid/:name",
        "/paid/[name]",
        "/*/report",
        "*",
    ] {
        let route = Route::new(pattern).unwrap().offer(price());
        let world = World::with(|gate| gate.route(route)).await;
        let mut tried = 0;
        for spelling in spellings("/paid/report") {
            for method in ["GET", "HEAD"] {
                let request = Request::builder().method(method).uri(&spelling);
                // What the parser of requests refuses never reaches a gate.
                let Ok(request) = request.body(tollway_gate::empty()) else {
                    continue;
                };
                tried += 1;
                let service = world.gate.layer().layer(tower::service_fn(loose));
                let answer =
                    crate::support::Answer::read(service.oneshot(request).await.unwrap()).await;
                assert!(!answer.has_secret(), "{pattern}: {method} {spelling}");
            }
        }
        assert!(tried > 80, "{tried}");
    }
}

/// The control: without a gate, nearly all of them are served.
#[tokio::test]
async fn the_loose_server_would_serve_these_spellings() {
    let mut served = 0;
    for spelling in spellings("/paid/report") {
        let Ok(request) = Request::builder()
            .uri(&spelling)
            .body(tollway_gate::empty())
        else {
            continue;
        };
        let answer = crate::support::Answer::read(loose(request).await.unwrap()).await;
        served += usize::from(answer.has_secret());
    }
    assert!(served > 40, "{served}");
}

#[tokio::test]
async fn the_service_behind_sees_the_canonical_path_only() {
    let world = World::with(|gate| gate.route(Route::new("/paid/*").unwrap().offer(price()))).await;
    for (asked, forwarded) in [
        ("/free//a/../%62?x=%2e%2e", "/free/b?x=%2e%2e"),
        ("/%66ree/", "/free/"),
        ("/free/a%2fb", "/free/a%2Fb"),
    ] {
        assert_eq!(world.get(asked).await.status, StatusCode::OK);
        assert_eq!(world.upstream.last().uri, forwarded);
    }
    let payment = world.payment("/paid/%72eport").await;
    assert!(
        world
            .send(payment.get("//paid/./%72eport?q=1"))
            .await
            .has_secret()
    );
    assert_eq!(world.upstream.last().uri, "/paid/report?q=1");
}

#[tokio::test]
async fn a_path_that_costs_differently_by_reading_is_refused() {
    let world = World::with(|gate| {
        gate.route(Route::new("/cheap/*").unwrap().offer(price()))
            .route(Route::new("/dear/*").unwrap().offer(price()))
    })
    .await;
    let answer = world.get("/cheap/..%2fdear/x").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.code(), "ambiguous_path");
    let long = format!("/cheap/{}", "x".repeat(9000));
    assert_eq!(world.get(&long).await.status, StatusCode::URI_TOO_LONG);
}

#[tokio::test]
async fn a_target_too_long_to_forward_goes_nowhere_else() {
    let world = World::with(|gate| {
        gate.route(Route::new("GET /").unwrap().offer(price()))
            .route(Route::new("/paid/*").unwrap().offer(price()))
    })
    .await;
    // Canonical spelling is longer than what was sent: quotes become escapes.
    for target in [
        format!("/{}free?{}", "'\"".repeat(3000), "a".repeat(50_000)),
        format!("/free//x?{}", "a".repeat(60_000)),
        format!("/paid/x?{}", "a".repeat(7000)),
    ] {
        let answer = world.get(&target).await;
        assert_eq!(answer.status, StatusCode::URI_TOO_LONG);
        assert!(!answer.has_secret());
    }
    assert_eq!(world.upstream.count(), 0);
}
