//! From a plan to a receipt.

use serde_json::{Value, json};
use tollway_core::{
    Amount, Broadcast, Chain, ChainError, Finality, Lookup, Outcome, Phase, Proof, TxHash, Watch,
    Watched, codes,
};
use tollway_starknet::{Felt, felt};

use crate::support::{
    FEE_PAYER, PAYEE, PAYER, PRICE, World, address, felt_of, frame, slot, transfer_event,
};

fn receipt(hash: &TxHash, block: u64, status: &str, events: &[Value]) -> Value {
    json!({
        "type": "INVOKE", "transaction_hash": hash.as_str(), "execution_status": status,
        "finality_status": "ACCEPTED_ON_L2", "block_number": block,
        "block_hash": format!("{:#x}", 0xb000_0000 + block),
        "actual_fee": {"amount": "0x2540be400", "unit": "FRI"},
        "execution_resources": {"l1_gas": 0, "l1_data_gas": 448, "l2_gas": 2_000_000},
        "events": events, "messages_sent": [],
    })
}

fn paid() -> Vec<Value> {
    vec![transfer_event(PAYER, PAYEE, PRICE)]
}

struct Sent {
    world: World,
    watch: Watch,
    hash: TxHash,
}

async fn sent() -> Sent {
    let world = World::new().await;
    let verified = world.verified().await;
    let plan = world.plan(&verified).await;
    let raw = world.seal(&plan, 3, None).await;
    let watch = Watch {
        signer: address(FEE_PAYER),
        nonce: 3,
        hashes: vec![raw.hash.clone()],
        expected: vec![Watched {
            identity: verified.intent.identity.clone(),
            expected: verified.intent.expected.clone(),
            finality: Finality::Included,
        }],
    };
    Sent {
        world,
        watch,
        hash: raw.hash,
    }
}

impl Sent {
    async fn look(&self) -> Option<Outcome> {
        let sight = self
            .world
            .chain
            .look(None, std::slice::from_ref(&self.watch))
            .await;
        let mut outcomes = sight.unwrap().outcomes.remove(0)?;
        Some(outcomes.remove(0))
    }

    /// A block with this receipt.
    fn include(&self, status: &str, events: &[Value]) {
        self.world.say(|facts| {
            facts.head += 1;
            facts.account_nonce = 4;
            let block = facts.head;
            let receipt = receipt(&self.hash, block, status, events);
            facts.receipts.insert(self.hash.to_string(), receipt);
        });
    }
}

#[tokio::test]
async fn a_sealed_payment_is_signed_by_the_fee_payer_and_calls_the_payers_account_only() {
    let world = World::new().await;
    let verified = world.verified().await;
    let plan = world.plan(&verified).await;
    let raw = world.seal(&plan, 3, None).await;
    let json: Value = serde_json::from_slice(&raw.bytes).unwrap();
    assert_eq!(json["sender_address"], FEE_PAYER);
    assert_eq!(json["nonce"], "0x3");
    assert_eq!(json["calldata"][0], "0x1");
    assert_eq!(json["calldata"][1], PAYER);
    let bounds = &json["resource_bounds"];
    assert_eq!(bounds["l1_gas"]["max_amount"], "0x0");
    assert_eq!(
        bounds["l2_gas"]["max_amount"],
        format!("{:#x}", plan.gas_limit)
    );
    let key = tollway_starknet::StarkKey::from_hex("0xfee").unwrap();
    let signature: Vec<Felt> = json["signature"]
        .as_array()
        .unwrap()
        .iter()
        .map(|felt| felt_of(felt.as_str().unwrap()))
        .collect();
    let hash = felt_of(raw.hash.as_str());
    let [r, s] = signature.as_slice() else {
        panic!("not two felts");
    };
    assert!(starknet_crypto::verify(&key.public(), &hash, r, s).unwrap());
    assert_eq!(
        world.seal(&plan, 3, None).await,
        raw,
        "the same bytes each time"
    );
}

