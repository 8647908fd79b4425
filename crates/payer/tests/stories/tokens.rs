//! Access tokens: bought by a permit, kept, and shown instead of paying again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use serde_json::{Value, json};
use tollway_core::{Amount, SpendId, Timestamp};
use tollway_evm::typed_data::{Authorization, Domain};
use tollway_evm::{EvmSigner, EvmWallet, recover};
use tollway_ledger::{Limit, LimitScope, SpendState, SpendStore};
use tollway_payer::{
    ErrorKind, Pass, PayLayer, PayMiddleware, PayRequest, Payment, Policy, Standing,
    TokenDirectory, client_builder,
};
use tower::{Layer, ServiceExt};
use url::Url;

use crate::bench::{Buyer, text};
use crate::open_payments::{Ahead, Oracle, settled};
use crate::seller::*;

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

fn wallet() -> EvmWallet {
    EvmWallet::new(EvmSigner::from_hex(KEY).unwrap())
}

/// What x402_mock 0.3.0 asks for a token.
fn component() -> Value {
    json!({
        "payment_type": "evm", "amount": 0.01, "currency": "USDC", "metadata": {},
        "created_at": "2026-03-01T12:00:00.000001", "caip2": "eip155:84532", "pay_to": PAYEE,
        "token": USDC, "token_name": "USDC", "token_decimals": 6, "token_version": "2"
    })
}

fn asking(endpoint: &str, component: &Value) -> Reply {
    let body = json!({
        "reason": "Missing authorization token",
        "access_token_endpoint": endpoint,
        "payment_scheme": {
            "payment_components": [component], "protocol_version": "Version 0.1"
        },
        "payment_instruction": "Payment required to access this resource."
    });
    Reply::text(402, &body.to_string()).with_text("content-type", "application/json")
}

fn token_reply(number: usize) -> Reply {
    let body = json!({
        "access_token": format!("token.{number}"), "token_type": "Bearer", "expires_in": 300,
        "metadata": {}
    });
    Reply::text(200, &body.to_string())
}

fn bearer(seen: &Seen) -> Option<usize> {
    let text = seen.headers.get("authorization")?.to_str().unwrap();
    text.strip_prefix("Bearer token.")?.parse().ok()
}

/// The permits that came, each with the number of its token.
type Permits = Arc<Mutex<Vec<Value>>>;

/// One permit, one token, however often it is posted.
fn sell(permits: &Permits, body: &[u8]) -> usize {
    let permit: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(permit["version"], "Version 0.1");
    let permit = permit["permit"].clone();
    let mut permits = permits.lock().unwrap();
    let place = permits.iter().position(|known| *known == permit);
    place.unwrap_or_else(|| {
        permits.push(permit);
        permits.len() - 1
    })
}

/// Sells tokens at `/token`; `odd` may answer instead.
async fn shop(
    component: Value,
    odd: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
) -> (Seller, Permits) {
    let permits = Permits::default();
    let counter = Arc::clone(&permits);
    let seller = Seller::start(move |seen| {
        if let Some(reply) = odd(seen) {
            return reply;
        }
        if seen.path == "/token" {
            return token_reply(sell(&counter, &seen.body));
        }
        match bearer(seen) {
            Some(_) => Reply::text(200, "the goods"),
            None => asking("/token", &component),
        }
    })
    .await;
    (seller, permits)
}

async fn honest_shop() -> (Seller, Permits) {
    shop(component(), |_| None).await
}

fn posts(seller: &Seller) -> usize {
    seller.seen().iter().filter(|s| s.path == "/token").count()
}

