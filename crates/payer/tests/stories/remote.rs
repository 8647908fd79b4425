//! A signer in a process of its own: what whoever asks it can get, and what not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tollway_core::assets::Method;
use tollway_core::wire::{PaymentRequirements, ResourceInfo};
use tollway_core::{
    Address, Amount, ChainError, Clock as _, Identity, LimitedKey, Limits, Network, Offered,
    Prepared, Purchase, Scheme, SpendId, SystemClock, Terms, Wallet, WalletError,
};
use tollway_evm::{EvmSigner, EvmWallet};
use tollway_ledger::{SpendRecord, SpendState, SpendStore as _};
use tollway_payer::{
    Budget, ErrorKind, PayError, PayMethod, PayRequest, Payer, PayerBuilder, Policy, RemoteWallet,
    SignerSocket,
};

use crate::bench::{Buyer, IMPATIENT};
use crate::seller::*;
use crate::wallet::FakeWallet;

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const STRANGER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

/// A signer at its socket; the desk behind it has wallet and record.
pub struct Signer<W> {
    pub desk: Buyer<W>,
    pub path: PathBuf,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), PayError>>,
}

impl<W: Wallet + 'static> Signer<W> {
    pub async fn with(wallet: W, policy: Policy) -> Self {
        Self::at(Buyer::with(wallet, by(policy)).await)
    }

    pub fn at(desk: Buyer<W>) -> Self {
        Self::bound(desk, |socket| socket)
    }

    pub fn bound(desk: Buyer<W>, set: impl FnOnce(SignerSocket) -> SignerSocket) -> Self {
        let path = desk.directory.path().join("run/signer.sock");
        let socket = set(SignerSocket::bind(&path, &[]).unwrap());
        let (stop, stopped) = oneshot::channel();
        let payer = desk.payer.clone();
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            payer.sign_at(socket, stopped).await
        });
        Self {
            desk,
            path,
            stop,
            served,
        }
    }

    pub async fn wallet(&self) -> RemoteWallet {
        RemoteWallet::connect(&self.path).await.unwrap()
    }

    pub async fn stopped(self) -> Buyer<W> {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
        self.desk
    }

    pub async fn spends(&self) -> Vec<SpendRecord> {
        self.desk.spends().await
    }

    /// A program that pays by this signer, with a record of its own and no key.
    pub async fn agent(&self) -> Buyer<RemoteWallet> {
        Buyer::with(self.wallet().await, |b| b).await
    }
}

pub fn by(policy: Policy) -> impl FnOnce(PayerBuilder) -> PayerBuilder {
    |builder| builder.policy(policy).agent("robot")
}

pub fn evm() -> EvmWallet {
    EvmWallet::new(EvmSigner::from_hex(KEY).unwrap())
}

/// A taken-over program's own words.
pub struct Forged<'a> {
    pub id: &'a str,
    pub url: &'a str,
    pub terms: PaymentRequirements,
}

