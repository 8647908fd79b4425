//! A buyer pays on the chain by itself, then shows the transaction: what buys, and
//! what does not.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use serde_json::json;
use tollway_core::extensions::{PaymentIdentifierId, attach};
use tollway_core::wire::{PaymentPayload, PaymentRequired, PaymentRequirements, Version};
use tollway_core::{Amount, Limits, Network, Raw, Terms, Wallet as _, header};
use tollway_devnet::{DEV_ACCOUNTS, DevAccount};
use tollway_evm::{EvmSigner, EvmWallet, SignedProof};
use tollway_rpc::{RpcClient, RpcConfig};

use crate::harness::buyer::Reply;
use crate::harness::town::{BUYER, NETWORK, PRICE, Town, set, strings, without};
use crate::harness::upstream::GOODS;
use crate::harness::{Buyer, Program, seconds};

/// Who watches the chain and pays for nothing.
const THIEF: DevAccount = DEV_ACCOUNTS[4];

const ROUTES: [&str; 6] = [
    "--route",
    "GET /proof/*=$0.01; methods=txid",
    "--route",
    "GET /deep/*=$0.01; methods=txid; finality=3",
    "--route",
    "GET /open/*=$0.01; methods=unsigned-txid",
];

/// A town with a gate that takes transactions.
struct Shop {
    town: Town,
    gate: Program,
    url: String,
    asker: Buyer,
}

impl Shop {
    async fn open() -> Self {
        let town = Town::new().await;
        let (gate, url) = town.gate(&ROUTES).await;
        Self {
            town,
            gate,
            url,
            asker: Buyer::new(&BUYER),
        }
    }

