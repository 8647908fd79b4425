//! What an owner lets an agent spend: one policy file, one budget, whatever the
//! sellers try.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tollway_core::assets::AssetTable;
use tollway_core::{Clock, SystemClock, Timestamp};
use tollway_payer::{ErrorKind, PayRequest, PayerBuilder, Policy, PolicyFile};
use url::Url;

use crate::bench::Buyer;
use crate::seller::*;
use crate::wallet::FakeWallet;

const OTHER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
const DAY: u64 = 86_400_000;

fn policy(text: &str) -> Policy {
    let file = PolicyFile::parse(text).unwrap();
    file.policy(&AssetTable::builtin()).unwrap()
}

async fn agent(text: &str) -> Buyer {
    agent_with(text, |builder| builder).await
}

async fn agent_with(text: &str, set: impl FnOnce(PayerBuilder) -> PayerBuilder) -> Buyer {
    let policy = policy(text);
    Buyer::with(FakeWallet::default(), |b| {
        set(b.policy(policy).agent("researcher"))
    })
    .await
}

/// A seller whose terms are what `accepts` says at the time.
async fn moody(
    accepts: impl Fn(usize) -> Vec<tollway_core::wire::PaymentRequirements> + Send + Sync + 'static,
) -> Seller {
    let asked = AtomicUsize::new(0);
    Seller::start(move |seen| match seen.payment_number {
        0 => challenge(accepts(asked.fetch_add(1, Ordering::SeqCst))),
        _ => goods(),
    })
    .await
}

fn paying(payee: &str, amount: &str) -> tollway_core::wire::PaymentRequirements {
    let mut offer = offer(amount);
    offer.pay_to = payee.into();
    offer
}

fn numbered(url: &Url, n: usize) -> Url {
    let mut url = url.clone();
    url.set_query(Some(&format!("n={n}")));
    url
}

/// A clock that a test sets.
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_price_that_is_split_into_many_ends_at_the_budget() {
    for (limits, payments) in [
        ("total = '0.05'", 5),
        ("per_day = '0.03'", 3),
        ("per_host = '0.04'", 4),
        ("per_host_day = '0.02'", 2),
        ("per_payee = '0.01'", 1),
        ("per_payee_day = '0.06'", 6),
    ] {
        let buyer = agent(&format!("[limits]\n{limits}")).await;
        let seller = Seller::honest(vec![offer("10000")]).await;
        for n in 0..payments {
            buyer.get(&numbered(&seller.url, n)).await.unwrap();
        }
        let error = buyer.get(&numbered(&seller.url, 99)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Declined, "budget_exceeded"),
            "{limits}"
        );
        assert_eq!(buyer.wallet.signed(), payments, "{limits}");
    }
}

#[tokio::test]
async fn neither_another_network_nor_another_asset_opens_a_budget_again() {
    let buyer = agent("[limits]\ntotal = '0.02'").await;
    let mut abroad = offer("10000");
    abroad.network = "eip155:8453".into();
    abroad.asset = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913".into();
    abroad.extra = None;
    let sellers = [
        Seller::honest(vec![offer("10000")]).await,
        Seller::honest(vec![abroad.clone()]).await,
        Seller::honest(vec![abroad]).await,
    ];
    buyer.get(&sellers[0].url).await.unwrap();
    let mainnet = buyer.get(&numbered(&sellers[1].url, 1)).await;
    assert!(mainnet.is_ok(), "{mainnet:?}");
    assert_eq!(
        buyer.refusal(&numbered(&sellers[2].url, 2)).await,
        "budget_exceeded"
    );
    assert_eq!(buyer.wallet.signed(), 2);
}

