//! A weather service that knows nothing of payments, for a gate to stand in
//! front of:
//!
//! ```text
//! cargo run -p tollway-examples --bin weather -- 127.0.0.1:4021
//! tollway gate --upstream http://127.0.0.1:4021 --route 'GET /api/weather=$0.001' …
//! ```
//!
//! It answers in the shape of AxiomKit's demo on Sei, whose agent buys from it.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::Query;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tollway_examples::Error;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:4021");
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("the weather is at http://{}", listener.local_addr()?);
    let app = Router::new().route("/api/weather", get(weather));
    Ok(axum::serve(listener, app).await?)
}

async fn weather(Query(query): Query<Vec<(String, String)>>) -> Result<Json<Value>, String> {
    let asked = query.into_iter().find(|(key, _)| key == "location");
    let location = asked.map_or_else(|| "Sei Network".to_owned(), |(_, place)| place);
    println!("told the weather of {location}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|error| error.to_string())?.as_secs();
    Ok(Json(observed(&location, now)))
}

/// The same all over a place for an hour.
fn observed(location: &str, now: u64) -> Value {
    const CONDITIONS: [&str; 4] = ["Sunny", "Cloudy", "Rain", "Windy"];
    let hour = usize::try_from(now / 3_600).unwrap_or_default();
    let place: usize = location.bytes().map(usize::from).sum();
    let seed = place.wrapping_add(hour);
    json!({
        "location": location,
        "temperature": format!("{}°C", 5 + seed % 25),
        "conditions": CONDITIONS.get(seed % CONDITIONS.len()),
        "humidity": format!("{}%", 30 + seed % 60),
        "windSpeed": format!("{} km/h", seed % 40),
        "timestamp": now,
    })
}