#[tokio::test]
async fn a_token_is_bought_once_and_shown_instead_of_paying_again() {
    let (seller, permits) = honest_shop().await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    let first = buyer.get(&seller.url).await.unwrap();
    let payment = first.payment.clone().unwrap();
    assert_eq!(payment.standing, Standing::Background);
    assert_eq!(payment.words, "0.01 USDC on Base Sepolia");
    assert_eq!(first.pass.as_ref().unwrap().spend, payment.spend);
    assert_eq!(text(first).await, "the goods");
    for _ in 0..2 {
        let again = buyer.get(&seller.url).await.unwrap();
        assert!(again.payment.is_none());
        assert_eq!(again.pass.as_ref().unwrap().spend, payment.spend);
        assert_eq!(text(again).await, "the goods");
    }
    assert_eq!((posts(&seller), permits.lock().unwrap().len()), (1, 1));
    // Nobody proved that the money moved: it is held.
    assert_eq!(buyer.states().await, [SpendState::Unknown]);
    assert_eq!(buyer.payer.counters().payments, 1);
    assert!(!format!("{:?}", buyer.diary.lock().unwrap()).contains("token.0"));
}

#[tokio::test]
async fn the_permit_is_what_clients_of_that_wire_sign() {
    let (seller, permits) = honest_shop().await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    buyer.get(&seller.url).await.unwrap();
    let permit = permits.lock().unwrap()[0].clone();
    let payer = EvmSigner::from_hex(KEY).unwrap().address();
    let number = |key: &str| U256::from(permit[key].as_u64().unwrap());
    let account = |key: &str| permit[key].as_str().unwrap().parse::<Address>().unwrap();
    let word = |value: &Value| value.as_str().unwrap().parse::<B256>().unwrap();
    assert_eq!(
        (permit["permit_type"].as_str(), permit["chain_id"].as_u64()),
        (Some("ERC3009"), Some(84532))
    );
    let signed = Authorization {
        from: account("authorizer"),
        to: account("recipient"),
        value: number("value"),
        valid_after: number("validAfter"),
        valid_before: number("validBefore"),
        nonce: word(&permit["nonce"]),
    };
    assert_eq!((signed.from, signed.to), (payer, PAYEE.parse().unwrap()));
    assert_eq!(signed.value, U256::from(10_000));
    let signature = &permit["signature"];
    assert_eq!(signature["signature_type"], "ERC3009");
    let mut bytes = [word(&signature["r"]).0, word(&signature["s"]).0].concat();
    bytes.push(u8::try_from(signature["v"].as_u64().unwrap()).unwrap());
    let digest = signed.digest(&Domain::new("USDC", "2", 84532, USDC.parse().unwrap()));
    assert_eq!(recover(digest, &bytes), Some(payer));
}

#[tokio::test]
async fn a_token_is_kept_over_a_restart_and_shown_to_its_origin_and_agent_only() {
    let (seller, _) = honest_shop().await;
    let (other, _) = honest_shop().await;
    let place = tempfile::tempdir().unwrap();
    let tokens = || Arc::new(TokenDirectory::open(place.path()).unwrap());
    let buyer = Buyer::with(wallet(), |b| b.tokens(tokens())).await;
    buyer.get(&seller.url).await.unwrap();
    let back = buyer.restarted(|b| b.tokens(tokens())).await;
    let again = back.get(&seller.url).await.unwrap();
    assert!(again.payment.is_none() && again.pass.is_some());
    assert_eq!(posts(&seller), 1);
    back.get(&other.url).await.unwrap();
    assert_eq!((bearer(&other.seen()[0]), posts(&other)), (None, 1));
    let stranger = back
        .restarted(|b| b.tokens(tokens()).agent("another"))
        .await;
    stranger.get(&seller.url).await.unwrap();
    assert_eq!(posts(&seller), 2);
}

#[tokio::test]
async fn ten_calls_at_once_buy_one_token() {
    let (seller, permits) = shop(component(), |seen| {
        (seen.path == "/token" && seen.body.is_empty()).then(|| Reply::status(500))
    })
    .await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..10 {
        let payer = buyer.payer.clone();
        let url = seller.url.join(&format!("/goods/{n}")).unwrap();
        calls.spawn(async move { payer.fetch(PayRequest::get(url)).await });
    }
    for answer in calls.join_all().await {
        assert!(answer.unwrap().pass.is_some());
    }
    assert_eq!((posts(&seller), permits.lock().unwrap().len()), (1, 1));
    assert_eq!(buyer.spends().await.len(), 1);
}