#[tokio::test]
async fn a_clock_that_is_set_back_opens_no_day_again() {
    let today = SystemClock.now().millis();
    let clock = Arc::new(SetClock(AtomicU64::new(today)));
    let ours = Arc::clone(&clock);
    let buyer = agent_with("[limits]\nper_day = '0.01'", |b| b.clock(ours)).await;
    let seller = Seller::honest(vec![offer("10000")]).await;
    buyer.get(&numbered(&seller.url, 1)).await.unwrap();
    for hours in [-240_i64, -25, 0, 1, 23] {
        clock.0.store(
            today.saturating_add_signed(hours * 3_600_000),
            Ordering::SeqCst,
        );
        assert_eq!(
            buyer.refusal(&numbered(&seller.url, 2)).await,
            "budget_exceeded",
            "{hours}"
        );
    }
    assert_eq!(buyer.wallet.signed(), 1);
    // A day later, by a clock that went on, there is room again.
    clock.0.store(today + DAY + 60_000, Ordering::SeqCst);
    buyer.get(&numbered(&seller.url, 3)).await.unwrap();
}

#[tokio::test]
async fn a_challenge_that_carries_another_payee_is_not_paid_without_consent() {
    let terms = |n| match n {
        0 => vec![offer("10000")],
        // Another payee, on the network that was paid on and on another of the family.
        _ => {
            let mut abroad = paying(OTHER, "9000");
            abroad.network = "eip155:8453".into();
            abroad.asset = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913".into();
            abroad.extra = None;
            vec![paying(OTHER, "9000"), abroad]
        }
    };
    let seller = moody(terms).await;
    let buyer = agent("").await;
    buyer.get(&numbered(&seller.url, 1)).await.unwrap();
    let error = buyer.get(&numbered(&seller.url, 2)).await.unwrap_err();
    assert_eq!(error.code(), "policy_payee_changed");
    assert!(
        error.message().contains("--consent 127.0.0.1=0x3c44"),
        "{}",
        error.message()
    );
    assert_eq!(buyer.wallet.signed(), 1);
    // It holds over a restart, and the owner's consent lifts it.
    let strict = policy("");
    let buyer = buyer
        .restarted(|b| b.policy(strict).agent("researcher"))
        .await;
    assert_eq!(
        buyer.refusal(&numbered(&seller.url, 3)).await,
        "policy_payee_changed"
    );
    let agreed = policy(&format!("consents = ['127.0.0.1={OTHER}']"));
    let buyer = buyer
        .restarted(|b| b.policy(agreed).agent("researcher"))
        .await;
    buyer.get(&numbered(&seller.url, 4)).await.unwrap();
}

#[tokio::test]
async fn of_two_first_payments_at_once_one_pins_the_payee() {
    let seller = moody(|n| vec![paying([PAYEE, OTHER][n % 2], "10000")]).await;
    let buyer = agent("").await;
    let calls = (0..8).map(|n| {
        let (payer, url) = (buyer.payer.clone(), numbered(&seller.url, n));
        async move { payer.fetch(PayRequest::get(url)).await }
    });
    let calls: tokio::task::JoinSet<_> = calls.collect();
    let refused = calls.join_all().await.into_iter().filter_map(Result::err);
    let codes: Vec<String> = refused.map(|e| e.code().to_owned()).collect();
    assert_eq!(codes, ["policy_payee_changed"; 4]);
}

#[tokio::test]
async fn a_price_that_jumps_is_not_paid() {
    let seller = moody(|n| vec![offer(["10000", "31000", "30000"][n])]).await;
    let buyer = agent("").await;
    buyer.get(&numbered(&seller.url, 1)).await.unwrap();
    let error = buyer.get(&numbered(&seller.url, 2)).await.unwrap_err();
    assert_eq!(error.code(), "policy_price_jump");
    assert!(
        error
            .message()
            .contains("0.031 USDC, and was 0.01 the last time"),
        "{}",
        error.message()
    );
    // Up to three times as much is what the file allows by default.
    buyer.get(&numbered(&seller.url, 3)).await.unwrap();
}

#[tokio::test]
async fn a_trap_beside_a_good_offer_is_passed_over() {
    let terms = |n| match n {
        0 => vec![offer("10000")],
        _ => vec![paying(OTHER, "9000"), offer("10000")],
    };
    let seller = moody(terms).await;
    let buyer = agent("").await;
    for n in 0..2 {
        let paid = buyer.get(&numbered(&seller.url, n)).await.unwrap();
        let payee = paid.payment.unwrap().payee;
        assert_eq!(payee.as_str(), PAYEE.to_lowercase());
    }
}

