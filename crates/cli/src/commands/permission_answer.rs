//! What a wallet answered, against what it was asked.
//!
//! A wallet says what it granted and hands over what it signed. Only what it signed
//! counts: the chain is decoded and each of its conditions compared with the wish.
//! What is wider than the wish, or lacks a rule of it, is shown and refused unless
//! the person at the terminal accepts it; an open grant is refused in any case.

use alloy_primitives::{Address, Bytes, U256, address};
use serde::Deserialize;
use serde_json::Value;
use tollway_core::{Network, Wallet, WalletError, codes};
use tollway_evm::delegation::{
    Allowance, DELEGATION_MANAGER, Dependency, Grant, GrantError, MAX_DEPENDENCIES,
    MAX_FACTORY_DATA, decode_context, unwrap_chain,
};
use tollway_evm::{DelegatorCode, EvmSigner, EvmWallet};

use super::permission::{Wish, wallet_failed};
use crate::cli::PermissionRequestArgs;
use crate::exit::{Exit, Failure};
use crate::permissions::Permission;
use crate::{keys, wiring};

/// The framework's own factory of smart accounts.
const SIMPLE_FACTORY: Address = address!("69Aa2f9fe1572F1B640E1bbc512f5c3a734fc77c");
/// By so much the wallet's clock may be behind ours.
const START_SKEW_SECONDS: u64 = 60;

/// An answer, and what it is compared with.
pub struct Answer<'a> {
    /// As the page handed it over.
    pub said: &'a Value,
    /// What was asked.
    pub wish: &'a Wish,
    /// The session account's key.
    pub session: EvmSigner,
    /// The session account.
    pub account: Address,
    /// Whether changes are accepted.
    pub accept: bool,
    /// Factories that may deploy an account, beside the framework's own.
    pub factories: &'a [String],
}

/// A permission, and what must be deployed before it can be spent.
pub struct Granted {
    /// What can be spent.
    pub permission: Permission,
    payer: Address,
}

/// One entry of what `wallet_requestExecutionPermissions` answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    chain_id: Value,
    to: Address,
    #[serde(default)]
    from: Option<Address>,
    context: Bytes,
    delegation_manager: Address,
    #[serde(default)]
    dependencies: Vec<Dependency>,
}

/// How what was granted differs from what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// It allows more, or a rule is missing.
    Wider(String),
    /// It allows less.
    Narrower(String),
}

/// Reads an answer.
///
/// # Errors
/// A failure with the code of the step that went wrong.
pub fn read(answer: Answer<'_>) -> Result<Granted, Failure> {
    if let Some(error) = answer.said.get("error") {
        return Err(declined(error));
    }
    let entries = answer.said.get("granted").and_then(Value::as_array);
    let [entry] = entries.map_or(&[][..], Vec::as_slice) else {
        return Err(unread("it holds not one permission"));
    };
    let entry = Entry::deserialize(entry).map_err(|e| unread(&e.to_string()))?;
    let (wish, network) = (answer.wish, answer.wish.setting.network.clone());
    if entry.delegation_manager != DELEGATION_MANAGER {
        return Err(unread("its delegation manager is not the published one"));
    }
    if number(&entry.chain_id) != network.chain_id() || entry.to != answer.account {
        return Err(unread("it is for another network or another account"));
    }
    let mut chain = decode_context(&entry.context).map_err(|e| unread(&e.to_string()))?;
    // By EIP-6492 a signature says itself what must be deployed.
    let mut dependencies = entry.dependencies;
    for one in unwrap_chain(&mut chain) {
        if !dependencies.contains(&one) {
            dependencies.push(one);
        }
    }
    let grant = Grant::of(&chain).map_err(|error| match error {
        GrantError::Open => Failure::coded(
            Exit::Failed,
            codes::PERMISSION_OPEN,
            "The wallet left out the redeemers, so anybody could spend the permission; ask another wallet.",
        ),
        other => unread(&other.to_string()),
    })?;
    if grant.session != answer.account {
        return Err(unread("it is delegated to another account"));
    }
    if entry.from.is_some_and(|from| from != grant.payer) {
        return Err(unread("it names another payer than it is signed for"));
    }
    if wish.asset.spelling.parse() != Ok(grant.asset) {
        return Err(unread("it is for another asset"));
    }
    weigh(&changes(wish, &grant), answer.accept)?;
    check_factories(&dependencies, answer.factories)?;
    Ok(Granted {
        payer: grant.payer,
        permission: Permission {
            network,
            manager: entry.delegation_manager,
            session: answer.session,
            account: answer.account,
            chain,
            dependencies,
        },
    })
}

