//! Who pays in the stories of failing nodes, and what the chain says to it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_core::wire::{PaymentRequired, PaymentRequirements};
use tollway_devnet::{DevAccount, Devnet};

use crate::harness::town::PAYEE;
use crate::harness::{Buyer, raw, seconds};

/// `Transfer(address,address,uint256)`.
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

/// What a caller heard in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is settled, by this transaction.
    Success(String),
    /// It is over, for this reason.
    Refused(String),
    /// Nothing final in time; the last words.
    Nothing(String),
}

/// A signed payment.
pub async fn payment(payer: &DevAccount, requirements: &PaymentRequirements) -> Value {
    let terms = json!({
        "x402Version": 2,
        "resource": { "url": "https://seller.example/goods" },
        "accepts": [requirements],
    });
    let terms: PaymentRequired = serde_json::from_value(terms).unwrap();
    serde_json::to_value(Buyer::new(payer).sign(&terms, false).await).unwrap()
}

/// The transactions that transferred each amount to the payee, as the chain has
/// it now.
pub fn transfers(chain: &Devnet) -> BTreeMap<u64, Vec<String>> {
    let payee = format!("0x{:0>64}", PAYEE[2..].to_lowercase());
    let filter =
        json!([{ "fromBlock": "0x0", "toBlock": "latest", "topics": [TRANSFER, null, payee] }]);
    let logs = chain.request("eth_getLogs", filter).unwrap();
    let mut moved: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for log in logs.as_array().unwrap() {
        let data = log["data"].as_str().unwrap();
        let amount = u64::from_str_radix(data.trim_start_matches("0x"), 16).unwrap();
        let hash = log["transactionHash"].as_str().unwrap().to_owned();
        moved.entry(amount).or_default().push(hash);
    }
    moved
}

/// Somebody who asks for one payment until it is over.
pub struct Caller {
    /// Where it asks.
    pub url: String,
    /// What it shows.
    pub body: Value,
    /// Its idempotency key.
    pub key: String,
    /// What it checks a success on.
    pub chain: Devnet,
    /// What it pays.
    pub amount: u64,
    /// Whether a success may be undone before it is checked.
    pub undoes: bool,
}

impl Caller {
    /// Asks until there is a final answer.
    pub async fn ask(self) -> Told {
        let client = raw::client();
        let end = Instant::now() + seconds(90);
        let mut last = String::new();
        while Instant::now() < end {
            let request = client.post(&self.url).header("idempotency-key", &self.key);
            let answer = match request.json(&self.body).send().await {
                Ok(answer) => answer,
                Err(error) => {
                    last = error.to_string();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let status = answer.status().as_u16();
            let body: Value = answer.json().await.unwrap_or_default();
            if body["success"] == true {
                assert_eq!(status, 200);
                // A success is never told before it is one.
                let moved = transfers(&self.chain).contains_key(&self.amount);
                assert!(
                    moved || self.undoes,
                    "{} is told settled, and is not: {body}",
                    self.amount
                );
                return Told::Success(body["transaction"].as_str().unwrap().to_owned());
            }
            let reason = body["errorReason"].as_str().unwrap_or_default().to_owned();
            if status == 200 && reason != "settlement_pending" {
                return Told::Refused(reason);
            }
            last = format!("{status} {body}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Told::Nothing(last)
    }
}
