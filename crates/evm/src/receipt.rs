//! What a receipt proves: the expected transfer, attributed and exact.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolEvent;
use tollway_core::mistake;

use crate::abi::delegation::{LimitedCalls, Manager, TransferAmount};
use crate::abi::{Settler, Token as Abi};
use crate::contracts::{Contracts, settler_address};
use crate::delegation::Enforcer;
use crate::methods::erc7710::Mark;
use crate::methods::identity::Key;
use crate::node::{Log, Receipt};

/// One payment's expected effect, as the chain spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    pub asset: Address,
    pub from: Address,
    pub to: Address,
    /// How much, exactly; for a transaction shown as proof at least.
    pub value: U256,
    /// Whether less will do, by the proxy of `upto` alone: a buyer knows the most.
    pub at_most: bool,
    pub key: Key,
}

/// What each authorization of a receipt did.
///
/// Tokens log `AuthorizationUsed(from, nonce)` and then the transfer it causes.
/// So a transfer belongs to the authorization whose log came last before it, and
/// equal payments in one transaction are told apart. What a caller moves beside
/// it comes after the authorization's own transfer.
pub(crate) struct Uses<'a> {
    pub receipt: &'a Receipt,
    contracts: Contracts,
    by_key: HashMap<Place, Use<'a>>,
}

/// Asset, payer and nonce.
type Place = (Address, B256, B256);

#[derive(Default)]
struct Use<'a> {
    times: u32,
    transfers: Vec<&'a Log>,
}

impl<'a> Uses<'a> {
    /// Reads the logs once.
    pub fn of(receipt: &'a Receipt, contracts: Contracts) -> Self {
        let mut by_key: HashMap<Place, Use<'a>> = HashMap::new();
        let mut last: HashMap<Address, Place> = HashMap::new();
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
        Self {
            receipt,
            contracts,
            by_key,
        }
    }

    /// The log that pays, and how much moved by it.
    ///
    /// Permit2 logs nothing of its nonces: there the transfer is only known to be
    /// this payment's where the transaction is known to be its settlement, among
    /// our own because no other of the same payer shares it.
    pub fn paying(&self, effect: &Effect) -> Option<(&'a Log, U256)> {
        if mistake::is("logs_ignored") {
            return self.receipt.logs.first().map(|log| (log, effect.value));
        }
        let exactly = |log| (log, effect.value);
        match effect.key {
            Key::Authorization(nonce) => self.authorized(effect, nonce).map(exactly),
            Key::Permit2(..) => {
                let log = self.transfers(effect).next()?;
                let (_, _, moved) = transfer_of(log)?;
                Some((log, moved))
            }
            Key::Permit(nonce) => self.permitted(effect, nonce).map(exactly),
            Key::Transaction(hash, index) => self.shown(effect, hash, index),
            Key::Delegated(mark, manager) => self.redeemed(effect, mark, manager).map(exactly),
        }
    }

