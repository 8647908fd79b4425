//! Looking back and going back: old states, snapshots, reorgs.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall as _;
use serde_json::{Value, json};
use tollway_devnet::{DEV_ACCOUNTS, Devnet, Mining};

use crate::helpers::*;

fn pay(devnet: &Devnet, nonce: u64) -> B256 {
    let (hash, raw) = Key::dev(0).sign_tx(tx(nonce));
    devnet.send_raw(&raw).unwrap();
    hash
}

fn get(devnet: &Devnet, method: &str, params: Value) -> Value {
    devnet.request(method, params).unwrap()
}

fn wei(devnet: &Devnet, block: &str) -> Value {
    get(
        devnet,
        "eth_getBalance",
        json!([DEV_ACCOUNTS[9].address, block]),
    )
}

#[test]
fn older_blocks_keep_their_state() {
    let devnet = still();
    for nonce in 0..3 {
        pay(&devnet, nonce);
    }
    let rich = U256::from(10_000_000_000_000_000_000_000_u128);
    for number in 0..=3_u64 {
        let expected = json!(format!("{:#x}", rich + U256::from(number)));
        assert_eq!(wei(&devnet, &format!("{number:#x}")), expected);
        let sender = DEV_ACCOUNTS[0].address;
        let tag = format!("{number:#x}");
        assert_eq!(
            get(&devnet, "eth_getTransactionCount", json!([sender, tag])),
            tag
        );
    }
}

#[test]
fn calls_at_an_older_block_run_on_its_state() {
    let devnet = still();
    let to = Address::repeat_byte(9);
    for _ in 0..2 {
        let data = alloy_sol_types::SolCall::abi_encode(&Token::transferCall {
            to,
            value: U256::ONE,
        });
        transact(&devnet, data);
    }
    let data = [&[0x70, 0xa0, 0x82, 0x31][..], to.into_word().as_slice()].concat();
    for number in 0..=2_u64 {
        let call = json!({"to": devnet.dollar().address, "data": alloy_primitives::Bytes::from(data.clone())});
        let answer = get(&devnet, "eth_call", json!([call, format!("{number:#x}")]));
        assert_eq!(answer, json!(B256::from(U256::from(number))));
    }
}

#[test]
fn states_too_old_or_too_new_are_refused_not_invented() {
    let devnet = still();
    devnet.mine(200).unwrap();
    let ask = |tag: &str| devnet.request("eth_getBalance", json!([Address::ZERO, tag]));
    assert!(
        ask("0x0")
            .unwrap_err()
            .message
            .starts_with("missing trie node")
    );
    assert!(ask("0x48").is_ok(), "block 72 is the 128th back");
    assert_eq!(ask("0xc9").unwrap_err().message, "header not found");
}

#[test]
fn a_revert_restores_money_time_blocks_and_what_waited() {
    let devnet = still();
    pay(&devnet, 0);
    devnet.set_mining(Mining::Manual);
    let waiting = pay(&devnet, 1);
    let head = get(&devnet, "eth_getBlockByNumber", json!(["latest", false]));
    let snapshot = devnet.snapshot();

    devnet.increase_time(1_000).unwrap();
    devnet.mine(3).unwrap();
    devnet.set_balance(DEV_ACCOUNTS[9].address, U256::from(5));
    devnet.mint(Address::repeat_byte(9), U256::ONE).unwrap();
    devnet.mint(DEV_ACCOUNTS[1].address, U256::ONE).unwrap();
    devnet.set_storage(Address::repeat_byte(9), U256::ONE, U256::ONE);
    assert_eq!(devnet.succeeded(waiting), Some(true));

    assert!(devnet.revert(snapshot));
    assert_eq!(
        get(&devnet, "eth_getBlockByNumber", json!(["latest", false])),
        head
    );
    assert_eq!(
        (devnet.now(), devnet.waiting(), devnet.succeeded(waiting)),
        (NOW, 1, None)
    );
    assert_eq!(devnet.balance_of(Address::repeat_byte(9)), U256::ZERO);
    let dollars = U256::from(1_000_000_000_000_u64);
    assert_eq!(devnet.balance_of(DEV_ACCOUNTS[1].address), dollars);
    assert_eq!(
        devnet.storage(Address::repeat_byte(9), U256::ONE),
        U256::ZERO
    );
    assert!(!devnet.revert(snapshot), "a snapshot is used up");
    devnet.mine(1).unwrap();
    assert_eq!(devnet.succeeded(waiting), Some(true));
}

#[test]
fn reverting_to_an_early_snapshot_uses_up_the_later_ones() {
    let devnet = still();
    let early = get(&devnet, "evm_snapshot", json!([]));
    devnet.mine(1).unwrap();
    let late = get(&devnet, "evm_snapshot", json!([]));
    assert_eq!(get(&devnet, "evm_revert", json!([early])), json!(true));
    assert_eq!(get(&devnet, "evm_revert", json!([late])), json!(false));
    assert_eq!(devnet.block_number(), 0);
}

