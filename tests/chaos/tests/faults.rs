//! Each fault does what its name says to whoever asks, and nothing to the chain
//! but what its name says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Signature, TxKind, U256, hex};
use secp256k1::{Message, SECP256K1, SecretKey};
use serde_json::{Value, json};
use tollway_devnet::{DEV_ACCOUNTS, Devnet, Mining};
use tollway_rpc::{Batch, RpcClient, RpcConfig, RpcError};
use tollway_test_chaos::{Chaos, Fault, Rule, When};

/// A transaction that moves a wei.
fn raw(chain: &Devnet, nonce: u64) -> String {
    let tx = TxEip1559 {
        chain_id: chain.chain_id(),
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 3_000_000_000,
        max_priority_fee_per_gas: 1_000_000,
        to: TxKind::Call(DEV_ACCOUNTS[9].address),
        value: U256::ONE,
        ..TxEip1559::default()
    };
    let secret = SecretKey::from_byte_array(DEV_ACCOUNTS[0].key.0).unwrap();
    let digest = Message::from_digest(tx.signature_hash().0);
    let (parity, bytes) = SECP256K1
        .sign_ecdsa_recoverable(digest, &secret)
        .serialize_compact();
    let signature = Signature::from_bytes_and_parity(&bytes, i32::from(parity) == 1);
    hex::encode_prefixed(TxEnvelope::from(tx.into_signed(signature)).encoded_2718())
}

struct Scene {
    chain: Devnet,
    node: Chaos,
    client: RpcClient,
}

impl Scene {
    async fn new(mining: Mining) -> Self {
        let chain = Devnet::builder().mining(mining).build().unwrap();
        let node = Chaos::before(&chain, 1).await.unwrap();
        let mut config = RpcConfig::new(vec![node.url().parse().unwrap()]);
        config.timeout = Duration::from_millis(300);
        let client = RpcClient::new(config).unwrap();
        Self {
            chain,
            node,
            client,
        }
    }

    async fn ask(&self, method: &'static str, params: Value) -> Result<Value, RpcError> {
        self.client
            .call::<Option<Value>>(method, params)
            .await
            .map(Option::unwrap_or_default)
    }

    async fn send(&self, nonce: u64) -> Result<Value, RpcError> {
        let raw = raw(&self.chain, nonce);
        self.ask("eth_sendRawTransaction", json!([raw])).await
    }

    /// How many transactions reached the chain.
    fn reached(&self) -> u64 {
        self.chain.nonce(DEV_ACCOUNTS[0].address) + self.chain.waiting() as u64
    }
}

fn kind(error: &RpcError) -> &'static str {
    match error {
        RpcError::Transport { .. } => "transport",
        RpcError::Timeout { .. } => "timeout",
        RpcError::Http { .. } => "http",
        RpcError::NotJson { .. } => "not json",
        RpcError::Rpc { .. } => "refused",
        RpcError::OtherNetwork { .. } => "other network",
    }
}

#[tokio::test]
async fn what_is_sent_arrives_or_not_whatever_is_said() {
    // What the sender hears, and what reached the chain: at once, and in the end.
    for (fault, heard, reached, in_the_end) in [
        (Fault::TimeoutBeforeAccept, "timeout", 0, 0),
        (Fault::TimeoutAfterAccept, "timeout", 1, 1),
        (Fault::Unreachable, "transport", 0, 0),
        (Fault::AcceptedThenDropped, "transport", 1, 1),
        (Fault::Status(503), "http", 0, 0),
        (Fault::Html, "not json", 0, 0),
        (Fault::TruncatedJson, "not json", 1, 1),
        (Fault::WrongId, "not json", 1, 1),
        (Fault::SlowTrickle { pause_ms: 1 }, "taken", 1, 1),
        (Fault::Overloaded, "refused", 0, 0),
        (Fault::SendLost, "taken", 0, 0),
        (Fault::NeverMined, "taken", 0, 1),
        (Fault::DuplicateDelivery, "taken", 1, 1),
        (Fault::AlreadyKnown, "refused", 1, 1),
        (Fault::NonceTooLow, "refused", 0, 0),
        (Fault::NonceTooHigh, "refused", 0, 0),
        (Fault::Underpriced, "refused", 0, 0),
        (Fault::ThirdPartyFirst, "taken", 1, 1),
    ] {
        let scene = Scene::new(Mining::Manual).await;
        scene.node.begin(fault);
        let answer = scene.send(0).await;
        let told = answer.as_ref().map_or_else(kind, |_| "taken");
        assert_eq!(told, heard, "{fault:?}: {answer:?}");
        let rivals = u64::from(fault == Fault::ThirdPartyFirst);
        assert_eq!(scene.reached(), reached + rivals, "{fault:?}");
        assert!(scene.node.struck(fault) >= 1, "{fault:?}");
        scene.node.calm();
        assert_eq!(scene.reached(), in_the_end + rivals, "{fault:?}");
        assert!(scene.ask("eth_chainId", json!([])).await.is_ok());
    }
}

