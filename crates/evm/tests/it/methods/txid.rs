//! `exact` by a transaction that the buyer made and shows.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use serde_json::{Value, json};
use tollway_core::assets::AssetTable;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Chain, Finality, Lookup, Outcome, Phase, Settlement, TxHash, Wallet};
use tollway_devnet::{DEV_ACCOUNTS, Preset};
use tollway_evm::{EvmChain, MULTICALL3};
use tollway_rpc::{RpcClient, RpcConfig};

use super::*;
use crate::support::world::NOW;

const REFERENCE: &str = "offer-7f3c9a51d2e84b60";

fn terms(world: &World) -> Terms {
    terms_with(world, &json!({}))
}

fn terms_with(world: &World, more: &Value) -> Terms {
    let mut extra = json!({
        "assetTransferMethod": "txid", "paymentFlow": "upfront",
        "reference": REFERENCE, "issuedAt": NOW, "expiresAt": NOW + 300,
    });
    let more = more.as_object().unwrap().clone();
    extra.as_object_mut().unwrap().extend(more);
    offer(world, "exact", &extra)
}

/// Dev account 0 pays on chain and says so.
async fn shown(world: &World, terms: &Terms) -> PaymentPayload {
    let prepared = prepare(world, terms).await.unwrap();
    let raw = prepared.transaction.unwrap();
    let wallet = world.wallet(key(0));
    wallet.broadcast(&world.network, &raw).await.unwrap();
    present(terms, prepared.payload, None)
}

/// Dev account 0 shows whatever transaction.
fn show(terms: &Terms, hash: alloy_primitives::B256, log_index: Option<u64>) -> PaymentPayload {
    let mut proof = tollway_evm::SignedProof {
        tx_hash: hash,
        from: key(0).address(),
        amount: None,
        log_index,
        reference: REFERENCE.to_owned(),
        signature: Default::default(),
    };
    let chain_id = terms.network.chain_id().unwrap();
    let digest = proof.statement(terms, RESOURCE).unwrap().digest(chain_id);
    proof.signature = key(0).sign(digest).to_vec().into();
    present(terms, proof.to_payload(), None)
}

/// A transfer of an account's own.
fn transfer(world: &World, signer: &EvmSigner, to: usize, amount: u64) -> alloy_primitives::B256 {
    let call = Erc20::transferCall {
        to: DEV_ACCOUNTS[to].address,
        amount: U256::from(amount),
    };
    let dollar = world.devnet.dollar().address;
    transact(world, signer, dollar, call.abi_encode())
}

async fn observed(world: &World, intent: &Intent) -> Outcome {
    let Settlement::Observe { transaction } = &intent.settlement else {
        panic!("not observed");
    };
    let (identity, expected) = (&intent.identity, &intent.expected);
    let chain = &world.chain;
    let outcome = chain.observe(transaction, identity, expected, Finality::Included);
    outcome.await.unwrap()
}

#[tokio::test]
async fn a_transaction_of_the_buyers_own_pays_once_it_is_in_a_block() {
    for preset in [Preset::SeiTestnet, Preset::BaseSepolia] {
        let world = World::on(preset).await;
        let terms = terms(&world);
        let prepared = prepare(&world, &terms).await.unwrap();
        let raw = prepared.transaction.clone().unwrap();
        let payment = present(&terms, prepared.payload, None);
        let intent = inspect(&world.chain, &terms, &payment).unwrap();
        assert_eq!(intent.identity, prepared.identity);
        assert_eq!(intent.deadline, prepared.valid_until);
        assert_eq!(
            refusal_of(&world, &terms, &payment).await,
            "invalid_exact_evm_txid_not_found"
        );
        assert_eq!(lookup(&world.chain, &intent).await, Lookup::Unknown);

        let before = world.payee_has();
        let wallet = world.wallet(key(0));
        wallet.broadcast(&world.network, &raw).await.unwrap();
        // Sending again changes nothing.
        wallet.broadcast(&world.network, &raw).await.unwrap();
        assert_eq!(world.payee_has() - before, U256::from(PRICE));
        let verified = verify(&world.chain, &intent, Phase::Settle).await.unwrap();
        assert_eq!((verified.gas, verified.signers.len()), (0, 0));
        let Outcome::Settled(settled) = observed(&world, &intent).await else {
            panic!("not settled");
        };
        assert_eq!(settled.transaction, raw.hash);
        assert!(settled.by_third_party);
        assert_eq!(
            lookup(&world.chain, &intent).await,
            Lookup::Settled(settled)
        );
    }
}