#[tokio::test]
async fn shortly_before_it_expires_another_token_is_bought() {
    let (seller, permits) = honest_shop().await;
    let clock = Arc::new(Ahead(AtomicU64::new(0)));
    let buyer = Buyer::with(wallet(), |b| b.clock(clock.clone())).await;
    buyer.get(&seller.url).await.unwrap();
    clock.0.store(260, Ordering::SeqCst);
    assert!(buyer.get(&seller.url).await.unwrap().payment.is_none());
    clock.0.store(275, Ordering::SeqCst);
    let renewed = buyer.get(&seller.url).await.unwrap();
    assert!(renewed.payment.is_some());
    assert_eq!(permits.lock().unwrap().len(), 2);
    // Neither is proved: both are held.
    assert_eq!(buyer.states().await, [SpendState::Unknown; 2]);
}

#[tokio::test]
async fn a_token_payment_is_closed_by_the_chain_and_not_by_the_seller() {
    let (seller, _) = honest_shop().await;
    let oracle = Oracle::says(tollway_core::Lookup::Unknown);
    let buyer = Buyer::with(wallet(), |b| b.reconciler(oracle.clone(), true)).await;
    let bought = buyer.get(&seller.url).await.unwrap();
    assert_eq!(bought.payment.unwrap().standing, Standing::Background);
    buyer.payer.reconcile().await.unwrap();
    assert_eq!(buyer.states().await, [SpendState::Unknown]);
    *oracle.0.lock().unwrap() = settled();
    assert_eq!(buyer.payer.reconcile().await.unwrap().paid, 1);
    assert_eq!(buyer.states().await, [SpendState::Paid]);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_with_the_same_permit() {
    let posted = AtomicU64::new(0);
    let (seller, permits) = shop(component(), move |seen| {
        let lost = seen.path == "/token" && posted.fetch_add(1, Ordering::SeqCst) < 4;
        lost.then_some(Reply::Cut)
    })
    .await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert_eq!(posts(&seller), 3);
    let back = buyer.restarted(|b| b).await;
    let answer = back.get(&seller.url).await.unwrap();
    assert_eq!(text(answer).await, "the goods");
    let bodies: Vec<_> = seller
        .seen()
        .into_iter()
        .filter(|s| s.path == "/token")
        .map(|s| s.body)
        .collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]) && bodies.len() == 5);
    assert_eq!(permits.lock().unwrap().len(), 1);
    assert_eq!(back.spends().await.len(), 1);
}

#[tokio::test]
async fn an_open_payment_is_not_paid_again_because_the_seller_sells_tokens_by_now() {
    let permits = Permits::default();
    let seller = Seller::start(move |seen| match seen.payment_number {
        _ if seen.path == "/token" => token_reply(sell(&permits, &seen.body)),
        0 if permits.lock().unwrap().is_empty() && seen.path == "/goods" => asking_both(),
        _ => Reply::Cut,
    })
    .await;
    let headers_only = Policy {
        access_tokens: false,
        ..Policy::default()
    };
    let buyer = Buyer::with(wallet(), |b| b.policy(headers_only)).await;
    assert_eq!(
        buyer.get(&seller.url).await.unwrap_err().kind(),
        ErrorKind::Unknown
    );
    let back = buyer.restarted(|b| b).await;
    assert_eq!(
        back.get(&seller.url).await.unwrap_err().kind(),
        ErrorKind::Unknown
    );
    assert_eq!((posts(&seller), seller.distinct_payments()), (0, 1));
    assert_eq!(back.spends().await.len(), 1);
}

/// Terms in the header, and tokens for the same price.
fn asking_both() -> Reply {
    let Reply::Http(status, mut headers, body) = asking("/token", &component()) else {
        unreachable!()
    };
    headers.push(tollway_core::header::challenge(&terms(vec![offer(
        "10000",
    )])));
    Reply::Http(status, headers, body)
}