#[test]
fn a_snapshot_outlives_the_horizon_of_old_states() {
    let devnet = still();
    let snapshot = devnet.snapshot();
    pay(&devnet, 0);
    devnet.mine(300).unwrap();
    assert!(devnet.revert(snapshot));
    assert_eq!(devnet.nonce(DEV_ACCOUNTS[0].address), 0);
}

#[test]
fn a_reorg_gives_transactions_back_and_undoes_their_effects() {
    let devnet = still();
    let (first, second) = (pay(&devnet, 0), pay(&devnet, 1));
    let old = get(&devnet, "eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(get(&devnet, "tollway_reorg", json!([1])), "0x1");
    assert_eq!(
        (devnet.succeeded(first), devnet.succeeded(second)),
        (Some(true), None)
    );
    assert!(receipt(&devnet, second).is_null());
    assert!(get(&devnet, "eth_getBlockByHash", json!([old["hash"], false])).is_null());
    assert_eq!(
        (devnet.waiting(), devnet.nonce(DEV_ACCOUNTS[0].address)),
        (1, 1)
    );

    devnet.mine(1).unwrap();
    let new = get(&devnet, "eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(new["transactions"], json!([second]));
    assert_ne!(new["hash"], old["hash"], "the same block on another branch");
}

#[test]
fn a_reorg_can_lose_transactions_for_good() {
    let devnet = still();
    let lost = pay(&devnet, 0);
    devnet.reorg(1, false).unwrap();
    devnet.mine(1).unwrap();
    assert_eq!((devnet.waiting(), devnet.succeeded(lost)), (0, None));
    pay(&devnet, 0);
}

#[test]
fn a_reorg_stops_at_genesis_and_at_the_horizon() {
    let devnet = still();
    devnet.mine(10).unwrap();
    assert_eq!(devnet.reorg(11, true).unwrap_err().code, -32602);
    devnet.reorg(10, true).unwrap();
    assert_eq!(devnet.block_number(), 0);
    devnet.mine(200).unwrap();
    assert!(devnet.reorg(129, true).is_err());
    devnet.reorg(128, true).unwrap();
    assert_eq!(devnet.block_number(), 72);
}

/// Calls the address in its first word with the rest, and goes on where that fails.
const FORWARDER: [u8; 18] = alloy_primitives::hex!("5f5f602036038060205f375f5f5f355af100");

#[test]
fn a_mined_transaction_is_run_again_on_what_came_before_it_and_tells_its_calls() {
    let devnet = Devnet::builder()
        .mining(Mining::Manual)
        .fixed_time(NOW)
        .build()
        .unwrap();
    let (dollar, forwarder) = (devnet.dollar().address, Address::repeat_byte(0x66));
    devnet
        .set_code(forwarder, FORWARDER.to_vec().into())
        .unwrap();
    devnet.mine(1).unwrap();
    // In one block: the forwarder gets a dollar, gives it away, and has no other.
    let transfer = |to, value| {
        Token::transferCall {
            to,
            value: U256::from(value),
        }
        .abi_encode()
    };
    let give = [
        dollar.into_word().to_vec(),
        transfer(DEV_ACCOUNTS[3].address, 1),
    ]
    .concat();
    let mut hashes = Vec::new();
    for (nonce, to, data) in [
        (0, dollar, transfer(forwarder, 1)),
        (1, forwarder, give.clone()),
        (2, forwarder, give),
    ] {
        let (hash, raw) = Key::dev(0).sign_tx(call_tx(nonce, to, data));
        devnet.send_raw(&raw).unwrap();
        hashes.push(hash);
    }
    devnet.mine(1).unwrap();
    let traced = |hash: B256| {
        let how = json!({"tracer": "callTracer"});
        get(&devnet, "debug_traceTransaction", json!([hash, how]))
    };
    let gave = traced(hashes[1]);
    assert_eq!(gave["type"], "CALL");
    assert_eq!(gave["to"], json!(forwarder));
    assert_eq!(gave["error"], Value::Null);
    let inner = &gave["calls"][0];
    assert_eq!(inner["to"], json!(dollar));
    assert_eq!(inner["from"], json!(forwarder));
    assert_eq!(inner["error"], Value::Null);
    let broke = traced(hashes[2]);
    assert_eq!(broke["error"], Value::Null);
    assert_eq!(broke["calls"][0]["error"], "execution reverted");
    let unknown = devnet.request(
        "debug_traceTransaction",
        json!([B256::ZERO, {"tracer": "callTracer"}]),
    );
    assert_eq!(unknown.unwrap_err().message, "transaction not found");
    let steps = devnet.request("debug_traceTransaction", json!([hashes[1], {}]));
    assert!(steps.unwrap_err().message.contains("callTracer"));
}