impl Forged<'_> {
    pub fn new(terms: PaymentRequirements) -> Self {
        Self {
            id: "",
            url: "https://seller.test/goods",
            terms,
        }
    }

    pub async fn asked(&self, wallet: &RemoteWallet) -> Result<Prepared, WalletError> {
        let terms = Terms::check(self.terms.clone()).unwrap();
        let limits = Limits {
            max_amount: Amount::MAX,
            max_lifetime: Duration::from_secs(u64::MAX),
        };
        let id = match self.id {
            "" => SpendId::random().unwrap(),
            id => SpendId::from_text(id),
        };
        let resource = ResourceInfo {
            url: "https://seller.test/goods".to_owned(),
            ..ResourceInfo::default()
        };
        let offered = Offered {
            resource: Some(&resource),
            may_approve: true,
            purchase: Some(Purchase {
                id: &id,
                url: self.url,
            }),
            ..Offered::default()
        };
        wallet.prepare_offered(&terms, &limits, offered).await
    }

    pub async fn code(&self, wallet: &RemoteWallet) -> String {
        match self.asked(wallet).await {
            Ok(_) => "signed".to_owned(),
            Err(WalletError::Refused(refusal)) => refusal.code().to_owned(),
            Err(WalletError::Chain(error)) => format!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_program_without_a_key_pays_by_a_signer() {
    let signer = Signer::with(evm(), Policy::default()).await;
    let seller = Seller::honest(vec![offer("10000")]).await;
    let agent = signer.agent().await;
    let paid = agent.get(&seller.url).await.unwrap();
    assert!(paid.payment.unwrap().is_settled());
    assert_eq!(agent.wallet.agent(), "robot");
    let spends = signer.spends().await;
    assert_eq!(spends.len(), 1);
    assert_eq!(spends[0].state, SpendState::Signed);
    assert_eq!(spends[0].spend.url, format!("{}", seller.url));
    assert_eq!(agent.states().await, [SpendState::Paid]);
}

#[tokio::test]
async fn who_takes_the_program_over_gets_no_signature_outside_the_signers_policy() {
    let policy = Policy {
        networks: vec![Network::eip155(84532)],
        hosts: vec!["seller.test".parse().unwrap()],
        payees: vec![Network::eip155(84532).address(PAYEE).unwrap()],
        methods: vec![PayMethod::Eip3009, PayMethod::Upto],
        schemes: vec![Scheme::Exact],
        max_per_call: "0.05".parse().unwrap(),
        ..Policy::default()
    };
    let signer = Signer::with(evm(), policy).await;
    let wallet = signer.wallet().await;
    let with = |change: fn(&mut PaymentRequirements)| {
        let mut terms = offer("10000");
        change(&mut terms);
        Forged::new(terms)
    };
    let at = |url| Forged {
        url,
        ..Forged::new(offer("10000"))
    };
    let cases = [
        (with(|t| t.pay_to = STRANGER.into()), "policy_payee"),
        (with(|t| t.amount = "50001".into()), "policy_amount"),
        (with(|t| t.amount = "0".into()), "policy_amount"),
        (
            with(|t| t.amount = Amount::MAX.to_string()),
            "policy_amount",
        ),
        (with(|t| t.asset = STRANGER.into()), "policy_asset"),
        (
            with(|t| {
                t.extra = json!({"name": "Other", "version": "2"})
                    .as_object()
                    .cloned()
            }),
            "policy_asset",
        ),
        (with(|t| t.network = "eip155:8453".into()), "policy_network"),
        (
            Forged::new(offer("10000").with_method(Method::Permit2)),
            "policy_method",
        ),
        (with(|t| t.scheme = "upto".into()), "policy_scheme"),
        (at("https://seller.test.evil.example/goods"), "policy_host"),
        (at("http://seller.test/goods"), "policy_insecure_url"),
        (at(""), "invalid_request"),
        (at("seller.test"), "invalid_request"),
    ];
    for (forged, code) in cases {
        let told = forged.code(&wallet).await;
        assert_eq!(told, code, "{:?} {}", forged.terms, forged.url);
    }
    let names = ["../x", "a b", &"x".repeat(65)];
    for id in names {
        let forged = Forged {
            id,
            ..Forged::new(offer("10000"))
        };
        assert_eq!(forged.code(&wallet).await, "invalid_request");
    }
    assert!(signer.spends().await.is_empty(), "nothing was reserved");
    assert_eq!(Forged::new(offer("10000")).code(&wallet).await, "signed");
}

#[tokio::test]
async fn what_a_signer_signs_lives_no_longer_than_its_own_policy_says() {
    let policy = Policy {
        max_lifetime: Duration::from_secs(120),
        ..Policy::default()
    };
    let signer = Signer::with(evm(), policy).await;
    let mut terms = offer("10000");
    terms.max_timeout_seconds = 31_536_000;
    let signed = Forged::new(terms).asked(&signer.wallet().await).await;
    let signed = signed.unwrap();
    let authorization = &signed.payload["authorization"];
    let until: u64 = authorization["validBefore"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(until <= SystemClock.now().secs() + 120, "{authorization}");
    // What is signed is what was reserved, of the signer's own making.
    assert_eq!(authorization["value"], "10000");
    assert_eq!(
        authorization["to"].as_str().unwrap().to_lowercase(),
        PAYEE.to_lowercase()
    );
}

#[tokio::test]
async fn however_many_ask_at_once_a_signers_budget_is_not_passed() {
    let policy = Policy {
        budget: Budget {
            per_day: Some("0.2".parse().unwrap()),
            ..Budget::default()
        },
        ..Policy::default()
    };
    let signer = Signer::with(FakeWallet::default(), policy).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let path = signer.path.clone();
        asking.spawn(async move {
            let wallet = RemoteWallet::connect(&path).await.unwrap();
            Forged::new(offer("10000")).code(&wallet).await
        });
    }
    let told = asking.join_all().await;
    let count = |code: &str| told.iter().filter(|one| *one == code).count();
    assert_eq!((count("signed"), count("budget_exceeded")), (20, 80));
    assert_eq!(signer.desk.wallet.signed(), 20);
    // Neither does a new beginning open it.
    let desk = signer.stopped().await;
    let budget = desk.payer.policy().clone();
    let signer = Signer::at(desk.restarted(by(budget)).await);
    let wallet = signer.wallet().await;
    let told = Forged::new(offer("10000")).code(&wallet).await;
    assert_eq!(told, "budget_exceeded");
}

#[tokio::test]
async fn by_one_name_one_payment_is_signed_however_often_it_is_asked_for() {
    let slow = FakeWallet {
        slow: Duration::from_millis(30),
        ..FakeWallet::default()
    };
    let signer = Signer::with(slow, Policy::default()).await;
    let ask = |path: PathBuf| async move {
        let wallet = RemoteWallet::connect(&path).await.unwrap();
        let forged = Forged {
            id: "spd_1",
            ..Forged::new(offer("10000"))
        };
        forged.asked(&wallet).await.unwrap()
    };
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        asking.spawn(ask(signer.path.clone()));
    }
    let given = asking.join_all().await;
    assert!(given.iter().all(|one| *one == given[0]));
    assert_eq!(signer.desk.wallet.signed(), 1);

    // The name is good for nothing else.
    let wallet = signer.wallet().await;
    for (url, terms) in [
        ("https://seller.test/goods", offer("10001")),
        ("https://seller.test/other", offer("10000")),
    ] {
        let id = "spd_1";
        let other = Forged { id, url, terms };
        assert_eq!(other.code(&wallet).await, "signer_request_changed");
    }
    assert_eq!(signer.spends().await.len(), 1, "nothing more was reserved");

    // And after a new beginning it is the same.
    let desk = signer.stopped().await;
    let signer = Signer::at(desk.restarted(by(Policy::default())).await);
    assert_eq!(ask(signer.path.clone()).await, given[0]);
    assert_eq!(signer.spends().await.len(), 1);
}

#[tokio::test]
async fn an_offer_that_the_signer_does_not_allow_is_passed_over_for_one_that_it_does() {
    let policy = Policy {
        methods: vec![PayMethod::Eip3009],
        ..Policy::default()
    };
    let signer = Signer::with(evm(), policy).await;
    let cheaper = offer("9000").with_method(Method::Permit2);
    let seller = Seller::honest(vec![cheaper, offer("10000")]).await;
    let agent = signer.agent().await;
    let paid = agent.get(&seller.url).await.unwrap().payment.unwrap();
    assert_eq!(paid.amount, Amount::from_atomic(10_000));
    assert_eq!(
        agent.states().await,
        [SpendState::Paid, SpendState::Released],
        "what was reserved for the first is given back"
    );
}

#[tokio::test]
async fn a_signer_that_refuses_or_is_gone_costs_the_program_nothing() {
    let policy = Policy {
        payees: vec![Network::eip155(84532).address(STRANGER).unwrap()],
        ..Policy::default()
    };
    let signer = Signer::with(evm(), policy).await;
    let seller = Seller::honest(vec![offer("10000")]).await;
    let agent = signer.agent().await;
    let error = agent.get(&seller.url).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Declined, "policy_payee"),
        "{error}"
    );
    assert!(error.message().contains("The signer refuses"), "{error}");
    let path = signer.path.clone();
    drop(signer.stopped().await);
    assert!(!path.exists());
    let error = agent.get(&seller.url).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Failed, "wallet_unavailable")
    );
    assert!(error.message().contains("tollway signer serve"), "{error}");
    assert_eq!(agent.states().await, [SpendState::Released; 2]);
    assert_eq!(seller.payments(), [""; 0]);
    let error = RemoteWallet::connect(&path).await.unwrap_err();
    assert!(error.to_string().contains("No signer answers"), "{error}");
}