#[tokio::test]
async fn receipts_are_late_missing_or_wrong_and_the_chain_knows_better() {
    let scene = Scene::new(Mining::Automine).await;
    let hash = scene.send(0).await.unwrap();
    let receipt = async || {
        let one = scene.ask("eth_getTransactionReceipt", json!([hash])).await;
        let all = scene.ask("eth_getBlockReceipts", json!(["latest"])).await;
        (one.unwrap(), all.unwrap())
    };
    let (honest, all) = receipt().await;
    assert_eq!((&honest["status"], &all[0]), (&json!("0x1"), &honest));

    scene.node.begin(Fault::LateReceipt { looks: 2 });
    for look in 1..=3 {
        let (one, all) = receipt().await;
        assert_eq!(
            (one.is_null(), all.is_null()),
            (look <= 2, look <= 2),
            "{look}"
        );
    }
    scene.node.calm();
    scene.node.begin(Fault::MissingReceipts);
    assert_eq!(receipt().await, (Value::Null, json!([])));
    scene.node.calm();
    scene.node.begin(Fault::FailedReceipt);
    let (one, all) = receipt().await;
    assert_eq!(
        (&one["status"], &all[0]["status"]),
        (&json!("0x0"), &json!("0x0"))
    );
    scene.node.calm();
    assert_eq!(receipt().await.0, honest);
}

#[tokio::test]
async fn a_stale_node_knows_only_old_blocks() {
    let scene = Scene::new(Mining::Automine).await;
    let first = scene.send(0).await.unwrap();
    let second = scene.send(1).await.unwrap();
    let signer = DEV_ACCOUNTS[0].address;
    scene.node.begin(Fault::StaleHead { blocks: 1 });
    let ask = async |method, params| scene.ask(method, params).await.unwrap();
    assert_eq!(ask("eth_blockNumber", json!([])).await, "0x1");
    assert_eq!(
        ask("eth_getBlockByNumber", json!(["latest", false])).await["number"],
        "0x1"
    );
    assert_eq!(
        ask("eth_getTransactionCount", json!([signer, "latest"])).await,
        "0x1"
    );
    assert_eq!(
        ask("eth_getTransactionReceipt", json!([first])).await["blockNumber"],
        "0x1"
    );
    assert!(
        ask("eth_getTransactionReceipt", json!([second]))
            .await
            .is_null()
    );
    assert!(ask("eth_getBlockReceipts", json!(["0x2"])).await.is_null());
    assert_eq!(
        ask("eth_getBlockReceipts", json!(["latest"])).await[0]["transactionHash"],
        first
    );
}

#[tokio::test]
async fn batches_lose_their_order_or_an_answer() {
    let scene = Scene::new(Mining::Automine).await;
    let ask = async || {
        let mut batch = Batch::new();
        batch.push("eth_chainId", &[(); 0]);
        batch.push("eth_blockNumber", &[(); 0]);
        scene.client.batch::<String>(batch).await
    };
    scene.node.begin(Fault::OutOfOrderBatch);
    let answers: Vec<String> = ask()
        .await
        .unwrap()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(answers, ["0x14a34", "0x0"], "the ids still tell");
    scene.node.calm();
    scene.node.begin(Fault::MissingAnswer);
    assert_eq!(kind(&ask().await.unwrap_err()), "not json");
}

#[tokio::test]
async fn the_chain_id_and_the_price_of_blocks_change_for_a_while() {
    let scene = Scene::new(Mining::Manual).await;
    scene.node.begin(Fault::WrongChainId);
    assert_eq!(scene.ask("eth_chainId", json!([])).await.unwrap(), "0x1");
    scene.node.calm();
    assert_eq!(
        scene.ask("eth_chainId", json!([])).await.unwrap(),
        "0x14a34"
    );

    scene.node.begin(Fault::FeeSpike);
    scene.send(0).await.unwrap();
    scene.chain.mine(1).unwrap();
    assert_eq!(scene.chain.waiting(), 1, "it pays too little now");
    scene.node.calm();
    scene.chain.mine(2).unwrap();
    assert_eq!(scene.chain.waiting(), 0);

    scene.node.begin(Fault::BaseFeeAboveCap);
    let history = scene
        .ask("eth_feeHistory", json!(["0x1", "latest", []]))
        .await;
    assert_eq!(history.unwrap()["baseFeePerGas"][1], "0x8bb2c97000");
}

#[tokio::test]
async fn a_block_that_was_shown_is_replaced_with_those_above_it() {
    for (depth, keep) in [(1, true), (3, false)] {
        let scene = Scene::new(Mining::Automine).await;
        let hash = scene.send(0).await.unwrap();
        let receipt = async || {
            let asked = scene.ask("eth_getTransactionReceipt", json!([hash]));
            asked.await.unwrap()
        };
        scene.node.begin(Fault::Reorg { depth, keep });
        assert_eq!(receipt().await["blockNumber"], "0x1");
        scene.chain.mine(depth - 1).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(scene.chain.block_number(), 0, "{depth} blocks went");
        assert_eq!(scene.node.replaced(), 1);
        assert_eq!(scene.chain.waiting(), usize::from(keep));
        assert!(receipt().await.is_null());
        scene.chain.mine(2).unwrap();
        assert_eq!(receipt().await.is_null(), !keep, "and only once");
    }
}

#[tokio::test]
async fn a_rule_limits_a_fault_to_a_method_and_to_some_calls() {
    let scene = Scene::new(Mining::Automine).await;
    let rule = Rule::of(Fault::Status(500)).on("eth_blockNumber");
    scene.node.obey(rule.when(When::Nth(2)));
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(scene.ask("eth_blockNumber", json!([])).await.is_ok());
        assert!(scene.ask("eth_chainId", json!([])).await.is_ok());
    }
    assert_eq!(heard, [true, false, true]);
    assert_eq!(scene.node.struck(Fault::Status(500)), 1);
    assert_eq!(scene.node.asked("eth_blockNumber"), 3);
}