    /// The gate dies, and another one takes its place.
    async fn fallen_and_risen(self) -> Self {
        let Self {
            town, gate, asker, ..
        } = self;
        gate.crash().await;
        let mut args = town.gate_args("local", &town.rpc());
        set(
            &mut args,
            "--listen",
            self.url.trim_start_matches("http://"),
        );
        args.extend(strings(&ROUTES));
        let (gate, url) = Program::serve(town.command(&args)).await;
        Self {
            town,
            gate,
            url,
            asker,
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn terms(&self, path: &str) -> PaymentRequired {
        self.asker.terms(&self.at(path)).await
    }

    fn wallet(&self, account: &DevAccount) -> EvmWallet {
        let url = self.town.rpc().parse().unwrap();
        let rpc = RpcClient::new(RpcConfig::new(vec![url])).unwrap();
        let signer = EvmSigner::from_bytes(&account.key.0).unwrap();
        EvmWallet::new(signer).with_node(NETWORK.parse::<Network>().unwrap(), rpc)
    }

    /// A transaction that pays what an entry asks, sent or not.
    async fn made(&self, account: &DevAccount, entry: &PaymentRequirements) -> Raw {
        let terms = Terms::check(entry.clone()).unwrap();
        let limits = Limits {
            max_amount: Amount::from_atomic(u128::MAX),
            max_lifetime: seconds(900),
        };
        let prepared = self.wallet(account).prepare(&terms, &limits).await;
        prepared.unwrap().transaction.unwrap()
    }

    async fn send(&self, account: &DevAccount, raw: &Raw) {
        let network = NETWORK.parse().unwrap();
        let sent = self.wallet(account).broadcast(&network, raw).await;
        sent.unwrap();
    }

    /// The buyer pays what an entry asks.
    async fn paid(&self, entry: &PaymentRequirements) -> String {
        let raw = self.made(&BUYER, entry).await;
        self.send(&BUYER, &raw).await;
        raw.hash.to_string()
    }

    /// The buyer's transaction fails on the chain.
    async fn failed(&self, entry: &PaymentRequirements) -> String {
        let raw = self.made(&BUYER, entry).await;
        let (chain, dollar) = (&self.town.chain, self.town.chain.dollar().address);
        let code = chain.code(dollar);
        let refuses = [0x60, 0, 0x60, 0, 0xfd];
        chain.set_code(dollar, refuses.into()).unwrap();
        let hash = chain.send_raw(&raw.bytes).unwrap();
        chain.set_code(dollar, code).unwrap();
        assert_eq!(chain.succeeded(hash), Some(false));
        raw.hash.to_string()
    }

    async fn show(&self, path: &str, payment: &PaymentPayload) -> Reply {
        let shown = header::payment(Version::V2, payment).unwrap();
        self.asker.get(&self.at(path), &[shown]).await
    }
}

/// An entry that differs.
fn with(
    terms: &PaymentRequired,
    change: impl FnOnce(&mut PaymentRequirements),
) -> PaymentRequirements {
    let mut entry = terms.accepts[0].clone();
    change(&mut entry);
    entry
}

/// A proof of a transaction for some terms: who signs it says that `from` paid.
fn proof(
    terms: &PaymentRequired,
    signer: &DevAccount,
    from: Address,
    hash: &str,
) -> PaymentPayload {
    let entry = terms.accepts[0].clone();
    let checked = Terms::check(entry.clone()).unwrap();
    let mut proof = SignedProof {
        tx_hash: hash.parse::<B256>().unwrap(),
        from,
        amount: None,
        log_index: None,
        reference: entry.extra_str("reference").unwrap().to_owned(),
        signature: Default::default(),
    };
    let chain_id = checked.network.chain_id().unwrap();
    let statement = proof.statement(&checked, &terms.resource.url).unwrap();
    let digest = statement.digest(chain_id);
    let signer = EvmSigner::from_bytes(&signer.key.0).unwrap();
    proof.signature = signer.sign(digest).to_vec().into();
    PaymentPayload {
        x402_version: 2,
        resource: Some(terms.resource.clone()),
        accepted: entry,
        payload: proof.to_payload(),
        extensions: terms.extensions.clone(),
    }
}

fn buyers(terms: &PaymentRequired, hash: &str) -> PaymentPayload {
    proof(terms, &BUYER, BUYER.address, hash)
}

fn code(reply: &Reply) -> String {
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap_or_default();
    body["error"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_buyer_pays_by_itself_and_shows_it() {
    let shop = Shop::open().await;
    let node = format!("{NETWORK}={}", shop.town.rpc());
    let bought = shop
        .town
        .pay(&shop.at("/proof/x"), &["--network", &node, "-i"])
        .await
        .exits(0);
    assert!(bought.stdout.ends_with(GOODS), "{}", bought.stdout);
    assert!(bought.stdout.to_lowercase().contains("payment-response"));
    shop.town.paid_exactly_once();
    assert_eq!(shop.town.upstream.asked("/proof/x"), 1);
}

#[tokio::test]
async fn a_thief_buys_nothing_by_a_hash_that_anybody_can_read() {
    let shop = Shop::open().await;
    let terms = shop.terms("/proof/x").await;
    let hash = shop.paid(&terms.accepts[0]).await;
    let own = shop.terms("/proof/x").await;
    for (terms, from, wrong) in [
        (&terms, BUYER.address, "invalid_exact_evm_txid_signature"),
        (&own, BUYER.address, "invalid_exact_evm_txid_signature"),
        (&own, THIEF.address, "invalid_exact_evm_txid_payer_mismatch"),
    ] {
        let reply = shop
            .show("/proof/x", &proof(terms, &THIEF, from, &hash))
            .await;
        assert_eq!((reply.status, code(&reply).as_str()), (402, wrong));
    }
    let reply = shop.show("/proof/x", &buyers(&terms, &hash)).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, GOODS));
    assert_eq!(reply.receipt().unwrap().transaction, hash);
    assert_eq!(shop.town.upstream.asked("/proof/x"), 1);
}

#[tokio::test]
async fn a_proof_buys_what_it_was_signed_for_and_that_once() {
    let shop = Shop::open().await;
    let (terms, other) = (shop.terms("/proof/x").await, shop.terms("/proof/y").await);
    let hash = shop.paid(&terms.accepts[0]).await;
    let wrong = "invalid_exact_evm_txid_reference";
    // Another resource of the route, and another route, with the terms of this one.
    for path in ["/proof/y", "/deep/x"] {
        let mut payment = buyers(&terms, &hash);
        payment.resource.as_mut().unwrap().url = shop.at(path);
        assert_eq!(code(&shop.show(path, &payment).await), wrong, "{path}");
    }
    // The reference of other terms than were signed for.
    let mut payment = buyers(&terms, &hash);
    payment.accepted = other.accepts[0].clone();
    assert_eq!(
        code(&shop.show("/proof/y", &payment).await),
        "No matching payment requirements"
    );
    payment.resource = None;
    assert_eq!(code(&shop.show("/proof/y", &payment).await), wrong);
    // Signed for one resource, and shown as if for the other.
    let mut payment = buyers(&terms, &hash);
    let relabelled = proof(
        &PaymentRequired {
            resource: other.resource.clone(),
            ..terms.clone()
        },
        &BUYER,
        BUYER.address,
        &hash,
    );
    payment.payload = relabelled.payload;
    let reply = shop.show("/proof/x", &payment).await;
    assert_eq!(code(&reply), "invalid_exact_evm_txid_signature");

    let payment = buyers(&terms, &hash);
    assert_eq!(shop.show("/proof/x", &payment).await.body, GOODS);
    for (path, payment) in [("/proof/x", &payment), ("/proof/y", &buyers(&other, &hash))] {
        let reply = shop.show(path, payment).await;
        assert_eq!(
            (reply.status, code(&reply).as_str()),
            (402, "duplicate_settlement")
        );
        assert!(!reply.headers.contains_key("payment-required"), "no terms");
        assert_eq!(reply.receipt().unwrap().transaction, hash);
    }
    shop.town.paid_exactly_once();
}

#[tokio::test]
async fn what_is_not_the_payment_that_is_asked_for_buys_nothing() {
    let shop = Shop::open().await;
    let terms = shop.terms("/proof/x").await;
    let less = with(&terms, |entry| entry.amount = (PRICE - 1).to_string());
    let elsewhere = with(&terms, |entry| entry.pay_to = THIEF.address.to_string());
    let asset = Terms::check(terms.accepts[0].clone()).unwrap();
    let approval = shop.wallet(&BUYER).approval(&asset).await.unwrap();
    shop.send(&BUYER, &approval).await;
    let unpaid = approval.hash.to_string();
    let failed = shop.failed(&terms.accepts[0]).await;
    for (hash, wrong) in [
        (shop.paid(&less).await, "amount_mismatch"),
        (shop.paid(&elsewhere).await, "recipient_mismatch"),
        (unpaid, "asset_mismatch"),
        (failed, "reverted"),
        (format!("0x{}", "ab".repeat(32)), "not_found"),
    ] {
        let reply = shop.show("/proof/x", &buyers(&terms, &hash)).await;
        let wrong = format!("invalid_exact_evm_txid_{wrong}");
        assert_eq!((reply.status, code(&reply)), (402, wrong));
    }
    // In time to be shown, and too late to be paid.
    shop.town.chain.increase_time(400).unwrap();
    let late = shop.paid(&terms.accepts[0]).await;
    let reply = shop.show("/proof/x", &buyers(&terms, &late)).await;
    assert_eq!(code(&reply), "invalid_exact_evm_txid_too_old");
    assert_eq!(shop.town.upstream.asked("/proof/x"), 0);
}

#[tokio::test]
async fn what_is_not_deep_enough_waits_and_is_not_paid_again() {
    let shop = Shop::open().await;
    let terms = shop.terms("/deep/x").await;
    let raw = shop.made(&BUYER, &terms.accepts[0]).await;
    let payment = buyers(&terms, raw.hash.as_str());
    let early = |reply: &Reply, wrong: &str| {
        assert_eq!((reply.status, code(reply).as_str()), (402, wrong));
        assert!(!reply.headers.contains_key("payment-required"), "no terms");
        assert!(reply.headers.contains_key("retry-after"));
        assert_eq!(reply.receipt().unwrap().transaction, raw.hash.as_str());
    };
    early(
        &shop.show("/deep/x", &payment).await,
        "invalid_exact_evm_txid_not_found",
    );
    shop.send(&BUYER, &raw).await;
    early(
        &shop.show("/deep/x", &payment).await,
        "invalid_exact_evm_txid_not_final",
    );
    // The block goes, and comes back in another.
    shop.town.chain.reorg(1, false).unwrap();
    early(
        &shop.show("/deep/x", &payment).await,
        "invalid_exact_evm_txid_not_found",
    );
    shop.send(&BUYER, &raw).await;
    shop.town.chain.mine(2).unwrap();
    assert_eq!(shop.show("/deep/x", &payment).await.body, GOODS);
    shop.town.paid_exactly_once();
}

#[tokio::test]
async fn a_thousand_uses_of_one_hash_at_once_are_one_grant() {
    let shop = Shop::open().await;
    let mut references = Vec::new();
    for _ in 0..10 {
        references.push(shop.terms("/proof/x").await);
    }
    let hash = shop.paid(&references[0].accepts[0]).await;
    let shop = Arc::new(shop);
    let mut showing = tokio::task::JoinSet::new();
    for n in 0..1_000 {
        let payment = buyers(&references[n % 10], &hash);
        let shop = Arc::clone(&shop);
        showing.spawn(async move { shop.show("/proof/x", &payment).await });
    }
    let replies = showing.join_all().await;
    let served = replies.iter().filter(|reply| reply.body == GOODS).count();
    assert_eq!(served, 1);
    assert!(replies.iter().all(|r| r.body == GOODS || r.status >= 400));
    assert_eq!(shop.town.upstream.asked("/proof/x"), 1);
    shop.town.paid_exactly_once();
}

#[tokio::test]
async fn who_paid_before_the_gate_fell_is_served_after_it_and_gets_it_again() {
    let shop = Shop::open().await;
    let terms = shop.terms("/proof/x").await;
    let hash = shop.paid(&terms.accepts[0]).await;
    let shop = shop.fallen_and_risen().await;
    let mut payment = buyers(&terms, &hash);
    let name = PaymentIdentifierId::random().unwrap();
    assert!(attach(&mut payment, &name));
    for _ in 0..2 {
        let reply = shop.show("/proof/x", &payment).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, GOODS));
    }
    assert_eq!(shop.town.upstream.asked("/proof/x"), 1);
    shop.town.paid_exactly_once();
}