#[tokio::test]
async fn what_a_signer_reserved_and_never_signed_is_given_back_when_it_starts_anew() {
    let signer = Signer::with(evm(), Policy::default()).await;
    let wallet = signer.wallet().await;
    Forged::new(offer("10000")).asked(&wallet).await.unwrap();
    let left = signer.spends().await.remove(0).spend;
    let left = tollway_ledger::NewSpend {
        request: "another".to_owned(),
        ..left
    };
    let ledger = &signer.desk.ledger;
    ledger.reserve(left, &[], SystemClock.now()).await.unwrap();
    let desk = signer.stopped().await;
    let signer = Signer::at(desk.restarted(by(Policy::default())).await);
    signer.wallet().await;
    let states = signer.desk.states().await;
    assert_eq!(states, [SpendState::Released, SpendState::Signed]);
}

#[tokio::test]
async fn only_what_was_signed_here_is_sent_or_signed_again() {
    let signer = Signer::with(evm(), Policy::default()).await;
    let wallet = signer.wallet().await;
    let network = Network::eip155(84532);
    Forged::new(offer("10000")).asked(&wallet).await.unwrap();
    let raw = tollway_core::Raw {
        hash: tollway_core::TxHash::new(TX),
        bytes: vec![1, 2, 3],
    };
    let error = wallet.broadcast(&network, &raw).await.unwrap_err();
    assert!(error.to_string().contains("signed here"), "{error}");
    let terms = Terms::check(offer("10000")).unwrap();
    let limits = Limits {
        max_amount: Amount::MAX,
        max_lifetime: Duration::from_secs(60),
    };
    let identity = Identity {
        network: network.clone(),
        scope: USDC.to_owned(),
        payer: wallet.address(&network).unwrap(),
        nonce: "0x1".to_owned(),
    };
    let again = wallet.sign_again(&terms, &limits, &identity).await;
    assert!(matches!(again, Err(WalletError::Refused(_))));
    let approval = wallet.approval(&terms).await;
    assert!(matches!(approval, Err(WalletError::Refused(r)) if r.code() == "no_acceptable_terms"));
}