/// Shows every change; the first that weighs decides the code.
fn weigh(changes: &[Change], accept: bool) -> Result<(), Failure> {
    for change in changes {
        match change {
            Change::Wider(words) => eprintln!("wider than asked: {words}"),
            Change::Narrower(words) => eprintln!("less than asked: {words}"),
        }
    }
    let wider = changes.iter().find_map(|change| match change {
        Change::Wider(words) => Some((codes::PERMISSION_WEAKER, words)),
        Change::Narrower(_) => None,
    });
    let narrower = changes.first().map(|change| match change {
        Change::Wider(words) | Change::Narrower(words) => (codes::PERMISSION_ADJUSTED, words),
    });
    match wider.or(narrower).filter(|_| !accept) {
        None => Ok(()),
        Some((code, words)) => Err(Failure::coded(
            Exit::Failed,
            code,
            format!(
                "What was granted is not what was asked: {words}; ask again, or take it as it is with --accept-changes."
            ),
        )),
    }
}

/// Everything in which a grant differs from the wish.
fn changes(wish: &Wish, grant: &Grant) -> Vec<Change> {
    let mut changes = Vec::new();
    changes.extend(allowance_change(&wish.allowance(), &grant.allowances));
    match grant.expires {
        None => changes.push(Change::Wider("it never ends".to_owned())),
        Some(end) if end > wish.expires => {
            changes.push(Change::Wider(format!(
                "it ends at {end}, not at {}",
                wish.expires
            )));
        }
        Some(end) if end < wish.expires => {
            changes.push(Change::Narrower(format!(
                "it ends at {end}, not at {}",
                wish.expires
            )));
        }
        Some(_) => {}
    }
    match &grant.redeemers {
        None => changes.push(Change::Wider("it names no redeemers".to_owned())),
        Some(all) if all.iter().any(|one| !wish.redeemers.contains(one)) => {
            changes.push(Change::Wider("others may redeem it".to_owned()));
        }
        Some(all) if wish.redeemers.iter().any(|one| !all.contains(one)) => {
            changes.push(Change::Narrower("fewer may redeem it".to_owned()));
        }
        Some(_) => {}
    }
    match (wish.payee, grant.payee) {
        (Some(_), None) => changes.push(Change::Wider("it pays anybody".to_owned())),
        (wished, Some(payee)) if wished != Some(payee) => {
            let words = format!("it pays {payee} only");
            changes.push(match wished {
                Some(_) => Change::Wider(words),
                None => Change::Narrower(words),
            });
        }
        _ => {}
    }
    changes
}

/// The allowance, if it is another one. Of several in a chain each holds.
fn allowance_change(wished: &Allowance, granted: &[Allowance]) -> Option<Change> {
    let mut in_time = granted.iter().filter(|one| !has_grown(wished, one));
    if in_time.clone().any(|one| same(wished, one)) {
        return None;
    }
    let words = format!("the allowance is {granted:?}, not {wished:?}");
    let covered = in_time.any(|one| covers(wished, one));
    Some(match covered {
        true => Change::Narrower(words),
        false => Change::Wider(words),
    })
}

/// Whether two allowances are the same but for when they begin: wallets may begin
/// later than asked.
fn same(wished: &Allowance, granted: &Allowance) -> bool {
    covers(wished, granted) && covers(granted, wished)
}

/// Whether a stream began before it was asked to: then it has grown by now.
fn has_grown(wished: &Allowance, granted: &Allowance) -> bool {
    match (wished, granted) {
        (Allowance::Stream { start, .. }, Allowance::Stream { start: sooner, .. }) => {
            sooner.saturating_add(U256::from(START_SKEW_SECONDS)) < *start
        }
        _ => false,
    }
}

/// Whether one allows at least what another does.
fn covers(one: &Allowance, other: &Allowance) -> bool {
    match (one, other) {
        (
            Allowance::Period {
                amount, duration, ..
            },
            Allowance::Period {
                amount: less,
                duration: longer,
                ..
            },
        ) => amount >= less && duration <= longer,
        (Allowance::Period { amount, .. }, Allowance::Total(most)) => amount >= most,
        (
            Allowance::Stream {
                initial,
                most,
                per_second,
                ..
            },
            Allowance::Stream {
                initial: first,
                most: all,
                per_second: slower,
                ..
            },
        ) => initial >= first && most >= all && per_second >= slower,
        (Allowance::Total(most), Allowance::Total(less)) => most >= less,
        (Allowance::Total(most), Allowance::Stream { most: all, .. }) => most >= all,
        (
            Allowance::Total(most),
            Allowance::Period {
                amount, duration, ..
            },
        ) => most >= amount && *duration == U256::MAX,
        _ => false,
    }
}