#[tokio::test]
async fn for_one_price_a_token_is_bought_and_for_a_lower_one_the_answer() {
    for (amount, tokens, wanted) in [
        (0.01, true, 1),
        (0.011, true, 0),
        (0.009, true, 1),
        (0.01, false, 0),
    ] {
        let mut component = component();
        component["amount"] = json!(amount);
        let permits = Permits::default();
        let seller = Seller::start(move |seen| {
            if seen.path == "/token" {
                return token_reply(sell(&permits, &seen.body));
            }
            if bearer(seen).is_some() || seen.payment_number > 0 {
                return goods();
            }
            let Reply::Http(status, mut headers, body) = asking("/token", &component) else {
                unreachable!()
            };
            headers.push(tollway_core::header::challenge(&terms(vec![offer(
                "10000",
            )])));
            Reply::Http(status, headers, body)
        })
        .await;
        let policy = Policy {
            access_tokens: tokens,
            ..Policy::default()
        };
        let buyer = Buyer::with(wallet(), |b| b.policy(policy)).await;
        let answer = buyer.get(&seller.url).await.unwrap();
        assert_eq!(posts(&seller), wanted, "{amount}");
        assert_eq!(answer.pass.is_some(), wanted == 1, "{amount}");
    }
}

/// The code of the refusal, with nothing signed, posted or recorded.
async fn refused(endpoint: &'static str, component: Value) -> String {
    let seller = Seller::start(move |_| asking(endpoint, &component)).await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Declined, "{error}");
    assert_eq!((seller.seen().len(), buyer.spends().await.len()), (1, 0));
    error.code().to_owned()
}

#[tokio::test]
async fn a_token_endpoint_of_another_origin_gets_nothing() {
    for endpoint in [
        "https://thief.test/token",
        "//thief.test/token",
        "/\\thief.test/token",
    ] {
        assert_eq!(
            refused(endpoint, component()).await,
            "policy_redirect",
            "{endpoint}"
        );
    }
}

#[tokio::test]
async fn components_that_lie_about_the_asset_or_the_price_are_not_paid() {
    let changed = |key: &str, value: Value| {
        let mut component = component();
        component[key] = value;
        component
    };
    for (component, code) in [
        (changed("token_decimals", json!(18)), "policy_asset"),
        (changed("token_decimals", json!("6.0")), "policy_asset"),
        (
            changed("token", json!("0x2222222222222222222222222222222222222222")),
            "policy_asset",
        ),
        (changed("token_name", json!("USD Coin")), "policy_asset"),
        (changed("caip2", json!("eip155:8453")), "policy_asset"),
        (changed("amount", json!(0.11)), "policy_amount"),
        (changed("amount", json!(1e9)), "policy_amount"),
        (changed("amount", json!(-0.01)), "invalid_offer"),
        (changed("amount", json!(0.000_000_1)), "invalid_offer"),
        (changed("amount", json!("1,5")), "invalid_offer"),
        (changed("amount", Value::Null), "invalid_offer"),
        (
            changed("pay_to", json!("merchant")),
            "invalid_payment_requirements",
        ),
        (
            changed("pay_to", json!(USDC)),
            "invalid_payment_requirements",
        ),
    ] {
        assert_eq!(
            refused("/token", component.clone()).await,
            code,
            "{component}"
        );
    }
}

#[tokio::test]
async fn a_permit_for_an_account_instead_of_the_payees_settler_is_not_signed() {
    // Version 0.1.1: an EIP-2612 permit for the server's own account.
    let old = json!({
        "payment_type": "evm", "amount": 0.01, "currency": "USDC", "token": USDC,
        "chain_id": 84532, "metadata": {"symbol": "USDC", "name": "USDC", "decimals": 6,
        "network": "base-sepolia", "version": "2", "wallet_address": PAYEE}
    });
    let seller = Seller::start(move |_| asking("/token", &old)).await;
    let (devnet, node, _server) = crate::permit2::devnet().await;
    let network = tollway_core::Network::eip155(devnet.chain_id());
    let buyer = Buyer::with(wallet().with_node(network, node), |b| b).await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Declined, "no_acceptable_terms")
    );
    assert_eq!(
        (seller.seen().len(), buyer.states().await),
        (1, vec![SpendState::Released])
    );
}

