//! A node that says what a test wants it to say, a facilitator that asks it, and
//! somebody who pays.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use serde_json::{Value, json};
use tollway_core::wire::{PaymentPayload, PaymentRequirements};
use tollway_core::{
    Address, Amount, Chain, ChainError, Charge, Clock, Intent, Limits, Network, Phase, Plan,
    PlannedPayment, Prepared, Raw, Slot, Terms, Timestamp, Verified, Wallet,
};
use tollway_rpc::{RpcClient, RpcConfig};
use tollway_starknet::{
    Felt, Signer, StarkKey, StarknetAccount, StarknetChain, StarknetConfig, StarknetWallet, felt,
    selectors,
};

pub const NOW: u64 = 1_770_000_000;
pub const PRICE: u64 = 10_000;
pub const TIMEOUT: u64 = 120;
pub const PAYER: &str = "0x3f16efeb2ae57f7d8befb03af08a3a370562dde15149c3506ac2038ffa9be24";
pub const FEE_PAYER: &str = "0x5f2e02a7b8e0c8a6f7b0d1c2b3a495867564738291a0b0c0d0e0f1011126f81";
pub const PAYEE: &str = "0x2dd1b492765c064eac4039e3841aa5f382773b598097a40073bd8b48170ab57";
pub const USDC: &str = "0x512feac6339ff7889822cb5aa2a86c848e9d392bb0e3e237c008674feed8343";
const SEPOLIA: &str = "0x534e5f5345504f4c4941";

pub struct TestClock(AtomicU64);

