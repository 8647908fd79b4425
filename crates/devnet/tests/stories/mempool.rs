//! The pool refuses, queues, replaces and orders as geth's does.

use alloy_consensus::{TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{B256, TxKind, U256};
use serde_json::json;
use tollway_devnet::{CREATE2_DEPLOYER, DEV_ACCOUNTS, Devnet, MULTICALL, Mining};

use crate::helpers::*;

fn manual() -> Devnet {
    Devnet::builder()
        .fixed_time(NOW)
        .mining(Mining::Manual)
        .build()
        .unwrap()
}

fn send(devnet: &Devnet, key: Key, tx: TxEip1559) -> B256 {
    let (hash, raw) = key.sign_tx(tx);
    assert_eq!(devnet.send_raw(&raw).unwrap(), hash);
    hash
}

fn mined_in(devnet: &Devnet, block: u64) -> Vec<B256> {
    let block = devnet
        .request(
            "eth_getBlockByNumber",
            json!([format!("{block:#x}"), false]),
        )
        .unwrap();
    serde_json::from_value(block["transactions"].clone()).unwrap()
}

#[test]
fn a_transaction_sent_twice_is_already_known() {
    let devnet = manual();
    let (_, raw) = Key::dev(0).sign_tx(tx(0));
    devnet.send_raw(&raw).unwrap();
    assert_eq!(refusal(&devnet, &raw), "already known");
    devnet.mine(1).unwrap();
    assert_eq!(
        refusal(&devnet, &raw),
        "nonce too low: next nonce 1, tx nonce 0"
    );
}

#[test]
fn what_can_never_be_mined_is_refused_with_the_reason() {
    let devnet = manual();
    let key = Key::dev(0);
    let say = |change: &dyn Fn(&mut TxEip1559)| {
        let mut tx = tx(0);
        change(&mut tx);
        refusal(&devnet, &key.sign_tx(tx).1)
    };
    assert_eq!(
        say(&|tx| tx.chain_id = 1),
        "invalid chain id for signer: have 1 want 84532"
    );
    assert_eq!(
        say(&|tx| tx.gas_limit = 30_000_001),
        "exceeds block gas limit"
    );
    assert_eq!(
        say(&|tx| tx.gas_limit = (1 << 24) + 1),
        "transaction gas limit too high (cap: 16777216, tx: 16777217)"
    );
    assert_eq!(
        say(&|tx| tx.gas_limit = 20_999),
        "intrinsic gas too low: gas 20999, minimum needed 21000"
    );
    assert_eq!(
        say(&|tx| tx.max_priority_fee_per_gas = 3_000_000_000),
        "max priority fee per gas higher than max fee per gas"
    );
    let poor = say(&|tx| tx.value = U256::MAX);
    assert!(
        poor.starts_with("insufficient funds for gas * price + value: balance "),
        "{poor}"
    );
    let floor = say(&|tx| {
        tx.input = vec![1; 10_000].into();
        tx.gas_limit = 21_000 + 16 * 10_000;
    });
    assert!(
        floor.starts_with("insufficient gas for floor data gas cost"),
        "{floor}"
    );
    let big = say(&|tx| tx.input = vec![0; 130_000].into());
    assert!(big.starts_with("intrinsic gas too low") || big.starts_with("insufficient gas"));
    assert!(refusal(&devnet, &vec![2; 140_000]).starts_with("oversized data"));
    assert_eq!(
        refusal(&devnet, &[3, 1, 2]),
        "transaction type not supported"
    );
    for junk in [&[][..], &[2], &[0xff; 40], &[0xf8; 200]] {
        assert!(refusal(&devnet, junk).starts_with("could not decode transaction"));
    }
}

#[test]
fn the_funds_must_cover_everything_that_waits() {
    let devnet = manual();
    let key = Key::dev(0);
    devnet.set_balance(key.address, U256::from(60_000_000_000_000_u64));
    send(&devnet, key, tx(0));
    let message = refusal(&devnet, &key.sign_tx(tx(1)).1);
    assert!(message.contains("queued cost 42000000000001"), "{message}");
}

#[test]
fn a_nonce_gap_waits_until_it_is_filled() {
    let devnet = still();
    let key = Key::dev(0);
    let second = send(&devnet, key, tx(1));
    assert_eq!((devnet.block_number(), devnet.waiting()), (0, 1));
    let pending = |tag: &str| {
        devnet
            .request("eth_getTransactionCount", json!([key.address, tag]))
            .unwrap()
    };
    assert_eq!(pending("pending"), "0x0");
    let first = send(&devnet, key, tx(0));
    assert_eq!(mined_in(&devnet, 1), [first, second]);
    assert_eq!((pending("latest"), devnet.waiting()), (json!("0x2"), 0));
}

#[test]
fn a_replacement_must_pay_a_tenth_more_on_both_fees() {
    let devnet = manual();
    let key = Key::dev(0);
    let old = send(&devnet, key, tx(0));
    let bid = |fee: u128, tip: u128| TxEip1559 {
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: tip,
        ..tx(0)
    };
    for (fee, tip) in [(2_199_999_999, 1_100_000), (2_200_000_000, 1_099_999)] {
        let raw = key.sign_tx(bid(fee, tip)).1;
        assert_eq!(
            refusal(&devnet, &raw),
            "replacement transaction underpriced"
        );
    }
    let new = send(&devnet, key, bid(2_200_000_000, 1_100_000));
    devnet.mine(1).unwrap();
    assert_eq!(mined_in(&devnet, 1), [new]);
    assert!(
        devnet
            .request("eth_getTransactionByHash", json!([old]))
            .unwrap()
            .is_null()
    );
}

#[test]
fn the_dearest_go_first_and_each_sender_in_order() {
    let devnet = manual();
    let (a, b) = (Key::dev(0), Key::dev(1));
    let tip = |nonce: u64, tip: u128| TxEip1559 {
        max_priority_fee_per_gas: tip,
        ..tx(nonce)
    };
    let a0 = send(&devnet, a, tip(0, 1));
    let a1 = send(&devnet, a, tip(1, 900));
    let b0 = send(&devnet, b, tip(0, 500));
    let b1 = send(&devnet, b, tip(1, 1));
    devnet.mine(1).unwrap();
    assert_eq!(mined_in(&devnet, 1), [b0, a0, a1, b1]);
}

#[test]
fn an_offer_below_the_base_fee_waits_for_it_to_fall() {
    let devnet = still();
    let cheap = TxEip1559 {
        max_fee_per_gas: 700_000_000,
        ..tx(0)
    };
    let hash = send(&devnet, Key::dev(0), cheap);
    assert_eq!(devnet.waiting(), 1);
    devnet.mine(3).unwrap();
    assert!(devnet.succeeded(hash).unwrap());
}

#[test]
fn a_full_block_leaves_the_rest_for_the_next() {
    let devnet = Devnet::builder()
        .mining(Mining::Manual)
        .block_gas_limit(50_000)
        .fixed_time(NOW)
        .build()
        .unwrap();
    for nonce in 0..3 {
        send(&devnet, Key::dev(0), tx(nonce));
    }
    devnet.mine(2).unwrap();
    assert_eq!(
        (mined_in(&devnet, 1).len(), mined_in(&devnet, 2).len()),
        (2, 1)
    );
}

#[test]
fn the_base_fee_follows_demand() {
    let devnet = Devnet::builder()
        .block_gas_limit(42_000)
        .fixed_time(NOW)
        .build()
        .unwrap();
    let fee = || {
        let block = devnet
            .request("eth_getBlockByNumber", json!(["latest", false]))
            .unwrap();
        u64::from_str_radix(&block["baseFeePerGas"].as_str().unwrap()[2..], 16).unwrap()
    };
    devnet.mine(1).unwrap();
    assert_eq!(fee(), 875_000_000);
    send(&devnet, Key::dev(0), tx(0)); // exactly the target: half the limit
    let after_empty = fee();
    devnet.mine(1).unwrap();
    assert_eq!((after_empty, fee()), (765_625_000, 765_625_000));
    devnet.mine(100).unwrap();
    assert_eq!(fee(), 1_000_000, "the floor");
}

#[test]
fn every_kind_of_transaction_is_mined() {
    let devnet = still();
    let key = Key::dev(0);
    let to = TxKind::Call(DEV_ACCOUNTS[9].address);
    let (gas_price, gas_limit) = (2_000_000_000, 100_000);
    let chain_id = 84_532;
    let legacy = TxLegacy {
        chain_id: Some(chain_id),
        nonce: 0,
        gas_price,
        gas_limit,
        to,
        ..Default::default()
    };
    let bare = TxLegacy {
        chain_id: None,
        nonce: 1,
        ..legacy.clone()
    };
    let listed = TxEip2930 {
        chain_id,
        nonce: 2,
        gas_price,
        gas_limit,
        to,
        ..Default::default()
    };
    let authorization = Authorization {
        chain_id: U256::from(chain_id),
        address: MULTICALL,
        nonce: 0,
    };
    let signature = Key::dev(5).sign(authorization.signature_hash());
    let set_code = TxEip7702 {
        chain_id,
        nonce: 4,
        gas_limit,
        max_fee_per_gas: gas_price,
        to: DEV_ACCOUNTS[9].address,
        authorization_list: vec![authorization.into_signed(signature)],
        ..Default::default()
    };
    let raws = [
        key.sign_tx(legacy),
        key.sign_tx(bare),
        key.sign_tx(listed),
        key.sign_tx(tx(3)),
        key.sign_tx(set_code),
    ];
    for ((hash, raw), kind) in raws.into_iter().zip(["0x0", "0x0", "0x1", "0x2", "0x4"]) {
        devnet.send_raw(&raw).unwrap();
        assert_eq!(receipt(&devnet, hash)["status"], "0x1");
        assert_eq!(receipt(&devnet, hash)["type"], kind);
        let tx = devnet
            .request("eth_getTransactionByHash", json!([hash]))
            .unwrap();
        assert_eq!(tx["type"], kind);
        let again = devnet
            .request("eth_getRawTransactionByHash", json!([hash]))
            .unwrap();
        assert_eq!(again, json!(alloy_primitives::Bytes::from(raw)));
    }
    let delegated = devnet.code(DEV_ACCOUNTS[5].address);
    assert_eq!(
        delegated[..],
        [&[0xef, 0x01, 0x00], MULTICALL.as_slice()].concat()
    );
}

#[test]
fn a_delegated_account_can_still_send_and_a_contract_cannot() {
    let devnet = still();
    let key = Key::dev(0);
    let designator = [&[0xef, 0x01, 0x00], CREATE2_DEPLOYER.as_slice()].concat();
    devnet.set_code(key.address, designator.into()).unwrap();
    send(&devnet, key, tx(0));
    devnet.set_code(key.address, vec![0x00].into()).unwrap();
    assert_eq!(refusal(&devnet, &key.sign_tx(tx(1)).1), "sender not an eoa");
}

#[test]
fn a_dropped_transaction_is_gone() {
    let devnet = manual();
    let hash = send(&devnet, Key::dev(0), tx(0));
    let dropped = devnet
        .request("anvil_dropTransaction", json!([hash]))
        .unwrap();
    assert_eq!(dropped, json!(hash));
    assert!(
        devnet
            .request("anvil_dropTransaction", json!([hash]))
            .unwrap()
            .is_null()
    );
    devnet.mine(1).unwrap();
    assert!(mined_in(&devnet, 1).is_empty());
}

#[test]
fn one_sender_can_make_only_so_many_wait() {
    let devnet = manual();
    let cheap = |nonce| TxEip1559 {
        max_fee_per_gas: 1_100_000_000,
        ..tx(nonce)
    };
    for nonce in 0..1_024 {
        send(&devnet, Key::dev(0), cheap(nonce));
    }
    let message = refusal(&devnet, &Key::dev(0).sign_tx(cheap(1_024)).1);
    assert!(message.starts_with("account limit exceeded"), "{message}");
}

#[test]
fn a_chain_may_let_more_of_one_sender_wait() {
    let narrow = Devnet::builder()
        .mining(Mining::Manual)
        .waiting_per_sender(2);
    let devnet = narrow.build().unwrap();
    send(&devnet, Key::dev(0), tx(0));
    send(&devnet, Key::dev(0), tx(1));
    assert!(refusal(&devnet, &Key::dev(0).sign_tx(tx(2)).1).starts_with("account limit"));
    // A block later there is as much room again.
    devnet.mine(1).unwrap();
    send(&devnet, Key::dev(0), tx(2));
    send(&devnet, Key::dev(0), tx(3));
    assert!(refusal(&devnet, &Key::dev(0).sign_tx(tx(4)).1).starts_with("account limit"));
}