#[tokio::test]
async fn an_old_client_s_permit_is_signed_for_the_settler_of_the_payee() {
    let settler = tollway_evm::settler_address(PAYEE.parse().unwrap()).to_checksum(None);
    let old = json!({
        "payment_type": "evm", "amount": 0.01, "currency": "USDC", "token": USDC,
        "chain_id": 84532, "pay_to": PAYEE, "metadata": {"name": "USDC", "decimals": 6,
        "version": "2", "wallet_address": settler}
    });
    let (seller, permits) = shop(old, |_| None).await;
    let (devnet, node, _server) = crate::permit2::devnet().await;
    let network = tollway_core::Network::eip155(devnet.chain_id());
    let buyer = Buyer::with(wallet().with_node(network, node), |b| b).await;
    assert_eq!(
        text(buyer.get(&seller.url).await.unwrap()).await,
        "the goods"
    );
    let permit = permits.lock().unwrap()[0].clone();
    assert_eq!(
        (
            &permit["permit_type"],
            &permit["spender"],
            &permit["nonce"],
            &permit["value"]
        ),
        (
            &json!("EIP2612"),
            &json!(settler),
            &json!(0),
            &json!(10_000)
        )
    );
}

#[tokio::test]
async fn a_token_that_opens_nothing_is_not_followed_by_a_second_one() {
    let (seller, permits) = shop(component(), |seen| {
        (seen.path != "/token").then(|| asking("/token", &component()))
    })
    .await;
    let place = tempfile::tempdir().unwrap();
    let tokens = || Arc::new(TokenDirectory::open(place.path()).unwrap());
    let buyer = Buyer::with(wallet(), |b| b.tokens(tokens())).await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::PaidNotDelivered, "paid_not_delivered")
    );
    assert!(error.payment().is_some());
    let back = buyer.restarted(|b| b.tokens(tokens())).await;
    for _ in 0..2 {
        let error = back.get(&seller.url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PaidNotDelivered);
    }
    assert_eq!((posts(&seller), permits.lock().unwrap().len()), (1, 1));
    assert_eq!(back.spends().await.len(), 1);
}