#[tokio::test]
async fn a_hash_alone_buys_once_where_the_route_says_so() {
    let shop = Shop::open().await;
    let terms = shop.terms("/open/x").await;
    let bare = |hash: &str| {
        let payload = json!({"txHash": hash, "amount": "10000", "from": BUYER.address});
        let shown = json!({"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": payload});
        let shown = header::encode(&shown);
        (
            http::HeaderName::from_static("x-payment"),
            http::HeaderValue::try_from(shown).unwrap(),
        )
    };
    let less = with(&terms, |entry| entry.amount = (PRICE - 1).to_string());
    let less = shop.paid(&less).await;
    let refused = shop.asker.get(&shop.at("/open/x"), &[bare(&less)]).await;
    assert_eq!(code(&refused), "invalid_exact_evm_txid_amount_mismatch");
    let hash = shop.paid(&terms.accepts[0]).await;
    let elsewhere = shop.asker.get(&shop.at("/proof/x"), &[bare(&hash)]).await;
    assert_eq!(elsewhere.status, 402, "there it is to be signed");
    let sold = shop.asker.get(&shop.at("/open/x"), &[bare(&hash)]).await;
    assert_eq!((sold.status, sold.body.as_str()), (200, GOODS));
    let again = shop.asker.get(&shop.at("/open/x"), &[bare(&hash)]).await;
    assert_eq!(code(&again), "duplicate_settlement");
}

