//! What a receipt proves: the expected transfer, attributed and exact.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolEvent;
use tollway_core::mistake;

use crate::abi::Token as Abi;
use crate::node::{Log, Receipt};

/// One authorization's expected effect, as the chain spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    pub asset: Address,
    pub from: Address,
    pub to: Address,
    pub value: U256,
    pub nonce: B256,
}

/// What each authorization of a receipt did.
///
/// Tokens log `AuthorizationUsed(from, nonce)` and then the transfer it causes.
/// So a transfer belongs to the authorization whose log came last before it, and
/// equal payments in one transaction are told apart. What a caller moves beside
/// it comes after the authorization's own transfer.
pub(crate) struct Uses<'a> {
    pub receipt: &'a Receipt,
    by_key: HashMap<Key, Use<'a>>,
}

/// Asset, payer and nonce.
type Key = (Address, B256, B256);

#[derive(Default)]
struct Use<'a> {
    times: u32,
    transfers: Vec<&'a Log>,
}

impl<'a> Uses<'a> {
    /// Reads the logs once.
    pub fn of(receipt: &'a Receipt) -> Self {
        let mut by_key: HashMap<Key, Use<'a>> = HashMap::new();
        let mut last: HashMap<Address, Key> = HashMap::new();
        for log in &receipt.logs {
            match log.topics.as_slice() {
                [topic, payer, nonce] if *topic == Abi::AuthorizationUsed::SIGNATURE_HASH => {
                    let key = (log.address, *payer, *nonce);
                    by_key.entry(key).or_default().times += 1;
                    last.insert(log.address, key);
                }
                [topic, _, _] if *topic == Abi::Transfer::SIGNATURE_HASH => {
                    if let Some(key) = last.get(&log.address) {
                        by_key.entry(*key).or_default().transfers.push(log);
                    }
                }
                _ => {}
            }
        }
        Self { receipt, by_key }
    }

    /// The log that pays an authorization: used once, and moved exactly so.
    pub fn paying(&self, effect: &Effect) -> Option<&'a Log> {
        if mistake::is("logs_ignored") {
            return self.receipt.logs.first();
        }
        let key = (effect.asset, effect.from.into_word(), effect.nonce);
        let used = self.by_key.get(&key).filter(|used| used.times == 1)?;
        let mut transfers = used.transfers.iter().copied();
        transfers.find(|log| is_transfer(log, effect))
    }
}

fn is_transfer(log: &Log, effect: &Effect) -> bool {
    log.topics.as_slice()
        == [
            Abi::Transfer::SIGNATURE_HASH,
            effect.from.into_word(),
            effect.to.into_word(),
        ]
        && log.data.as_ref() == effect.value.to_be_bytes::<32>()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Bytes, U64, address, b256};

    use super::*;

    const ASSET: Address = address!("036cbd53842c5426634e7929541ec2318f3dcf7e");
    const FROM: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
    const TO: Address = address!("70997970c51812dc3a010c7d01b50e0d17dc79c8");
    const ONE: B256 = b256!("0101010101010101010101010101010101010101010101010101010101010101");
    const TWO: B256 = b256!("0202020202020202020202020202020202020202020202020202020202020202");

    fn effect(nonce: B256) -> Effect {
        Effect {
            asset: ASSET,
            from: FROM,
            to: TO,
            value: U256::from(10),
            nonce,
        }
    }

    fn log(address: Address, topics: Vec<B256>, data: &[u8], index: u64) -> Log {
        Log {
            address,
            topics,
            data: Bytes::copy_from_slice(data),
            log_index: Some(U64::from(index)),
            transaction_hash: None,
        }
    }

    fn used(nonce: B256, index: u64) -> Log {
        let topics = vec![
            Abi::AuthorizationUsed::SIGNATURE_HASH,
            FROM.into_word(),
            nonce,
        ];
        log(ASSET, topics, &[], index)
    }

    fn moved(asset: Address, value: u64, index: u64) -> Log {
        let topics = vec![
            Abi::Transfer::SIGNATURE_HASH,
            FROM.into_word(),
            TO.into_word(),
        ];
        log(asset, topics, &U256::from(value).to_be_bytes::<32>(), index)
    }

    fn receipt(logs: Vec<Log>) -> Receipt {
        Receipt {
            transaction_hash: B256::ZERO,
            block_hash: Some(B256::ZERO),
            block_number: Some(U64::from(1)),
            from: FROM,
            status: Some(U64::from(1)),
            gas_used: U64::from(1),
            effective_gas_price: None,
            l1_fee: None,
            logs,
        }
    }

    fn paid(logs: Vec<Log>, nonce: B256) -> Option<u64> {
        let receipt = receipt(logs);
        Uses::of(&receipt)
            .paying(&effect(nonce))
            .map(|log| log.log_index.unwrap().to())
    }

    #[test]
    fn one_use_and_one_exact_transfer_is_a_payment() {
        assert_eq!(paid(vec![used(ONE, 0), moved(ASSET, 10, 1)], ONE), Some(1));
    }

    #[test]
    fn equal_payments_in_one_transaction_are_told_apart() {
        let logs = || {
            vec![
                used(ONE, 0),
                moved(ASSET, 10, 1),
                used(TWO, 2),
                moved(ASSET, 10, 3),
            ]
        };
        assert_eq!(paid(logs(), ONE), Some(1));
        assert_eq!(paid(logs(), TWO), Some(3));
        let mut second_missing = logs();
        second_missing.pop();
        assert_eq!(paid(second_missing, TWO), None);
    }

    #[test]
    fn a_caller_that_moves_more_in_the_same_breath_hides_nothing() {
        let twice = vec![used(ONE, 0), moved(ASSET, 10, 1), moved(ASSET, 10, 2)];
        assert_eq!(paid(twice, ONE), Some(1));
    }

    #[test]
    fn anything_else_is_not_a_payment() {
        let other = address!("00000000000000000000000000000000000000aa");
        assert_eq!(paid(vec![], ONE), None, "silent");
        assert_eq!(paid(vec![used(ONE, 0)], ONE), None, "event only");
        assert_eq!(paid(vec![moved(ASSET, 10, 0)], ONE), None, "transfer only");
        assert_eq!(
            paid(vec![moved(ASSET, 10, 0), used(ONE, 1)], ONE),
            None,
            "before"
        );
        assert_eq!(
            paid(vec![used(ONE, 0), moved(ASSET, 9, 1)], ONE),
            None,
            "less"
        );
        assert_eq!(
            paid(vec![used(ONE, 0), moved(ASSET, 11, 1)], ONE),
            None,
            "more"
        );
        assert_eq!(
            paid(vec![used(ONE, 0), moved(other, 10, 1)], ONE),
            None,
            "other token"
        );
        assert_eq!(
            paid(vec![used(TWO, 0), moved(ASSET, 10, 1)], ONE),
            None,
            "other nonce"
        );
        let used_twice = vec![used(ONE, 0), moved(ASSET, 10, 1), used(ONE, 2)];
        assert_eq!(paid(used_twice, ONE), None, "used twice");
    }
}
