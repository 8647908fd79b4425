//! What the account says of signatures to those who ask it.

use serde_json::{Value, json};
use starknet_crypto::poseidon_hash_many;
use tollway_starknet::invoke::{Bounds, Invoke};
use tollway_starknet::outside::calls_calldata;
use tollway_starknet::{Call, Felt, StarkKey, felt, selectors};

use crate::sessions::Session;
use tollway_test_starknet::{PAYEE, STRK, network, number};

/// 'VALID'
const VALID: &str = "0x56414c4944";

impl Session {
    fn question(&self, hash: Felt, signature: &[Felt]) -> Call {
        let mut calldata = vec![hash, Felt::from(signature.len())];
        calldata.extend(signature);
        Call {
            to: number(&self.world.payer.address),
            selector: selectors::IS_VALID_SIGNATURE,
            calldata,
        }
    }

    /// The answer to somebody who only reads, as facilitators do.
    async fn read(&self, call: &Call) -> Vec<Felt> {
        let request = json!({
            "contract_address": felt::text(&call.to),
            "entry_point_selector": felt::text(&call.selector),
            "calldata": felt::texts(&call.calldata),
        });
        let asked = json!([request, "latest"]);
        felts(&self.world.node.ask("starknet_call", asked).await)
    }

    /// The answer to a contract: the stranger's account asks in a transaction.
    async fn told_to_a_contract(&self, call: &Call) -> Vec<Felt> {
        let mut invoke = Invoke {
            sender: number(&self.world.stranger.address),
            nonce: 0,
            tip: 0,
            bounds: Bounds::default(),
            calldata: calls_calldata(std::slice::from_ref(call)),
        };
        invoke.bounds.l2_gas.amount = 100_000_000;
        let params = json!({
            "block_id": "latest",
            "transactions": [invoke.signed(&[])],
            "simulation_flags": ["SKIP_VALIDATE", "SKIP_FEE_CHARGE"],
        });
        let traced = self.world.node.ask("starknet_simulateTransactions", params);
        let traced = traced.await;
        let asked = &traced[0]["transaction_trace"]["execute_invocation"]["calls"][0];
        assert_eq!(number(asked["contract_address"].as_str().unwrap()), call.to);
        felts(&asked["result"])
    }
}

fn felts(list: &Value) -> Vec<Felt> {
    let list = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    list.iter().map(|n| number(n.as_str().unwrap())).collect()
}

#[tokio::test]
async fn what_a_session_signs_counts_for_no_contract_that_asks_the_account() {
    let session = Session::allowed(3).await;
    // What a permit's hash would be: nothing about it says what it allows.
    let hash = Felt::from(0xdead_beef_u64);
    let by_session = session.key.signer().sign(&hash).unwrap();
    let owner = StarkKey::from_hex(&session.world.payer.key).unwrap();
    let by_owner = owner.sign(&hash).unwrap();
    let of_session = session.question(hash, &by_session);
    let of_owner = session.question(hash, &by_owner);
    let (valid, invalid) = (vec![number(VALID)], vec![Felt::ZERO]);
    assert_eq!(session.read(&of_session).await, valid);
    assert_eq!(session.told_to_a_contract(&of_session).await, invalid);
    // The owner's own word counts for everybody.
    assert_eq!(session.read(&of_owner).await, valid);
    assert_eq!(session.told_to_a_contract(&of_owner).await, valid);
    // And a session pays as before.
    session.pay().await;
}

#[tokio::test]
async fn the_published_hash_of_a_sessions_calls_is_answered() {
    let session = Session::allowed(1).await;
    let calls = [
        Call {
            to: number(STRK),
            selector: selectors::TRANSFER,
            calldata: vec![number(PAYEE), Felt::from(7_u8), Felt::ZERO],
        },
        Call {
            to: number(PAYEE),
            selector: selectors::APPROVE,
            calldata: vec![],
        },
    ];
    let end = Felt::from(session.key.valid_until());
    let mut calldata = calls_calldata(&calls);
    calldata.push(end);
    let question = Call {
        to: number(&session.world.payer.address),
        selector: selectors::parse("compute_session_message_hash").unwrap(),
        calldata,
    };
    let chain_id = felt::chain_id(&network()).unwrap();
    // A question has nonce zero.
    let mut parts = vec![question.to, chain_id, Felt::ZERO, end];
    for call in &calls {
        parts.extend([call.to, call.selector, Felt::from(call.calldata.len())]);
        parts.extend(&call.calldata);
    }
    let answer = session.read(&question).await;
    assert_eq!(answer, [poseidon_hash_many(&parts)]);
}
