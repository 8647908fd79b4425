//! The packed terms of caveats: big-endian words and bare addresses.

use alloy_primitives::{Address, Bytes, U256};

use super::Caveat;
use super::table::Enforcer;

/// What a caveat enforces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaveatTerms {
    /// Only these may redeem.
    Redeemer(Vec<Address>),
    /// So much of a token in all.
    TransferAmount {
        /// Which.
        token: Address,
        /// Atomic units, over all redemptions.
        most: U256,
    },
    /// So much of a token in each period.
    PeriodTransfer {
        /// Which.
        token: Address,
        /// Atomic units in one period.
        amount: U256,
        /// Seconds of a period.
        duration: U256,
        /// When the first one begins, Unix seconds.
        start: U256,
    },
    /// So much of a token, growing.
    Streaming {
        /// Which.
        token: Address,
        /// Atomic units at the start.
        initial: U256,
        /// Atomic units in all.
        most: U256,
        /// Atomic units that each second adds.
        per_second: U256,
        /// Unix seconds.
        start: U256,
    },
    /// In blocks later than `after` and earlier than `before`, Unix seconds; zero
    /// is no bound.
    Timestamp {
        /// Not in it.
        after: u128,
        /// Not in it.
        before: u128,
    },
    /// So many redemptions.
    LimitedCalls(U256),
    /// The call holds these bytes there.
    AllowedCalldata {
        /// From which byte on.
        start: U256,
        /// The bytes.
        value: Bytes,
    },
    /// Only these contracts.
    AllowedTargets(Vec<Address>),
    /// Only these functions.
    AllowedMethods(Vec<[u8; 4]>),
    /// The call is exactly this.
    ExactCalldata(Bytes),
    /// At most so much of the chain's own money.
    ValueLte(U256),
    /// While the delegator's number in the enforcer is this.
    Nonce(U256),
    /// While the delegator has not used this number.
    Id(U256),
}

/// Why bytes are no terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaveatError {
    /// The contract is not of the framework.
    #[error("the caveat's enforcer is not of the delegation framework; use only published ones")]
    UnknownEnforcer,
    /// A wrong length, or a value that the enforcer takes for none.
    #[error("the caveat's terms are not what its enforcer reads; pack them anew")]
    Malformed,
}

impl CaveatTerms {
    /// The rule that a payee alone is paid by `transfer`.
    #[must_use]
    pub fn payee(pay_to: Address) -> Self {
        Self::AllowedCalldata {
            start: U256::from(4),
            value: Bytes::copy_from_slice(pay_to.into_word().as_slice()),
        }
    }

    /// The contract that reads them.
    #[must_use]
    pub const fn enforcer(&self) -> Enforcer {
        match self {
            Self::Redeemer(_) => Enforcer::Redeemer,
            Self::TransferAmount { .. } => Enforcer::TransferAmount,
            Self::PeriodTransfer { .. } => Enforcer::PeriodTransfer,
            Self::Streaming { .. } => Enforcer::Streaming,
            Self::Timestamp { .. } => Enforcer::Timestamp,
            Self::LimitedCalls(_) => Enforcer::LimitedCalls,
            Self::AllowedCalldata { .. } => Enforcer::AllowedCalldata,
            Self::AllowedTargets(_) => Enforcer::AllowedTargets,
            Self::AllowedMethods(_) => Enforcer::AllowedMethods,
            Self::ExactCalldata(_) => Enforcer::ExactCalldata,
            Self::ValueLte(_) => Enforcer::ValueLte,
            Self::Nonce(_) => Enforcer::Nonce,
            Self::Id(_) => Enforcer::Id,
        }
    }

    /// As a caveat without arguments.
    ///
    /// # Errors
    /// [`CaveatError::Malformed`] for what the enforcer would refuse or take for no
    /// condition at all.
    pub fn caveat(&self) -> Result<Caveat, CaveatError> {
        self.check()?;
        Ok(Caveat {
            enforcer: self.enforcer().address(),
            terms: self.pack(),
            args: Bytes::new(),
        })
    }

    /// Reads them as their enforcer does.
    ///
    /// # Errors
    /// [`CaveatError`].
    pub fn decode(enforcer: Address, bytes: &[u8]) -> Result<Self, CaveatError> {
        let enforcer = Enforcer::at(enforcer).ok_or(CaveatError::UnknownEnforcer)?;
        let terms = read(enforcer, bytes).ok_or(CaveatError::Malformed)?;
        terms.check()?;
        Ok(terms)
    }

