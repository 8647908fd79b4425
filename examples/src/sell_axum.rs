//! Prices on an axum server: one fixed, one that depends on the request, and a
//! page that stays free.

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use tollway_examples::{Error, NETWORK, SELLER, Stage};
use tollway_gate::{Offer, Quote, Route};
use tollway_payer::PayRequest;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let stage = Stage::open().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    // The URL under which buyers know the server: from configuration, never from
    // the Host header.
    let base_url = format!("http://{}", listener.local_addr()?);
    let gate = stage.gate(&base_url, routes()?).await?;
    let app = Router::new()
        .route("/", get(|| async { "This page is free." }))
        .route(
            "/paid/joke",
            get(|| async { "A payment and a toll walk into a bar." }),
        )
        .route("/words", get(words))
        .layer(gate.layer());
    println!("selling at {base_url}");
    tokio::spawn(async move { axum::serve(listener, app).await });

    buy(&stage, &base_url).await
}

fn routes() -> Result<Vec<Route>, Error> {
    let cent = || Offer::new("$0.01", NETWORK, &SELLER.address.to_string());
    let tenth = || Offer::new("$0.001", NETWORK, &SELLER.address.to_string());
    let fixed = Route::new("GET /paid/*")?
        .offer(cent()?)
        .describe("A joke", "text/plain");
    let (few, many) = (tenth()?, cent()?);
    let metered = Route::new("GET /words")?.price_with(move |request| {
        let long = count(request.uri.query().unwrap_or_default()) > 10;
        let offer = if long { many.clone() } else { few.clone() };
        async move { Ok(Quote::Pay(vec![offer])) }
    });
    Ok(vec![fixed, metered])
}

fn count(query: &str) -> usize {
    query
        .strip_prefix("n=")
        .and_then(|n| n.parse().ok())
        .unwrap_or(1)
}

async fn words(Query(query): Query<Vec<(String, String)>>) -> String {
    let n = query
        .iter()
        .find(|(key, _)| key == "n")
        .map_or("1", |(_, n)| n.as_str());
    "word ".repeat(n.parse::<usize>().unwrap_or(1).min(100))
}

/// What a buyer sees of it.
async fn buy(stage: &Stage, base_url: &str) -> Result<(), Error> {
    let payer = stage.buyer(1_000_000).await?.build()?;
    for path in ["/", "/paid/joke", "/words?n=3", "/words?n=30"] {
        let request = PayRequest::get(format!("{base_url}{path}").parse()?);
        let seen = payer.inspect(request.clone()).await?;
        let price = seen
            .offers
            .first()
            .map_or("free", |offer| offer.words.as_str());
        let answer = payer.fetch(request).await?;
        let paid = answer
            .payment
            .as_ref()
            .map_or("nothing", |p| p.words.as_str())
            .to_owned();
        let text = answer.response.into_body().bytes(4096).await?;
        println!(
            "GET {path}\n  asked: {price}\n  paid:  {paid}\n  got:   {}",
            String::from_utf8_lossy(&text)
        );
    }
    println!("the seller earned {} USDC", stage.earned());
    Ok(())
}
