//! `tollway permission`: allowances that somebody's wallet grants to a session
//! account of ours.

use std::path::Path;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use serde_json::json;
use tollway_core::assets::{AssetInfo, AssetTable};
use tollway_core::money::Decimal;
use tollway_core::{Amount, Clock, Network, SystemClock, WalletError, codes};
use tollway_evm::EvmSigner;
use tollway_evm::delegation::{Allowance, Grant};
use tollway_payer::{PayMethod, Payer, Policy};

use crate::assets;
use crate::cli::{PermissionArgs, PermissionCommand};
use crate::commands::pay;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::keys::{self, Keystore};
use crate::permissions::{Facts, Permission, Permissions};
use crate::routes::parse_time;
use crate::wiring::{self, NetworkSetting};

/// What a permission lasts where nothing is said.
const LASTS: Duration = Duration::from_secs(60 * 60);
/// A permission begins a little earlier, for clocks that are behind ours.
const BACKDATE: u64 = 60;

/// Runs it.
pub async fn run(command: PermissionCommand, environment: &Environment) -> Result<Exit, Failure> {
    match command {
        PermissionCommand::Request(args) => {
            super::permission_request::request(args, environment).await
        }
        PermissionCommand::Grant(args) => super::permission_grant::grant(args, environment).await,
        PermissionCommand::List { json } => {
            let table = assets::table(&[], environment)?;
            list(&permissions(environment)?, &table, json)
        }
        PermissionCommand::Revoke(args) => {
            super::permission_revoke::revoke(args, environment).await
        }
    }
}

/// The permissions of the home directory.
pub fn permissions(environment: &Environment) -> Result<Permissions, Failure> {
    Permissions::open(&environment.home()?)
}

/// What is asked for, by flags or by the terms of a resource.
pub struct Wish {
    /// Where, with a node if one was named.
    pub setting: NetworkSetting,
    /// What.
    pub asset: AssetInfo,
    /// How much, in all or in each period.
    pub amount: Amount,
    /// Seconds of a period.
    pub period: Option<u64>,
    /// What each second adds, up to the amount.
    pub per_second: Option<Amount>,
    /// When it begins, Unix seconds.
    pub starts: u64,
    /// When it ends, Unix seconds.
    pub expires: u64,
    /// Who may redeem it.
    pub redeemers: Vec<Address>,
    /// Who alone is paid.
    pub payee: Option<Address>,
}

impl Wish {
    /// Reads the flags, and the terms of the resource where one is named.
    pub async fn read(args: &PermissionArgs, environment: &Environment) -> Result<Self, Failure> {
        let settings = wiring::networks(std::slice::from_ref(&args.network), environment)?;
        let setting = settings.into_iter().next();
        let setting = setting.ok_or_else(|| Failure::usage("--network is missing; add it."))?;
        let terms = match &args.resource {
            Some(url) => Some(terms_of(url, &setting.network, args.allow_http).await?),
            None => None,
        };
        let table = assets::table(&[], environment)?;
        let asset = asset(args, &setting.network, terms.as_ref(), &table)?;
        let amount = match (&args.allowance, &terms) {
            (Some(text), _) => atomic(text, &asset)?,
            (None, Some(terms)) => terms.amount,
            (None, None) => return Err(missing("--allowance", "1.50")),
        };
        let per_second = args.per_second.as_deref();
        let per_second = per_second.map(|text| atomic(text, &asset)).transpose()?;
        let now = SystemClock.now().secs();
        let lasts = time(args.expires.as_deref(), "--expires")?.unwrap_or(LASTS);
        let named = || addresses(&args.redeemers, "--redeemer");
        let mut redeemers = match &terms {
            Some(terms) if args.redeemers.is_empty() => terms.redeemers.clone(),
            _ => named()?,
        };
        redeemers.sort_unstable();
        redeemers.dedup();
        if redeemers.is_empty() {
            return Err(missing("--redeemer", "0x… (a facilitator's account)"));
        }
        let payee = match &args.payee {
            Some(text) if text == "any" => None,
            Some(text) => addresses(std::slice::from_ref(text), "--payee")?.pop(),
            None => terms.as_ref().map(|terms| terms.pay_to),
        };
        Ok(Self {
            setting,
            asset,
            per_second,
            amount,
            period: time(args.period.as_deref(), "--period")?.map(|period| period.as_secs()),
            starts: now.saturating_sub(BACKDATE),
            expires: now.saturating_add(lasts.as_secs()),
            redeemers,
            payee,
        })
    }

    /// As a caveat says it: what has no period has one without end.
    pub fn allowance(&self) -> Allowance {
        if let Some(rate) = self.per_second {
            return Allowance::Stream {
                initial: U256::ZERO,
                most: self.amount.as_u256(),
                per_second: rate.as_u256(),
                start: U256::from(self.starts),
            };
        }
        Allowance::Period {
            amount: self.amount.as_u256(),
            duration: self.period.map_or(U256::MAX, U256::from),
            start: U256::from(self.starts),
        }
    }
}

