//! A policy as its owner writes it: one TOML file for one agent.
//!
//! The file is the owner's: nothing that an agent or a server can reach writes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tollway_core::assets::AssetTable;
use tollway_core::{Address, Network, Scheme};

use crate::budget::Budget;
use crate::hosts::HostPattern;
use crate::method::PayMethod;
use crate::policy::{MAX_LIFETIME, Policy};
use crate::price::UnitPrice;

/// A policy file; unknown keys are refused. Amounts are whole units of any dollar
/// asset, as text: `"0.05"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyFile {
    /// Hosts that may be paid: `api.example.com`, `*.example.com`; empty: any.
    pub hosts: Vec<String>,
    /// Networks that may be paid on, the preferred one first; empty: any.
    pub networks: Vec<String>,
    /// Assets that may be paid with, by symbol or contract; empty: all of our table.
    pub assets: Vec<String>,
    /// Accounts that may be paid; empty: any.
    pub payees: Vec<String>,
    /// Whether the payee that was paid first at a host is the only one paid there.
    pub pin_payees: bool,
    /// `HOST=ACCOUNT`: who may be paid there in spite of that.
    pub consents: Vec<String>,
    /// Schemes that may be paid by; empty: any.
    pub schemes: Vec<String>,
    /// Ways that may be paid by, the preferred one first; empty: any.
    pub methods: Vec<String>,
    /// How many times the last price of the same host and path a price may be, such
    /// as `"3"` or `"1.5"`; `"any"` for no bound.
    pub max_price_rise: String,
    /// How long an authorization may live, seconds, 900 at most.
    pub lifetime_seconds: u64,
    /// Whether plain HTTP to other machines may be paid over.
    pub allow_http: bool,
    /// How much.
    pub limits: LimitsFile,
}

/// The table `limits`. What is missing has no limit, but a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsFile {
    /// What one call may cost.
    pub per_call: String,
    /// Within 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_day: Option<String>,
    /// For ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// For ever, at one host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_host: Option<String>,
    /// Within 24 hours, at one host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_host_day: Option<String>,
    /// For ever, to one payee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_payee: Option<String>,
    /// Within 24 hours, to one payee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_payee_day: Option<String>,
}

/// What is wrong with a policy file; it ends with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyFileError(String);

impl Default for PolicyFile {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            networks: Vec::new(),
            assets: Vec::new(),
            payees: Vec::new(),
            pin_payees: true,
            consents: Vec::new(),
            schemes: Vec::new(),
            methods: Vec::new(),
            max_price_rise: "3".to_owned(),
            lifetime_seconds: 300,
            allow_http: false,
            limits: LimitsFile::default(),
        }
    }
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self {
            per_call: "0.10".to_owned(),
            per_day: None,
            total: None,
            per_host: None,
            per_host_day: None,
            per_payee: None,
            per_payee_day: None,
        }
    }
}

