//! Very many calls against one budget, in one process and in several that die.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http_body_util::Full;
use tollway_core::assets::AssetTable;
use tollway_core::{Address, Amount, Network};
use tollway_ledger::{SpendStore as _, SqliteLedger};
use tollway_payer::{BoxError, LayerError, Patience, PayLayer, Payment, PolicyFile};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::bench::Buyer;
use crate::seller::*;
use crate::wallet::{FakeWallet, PAYER};

/// A cent a call, and ten dollars.
const POLICY: &str = "[limits]\ntotal = '10'";

async fn sell(
    request: http::Request<Full<Bytes>>,
) -> Result<http::Response<Full<Bytes>>, BoxError> {
    let reply = match request.headers().contains_key("payment-signature") {
        true => goods(),
        false => challenge(vec![offer("10000")]),
    };
    let Reply::Http(status, headers, body) = reply else {
        unreachable!()
    };
    let mut response = http::Response::new(Full::new(body));
    *response.status_mut() = http::StatusCode::from_u16(status)?;
    let headers = headers.into_iter().map(|(name, value)| (Some(name), value));
    response.headers_mut().extend(headers);
    Ok(response)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_at_once_against_a_budget_for_a_thousand_pay_a_thousand() {
    let policy = PolicyFile::parse(POLICY).unwrap();
    let policy = policy.policy(&AssetTable::builtin()).unwrap();
    let patience = Patience {
        ask: std::time::Duration::from_secs(600),
        answer: std::time::Duration::from_secs(600),
        ..Patience::default()
    };
    let buyer = Buyer::with(FakeWallet::default(), |b| {
        b.policy(policy)
            .agent("crowd")
            .patience(patience)
            .story(|_| {})
    })
    .await;
    let service = PayLayer::new(buyer.payer.clone()).layer(service_fn(sell));
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..10_000 {
        let service = service.clone();
        let request = http::Request::get(format!("https://seller.test/goods?n={n}"));
        calls.spawn(service.oneshot(request.body(Bytes::new()).unwrap()));
    }
    let (mut paid, mut refused) = (0, 0);
    for answer in calls.join_all().await {
        match answer {
            Ok(response) => {
                let payment = response.extensions().get::<Payment>().unwrap();
                paid += usize::from(payment.is_settled());
            }
            Err(LayerError::Pay(error)) if error.code() == "budget_exceeded" => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((paid, refused), (1_000, 9_000));
    assert_eq!(buyer.wallet.signed(), 1_000);
    let (paid, held) = budget(&buyer.ledger, "crowd").await;
    assert_eq!((paid.as_str(), held.as_str()), ("10", "0"));
}

/// What an agent's budget counts as paid and as held, in whole units.
async fn budget(ledger: &SqliteLedger, agent: &str) -> (String, String) {
    let policy = PolicyFile::parse(POLICY).unwrap();
    let policy = policy.policy(&AssetTable::builtin()).unwrap();
    let limit = policy.budget.overall(agent).remove(0);
    let network: Network = "eip155:84532".parse().unwrap();
    let account: Address = network.address(PAYER).unwrap();
    let now = tollway_core::Timestamp::from_millis(0);
    let total = ledger
        .total(&account, &network, &account, &limit, now)
        .await;
    let show = |amount: Amount| amount.to_decimal(18);
    let total = total.unwrap();
    (show(total.paid), show(total.held))
}

fn worker(ledger: &str, url: &url::Url, name: &str) -> Child {
    let test = std::env::current_exe().unwrap();
    let target: PathBuf = test.ancestors().nth(2).unwrap().to_owned();
    Command::new(target.join("examples/payer_worker"))
        .args([ledger, url.as_str(), name, POLICY])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a buyer and kills it after so many of its payments; another takes its
/// place. Tells what stopped the last one.
fn buy(ledger: &str, url: &url::Url, place: usize, kill_after: &[usize]) -> String {
    for (life, payments) in kill_after.iter().enumerate() {
        let mut child = worker(ledger, url, &format!("{place}-{life}"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for (n, line) in lines.map_while(Result::ok).enumerate() {
            if line.starts_with("stopped: ") {
                child.wait().unwrap();
                return line;
            }
            if n + 1 == *payments {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
    }
    "killed".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_that_are_killed_never_spend_more_than_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("spends.db").display());
    let seller = Seller::honest(vec![offer("10000")]).await;
    let lives = [
        &[20, 150, usize::MAX][..],
        &[35, 35, 35, usize::MAX],
        &[100, usize::MAX],
        &[usize::MAX],
    ];
    let buyers: Vec<_> = lives
        .into_iter()
        .enumerate()
        .map(|(place, lives)| {
            let (url, shop) = (url.clone(), seller.url.clone());
            tokio::task::spawn_blocking(move || buy(&url, &shop, place, lives))
        })
        .collect();
    for buyer in buyers {
        assert_eq!(buyer.await.unwrap(), "stopped: budget_exceeded");
    }
    let ledger = SqliteLedger::open(&url).await.unwrap();
    let (paid, held) = budget(&ledger, "crowd").await;
    let shown = seller.distinct_payments();
    println!("{shown} payments were shown; {paid} paid, {held} held");
    assert!(
        shown <= 1_000,
        "{shown} payments of a cent left for ten dollars"
    );
    // All of it is used: paid, or held by those who died.
    let sum = |text: &str| text.parse::<tollway_payer::UnitPrice>().unwrap().amount();
    let sum = sum(&paid).checked_add(sum(&held)).unwrap();
    assert_eq!(
        sum,
        "10".parse::<tollway_payer::UnitPrice>().unwrap().amount()
    );
}
