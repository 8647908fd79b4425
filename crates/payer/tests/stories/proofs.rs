//! Paying by a transaction of one's own, which is shown as proof.

use std::sync::Arc;

use alloy_primitives::U256;
use tollway_core::assets::Method;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Clock, Finality, Network, PaymentFlow, SystemClock, Terms, Wallet as _};
use tollway_devnet::{DEV_ACCOUNTS, Devnet};
use tollway_evm::{EvmChain, EvmConfig, EvmSigner};
use tollway_ledger::SpendState;
use tollway_payer::{ChainReconciler, ErrorKind, Event, PayMethod, PayRequest, Standing};
use tollway_rpc::RpcClient;

use crate::bench::{Buyer, text};
use crate::permit2::{devnet, wallet};
use crate::seller::*;

pub fn by_proof() -> PaymentRequirements {
    let now = SystemClock.now().secs();
    offer("10000")
        .with_method(Method::Txid)
        .with_flow(PaymentFlow::Upfront)
        .with_extra("reference", "0123456789abcdef0123456789abcdef")
        .with_extra("issuedAt", now)
        .with_extra("expiresAt", now + 300)
}

fn payee_has(devnet: &Devnet) -> U256 {
    devnet.balance_of(PAYEE.parse().unwrap())
}

/// The transaction that a payment names.
fn named(seen: &Seen) -> String {
    seen.decoded().payload["txHash"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Sells for the transaction that is named to it.
fn receipt_of(seen: &Seen) -> Reply {
    let mut response = success();
    response.transaction = named(seen);
    receipt(Reply::text(200, "the goods"), &response)
}

fn hashes(seller: &Seller) -> Vec<String> {
    let seen = seller.seen().into_iter().filter(|s| s.payment_number > 0);
    let mut all: Vec<String> = seen.map(|s| named(&s)).collect();
    all.dedup();
    all
}

#[tokio::test]
async fn the_transfer_is_made_then_shown() {
    let (devnet, node, _server) = devnet().await;
    let before = payee_has(&devnet);
    let seller = Seller::selling(vec![by_proof()], receipt_of).await;
    let buyer = Buyer::with(wallet(node), |b| b).await;
    let answer = buyer.get(&seller.url).await.unwrap();
    let payment = answer.payment.clone().unwrap();
    assert_eq!(
        (payment.method, &payment.standing),
        (Some(PayMethod::Txid), &Standing::Settled)
    );
    assert_eq!(text(answer).await, "the goods");
    assert_eq!(payee_has(&devnet) - before, U256::from(10_000));
    let hash = named(&seller.seen()[1]);
    assert_eq!(devnet.succeeded(hash.parse().unwrap()), Some(true));
    let order = buyer.diary();
    let place = |event: &str| order.iter().position(|e| e == event).unwrap();
    assert!(place("signed") < place("sent") && place("sent") < place("presented"));
}

#[tokio::test]
async fn whatever_the_server_answers_there_is_one_transfer() {
    let (devnet, node, _server) = devnet().await;
    let before = payee_has(&devnet);
    let seller = Seller::selling(vec![by_proof()], |seen| match seen.payment_number {
        1 => Reply::Cut,
        2 => receipt(
            Reply::status(402),
            &failure("invalid_exact_evm_txid_not_found", ""),
        ),
        3 => receipt(
            Reply::status(402),
            &failure("invalid_exact_evm_txid_not_final", ""),
        ),
        4 => Reply::status(500),
        5 => challenge(vec![by_proof()]),
        6 => receipt(
            Reply::status(402),
            &failure("invalid_exact_evm_txid_reference", ""),
        ),
        _ => receipt_of(seen),
    })
    .await;
    let buyer = Buyer::with(wallet(node), |b| b).await;
    let first = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(first.kind(), ErrorKind::Unknown, "{first}");
    for _ in 0..2 {
        // Terms again, or a refusal: the money is gone all the same.
        let error = buyer.get(&seller.url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PaidNotDelivered, "{error}");
        assert!(error.payment().unwrap().transaction.is_some());
    }
    let spend = buyer.spends().await[0].id.clone();
    let request = PayRequest::get(seller.url.clone());
    let answer = buyer.payer.fetch_again(request, &spend).await.unwrap();
    assert_eq!(text(answer).await, "the goods");
    assert_eq!(hashes(&seller).len(), 1);
    assert_eq!(payee_has(&devnet) - before, U256::from(10_000));
    assert_eq!(buyer.states().await, [SpendState::Paid]);
}

#[tokio::test]
async fn a_crash_between_recording_and_sending_sends_the_same_bytes() {
    let (devnet, node, _server) = devnet().await;
    let before = payee_has(&devnet);
    let seller = Seller::selling(vec![by_proof()], receipt_of).await;
    let deadly = Buyer::with(wallet(node), |b| {
        b.story(|event| assert!(!matches!(event, Event::Sent { .. }), "dies here"))
    })
    .await;
    let (payer, url) = (deadly.payer.clone(), seller.url.clone());
    let death = tokio::spawn(async move { payer.fetch(PayRequest::get(url)).await.map(|_| ()) });
    assert!(death.await.is_err());
    let recorded = deadly.spends().await[0]
        .signed
        .clone()
        .unwrap()
        .transaction
        .unwrap();
    assert_eq!(
        devnet.succeeded(recorded.hash.as_str().parse().unwrap()),
        None
    );
    assert_eq!(payee_has(&devnet), before, "recorded and not sent");
    let back = deadly.restarted(|b| b).await;
    back.get(&seller.url).await.unwrap();
    assert_eq!(hashes(&seller), [recorded.hash.to_string()]);
    assert_eq!(payee_has(&devnet) - before, U256::from(10_000));
    assert_eq!(back.spends().await.len(), 1);
}

/// The account sends something else under its next nonce.
async fn send_another(node: RpcClient) {
    let other = wallet(node);
    let terms = Terms::check(offer("10000").with_method(Method::Permit2)).unwrap();
    let raw = other.approval(&terms).await.unwrap();
    other.broadcast(&terms.network, &raw).await.unwrap();
}

fn reconciler(node: RpcClient) -> Arc<ChainReconciler> {
    let network = Network::eip155(84532);
    let chain = EvmChain::new(EvmConfig::new(network, node, Vec::<EvmSigner>::new())).unwrap();
    Arc::new(ChainReconciler::new(
        vec![Arc::new(chain)],
        Finality::Included,
    ))
}

#[tokio::test]
async fn a_transaction_whose_nonce_another_one_took_is_given_back_when_its_offer_is_over() {
    let (devnet, node, _server) = devnet().await;
    let before = payee_has(&devnet);
    let seller = Seller::selling(vec![by_proof()], receipt_of).await;
    let chain = reconciler(node.clone());
    let deadly = Buyer::with(wallet(node.clone()), |b| {
        b.reconciler(chain.clone(), false)
            .story(|event| assert!(!matches!(event, Event::Sent { .. }), "dies here"))
    })
    .await;
    let (payer, url) = (deadly.payer.clone(), seller.url.clone());
    let death = tokio::spawn(async move { payer.fetch(PayRequest::get(url)).await.map(|_| ()) });
    assert!(death.await.is_err());
    let later = Arc::new(crate::open_payments::Ahead(1_000.into()));
    let back = deadly
        .restarted(|b| b.reconciler(chain.clone(), false).clock(later))
        .await;
    let held = back.payer.reconcile().await.unwrap();
    assert_eq!((held.released, held.held), (0, 1), "it may still land");
    send_another(node).await;
    let done = back.payer.reconcile().await.unwrap();
    assert_eq!((done.released, done.held), (1, 0));
    assert_eq!(back.states().await, [SpendState::Released]);
    assert_eq!(payee_has(&devnet), before);
}

#[tokio::test]
async fn no_proof_is_signed_for_what_somebody_else_sells() {
    let (devnet, node, _server) = devnet().await;
    // A relay quotes a real seller: its payee, its reference, its resource.
    let relay = Seller::start(|seen| match seen.payment_number {
        0 => challenge(vec![by_proof()]),
        _ => receipt_of(seen),
    })
    .await;
    let buyer = Buyer::with(wallet(node), |b| b).await;
    assert_eq!(buyer.refusal(&relay.url).await, "invalid_offer");
    assert_eq!(
        (
            relay.payments().len(),
            devnet.nonce(DEV_ACCOUNTS[0].address)
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn what_was_never_sent_is_not_sent_when_its_offer_is_over() {
    let (devnet, node, _server) = devnet().await;
    let before = payee_has(&devnet);
    let seller = Seller::selling(vec![by_proof()], receipt_of).await;
    let deadly = Buyer::with(wallet(node), |b| {
        b.story(|event| assert!(!matches!(event, Event::Sent { .. }), "dies here"))
    })
    .await;
    let (payer, url) = (deadly.payer.clone(), seller.url.clone());
    let death = tokio::spawn(async move { payer.fetch(PayRequest::get(url)).await.map(|_| ()) });
    assert!(death.await.is_err());
    let spend = deadly.spends().await[0].id.clone();
    let later = Arc::new(crate::open_payments::Ahead(1_000.into()));
    let back = deadly.restarted(|b| b.clock(later)).await;
    let request = PayRequest::get(seller.url.clone());
    let _ = back.payer.fetch_again(request, &spend).await;
    assert_eq!(payee_has(&devnet), before, "it would buy nothing any more");
}

#[tokio::test]
async fn a_transaction_that_cannot_be_sent_is_not_replaced_by_another() {
    let (devnet, node, server) = devnet().await;
    let seller = Seller::selling(vec![by_proof()], receipt_of).await;
    let buyer = Buyer::with(wallet(node), |b| b).await;
    let account = DEV_ACCOUNTS[0].address;
    // The gas is gone.
    devnet.set_balance(account, U256::ZERO);
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    assert_eq!(
        (seller.payments().len(), buyer.spends().await.len()),
        (0, 1)
    );
    devnet.set_balance(account, U256::from(10_u128.pow(18)));
    buyer.get(&seller.url).await.unwrap();
    assert_eq!((hashes(&seller).len(), buyer.spends().await.len()), (1, 1));
    drop(server);
}

#[tokio::test]
async fn without_the_money_nothing_is_signed() {
    let (devnet, node, _server) = devnet().await;
    let all = devnet.balance_of(DEV_ACCOUNTS[0].address);
    let mut dear = by_proof();
    dear.amount = (all + U256::from(1)).to_string();
    let seller = Seller::selling(vec![dear], receipt_of).await;
    let policy = tollway_payer::Policy {
        max_per_call: "100000000".parse().unwrap(),
        ..tollway_payer::Policy::default()
    };
    let buyer = Buyer::with(wallet(node), |b| b.policy(policy)).await;
    assert_eq!(buyer.refusal(&seller.url).await, "insufficient_funds");
    assert_eq!(
        (
            seller.payments().len(),
            devnet.nonce(DEV_ACCOUNTS[0].address)
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn proofs_come_last_between_equal_prices() {
    let (devnet, node, _server) = devnet().await;
    let seller = Seller::honest(vec![by_proof(), offer("10000")]).await;
    let buyer = Buyer::with(wallet(node), |b| b).await;
    let payment = buyer.get(&seller.url).await.unwrap().payment.unwrap();
    assert_eq!(payment.method, Some(PayMethod::Eip3009));
    assert_eq!(devnet.nonce(DEV_ACCOUNTS[0].address), 0);
}
