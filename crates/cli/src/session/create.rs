//! Making, importing and exporting session keys.

use std::time::Duration;

use tollway_core::assets::{AssetInfo, AssetTable};
use tollway_core::money::Decimal;
use tollway_core::{Amount, Clock, Network, SystemClock};
use tollway_starknet::session::{KdfCost, Policy, SealedSession, SessionKey, salted};
use tollway_starknet::{Felt, Signer, StarkKey, felt, selectors};

use super::flags::{CreateArgs, ExportArgs, ImportArgs};
use super::store::{KeptSession, Token};
use super::{one_network, refused, sessions, time, unlock};
use crate::assets;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::keys;

/// Makes a session with a fresh key.
pub fn create(args: &CreateArgs, environment: &Environment) -> Result<(), Failure> {
    let lifetime = time(&args.lifetime, "--lifetime")?;
    let key = SessionKey::create(SystemClock.now(), lifetime).map_err(|r| refused(&r))?;
    keep(args, &key, lifetime, environment)
}

/// Makes a session with a key that exists.
pub fn import(args: &ImportArgs, environment: &Environment) -> Result<(), Failure> {
    let text = keys::read_private(&args.salted_file)?;
    let password = keys::secret(args.salted_password_file.as_deref(), false)?;
    let key: StarkKey = salted::import(text.trim(), &password).map_err(|r| refused(&r))?;
    let lifetime = time(&args.session.lifetime, "--lifetime")?;
    let end = SystemClock.now().plus(lifetime).secs();
    keep(
        &args.session,
        &SessionKey::new(key, end),
        lifetime,
        environment,
    )
}

/// Prints a session's key in the other format.
pub fn export(args: &ExportArgs, environment: &Environment) -> Result<(), Failure> {
    let session = sessions(environment)?.read(&args.name)?;
    let key = unlock(&session, args.passphrase_file.as_deref(), environment)?;
    let Signer::Session { key, .. } = key.signer() else {
        return Err(Failure::new(
            "The session holds no key; create another one.",
        ));
    };
    let password = keys::secret(args.salted_password_file.as_deref(), true)?;
    println!(
        "{}",
        salted::export(&key, &password).map_err(|r| refused(&r))?
    );
    eprintln!("This format protects little: keep the text as you would keep the key itself.");
    Ok(())
}

fn keep(
    args: &CreateArgs,
    key: &SessionKey,
    lifetime: Duration,
    environment: &Environment,
) -> Result<(), Failure> {
    let sessions = sessions(environment)?;
    sessions.check_free(&args.name)?;
    let setting = one_network(&args.network, environment)?;
    let table = assets::table(&args.add_assets, environment)?;
    let token = token(&table, &setting.network, args.token.as_deref())?;
    let max_per_call = amount(&args.max_per_call, &token, "--max-per-call")?;
    Policy::for_session(max_per_call, args.max_calls, lifetime.as_secs())
        .filter(|policy| !policy.max_per_window.is_zero())
        .ok_or_else(|| {
            Failure::usage(
                "--max-calls and --max-per-call allow nothing, or too much; correct them.",
            )
        })?;
    let account = setting
        .network
        .address(&args.account)
        .map_err(|e| Failure::usage(format!("--account: {e}.")))?;
    let passphrase = keys::passphrase(args.passphrase_file.as_deref(), environment, true)?;
    let session = KeptSession {
        rpc: setting.rpc.iter().map(ToString::to_string).collect(),
        allow_http: args.allow_http,
        account: account.to_string(),
        token,
        max_calls: args.max_calls,
        max_per_call,
        entrypoints: entrypoints(args)?,
        lifetime_seconds: lifetime.as_secs(),
        key: SealedSession::seal(key, &passphrase, KdfCost::Interactive)
            .map_err(|r| refused(&r))?,
        network: setting.network,
    };
    sessions.keep(&args.name, &session)?;
    println!("{}", felt::text(&key.public()));
    eprintln!(
        "Session {} may make {} calls of at most {} {} until {}, once its account knows it: tollway session register {}",
        args.name,
        session.max_calls,
        max_per_call.to_decimal(session.token.decimals),
        session.token.symbol,
        key.valid_until(),
        args.name
    );
    Ok(())
}

/// The asset that a flag names, or the network's dollar.
pub fn token(table: &AssetTable, network: &Network, text: Option<&str>) -> Result<Token, Failure> {
    let found: Option<&AssetInfo> = match text {
        None => table.default_for(network),
        Some(text) if text.starts_with("0x") => {
            let contract = network
                .address(text)
                .map_err(|e| Failure::usage(format!("--token: {e}.")))?;
            table.find(network, &contract)
        }
        Some(symbol) => table.by_symbol(network, symbol),
    };
    let info = found.ok_or_else(|| {
        Failure::usage(format!(
            "The token is not known on {network}; add it with --add-asset SYMBOL=CONTRACT,DECIMALS,NETWORK."
        ))
    })?;
    Ok(Token {
        symbol: info.symbol.to_string(),
        contract: info.address.to_string(),
        decimals: info.decimals,
    })
}

/// An amount in units of a token, exactly.
pub fn amount(text: &str, token: &Token, flag: &str) -> Result<Amount, Failure> {
    let decimal = text.trim_start_matches('$').parse::<Decimal>().ok();
    decimal
        .and_then(|amount| amount.to_atomic(token.decimals))
        .ok_or_else(|| {
            Failure::usage(format!(
                "{flag}: `{text}` is no amount of {} with at most {} digits after the point; write for example 0.10.",
                token.symbol, token.decimals
            ))
        })
}

fn entrypoints(args: &CreateArgs) -> Result<Vec<String>, Failure> {
    if args.everything {
        return Ok(Vec::new());
    }
    if args.entrypoints.is_empty() {
        return Ok(vec![felt::text(&selectors::TRANSFER)]);
    }
    let parse =
        |text: &String| entrypoint(text, "--entrypoint").map(|selector| felt::text(&selector));
    args.entrypoints.iter().map(parse).collect()
}

/// An entry point by its name or its selector.
pub fn entrypoint(text: &str, flag: &str) -> Result<Felt, Failure> {
    selectors::parse(text).ok_or_else(|| {
        Failure::usage(format!(
            "{flag}: `{text}` is neither an entry point's name nor its selector; write for example transfer."
        ))
    })
}