#[tokio::test]
async fn what_is_no_question_is_answered_and_disturbs_nobody() {
    let signer = Signer::with(evm(), Policy::default()).await;
    let frame = |body: &[u8]| {
        let mut frame = b"TWSG\x01".to_vec();
        frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        frame.extend(body);
        frame
    };
    for bytes in [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"TWSG\x02\0\0\0\x02{}".to_vec(),
        b"TWSG\x01\xff\xff\xff\xff".to_vec(),
        frame(b"{}"),
        frame(b"[]"),
        frame(br#"{"ask":"key"}"#),
        frame(br#"{"ask":"sign","with":{"digest":"0x00"}}"#),
        frame(&[b'['; 4096]),
    ] {
        let mut stream = UnixStream::connect(&signer.path).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("signer_protocol"), "{text}");
    }
    // One who says nothing, and one who hangs up in the middle.
    let _silent = UnixStream::connect(&signer.path).await.unwrap();
    let mut rude = UnixStream::connect(&signer.path).await.unwrap();
    rude.write_all(b"TWSG\x01\0\0\0\xff{").await.unwrap();
    drop(rude);
    let wallet = signer.wallet().await;
    assert_eq!(Forged::new(offer("10000")).code(&wallet).await, "signed");
    // A silent caller keeps nobody from stopping.
    let stopped = tokio::time::timeout(Duration::from_secs(5), signer.stopped());
    assert!(stopped.await.is_ok());
}

#[tokio::test]
async fn more_callers_than_a_signer_serves_at_once_are_told_so_and_wait() {
    let signer = Signer::with(evm(), Policy::default()).await;
    let wallet = signer.wallet().await;
    let mut crowd = Vec::new();
    for _ in 0..32 {
        crowd.push(UnixStream::connect(&signer.path).await.unwrap());
    }
    let mut stream = UnixStream::connect(&signer.path).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("signer_busy"), "{answer}");
    let leaving = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(crowd);
    });
    let told = Forged::new(offer("10000")).code(&wallet).await;
    assert_eq!(told, "signed");
    assert!(leaving.is_finished(), "not before there was room");
}

