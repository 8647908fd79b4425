//! What is known about sessions, here and on the chain.

use serde_json::{Value, json};
use tollway_core::{Clock, SystemClock};
use tollway_starknet::session::SessionStatus;
use tollway_starknet::{Felt, felt, selectors};

use super::owner::{number, public, token_of};
use super::sender::failed;
use super::store::{KeptSession, Token};
use super::{node, sessions};
use crate::environment::Environment;
use crate::exit::Failure;

/// Entry points whose names are shown.
const NAMED: [&str; 6] = [
    "transfer",
    "approve",
    "transfer_from",
    "increase_allowance",
    "mint",
    "swap",
];

async fn read(
    kept: &KeptSession,
    token: &Token,
    environment: &Environment,
) -> Result<SessionStatus, Failure> {
    let account = number(&kept.account)?;
    let contract = number(&token.contract)?;
    let rpc = node(kept, environment)?;
    SessionStatus::read(&rpc, account, public(kept)?, Some(contract))
        .await
        .map_err(failed)
}

/// Prints a session's standing.
pub async fn status(
    name: &str,
    warn_below: u32,
    as_json: bool,
    environment: &Environment,
) -> Result<(), Failure> {
    let kept = sessions(environment)?.read(name)?;
    let status = read(&kept, &kept.token, environment).await?;
    if as_json {
        println!("{}", described(name, &kept, &status));
    } else {
        tell(name, &kept, &status);
    }
    if is_active(&status) && status.warn_below(warn_below) {
        eprintln!(
            "tollway: session {name} has {} calls left; renew it with `tollway session renew {name}`.",
            status.data.calls_left()
        );
    }
    Ok(())
}

/// In one word.
fn standing(status: &SessionStatus) -> &'static str {
    let data = &status.data;
    match (data.valid_until, data.max_calls) {
        (0, 0) => "unknown",
        (0, _) => "revoked",
        _ if status.is_over(SystemClock.now()) => "expired",
        _ if data.calls_left() == 0 => "used_up",
        _ => "active",
    }
}

fn is_active(status: &SessionStatus) -> bool {
    standing(status) == "active"
}

fn described(name: &str, kept: &KeptSession, status: &SessionStatus) -> Value {
    let data = &status.data;
    json!({
        "name": name,
        "standing": standing(status),
        "network": kept.network,
        "account": kept.account,
        "publicKey": kept.key.public_key,
        "validUntil": data.valid_until,
        "maxCalls": data.max_calls,
        "callsUsed": data.calls_used,
        "callsLeft": data.calls_left(),
        "entrypoints": status.entrypoints.iter().map(entrypoint).collect::<Vec<_>>(),
        "policy": described_policy(&kept.token, status),
    })
}

fn described_policy(token: &Token, status: &SessionStatus) -> Value {
    let Some((policy, left)) = status.policy(SystemClock.now()) else {
        return Value::Null;
    };
    let units = |amount: tollway_core::Amount| amount.to_decimal(token.decimals);
    json!({
        "token": token.symbol,
        "contract": token.contract,
        "maxPerCall": units(policy.max_per_call),
        "maxPerWindow": units(policy.max_per_window),
        "windowSeconds": policy.window_seconds,
        "leftInWindow": units(left),
    })
}

fn tell(name: &str, kept: &KeptSession, status: &SessionStatus) {
    let data = &status.data;
    println!("{name}  {}", standing(status));
    println!("  account       {} on {}", kept.account, kept.network);
    println!("  key           {}", kept.key.public_key);
    println!("  valid until   {}", data.valid_until);
    println!(
        "  calls         {} of {} left",
        data.calls_left(),
        data.max_calls
    );
    let listed: Vec<String> = status.entrypoints.iter().map(entrypoint).collect();
    match listed.is_empty() {
        true => println!("  entry points  all but the account's own"),
        false => println!("  entry points  {}", listed.join(", ")),
    }
    tell_policy(&kept.token, status);
}

fn tell_policy(token: &Token, status: &SessionStatus) {
    match status.policy(SystemClock.now()) {
        None => println!("  policy        none for {}", token.symbol),
        Some((policy, left)) => println!(
            "  policy        {} {symbol} a call, {} {symbol} in {} s, of which {} {symbol} are left",
            policy.max_per_call.to_decimal(token.decimals),
            policy.max_per_window.to_decimal(token.decimals),
            policy.window_seconds,
            left.to_decimal(token.decimals),
            symbol = token.symbol
        ),
    }
}

fn entrypoint(selector: &Felt) -> String {
    let named = NAMED
        .into_iter()
        .find(|name| selectors::parse(name) == Some(*selector));
    named.map_or_else(|| felt::text(selector), str::to_owned)
}

/// Prints a session's policy.
pub async fn policy(
    name: &str,
    token: Option<&str>,
    as_json: bool,
    environment: &Environment,
) -> Result<(), Failure> {
    let kept = sessions(environment)?.read(name)?;
    let token = token_of(&kept, token, environment)?;
    let status = read(&kept, &token, environment).await?;
    match as_json {
        true => println!("{}", described_policy(&token, &status)),
        false => tell_policy(&token, &status),
    }
    Ok(())
}

/// Lists what is kept here; nobody is asked.
pub fn list(as_json: bool, environment: &Environment) -> Result<(), Failure> {
    let kept = sessions(environment)?.list()?;
    if as_json {
        let rows: Vec<Value> = kept
            .iter()
            .map(|(name, session)| {
                json!({
                    "name": name,
                    "network": session.network,
                    "account": session.account,
                    "publicKey": session.key.public_key,
                    "validUntil": session.key.valid_until,
                    "maxCalls": session.max_calls,
                    "maxPerCall": session.max_per_call.to_decimal(session.token.decimals),
                    "token": session.token.symbol,
                })
            })
            .collect();
        println!("{}", Value::from(rows));
    } else if kept.is_empty() {
        eprintln!("There is no session yet; make one with `tollway session create NAME`.");
    } else {
        for (name, session) in kept {
            println!(
                "{name}  {} calls of {} {} until {}  {} on {}",
                session.max_calls,
                session.max_per_call.to_decimal(session.token.decimals),
                session.token.symbol,
                session.key.valid_until,
                session.account,
                session.network
            );
        }
    }
    Ok(())
}
