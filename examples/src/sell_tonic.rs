//! A price on the methods of a gRPC server that is built with tonic, and a tonic
//! client that pays by itself. Terms, payment and receipt travel as metadata
//! (`payment-required`, `payment-signature`, `payment-response`).

use tollway_core::PaymentFlow;
use tollway_examples::grpc::{Caller, Forecast, HOURS, TODAY, Text, paying};
use tollway_examples::{Error, NETWORK, SELLER, Stage};
use tollway_gate::{Offer, Route};
use tonic::Request;
use tonic::transport::server::{Server, TcpIncoming};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let stage = Stage::open().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    let gate = stage.gate(&base_url, routes()?).await?;
    // The gate is one more layer of the server.
    let server = Server::builder()
        .layer(gate.layer())
        .add_service(Forecast::default());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    println!("selling at {base_url}");

    let payer = stage.buyer(1_000_000).await?.build()?;
    buy(paying(payer, &base_url)?).await?;
    println!("the seller earned {} USDC", stage.earned());
    Ok(())
}

/// One answer is held back until it is paid; what streams for long is paid before
/// it begins.
fn routes() -> Result<Vec<Route>, Error> {
    let cent = || Offer::new("$0.01", NETWORK, &SELLER.address.to_string());
    Ok(vec![
        Route::new(&format!("POST {TODAY}"))?.offer(cent()?),
        Route::new(&format!("POST {HOURS}"))?
            .offer(cent()?)
            .flow(PaymentFlow::Upfront),
    ])
}

async fn buy(mut client: Caller) -> Result<(), Error> {
    client.ready().await?;
    let asked = Request::new("Lisbon".to_owned());
    let today = client.unary(asked, TODAY.parse()?, Text).await?;
    println!("{}", today.get_ref());
    println!("  receipt: {:?}", today.metadata().get("payment-response"));

    client.ready().await?;
    let asked = Request::new("Lisbon".to_owned());
    let answer = client.server_streaming(asked, HOURS.parse()?, Text).await?;
    let mut hours = answer.into_inner();
    while let Some(hour) = hours.message().await? {
        println!("{hour}");
    }
    Ok(())
}