/// An account with a key of two payments, and its own behind it.
#[derive(Default)]
struct Sessions {
    fake: FakeWallet,
    by_own_key: AtomicUsize,
}

#[async_trait]
impl Wallet for Sessions {
    fn address(&self, network: &Network) -> Option<Address> {
        self.fake.address(network)
    }

    fn supports(&self, terms: &Terms) -> bool {
        self.fake.supports(terms)
    }

    async fn balance(&self, _: &Network, _: &Address) -> Result<Option<Amount>, ChainError> {
        Ok(Some(Amount::from_atomic(77_777)))
    }

    async fn prepare(&self, terms: &Terms, limits: &Limits) -> Result<Prepared, WalletError> {
        self.fake.prepare(terms, limits).await
    }

    async fn prepare_offered(
        &self,
        terms: &Terms,
        limits: &Limits,
        offered: Offered<'_>,
    ) -> Result<Prepared, WalletError> {
        let own = usize::from(offered.by_own_key);
        self.by_own_key.fetch_add(own, Ordering::SeqCst);
        self.prepare(terms, limits).await
    }

    fn limited_key(&self, _: &Terms) -> Option<LimitedKey> {
        Some(LimitedKey {
            name: "session:1".to_owned(),
            payments: Amount::from_atomic(2),
            total: None,
            falls_back: true,
        })
    }

    async fn sign_again(
        &self,
        terms: &Terms,
        limits: &Limits,
        identity: &Identity,
    ) -> Result<Option<Prepared>, WalletError> {
        let again = self.prepare(terms, limits).await?;
        Ok(Some(Prepared {
            identity: identity.clone(),
            ..again
        }))
    }
}

#[tokio::test]
async fn a_session_of_a_signer_is_held_to_its_payments_and_its_owner_signs_the_rest() {
    let signer = Signer::with(Sessions::default(), Policy::default()).await;
    let wallet = signer.wallet().await;
    for _ in 0..3 {
        assert_eq!(Forged::new(offer("10000")).code(&wallet).await, "signed");
    }
    assert_eq!(signer.desk.wallet.by_own_key.load(Ordering::SeqCst), 1);
    let network = Network::eip155(84532);
    let asset = network.address(USDC).unwrap();
    let held = wallet.balance(&network, &asset).await.unwrap();
    assert_eq!(held, Some(Amount::from_atomic(77_777)));
}