impl Wish {
    /// `1.5 USDC every 86400 s`.
    pub fn words(&self) -> String {
        let amount = self.amount.to_decimal(self.asset.decimals);
        let how = match (self.per_second, self.period) {
            (Some(rate), _) => format!(
                ", growing by {} a second",
                rate.to_decimal(self.asset.decimals)
            ),
            (None, Some(period)) => format!(" every {period} s"),
            (None, None) => String::new(),
        };
        format!("{amount} {}{how}", self.asset.symbol)
    }

    /// What the page shows: names and values.
    pub fn lines(&self) -> serde_json::Value {
        let all = |accounts: &[Address]| {
            let texts: Vec<String> = accounts.iter().map(ToString::to_string).collect();
            texts.join(", ")
        };
        let payee = self
            .payee
            .map_or_else(|| "anybody".to_owned(), |payee| payee.to_string());
        json!([
            ["Allowance", self.words()],
            ["Network", self.setting.network.to_string()],
            ["Asset", self.asset.spelling],
            ["Paid to", payee],
            ["Redeemed by", all(&self.redeemers)],
            ["Ends", format!("Unix second {}", self.expires)],
        ])
    }
}

/// What a resource asks for, if it can be paid by a permission.
struct Asked {
    asset: String,
    amount: Amount,
    pay_to: Address,
    redeemers: Vec<Address>,
}

async fn terms_of(url: &str, network: &Network, allow_http: bool) -> Result<Asked, Failure> {
    let request = pay::request(url, None, &[], None)?;
    let policy = Policy {
        allow_insecure: allow_http,
        ..Policy::default()
    };
    let payer = Payer::builder().policy(policy).build();
    let payer = payer.map_err(|error| pay::failure(&error))?;
    let seen = payer.inspect(request).await;
    let seen = seen.map_err(|error| pay::failure(&error))?;
    let fits = |offer: &&tollway_payer::OfferView| {
        offer.method == Some(PayMethod::Erc7710) && offer.network == network.as_str()
    };
    let none = || {
        Failure::coded(
            Exit::RefusedByServer,
            codes::PERMISSION_NO_TERMS,
            format!(
                "{url} offers nothing that a permission pays on {network}; choose another network or way to pay."
            ),
        )
    };
    let offer = seen.offers.iter().find(fits).ok_or_else(none)?;
    let redeemers = addresses(&offer.redeemers, "the server's facilitatorAddresses")?;
    Ok(Asked {
        asset: offer.asset.clone(),
        amount: offer.amount.parse().map_err(|_| none())?,
        pay_to: offer.pay_to.parse().map_err(|_| none())?,
        redeemers,
    })
}

fn asset(
    args: &PermissionArgs,
    network: &Network,
    terms: Option<&Asked>,
    table: &AssetTable,
) -> Result<AssetInfo, Failure> {
    let by_address = |text: &str| {
        let address = network.address(text).ok()?;
        table.find(network, &address).cloned()
    };
    let by_name = |text: &str| by_address(text).or_else(|| table.by_symbol(network, text).cloned());
    let (named, found) = match (&args.asset, terms) {
        (Some(text), _) => (text.as_str(), by_name(text)),
        (None, Some(terms)) => (terms.asset.as_str(), by_address(&terms.asset)),
        (None, None) => ("USD", by_name("USD")),
    };
    found.ok_or_else(|| {
        Failure::usage(format!(
            "The asset {named} on {network} is not in the asset table; name one that is."
        ))
    })
}

fn atomic(text: &str, asset: &AssetInfo) -> Result<Amount, Failure> {
    let amount = text.parse::<Decimal>().ok();
    let amount = amount.and_then(|amount| amount.to_atomic(asset.decimals));
    amount.filter(|amount| !amount.is_zero()).ok_or_else(|| {
        Failure::usage(format!(
            "--allowance {text} is not an amount of {}; write for example 1.50.",
            asset.symbol
        ))
    })
}

fn time(text: Option<&str>, flag: &str) -> Result<Option<Duration>, Failure> {
    text.map(|text| {
        parse_time(text).ok_or_else(|| {
            Failure::usage(format!(
                "{flag} {text} is no time; write for example 1h, 7d or 30m."
            ))
        })
    })
    .transpose()
}

fn addresses(texts: &[String], what: &str) -> Result<Vec<Address>, Failure> {
    let read = |text: &String| {
        text.parse().map_err(|_| {
            Failure::usage(format!(
                "{what} {text} is no address; write 0x and 40 hex digits."
            ))
        })
    };
    texts.iter().map(read).collect()
}

fn missing(flag: &str, example: &str) -> Failure {
    Failure::usage(format!(
        "{flag} is missing; add {flag} {example}, or --resource URL to take it from the terms there."
    ))
}

/// Stores a permission, and says what it allows.
pub fn keep(
    store: &Permissions,
    name: &str,
    permission: &Permission,
    passphrase: &str,
    table: &AssetTable,
    json: bool,
) -> Result<Exit, Failure> {
    let facts = facts_of(permission)?;
    store.store(name, permission, &facts, passphrase)?;
    if json {
        println!("{}", json!({"name": name, "permission": facts}));
    } else {
        println!("{name}");
        eprintln!("{}", words(&facts, table));
        eprintln!("Pay with it: tollway pay URL --max AMOUNT --permission {name}");
    }
    Ok(Exit::Done)
}