    /// The enforcer that counts says that the delegation was used, once, for this
    /// manager; and of what its payer moved to the payee after that there is one
    /// transfer, exactly so. Whatever code the payer runs may do more than it is
    /// told: a payment of another method that it slipped in is not paid twice by it.
    ///
    /// Only what is logged until the manager says that the redemption is over is
    /// looked at. What else the transaction does is others' code, that may settle,
    /// move nothing at all or log what it likes in this payer's name.
    fn redeemed(&self, effect: &Effect, mark: Mark, manager: Address) -> Option<&'a Log> {
        let (enforcer, event, hash) = used_by(mark);
        let logs = &self.receipt.logs;
        let uses = |log: &&Log| {
            log.address == enforcer
                && matches!(log.topics.as_slice(), [topic, sender, _, used]
                    if *topic == event && *sender == manager.into_word() && *used == hash)
        };
        let first = logs.iter().position(|log| uses(&log))?;
        if logs.iter().filter(uses).count() != 1 {
            return None;
        }
        let after = logs.get(first..)?;
        let over = |log: &Log| log.address == manager && is_redemption(log, effect.from);
        let own = after.get(..after.iter().position(over).unwrap_or(after.len()))?;
        let paid = |log: &&Log| {
            log.address == effect.asset
                && transfer_of(log)
                    .is_some_and(|(from, to, _)| (from, to) == (effect.from, effect.to))
        };
        let mut moved = own.iter().filter(paid);
        let (only, more) = (moved.next()?, moved.next());
        let alone = more.is_none() && !self.settles_by_signature(own, effect.from);
        (alone && is_transfer(only, effect)).then_some(only)
    }

    /// All that moved so.
    pub fn transfers(&self, effect: &Effect) -> impl Iterator<Item = &'a Log> {
        let logs = self.receipt.logs.iter();
        logs.filter(move |log| is_transfer(log, effect))
    }

    /// Whether a transfer belongs to an EIP-3009 authorization of its payer.
    pub fn is_authorized(&self, log: &Log, payer: Address) -> bool {
        self.by_key.iter().any(|((_, by, _), used)| {
            let first = used.transfers.iter().find(|l| moves_from(l, payer));
            *by == payer.into_word() && first.is_some_and(|first| std::ptr::eq(*first, log))
        })
    }

    /// The settler says it after it moved exactly so.
    fn permitted(&self, effect: &Effect, nonce: U256) -> Option<&'a Log> {
        let settler = settler_address(effect.to);
        let topics = [
            Settler::Settled::SIGNATURE_HASH,
            effect.asset.into_word(),
            effect.from.into_word(),
            B256::from(nonce),
        ];
        let logs = &self.receipt.logs;
        let at = logs.iter().position(|log| {
            log.address == settler
                && log.topics == topics
                && log.data.as_ref() == effect.value.to_be_bytes::<32>()
        })?;
        let before = logs.get(..at)?.iter().rev();
        before.into_iter().find(|log| is_transfer(log, effect))
    }

    /// A transfer of at least the amount in a transaction that its payer shows.
    fn shown(&self, effect: &Effect, hash: B256, index: Option<u64>) -> Option<(&'a Log, U256)> {
        if self.receipt.transaction_hash != hash {
            return None;
        }
        let (log, to, value) = self.shown_by(effect.asset, effect.from, index)?;
        let pays = to == effect.to && value >= effect.value && !value.is_zero();
        (pays && !self.settles_otherwise(effect.from)).then_some((log, value))
    }

    /// Whether an x402 proxy said that it settled something here.
    pub fn is_by_proxy(&self) -> bool {
        self.receipt.logs.iter().any(|log| self.is_of_proxy(log))
    }

    fn is_of_proxy(&self, log: &Log) -> bool {
        self.contracts.is_proxy(log.address)
    }

    /// Whether logs tell of a payer's payment by a method that a signature of its own
    /// settles.
    fn settles_by_signature(&self, logs: &[Log], payer: Address) -> bool {
        let word = payer.into_word();
        logs.iter().any(|log| match log.topics.as_slice() {
            [topic, by, _] if *topic == Abi::AuthorizationUsed::SIGNATURE_HASH => *by == word,
            [topic, _, by, ..] if *topic == Settler::Settled::SIGNATURE_HASH => *by == word,
            _ => self.is_of_proxy(log),
        })
    }

    /// Whether a payer's payment of another method settles here: its transfer is no
    /// second payment as a transaction that is shown.
    pub fn settles_otherwise(&self, payer: Address) -> bool {
        let logs = &self.receipt.logs;
        self.settles_by_signature(logs, payer) || logs.iter().any(|log| is_redemption(log, payer))
    }

    /// The transfer of an asset by its payer that an index means, with its payee
    /// and value. Where the payer has one transfer only, no index means it, and no
    /// other name is good for it.
    pub fn shown_by(
        &self,
        asset: Address,
        payer: Address,
        index: Option<u64>,
    ) -> Option<(&'a Log, Address, U256)> {
        let logs = &self.receipt.logs;
        let own = |log: &&Log| log.address == asset && moves_from(log, payer);
        let several = logs.iter().filter(own).nth(1).is_some();
        let log = match index {
            None => logs.iter().find(own).filter(|_| !several),
            Some(index) => logs
                .get(usize::try_from(index).ok()?)
                .filter(own)
                .filter(|_| several),
        }?;
        let (_, to, value) = transfer_of(log)?;
        Some((log, to, value))
    }

    /// The log that pays an authorization: used once, and the first that its payer
    /// moved then is exactly so. A later one may be another payment's.
    fn authorized(&self, effect: &Effect, nonce: B256) -> Option<&'a Log> {
        let key = (effect.asset, effect.from.into_word(), nonce);
        let used = self.by_key.get(&key).filter(|used| used.times == 1)?;
        let mut transfers = used.transfers.iter().copied();
        let first = transfers.find(|log| moves_from(log, effect.from));
        first.filter(|log| is_transfer(log, effect))
    }
}

/// Whether it says that a payer's delegation was redeemed.
fn is_redemption(log: &Log, payer: Address) -> bool {
    log.topics.first() == Some(&Manager::RedeemedDelegation::SIGNATURE_HASH)
        && log.topics.get(1) == Some(&payer.into_word())
}