#[tokio::test]
async fn a_thief_cannot_show_somebody_elses_transaction() {
    let world = World::new().await;
    let terms = terms(&world);
    let good = shown(&world, &terms).await;
    let wrong = "invalid_exact_evm_txid_signature";
    // Signed by the thief, in the payer's name and in its own.
    let thief = |payment: &mut PaymentPayload, from: String| {
        let hash = payment.payload["txHash"].as_str().unwrap();
        let mut proof = tollway_evm::SignedProof {
            tx_hash: hash.parse().unwrap(),
            from: from.parse().unwrap(),
            amount: None,
            log_index: None,
            reference: REFERENCE.to_owned(),
            signature: Default::default(),
        };
        let statement = proof.statement(&terms, RESOURCE).unwrap();
        let digest = statement.digest(world.devnet.chain_id());
        proof.signature = key(3).sign(digest).to_vec().into();
        payment.payload = proof.to_payload();
    };
    let mut stolen = good.clone();
    thief(&mut stolen, key(0).address().to_string());
    assert_eq!(refusal_of(&world, &terms, &stolen).await, wrong);
    thief(&mut stolen, stranger());
    assert_eq!(
        refusal_of(&world, &terms, &stolen).await,
        "invalid_exact_evm_txid_payer_mismatch"
    );
    // The payer's own statement, for another resource, log, or amount.
    let mut elsewhere = good.clone();
    elsewhere.resource.as_mut().unwrap().url = "https://api.example.com/gold".to_owned();
    assert_eq!(refusal_of(&world, &terms, &elsewhere).await, wrong);
    let mut other_log = good.clone();
    other_log.payload.insert("logIndex".into(), 0.into());
    assert_eq!(refusal_of(&world, &terms, &other_log).await, wrong);
    assert_eq!(refusal_of(&world, &terms, &good).await, "good");
}

#[tokio::test]
async fn a_proof_is_for_its_offer_and_only_while_that_stands() {
    let world = World::new().await;
    let ours = terms(&world);
    let good = shown(&world, &ours).await;
    let other = terms_with(&world, &json!({"reference": "offer-of-somebody-else"}));
    let mut foreign = good.clone();
    foreign.accepted = PaymentRequirements::clone(&other.wire);
    assert_eq!(
        refusal_of(&world, &other, &foreign).await,
        "invalid_exact_evm_txid_reference"
    );
    world.wait(299);
    assert_eq!(refusal_of(&world, &ours, &good).await, "good");
    world.wait(1);
    assert_eq!(
        refusal_of(&world, &ours, &good).await,
        "invalid_exact_evm_txid_reference"
    );
}

#[tokio::test]
async fn what_the_transaction_did_not_do_has_one_code_each() {
    let world = World::new().await;
    let terms = terms(&world);
    let dollar = world.devnet.dollar().address;
    let code = async |hash| refusal_of(&world, &terms, &show(&terms, hash, None)).await;
    let txid = |what: &str| format!("invalid_exact_evm_txid_{what}");

    // An approval, as the first servers of this kind took it.
    let approval = Erc20::approveCall {
        spender: DEV_ACCOUNTS[1].address,
        amount: U256::ZERO,
    };
    let approval = transact(&world, &key(0), dollar, approval.abi_encode());
    assert_eq!(code(approval).await, txid("asset_mismatch"));
    let elsewhere = transfer(&world, &key(0), 3, PRICE);
    assert_eq!(code(elsewhere).await, txid("recipient_mismatch"));
    let less = transfer(&world, &key(0), 1, PRICE - 1);
    assert_eq!(code(less).await, txid("amount_mismatch"));
    world
        .devnet
        .mint(key(3).address(), U256::from(PRICE))
        .unwrap();
    let strangers = transfer(&world, &key(3), 1, PRICE);
    assert_eq!(code(strangers).await, txid("payer_mismatch"));
    let reverted = Erc20::transferFromCall {
        from: DEV_ACCOUNTS[3].address,
        to: DEV_ACCOUNTS[1].address,
        amount: U256::from(PRICE),
    };
    let reverted = send(&world, &key(0), dollar, reverted.abi_encode());
    assert_eq!(code(reverted).await, txid("reverted"));
    let unknown = alloy_primitives::B256::repeat_byte(9);
    assert_eq!(code(unknown).await, txid("not_found"));
    let good = transfer(&world, &key(0), 1, PRICE);
    assert_eq!(code(good).await, "good");
}