#[tokio::test]
async fn a_replacement_keeps_the_nonce_and_offers_more() {
    let world = World::new().await;
    let plan = world.plan(&world.verified().await).await;
    let first = world.seal(&plan, 3, None).await;
    let second = world.seal(&plan, 3, Some(first.clone())).await;
    assert_ne!(first.hash, second.hash);
    let price = |raw: &tollway_core::Raw, bound: &str| {
        let json: Value = serde_json::from_slice(&raw.bytes).unwrap();
        assert_eq!(json["nonce"], "0x3");
        let price = json["resource_bounds"][bound]["max_price_per_unit"].clone();
        felt::to_u128(&felt_of(price.as_str().unwrap())).unwrap()
    };
    for bound in ["l1_gas", "l2_gas", "l1_data_gas"] {
        assert!(
            price(&second, bound) * 10 >= price(&first, bound) * 11,
            "{bound}"
        );
    }
    let other = world.chain.seal(&plan, &slot(4, Some(first))).await;
    assert!(other.is_err(), "another nonce than the replaced one's");
    let cancel = world.chain.plan(&[]).await.unwrap().remove(0);
    let raw = world.seal(&cancel, 3, Some(second)).await;
    let json: Value = serde_json::from_slice(&raw.bytes).unwrap();
    assert_eq!(
        json["calldata"],
        json!(["0x0"]),
        "a cancellation calls nothing"
    );
}

