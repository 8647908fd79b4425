//! What one who asks a signer may take of it, and what is left for the others.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{
    Address, Amount, ChainError, Clock as _, Limits, Lookup, Network, Prepared, Raw, Settled,
    SystemClock, Terms, TxHash, Wallet, WalletError,
};
use tollway_ledger::{SpendState, SpendStore as _};
use tollway_payer::Policy;

use crate::bench::Buyer;
use crate::open_payments::{Oracle, settled};
use crate::proofs::by_proof;
use crate::remote::{Signer, by};
use crate::seller::*;
use crate::wallet::FakeWallet;

/// Counts what it is asked for, and how many ask at once.
#[derive(Default)]
struct Counting {
    fake: FakeWallet,
    balances: AtomicUsize,
    sending: AtomicUsize,
    at_once: AtomicUsize,
    /// Signs everything under one nonce.
    is_stuck: bool,
}

#[async_trait]
impl Wallet for Counting {
    fn address(&self, network: &Network) -> Option<Address> {
        self.fake.address(network)
    }

    fn supports(&self, _: &Terms) -> bool {
        true
    }

    async fn balance(&self, _: &Network, _: &Address) -> Result<Option<Amount>, ChainError> {
        self.balances.fetch_add(1, Ordering::SeqCst);
        Ok(Some(Amount::from_atomic(5)))
    }

    async fn prepare(&self, terms: &Terms, limits: &Limits) -> Result<Prepared, WalletError> {
        let mut prepared = self.fake.prepare(terms, limits).await?;
        if self.is_stuck {
            prepared.identity.nonce = "1".to_owned();
        }
        if terms.transfer_method() == Some(tollway_core::assets::Method::Txid) {
            let number = self.fake.signed();
            prepared.transaction = Some(Raw {
                hash: TxHash::new(&format!("0x{number:064x}")),
                bytes: vec![1],
            });
        }
        Ok(prepared)
    }

