//! Sessions: what is refused before anything is signed, and who signs instead.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tollway_core::assets::AssetTable;
use tollway_core::{
    Amount, ChainError, Offered, Refusal, Terms, Timestamp, Wallet, WalletError, codes,
};
use tollway_starknet::session::{
    DEFAULT_DURATION, Policy, Registration, SESSION_CLASSES, SessionKey, SessionStatus,
    SessionWallet, Wanted, falls_back, register, remove_policy, revoke, set_policy,
};
use tollway_starknet::{Call, Felt, Signer, StarkKey, StarknetWallet, felt, selectors};

use crate::support::{
    NOW, PAYER, PRICE, TIMEOUT, USDC, World, address, felt_of, limits, network, owner,
};
use crate::vectors::cases;

/// What the account has on record.
#[derive(Clone)]
struct Record {
    class: &'static str,
    supports: Result<Value, (i64, String)>,
    data: Result<Value, (i64, String)>,
    entrypoints: Vec<Felt>,
    policy: Value,
    nonce_used: bool,
}

impl Record {
    fn good() -> Self {
        Self {
            class: "0xc1a55",
            supports: Ok(json!(["0x1"])),
            data: data(NOW + 3600, 3, 0, 1),
            entrypoints: vec![selectors::TRANSFER],
            policy: policy(0, 0, 0, 0, 0),
            nonce_used: false,
        }
    }
}

fn data(valid_until: u64, max_calls: u64, used: u64, count: u64) -> Result<Value, (i64, String)> {
    let felts = [valid_until, max_calls, used, count];
    Ok(json!(felts.map(|n| format!("{n:#x}"))))
}

fn policy(per_call: u64, per_window: u64, seconds: u64, spent: u64, start: u64) -> Value {
    let felts = [per_call, 0, per_window, 0, seconds, spent, 0, start];
    json!(felts.map(|n| format!("{n:#x}")))
}

struct Account {
    world: World,
    record: Arc<Mutex<Record>>,
}

impl Account {
    async fn new() -> Self {
        let world = World::new().await;
        let record = Arc::new(Mutex::new(Record::good()));
        let shown = Arc::clone(&record);
        world.say(|facts| {
            facts.odd = Some(Box::new(move |method, params| {
                let record = shown.lock().unwrap().clone();
                if method == "starknet_getClassHashAt" {
                    return Some(Ok(json!(record.class)));
                }
                let request = &params["request"];
                let selector = felt_of(request["entry_point_selector"].as_str()?);
                Some(match selector {
                    s if s == selectors::SUPPORTS_INTERFACE => record.supports,
                    s if s == selectors::SESSION_DATA => record.data,
                    s if s == selectors::GET_POLICY => Ok(record.policy),
                    s if s == selectors::SESSION_ENTRYPOINT => {
                        let index = felt_of(request["calldata"][1].as_str()?);
                        let index = usize::try_from(felt::to_u64(&index)?).ok()?;
                        Ok(json!([felt::text(&record.entrypoints[index])]))
                    }
                    s if s == selectors::IS_VALID_NONCE => {
                        Ok(json!([if record.nonce_used { "0x0" } else { "0x1" }]))
                    }
                    _ => return None,
                })
            }));
        });
        Self { world, record }
    }

    fn set(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock().unwrap());
    }

    fn wallet(&self) -> SessionWallet {
        let key = SessionKey::new(StarkKey::from_hex("0x5e55").unwrap(), NOW + 3600);
        SessionWallet::new(&address(PAYER), network(), key, self.world.rpc.clone())
            .unwrap()
            .with(AssetTable::builtin(), self.world.clock.clone())
    }

    fn with_owner(&self) -> SessionWallet {
        let owner = StarknetWallet::new(&address(PAYER), vec![network()], Signer::Owner(owner()));
        let owner = owner.unwrap().with_clock(self.world.clock.clone());
        self.wallet().with_owner(owner)
    }

    fn terms(&self) -> Terms {
        Terms::check(self.world.offer()).unwrap()
    }

    async fn refusal(&self, wallet: &SessionWallet) -> String {
        match wallet.prepare(&self.terms(), &limits()).await {
            Err(WalletError::Refused(refusal)) => refusal.code().to_owned(),
            other => panic!("not refused: {other:?}"),
        }
    }

    async fn refused(&self, change: impl FnOnce(&mut Record)) -> String {
        self.set(|record| *record = Record::good());
        self.set(change);
        self.refusal(&self.wallet()).await
    }
}