#[tokio::test]
async fn more_than_is_asked_is_taken_unless_the_route_is_strict() {
    let world = World::new().await;
    let terms = terms(&world);
    let more = transfer(&world, &key(0), 1, PRICE + 5);
    let payment = show(&terms, more, None);
    assert_eq!(refusal_of(&world, &terms, &payment).await, "good");
    let intent = inspect(&world.chain, &terms, &payment).unwrap();
    let Outcome::Settled(settled) = observed(&world, &intent).await else {
        panic!("not settled");
    };
    assert_eq!(settled.amount, Amount::from_atomic(u128::from(PRICE) + 5));
    let strict = terms_with(&world, &json!({"exactAmount": true}));
    assert_eq!(
        refusal_of(&world, &strict, &show(&strict, more, None)).await,
        "invalid_exact_evm_txid_amount_mismatch"
    );
}

#[tokio::test]
async fn what_was_paid_before_the_offer_or_long_after_it_does_not_pay_it() {
    let world = World::new().await;
    let before = transfer(&world, &key(0), 1, PRICE);
    world.wait(10);
    let now = world.clock_now();
    let extra = json!({"issuedAt": now, "expiresAt": now + 3000});
    let terms = terms_with(&world, &extra);
    assert_eq!(
        refusal_of(&world, &terms, &show(&terms, before, None)).await,
        "invalid_exact_evm_txid_too_old"
    );
    world.wait(61);
    let after = transfer(&world, &key(0), 1, PRICE);
    assert_eq!(
        refusal_of(&world, &terms, &show(&terms, after, None)).await,
        "invalid_exact_evm_txid_too_old"
    );
}

#[tokio::test]
async fn a_transaction_counts_at_the_depth_that_is_asked_for() {
    let world = World::new().await;
    let terms = terms_with(&world, &json!({"finality": "3"}));
    let payment = shown(&world, &terms).await;
    assert_eq!(
        refusal_of(&world, &terms, &payment).await,
        "invalid_exact_evm_txid_not_final"
    );
    world.devnet.mine(2).unwrap();
    assert_eq!(refusal_of(&world, &terms, &payment).await, "good");
}

#[tokio::test]
async fn each_transfer_of_a_transaction_has_one_name_and_pays_once() {
    let world = World::new().await;
    let terms = terms(&world);
    let dollar = world.devnet.dollar().address;
    let approval = Erc20::approveCall {
        spender: MULTICALL3,
        amount: U256::MAX,
    };
    transact(&world, &key(0), dollar, approval.abi_encode());
    let moving = Erc20::transferFromCall {
        from: key(0).address(),
        to: DEV_ACCOUNTS[1].address,
        amount: U256::from(PRICE),
    };
    let call = || Multicall::Call3 {
        target: dollar,
        allowFailure: false,
        callData: moving.abi_encode().into(),
    };
    let two = Multicall::aggregate3Call {
        calls: vec![call(), call()],
    };
    let hash = transact(&world, &key(3), MULTICALL3, two.abi_encode());
    let receipt = world
        .devnet
        .request("eth_getTransactionReceipt", json!([hash]))
        .unwrap();
    let logs = receipt["logs"].as_array().unwrap();
    let moved = |log: &Value| log["topics"][0].as_str().unwrap().starts_with("0xddf252ad");
    let places: Vec<u64> = (0..logs.len() as u64)
        .filter(|at| moved(&logs[usize::try_from(*at).unwrap()]))
        .collect();
    assert_eq!(places.len(), 2);
    let wrong = "invalid_exact_evm_txid_log_index";
    assert_eq!(
        refusal_of(&world, &terms, &show(&terms, hash, None)).await,
        wrong
    );
    assert_eq!(
        refusal_of(&world, &terms, &show(&terms, hash, Some(77))).await,
        wrong
    );
    let mut keys = Vec::new();
    for at in places {
        let payment = show(&terms, hash, Some(at));
        assert_eq!(refusal_of(&world, &terms, &payment).await, "good");
        let intent = inspect(&world.chain, &terms, &payment).unwrap();
        assert!(matches!(
            observed(&world, &intent).await,
            Outcome::Settled(_)
        ));
        keys.push(intent.identity.key());
    }
    assert_ne!(keys[0], keys[1]);
    // A lone transfer has no second name by its place.
    let lone = transfer(&world, &key(0), 1, PRICE);
    assert_eq!(
        refusal_of(&world, &terms, &show(&terms, lone, Some(0))).await,
        wrong
    );
}

