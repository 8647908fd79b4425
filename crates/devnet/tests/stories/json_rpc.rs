//! The shapes and errors that clients rely on.

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use serde_json::{Value, json};
use tollway_devnet::{CREATE2_DEPLOYER, Contract, DEV_ACCOUNTS, Devnet, MULTICALL};

use crate::helpers::*;

fn get(devnet: &Devnet, method: &str, params: Value) -> Value {
    devnet.request(method, params).unwrap()
}

fn body(devnet: &Devnet, body: &str) -> Value {
    serde_json::from_slice(&devnet.handle_body(body.as_bytes())).unwrap()
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

fn transfer(to: Address, value: u64) -> Bytes {
    Token::transferCall {
        to,
        value: U256::from(value),
    }
    .abi_encode()
    .into()
}

#[test]
fn the_chain_says_who_it_is() {
    let devnet = still();
    assert_eq!(get(&devnet, "eth_chainId", json!([])), "0x14a34");
    assert_eq!(get(&devnet, "net_version", Value::Null), "84532");
    assert!(
        get(&devnet, "web3_clientVersion", json!([]))
            .as_str()
            .unwrap()
            .starts_with("tollway")
    );
    assert_eq!(get(&devnet, "eth_syncing", json!([])), json!(false));
    assert_eq!(get(&devnet, "eth_accounts", json!([])), json!([]));
}

#[test]
fn malformed_requests_get_the_standard_codes_and_never_a_panic() {
    let devnet = still();
    for (request, code) in [
        ("{", -32700),
        ("", -32700),
        ("\u{0}", -32700),
        ("1", -32600),
        ("\"eth_chainId\"", -32600),
        ("null", -32600),
        ("[]", -32600),
        (r#"{"id":1}"#, -32600),
        (r#"{"id":1,"method":7}"#, -32600),
        (r#"{"id":{},"method":"eth_chainId"}"#, -32600),
        (r#"{"id":1,"method":"eth_nope"}"#, -32601),
        (r#"{"id":1,"method":"anvil_nope"}"#, -32601),
        (r#"{"id":1,"method":""}"#, -32601),
        (r#"{"id":1,"method":"eth_getBalance"}"#, -32602),
        (r#"{"id":1,"method":"eth_getBalance","params":{}}"#, -32602),
        (
            r#"{"id":1,"method":"eth_getBalance","params":["0x12"]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"eth_getBalance","params":["é"]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"eth_getBlockByNumber","params":["soon"]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"eth_getBlockByNumber","params":["0x10000000000000000"]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"eth_call","params":[{"to":1}]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"eth_call","params":[{"data":"0x1"}]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"eth_call","params":[{"data":"0x01","input":"0x02"}]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"eth_call","params":[{},"latest",{"0x1":{}}]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"eth_getLogs","params":[{"topics":"0x"}]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"eth_getLogs","params":[{"topics":[1]}]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"eth_feeHistory","params":[4,"latest",[50,20]]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"anvil_setCode","params":["0x0000000000000000000000000000000000000001","0xef01"]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"eth_sendRawTransaction","params":["0x"]}"#,
            -32000,
        ),
    ] {
        let answer = body(&devnet, request);
        assert_eq!(answer["error"]["code"], code, "{request} -> {answer}");
        assert_eq!(answer["jsonrpc"], "2.0");
    }
}

#[test]
fn a_batch_answers_each_request_in_order_and_no_notification() {
    let devnet = still();
    let answers = body(
        &devnet,
        r#"[{"id":"a","method":"eth_chainId"},{"method":"eth_chainId"},5,{"id":null,"method":"x"}]"#,
    );
    assert_eq!(answers.as_array().unwrap().len(), 3);
    assert_eq!(
        answers[0],
        json!({"jsonrpc": "2.0", "id": "a", "result": "0x14a34"})
    );
    assert_eq!(
        (&answers[1]["error"]["code"], &answers[2]["error"]["code"]),
        (&json!(-32600), &json!(-32601))
    );
    assert!(
        devnet
            .handle_body(br#"{"method":"eth_chainId"}"#)
            .is_empty()
    );
    let large = format!(
        "[{}]",
        vec![r#"{"id":1,"method":"eth_chainId"}"#; 1_001].join(",")
    );
    assert_eq!(body(&devnet, &large)["error"]["code"], -32600);
}

#[test]
fn a_receipt_a_transaction_and_a_block_agree() {
    let devnet = still();
    let (hash, raw) = Key::dev(0).sign_tx(call_tx(
        0,
        devnet.dollar().address,
        transfer(DEV_ACCOUNTS[1].address, 5).into(),
    ));
    devnet.send_raw(&raw).unwrap();
    let receipt = receipt(&devnet, hash);
    let tx = get(&devnet, "eth_getTransactionByHash", json!([hash]));
    let block = get(
        &devnet,
        "eth_getBlockByHash",
        json!([receipt["blockHash"], true]),
    );
    assert_eq!(block["transactions"][0], tx);
    for field in [
        "blockHash",
        "blockNumber",
        "transactionIndex",
        "from",
        "to",
        "type",
    ] {
        assert_eq!(receipt[field], tx[field], "{field}");
    }
    assert_eq!(receipt["effectiveGasPrice"], tx["gasPrice"]);
    assert_eq!(receipt["gasUsed"], block["gasUsed"]);
    assert_eq!(receipt["logsBloom"], block["logsBloom"]);
    assert_eq!(
        get(&devnet, "eth_getBlockReceipts", json!(["latest"])),
        json!([receipt])
    );
    let price = number(&block["baseFeePerGas"]) + 1_000_000;
    assert_eq!(number(&receipt["effectiveGasPrice"]), price);
    let by_number = json!([block["number"], "0x0"]);
    assert_eq!(
        get(
            &devnet,
            "eth_getTransactionByBlockNumberAndIndex",
            by_number
        ),
        tx
    );
    assert!(
        get(
            &devnet,
            "eth_getTransactionByBlockNumberAndIndex",
            json!(["0x1", "0x1"])
        )
        .is_null()
    );
    let by_hash = json!([block["hash"], "0x0"]);
    assert_eq!(
        get(&devnet, "eth_getTransactionByBlockHashAndIndex", by_hash),
        tx
    );
    assert_eq!(
        get(
            &devnet,
            "eth_getBlockTransactionCountByNumber",
            json!(["latest"])
        ),
        "0x1"
    );
}

#[test]
fn a_deployment_says_where_the_contract_is() {
    let devnet = still();
    let input = [
        &Contract::SmartWallet.creation()[..],
        &DEV_ACCOUNTS[3].address.abi_encode(),
    ]
    .concat();
    let tx = TxEip1559 {
        to: TxKind::Create,
        gas_limit: 3_000_000,
        ..call_tx(0, Address::ZERO, input)
    };
    let (hash, raw) = Key::dev(0).sign_tx(tx);
    devnet.send_raw(&raw).unwrap();
    let at: Address =
        serde_json::from_value(receipt(&devnet, hash)["contractAddress"].clone()).unwrap();
    assert_eq!(at, DEV_ACCOUNTS[0].address.create(0));
    assert_eq!(devnet.code(at), Contract::SmartWallet.runtime());
    let owner = devnet
        .call(at, Wallet::ownerCall {}.abi_encode().into())
        .unwrap();
    assert_eq!(
        owner.as_ref(),
        DEV_ACCOUNTS[3].address.into_word().as_slice()
    );
}

#[test]
fn the_create2_deployer_deploys_where_it_is_expected_to() {
    let devnet = still();
    let code = Contract::Multicall.creation();
    let salt = B256::repeat_byte(1);
    let mut tx = call_tx(0, CREATE2_DEPLOYER, [&salt[..], &code].concat());
    tx.gas_limit = 5_000_000;
    devnet.send_raw(&Key::dev(0).sign_tx(tx).1).unwrap();
    let at = CREATE2_DEPLOYER.create2(salt, keccak256(&code));
    assert_eq!(devnet.code(at), devnet.code(MULTICALL));
}

#[test]
fn a_revert_is_code_3_with_its_reason_and_data() {
    let devnet = still();
    let call = json!({"to": devnet.dollar().address, "data": transfer(Address::ZERO, 1)});
    for method in ["eth_call", "eth_estimateGas"] {
        let error = devnet.request(method, json!([call])).unwrap_err();
        assert_eq!(error.code, 3);
        assert_eq!(
            error.message,
            "execution reverted: ERC20: transfer from the zero address"
        );
        assert_eq!(error.data.unwrap()[..4], [0x08, 0xc3, 0x79, 0xa0]);
    }
}

#[test]
fn calls_may_come_from_anyone_and_cost_nothing() {
    let devnet = still();
    let call = json!({"from": MULTICALL, "to": MULTICALL, "data": "0x0f28c97d"});
    let time = get(&devnet, "eth_call", json!([call]));
    assert_eq!(time, json!(B256::from(U256::from(NOW))));
    let broke = json!({"from": Address::repeat_byte(1), "to": MULTICALL, "data": "0x0f28c97d", "gasPrice": "0x3b9aca00", "gas": "0xffff"});
    let error = devnet.request("eth_call", json!([broke])).unwrap_err();
    assert!(
        error
            .message
            .starts_with("insufficient funds for gas * price + value"),
        "{error}"
    );
}

#[test]
fn a_call_that_never_ends_runs_out_of_gas() {
    let devnet = still();
    let spin = json!({"data": "0x5b600056"}); // JUMPDEST PUSH1 0 JUMP
    let error = devnet.request("eth_call", json!([spin])).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (-32000, "out of gas"));
    let error = devnet
        .request("eth_estimateGas", json!([spin]))
        .unwrap_err();
    assert_eq!(error.message, "gas required exceeds allowance (16777216)");
}

#[test]
fn overrides_change_the_scene_and_leave_the_chain_alone() {
    let devnet = still();
    let at = Address::repeat_byte(5);
    let call = json!({"to": at, "data": Bytes::from(Wallet::ownerCall {}.abi_encode())});
    let slot = B256::ZERO;
    for key in ["state", "stateDiff"] {
        let overrides = json!({at.to_string(): {"code": Contract::SmartWallet.runtime(), key: {slot.to_string(): at.into_word()}}});
        assert_eq!(
            get(&devnet, "eth_call", json!([call, "latest", overrides])),
            json!(at.into_word())
        );
    }
    assert_eq!(get(&devnet, "eth_call", json!([call])), "0x");
    let time = json!({"to": MULTICALL, "data": "0x0f28c97d"});
    let answer = get(
        &devnet,
        "eth_call",
        json!([time, "latest", {}, {"time": "0x7"}]),
    );
    assert_eq!(answer, json!(B256::from(U256::from(7))));
    let rich = json!({"from": at, "to": MULTICALL, "value": "0x1", "data": "0x82ad56cb00000000000000000000000000000000000000000000000000000000000000200000000000000000000000000000000000000000000000000000000000000000"});
    assert!(devnet.request("eth_call", json!([rich])).is_err());
    get(
        &devnet,
        "eth_call",
        json!([rich, "latest", {at.to_string(): {"balance": "0x1"}}]),
    );
}

#[test]
fn an_estimate_is_enough_and_not_much_more() {
    let devnet = still();
    let auth = authorization(1);
    let data = spend(
        &auth,
        sign_authorization(&devnet, &auth).as_bytes().to_vec(),
    );
    let from = DEV_ACCOUNTS[0].address;
    let call =
        json!({"from": from, "to": devnet.dollar().address, "data": Bytes::from(data.clone())});
    let estimate = number(&get(&devnet, "eth_estimateGas", json!([call])));
    let tx = TxEip1559 {
        gas_limit: estimate,
        ..call_tx(0, devnet.dollar().address, data)
    };
    let (hash, raw) = Key::dev(0).sign_tx(tx);
    devnet.send_raw(&raw).unwrap();
    let receipt = receipt(&devnet, hash);
    assert_eq!(receipt["status"], "0x1");
    let used = number(&receipt["gasUsed"]);
    assert!(
        (used..used + used / 20).contains(&estimate),
        "{estimate} for {used}"
    );
    let plain = json!({"from": from, "to": DEV_ACCOUNTS[1].address, "value": "0x1"});
    assert_eq!(get(&devnet, "eth_estimateGas", json!([plain])), "0x5208");
}

#[test]
fn logs_are_found_by_address_topic_range_and_block() {
    let devnet = still();
    let (one, two) = (DEV_ACCOUNTS[1].address, DEV_ACCOUNTS[2].address);
    let blocks: Vec<Value> = [(one, 1), (two, 2), (one, 3)]
        .into_iter()
        .map(|(to, value)| transact(&devnet, transfer(to, value).into())["blockHash"].clone())
        .collect();
    let count = |filter: Value| {
        get(&devnet, "eth_getLogs", json!([filter]))
            .as_array()
            .unwrap()
            .len()
    };
    let topic = Token::Transfer::SIGNATURE_HASH;
    let (to_one, to_two) = (one.into_word(), two.into_word());
    assert_eq!(count(json!({"fromBlock": "earliest"})), 3);
    assert_eq!(count(json!({})), 1, "only the latest block");
    assert_eq!(count(json!({"fromBlock": "0x1", "toBlock": "0x2"})), 2);
    assert_eq!(count(json!({"fromBlock": "0x0", "toBlock": "0xffff"})), 3);
    assert_eq!(count(json!({"blockHash": blocks[1]})), 1);
    assert_eq!(
        count(json!({"fromBlock": "0x0", "topics": [topic, null, to_one]})),
        2
    );
    assert_eq!(
        count(json!({"fromBlock": "0x0", "topics": [topic, [], [to_one, to_two]]})),
        3
    );
    assert_eq!(
        count(json!({"fromBlock": "0x0", "topics": [null, to_one]})),
        0
    );
    assert_eq!(
        count(json!({"fromBlock": "0x0", "topics": [null, null, null, null]})),
        0,
        "a transfer has three topics"
    );
    assert_eq!(count(json!({"fromBlock": "0x0", "address": MULTICALL})), 0);
    assert_eq!(
        count(json!({"fromBlock": "0x0", "address": [MULTICALL, devnet.dollar().address]})),
        3
    );
    let both = json!([{"fromBlock": "0x0", "blockHash": blocks[1]}]);
    assert_eq!(
        devnet.request("eth_getLogs", both).unwrap_err().code,
        -32602
    );
    let unknown = devnet
        .request("eth_getLogs", json!([{"blockHash": B256::ZERO}]))
        .unwrap_err();
    assert_eq!(unknown.message, "unknown block");
}

#[test]
fn logs_and_gas_are_counted_through_the_whole_block() {
    let devnet = still();
    devnet.set_mining(tollway_devnet::Mining::Manual);
    let hashes: Vec<B256> = (0..3)
        .map(|nonce| {
            let data = transfer(DEV_ACCOUNTS[1].address, 1).into();
            let (hash, raw) = Key::dev(0).sign_tx(call_tx(nonce, devnet.dollar().address, data));
            devnet.send_raw(&raw).unwrap();
            hash
        })
        .collect();
    devnet.mine(1).unwrap();
    let mut sum = 0;
    for (index, hash) in hashes.into_iter().enumerate() {
        let receipt = receipt(&devnet, hash);
        assert_eq!(number(&receipt["transactionIndex"]), index as u64);
        assert_eq!(number(&receipt["logs"][0]["logIndex"]), index as u64);
        sum += number(&receipt["gasUsed"]);
        assert_eq!(number(&receipt["cumulativeGasUsed"]), sum);
    }
}

#[test]
fn the_fee_history_fits_the_blocks() {
    let devnet = still();
    transact(&devnet, transfer(DEV_ACCOUNTS[1].address, 1).into());
    devnet.mine(2).unwrap();
    let history = get(
        &devnet,
        "eth_feeHistory",
        json!(["0x3", "latest", [10, 50.5, 90]]),
    );
    assert_eq!(history["oldestBlock"], "0x1");
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 4);
    assert_eq!(history["gasUsedRatio"].as_array().unwrap().len(), 3);
    assert!(history["gasUsedRatio"][0].as_f64().unwrap() > 0.001);
    assert_eq!(
        history["reward"],
        json!([
            ["0xf4240", "0xf4240", "0xf4240"],
            ["0x0", "0x0", "0x0"],
            ["0x0", "0x0", "0x0"]
        ])
    );
    let next = number(&history["baseFeePerGas"][3]);
    assert_eq!(
        number(&get(&devnet, "eth_gasPrice", json!([]))),
        next + 1_000_000
    );
    devnet.mine(1).unwrap();
    let block = get(&devnet, "eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(number(&block["baseFeePerGas"]), next);
    assert!(
        devnet
            .request("eth_feeHistory", json!(["0x3", "0xff", []]))
            .is_err()
    );
}

#[test]
fn a_simulation_carries_state_from_call_to_call_and_reports_logs() {
    let devnet = still();
    let dollar = devnet.dollar().address;
    let [one, two, poor] = [
        DEV_ACCOUNTS[1].address,
        DEV_ACCOUNTS[2].address,
        Address::repeat_byte(3),
    ];
    let call =
        |from: Address, to: Address| json!({"from": from, "to": dollar, "data": transfer(to, 9)});
    let blocks = json!([{"blockStateCalls": [
        {"calls": [call(poor, one), call(one, poor), call(poor, two)]},
        {"calls": [call(two, poor)], "blockOverrides": {"time": "0x77777777"}},
    ]}]);
    let report = get(&devnet, "eth_simulateV1", blocks);
    let calls = report[0]["calls"].as_array().unwrap();
    assert_eq!(
        [
            &calls[0]["status"],
            &calls[1]["status"],
            &calls[2]["status"]
        ],
        ["0x0", "0x1", "0x1"]
    );
    assert_eq!(calls[0]["error"]["code"], 3);
    assert_eq!(calls[2]["logs"][0]["topics"][1], json!(poor.into_word()));
    assert_eq!(calls[2]["logs"][0]["logIndex"], "0x1");
    assert_eq!(
        (&report[1]["timestamp"], &report[1]["number"]),
        (&json!("0x77777777"), &json!("0x2"))
    );
    assert_eq!(calls[2]["logs"][0]["blockHash"], report[0]["hash"]);
    assert_eq!(report[1]["parentHash"], report[0]["hash"]);
    let block = get(&devnet, "eth_getBlockByNumber", json!(["latest", false]));
    for field in block.as_object().unwrap().keys() {
        assert!(report[0].get(field).is_some(), "{field}");
    }
    assert_eq!(devnet.block_number(), 0);
    assert_eq!(devnet.balance_of(poor), U256::ZERO);
}

#[test]
fn test_verbs_answer_under_every_known_prefix() {
    let devnet = still();
    let who = Address::repeat_byte(4);
    for (index, prefix) in ["anvil", "hardhat", "tollway"].into_iter().enumerate() {
        let wei = format!("{:#x}", index + 1);
        get(&devnet, &format!("{prefix}_setBalance"), json!([who, wei]));
        assert_eq!(get(&devnet, "eth_getBalance", json!([who, "latest"])), wei);
    }
    get(&devnet, "anvil_setCode", json!([who, "0x6001"]));
    assert_eq!(
        get(&devnet, "eth_getCode", json!([who, "latest"])),
        "0x6001"
    );
    get(
        &devnet,
        "anvil_setStorageAt",
        json!([who, "0x2", B256::repeat_byte(1)]),
    );
    assert_eq!(
        get(&devnet, "eth_getStorageAt", json!([who, "0x2", "latest"])),
        json!(B256::repeat_byte(1))
    );
    get(&devnet, "anvil_setNonce", json!([who, "0x9"]));
    assert_eq!(get(&devnet, "eth_getTransactionCount", json!([who])), "0x9");
    get(&devnet, "tollway_mint", json!([who, "0x64"]));
    assert_eq!(devnet.balance_of(who), U256::from(100));
    let other = Address::repeat_byte(5);
    get(&devnet, "tollway_mintMany", json!([[who, other], "0x5"]));
    let both = [who, other].map(|account| devnet.balance_of(account));
    assert_eq!(both, [U256::from(105), U256::from(5)]);
    get(
        &devnet,
        "anvil_setNextBlockBaseFeePerGas",
        json!(["0x77359400"]),
    );
    devnet.mine(1).unwrap();
    let block = get(&devnet, "eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(block["baseFeePerGas"], "0x77359400");
}

#[test]
fn no_parameter_makes_any_method_panic() {
    let methods = [
        "eth_getBalance",
        "eth_getCode",
        "eth_getStorageAt",
        "eth_getTransactionCount",
        "eth_getBlockByNumber",
        "eth_getBlockByHash",
        "eth_getBlockReceipts",
        "eth_getLogs",
        "eth_getTransactionByBlockNumberAndIndex",
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
        "eth_call",
        "eth_estimateGas",
        "eth_simulateV1",
        "eth_feeHistory",
        "eth_sendRawTransaction",
        "web3_sha3",
        "anvil_mine",
        "evm_increaseTime",
        "evm_setNextBlockTimestamp",
        "anvil_setNextBlockBaseFeePerGas",
        "evm_revert",
        "evm_setIntervalMining",
        "evm_setAutomine",
        "anvil_setCode",
        "anvil_setBalance",
        "anvil_setNonce",
        "anvil_setStorageAt",
        "anvil_dropTransaction",
        "tollway_mint",
        "tollway_mintMany",
        "tollway_reorg",
        "evm_mine",
    ];
    let most = format!("{:#x}", U256::MAX);
    let (who, word) = (DEV_ACCOUNTS[0].address, B256::repeat_byte(0xff));
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("0x"),
        json!("0x0"),
        json!("0xg"),
        json!("latest"),
        json!("pending"),
        json!("0xffffffffffffffff"),
        json!(most),
        json!(who),
        json!(word),
        json!([]),
        json!({}),
        json!([[]]),
        json!([50]),
        json!({"timestamp": "0xffffffffffffffff"}),
        json!({"blockHash": word}),
        json!({"fromBlock": "0x0", "toBlock": "0xffffffffffffffff", "topics": [[]]}),
        json!({"from": who, "value": most, "gasPrice": "0xffffffffffffffffffffffffffffffff", "gas": "0x1"}),
        json!({"from": who, "to": who, "maxFeePerGas": "0x1", "maxPriorityFeePerGas": "0xff", "nonce": "0xffffffffffffffff"}),
        json!({"from": who, "data": "0x6001", "accessList": [{"address": who}]}),
        json!({"blockStateCalls": [{"blockOverrides": {"number": "0xffffffffffffffff", "time": "0xffffffffffffffff"}, "calls": [{}]}, {}]}),
        json!({who.to_string(): {"balance": most, "nonce": "0xffffffffffffffff", "code": "0x00"}}),
    ];
    let devnet = still();
    for method in methods {
        for first in &odd {
            for second in &odd {
                // Whatever it answers, it answers.
                let _ = devnet.request(method, json!([first, second, first]));
            }
        }
    }
    devnet.set_mining(tollway_devnet::Mining::Manual);
    assert!(devnet.request("eth_chainId", json!([])).is_ok());
}
