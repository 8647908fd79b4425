//! What is done on EVM networks beside settling: an account without rights that
//! pays for what payers need done first, and settlers of payees.

use std::path::Path;
use std::sync::Arc;

use alloy_primitives::Address;
use tollway_core::SystemClock;
use tollway_core::money::Decimal;
use tollway_evm::HelperAccount;
use tollway_ledger::{DailyPurse, Store};

use crate::exit::Failure;
use crate::keys;

/// What is done on a chain beside settling; nothing by default.
#[derive(Clone, Default)]
pub struct Beside {
    /// Who pays for what payers need done first.
    pub helper: Option<HelperAccount>,
    /// Contracts that may deploy paying wallets.
    pub wallet_factories: Vec<Address>,
    /// Payees whose missing settlers are deployed.
    pub settler_payees: Vec<Address>,
}

/// What the flags say of it.
pub struct Help<'a> {
    /// The key of the account without rights.
    pub key_file: Option<&'a Path>,
    /// What it may spend a day, in a network's coin.
    pub max_per_day: Option<&'a str>,
    /// Contracts that may deploy paying wallets.
    pub wallet_factories: &'a [String],
    /// Payees whose settlers are deployed.
    pub settlers_for: Vec<&'a str>,
}

/// What helping may cost a day, unless it is said.
const HELP_PER_DAY: &str = "0.01";
/// Of that, one payer's part.
const HELP_PARTS: u64 = 10;

impl Help<'_> {
    /// Reads and checks it; the budget is kept in the ledger.
    pub fn read(&self, ledger: &Store) -> Result<Beside, Failure> {
        let addresses = |texts: &mut dyn Iterator<Item = &str>, flag: &str| {
            texts
                .map(|text| {
                    text.parse().map_err(|_| {
                        Failure::usage(format!("{flag}: `{text}` is no address; correct it."))
                    })
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let mut factories = self.wallet_factories.iter().map(String::as_str);
        let mut payees = self.settlers_for.iter().copied();
        let beside = Beside {
            helper: self.helper(ledger)?,
            wallet_factories: addresses(&mut factories, "--wallet-factory")?,
            settler_payees: addresses(&mut payees, "--settler-for")?,
        };
        if beside.helper.is_none() && !beside.wallet_factories.is_empty() {
            return Err(Failure::usage(
                "--wallet-factory deploys nothing without an account that pays for it; add --helper-key-file.",
            ));
        }
        Ok(beside)
    }

    fn helper(&self, ledger: &Store) -> Result<Option<HelperAccount>, Failure> {
        let Some(file) = self.key_file else {
            return match self.max_per_day {
                None => Ok(None),
                Some(_) => Err(Failure::usage(
                    "--max-help-per-day is there and nobody who helps; add --helper-key-file.",
                )),
            };
        };
        let text = self.max_per_day.unwrap_or(HELP_PER_DAY);
        let per_day = text.parse::<Decimal>().ok().and_then(|d| d.to_atomic(18));
        let per_day = per_day.ok_or_else(|| {
            Failure::usage(format!(
                "--max-help-per-day: `{text}` is no amount of a coin; write for example 0.01."
            ))
        })?;
        let per_payer = per_day.share(1, HELP_PARTS).unwrap_or_default();
        let clock = Arc::new(SystemClock);
        Ok(Some(HelperAccount {
            signer: keys::signer_from_file(file)?.into(),
            purse: Arc::new(DailyPurse::new(ledger.clone(), clock, per_day, per_payer)),
        }))
    }
}