impl PolicyFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong with it, with the line.
    pub fn parse(text: &str) -> Result<Self, PolicyFileError> {
        toml::from_str(text)
            .map_err(|error| PolicyFileError(format!("{error}correct that line of the policy.")))
    }

    /// The text of a file.
    ///
    /// # Errors
    /// If it cannot be written as TOML.
    pub fn to_text(&self) -> Result<String, PolicyFileError> {
        toml::to_string_pretty(self).map_err(|error| {
            PolicyFileError(format!("The policy cannot be written: {error}; report it."))
        })
    }

    /// The checked policy, over the assets that are known.
    ///
    /// # Errors
    /// The first value that makes no sense.
    pub fn policy(&self, known: &AssetTable) -> Result<Policy, PolicyFileError> {
        let networks = all("networks", &self.networks, Network::resolve)?;
        Ok(Policy {
            max_per_call: price("limits.per_call", &self.limits.per_call)?,
            methods: match self.methods.is_empty() {
                true => PayMethod::ALL.to_vec(),
                false => all("methods", &self.methods, |text| text.parse::<PayMethod>())?,
            },
            schemes: all("schemes", &self.schemes, |text| {
                Scheme::from_wire(text).ok_or("it is not exact, upto or batch-settlement")
            })?,
            hosts: all("hosts", &self.hosts, |text| text.parse::<HostPattern>())?,
            payees: all("payees", &self.payees, account)?,
            consents: all("consents", &self.consents, consent)?,
            assets: self.assets(known, &networks)?,
            budget: self.limits.budget()?,
            pin_payees: self.pin_payees,
            max_rise_percent: rise(&self.max_price_rise)?,
            max_lifetime: self.lifetime()?,
            allow_insecure: self.allow_http,
            networks,
            ..Policy::default()
        })
    }

    fn lifetime(&self) -> Result<Duration, PolicyFileError> {
        let lifetime = Duration::from_secs(self.lifetime_seconds);
        match lifetime.is_zero() || lifetime > MAX_LIFETIME {
            false => Ok(lifetime),
            true => Err(wrong(
                "lifetime_seconds",
                &self.lifetime_seconds.to_string(),
                "it is not from 1 to 900",
            )),
        }
    }

    /// The rows of our own table that were named, on the networks that were named.
    fn assets(&self, known: &AssetTable, on: &[Network]) -> Result<AssetTable, PolicyFileError> {
        let mut table = AssetTable::empty();
        for asset in known.iter() {
            let is_named = self.assets.iter().any(|text| {
                asset.symbol.eq_ignore_ascii_case(text) || asset.spelling.eq_ignore_ascii_case(text)
            });
            let is_there = on.is_empty() || on.contains(&asset.network);
            if (is_named || self.assets.is_empty()) && is_there {
                table = table.with(asset.clone());
            }
        }
        for text in &self.assets {
            let is_known = table.iter().any(|asset| {
                asset.symbol.eq_ignore_ascii_case(text) || asset.spelling.eq_ignore_ascii_case(text)
            });
            if !is_known {
                return Err(wrong(
                    "assets",
                    text,
                    "no known asset of these networks has that name",
                ));
            }
        }
        Ok(table)
    }
}

impl LimitsFile {
    fn budget(&self) -> Result<Budget, PolicyFileError> {
        let read = |key, text: &Option<String>| {
            let read = text.as_deref().map(|text| price(key, text));
            read.transpose()
        };
        Ok(Budget {
            total: read("limits.total", &self.total)?,
            per_day: read("limits.per_day", &self.per_day)?,
            per_host: read("limits.per_host", &self.per_host)?,
            per_host_day: read("limits.per_host_day", &self.per_host_day)?,
            per_payee: read("limits.per_payee", &self.per_payee)?,
            per_payee_day: read("limits.per_payee_day", &self.per_payee_day)?,
        })
    }
}

fn wrong(key: &str, text: &str, why: impl std::fmt::Display) -> PolicyFileError {
    let text: String = text.chars().take(80).collect();
    PolicyFileError(format!(
        "`{text}` is wrong for `{key}`: {why}; correct the policy."
    ))
}

fn all<T, E: std::fmt::Display>(
    key: &str,
    texts: &[String],
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, PolicyFileError> {
    let read = |text: &String| read(text).map_err(|error| wrong(key, text, error));
    texts.iter().map(read).collect()
}

fn price(key: &str, text: &str) -> Result<UnitPrice, PolicyFileError> {
    text.parse().map_err(|error| wrong(key, text, error))
}

/// An account of whatever family: those of EVM networks have 40 digits.
fn account(text: &str) -> Result<Address, String> {
    let family = match text.trim_start_matches("0x").len() {
        40 => "base",
        _ => "starknet",
    };
    let network = Network::resolve(family).map_err(|error| error.to_string())?;
    network.address(text).map_err(|error| error.to_string())
}

fn consent(text: &str) -> Result<(HostPattern, Address), String> {
    let (host, payee) = text.split_once('=').ok_or("it is not HOST=ACCOUNT")?;
    let host: HostPattern = host.parse().map_err(|error| format!("{error}"))?;
    Ok((host, account(payee)?))
}

/// `1.5` is 150 hundredths.
fn rise(text: &str) -> Result<Option<u32>, PolicyFileError> {
    let bad = || {
        wrong(
            "max_price_rise",
            text,
            "it is neither a number such as 1.5, from 1 to 10000, nor `any`",
        )
    };
    if text == "any" {
        return Ok(None);
    }
    let factor: tollway_core::money::Decimal = text.parse().map_err(|_| bad())?;
    let percent = factor.to_atomic(2).and_then(|atomic| atomic.as_u128());
    let percent = percent.and_then(|percent| u32::try_from(percent).ok());
    match percent.filter(|percent| (100..=1_000_000).contains(percent)) {
        Some(percent) => Ok(Some(percent)),
        None => Err(bad()),
    }
}