#[tokio::test]
async fn a_seller_who_takes_only_transactions_needs_no_gas() {
    let town = Town::new().await;
    let mut args = without(&town.gate_args("local", &town.rpc()), "--signer-key-file");
    set(&mut args, "--route", "GET /proof/*=$0.01; methods=txid");
    let (gate, url) = Program::serve(town.command(&args)).await;
    let shop = Shop {
        town,
        gate,
        url,
        asker: Buyer::new(&BUYER),
    };
    let terms = shop.terms("/proof/x").await;
    let hash = shop.paid(&terms.accepts[0]).await;
    let reply = shop.show("/proof/x", &buyers(&terms, &hash)).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, GOODS));
    shop.gate.crash().await;
    set(
        &mut args,
        "--route",
        "GET /proof/*=$0.01; methods=txid, eip3009",
    );
    let refused = shop.town.run(&args).await;
    assert!(
        refused.stderr.contains("--signer-key-file"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn the_operator_is_told_of_the_key_and_of_what_a_hash_alone_means() {
    let shop = Shop::open().await;
    let said = shop.gate.stderr();
    assert!(said.contains("proof.keys holds a fresh key"), "{said}");
    let warned = said.lines().filter(|line| line.contains("nobody signed"));
    let warned: Vec<&str> = warned.collect();
    assert_eq!(warned.len(), 1, "{said}");
    assert!(warned[0].contains("GET /open/*"), "{said}");
    let keys = shop.town.path("tollway-home").join("proof.keys");
    let mode = std::fs::metadata(&keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nobody else may have read it.
    std::fs::set_permissions(&keys, Permissions::from_mode(0o644)).unwrap();
    shop.gate.crash().await;
    let mut args = shop.town.gate_args("local", &shop.town.rpc());
    args.extend(strings(&ROUTES));
    let refused = shop.town.run(&args).await;
    assert!(refused.stderr.contains("chmod 600"), "{}", refused.stderr);
    let mut args = shop.town.gate_args("local", &shop.town.rpc());
    args.extend(strings(&["--proof-key-file", &shop.town.arg("other.keys")]));
    let refused = shop.town.run(&args).await;
    assert!(
        refused.stderr.contains("methods=txid"),
        "{}",
        refused.stderr
    );
}