    async fn broadcast(&self, _: &Network, _: &Raw) -> Result<(), ChainError> {
        let before = self.sending.fetch_add(1, Ordering::SeqCst);
        self.at_once.fetch_max(before + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.sending.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

/// One question as a program of its own words asks it, and the whole answer.
async fn told(path: &Path, ask: &Value) -> Value {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let body = serde_json::to_vec(ask).unwrap();
    let mut frame = b"TWSG\x01".to_vec();
    frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend(body);
    stream.write_all(&frame).await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let length = u32::from_be_bytes(head[5..].try_into().unwrap());
    let mut body = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn sign(id: &str, terms: &PaymentRequirements) -> Value {
    json!({"ask": "sign", "with": {
        "id": id, "url": "https://seller.test/goods", "terms": terms,
        "max_amount": "1000000", "max_lifetime": 300,
    }})
}

/// A refusal's code, or what was answered instead.
fn word(answer: &Value) -> &str {
    let code = answer["with"]["code"].as_str();
    code.unwrap_or_else(|| answer["answer"].as_str().unwrap())
}

#[tokio::test]
async fn who_says_nothing_gives_its_place_to_another_soon() {
    let signer = Signer::with(FakeWallet::default(), Policy::default()).await;
    let mut silent = UnixStream::connect(&signer.path).await.unwrap();
    let mut slow = UnixStream::connect(&signer.path).await.unwrap();
    slow.write_all(b"TWSG\x01\0\0").await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), async {
        let mut nothing = Vec::new();
        let _ = silent.read_to_end(&mut nothing).await;
        let _ = slow.read_to_end(&mut nothing).await;
        assert!(nothing.is_empty());
    });
    ended
        .await
        .expect("it is sent away before 30 seconds are over");
}

#[tokio::test]
async fn the_owners_node_is_asked_for_balances_of_the_policys_assets_and_now_and_then() {
    let signer = Signer::with(Counting::default(), Policy::default()).await;
    let network = Network::eip155(84532);
    let asset = network.address(USDC).unwrap();
    let wallet = Arc::new(signer.wallet().await);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (wallet, network, asset) = (Arc::clone(&wallet), network.clone(), asset.clone());
        asking.spawn(async move { wallet.balance(&network, &asset).await.unwrap() });
    }
    let held = asking.join_all().await;
    assert_eq!(held, [Some(Amount::from_atomic(5)); 20]);
    let other = network.address(PAYEE).unwrap();
    let refused = wallet.balance(&network, &other).await.unwrap_err();
    assert!(matches!(refused, ChainError::Refused(r) if r.code() == "policy_asset"));
    let elsewhere = wallet.balance(&Network::eip155(5), &asset).await;
    assert!(elsewhere.is_err());
    assert_eq!(signer.desk.wallet.balances.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_transaction_is_sent_for_one_caller_at_a_time() {
    let signer = Signer::with(Counting::default(), Policy::default()).await;
    let answer = told(&signer.path, &sign("one", &by_proof())).await;
    assert_eq!(word(&answer), "signed", "{answer}");
    let hash = answer["with"]["transaction"]["hash"].clone();
    let send = json!({"ask": "send", "with": {"network": "eip155:84532", "transaction": hash}});
    let elsewhere = json!({"ask": "send", "with": {"network": "eip155:8453", "transaction": hash}});
    assert_eq!(
        word(&told(&signer.path, &elsewhere).await),
        "invalid_request"
    );
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (path, send) = (signer.path.clone(), send.clone());
        asking.spawn(async move { told(&path, &send).await });
    }
    for answer in asking.join_all().await {
        assert_eq!(word(&answer), "sent", "{answer}");
    }
    assert_eq!(signer.desk.wallet.at_once.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_transaction_is_not_signed_while_the_fate_of_another_is_open() {
    let signer = Signer::with(Counting::default(), Policy::default()).await;
    // Many at once, each by a name of its own: one of them gets it.
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..10 {
        let path = signer.path.clone();
        asking.spawn(async move { told(&path, &sign(&format!("of{n}"), &by_proof())).await });
    }
    let answers = asking.join_all().await;
    let mut words: Vec<&str> = answers.iter().map(word).collect();
    words.sort_unstable();
    assert_eq!(words[..2], ["signed", "wallet_unavailable"]);
    assert_eq!(words.iter().filter(|word| **word == "signed").count(), 1);
    let refused = answers.iter().find(|a| word(a) != "signed").unwrap();
    assert!(
        refused["with"]["message"]
            .as_str()
            .unwrap()
            .contains("under way")
    );
    // Neither after a new beginning; what is signed without one is.
    let desk = signer
        .stopped()
        .await
        .restarted(by(Policy::default()))
        .await;
    let signer = Signer::at(desk);
    let later = told(&signer.path, &sign("later", &by_proof())).await;
    assert_eq!(word(&later), "wallet_unavailable", "{later}");
    let plain = told(&signer.path, &sign("plain", &offer("10000"))).await;
    assert_eq!(word(&plain), "signed", "{plain}");
}

#[tokio::test]
async fn however_little_payments_cost_a_signer_records_so_many_an_hour() {
    let desk = Buyer::with(FakeWallet::default(), by(Policy::default())).await;
    let signer = Signer::bound(desk, |socket| socket.at_most(3));
    let cheap = offer("1");
    for id in ["a", "b", "c"] {
        let answer = told(&signer.path, &sign(id, &cheap)).await;
        assert_eq!(word(&answer), "signed", "{answer}");
    }
    let full = told(&signer.path, &sign("d", &cheap)).await;
    assert_eq!(word(&full), "signer_busy", "{full}");
    assert!(
        full["with"]["message"]
            .as_str()
            .unwrap()
            .contains("--max-per-hour")
    );
    // What was signed is given again all the same.
    let again = told(&signer.path, &sign("b", &cheap)).await;
    assert_eq!(word(&again), "signed", "{again}");
    assert_eq!(signer.spends().await.len(), 3, "nothing more is on record");
}

#[tokio::test]
async fn what_callers_say_beside_the_terms_is_bounded_and_not_kept() {
    let signer = Signer::with(FakeWallet::default(), Policy::default()).await;
    let with = |key: &str, value: Value| {
        let mut ask = sign("x", &offer("1"));
        ask["with"][key] = value;
        ask
    };
    let long = "x".repeat(20_000);
    let mut terms = offer("1");
    terms
        .extra
        .get_or_insert_default()
        .insert("more".to_owned(), json!(long));
    for ask in [
        with("url", json!(format!("https://seller.test/{long}"))),
        with(
            "resource",
            json!({"url": "https://seller.test/", "description": long}),
        ),
        with("extensions", json!({"e": long})),
        with("terms", json!(terms)),
    ] {
        let answer = told(&signer.path, &ask).await;
        assert_eq!(word(&answer), "invalid_request", "{answer}");
    }
    assert!(signer.spends().await.is_empty());
    let said = json!({"url": "https://seller.test/", "description": "said"});
    told(&signer.path, &with("resource", said)).await;
    let signed = signer.spends().await.remove(0).signed.unwrap();
    assert_eq!(signed.payload.resource, None);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_handed_out_and_its_price_is_free_again() {
    let wallet = Counting {
        is_stuck: true,
        ..Counting::default()
    };
    let signer = Signer::with(wallet, Policy::default()).await;
    let first = told(&signer.path, &sign("a", &offer("10000"))).await;
    assert_eq!(word(&first), "signed");
    let second = told(&signer.path, &sign("b", &offer("10000"))).await;
    assert_eq!(second["answer"], "unavailable", "{second}");
    let states = signer.desk.states().await;
    assert_eq!(states, [SpendState::Released, SpendState::Signed]);
}

#[tokio::test]
async fn a_payment_that_cannot_be_decided_keeps_no_other_from_it() {
    let Lookup::Settled(more) = settled() else {
        unreachable!()
    };
    // More than was reserved: the record does not take it.
    let more = Settled {
        amount: Amount::from_atomic(10_001),
        ..more
    };
    let oracle = Oracle::says(Lookup::Settled(more));
    let signer = Signer::with(FakeWallet::default(), Policy::default()).await;
    told(&signer.path, &sign("a", &offer("10000"))).await;
    told(&signer.path, &sign("b", &offer("20000"))).await;
    let desk = signer.stopped().await;
    let ledger = &desk.ledger;
    for record in ledger.spends(2).await.unwrap() {
        let now = SystemClock.now();
        ledger
            .unclear(&record.id, "delivered: no receipt", now)
            .await
            .unwrap();
    }
    let desk = desk.restarted(|b| b.reconciler(oracle, true)).await;
    let done = desk.payer.reconcile().await.unwrap();
    assert_eq!((done.paid, done.held), (1, 1));
    assert_eq!(desk.states().await, [SpendState::Paid, SpendState::Unknown]);
}
