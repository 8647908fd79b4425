//! `eth_getLogs`.

use alloy_primitives::{Address, B256, Bloom, BloomInput, Log};
use serde_json::{Map, Value};

use super::params::{Params, address, block_id, field, hash};
use super::views::mined_log_json;
use crate::Devnet;
use crate::block::Block;
use crate::chain::{BlockId, Chain};
use crate::error::RpcError;

/// The most logs in one answer.
const MAX_LOGS: usize = 10_000;
/// The most addresses, and the most alternatives of one topic, in a filter.
const MAX_ALTERNATIVES: usize = 1_000;
/// A log has at most four topics.
const MAX_TOPICS: usize = 4;

/// Which logs are wanted; an empty list means any.
struct Filter {
    addresses: Vec<Address>,
    topics: Vec<Vec<B256>>,
}

/// Answers the logs of a block, or of a range of blocks, that fit a filter.
pub(super) fn get_logs(devnet: &Devnet, params: &Params<'_>) -> Result<Value, RpcError> {
    let object = params.object(0)?;
    let filter = Filter::new(object)?;
    let chain = devnet.read();
    let (from, to) = range(&chain, object)?;
    let mut logs = Vec::new();
    for number in from..=to {
        let Some(block) = chain.block(BlockId::Number(number)) else {
            continue;
        };
        filter.collect(block, &mut logs)?;
    }
    Ok(Value::Array(logs))
}

fn range(chain: &Chain, object: &Map<String, Value>) -> Result<(u64, u64), RpcError> {
    let from = field(object, "fromBlock", block_id)?;
    let to = field(object, "toBlock", block_id)?;
    if let Some(hash) = field(object, "blockHash", hash)? {
        if from.is_some() || to.is_some() {
            return Err(RpcError::params(
                "cannot specify both blockHash and fromBlock/toBlock",
            ));
        }
        let number = chain.number_of(BlockId::Hash(hash));
        let number = number.ok_or_else(|| RpcError::server("unknown block"))?;
        return Ok((number, number));
    }
    let number = |id: Option<BlockId>| {
        chain
            .number_of(id.unwrap_or(BlockId::Latest))
            .ok_or_else(|| RpcError::server("unknown block"))
    };
    let (from, to) = (number(from)?, number(to)?);
    if from > to {
        return Err(RpcError::params(
            "invalid block range params: fromBlock is after toBlock",
        ));
    }
    Ok((from, to.min(chain.head_number())))
}

impl Filter {
    fn new(object: &Map<String, Value>) -> Result<Self, RpcError> {
        let addresses = field(object, "address", |value| one_or_many(value, address))?;
        let topics = field(object, "topics", |value| {
            let topics = value
                .as_array()
                .filter(|topics| topics.len() <= MAX_TOPICS)
                .ok_or_else(|| RpcError::params("expected an array of at most four topics"))?;
            topics
                .iter()
                .map(|topic| one_or_many(topic, hash))
                .collect()
        })?;
        Ok(Self {
            addresses: addresses.unwrap_or_default(),
            topics: topics.unwrap_or_default(),
        })
    }

    fn collect(&self, block: &Block, found: &mut Vec<Value>) -> Result<(), RpcError> {
        if !self.may_be_in(&block.header.logs_bloom) {
            return Ok(());
        }
        for (index, mined) in block.txs.iter().enumerate() {
            for (log_index, log) in (mined.first_log..).zip(&mined.logs) {
                if !self.fits(log) {
                    continue;
                }
                if found.len() >= MAX_LOGS {
                    return Err(RpcError::limit(format!(
                        "query returned more than {MAX_LOGS} results: ask for fewer blocks"
                    )));
                }
                found.push(mined_log_json(block, index, mined, log, log_index));
            }
        }
        Ok(())
    }

    fn may_be_in(&self, bloom: &Bloom) -> bool {
        let any = |bytes: &[&[u8]]| {
            bytes.is_empty()
                || bytes
                    .iter()
                    .any(|raw| bloom.contains_input(BloomInput::Raw(raw)))
        };
        let addresses: Vec<&[u8]> = self
            .addresses
            .iter()
            .map(|address| address.as_slice())
            .collect();
        any(&addresses)
            && self.topics.iter().all(|alternatives| {
                let topics: Vec<&[u8]> =
                    alternatives.iter().map(|topic| topic.as_slice()).collect();
                any(&topics)
            })
    }

    fn fits(&self, log: &Log) -> bool {
        let topic_fits = |(index, alternatives): (usize, &Vec<B256>)| match log.topics().get(index)
        {
            Some(topic) => alternatives.is_empty() || alternatives.contains(topic),
            None => false,
        };
        (self.addresses.is_empty() || self.addresses.contains(&log.address))
            && self.topics.iter().enumerate().all(topic_fits)
    }
}

/// A value, several of them, or null for any.
fn one_or_many<T>(
    value: &Value,
    parse: impl Fn(&Value) -> Result<T, RpcError>,
) -> Result<Vec<T>, RpcError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(values) if values.len() <= MAX_ALTERNATIVES => {
            values.iter().map(parse).collect()
        }
        Value::Array(_) => Err(RpcError::params(format!(
            "at most {MAX_ALTERNATIVES} alternatives"
        ))),
        value => Ok(vec![parse(value)?]),
    }
}