/// The enforcer that counts a mark's uses, the event by which it says so, and the
/// delegation.
pub(crate) fn used_by(mark: Mark) -> (Address, B256, B256) {
    let (enforcer, event, hash) = match mark {
        Mark::Call(hash) => (
            Enforcer::LimitedCalls,
            LimitedCalls::IncreasedCount::SIGNATURE_HASH,
            hash,
        ),
        Mark::Sum(hash) => (
            Enforcer::TransferAmount,
            TransferAmount::IncreasedSpentMap::SIGNATURE_HASH,
            hash,
        ),
    };
    (enforcer.address(), event, hash)
}

fn moves_from(log: &Log, payer: Address) -> bool {
    transfer_of(log).is_some_and(|(from, _, _)| from == payer)
}

/// From whom, to whom and how much, if it is an ERC-20 transfer.
pub(crate) fn transfer_of(log: &Log) -> Option<(Address, Address, U256)> {
    match log.topics.as_slice() {
        [topic, from, to] if *topic == Abi::Transfer::SIGNATURE_HASH && log.data.len() == 32 => {
            Some((
                Address::from_word(*from),
                Address::from_word(*to),
                U256::from_be_slice(&log.data),
            ))
        }
        _ => None,
    }
}

pub(crate) fn is_transfer(log: &Log, effect: &Effect) -> bool {
    if effect.at_most {
        let fits = |value: U256| !value.is_zero() && value <= effect.value;
        return log.address == effect.asset
            && transfer_of(log).is_some_and(|(from, to, value)| {
                from == effect.from && to == effect.to && fits(value)
            });
    }
    log.address == effect.asset
        && log.topics.as_slice()
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
    use crate::contracts::EXACT_PROXY;

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
            at_most: false,
            key: Key::Authorization(nonce),
        }
    }

    fn log(address: Address, topics: Vec<B256>, data: &[u8]) -> Log {
        Log {
            address,
            topics,
            data: Bytes::copy_from_slice(data),
            transaction_hash: None,
        }
    }

    fn used(nonce: B256) -> Log {
        let topics = vec![
            Abi::AuthorizationUsed::SIGNATURE_HASH,
            FROM.into_word(),
            nonce,
        ];
        log(ASSET, topics, &[])
    }

    fn moved(asset: Address, value: u64) -> Log {
        let topics = vec![
            Abi::Transfer::SIGNATURE_HASH,
            FROM.into_word(),
            TO.into_word(),
        ];
        log(asset, topics, &U256::from(value).to_be_bytes::<32>())
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

    /// Which log pays.
    fn paid(logs: Vec<Log>, nonce: B256) -> Option<usize> {
        let receipt = receipt(logs);
        let (paying, _) = Uses::of(&receipt, Contracts::default()).paying(&effect(nonce))?;
        let mut logs = receipt.logs.iter();
        logs.position(|log| std::ptr::eq(log, paying))
    }

    #[test]
    fn one_use_and_one_exact_transfer_is_a_payment() {
        assert_eq!(paid(vec![used(ONE), moved(ASSET, 10)], ONE), Some(1));
    }

    #[test]
    fn equal_payments_in_one_transaction_are_told_apart() {
        let logs = || vec![used(ONE), moved(ASSET, 10), used(TWO), moved(ASSET, 10)];
        assert_eq!(paid(logs(), ONE), Some(1));
        assert_eq!(paid(logs(), TWO), Some(3));
        let mut second_missing = logs();
        second_missing.pop();
        assert_eq!(paid(second_missing, TWO), None);
    }

    #[test]
    fn a_caller_that_moves_more_in_the_same_breath_hides_nothing() {
        let twice = vec![used(ONE), moved(ASSET, 10), moved(ASSET, 10)];
        assert_eq!(paid(twice, ONE), Some(1));
    }

    const MANAGER: Address = address!("db9b1e94b5b69df7e401ddbede43491141047db3");

    /// The enforcer's word that a delegation was used, through a manager.
    fn counted(manager: Address, hash: B256) -> Log {
        let (enforcer, event, _) = used_by(Mark::Call(hash));
        let topics = vec![event, manager.into_word(), B256::ZERO, hash];
        log(enforcer, topics, &[0; 64])
    }

    /// Which log pays a permission.
    fn redeemed(logs: Vec<Log>) -> Option<usize> {
        let receipt = receipt(logs);
        let effect = Effect {
            key: Key::Delegated(Mark::Call(ONE), MANAGER),
            ..effect(ONE)
        };
        let (paying, _) = Uses::of(&receipt, Contracts::default()).paying(&effect)?;
        let mut logs = receipt.logs.iter();
        logs.position(|log| std::ptr::eq(log, paying))
    }

    #[test]
    fn a_permission_is_paid_by_its_count_and_one_exact_transfer_after_it() {
        let used = || counted(MANAGER, ONE);
        assert_eq!(redeemed(vec![used(), moved(ASSET, 10)]), Some(1));
        let other = address!("00000000000000000000000000000000000000aa");
        for (what, logs) in [
            ("silent", vec![]),
            ("counted only", vec![used()]),
            ("a transfer only", vec![moved(ASSET, 10)]),
            ("before", vec![moved(ASSET, 10), used()]),
            ("less", vec![used(), moved(ASSET, 9)]),
            ("twice", vec![used(), moved(ASSET, 10), moved(ASSET, 10)]),
            ("another token", vec![used(), moved(other, 10)]),
            (
                "another manager's",
                vec![counted(other, ONE), moved(ASSET, 10)],
            ),
            (
                "another delegation",
                vec![counted(MANAGER, TWO), moved(ASSET, 10)],
            ),
            (
                "counted twice",
                vec![used(), counted(MANAGER, ONE), moved(ASSET, 10)],
            ),
        ] {
            assert_eq!(redeemed(logs), None, "{what}");
        }
    }

    /// The manager's word that a redemption is over.
    fn over(payer: Address) -> Log {
        let event = Manager::RedeemedDelegation::SIGNATURE_HASH;
        log(MANAGER, vec![event, payer.into_word(), B256::ZERO], &[])
    }

    /// Payments of several accounts share a transaction, and each account's code may
    /// log, settle and move nothing at all in the name of another.
    #[test]
    fn what_others_do_in_the_same_transaction_erases_no_payment() {
        let settled = |who: Address| {
            let event = Settler::Settled::SIGNATURE_HASH;
            let topics = vec![event, ASSET.into_word(), FROM.into_word(), ONE];
            log(who, topics, &[0; 32])
        };
        let own = || vec![counted(MANAGER, ONE), moved(ASSET, 10), over(FROM)];
        for (what, foreign) in [
            ("a transfer of nothing", moved(ASSET, 0)),
            ("a like transfer", moved(ASSET, 10)),
            ("an authorization", used(TWO)),
            ("a settler's word", settled(TO)),
            ("an x402 proxy's", log(EXACT_PROXY, vec![], &[])),
        ] {
            let mut after = own();
            after.push(foreign.clone());
            assert_eq!(redeemed(after), Some(1), "{what}, after");
            let mut before = own();
            before.insert(0, foreign.clone());
            assert_eq!(redeemed(before), Some(2), "{what}, before");
            let mut within = own();
            within.insert(1, foreign);
            assert_eq!(redeemed(within), None, "{what}, by its own code");
        }
        let mut late = own();
        late.swap(1, 2);
        assert_eq!(redeemed(late), None, "moved by another redemption");
    }

    /// The payer's own code runs in a redemption: it may settle an authorization of
    /// its own there and make no transfer for the permission.
    #[test]
    fn an_authorization_that_a_redemption_slips_in_pays_once() {
        let logs = || vec![counted(MANAGER, ONE), used(TWO), moved(ASSET, 10)];
        assert_eq!(redeemed(logs()), None);
        assert_eq!(paid(logs(), TWO), Some(2));
    }

    #[test]
    fn a_redemption_is_no_transaction_that_its_payer_shows_as_proof() {
        let redeemed = vec![
            Manager::RedeemedDelegation::SIGNATURE_HASH,
            FROM.into_word(),
            B256::ZERO,
        ];
        let logs = vec![moved(ASSET, 10), log(MANAGER, redeemed, &[])];
        let receipt = receipt(logs);
        assert!(Uses::of(&receipt, Contracts::default()).settles_otherwise(FROM));
        assert!(!Uses::of(&receipt, Contracts::default()).settles_otherwise(TO));
    }

    #[test]
    fn anything_else_is_not_a_payment() {
        let other = address!("00000000000000000000000000000000000000aa");
        assert_eq!(paid(vec![], ONE), None, "silent");
        assert_eq!(paid(vec![used(ONE)], ONE), None, "event only");
        assert_eq!(paid(vec![moved(ASSET, 10)], ONE), None, "transfer only");
        assert_eq!(paid(vec![moved(ASSET, 10), used(ONE)], ONE), None, "before");
        assert_eq!(paid(vec![used(ONE), moved(ASSET, 9)], ONE), None, "less");
        assert_eq!(paid(vec![used(ONE), moved(ASSET, 11)], ONE), None, "more");
        assert_eq!(
            paid(vec![used(ONE), moved(other, 10)], ONE),
            None,
            "other token"
        );
        assert_eq!(
            paid(vec![used(TWO), moved(ASSET, 10)], ONE),
            None,
            "other nonce"
        );
        let used_twice = vec![used(ONE), moved(ASSET, 10), used(ONE)];
        assert_eq!(paid(used_twice, ONE), None, "used twice");
    }
}