impl TestClock {
    pub fn advance(&self, secs: u64) {
        self.0.fetch_add(secs * 1000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

type Odd = Box<dyn Fn(&str, &Value) -> Option<Result<Value, (i64, String)>> + Send>;

/// What the node says.
pub struct Facts {
    pub chain: &'static str,
    pub spec: &'static str,
    pub deployed: bool,
    pub signature: Result<Value, (i64, String)>,
    pub nonce_free: Result<Value, (i64, String)>,
    pub balance: u64,
    pub trace: Value,
    pub account_nonce: u64,
    pub head: u64,
    /// Blocks are named by number and this.
    pub branch: u64,
    pub receipts: HashMap<String, Value>,
    pub transactions: HashMap<String, Value>,
    pub sent: Vec<Value>,
    /// What sending is answered with, where not with the hash.
    pub send: Option<(i64, String)>,
    pub asked: Vec<String>,
    /// Answers before anything else.
    pub odd: Option<Odd>,
}

fn not_found(code: i64) -> Result<Value, (i64, String)> {
    Err((code, "not found".to_owned()))
}

impl Facts {
    fn new() -> Self {
        Self {
            chain: SEPOLIA,
            spec: "0.10.2",
            deployed: true,
            signature: Ok(json!(["0x56414c4944"])),
            nonce_free: Ok(json!(["0x1"])),
            balance: PRICE,
            trace: paying_trace(PAYER, PAYEE, PRICE),
            account_nonce: 3,
            head: 100,
            branch: 0,
            receipts: HashMap::new(),
            transactions: HashMap::new(),
            sent: Vec::new(),
            send: None,
            asked: Vec::new(),
            odd: None,
        }
    }

    fn hash_of(&self, number: u64) -> String {
        let branch = if number > 90 { self.branch } else { 0 };
        format!("{:#x}", 0xb000_0000 + branch * 0x1_0000 + number)
    }

    fn block(&self, number: u64) -> Value {
        let price = json!({"price_in_fri": "0x3b9aca00", "price_in_wei": "0x1"});
        json!({
            "status": "ACCEPTED_ON_L2", "block_number": number,
            "block_hash": self.hash_of(number), "parent_hash": self.hash_of(number - 1),
            "timestamp": NOW, "l1_gas_price": price, "l2_gas_price": price,
            "l1_data_gas_price": price, "transactions": [],
        })
    }

    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, (i64, String)> {
        if let Some(answer) = self.odd.as_ref().and_then(|odd| odd(method, params)) {
            return answer;
        }
        match method {
            "starknet_chainId" => Ok(json!(self.chain)),
            "starknet_specVersion" => Ok(json!(self.spec)),
            "starknet_getClassHashAt" if params[1] == PAYER && !self.deployed => not_found(20),
            "starknet_getClassHashAt" => Ok(json!("0xc1a55")),
            "starknet_getNonce" => Ok(json!(format!("{:#x}", self.account_nonce))),
            "starknet_call" => self.call(&params["request"]),
            "starknet_simulateTransactions" => Ok(json!([{
                "transaction_trace": {"execute_invocation": self.trace},
                "fee_estimation": {"l2_gas_consumed": "0x1e8480", "l1_data_gas_consumed": "0x1c0"},
            }])),
            "starknet_getBlockWithTxHashes" => match params[0]["block_number"].as_u64() {
                Some(number) if number > self.head => not_found(24),
                Some(number) => Ok(self.block(number)),
                None => Ok(self.block(self.head)),
            },
            "starknet_getTransactionReceipt" => {
                let found = self.receipts.get(params[0].as_str().unwrap());
                found.cloned().map_or_else(|| not_found(29), Ok)
            }
            "starknet_getTransactionByHash" => {
                let found = self
                    .transactions
                    .get(params["transaction_hash"].as_str().unwrap());
                found.cloned().map_or_else(|| not_found(29), Ok)
            }
            "starknet_addInvokeTransaction" => {
                let transaction = params["invoke_transaction"].clone();
                self.sent.push(transaction);
                match self.send.clone() {
                    Some(refusal) => Err(refusal),
                    None => Ok(json!({"transaction_hash": "0x0"})),
                }
            }
            other => Err((-32601, format!("{other} is not there"))),
        }
    }

    fn call(&self, request: &Value) -> Result<Value, (i64, String)> {
        let selector = felt::parse(request["entry_point_selector"].as_str().unwrap()).unwrap();
        match selector {
            s if s == selectors::IS_VALID_SIGNATURE => self.signature.clone(),
            s if s == selectors::IS_VALID_NONCE => self.nonce_free.clone(),
            s if s == selectors::BALANCE_OF => Ok(json!([format!("{:#x}", self.balance), "0x0"])),
            _ => not_found(21),
        }
    }
}

/// A keyed Transfer event of the asset.
pub fn transfer_event(from: &str, to: &str, amount: u64) -> Value {
    json!({
        "from_address": USDC,
        "keys": [felt::text(&selectors::TRANSFER_EVENT), from, to],
        "data": [format!("{amount:#x}"), "0x0"],
    })
}

/// A call in a trace.
pub fn frame(contract: &str, events: Vec<Value>, calls: Vec<Value>) -> Value {
    json!({
        "contract_address": contract, "caller_address": "0x0", "result": [],
        "events": events, "calls": calls, "messages": [], "is_reverted": false,
    })
}

pub fn paying_trace(from: &str, to: &str, amount: u64) -> Value {
    let token = frame(USDC, vec![transfer_event(from, to, amount)], vec![]);
    let payer = frame(PAYER, vec![], vec![token]);
    frame(FEE_PAYER, vec![], vec![payer])
}

pub struct World {
    pub facts: Arc<Mutex<Facts>>,
    pub chain: StarknetChain,
    pub clock: Arc<TestClock>,
    pub wallet: StarknetWallet,
    pub rpc: RpcClient,
}

pub fn network() -> Network {
    "starknet:SN_SEPOLIA".parse().unwrap()
}

pub fn address(text: &str) -> Address {
    network().address(text).unwrap()
}

pub fn owner() -> StarkKey {
    StarkKey::from_hex("0x1234567890abcdef").unwrap()
}

impl World {
    pub async fn new() -> Self {
        let facts = Arc::new(Mutex::new(Facts::new()));
        let rpc = serve(Arc::clone(&facts)).await;
        let clock = Arc::new(TestClock(AtomicU64::new(NOW * 1000)));
        let chain = Self::chain(&rpc, &clock);
        let wallet = StarknetWallet::new(&address(PAYER), vec![network()], Signer::Owner(owner()));
        Self {
            wallet: wallet.unwrap().with_clock(clock.clone()),
            facts,
            chain,
            clock,
            rpc,
        }
    }

    pub fn chain(rpc: &RpcClient, clock: &Arc<TestClock>) -> StarknetChain {
        let key = StarkKey::from_hex("0xfee").unwrap();
        let account = StarknetAccount::new(address(FEE_PAYER), key).unwrap();
        let mut config = StarknetConfig::new(network(), rpc.clone(), vec![account]);
        config.clock = clock.clone();
        StarknetChain::new(config).unwrap()
    }

    /// The node says something else from now on.
    pub fn say(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap());
    }

    pub fn offer(&self) -> PaymentRequirements {
        serde_json::from_value(json!({
            "scheme": "exact", "network": network().as_str(), "amount": PRICE.to_string(),
            "asset": USDC, "payTo": PAYEE, "maxTimeoutSeconds": TIMEOUT,
            "extra": {"feePayer": FEE_PAYER},
        }))
        .unwrap()
    }

    pub async fn pay(&self, offer: &PaymentRequirements) -> PaymentPayload {
        let terms = Terms::check(offer.clone()).unwrap();
        let prepared = self.wallet.prepare(&terms, &limits()).await.unwrap();
        payment(offer, prepared)
    }

    /// Verifies a good payment.
    pub async fn verified(&self) -> Verified {
        let offer = self.offer();
        let payment = self.pay(&offer).await;
        self.verify(&offer, payment).await.unwrap()
    }

    pub fn intend(
        &self,
        offer: &PaymentRequirements,
        payment: PaymentPayload,
    ) -> Result<Intent, ChainError> {
        let terms = Arc::new(Terms::check(offer.clone()).unwrap());
        Ok(self.chain.inspect(&Arc::new(payment), &terms)?)
    }

    pub async fn verify(
        &self,
        offer: &PaymentRequirements,
        payment: PaymentPayload,
    ) -> Result<Verified, ChainError> {
        let intent = self.intend(offer, payment)?;
        self.chain.verify(intent, Phase::Verify, Amount::ZERO).await
    }

    /// The code with which a payment is refused.
    pub async fn refused(&self, offer: &PaymentRequirements, payment: PaymentPayload) -> String {
        match self.verify(offer, payment).await {
            Err(ChainError::Refused(refusal)) => refusal.code().to_owned(),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The code with which a good payment is refused now.
    pub async fn refused_now(&self) -> String {
        let offer = self.offer();
        let payment = self.pay(&offer).await;
        self.refused(&offer, payment).await
    }

    pub async fn plan(&self, verified: &Verified) -> Plan {
        let planned = PlannedPayment {
            verified: verified.clone(),
            charge: Charge {
                amount: verified.intent.expected.amount,
            },
            alone: false,
        };
        self.chain.plan(&[planned]).await.unwrap().remove(0)
    }

    pub async fn seal(&self, plan: &Plan, nonce: u64, replaces: Option<Raw>) -> Raw {
        self.chain.seal(plan, &slot(nonce, replaces)).await.unwrap()
    }
}

pub fn slot(nonce: u64, replaces: Option<Raw>) -> Slot {
    Slot {
        signer: address(FEE_PAYER),
        nonce,
        replaces,
    }
}

pub fn limits() -> Limits {
    Limits {
        max_amount: Amount::from_atomic(1_000_000),
        max_lifetime: Duration::from_secs(900),
    }
}

pub fn payment(offer: &PaymentRequirements, prepared: Prepared) -> PaymentPayload {
    PaymentPayload {
        x402_version: 2,
        resource: None,
        accepted: offer.clone(),
        payload: prepared.payload,
        extensions: None,
    }
}

/// A felt in a payment's message.
pub fn message<'a>(payment: &'a mut PaymentPayload, path: &str) -> &'a mut Value {
    let outside = payment.payload.get_mut("outsideExecution").unwrap();
    outside
        .pointer_mut(&format!("/typedData/message/{path}"))
        .unwrap()
}

pub fn felt_of(text: &str) -> Felt {
    felt::parse(text).unwrap()
}

pub fn client(url: &str) -> RpcClient {
    RpcClient::new(RpcConfig::new(vec![url.parse().unwrap()])).unwrap()
}

async fn serve(facts: Arc<Mutex<Facts>>) -> RpcClient {
    let handler = move |body: Bytes| {
        let facts = Arc::clone(&facts);
        async move {
            let request: Value = serde_json::from_slice(&body).unwrap();
            let mut facts = facts.lock().unwrap();
            let reply = match &request {
                Value::Array(calls) => calls.iter().map(|call| one(&mut facts, call)).collect(),
                call => one(&mut facts, call),
            };
            axum::Json(reply)
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().route("/", post(handler));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    client(&url)
}

fn one(facts: &mut Facts, call: &Value) -> Value {
    let (id, method) = (&call["id"], call["method"].as_str().unwrap());
    facts.asked.push(method.to_owned());
    match facts.answer(method, &call["params"]) {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, message)) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        }
    }
}