#[tokio::test]
async fn a_token_that_is_used_up_is_followed_by_another() {
    let opened = AtomicU64::new(0);
    let (seller, permits) = shop(component(), move |seen| {
        let used_up = bearer(seen) == Some(0) && opened.fetch_add(1, Ordering::SeqCst) >= 2;
        used_up.then(|| asking("/token", &component()))
    })
    .await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    for _ in 0..4 {
        buyer.get(&seller.url).await.unwrap();
    }
    assert_eq!(permits.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_is_told_and_the_permit_stays_on_the_budget() {
    let (seller, _) = shop(component(), |seen| {
        let no = Reply::text(400, "{\"error\":\"Insufficient token balance\"}");
        (seen.path == "/token").then_some(no)
    })
    .await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefusedByServer);
    assert!(
        error.message().contains("Insufficient token balance"),
        "{error}"
    );
    assert_eq!(buyer.states().await, [SpendState::Unknown]);
    buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(buyer.spends().await.len(), 1, "the same permit again");
}

#[tokio::test]
async fn what_is_no_token_is_asked_about_again() {
    for answer in [
        "{}",
        "hello",
        "{\"access_token\":\"two words\",\"token_type\":\"Bearer\",\"expires_in\":300}",
        "{\"access_token\":\"t\",\"token_type\":\"mac\",\"expires_in\":300}",
        "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":-5}",
        "{\"access_token\":\"a\",\"access_token\":\"b\"}",
    ] {
        let (seller, permits) = shop(component(), move |seen| {
            let odd = seen.path == "/token" && seen.headers.contains_key("accept");
            odd.then(|| Reply::text(200, answer))
        })
        .await;
        let buyer = Buyer::with(wallet(), |b| b).await;
        let error = buyer.get(&seller.url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{answer}");
        assert_eq!((posts(&seller), permits.lock().unwrap().len()), (3, 0));
        assert!(buyer.spends().await.len() == 1 && error.payment().is_some());
    }
}

#[tokio::test]
async fn a_token_counts_against_the_budget() {
    let (seller, _) = honest_shop().await;
    let limit = Limit {
        scope: LimitScope::Account,
        window: Some(Duration::from_secs(3600)),
        max: Amount::from_atomic(19_999),
    };
    let clock = Arc::new(Ahead(AtomicU64::new(0)));
    let buyer = Buyer::with(wallet(), |b| b.limits(vec![limit]).clock(clock.clone())).await;
    buyer.get(&seller.url).await.unwrap();
    clock.0.store(290, Ordering::SeqCst);
    assert_eq!(buyer.refusal(&seller.url).await, "budget_exceeded");
    assert_eq!(posts(&seller), 1);
}

#[tokio::test]
async fn a_callers_own_authorization_is_never_replaced() {
    let (seller, _) = honest_shop().await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    let own = PayRequest::get(seller.url.clone()).header(
        http::header::AUTHORIZATION,
        "Basic bWU6c2VjcmV0".parse().unwrap(),
    );
    let error = buyer.payer.fetch(own).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Declined);
    assert!(
        seller
            .seen()
            .iter()
            .all(|s| s.headers["authorization"] == "Basic bWU6c2VjcmV0")
    );
    assert_eq!(posts(&seller), 0);
}

#[tokio::test]
async fn what_was_bought_and_lost_on_the_way_is_fetched_again_by_its_record() {
    let lost = AtomicU64::new(0);
    let (seller, permits) = shop(component(), move |seen| {
        let cut = bearer(seen).is_some() && lost.fetch_add(1, Ordering::SeqCst) == 0;
        cut.then_some(Reply::Cut)
    })
    .await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PaidNotDelivered);
    let spend: SpendId = error.payment().unwrap().spend.clone();
    let request = PayRequest::get(seller.url.clone());
    let again = buyer.payer.fetch_again(request, &spend).await.unwrap();
    assert_eq!(text(again).await, "the goods");
    assert_eq!((posts(&seller), permits.lock().unwrap().len()), (2, 1));
    assert_eq!(buyer.payer.counters().payments, 1);
}

#[tokio::test]
async fn the_doors_of_the_library_buy_and_reuse_tokens() {
    let (seller, permits) = honest_shop().await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    let client = reqwest_middleware::ClientBuilder::new(client_builder().build().unwrap())
        .with(PayMiddleware::new(buyer.payer.clone()))
        .build();
    let first = client.get(seller.url.clone()).send().await.unwrap();
    assert_eq!(
        first.extensions().get::<Payment>().unwrap().standing,
        Standing::Background
    );
    let again = client.get(seller.url.clone()).send().await.unwrap();
    assert!(again.extensions().get::<Payment>().is_none());
    assert!(again.extensions().get::<Pass>().is_some());
    assert_eq!(again.text().await.unwrap(), "the goods");

    let plain = client_builder().build().unwrap();
    let through = tower::service_fn(
        move |request: http::Request<http_body_util::Full<bytes::Bytes>>| {
            let plain = plain.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = http_body_util::BodyExt::collect(body)
                    .await
                    .unwrap()
                    .to_bytes();
                let request = http::Request::from_parts(head, reqwest::Body::from(body));
                let sent = plain.execute(request.try_into().unwrap()).await;
                sent.map(http::Response::<reqwest::Body>::from)
            }
        },
    );
    for (agent, wanted) in [("default", 1), ("tower", 2)] {
        let other = Buyer::with(wallet(), |b| b.agent(agent)).await;
        let payer = if agent == "default" {
            &buyer.payer
        } else {
            &other.payer
        };
        for _ in 0..2 {
            let request = http::Request::get(seller.url.as_str())
                .body(bytes::Bytes::new())
                .unwrap();
            let response = PayLayer::new(payer.clone())
                .layer(through.clone())
                .oneshot(request)
                .await
                .unwrap();
            assert!(response.extensions().get::<Pass>().is_some());
            assert_eq!(
                &response.into_body().bytes(100).await.unwrap()[..],
                b"the goods"
            );
        }
        assert_eq!(permits.lock().unwrap().len(), wanted);
    }
}