#[tokio::test]
async fn a_network_that_is_too_dear_is_waited_for() {
    let world = World::new().await;
    let plan = world.plan(&world.verified().await).await;
    world.clock.advance(60);
    world.say(|facts| {
        let price = json!({"price_in_fri": "0x38d7ea4c68000"});
        facts.odd = Some(Box::new(move |method, _| {
            (method == "starknet_getBlockWithTxHashes").then(|| {
                Ok(json!({
                    "block_number": 100, "block_hash": "0x1", "parent_hash": "0x2", "timestamp": 1,
                    "l1_gas_price": price, "l2_gas_price": price, "l1_data_gas_price": price,
                }))
            })
        }));
    });
    let outcome = world.chain.seal(&plan, &slot(3, None)).await;
    assert!(
        matches!(outcome, Err(ChainError::Unavailable { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn what_a_node_says_to_a_transaction_is_understood() {
    let Sent { world, .. } = sent().await;
    let plan = world.plan(&world.verified().await).await;
    let raw = world.seal(&plan, 3, None).await;
    let answers = [
        (59, 3, Some(Broadcast::Accepted)),
        (52, 4, Some(Broadcast::NonceUsed)),
        (52, 3, Some(Broadcast::NonceTooHigh)),
        (64, 3, Some(Broadcast::Underpriced)),
        (54, 3, Some(Broadcast::Rejected("no (code 54)".to_owned()))),
        (55, 3, Some(Broadcast::Rejected("no (code 55)".to_owned()))),
        (63, 3, None),
        (-32603, 3, None),
    ];
    for (code, nonce, meaning) in answers {
        world.say(|facts| {
            facts.send = Some((code, "no".to_owned()));
            facts.account_nonce = nonce;
        });
        assert_eq!(world.chain.broadcast(&raw).await.ok(), meaning, "{code}");
    }
    world.say(|facts| facts.send = None);
    let named_otherwise = world.chain.broadcast(&raw).await;
    assert!(named_otherwise.is_err(), "the node named another hash");
    let hash = raw.hash.to_string();
    world.say(|facts| {
        facts.odd = Some(Box::new(move |method, _| {
            (method == "starknet_addInvokeTransaction")
                .then(|| Ok(json!({"transaction_hash": hash.replace("0x", "0x0")})))
        }));
    });
    assert_eq!(
        world.chain.broadcast(&raw).await.unwrap(),
        Broadcast::Accepted
    );
}

#[tokio::test]
async fn a_receipt_with_the_one_transfer_settles() {
    let sent = sent().await;
    assert_eq!(sent.look().await, Some(Outcome::Unknown));
    assert_eq!(
        sent.look().await,
        None,
        "nothing is asked twice in one block"
    );
    sent.include("SUCCEEDED", &paid());
    let Some(Outcome::Settled(settled)) = sent.look().await else {
        panic!("not settled");
    };
    assert_eq!(settled.transaction, sent.hash);
    assert_eq!(settled.amount, Amount::from_atomic(PRICE.into()));
    assert_eq!(settled.fee, Amount::from_atomic(10_000_000_000));
    assert!(!settled.by_third_party);
}

#[tokio::test]
async fn success_without_exactly_the_transfer_is_not_payment() {
    let twice = [paid(), paid()].concat();
    let elsewhere = vec![transfer_event(PAYER, "0x7", PRICE)];
    for events in [vec![], twice, elsewhere] {
        let sent = sent().await;
        sent.include("SUCCEEDED", &events);
        let outcome = sent.look().await;
        let Some(Outcome::NotSettled(Proof::NoTransfer { transaction, .. })) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(transaction, sent.hash);
    }
}

/// Whatever the account's new code does with what was signed for the old one: it is
/// tried again before it is sent, and judged by what it moved after that.
#[tokio::test]
async fn an_account_that_is_upgraded_between_verify_and_settle_pays_nothing_and_opens_nothing() {
    let sent = sent().await;
    let intent = sent.world.verified().await.intent;
    let swallows = frame(FEE_PAYER, vec![], vec![frame(PAYER, vec![], vec![])]);
    sent.world.say(|facts| facts.trace = swallows);
    let settle = sent.world.chain.verify(intent, Phase::Settle, Amount::ZERO);
    let Err(ChainError::Refused(refusal)) = settle.await else {
        panic!("sent without another trial");
    };
    assert_eq!(refusal.code(), codes::SIMULATION_FAILED);
    // Upgraded later still, in the same block before ours.
    sent.include("SUCCEEDED", &[]);
    let outcome = sent.look().await;
    assert!(
        matches!(outcome, Some(Outcome::NotSettled(Proof::NoTransfer { .. }))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn what_was_accepted_and_reverted_moved_nothing() {
    let sent = sent().await;
    sent.include("REVERTED", &paid());
    let outcome = sent.look().await;
    assert!(
        matches!(outcome, Some(Outcome::NotSettled(Proof::Reverted { .. }))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn what_is_not_in_an_accepted_block_decides_nothing() {
    let sent = sent().await;
    sent.include("SUCCEEDED", &paid());
    sent.world.say(|facts| {
        let receipt = facts.receipts.get_mut(sent.hash.as_str()).unwrap();
        receipt["finality_status"] = json!("PRE_CONFIRMED");
    });
    assert_eq!(sent.look().await, Some(Outcome::Unknown));
    sent.world.say(|facts| {
        let receipt = facts.receipts.get_mut(sent.hash.as_str()).unwrap();
        receipt["finality_status"] = json!("ACCEPTED_ON_L2");
        receipt["execution_status"] = json!("SOMETHING_NEW");
    });
    assert_eq!(
        sent.look().await,
        Some(Outcome::Unknown),
        "a status that nobody knows"
    );
}

#[tokio::test]
async fn a_receipt_counts_at_the_depth_asked_for() {
    let mut sent = sent().await;
    sent.watch.expected[0].finality = Finality::Confirmations(3);
    sent.include("SUCCEEDED", &paid());
    let shallow = Outcome::Included {
        block: 101,
        moved: true,
    };
    assert_eq!(sent.look().await, Some(shallow.clone()));
    sent.world.say(|facts| facts.head += 1);
    assert_eq!(sent.look().await, Some(shallow.clone()));
    sent.world.say(|facts| facts.head += 1);
    assert!(matches!(sent.look().await, Some(Outcome::Settled(_))));
    sent.watch.expected[0].finality = Finality::Finalized;
    sent.watch.hashes.push(TxHash::new("0x1"));
    assert_eq!(sent.look().await, Some(shallow.clone()));
    sent.world.say(|facts| {
        facts.head += 1;
        let receipt = facts.receipts.get_mut(sent.hash.as_str()).unwrap();
        receipt["finality_status"] = json!("ACCEPTED_ON_L1");
    });
    assert!(matches!(sent.look().await, Some(Outcome::Settled(_))));
}

#[tokio::test]
async fn a_nonce_that_a_stranger_used_is_proof() {
    let sent = sent().await;
    sent.world.say(|facts| facts.account_nonce = 4);
    let proof = Proof::SlotTaken { confirmed_nonce: 4 };
    assert_eq!(sent.look().await, Some(Outcome::NotSettled(proof)));
}

#[tokio::test]
async fn a_chain_that_was_replaced_is_noticed() {
    let Sent { world, .. } = sent().await;
    let first = world.chain.look(None, &[]).await.unwrap();
    assert_eq!(first.replaced_from, None);
    world.say(|facts| facts.head += 1);
    let next = world.chain.look(Some(&first.head), &[]).await.unwrap();
    assert_eq!((next.head.number, next.replaced_from), (101, None));
    world.say(|facts| {
        facts.head += 1;
        facts.branch = 1;
    });
    let after = world.chain.look(Some(&next.head), &[]).await.unwrap();
    assert_eq!(after.head.number, 102);
    assert!(
        after.replaced_from.is_some_and(|from| from <= 99),
        "{after:?}"
    );
}

#[tokio::test]
async fn an_unused_nonce_can_still_be_settled() {
    let sent = sent().await;
    let item = &sent.watch.expected[0];
    let look_up = || {
        sent.world
            .chain
            .lookup(&item.identity, &item.expected, Finality::Included)
    };
    assert!(matches!(look_up().await.unwrap(), Lookup::Unused { .. }));
    sent.world
        .say(|facts| facts.nonce_free = Err((40, "no view".to_owned())));
    assert_eq!(look_up().await.unwrap(), Lookup::Unknown);
}

/// A transaction that carries the watched execution, and its receipt.
fn landed(sent: &Sent, nonce: &str, calls: &str, events: &[Value]) {
    sent.include("SUCCEEDED", events);
    let selector = felt::text(&tollway_starknet::selectors::EXECUTE_FROM_OUTSIDE);
    let transaction = json!({
        "type": "INVOKE", "sender_address": FEE_PAYER,
        "calldata": [calls, PAYER, selector, "0x2", FEE_PAYER, nonce],
    });
    let (hash, event) = (sent.hash.clone(), events.first().cloned());
    sent.world.say(|facts| {
        facts.nonce_free = Ok(json!(["0x0"]));
        facts.transactions.insert(hash.to_string(), transaction);
        facts.odd = Some(Box::new(move |method, _| {
            (method == "starknet_getEvents").then(|| {
                let mut event = event.clone().unwrap_or_default();
                event["transaction_hash"] = json!(hash.as_str());
                Ok(json!({"events": [event]}))
            })
        }));
    });
}

#[tokio::test]
async fn a_used_nonce_leads_to_the_transaction_that_paid() {
    let sent = sent().await;
    let item = sent.watch.expected[0].clone();
    landed(&sent, &item.identity.nonce, "0x1", &paid());
    let chain = &sent.world.chain;
    let found = chain
        .lookup(&item.identity, &item.expected, Finality::Included)
        .await
        .unwrap();
    let Lookup::Settled(settled) = found else {
        panic!("{found:?}");
    };
    assert_eq!(settled.transaction, sent.hash);
    let seen = chain
        .observe(
            &sent.hash,
            &item.identity,
            &item.expected,
            Finality::Included,
        )
        .await;
    assert_eq!(seen.unwrap(), Outcome::Settled(settled));
}

#[tokio::test]
async fn another_payment_of_the_same_amount_settles_nothing_here() {
    for (nonce, calls) in [("0xabc", "0x1"), ("0xabc", "0x2")] {
        let sent = sent().await;
        let item = sent.watch.expected[0].clone();
        landed(&sent, nonce, calls, &paid());
        let chain = &sent.world.chain;
        let seen = chain
            .observe(
                &sent.hash,
                &item.identity,
                &item.expected,
                Finality::Included,
            )
            .await
            .unwrap();
        assert!(!matches!(seen, Outcome::Settled(_)), "{seen:?}");
        let found = chain
            .lookup(&item.identity, &item.expected, Finality::Included)
            .await;
        assert!(!matches!(found.unwrap(), Lookup::Settled(_)));
    }
}

/// The execution's nonce is used, in a block of one transaction that somebody sent
/// whose calldata says that it carries the execution of a nonce.
async fn used_beside(sender: &str, nonce: Option<&str>, events: &[Value]) -> Lookup {
    let sent = sent().await;
    let item = sent.watch.expected[0].clone();
    landed(&sent, nonce.unwrap_or(&item.identity.nonce), "0x1", events);
    sent.world.say(|facts| {
        let hash = sent.hash.to_string();
        let receipt = facts.receipts[&hash].clone();
        facts.transactions.get_mut(&hash).unwrap()["sender_address"] = json!(sender);
        let (event, block) = (
            events[0].clone(),
            json!({ "transactions": [{ "receipt": receipt }] }),
        );
        facts.odd = Some(Box::new(move |method, _| match method {
            "starknet_getEvents" => {
                let mut event = event.clone();
                event["transaction_hash"] = json!(hash);
                Some(Ok(json!({ "events": [event] })))
            }
            "starknet_getBlockWithReceipts" => Some(Ok(block.clone())),
            _ => None,
        }));
    });
    let chain = &sent.world.chain;
    let found = chain.lookup(&item.identity, &item.expected, Finality::Included);
    found.await.unwrap()
}

const STRANGER: &str = "0x5712a16e5";

#[tokio::test]
async fn what_the_account_of_a_stranger_says_it_carries_is_no_proof_that_nothing_was_paid() {
    // Ours does what its calldata says.
    let ours = used_beside(FEE_PAYER, Some("0xabc"), &paid()).await;
    assert_eq!(ours, Lookup::Spent);
    let strangers = used_beside(STRANGER, Some("0xabc"), &paid()).await;
    assert_eq!(strangers, Lookup::Unknown);
    // Who says that it is this one, and moved just that, is believed.
    let said = used_beside(STRANGER, None, &paid()).await;
    assert!(matches!(said, Lookup::Settled(s) if s.by_third_party));
}

#[tokio::test]
async fn two_payments_of_one_payer_in_one_transaction_are_not_taken_for_none() {
    let twice = [paid(), paid()].concat();
    let legacy = json!({
        "from_address": crate::support::USDC,
        "keys": [felt::text(&tollway_starknet::selectors::TRANSFER_EVENT)],
        "data": [PAYER, PAYEE, format!("{PRICE:#x}"), "0x0"],
    });
    let other = transfer_event(PAYER, STRANGER, 1);
    for events in [twice, vec![legacy, other]] {
        for nonce in [None, Some("0xabc")] {
            let found = used_beside(STRANGER, nonce, &events).await;
            assert_eq!(found, Lookup::Unknown, "{nonce:?} {events:?}");
        }
        // By our own account it was this execution alone, or another one alone.
        let ours = used_beside(FEE_PAYER, Some("0xabc"), &events).await;
        assert_eq!(ours, Lookup::Spent);
    }
    // Transfers of others are none of the payer's.
    let others = used_beside(STRANGER, None, &[transfer_event(STRANGER, PAYEE, PRICE)]).await;
    assert_eq!(others, Lookup::Spent);
}
