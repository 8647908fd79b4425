//! Every kind of settlement goes through the one trait: what is submitted, what
//! is observed, what accumulates, and what needs nothing.
//!
//! The chains here are pretended: they live in memory, check no signature, and
//! exist to show that the trait has room for each way to pay. `engine` is the
//! order in which a facilitator asks a chain.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod engine;
mod methods;
mod pretend;

use engine::{End, Engine};
use methods::{Channel, Permit2, Starknet, Txid};
use pretend::{Pretend, network_of, terms};
use serde_json::json;
use tollway_core::{Amount, Chain, Expected, Finality, Lookup, Settlement, TxHash, codes};

const EVM_PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

fn permit(nonce: &str) -> serde_json::Value {
    json!({"permit2Authorization": {
        "from": EVM_PAYER, "nonce": nonce, "deadline": "2000",
        "permitted": {"amount": "10000"},
    }})
}

#[tokio::test]
async fn upto_charges_what_was_used_and_the_authorization_stays_the_same() {
    let chain = Pretend::new(Permit2);
    let engine = Engine::new(&chain);
    let terms = terms("upto", "eip155:84532", "10000");
    let End::Settled(settled) = engine.pay(&permit("7"), &terms, 2500).await.unwrap() else {
        panic!("not submitted")
    };
    assert_eq!(settled.amount, Amount::from_atomic(2500));
    assert_eq!(chain.transactions(), 1);

    // The same permit with another charge is the same payment, whose nonce is used.
    let refusal = engine.pay(&permit("7"), &terms, 100).await.unwrap_err();
    assert_eq!(refusal.code(), codes::PERMIT2_INVALID_NONCE);
    assert_eq!(chain.transactions(), 1);
}

#[tokio::test]
async fn upto_never_charges_more_than_the_permit_allows() {
    let chain = Pretend::new(Permit2);
    let terms = terms("upto", "eip155:84532", "10000");
    let refusal = Engine::new(&chain).pay(&permit("7"), &terms, 10_001).await;
    assert_eq!(
        refusal.unwrap_err().code(),
        codes::UPTO_AMOUNT_EXCEEDS_PERMITTED
    );
    assert_eq!(chain.transactions(), 0);
}

#[tokio::test]
async fn upto_with_nothing_used_sends_nothing() {
    let chain = Pretend::new(Permit2);
    let terms = terms("upto", "eip155:84532", "10000");
    let end = Engine::new(&chain).pay(&permit("7"), &terms, 0).await;
    assert_eq!(end.unwrap(), End::Nothing);
    assert_eq!(chain.transactions(), 0);
}

#[tokio::test]
async fn payments_share_a_transaction_and_each_gets_its_own_answer() {
    let chain = Pretend::new(Permit2);
    let engine = Engine::new(&chain);
    let terms = terms("upto", "eip155:84532", "10000");
    let payments = [(permit("1"), 10), (permit("2"), 20), (permit("3"), 30)];
    let settled = engine.pay_together(&payments, &terms).await.unwrap();
    let amounts: Vec<_> = settled.iter().map(|s| s.amount.as_u128()).collect();
    assert_eq!(amounts, [Some(10), Some(20), Some(30)]);
    assert!(
        settled
            .iter()
            .all(|s| s.transaction == settled[0].transaction)
    );
    assert_eq!(chain.transactions(), 1);
}