/// An account that is deployed before the first payment, by whom it is allowed.
fn check_factories(dependencies: &[Dependency], allowed: &[String]) -> Result<(), Failure> {
    let allowed: Vec<Address> = allowed
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let good = |factory: &Address| *factory == SIMPLE_FACTORY || allowed.contains(factory);
    let other = dependencies.iter().find(|one| !good(&one.factory));
    let fits = |one: &Dependency| one.factory_data.len() <= MAX_FACTORY_DATA;
    let few = dependencies.len() <= MAX_DEPENDENCIES && dependencies.iter().all(fits);
    match other {
        None if few => Ok(()),
        None => Err(unread("it deploys too much")),
        Some(one) => Err(Failure::coded(
            Exit::Failed,
            codes::PERMISSION_FACTORY,
            format!(
                "The payer's account must be deployed first, by {}, which is not an allowed factory; allow it with --factory if you trust it.",
                one.factory
            ),
        )),
    }
}

impl Granted {
    /// Deploys what the grant depends on, where it is not there yet and somebody pays
    /// for it. Without that each payment says what must be deployed, and the seller's
    /// facilitator does it if it allows the factory.
    pub async fn deploy(
        &mut self,
        wish: &Wish,
        args: &PermissionRequestArgs,
    ) -> Result<(), Failure> {
        if self.permission.dependencies.is_empty() {
            return Ok(());
        }
        let Some(path) = &args.deployer_key_file else {
            told_with_payments(self.payer);
            return Ok(());
        };
        let network = &self.permission.network;
        let node = wiring::node(&wish.setting, args.wish.allow_http)?;
        let wallet = EvmWallet::new(keys::signer_from_file(path)?).with_node(network.clone(), node);
        deploy(&wallet, network, self.payer, &self.permission.dependencies).await?;
        self.permission.dependencies.clear();
        Ok(())
    }
}

/// Says what becomes of an account that nobody deploys now.
pub fn told_with_payments(payer: Address) {
    eprintln!(
        "{payer} is not deployed yet: the first payment asks the seller's facilitator to do it, which it does for factories that it allows. To do it now, name an account that pays the gas with --deployer-key-file."
    );
}

/// Has factories deploy a payer's account, where it is not there yet.
pub async fn deploy(
    wallet: &EvmWallet,
    network: &Network,
    payer: Address,
    dependencies: &[Dependency],
) -> Result<(), Failure> {
    for one in dependencies {
        let code = wallet.delegator_code(network, payer).await;
        if code.map_err(|error| wallet_failed(&error))? != DelegatorCode::None {
            return Ok(());
        }
        let raw = wallet
            .deploy(network, one.factory, one.factory_data.clone())
            .await;
        let raw = raw.map_err(|error| wallet_failed(&error))?;
        eprintln!("Deploying {payer}: transaction {}", raw.hash);
        let sent = wallet.broadcast(network, &raw).await;
        sent.map_err(|error| wallet_failed(&WalletError::Chain(error)))?;
    }
    let code = wallet.delegator_code(network, payer).await;
    match code.map_err(|error| wallet_failed(&error))? {
        DelegatorCode::None => Err(Failure::coded(
            Exit::Failed,
            codes::PERMISSION_FACTORY,
            format!(
                "{payer} is still not there: the factory deployed another account; ask for the factory and the call of this one."
            ),
        )),
        _ => Ok(()),
    }
}

/// What the page could not bring about.
fn declined(error: &Value) -> Failure {
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    let said = crate::story::printable(text("message"));
    let (code, words) = match text("code") {
        "denied" => (
            codes::PERMISSION_DENIED,
            "The person declined; ask again if that was not meant",
        ),
        "unsupported" => (
            codes::PERMISSION_UNSUPPORTED,
            "The wallet does not grant such permissions on this network; use another wallet, or `tollway permission grant`",
        ),
        _ => (codes::PERMISSION_ANSWER, "The wallet failed; ask again"),
    };
    let words = match said.is_empty() {
        true => format!("{words}."),
        false => format!("{words} (it said: {said})."),
    };
    Failure::coded(Exit::Failed, code, words)
}

fn unread(why: &str) -> Failure {
    Failure::coded(
        Exit::Failed,
        codes::PERMISSION_ANSWER,
        format!("What the wallet granted cannot be used: {why}; revoke it there and ask again."),
    )
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => u64::from_str_radix(text.strip_prefix("0x")?, 16).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(start: u64) -> Allowance {
        Allowance::Stream {
            initial: U256::ZERO,
            most: U256::from(10_000_000),
            per_second: U256::from(1_000),
            start: U256::from(start),
        }
    }

    #[test]
    fn a_stream_that_began_before_it_was_asked_for_is_wider() {
        let wished = stream(1_000_000);
        for as_asked in [1_000_000, 999_970, 1_000_060] {
            assert!(allowance_change(&wished, &[stream(as_asked)]).is_none());
        }
        for before in [1, 999_000] {
            let change = allowance_change(&wished, &[stream(before)]);
            assert!(matches!(change, Some(Change::Wider(_))), "{before}");
        }
        // Of several conditions each holds: one of them is as it was asked.
        assert!(allowance_change(&wished, &[stream(1), stream(1_000_000)]).is_none());
    }
}