    fn pack(&self) -> Bytes {
        let words = |token: &Address, words: &[U256]| {
            let mut packed = token.to_vec();
            packed.extend(words.iter().flat_map(U256::to_be_bytes::<32>));
            packed
        };
        match self {
            Self::Redeemer(all) | Self::AllowedTargets(all) => {
                all.iter().flat_map(|one| one.0.0).collect()
            }
            Self::TransferAmount { token, most } => words(token, &[*most]),
            Self::PeriodTransfer {
                token,
                amount,
                duration,
                start,
            } => words(token, &[*amount, *duration, *start]),
            Self::Streaming {
                token,
                initial,
                most,
                per_second,
                start,
            } => words(token, &[*initial, *most, *per_second, *start]),
            Self::Timestamp { after, before } => {
                [after.to_be_bytes(), before.to_be_bytes()].concat()
            }
            Self::LimitedCalls(number)
            | Self::ValueLte(number)
            | Self::Nonce(number)
            | Self::Id(number) => number.to_be_bytes_vec(),
            Self::AllowedCalldata { start, value } => {
                [start.to_be_bytes::<32>().as_slice(), value].concat()
            }
            Self::AllowedMethods(all) => all.concat(),
            Self::ExactCalldata(call) => call.to_vec(),
        }
        .into()
    }

    /// Whether it is a condition that somebody can have meant.
    fn check(&self) -> Result<(), CaveatError> {
        let good = match self {
            Self::Redeemer(all) | Self::AllowedTargets(all) => !all.is_empty(),
            Self::AllowedMethods(all) => !all.is_empty(),
            Self::TransferAmount { most, .. } => !most.is_zero(),
            Self::PeriodTransfer {
                amount,
                duration,
                start,
                ..
            } => !amount.is_zero() && !duration.is_zero() && !start.is_zero(),
            Self::Streaming {
                initial,
                most,
                start,
                ..
            } => most >= initial && !most.is_zero() && !start.is_zero(),
            Self::Timestamp { after, before } => *before == 0 || after < before,
            Self::LimitedCalls(limit) => !limit.is_zero(),
            Self::AllowedCalldata { value, .. } => !value.is_empty(),
            Self::ExactCalldata(_) | Self::ValueLte(_) | Self::Nonce(_) | Self::Id(_) => true,
        };
        good.then_some(()).ok_or(CaveatError::Malformed)
    }
}

fn read(enforcer: Enforcer, bytes: &[u8]) -> Option<CaveatTerms> {
    let number = || (bytes.len() == 32).then(|| U256::from_be_slice(bytes));
    Some(match enforcer {
        Enforcer::Redeemer => CaveatTerms::Redeemer(addresses(bytes)?),
        Enforcer::AllowedTargets => CaveatTerms::AllowedTargets(addresses(bytes)?),
        Enforcer::TransferAmount => {
            let (token, [most]) = token_and(bytes)?;
            CaveatTerms::TransferAmount { token, most }
        }
        Enforcer::PeriodTransfer => {
            let (token, [amount, duration, start]) = token_and(bytes)?;
            CaveatTerms::PeriodTransfer {
                token,
                amount,
                duration,
                start,
            }
        }
        Enforcer::Streaming => {
            let (token, [initial, most, per_second, start]) = token_and(bytes)?;
            CaveatTerms::Streaming {
                token,
                initial,
                most,
                per_second,
                start,
            }
        }
        Enforcer::Timestamp => {
            let (after, before) = bytes.split_at_checked(16)?;
            CaveatTerms::Timestamp {
                after: u128::from_be_bytes(after.try_into().ok()?),
                before: u128::from_be_bytes(before.try_into().ok()?),
            }
        }
        Enforcer::LimitedCalls => CaveatTerms::LimitedCalls(number()?),
        Enforcer::ValueLte => CaveatTerms::ValueLte(number()?),
        Enforcer::Nonce => CaveatTerms::Nonce(number()?),
        Enforcer::Id => CaveatTerms::Id(number()?),
        Enforcer::AllowedCalldata => {
            let (start, value) = bytes.split_at_checked(32)?;
            CaveatTerms::AllowedCalldata {
                start: U256::from_be_slice(start),
                value: Bytes::copy_from_slice(value),
            }
        }
        Enforcer::AllowedMethods => {
            let (methods, rest) = bytes.as_chunks::<4>();
            rest.is_empty()
                .then(|| CaveatTerms::AllowedMethods(methods.to_vec()))?
        }
        Enforcer::ExactCalldata => CaveatTerms::ExactCalldata(Bytes::copy_from_slice(bytes)),
    })
}

fn addresses(bytes: &[u8]) -> Option<Vec<Address>> {
    let (all, rest) = bytes.as_chunks::<20>();
    rest.is_empty()
        .then(|| all.iter().map(|one| Address::from(*one)).collect())
}

/// A token and so many words, and nothing else.
fn token_and<const N: usize>(bytes: &[u8]) -> Option<(Address, [U256; N])> {
    let (token, rest) = bytes.split_at_checked(20)?;
    let (words, more) = rest.as_chunks::<32>();
    let words: Vec<U256> = words.iter().map(|w| U256::from_be_bytes(*w)).collect();
    let words = words.try_into().ok()?;
    more.is_empty().then(|| (Address::from_slice(token), words))
}