#[tokio::test]
async fn a_slot_is_cancelled_by_a_plan_without_payments() {
    let chain = Pretend::new(Permit2);
    let plans = chain.plan(&[]).await.unwrap();
    assert_eq!(plans.len(), 1);
    assert!(plans[0].payments.is_empty());
    let engine = Engine::new(&chain);
    assert_eq!(engine.send(&plans[0]).await, vec![]);
    assert_eq!(chain.confirmed_nonce(&chain.signers()[0]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_transaction_that_exists_is_observed_and_nothing_is_sent() {
    let chain = Pretend::new(Txid);
    let terms = terms("exact", "eip155:84532", "10000");
    let transfer = |amount| Expected {
        asset: terms.asset.clone(),
        from: terms.network.address(EVM_PAYER).unwrap(),
        to: terms.pay_to.clone(),
        amount: Amount::from_atomic(amount),
    };
    let paid = chain.made_by_a_stranger(transfer(10_000));
    let engine = Engine::new(&chain);
    let proof = |hash: &TxHash| json!({"transaction": hash.as_str(), "from": EVM_PAYER});
    let End::Settled(settled) = engine.pay(&proof(&paid), &terms, 10_000).await.unwrap() else {
        panic!("not observed")
    };
    assert_eq!(settled.transaction, paid);
    assert!(settled.by_third_party);
    assert_eq!(chain.transactions(), 1);

    let short = chain.made_by_a_stranger(transfer(9_999));
    let end = engine.pay(&proof(&short), &terms, 10_000).await.unwrap();
    assert_eq!(end, End::NotSettled);
    let unknown = TxHash::new("0x99");
    let end = engine.pay(&proof(&unknown), &terms, 10_000).await.unwrap();
    assert_eq!(end, End::Unknown);
}

#[tokio::test]
async fn a_proof_is_the_same_payment_in_every_spelling() {
    let chain = Pretend::new(Txid);
    let terms = terms("exact", "eip155:84532", "10000");
    let identity = |hash: &str| {
        let payload = json!({"transaction": hash, "from": EVM_PAYER.to_lowercase()});
        let payload = pretend::payload(&payload, &terms);
        chain.inspect(&payload, &terms).unwrap().identity
    };
    assert_eq!(identity("0xABCD"), identity("0xabcd"));
}

#[tokio::test]
async fn vouchers_accumulate_and_no_transaction_is_sent() {
    let chain = Pretend::new(Channel);
    let terms = terms("batch-settlement", "eip155:84532", "100");
    let engine = Engine::new(&chain);
    let voucher =
        |total: &str| json!({"channelId": "0xC1", "payer": EVM_PAYER, "cumulative": total});
    for (total, amount) in [("100", 100), ("200", 200), ("300", 300)] {
        let end = engine.pay(&voucher(total), &terms, 100).await.unwrap();
        let cumulative = Amount::from_atomic(amount);
        let channel = "0xc1".to_owned();
        assert_eq!(
            end,
            End::Accumulated {
                channel,
                cumulative
            }
        );
    }
    assert_eq!(engine.last_voucher("0xc1"), Some(Amount::from_atomic(300)));
    assert_eq!(chain.transactions(), 0);

    let beyond = engine.pay(&voucher("1000001"), &terms, 100).await;
    assert_eq!(
        beyond.unwrap_err().code(),
        codes::INVALID_BATCH_SETTLEMENT_EVM_CUMULATIVE_EXCEEDS_BALANCE
    );
}

#[tokio::test]
async fn accounts_and_nonces_may_be_felts() {
    let chain = Pretend::new(Starknet);
    let terms = terms("exact", "starknet:SN_SEPOLIA", "10000");
    let execution = |from: &str, nonce: &str| json!({"from": from, "outsideExecution": {"nonce": nonce, "executeBefore": "0x7d0"}});
    let engine = Engine::new(&chain);
    let padded = execution("0x02Dd1b49", "0x00Ff");
    let End::Settled(settled) = engine.pay(&padded, &terms, 10_000).await.unwrap() else {
        panic!("not submitted")
    };
    assert_eq!(settled.log_index, Some(0));

    // Padding and case do not make another payment of it.
    let plain = execution("0x2dd1B49", "0xff");
    let again = engine.pay(&plain, &terms, 10_000).await;
    assert_eq!(again.unwrap_err().code(), codes::NONCE_ALREADY_USED);
    let payload = pretend::payload(&execution("0x2dd1b49", "0xff"), &terms);
    let intent = chain.inspect(&payload, &terms).unwrap();
    assert_eq!(
        intent.identity.key(),
        "starknet:SN_SEPOLIA|0x2dd1b49|0x2dd1b49|0xff"
    );
    let found = chain.lookup(&intent.identity, &intent.expected, Finality::Included);
    assert_eq!(found.await.unwrap(), Lookup::Settled(settled));
}

#[tokio::test]
async fn one_engine_holds_all_kinds_of_chains() {
    let chains: Vec<Box<dyn Chain>> = vec![
        Box::new(Pretend::new(Permit2)),
        Box::new(Pretend::new(Txid)),
        Box::new(Pretend::new(Channel)),
        Box::new(Pretend::new(Starknet)),
    ];
    for chain in chains {
        assert!(chain.health().await.ready);
        let kind = &chain.kinds()[0];
        assert_eq!(kind.network, chain.network().as_str());
        assert_eq!(network_of(&kind.network), *chain.network());
        // What accumulates or exists already is never planned.
        assert!(!matches!(chain.plan(&[]).await.unwrap()[..], []));
    }
    let submit = serde_json::to_value(Settlement::Submit).unwrap();
    assert_eq!(submit, json!("submit"));
}
