//! The same over any tower HTTP client; here hyper's.

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tollway_examples::{Error, Stage};
use tollway_payer::{PayLayer, Payment};
use tower::{Layer, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let stage = Stage::open().await?;
    let url = format!("{}/paid/weather", stage.seller().await?);
    let payer = stage
        .buyer(1_000_000)
        .await?
        .story(|event| println!("  {}", short(&format!("{event:?}"))))
        .build()?;

    let plain: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let client = PayLayer::new(payer).layer(plain);
    let request = http::Request::get(&url).body(Bytes::new())?;
    let response = client.oneshot(request).await?;
    let paid = response
        .extensions()
        .get::<Payment>()
        .map(|payment| payment.words.clone());
    let text = response.into_body().bytes(4096).await?;
    println!("got {:?} for {paid:?}", String::from_utf8_lossy(&text));
    Ok(())
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}
