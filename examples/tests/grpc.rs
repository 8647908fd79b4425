//! A gRPC server that is built with tonic sells, and tonic's client buys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use std::time::Duration;

use tollway_core::PaymentFlow;
use tollway_core::header::decode;
use tollway_core::wire::{PaymentRequired, SettleResponse};
use tollway_devnet::Mining;
use tollway_examples::grpc::{Caller, Forecast, HOURS, TODAY, Text, paying, plain};
use tollway_examples::{NETWORK, SELLER, Stage};
use tollway_gate::{Offer, Route};
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Code, Request, Status};

struct Shop {
    stage: Stage,
    forecast: Forecast,
    base_url: String,
}

impl Shop {
    async fn open(flow: PaymentFlow) -> Self {
        let stage = Stage::open().await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let price = Offer::new("$0.01", NETWORK, &SELLER.address.to_string()).unwrap();
        let route = Route::new("POST /weather.Forecast/*").unwrap();
        let routes = vec![route.offer(price).flow(flow)];
        let gate = stage.gate(&base_url, routes).await.unwrap();
        let forecast = Forecast::default();
        let server = Server::builder()
            .layer(gate.layer())
            .add_service(forecast.clone());
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Self {
            stage,
            forecast,
            base_url,
        }
    }

    async fn buyer(&self) -> Caller {
        let payer = self.stage.buyer(1_000_000).await.unwrap().build().unwrap();
        paying(payer, &self.base_url).unwrap()
    }
}

async fn today(caller: &mut Caller, place: &str) -> Result<tonic::Response<String>, Status> {
    caller.ready().await.unwrap();
    let path = TODAY.parse().unwrap();
    caller
        .unary(Request::new(place.to_owned()), path, Text)
        .await
}

/// All messages up to the end or the failure.
async fn hours(caller: &mut Caller, place: &str) -> (Vec<String>, Result<(), Status>) {
    caller.ready().await.unwrap();
    let asked = Request::new(place.to_owned());
    let path = HOURS.parse().unwrap();
    let mut messages = Vec::new();
    let mut stream = match caller.server_streaming(asked, path, Text).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return (messages, Err(status)),
    };
    loop {
        match stream.message().await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, Ok(())),
            Err(status) => return (messages, Err(status)),
        }
    }
}

fn settled(metadata: &tonic::metadata::MetadataMap) -> SettleResponse {
    decode(metadata.get("payment-response").unwrap().to_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_grpc_call_is_paid_by_metadata_and_answered_with_its_status() {
    let shop = Shop::open(PaymentFlow::Authorization).await;
    let answer = today(&mut shop.buyer().await, "Lisbon").await.unwrap();
    assert_eq!(answer.get_ref(), "Lisbon: sunny, 24 degrees");
    let receipt = settled(answer.metadata());
    assert!(receipt.success);
    let hash = receipt.transaction.parse().unwrap();
    assert_eq!(shop.stage.devnet.succeeded(hash), Some(true));
    assert_eq!(shop.stage.earned(), "0.01");
    assert_eq!(shop.forecast.calls(), 1);
}

#[tokio::test]
async fn no_message_and_no_trailer_of_a_grpc_answer_leaves_before_it_is_settled() {
    let shop = Shop::open(PaymentFlow::Authorization).await;
    shop.stage.devnet.set_mining(Mining::Manual);
    let mut buyer = shop.buyer().await;
    let answered = Cell::new(false);
    let call = async {
        let answer = hours(&mut buyer, "Lisbon").await;
        answered.set(true);
        answer
    };
    let chain = async {
        while shop.stage.devnet.waiting() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(shop.forecast.calls(), 1, "the answer is made");
        assert!(!answered.get(), "and held back");
        assert_eq!(shop.stage.earned(), "0");
        shop.stage.devnet.set_mining(Mining::Automine);
        shop.stage.devnet.mine(1).unwrap();
    };
    let ((messages, end), ()) = tokio::join!(call, chain);
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(messages.len(), 3);
    assert_eq!(shop.stage.earned(), "0.01");
}

#[tokio::test]
async fn a_grpc_client_that_pays_nothing_reads_the_terms_in_its_metadata() {
    let shop = Shop::open(PaymentFlow::Authorization).await;
    let mut caller = plain(&shop.base_url).unwrap();
    let status = today(&mut caller, "Lisbon").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("payment-required"), "{status:?}");
    let terms = status.metadata().get("payment-required").unwrap();
    let terms: PaymentRequired = decode(terms.to_str().unwrap()).unwrap();
    assert_eq!(terms.accepts[0].amount, "10000");
    assert_eq!(terms.resource.url, format!("{}{TODAY}", shop.base_url));

    let mut broken = Request::new("Lisbon".to_owned());
    let garbage = "bm8gcGF5bWVudA==".parse().unwrap();
    broken.metadata_mut().insert("payment-signature", garbage);
    caller.ready().await.unwrap();
    let answer = caller.unary(broken, TODAY.parse().unwrap(), Text).await;
    let status = answer.unwrap_err();
    assert!(!status.message().is_empty() && status.message().is_ascii());
    assert_eq!(shop.forecast.calls(), 0);
}

#[tokio::test]
async fn a_grpc_call_that_fails_costs_nothing_and_brings_nothing() {
    let shop = Shop::open(PaymentFlow::Authorization).await;
    let mut buyer = shop.buyer().await;
    let status = today(&mut buyer, "").await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "No place was named.")
    );

    // The failure stands in the trailers, after a message.
    let (messages, end) = hours(&mut buyer, "Atlantis").await;
    assert_eq!(end.unwrap_err().code(), Code::DataLoss);
    assert!(messages.is_empty(), "{messages:?}");
    assert_eq!(shop.forecast.calls(), 2);
    assert_eq!(shop.stage.earned(), "0");
}

#[tokio::test]
async fn what_is_paid_upfront_streams_with_its_trailers() {
    let shop = Shop::open(PaymentFlow::Upfront).await;
    let (messages, end) = hours(&mut shop.buyer().await, "Lisbon").await;
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(messages.last().unwrap(), "Lisbon, hour 3: sunny");
    assert_eq!(shop.stage.earned(), "0.01");
}
