//! Would these transfers go through? One `eth_call` answers for many.
//!
//! The call runs creation code of our own ([`TRANSFER_PROBE`]) that tries the
//! transfers in order, so payments from one balance see each other. It says of
//! each payer whether there is code and how much money, and of each transfer
//! whether it succeeds and with how much gas.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use tollway_core::ChainError;
use tollway_rpc::ask::unavailable;
use tollway_rpc::{RpcClient, RpcError};

use crate::contracts::TRANSFER_PROBE;
use crate::node::LATEST;

/// Gas of the whole call: below what any node or EIP-7825 allows.
const CALL_GAS: u64 = 16_000_000;
/// Transfers in one call.
pub(super) const MOST_ITEMS: usize = 100;
/// Bytes of packed items in one call: creation code may have 49,152 bytes.
const MOST_BYTES: usize = 44_000;

/// One transfer to try.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub token: Address,
    pub payer: Address,
    pub payee: Address,
    pub value: U256,
    pub nonce: B256,
    /// The call, or only its selector and payer where nothing is to be tried.
    pub call: Bytes,
}

impl Question {
    fn packed_len(&self) -> usize {
        22 + self.call.len()
    }

    fn same_identity(&self, other: &Self) -> bool {
        (self.nonce, self.payer, self.token) == (other.nonce, other.payer, other.token)
    }
}

/// What the call said about one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whether the payer has code. Then nothing was tried.
    pub payer_has_code: bool,
    /// The payer's balance before any of the transfers.
    pub balance: U256,
    /// The payer's balance right before this one.
    pub left: U256,
    /// Whether it succeeds, and with how much gas.
    pub succeeds: bool,
    pub gas: u64,
}

/// What one question is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Seen(Seen),
    /// It is to be asked by itself, in the plain way.
    Alone,
}

/// Asks about some transfers at once; one answer each, in order.
pub(super) async fn probe(
    rpc: &RpcClient,
    from: Option<Address>,
    item_gas: u64,
    questions: &[Question],
) -> Result<Vec<Answer>, ChainError> {
    let (asked, places) = distinct(questions);
    let params = written(from, &encode(&asked, item_gas));
    let seen = match rpc.call_at_once::<Bytes>("eth_call", &params).await {
        Ok(bytes) => decode(&asked, &bytes),
        Err(error @ RpcError::Rpc { .. }) => {
            tracing::debug!(%error, "the node does not answer for many transfers at once");
            None
        }
        Err(error) => return Err(unavailable("simulation")(error)),
    };
    let Some(seen) = seen else {
        return Ok(vec![Answer::Alone; questions.len()]);
    };
    let answer = |place: Option<usize>| place.and_then(|at| seen.get(at).copied().flatten());
    Ok(places
        .into_iter()
        .map(|place| answer(place).map_or(Answer::Alone, Answer::Seen))
        .collect())
}