/// What a permission's own chain says that it allows.
pub fn facts_of(permission: &Permission) -> Result<Facts, Failure> {
    let grant = Grant::of(&permission.chain)
        .map_err(|e| Failure::coded(Exit::Failed, codes::PERMISSION_UNUSABLE, e.to_string()))?;
    let texts = |all: &Vec<Address>| all.iter().map(ToString::to_string).collect();
    let period = grant
        .allowances
        .iter()
        .find_map(|allowance| match allowance {
            Allowance::Period { duration, .. } => u64::try_from(*duration).ok(),
            _ => None,
        });
    Ok(Facts {
        network: permission.network.to_string(),
        payer: grant.payer.to_string(),
        session: permission.account.to_string(),
        asset: grant.asset.to_string(),
        allowance: grant.most().to_string(),
        period,
        expires: grant.expires,
        redeemers: grant.redeemers.as_ref().map(texts),
        payee: grant.payee.map(|payee| payee.to_string()),
        manager: permission.manager.to_string(),
    })
}

pub(super) fn wallet_failed(error: &WalletError) -> Failure {
    match error {
        WalletError::Refused(refusal) => {
            Failure::coded(Exit::Failed, refusal.code(), refusal.message())
        }
        WalletError::Chain(error) => {
            tracing::debug!(?error, "the chain could not be asked");
            Failure::new(error)
        }
    }
}

fn list(store: &Permissions, table: &AssetTable, as_json: bool) -> Result<Exit, Failure> {
    let all = store.list()?;
    if as_json {
        let rows: Vec<_> = all
            .iter()
            .map(|one| json!({"name": one.name, "revoked": one.revoked, "permission": one.facts}))
            .collect();
        println!("{}", serde_json::Value::from(rows));
    } else if all.is_empty() {
        eprintln!(
            "There is no permission yet; ask for one with `tollway permission request` or `grant`."
        );
    } else {
        for one in all {
            let state = standing(&one.facts, one.revoked);
            println!("{}  {}{state}", one.name, words(&one.facts, table));
        }
    }
    Ok(Exit::Done)
}

fn standing(facts: &Facts, revoked: bool) -> &'static str {
    let now = SystemClock.now().secs();
    match (revoked, facts.expires) {
        (true, _) => ", revoked",
        (false, Some(end)) if end <= now => ", expired",
        _ => "",
    }
}

/// `1.5 USDC a day of 0x… on eip155:8453, to 0x…, until 1770000000`.
fn words(facts: &Facts, table: &AssetTable) -> String {
    let network: Option<Network> = facts.network.parse().ok();
    let info = network.and_then(|network| {
        let address = network.address(&facts.asset).ok()?;
        table.find(&network, &address)
    });
    let amount: Option<Amount> = facts.allowance.parse().ok();
    let amount = match (amount, info) {
        (Some(amount), Some(info)) => {
            format!("{} {}", amount.to_decimal(info.decimals), info.symbol)
        }
        _ => format!("{} units of {}", facts.allowance, facts.asset),
    };
    let period = facts
        .period
        .map_or_else(String::new, |seconds| format!(" every {seconds} s"));
    let payee = facts.payee.as_ref();
    let payee = payee.map_or_else(String::new, |payee| format!(", to {payee} only"));
    let end = facts
        .expires
        .map_or_else(String::new, |end| format!(", until {end}"));
    format!(
        "{amount}{period} of {} on {}{payee}{end}",
        facts.payer, facts.network
    )
}

/// The key that is named.
pub(super) fn owner(
    key_file: Option<&Path>,
    wallet: Option<&str>,
    environment: &Environment,
    passphrase: &str,
) -> Result<EvmSigner, Failure> {
    match (key_file, wallet) {
        (Some(path), _) => keys::signer_from_file(path),
        (None, Some(name)) => Keystore::open(&environment.home()?)?.unlock(name, passphrase),
        (None, None) => Err(Failure::usage(
            "Whose money? Add --key-file FILE or --wallet NAME.",
        )),
    }
}

/// The session account and its key: a fresh one where none is named.
pub(super) fn session(args: &PermissionArgs) -> Result<(EvmSigner, Address), Failure> {
    let key = match (&args.session_key_file, &args.session_account) {
        (Some(path), _) => keys::signer_from_file(path)?,
        (None, None) => EvmSigner::random()
            .map_err(|e| Failure::new(format!("No key can be drawn: {e}; try again.")))?,
        (None, Some(_)) => {
            return Err(Failure::usage(
                "Who signs for --session-account? Add --session-key-file FILE.",
            ));
        }
    };
    let account = match &args.session_account {
        Some(text) => account(text, "--session-account")?,
        None => key.address(),
    };
    Ok((key, account))
}

/// An account that a flag names.
pub(super) fn account(text: &str, flag: &str) -> Result<Address, Failure> {
    text.parse().map_err(|_| {
        Failure::usage(format!(
            "{flag} {text} is no address; write 0x and 40 hex digits."
        ))
    })
}