#[tokio::test]
async fn a_session_pays_by_itself_with_four_felts() {
    let account = Account::new().await;
    let prepared = account
        .wallet()
        .prepare(&account.terms(), &limits())
        .await
        .unwrap();
    let signature = &prepared.payload["outsideExecution"]["signature"];
    assert_eq!(signature.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn every_documented_refusal_is_raised_before_anything_is_signed() {
    let account = Account::new().await;
    let end = NOW + TIMEOUT;
    assert_eq!(
        account.refused(|r| r.data = data(0, 0, 0, 0)).await,
        codes::SESSION_NOT_REGISTERED
    );
    assert_eq!(
        account.refused(|r| r.data = data(0, 3, 1, 1)).await,
        codes::SESSION_REVOKED
    );
    for over in [NOW - 1, end - 1] {
        let code = account.refused(|r| r.data = data(over, 3, 0, 1)).await;
        assert_eq!(code, codes::SESSION_EXPIRED, "{over}");
    }
    assert_eq!(
        account.refused(|r| r.data = data(end, 3, 3, 1)).await,
        codes::SESSION_MAX_CALLS_EXCEEDED
    );
    assert_eq!(
        account
            .refused(|r| r.entrypoints = vec![selectors::APPROVE])
            .await,
        codes::SESSION_ENTRYPOINT_NOT_ALLOWED
    );
    let exceeded = codes::SESSION_POLICY_EXCEEDED;
    let limit = |policy| account.refused(move |r| r.policy = policy);
    assert_eq!(
        limit(policy(PRICE - 1, PRICE * 9, 60, 0, NOW)).await,
        exceeded
    );
    assert_eq!(limit(policy(PRICE, PRICE + 1, 60, 2, NOW)).await, exceeded);
    let no = || Err((21, "no such entry point".to_owned()));
    let wrong = codes::INVALID_WALLET_TYPE_FOR_SESSION;
    assert_eq!(account.refused(|r| r.supports = no()).await, wrong);
    assert_eq!(
        account.refused(|r| r.supports = Ok(json!(["0x0"]))).await,
        wrong
    );
    assert_eq!(account.refused(|r| r.data = no()).await, wrong);
    let odd = codes::SESSION_INVALID_RESPONSE;
    for answer in [
        json!([]),
        json!(["0x1", "0x1"]),
        json!(["0x1", "0x100000000", "0x0", "0x0"]),
    ] {
        assert_eq!(account.refused(|r| r.data = Ok(answer)).await, odd);
    }
    let endless = data(end, 3, 0, 1_000_000);
    assert_eq!(account.refused(|r| r.data = endless).await, odd);
}

#[tokio::test]
async fn deployed_session_wallets_are_known_by_their_class() {
    let account = Account::new().await;
    for (_, class) in SESSION_CLASSES {
        assert_eq!(felt::text(&felt_of(class)), class, "canonical");
        account.set(|record| {
            record.class = class;
            record.supports = Err((21, "no such entry point".to_owned()));
        });
        assert!(account.wallet().status(None).await.is_ok());
    }
}

#[tokio::test]
async fn a_window_that_is_over_counts_anew() {
    let account = Account::new().await;
    account.set(|r| r.policy = policy(PRICE, PRICE, 60, PRICE, NOW - 60));
    let wallet = account.wallet();
    assert!(wallet.prepare(&account.terms(), &limits()).await.is_ok());
    let status = wallet.status(Some(&address(USDC))).await.unwrap();
    let (policy, left) = status.policy(Timestamp::from_secs(NOW)).unwrap();
    assert_eq!(left, policy.max_per_window);
    let (_, before) = status.policy(Timestamp::from_secs(NOW - 1)).unwrap();
    assert!(before.is_zero());
    assert!(status.warn_below(4) && !status.warn_below(3));
}

#[tokio::test]
async fn the_owner_pays_where_the_session_cannot_and_never_where_a_limit_said_no() {
    let account = Account::new().await;
    let signed_by = |payload: &Value| {
        let felts = payload["outsideExecution"]["signature"].as_array().unwrap();
        if felts.len() == 2 { "owner" } else { "session" }
    };
    for change in [
        data(0, 0, 0, 0),
        data(0, 3, 1, 1),
        data(NOW + 1, 3, 0, 1),
        data(NOW + 3600, 3, 3, 1),
    ] {
        account.set(|record| record.data = change);
        let wallet = account.with_owner();
        let prepared = wallet.prepare(&account.terms(), &limits()).await.unwrap();
        assert_eq!(signed_by(&json!(prepared.payload)), "owner");
    }
    account.set(|record| *record = Record::good());
    account.set(|record| record.policy = policy(1, 1, 60, 0, NOW));
    let wallet = account.with_owner();
    assert_eq!(
        account.refusal(&wallet).await,
        codes::SESSION_POLICY_EXCEEDED
    );
    account.set(|record| record.policy = policy(0, 0, 0, 0, 0));
    let mut small = limits();
    small.max_amount = Amount::from_atomic(1);
    let dear = wallet.prepare(&account.terms(), &small).await.unwrap_err();
    assert!(matches!(dear, WalletError::Refused(r) if r.code() == codes::PRICE_ABOVE_LIMIT));
    for code in [
        codes::SESSION_POLICY_EXCEEDED,
        codes::POLICY_PAYEE,
        codes::INSUFFICIENT_FUNDS,
    ] {
        assert!(!falls_back(code));
    }
}

#[tokio::test]
async fn a_session_with_limits_for_one_token_pays_in_no_other() {
    let account = Account::new().await;
    let of = |token: &str| {
        let most = Amount::from_atomic(PRICE.into());
        account.with_owner().with_budget(3, address(token), most)
    };
    let (terms, other) = (account.terms(), "0x1234");
    assert!(of(USDC).supports(&terms) && of(USDC).limited_key(&terms).is_some());
    assert!(!of(other).supports(&terms));
    assert!(of(other).limited_key(&terms).is_none());
}

#[tokio::test]
async fn what_the_policy_forbids_nobody_pays_however_else_the_session_is_kept_from_it() {
    let account = Account::new().await;
    let budget = |wallet: SessionWallet, most: u64| {
        wallet.with_budget(3, address(USDC), Amount::from_atomic(most.into()))
    };
    let by_own_key = Offered {
        by_own_key: true,
        ..Offered::default()
    };
    let limits_of_a_policy = [
        policy(PRICE - 1, PRICE * 9, 3600, 0, NOW),
        policy(PRICE, PRICE * 2, 3600, PRICE * 2, NOW),
    ];
    for spent in limits_of_a_policy {
        for standing in [
            data(0, 3, 1, 1),
            data(NOW - 1, 3, 0, 1),
            // The seller's `maxTimeoutSeconds` leads past the session's end.
            data(NOW + 1, 3, 0, 1),
            data(NOW + 3600, 3, 3, 1),
        ] {
            account.set(|r| (r.policy, r.data) = (spent.clone(), standing));
            let wallet = budget(account.with_owner(), PRICE);
            let exceeded = codes::SESSION_POLICY_EXCEEDED;
            assert_eq!(account.refusal(&wallet).await, exceeded);
            // All calls are reserved, so that the owner's key is asked for.
            let (terms, limits) = (account.terms(), limits());
            let offered = wallet.prepare_offered(&terms, &limits, by_own_key);
            let refused = offered.await.unwrap_err();
            assert!(matches!(refused, WalletError::Refused(r) if r.code() == exceeded));
        }
    }
    // A window that the calls just fill is over when they are: no limit of its own.
    account.set(|r| r.policy = policy(PRICE, PRICE * 3, 3600, PRICE * 3, NOW));
    let wallet = account.with_owner();
    assert!(wallet.prepare(&account.terms(), &limits()).await.is_ok());
    account.set(|r| r.policy = policy(0, 0, 0, 0, 0));
    let offered = |most| {
        let wallet = budget(account.with_owner(), most);
        let terms = account.terms();
        async move { wallet.prepare_offered(&terms, &limits(), by_own_key).await }
    };
    assert!(offered(PRICE - 1).await.is_err(), "above what was allowed");
    assert!(offered(PRICE).await.is_ok());
}

#[tokio::test]
async fn payments_at_once_never_race_past_the_calls_that_are_left() {
    let account = Account::new().await;
    let wallet = Arc::new(account.wallet());
    let mut paying = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (wallet, terms) = (Arc::clone(&wallet), account.terms());
        paying.spawn(async move { wallet.prepare(&terms, &limits()).await.is_ok() });
    }
    let signed = paying.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(signed, 3, "three calls are left");
    // Two of them are executed: the account counts them, and so they wait no more.
    account.set(|record| {
        record.nonce_used = true;
        record.data = data(NOW + 3600, 3, 2, 1);
    });
    assert!(wallet.prepare(&account.terms(), &limits()).await.is_ok());
    account.set(|record| record.nonce_used = false);
    assert_eq!(
        account.refusal(&wallet).await,
        codes::SESSION_MAX_CALLS_EXCEEDED
    );
}

#[tokio::test]
async fn a_node_that_fails_makes_nobody_sign() {
    let account = Account::new().await;
    account.set(|record| record.data = Err((-32603, "internal".to_owned())));
    let outcome = account
        .with_owner()
        .prepare(&account.terms(), &limits())
        .await;
    let unavailable = matches!(
        &outcome,
        Err(WalletError::Chain(ChainError::Unavailable { .. }))
    );
    assert!(unavailable, "{outcome:?}");
}

#[test]
fn registering_is_the_call_that_everybody_makes() {
    for (name, input, expected) in cases("add_session_calldata") {
        let listed = input["allowed_entrypoints"].as_array().unwrap();
        let registration = Registration {
            max_calls: u32::try_from(input["max_calls"].as_u64().unwrap()).unwrap(),
            entrypoints: listed
                .iter()
                .map(|name| selectors::parse(name.as_str().unwrap()).unwrap())
                .collect(),
            everything: true,
        };
        let public = felt_of(input["session_public_key"].as_str().unwrap());
        let secret = ["0x71d7bb07b9a64f6f78ac4c816aff4da9", "0x1234567890abcdef"]
            .map(|key| StarkKey::from_hex(key).unwrap())
            .into_iter()
            .find(|key| key.public() == public)
            .unwrap();
        let until = input["valid_until"].as_str().unwrap().parse().unwrap();
        let session = SessionKey::new(secret, until);
        let call = register(felt_of(PAYER), &session, &registration).unwrap();
        assert_eq!(
            json!(felt::texts(&call.calldata)),
            expected["calldata"],
            "{name}"
        );
        assert_eq!(
            json!(felt::text(&call.selector)),
            expected["entrypoint_selector"]
        );
        assert_eq!(felt::text(&call.to), PAYER);
    }
}

#[test]
fn all_entry_points_are_allowed_on_explicit_consent_only() {
    let session = SessionKey::create(Timestamp::from_secs(NOW), DEFAULT_DURATION).unwrap();
    assert_eq!(session.valid_until(), NOW + 21_600);
    let refused = |change: &dyn Fn(&mut Registration)| {
        let mut registration = Registration::transfers(1);
        change(&mut registration);
        register(Felt::ONE, &session, &registration).map_err(code)
    };
    let failed = Err(codes::SESSION_CREATION_FAILED.to_owned());
    assert!(refused(&|_| {}).is_ok());
    assert_eq!(refused(&|r| r.entrypoints.clear()), failed);
    assert_eq!(refused(&|r| r.max_calls = 0), failed);
    assert_eq!(refused(&|r| r.entrypoints = vec![Felt::ONE; 33]), failed);
    for duration in [Duration::ZERO, Duration::from_secs(31_536_001)] {
        let made = SessionKey::create(Timestamp::from_secs(NOW), duration);
        assert_eq!(
            made.map(|_| ()).map_err(code),
            Err(codes::SESSION_CREATION_FAILED.to_owned())
        );
    }
}

fn code(refusal: Refusal) -> String {
    refusal.code().to_owned()
}

#[test]
fn a_policy_that_contradicts_itself_is_refused() {
    let amount = Amount::from_atomic;
    let good = Policy::for_session(amount(100_000), 100, 21_600).unwrap();
    assert_eq!(good.max_per_window, amount(10_000_000));
    let token = felt_of(USDC);
    let set = |policy: &Policy| set_policy(Felt::ONE, Felt::TWO, token, policy).map_err(code);
    let call = set(&good).unwrap();
    assert_eq!(call.calldata.len(), 7);
    for bad in [
        Policy {
            max_per_call: Amount::ZERO,
            ..good
        },
        Policy {
            max_per_window: amount(99_999),
            ..good
        },
        Policy {
            window_seconds: 0,
            ..good
        },
    ] {
        assert_eq!(set(&bad), Err(codes::INVALID_SPENDING_POLICY.to_owned()));
    }
    assert!(Policy::for_session(Amount::MAX, 2, 1).is_none());
    assert_eq!(
        remove_policy(Felt::ONE, Felt::TWO, token).calldata,
        [Felt::TWO, token]
    );
    assert_eq!(revoke(Felt::ONE, Felt::TWO).calldata, [Felt::TWO]);
}

#[tokio::test]
async fn a_status_is_what_the_contract_returns() {
    let account = Account::new().await;
    account.set(|record| record.data = data(NOW + 9, 10, 4, 1));
    let session = Felt::from(5_u8);
    let status = SessionStatus::read(&account.world.rpc, felt_of(PAYER), session, None);
    let status = status.await.unwrap();
    assert_eq!(status.data.calls_left(), 6);
    assert_eq!(status.entrypoints, [selectors::TRANSFER]);
    assert_eq!(status.policy(Timestamp::from_secs(NOW)), None);
    let wanted = Wanted {
        selector: selectors::TRANSFER,
        amount: Amount::MAX,
        valid_until: NOW + 9,
        under_way: 5,
    };
    let now = Timestamp::from_secs(NOW);
    assert!(status.preflight(&wanted, now).is_ok());
    let more = Wanted {
        under_way: 6,
        ..wanted
    };
    assert!(status.preflight(&more, now).is_err());
}

#[tokio::test]
async fn a_session_executes_what_it_may_and_nothing_that_concerns_the_account() {
    let account = Account::new().await;
    let wallet = account.wallet();
    let minute = Duration::from_secs(60);
    let caller = felt_of(crate::support::FEE_PAYER);
    let transfer = |amount: u64| Call {
        to: felt_of(USDC),
        selector: selectors::TRANSFER,
        calldata: vec![Felt::ONE, Felt::from(amount), Felt::ZERO],
    };
    let signed = wallet
        .execute(vec![transfer(1), transfer(2)], caller, minute)
        .await
        .unwrap();
    assert_eq!(signed.signature.len(), 4);
    assert_eq!(signed.call().selector, selectors::EXECUTE_FROM_OUTSIDE);
    assert_eq!(signed.execution.execute_before, u128::from(NOW + 60));

    let refused = |calls: Vec<Call>| {
        let wallet = account.wallet();
        async move {
            match wallet.execute(calls, caller, minute).await {
                Err(WalletError::Refused(refusal)) => refusal.code().to_owned(),
                Err(WalletError::Chain(ChainError::Refused(refusal))) => refusal.code().to_owned(),
                other => panic!("not refused: {other:?}"),
            }
        }
    };
    let not_allowed = codes::SESSION_ENTRYPOINT_NOT_ALLOWED;
    let own = Call {
        to: felt_of(PAYER),
        ..transfer(1)
    };
    assert_eq!(refused(vec![transfer(1), own]).await, not_allowed);
    for selector in selectors::ADMINISTRATIVE {
        let call = Call {
            selector,
            ..transfer(1)
        };
        assert_eq!(refused(vec![call]).await, not_allowed);
    }
    let used_up = codes::SESSION_MAX_CALLS_EXCEEDED;
    assert_eq!(
        refused(vec![transfer(1); 4]).await,
        used_up,
        "three calls are left"
    );
    account.set(|record| record.policy = policy(5, 9, 60, 0, NOW));
    assert_eq!(
        refused(vec![transfer(6)]).await,
        codes::SESSION_POLICY_EXCEEDED
    );
    let odd = Call {
        calldata: vec![Felt::ONE],
        ..transfer(1)
    };
    assert_eq!(refused(vec![odd]).await, codes::INVALID_PAYLOAD);
    assert_eq!(refused(vec![]).await, codes::INVALID_PAYLOAD);
}

#[test]
fn what_administers_an_account_cannot_be_listed() {
    let session = SessionKey::create(Timestamp::from_secs(NOW), DEFAULT_DURATION).unwrap();
    for selector in selectors::ADMINISTRATIVE {
        let registration = Registration {
            entrypoints: vec![selectors::TRANSFER, selector],
            ..Registration::transfers(1)
        };
        let refused = register(Felt::ONE, &session, &registration).map_err(code);
        assert_eq!(refused, Err(codes::SESSION_CREATION_FAILED.to_owned()));
    }
}
