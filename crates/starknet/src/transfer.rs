//! Transfer events of tokens (SNIP-2), in the two layouts that exist.

use starknet_crypto::Felt;
use tollway_core::{Amount, Expected};

use crate::felt;
use crate::node::Event;
use crate::selectors::TRANSFER_EVENT;

/// One transfer that must have happened, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    pub asset: Felt,
    pub from: Felt,
    pub to: Felt,
    pub amount: Amount,
}

/// What a Transfer event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Transfer {
    from: Felt,
    to: Felt,
    amount: Amount,
}

impl Effect {
    /// `None` if an account is no account of Starknet.
    pub fn of(expected: &Expected) -> Option<Self> {
        Some(Self {
            asset: felt::of_address(&expected.asset)?,
            from: felt::of_address(&expected.from)?,
            to: felt::of_address(&expected.to)?,
            amount: expected.amount,
        })
    }

    /// Where the one transfer is among events. `None` unless the asset itself
    /// tells of it exactly once and of no other transfer from the payer, and
    /// everything that it calls a Transfer can be read.
    pub fn find(&self, events: &[Event]) -> Option<usize> {
        let mut found = None;
        for (index, event) in events.iter().enumerate() {
            if !self.is_told_by_asset(event) {
                continue;
            }
            let transfer = read(event)?;
            if transfer.from != self.from {
                continue;
            }
            let is_ours = transfer.to == self.to && transfer.amount == self.amount;
            if !is_ours || found.replace(index).is_some() {
                return None;
            }
        }
        found
    }

    /// Whether the payer may have paid among events: the asset tells of a transfer of
    /// the payer's, or of one that cannot be read.
    pub fn may_be_in(&self, events: &[Event]) -> bool {
        let mut told = events.iter().filter(|event| self.is_told_by_asset(event));
        told.any(|event| read(event).is_none_or(|transfer| transfer.from == self.from))
    }

    fn is_told_by_asset(&self, event: &Event) -> bool {
        let name = event.keys.first();
        event.from_address.0 == self.asset && name.is_some_and(|key| key.0 == TRANSFER_EVENT)
    }
}

/// Keyed: `[Transfer, from, to]`, `[low, high]`; legacy: `[Transfer]`,
/// `[from, to, low, high]`.
fn read(event: &Event) -> Option<Transfer> {
    let keys: Vec<Felt> = event.keys.iter().map(|key| key.0).collect();
    let data: Vec<Felt> = event.data.iter().map(|data| data.0).collect();
    let (from, to, low, high) = match (keys.as_slice(), data.as_slice()) {
        ([_, from, to], [low, high]) | ([_], [from, to, low, high]) => (from, to, low, high),
        _ => return None,
    };
    Some(Transfer {
        from: *from,
        to: *to,
        amount: felt::join(low, high)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Num;

    const ASSET: u64 = 0xa;
    const PAYER: u64 = 0x1;
    const PAYEE: u64 = 0x2;

    fn effect() -> Effect {
        Effect {
            asset: ASSET.into(),
            from: PAYER.into(),
            to: PAYEE.into(),
            amount: Amount::from_atomic(7),
        }
    }

    fn nums(numbers: &[u64]) -> Vec<Num> {
        numbers.iter().map(|n| Num(Felt::from(*n))).collect()
    }

    fn event(contract: u64, more_keys: &[u64], data: &[u64]) -> Event {
        let mut keys = vec![Num(TRANSFER_EVENT)];
        keys.extend(nums(more_keys));
        Event {
            from_address: Num(contract.into()),
            keys,
            data: nums(data),
        }
    }

    fn keyed() -> Event {
        event(ASSET, &[PAYER, PAYEE], &[7, 0])
    }

    #[test]
    fn both_layouts_of_a_transfer_count() {
        let legacy = event(ASSET, &[], &[PAYER, PAYEE, 7, 0]);
        for transfer in [keyed(), legacy] {
            let fee = event(0xb, &[PAYER, PAYEE], &[7, 0]);
            let others = event(ASSET, &[9, 8], &[1, 0]);
            assert_eq!(effect().find(&[fee, others, transfer]), Some(2));
        }
    }

    #[test]
    fn nothing_but_exactly_one_transfer_of_the_asset_itself_counts() {
        let cases: &[(&str, Vec<Event>)] = &[
            ("none", vec![]),
            (
                "another contract",
                vec![event(0xb, &[PAYER, PAYEE], &[7, 0])],
            ),
            ("twice", vec![keyed(), keyed()]),
            ("another payer", vec![event(ASSET, &[3, PAYEE], &[7, 0])]),
            ("another payee", vec![event(ASSET, &[PAYER, 3], &[7, 0])]),
            ("less", vec![event(ASSET, &[PAYER, PAYEE], &[6, 0])]),
            ("more", vec![event(ASSET, &[PAYER, PAYEE], &[7, 1])]),
            (
                "beside another from the payer",
                vec![keyed(), event(ASSET, &[PAYER, 3], &[1, 0])],
            ),
            (
                "beside an unknown layout",
                vec![keyed(), event(ASSET, &[PAYER], &[PAYEE, 7, 0])],
            ),
            (
                "unknown layout",
                vec![event(ASSET, &[PAYER, PAYEE, 7], &[])],
            ),
        ];
        for (what, events) in cases {
            assert_eq!(effect().find(events), None, "{what}");
        }
        let mut wide = keyed();
        wide.data[0] = Num(Felt::from(u128::MAX) + Felt::from(8_u8));
        assert_eq!(effect().find(&[wide]), None, "a half of more than 128 bits");
    }
}