/// The call's parameters as JSON. They are long, and hex needs no escaping.
fn written(from: Option<Address>, data: &[u8]) -> String {
    let from = from.map_or_else(String::new, |from| format!(r#""from":"{from:#x}","#));
    let data = hex::encode(data);
    format!(r#"[{{{from}"gas":"{CALL_GAS:#x}","data":"0x{data}"}},"{LATEST}"]"#)
}

/// Each transfer once, and where each question finds its own. The same
/// authorization cannot be used twice, so it is tried once; what differs under
/// the same nonce, or finds no room, is asked by itself.
fn distinct(questions: &[Question]) -> (Vec<&Question>, Vec<Option<usize>>) {
    let mut asked: Vec<&Question> = Vec::with_capacity(questions.len());
    let mut bytes = 0;
    let mut places = Vec::with_capacity(questions.len());
    for question in questions {
        let same = asked.iter().position(|a| a.same_identity(question));
        places.push(match same {
            Some(at) => (asked[at].call == question.call).then_some(at),
            None if bytes + question.packed_len() > MOST_BYTES || asked.len() >= MOST_ITEMS => None,
            None => {
                bytes += question.packed_len();
                asked.push(question);
                Some(asked.len() - 1)
            }
        });
    }
    (asked, places)
}

/// Creation code and its arguments, `(uint256 count, uint256 itemGas, bytes items)`.
fn encode(asked: &[&Question], item_gas: u64) -> Vec<u8> {
    let size: usize = asked.iter().map(|q| q.packed_len()).sum();
    let padded = size.next_multiple_of(32);
    let mut data = Vec::with_capacity(TRANSFER_PROBE.len() + 128 + padded);
    data.extend_from_slice(&TRANSFER_PROBE);
    let head = [
        asked.len(),
        usize::try_from(item_gas).unwrap_or(usize::MAX),
        96,
        size,
    ];
    for word in head {
        data.extend_from_slice(&U256::from(word).to_be_bytes::<32>());
    }
    for question in asked {
        data.extend_from_slice(question.token.as_slice());
        let len = u16::try_from(question.call.len()).unwrap_or(u16::MAX);
        data.extend_from_slice(&len.to_be_bytes());
        data.extend_from_slice(&question.call);
    }
    data.resize(data.len() + padded - size, 0);
    data
}

const HAS_CODE: u8 = 1;
const TRIED: u8 = 2;
const SUCCEEDS: u8 = 4;
const NO_BALANCE: u8 = 8;

/// `None` where the answer has not the shape that the code gives; an item is
/// `None` where it was not tried for want of gas, or shows no balance.
fn decode(asked: &[&Question], answer: &[u8]) -> Option<Vec<Option<Seen>>> {
    let words = answer.strip_prefix(&[1])?;
    if words.len() != 32 * asked.len() {
        return None;
    }
    let mut seen: Vec<Option<Seen>> = Vec::with_capacity(asked.len());
    for (at, word) in words.chunks_exact(32).enumerate() {
        let flags = word[0];
        let payer_has_code = flags & HAS_CODE != 0;
        let answered = flags & NO_BALANCE == 0
            && (payer_has_code || flags & TRIED != 0 || asked[at].call.len() <= 36);
        let left = U256::from_be_slice(&word[8..]);
        let mut gas = [0; 8];
        gas[1..].copy_from_slice(&word[1..8]);
        let one = Seen {
            payer_has_code,
            balance: before_all(asked, &seen, at, left),
            left,
            succeeds: flags & SUCCEEDS != 0,
            gas: u64::from_be_bytes(gas),
        };
        seen.push(answered.then_some(one));
    }
    Some(seen)
}

/// The balance without what the transfers before took from it or brought to it.
fn before_all(asked: &[&Question], seen: &[Option<Seen>], at: usize, left: U256) -> U256 {
    let own = asked[at];
    let mut balance = left;
    for (other, result) in asked.iter().zip(seen) {
        if other.token != own.token || !result.is_some_and(|r| r.succeeds) {
            continue;
        }
        if other.payer == own.payer {
            balance = balance.saturating_add(other.value);
        }
        if other.payee == own.payer {
            balance = balance.saturating_sub(other.value);
        }
    }
    balance
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(payer: u8, nonce: u8, value: u64) -> Question {
        Question {
            token: Address::repeat_byte(9),
            payer: Address::repeat_byte(payer),
            payee: Address::repeat_byte(7),
            value: U256::from(value),
            nonce: B256::repeat_byte(nonce),
            call: vec![nonce; 40].into(),
        }
    }

    fn word(flags: u8, gas: u64, balance: u64) -> [u8; 32] {
        let mut word = U256::from(balance).to_be_bytes::<32>();
        word[..8].copy_from_slice(&gas.to_be_bytes());
        word[0] = flags;
        word
    }

    fn read(questions: &[Question], words: &[[u8; 32]]) -> Option<Vec<Option<Seen>>> {
        let asked: Vec<&Question> = questions.iter().collect();
        decode(&asked, &[&[1][..], &words.concat()].concat())
    }

    #[test]
    fn the_call_is_written_as_json() {
        let call = |from| serde_json::from_str::<serde_json::Value>(&written(from, &[1, 0xab]));
        let from = Address::repeat_byte(0xA1);
        let account = "0xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
        assert_eq!(
            call(Some(from)).unwrap(),
            serde_json::json!([{ "from": account, "gas": "0xf42400", "data": "0x01ab" }, "latest"])
        );
        assert_eq!(
            call(None).unwrap(),
            serde_json::json!([{ "gas": "0xf42400", "data": "0x01ab" }, "latest"])
        );
    }

    #[test]
    fn a_balance_is_told_before_and_between_transfers() {
        let questions = [question(1, 1, 10), question(1, 2, 10), question(2, 3, 10)];
        let words = [word(6, 50, 25), word(6, 40, 15), word(2, 30, 5)];
        let seen = read(&questions, &words).unwrap();
        let both = |at: usize| seen[at].map(|s| (s.balance, s.left, s.succeeds, s.gas));
        let u = U256::from;
        assert_eq!(both(0), Some((u(25), u(25), true, 50)));
        assert_eq!(both(1), Some((u(25), u(15), true, 40)));
        assert_eq!(both(2), Some((u(5), u(5), false, 30)));
    }

    #[test]
    fn what_was_not_tried_is_not_known_and_odd_answers_say_nothing() {
        let one = [question(1, 1, 10)];
        assert_eq!(read(&one, &[word(0, 0, 25)]), Some(vec![None]), "no gas");
        assert_eq!(read(&one, &[word(8, 0, 0)]), Some(vec![None]), "no balance");
        assert!(
            read(&one, &[word(1, 0, 25)]).unwrap()[0]
                .unwrap()
                .payer_has_code
        );
        assert_eq!(read(&one, &[]), None);
        assert_eq!(decode(&[&one[0]], &[0; 33]), None);
        assert_eq!(decode(&[&one[0]], &[]), None);
    }

    #[test]
    fn an_authorization_is_tried_once_and_its_rival_by_itself() {
        let mut rival = question(1, 1, 11);
        rival.call = vec![8; 40].into();
        let questions = [question(1, 1, 10), question(1, 1, 10), rival];
        let (asked, places) = distinct(&questions);
        assert_eq!((asked.len(), places), (1, vec![Some(0), Some(0), None]));
    }

    #[test]
    fn what_finds_no_room_is_asked_by_itself() {
        let many: Vec<Question> = (0..=100)
            .map(|n| Question {
                nonce: B256::with_last_byte(n),
                ..question(1, 1, 1)
            })
            .collect();
        let (asked, places) = distinct(&many);
        assert_eq!(
            (asked.len(), places[99], places[100]),
            (100, Some(99), None)
        );
    }
}
