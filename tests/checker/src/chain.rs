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
/// Where Permit2 is on every chain.
const PERMIT2: &str = "0x000000000022d473030f116ddee9f6b43ac78ba3";
/// `nonceBitmap(address,uint256)`.
const BITMAP: &str = "0x4fe02b44";
/// Blocks whose logs are asked for at once.
const BLOCKS: u64 = 500;

/// A Transfer of the asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The authorization that it spent, by the log before it; where there is none, the
    /// permit of a payer who signed one and no other. None if it moved otherwise.
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

/// A mined transaction that a helping account sent to somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helped {
    /// Whom it is for.
    pub to: String,
    /// What it gave and cost, in wei.
    pub wei: u128,
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
    /// What helping accounts sent.
    pub helped: Vec<Helped>,
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
    /// Accounts that help.
    pub helpers: &'a [String],
    /// Authorizations whose state is wanted, those of Permit2 among them.
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
        let blocks = (0..=last).map(|n| json!([format!("{n:#x}"), true]));
        let blocks = node
            .ask_all("eth_getBlockByNumber", blocks.collect())
            .await?;
        let mut transfers = transfers(&node, question.asset, last).await?;
        name_permits(&mut transfers, question.auths);
        Ok(Self {
            transfers,
            mined: mined(&blocks, question.signers)?,
            helped: helped(&node, &blocks, question.helpers).await?,
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

/// Permit2 tells of no nonce: who signed one permit and has no other moved money by it.
fn name_permits(transfers: &mut [Transfer], auths: &[String]) {
    let mut permits: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for auth in auths.iter().filter(|auth| is_permit(auth)) {
        let (payer, _) = auth.split_once('/').unwrap_or_default();
        permits.entry(payer).or_default().push(auth);
    }
    for transfer in transfers.iter_mut().filter(|t| t.auth.is_none()) {
        if let Some([one]) = permits.get(&*transfer.from).map(Vec::as_slice) {
            transfer.auth = Some((*one).clone());
        }
    }
}

fn is_permit(auth: &str) -> bool {
    auth.split_once('/')
        .is_some_and(|(_, nonce)| !nonce.starts_with("0x"))
}

fn mined(blocks: &[Value], signers: &[String]) -> Result<Vec<Mined>, String> {
    let mut found = Vec::new();
    for block in blocks {
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

async fn helped(node: &Node, blocks: &[Value], helpers: &[String]) -> Result<Vec<Helped>, String> {
    let mut sent = Vec::new();
    for block in blocks {
        for transaction in block["transactions"].as_array().into_iter().flatten() {
            let from = text(&transaction["from"])?;
            // What one sends to itself is nobody's help.
            let to = text(&transaction["to"]).ok().filter(|to| *to != from);
            if let Some(to) = to.filter(|_| helpers.contains(&from)) {
                sent.push((to, transaction));
            }
        }
    }
    let asked = sent
        .iter()
        .map(|(_, transaction)| json!([transaction["hash"]]));
    let receipts = node
        .ask_all("eth_getTransactionReceipt", asked.collect())
        .await?;
    let pairs = sent.into_iter().zip(&receipts);
    pairs
        .map(|((to, transaction), receipt)| {
            let gas = amount(&receipt["gasUsed"])?;
            let fee = gas.saturating_mul(amount(&receipt["effectiveGasPrice"])?);
            let wei = amount(&transaction["value"])?.saturating_add(fee);
            Ok(Helped { to, wei })
        })
        .collect()
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
    let mut calls = Vec::with_capacity(auths.len());
    for auth in auths {
        let (payer, nonce) = auth.split_once('/').unwrap_or_default();
        let payer = payer.trim_start_matches("0x");
        let (to, data) = match is_permit(auth) {
            false => (
                asset,
                format!("{STATE}{payer:0>64}{}", nonce.trim_start_matches("0x")),
            ),
            true => {
                let word = permit_number(nonce)? >> 8;
                (PERMIT2, format!("{BITMAP}{payer:0>64}{word:064x}"))
            }
        };
        calls.push(json!([{ "to": to, "data": data }, "latest"]));
    }
    let answers = node.ask_all("eth_call", calls).await?;
    let mut used = BTreeSet::new();
    for (auth, answer) in auths.iter().zip(&answers) {
        let (_, nonce) = auth.split_once('/').unwrap_or_default();
        let is_used = match is_permit(auth) {
            false => amount(answer)? != 0,
            true => has_bit(answer, permit_number(nonce)? & 0xff)?,
        };
        if is_used {
            used.insert(auth.clone());
        }
    }
    Ok(used)
}

/// Clients draw small ones, which are as good.
fn permit_number(nonce: &str) -> Result<u128, String> {
    nonce.parse().map_err(|e| format!("{nonce}: {e}"))
}

/// Whether a bit of a word is set; bit zero is the last.
fn has_bit(word: &Value, bit: u128) -> Result<bool, String> {
    let bytes = text(word)?;
    let bytes = hex::decode(bytes.trim_start_matches("0x")).map_err(|e| e.to_string())?;
    let at = usize::try_from(bit / 8).unwrap_or_default();
    let byte = bytes.iter().rev().nth(at);
    Ok(byte.is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
}
