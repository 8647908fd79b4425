//! When blocks are made, and what time they say it is.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_devnet::{Devnet, Mining, RpcError};

use crate::helpers::*;

fn block(devnet: &Devnet, tag: &str) -> Value {
    devnet
        .request("eth_getBlockByNumber", json!([tag, true]))
        .unwrap()
}

fn timestamp(devnet: &Devnet) -> u64 {
    let block = block(devnet, "latest");
    u64::from_str_radix(&block["timestamp"].as_str().unwrap()[2..], 16).unwrap()
}

fn wait_for(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < deadline, "it never happened");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn automine_has_the_receipt_ready_when_the_hash_returns() {
    let devnet = still();
    let (hash, raw) = Key::dev(0).sign_tx(tx(0));
    devnet.send_raw(&raw).unwrap();
    assert_eq!(receipt(&devnet, hash)["blockNumber"], "0x1");
    assert_eq!(devnet.succeeded(hash), Some(true));
}

#[test]
fn interval_mining_makes_blocks_by_itself_and_shows_what_waits() {
    let devnet = Devnet::builder()
        .mining(Mining::Interval(Duration::from_secs(3_600)))
        .build()
        .unwrap();
    let (hash, raw) = Key::dev(0).sign_tx(tx(0));
    devnet.send_raw(&raw).unwrap();
    let waiting = devnet
        .request("eth_getTransactionByHash", json!([hash]))
        .unwrap();
    assert!(waiting["blockHash"].is_null() && waiting["hash"] == json!(hash));
    assert!(receipt(&devnet, hash).is_null());
    assert_eq!(
        block(&devnet, "pending")["transactions"][0]["hash"],
        json!(hash)
    );
    assert_eq!(block(&devnet, "pending")["number"], "0x1");

    devnet.set_mining(Mining::Interval(Duration::from_millis(20)));
    wait_for(|| devnet.succeeded(hash) == Some(true));
    let height = devnet.block_number();
    wait_for(|| devnet.block_number() > height + 2);

    devnet.set_mining(Mining::Manual);
    let height = devnet.block_number();
    sleep(Duration::from_millis(100));
    assert_eq!(devnet.block_number(), height, "the miner did not stop");
}

#[test]
fn pending_state_shows_what_latest_does_not_yet() {
    let devnet = still();
    devnet.set_mining(Mining::Manual);
    let sender = Key::dev(0).address;
    devnet.send_raw(&Key::dev(0).sign_tx(tx(0)).1).unwrap();
    let get = |method: &str, tag: &str| devnet.request(method, json!([sender, tag])).unwrap();
    assert_eq!(get("eth_getTransactionCount", "latest"), "0x0");
    assert_eq!(get("eth_getTransactionCount", "pending"), "0x1");
    assert_ne!(
        get("eth_getBalance", "latest"),
        get("eth_getBalance", "pending")
    );
    devnet.request("evm_setAutomine", json!([true])).unwrap();
    assert_eq!(
        get("eth_getTransactionCount", "latest"),
        "0x1",
        "automine mines what waits"
    );
}

#[test]
fn the_clock_goes_where_it_is_told_and_never_back() {
    let devnet = still();
    devnet.mine(1).unwrap();
    assert_eq!(timestamp(&devnet), NOW);
    devnet.request("evm_increaseTime", json!(["0x64"])).unwrap();
    devnet.request("evm_mine", json!([])).unwrap();
    assert_eq!(timestamp(&devnet), NOW + 100);
    devnet
        .request("evm_setNextBlockTimestamp", json!([NOW + 500]))
        .unwrap();
    devnet.request("anvil_mine", json!(["0x2", "0xa"])).unwrap();
    assert_eq!((timestamp(&devnet), devnet.block_number()), (NOW + 510, 4));
    let back = devnet
        .request("evm_setNextBlockTimestamp", json!([NOW]))
        .unwrap_err();
    assert_eq!(back.code, -32602);
    assert!(devnet.increase_time(u64::MAX).is_err());
    devnet
        .request("evm_mine", json!([{"timestamp": NOW + 900}]))
        .unwrap();
    assert_eq!((timestamp(&devnet), devnet.now()), (NOW + 900, NOW + 900));
}

#[test]
fn by_default_the_clock_is_the_wall_s() {
    let devnet = Devnet::builder().build().unwrap();
    let wall = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(devnet.now().abs_diff(wall) <= 1);
}

#[test]
fn equal_histories_have_equal_hashes() {
    let run = || {
        let devnet = still();
        for nonce in 0..3 {
            devnet.send_raw(&Key::dev(0).sign_tx(tx(nonce)).1).unwrap();
        }
        block(&devnet, "latest")["hash"].clone()
    };
    assert_eq!(run(), run());
}

#[test]
fn finality_lags_as_far_as_it_was_built_to() {
    let devnet = Devnet::builder()
        .finality(2, 5)
        .fixed_time(NOW)
        .build()
        .unwrap();
    devnet.mine(10).unwrap();
    let number = |tag: &str| block(&devnet, tag)["number"].clone();
    assert_eq!(
        [
            number("latest"),
            number("safe"),
            number("finalized"),
            number("earliest")
        ],
        ["0xa", "0x8", "0x5", "0x0"]
    );
}

#[test]
fn mining_without_end_is_refused() {
    let devnet = still();
    let error: RpcError = devnet
        .request("anvil_mine", json!(["0xffffffff"]))
        .unwrap_err();
    assert_eq!(error.code, -32602);
    let error = devnet
        .request("anvil_mine", json!(["0xffffffff", "0x1"]))
        .unwrap_err();
    assert_eq!(error.code, -32602);
    assert_eq!(devnet.block_number(), 0);
}