#[tokio::test]
async fn a_refused_payment_is_signed_again_by_the_signers_other_key_and_counted_once() {
    let signer = Signer::with(Sessions::default(), Policy::default()).await;
    // The first signature is refused, the second taken.
    let seller = Seller::selling(vec![offer("10000")], |seen| match seen.payment_number {
        1 => receipt(
            challenge(vec![offer("10000")]),
            &failure("session_expired", ""),
        ),
        _ => goods(),
    })
    .await;
    let agent = signer.agent().await;
    let paid = agent.get(&seller.url).await.unwrap();
    assert!(paid.payment.unwrap().is_settled());
    assert_eq!(seller.distinct_payments(), 2);
    assert_eq!(signer.spends().await.len(), 1);
    assert_eq!(agent.states().await, [SpendState::Paid]);
}

#[tokio::test]
async fn a_signer_that_goes_away_in_the_middle_is_asked_again_by_the_same_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flaky.sock");
    let signer = Signer::with(FakeWallet::default(), Policy::default()).await;
    // Whatever stands between loses the first answer to each question to sign.
    let between = tokio::net::UnixListener::bind(&path).unwrap();
    let behind = signer.path.clone();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut caller, _) = between.accept().await.unwrap();
            let mut question = vec![0; 65_536];
            let read = caller.read(&mut question).await.unwrap();
            let is_sign = String::from_utf8_lossy(&question[..read]).contains("\"sign\"");
            let mut signer = UnixStream::connect(&behind).await.unwrap();
            signer.write_all(&question[..read]).await.unwrap();
            let mut answer = vec![0; 65_536];
            let read = signer.read(&mut answer).await.unwrap();
            if is_sign && count.fetch_add(1, Ordering::SeqCst) == 0 {
                continue;
            }
            let _ = caller.write_all(&answer[..read]).await;
        }
    });
    let seller = Seller::honest(vec![offer("10000")]).await;
    let wallet = RemoteWallet::connect(&path).await.unwrap();
    let agent = Buyer::with(wallet, |b| b.patience(IMPATIENT)).await;
    let paid: tollway_payer::PaidResponse = agent
        .payer
        .fetch(PayRequest::get(seller.url.clone()))
        .await
        .unwrap();
    assert!(paid.payment.unwrap().is_settled());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(signer.desk.wallet.signed(), 1, "nothing is signed twice");
    assert_eq!(signer.spends().await.len(), 1, "nor reserved twice");
    let _: &Payer = &agent.payer;
}

#[tokio::test]
async fn a_starknet_account_signs_behind_the_socket_as_it_does_before_it() {
    use tollway_starknet::{
        Felt, SignedExecution, Signer as Key, StarkKey, StarknetWallet, verifies,
    };
    let network: Network = "starknet:SN_SEPOLIA".parse().unwrap();
    let account = network.address("0x123456789abcdef").unwrap();
    let key = StarkKey::random().unwrap();
    let public = key.public();
    let wallet = StarknetWallet::new(&account, vec![network.clone()], Key::Owner(key)).unwrap();
    let policy = Policy::default();
    let dollar = policy.assets.iter().find(|a| a.network == network).unwrap();
    let terms = PaymentRequirements {
        network: network.to_string(),
        asset: dollar.address.to_string(),
        pay_to: "0x5e11e7".to_owned(),
        max_timeout_seconds: 60,
        extra: json!({"feePayer": "0xfee"}).as_object().cloned(),
        ..offer("10000")
    };
    let signer = Signer::with(wallet, policy.clone()).await;
    let remote = signer.wallet().await;
    assert_eq!(remote.address(&network), Some(account.clone()));
    let signed = Forged::new(terms).asked(&remote).await.unwrap();
    assert_eq!(signed.identity.payer, account);
    let chain = Felt::from_bytes_be_slice(b"SN_SEPOLIA");
    let execution = SignedExecution::parse(&signed.payload, &chain).unwrap();
    let signature = [execution.signature[0], execution.signature[1]];
    assert!(verifies(&public, &execution.hash(&chain), &signature));
}
