//! What happened on chain.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::authorization;
use crate::rpc::{Node, number, text};

/// `Transfer(address,address,uint256)`.
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
/// `AuthorizationUsed(address,bytes32)`.
const USED: &str = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5";
/// `authorizationState(address,bytes32)`.
const STATE: &str = "0xe94a0102";
/// Blocks whose logs are asked for at once.
const BLOCKS: u64 = 500;

/// A Transfer of the asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The authorization that it spent, by the log before it; none if it moved otherwise.
    pub auth: Option<String>,
    /// Who paid.
    pub from: String,
    /// Who was paid.
    pub to: String,
    /// Atomic units.
    pub amount: u128,
    /// In which transaction.
    pub transaction: String,
}

/// A mined transaction of a settling account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mined {
    /// Its hash.
    pub hash: String,
    /// Who sent it.
    pub from: String,
    /// Its nonce.
    pub nonce: u64,
    /// Its block.
    pub block: u64,
}

/// What happened on chain.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Every Transfer of the asset.
    pub transfers: Vec<Transfer>,
    /// Every transaction that a settling account sent.
    pub mined: Vec<Mined>,
    /// The next nonce of each settling account.
    pub nonces: BTreeMap<String, u64>,
    /// Authorizations whose nonce is used or cancelled.
    pub used: BTreeSet<String>,
    /// The newest block's time, in Unix seconds.
    pub time: u64,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The node.
    pub url: &'a str,
    /// The asset.
    pub asset: &'a str,
    /// Accounts that settle.
    pub signers: &'a [String],
    /// Authorizations whose state is wanted.
    pub auths: &'a [String],
}

impl Chain {
    /// Reads it all.
    ///
    /// # Errors
    /// If the node does not answer, or not as a node does.
    pub async fn read(question: &Question<'_>) -> Result<Self, String> {
        let node = Node::at(question.url);
        let head = node
            .ask("eth_getBlockByNumber", json!(["latest", false]))
            .await?;
        let last = number(&head["number"])?;
        Ok(Self {
            transfers: transfers(&node, question.asset, last).await?,
            mined: mined(&node, question.signers, last).await?,
            nonces: nonces(&node, question.signers).await?,
            used: used(&node, question.asset, question.auths).await?,
            time: number(&head["timestamp"])?,
        })
    }

    /// The Transfers of an authorization.
    pub fn of<'a>(&'a self, auth: &'a str) -> impl Iterator<Item = &'a Transfer> {
        let is = move |transfer: &&Transfer| transfer.auth.as_deref() == Some(auth);
        self.transfers.iter().filter(is)
    }
}

/// A log's place, and what it says.
fn account(topic: &Value) -> Result<String, String> {
    let topic = text(topic)?;
    Ok(format!("0x{}", &topic[topic.len().saturating_sub(40)..]))
}

async fn transfers(node: &Node, asset: &str, last: u64) -> Result<Vec<Transfer>, String> {
    let ranges = (0..=last).step_by(BLOCKS as usize).map(|from| {
        json!([{
            "address": asset,
            "fromBlock": format!("{from:#x}"),
            "toBlock": format!("{:#x}", (from + BLOCKS - 1).min(last)),
            "topics": [[TRANSFER, USED]],
        }])
    });
    let answers = node.ask_all("eth_getLogs", ranges.collect()).await?;
    let mut found = Vec::new();
    // The token says which authorization it used right before it says what moved.
    let mut before: Option<(String, String, u64)> = None;
    for log in answers.iter().filter_map(Value::as_array).flatten() {
        let transaction = text(&log["transactionHash"])?;
        let index = number(&log["logIndex"])?;
        let topics = &log["topics"];
        if text(&topics[0])? == USED {
            let auth = authorization(&account(&topics[1])?, &text(&topics[2])?);
            before = Some((transaction, auth, index));
            continue;
        }
        let spent = before.take().filter(|(tx, auth, at)| {
            *tx == transaction
                && at + 1 == index
                && auth.starts_with(&account(&topics[1]).unwrap_or_default())
        });
        found.push(Transfer {
            auth: spent.map(|(_, auth, _)| auth),
            from: account(&topics[1])?,
            to: account(&topics[2])?,
            amount: amount(&log["data"])?,
            transaction,
        });
    }
    Ok(found)
}

fn amount(data: &Value) -> Result<u128, String> {
    let data = text(data)?;
    let digits = data.trim_start_matches("0x").trim_start_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    u128::from_str_radix(digits, 16).map_err(|e| format!("{data}: {e}"))
}

async fn mined(node: &Node, signers: &[String], last: u64) -> Result<Vec<Mined>, String> {
    let blocks = (0..=last).map(|n| json!([format!("{n:#x}"), true]));
    let blocks = node
        .ask_all("eth_getBlockByNumber", blocks.collect())
        .await?;
    let mut found = Vec::new();
    for block in &blocks {
        for transaction in block["transactions"].as_array().into_iter().flatten() {
            let from = text(&transaction["from"])?;
            if signers.contains(&from) {
                found.push(Mined {
                    hash: text(&transaction["hash"])?,
                    nonce: number(&transaction["nonce"])?,
                    block: number(&block["number"])?,
                    from,
                });
            }
        }
    }
    Ok(found)
}

async fn nonces(node: &Node, signers: &[String]) -> Result<BTreeMap<String, u64>, String> {
    let asked = signers.iter().map(|signer| json!([signer, "latest"]));
    let answers = node
        .ask_all("eth_getTransactionCount", asked.collect())
        .await?;
    let pairs = signers.iter().zip(&answers);
    pairs
        .map(|(signer, answer)| Ok((signer.clone(), number(answer)?)))
        .collect()
}

async fn used(node: &Node, asset: &str, auths: &[String]) -> Result<BTreeSet<String>, String> {
    let call = |auth: &String| {
        let (payer, nonce) = auth.split_once('/').unwrap_or_default();
        let payer = payer.trim_start_matches("0x");
        let data = format!("{STATE}{payer:0>64}{}", nonce.trim_start_matches("0x"));
        json!([{ "to": asset, "data": data }, "latest"])
    };
    let answers = node
        .ask_all("eth_call", auths.iter().map(call).collect())
        .await?;
    let mut used = BTreeSet::new();
    for (auth, answer) in auths.iter().zip(&answers) {
        if amount(answer)? != 0 {
            used.insert(auth.clone());
        }
    }
    Ok(used)
}
