use bytes::Bytes;
use http_body_util::Full;
use tollway_payer::{
    BoxError, ErrorKind, LayerError, PayError, PayLayer, PayMiddleware, Payment, client_builder,
};
use tower::{Layer, ServiceExt, service_fn};

use crate::bench::Buyer;
use crate::seller::*;

fn client(buyer: &Buyer) -> reqwest_middleware::ClientWithMiddleware {
    reqwest_middleware::ClientBuilder::new(client_builder().build().unwrap())
        .with(PayMiddleware::new(buyer.payer.clone()))
        .build()
}

#[tokio::test]
async fn a_reqwest_client_pays_as_if_nothing_had_been() {
    let buyer = Buyer::new().await;
    let seller = Seller::honest(vec![offer("10000")]).await;
    let request = client(&buyer).post(seller.url.clone()).body("question");
    let response = request.send().await.unwrap();
    assert_eq!(response.url(), &seller.url);
    assert_eq!(
        response.extensions().get::<Payment>().unwrap().words,
        "0.01 USDC on Base Sepolia"
    );
    assert_eq!(response.text().await.unwrap(), "the goods");
    assert_eq!(&seller.seen()[1].body[..], b"question");
    assert_eq!(buyer.payer.counters().payments, 1);
}

#[tokio::test]
async fn a_reqwest_client_keeps_the_rules() {
    let buyer = Buyer::new().await;
    let dear = Seller::honest(vec![offer("100001")]).await;
    let error = client(&buyer)
        .get(dear.url.clone())
        .send()
        .await
        .unwrap_err();
    let reqwest_middleware::Error::Middleware(error) = error else {
        panic!("{error}")
    };
    let error: &PayError = error.downcast_ref().unwrap();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Declined, "policy_amount")
    );
    let silent = Seller::selling(vec![offer("10000")], |_| Reply::Cut).await;
    for _ in 0..2 {
        client(&buyer)
            .get(silent.url.clone())
            .send()
            .await
            .unwrap_err();
    }
    assert_eq!((buyer.wallet.signed(), silent.distinct_payments()), (1, 1));
}

#[tokio::test]
async fn a_client_that_followed_a_redirect_to_another_origin_does_not_pay_there() {
    let buyer = Buyer::new().await;
    let thief = Seller::honest(vec![offer("10000")]).await;
    let to = thief.url.to_string();
    let seller = Seller::start(move |_| Reply::status(302).with_text("location", &to)).await;
    let follows = reqwest_middleware::ClientBuilder::new(
        client_builder()
            .redirect(reqwest::redirect::Policy::limited(5))
            .build()
            .unwrap(),
    )
    .with(PayMiddleware::new(buyer.payer.clone()))
    .build();
    let error = follows.get(seller.url.clone()).send().await.unwrap_err();
    assert!(error.to_string().contains("policy_redirect"), "{error}");
    assert_eq!((buyer.wallet.signed(), thief.payments().len()), (0, 0));
}

#[tokio::test]
async fn a_body_that_streams_is_not_paid_for() {
    let buyer = Buyer::new().await;
    let seller = Seller::honest(vec![offer("10000")]).await;
    let body = reqwest::Body::wrap(Full::new(Bytes::from_static(b"once")));
    let error = client(&buyer)
        .post(seller.url.clone())
        .body(body)
        .send()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("invalid_request"), "{error}");
    assert_eq!(seller.payments().len(), 0);
}

#[tokio::test]
async fn a_tower_client_pays_as_if_nothing_had_been() {
    let buyer = Buyer::new().await;
    let plain = service_fn(|request: http::Request<Full<Bytes>>| async move {
        let paid = request.headers().contains_key("payment-signature");
        let Reply::Http(status, headers, body) = (if paid {
            goods()
        } else {
            challenge(vec![offer("10000")])
        }) else {
            unreachable!()
        };
        let mut response = http::Response::new(Full::new(body));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
        response
            .headers_mut()
            .extend(headers.into_iter().map(|(n, v)| (Some(n), v)));
        Ok::<_, BoxError>(response)
    });
    let service = PayLayer::new(buyer.payer.clone()).layer(plain);
    let request = http::Request::get("https://seller.test/goods")
        .body(Bytes::new())
        .unwrap();
    let response = service.clone().oneshot(request).await.unwrap();
    assert!(response.extensions().get::<Payment>().unwrap().is_settled());
    assert_eq!(
        &response.into_body().bytes(100).await.unwrap()[..],
        b"the goods"
    );
    let relative = http::Request::get("/goods").body(Bytes::new()).unwrap();
    let error = service.oneshot(relative).await.unwrap_err();
    assert!(matches!(error, LayerError::Pay(e) if e.code() == "invalid_request"));
    assert_eq!(buyer.wallet.signed(), 1);
}