#[tokio::test]
async fn a_malformed_proof_is_refused_and_so_are_terms_that_do_not_say_enough() {
    let world = World::new().await;
    let terms = terms(&world);
    let good = shown(&world, &terms).await;
    let malformed = "invalid_exact_evm_txid_payload";
    for (key, value) in [
        ("txHash", json!("0x12")),
        ("from", json!("me")),
        ("amount", json!("1e3")),
        ("amount", json!(1000)),
        ("logIndex", json!("1")),
        ("logIndex", json!(-1)),
        ("reference", Value::Null),
        ("signature", Value::Null),
        ("signature", json!(format!("0x{}", "00".repeat(5000)))),
    ] {
        let mut bad = good.clone();
        bad.payload.insert(key.to_owned(), value);
        assert_eq!(refusal_of(&world, &terms, &bad).await, malformed, "{key}");
    }
    let bad = "invalid_payment_requirements";
    for extra in [
        json!({"reference": "short"}),
        json!({"expiresAt": null}),
        json!({"issuedAt": "soon"}),
        json!({"paymentFlow": "authorization"}),
        json!({"exactAmount": 1}),
        json!({"proofProfile": "none"}),
    ] {
        let terms = terms_with(&world, &extra);
        assert_eq!(refusal_of(&world, &terms, &good).await, bad, "{extra}");
    }
}

#[tokio::test]
async fn the_unsigned_shape_is_taken_only_where_the_route_says_so_with_all_other_checks() {
    let world = World::new().await;
    let unsigned = terms_with(
        &world,
        &json!({"proofProfile": "unsigned", "issuedAt": null, "expiresAt": null}),
    );
    let hash = transfer(&world, &key(0), 1, PRICE);
    let payload = |hash: alloy_primitives::B256| {
        let text = json!({"txHash": hash, "amount": "10000", "from": key(0).address()});
        text.as_object().unwrap().clone()
    };
    let shown = present(&unsigned, payload(hash), None);
    assert_eq!(refusal_of(&world, &unsigned, &shown).await, "good");
    let signed = terms(&world);
    let refused = present(&signed, payload(hash), None);
    assert_eq!(
        refusal_of(&world, &signed, &refused).await,
        "invalid_exact_evm_txid_payload"
    );
    let less = transfer(&world, &key(0), 1, 9_999);
    let less = present(&unsigned, payload(less), None);
    assert_eq!(
        refusal_of(&world, &unsigned, &less).await,
        "invalid_exact_evm_txid_amount_mismatch"
    );
    let other = transfer(&world, &key(0), 3, PRICE);
    let other = present(&unsigned, payload(other), None);
    assert_eq!(
        refusal_of(&world, &unsigned, &other).await,
        "invalid_exact_evm_txid_recipient_mismatch"
    );
    world.wait(61);
    assert_eq!(
        refusal_of(&world, &unsigned, &shown).await,
        "invalid_exact_evm_txid_too_old"
    );
}

#[tokio::test]
async fn a_wallet_looks_at_its_balance_first_and_makes_one_transaction_at_a_time() {
    let world = World::new().await;
    let terms = terms(&world);
    let poor = EvmSigner::random().unwrap();
    let Err(WalletError::Refused(refusal)) = prepare_as(&world, poor, &terms, None).await else {
        panic!("signed");
    };
    assert_eq!(refusal.code(), "insufficient_funds");

    let wallet = world.wallet(key(0));
    let first = wallet.prepare(&terms, &limits()).await.unwrap();
    let Err(WalletError::Refused(refusal)) = wallet.prepare(&terms, &limits()).await else {
        panic!("two under way");
    };
    assert_eq!(refusal.code(), "wallet_unavailable");
    let raw = first.transaction.unwrap();
    wallet.broadcast(&world.network, &raw).await.unwrap();
    let second = wallet.prepare(&terms, &limits()).await.unwrap();
    assert_ne!(second.transaction.unwrap().hash, raw.hash);
}

#[tokio::test]
async fn a_contract_that_paid_signs_by_its_code() {
    let world = World::new().await;
    let terms = terms(&world);
    // The payer gets code that says yes only to nothing: its key counts no more.
    let payment = shown(&world, &terms).await;
    assert_eq!(refusal_of(&world, &terms, &payment).await, "good");
    let no = tollway_devnet::Contract::MoodyWallet.runtime();
    world.devnet.set_code(key(0).address(), no).unwrap();
    assert_eq!(
        refusal_of(&world, &terms, &payment).await,
        "invalid_exact_evm_txid_signature"
    );
}