#[tokio::test]
async fn looking_says_what_would_be_refused_and_leaves_no_trace() {
    let terms = |n| match n {
        0 => vec![offer("10000")],
        1 => vec![paying(OTHER, "10000")],
        2 => vec![offer("50000")],
        _ => vec![offer("15000")],
    };
    let seller = moody(terms).await;
    let buyer = agent("[limits]\ntotal = '0.02'").await;
    buyer.get(&seller.url).await.unwrap();
    for code in [
        "policy_payee_changed",
        "policy_price_jump",
        "budget_exceeded",
    ] {
        let seen = buyer
            .payer
            .inspect(PayRequest::get(seller.url.clone()))
            .await
            .unwrap();
        assert!(!seen.would_pay);
        assert_eq!(seen.refusal.unwrap().code, code);
    }
    assert_eq!((buyer.wallet.signed(), buyer.spends().await.len()), (1, 1));
}

#[tokio::test]
async fn a_policy_file_says_what_is_allowed_and_each_refusal_has_its_code() {
    for (text, code) in [
        ("hosts = ['api.example.com']", "policy_host"),
        ("networks = ['base']", "policy_network"),
        (
            "assets = ['0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913']",
            "policy_asset",
        ),
        (
            "payees = ['0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC']",
            "policy_payee",
        ),
        ("schemes = ['upto']", "policy_scheme"),
        ("methods = ['permit2']", "policy_method"),
        ("[limits]\nper_call = '0.009'", "policy_amount"),
        ("[limits]\ntotal = '0.009'", "budget_exceeded"),
    ] {
        let buyer = agent(text).await;
        let seller = Seller::honest(vec![offer("10000")]).await;
        assert_eq!(buyer.refusal(&seller.url).await, code, "{text}");
        assert_eq!(
            (buyer.wallet.signed(), seller.payments().len()),
            (0, 0),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_agents_authorization_lives_no_longer_than_its_policy_says() {
    let buyer = agent("lifetime_seconds = 60").await;
    let mut long = offer("10000");
    long.max_timeout_seconds = 86_400;
    let seller = Seller::honest(vec![long]).await;
    let before = SystemClock.now();
    buyer.get(&seller.url).await.unwrap();
    let allowed = buyer.wallet.seen.lock().unwrap()[0].1.max_lifetime;
    assert_eq!(allowed.as_secs(), 60);
    let until = buyer.spends().await[0].signed.as_ref().unwrap().valid_until;
    assert!(until <= before.plus(std::time::Duration::from_secs(90)));
}

#[test]
fn a_policy_file_that_says_nonsense_is_refused_with_the_place() {
    for (text, place) in [
        ("host = ['a.example']", "unknown field `host`"),
        ("[limits]\nper_cal = '1'", "line 2"),
        ("[limits]\ntotal = 5", "line 2"),
        ("[limits]\ntotal = '5 USD'", "limits.total"),
        ("[limits]\nper_day = '-1'", "limits.per_day"),
        ("networks = ['base', 'nowhere']", "networks"),
        ("assets = ['DOGE']", "assets"),
        (
            "networks = ['base']\nassets = ['0x036CbD53842c5426634e7929541eC2318f3dCF7e']",
            "assets",
        ),
        ("hosts = ['https://a.example/']", "hosts"),
        ("payees = ['bob']", "payees"),
        (
            "consents = ['0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC']",
            "consents",
        ),
        ("schemes = ['exactly']", "schemes"),
        ("methods = ['cash']", "methods"),
        ("max_price_rise = '0.5'", "max_price_rise"),
        ("max_price_rise = '1e9'", "max_price_rise"),
        ("lifetime_seconds = 0", "lifetime_seconds"),
        ("lifetime_seconds = 31536000", "lifetime_seconds"),
    ] {
        let read = PolicyFile::parse(text).and_then(|file| file.policy(&AssetTable::builtin()));
        let error = read.unwrap_err().to_string();
        assert!(error.contains(place), "{text}: {error}");
    }
    let file = PolicyFile::parse("[limits]\ntotal = '5'").unwrap();
    assert_eq!(PolicyFile::parse(&file.to_text().unwrap()).unwrap(), file);
}