#[tokio::test]
async fn looking_tells_where_tokens_are_sold_and_shows_none() {
    let (seller, _) = honest_shop().await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    buyer.get(&seller.url).await.unwrap();
    let seen = buyer
        .payer
        .inspect(PayRequest::get(seller.url.clone()))
        .await
        .unwrap();
    let endpoint: Url = seen.token_endpoint.unwrap().parse().unwrap();
    assert_eq!(endpoint, seller.url.join("/token").unwrap());
    let offer = serde_json::to_value(&seen.offers[0]).unwrap();
    assert_eq!(
        (
            &offer["via"],
            &offer["method"],
            &offer["cost"],
            &offer["metered"]
        ),
        (
            &json!("token"),
            &json!("eip3009"),
            &json!("0.01 USDC"),
            &json!(false)
        )
    );
    assert!(seen.would_pay && bearer(seller.seen().last().unwrap()).is_none());
}

#[tokio::test]
async fn a_payment_that_is_proved_dead_frees_the_way_for_another_token() {
    let (seller, permits) = shop(component(), |seen| {
        (bearer(seen) == Some(0)).then(|| asking("/token", &component()))
    })
    .await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    buyer.get(&seller.url).await.unwrap_err();
    let spend = buyer.spends().await[0].id.clone();
    let now = Timestamp::from_millis(u64::MAX >> 2);
    buyer
        .ledger
        .release(&spend, "expired_unused", now)
        .await
        .unwrap();
    buyer.get(&seller.url).await.unwrap();
    assert_eq!(permits.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_server_cannot_make_a_header_payment_one_that_is_posted() {
    let declared = json!({"access-token": {"info": {
        "endpoint": "http://127.0.0.1:1/token", "version": "Version 0.1"
    }}});
    let seller = Seller::start(move |seen| match seen.payment_number {
        0 => challenge_with(vec![offer("10000")], declared.as_object().cloned()),
        _ => goods(),
    })
    .await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    let answer = buyer.get(&seller.url).await.unwrap();
    assert!(answer.payment.unwrap().is_settled());
    assert_eq!((seller.payments().len(), posts(&seller)), (1, 0));
}

#[tokio::test]
async fn a_token_that_comes_with_the_goods_is_kept_and_shown() {
    use base64::Engine as _;
    let end = tollway_core::Clock::now(&tollway_core::SystemClock).secs() + 300;
    let claims = json!({"exp": end, "aud": "GET /goods"}).to_string();
    let part = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
    let token = format!("head.{part}.signature");
    let shown = format!("Bearer {token}");
    let seller = Seller::start(move |seen| match seen.headers.get("authorization") {
        Some(said) if *said == *shown => Reply::text(200, "the goods"),
        _ if seen.payment_number > 0 => goods().with_text("tollway-pass", &token),
        _ => challenge(vec![offer("10000")]),
    })
    .await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    let first = buyer.get(&seller.url).await.unwrap();
    assert!(first.payment.as_ref().unwrap().is_settled() && first.pass.is_some());
    assert!(!first.response.headers().contains_key("tollway-pass"));
    let again = buyer.get(&seller.url).await.unwrap();
    assert!(again.payment.is_none() && again.pass.is_some());
    assert_eq!(
        (seller.payments().len(), text(again).await.as_str()),
        (1, "the goods")
    );
}