#[tokio::test]
async fn the_transfer_of_another_method_is_no_second_payment_as_a_proof() {
    let world = approved().await;
    let terms = terms(&world);
    let mut transactions = Vec::new();
    for method in ["eip3009", "permit2", "eip2612"] {
        let asked = match method {
            "eip3009" => world.terms(),
            other => exact(&world, other),
        };
        let intent = paid(&world, &asked).await;
        transactions.push(
            settles(&world, &world.chain, &intent, PRICE)
                .await
                .transaction,
        );
        // Nor if the payer sends it itself.
        let intent = paid(&world, &asked).await;
        let (to, input) = settling_call(&world, &intent).await;
        let hash = transact(&world, &key(0), to, input.to_vec());
        transactions.push(TxHash::new(&format!("{hash:#x}")));
    }
    for hash in transactions {
        let payment = show(&terms, hash.as_str().parse().unwrap(), None);
        assert_eq!(
            refusal_of(&world, &terms, &payment).await,
            "invalid_exact_evm_txid_other_method"
        );
        let intent = inspect(&world.chain, &terms, &payment).unwrap();
        assert!(matches!(
            observed(&world, &intent).await,
            Outcome::NotSettled(_)
        ));
    }
}

#[tokio::test]
async fn on_a_chain_whose_receipts_are_final_one_block_is_as_deep_as_many() {
    let world = World::on(Preset::SeiTestnet).await;
    for finality in ["12", "safe", "finalized"] {
        let terms = terms_with(&world, &json!({"finality": finality}));
        let payment = shown(&world, &terms).await;
        assert_eq!(refusal_of(&world, &terms, &payment).await, "good");
        let intent = inspect(&world.chain, &terms, &payment).unwrap();
        let lookup = world.chain.lookup(
            &intent.identity,
            &intent.expected,
            finality.parse::<Finality>().unwrap(),
        );
        assert!(matches!(lookup.await.unwrap(), Lookup::Settled(_)));
    }
}

#[tokio::test]
async fn one_node_that_lags_does_not_make_a_transaction_unknown() {
    let world = World::new().await;
    let terms = terms(&world);
    let payment = shown(&world, &terms).await;
    let intent = inspect(&world.chain, &terms, &payment).unwrap();
    // It has as many blocks, and not that one.
    let lags = World::new().await;
    lags.devnet.mine(world.devnet.block_number()).unwrap();
    let urls = [lags.url(), world.url()].map(|url| url.parse().unwrap());
    let rpc = RpcClient::new(RpcConfig::new(urls.to_vec())).unwrap();
    let chain = EvmChain::connect(world.config(rpc)).await.unwrap();
    let Settlement::Observe { transaction } = &intent.settlement else {
        panic!("not observed");
    };
    for _ in 0..4 {
        let (identity, expected) = (&intent.identity, &intent.expected);
        let outcome = chain.observe(transaction, identity, expected, Finality::Included);
        let outcome = outcome.await.unwrap();
        let seen = matches!(
            outcome,
            Outcome::Settled(_) | Outcome::Included { moved: true, .. }
        );
        assert!(seen, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_transaction_is_overtaken_only_by_another_of_its_nonce_in_a_final_block() {
    let devnet = tollway_devnet::Devnet::builder()
        .fixed_time(NOW)
        .finality(1, 2);
    let world = World::with(devnet.build().unwrap(), AssetTable::builtin()).await;
    let terms = terms(&world);
    let prepared = prepare(&world, &terms).await.unwrap();
    let raw = prepared.transaction.clone().unwrap();
    let payment = present(&terms, prepared.payload, None);
    let identity = inspect(&world.chain, &terms, &payment).unwrap().identity;
    let overtaken = async || world.chain.is_overtaken(&identity, &raw).await.unwrap();
    assert!(!overtaken().await, "it may still be included");
    // Its own inclusion is none, however deep.
    let snapshot = world.devnet.snapshot();
    let wallet = world.wallet(key(0));
    wallet.broadcast(&world.network, &raw).await.unwrap();
    world.devnet.mine(9).unwrap();
    assert!(!overtaken().await, "it was included");
    assert!(world.devnet.revert(snapshot));
    transfer(&world, &key(0), 3, 1);
    assert!(!overtaken().await, "the other one may go again");
    world.devnet.mine(2).unwrap();
    assert!(overtaken().await);
}
