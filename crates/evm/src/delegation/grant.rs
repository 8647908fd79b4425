//! What a chain of delegations allows, for whoever spends from it.

use alloy_primitives::{Address, U256};

use super::{CaveatError, CaveatTerms, Delegation, is_linked};

/// How much may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// So much in all.
    Total(U256),
    /// So much in each period, from the start on.
    Period {
        /// Atomic units.
        amount: U256,
        /// Seconds.
        duration: U256,
        /// Unix seconds.
        start: U256,
    },
    /// So much, growing by the second.
    Stream {
        /// Atomic units at the start.
        initial: U256,
        /// Atomic units in all.
        most: U256,
        /// Atomic units each second.
        per_second: U256,
        /// Unix seconds.
        start: U256,
    },
}

impl Allowance {
    /// Most that one payment can move by it.
    #[must_use]
    pub const fn most(&self) -> U256 {
        match self {
            Self::Total(most) | Self::Stream { most, .. } => *most,
            Self::Period { amount, .. } => *amount,
        }
    }

    /// The same as a caveat on a token. What is for ever is a period without end, as
    /// wallets write it.
    #[must_use]
    pub const fn terms(&self, token: Address) -> CaveatTerms {
        match *self {
            Self::Total(most) => CaveatTerms::TransferAmount { token, most },
            Self::Period {
                amount,
                duration,
                start,
            } => CaveatTerms::PeriodTransfer {
                token,
                amount,
                duration,
                start,
            },
            Self::Stream {
                initial,
                most,
                per_second,
                start,
            } => CaveatTerms::Streaming {
                token,
                initial,
                most,
                per_second,
                start,
            },
        }
    }
}

/// What may be spent, by whom, to whom and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose money it is: the root's delegator.
    pub payer: Address,
    /// Who may spend it: the leaf's delegate.
    pub session: Address,
    /// The token that it is for.
    pub asset: Address,
    /// Each of these holds.
    pub allowances: Vec<Allowance>,
    /// Who alone may redeem it; `None` is anybody that the session names.
    pub redeemers: Option<Vec<Address>>,
    /// Who alone is paid; `None` is anybody.
    pub payee: Option<Address>,
    /// When it ends, Unix seconds; `None` is never.
    pub expires: Option<u64>,
}

/// Why a chain is nothing to spend from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Not a chain that ends in a root.
    #[error("the delegations do not form a chain; ask for a new permission")]
    NotLinked,
    /// A caveat that cannot be read.
    #[error(transparent)]
    Caveat(#[from] CaveatError),
    /// Nothing limits how much of which token may move.
    #[error(
        "nothing in the permission limits how much of which token may move; ask for one that does"
    )]
    Unlimited,
    /// Two tokens at once: nothing can be paid.
    #[error("the permission is for two tokens at once; ask for one for a single token")]
    TwoAssets,
    /// Two payees at once: nobody can be paid.
    #[error("the permission is for two payees at once; ask for one for a single payee")]
    TwoPayees,
    /// Anybody may spend it.
    #[error(
        "anybody may spend this permission, since it is open; ask for one for the session account alone"
    )]
    Open,
}

impl Grant {
    /// Reads a chain, leaf first.
    ///
    /// # Errors
    /// [`GrantError`]; [`GrantError::Open`] for a chain with an open link: whoever
    /// sees it can spend it. A redeemer caveat does not close it, since a facilitator
    /// redeems for whoever asks.
    pub fn of(chain: &[Delegation]) -> Result<Self, GrantError> {
        let (Some(leaf), Some(root)) = (chain.first(), chain.last()) else {
            return Err(GrantError::NotLinked);
        };
        if !is_linked(chain) {
            return Err(GrantError::NotLinked);
        }
        let mut read = Read::default();
        for caveat in chain.iter().flat_map(|link| &link.caveats) {
            read.take(CaveatTerms::decode(caveat.enforcer, &caveat.terms)?)?;
        }
        if chain.iter().any(Delegation::is_open) {
            return Err(GrantError::Open);
        }
        Ok(Self {
            payer: root.delegator,
            session: leaf.delegate,
            asset: read.asset.ok_or(GrantError::Unlimited)?,
            allowances: read.allowances,
            redeemers: read.redeemers,
            payee: read.payee,
            expires: read.expires,
        })
    }

    /// Most that one payment can move.
    #[must_use]
    pub fn most(&self) -> U256 {
        let all = self.allowances.iter().map(Allowance::most);
        all.min().unwrap_or_default()
    }
}

#[derive(Default)]
struct Read {
    asset: Option<Address>,
    allowances: Vec<Allowance>,
    redeemers: Option<Vec<Address>>,
    payee: Option<Address>,
    expires: Option<u64>,
}

impl Read {
    fn take(&mut self, terms: CaveatTerms) -> Result<(), GrantError> {
        match terms {
            CaveatTerms::TransferAmount { token, most } => {
                self.allow(token, Allowance::Total(most))?;
            }
            CaveatTerms::PeriodTransfer {
                token,
                amount,
                duration,
                start,
            } => self.allow(
                token,
                Allowance::Period {
                    amount,
                    duration,
                    start,
                },
            )?,
            CaveatTerms::Streaming {
                token,
                initial,
                most,
                per_second,
                start,
            } => self.allow(
                token,
                Allowance::Stream {
                    initial,
                    most,
                    per_second,
                    start,
                },
            )?,
            CaveatTerms::Redeemer(all) => match &mut self.redeemers {
                Some(known) => known.retain(|one| all.contains(one)),
                None => self.redeemers = Some(all),
            },
            CaveatTerms::Timestamp { before, .. } if before > 0 => {
                let before = u64::try_from(before).unwrap_or(u64::MAX);
                let known = self.expires.unwrap_or(u64::MAX);
                self.expires = Some(known.min(before));
            }
            CaveatTerms::AllowedCalldata { start, value } => self.call(start, &value)?,
            _ => {}
        }
        Ok(())
    }

    fn allow(&mut self, token: Address, allowance: Allowance) -> Result<(), GrantError> {
        if self.asset.is_some_and(|known| known != token) {
            return Err(GrantError::TwoAssets);
        }
        self.asset = Some(token);
        self.allowances.push(allowance);
        Ok(())
    }

    /// The rule that names the payee.
    fn call(&mut self, start: U256, value: &[u8]) -> Result<(), GrantError> {
        let word: Option<[u8; 32]> = value.try_into().ok();
        let Some(word) = word.filter(|word| start == U256::from(4) && word.starts_with(&[0; 12]))
        else {
            return Ok(());
        };
        let payee = Address::from_slice(&word[12..]);
        if self.payee.is_some_and(|known| known != payee) {
            return Err(GrantError::TwoPayees);
        }
        self.payee = Some(payee);
        Ok(())
    }
}
