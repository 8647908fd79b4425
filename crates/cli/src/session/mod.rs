//! `tollway session`: keys that spend for a Starknet account, within limits.

mod create;
mod execute;
pub mod flags;
mod look;
mod owner;
mod recorded;
mod sender;
mod store;
pub mod wallet;

use std::path::Path;
use std::time::Duration;

use tollway_core::Refusal;
use tollway_rpc::RpcClient;
use tollway_starknet::session::SessionKey;

use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::wiring::{self, NetworkSetting};
use crate::{keys, routes};

pub use create::entrypoint;
use flags::{PolicyCommand, SessionCommand};
pub use store::{KeptSession, Sessions};

/// Runs it.
pub async fn run(command: SessionCommand, environment: &Environment) -> Result<Exit, Failure> {
    match command {
        SessionCommand::Create(args) => create::create(&args, environment)?,
        SessionCommand::Import(args) => create::import(&args, environment)?,
        SessionCommand::Export(args) => create::export(&args, environment)?,
        SessionCommand::Register(args) => owner::register(&args, environment).await?,
        SessionCommand::Renew(args) => owner::renew(&args, environment).await?,
        SessionCommand::Revoke(args) => owner::revoke(&args, environment).await?,
        SessionCommand::Deploy(args) => owner::deploy(&args, environment).await?,
        SessionCommand::Status {
            name,
            warn_below,
            json,
        } => look::status(&name, warn_below, json, environment).await?,
        SessionCommand::List { json } => look::list(json, environment)?,
        SessionCommand::Policy(command) => match command {
            PolicyCommand::Get { name, token, json } => {
                look::policy(&name, token.as_deref(), json, environment).await?;
            }
            PolicyCommand::Set { .. } | PolicyCommand::Remove { .. } => {
                owner::policy(&command, environment).await?;
            }
        },
        SessionCommand::Execute(args) => execute::execute(&args, environment).await?,
    }
    Ok(Exit::Done)
}

fn sessions(environment: &Environment) -> Result<Sessions, Failure> {
    Sessions::open(&environment.home()?)
}

/// A session's key, decrypted.
pub fn unlock(
    session: &KeptSession,
    passphrase_file: Option<&Path>,
    environment: &Environment,
) -> Result<SessionKey, Failure> {
    let passphrase = keys::passphrase(passphrase_file, environment, false)?;
    session.key.open(&passphrase).map_err(|r| refused(&r))
}

/// A node of the session's network: the environment's, or the one it was made with.
pub fn node(session: &KeptSession, environment: &Environment) -> Result<RpcClient, Failure> {
    let mut setting = NetworkSetting {
        network: session.network.clone(),
        rpc: Vec::new(),
        contracts: tollway_evm::Contracts::default(),
        delegation_managers: None,
        self_calls: false,
    };
    for url in &session.rpc {
        setting.rpc.push(wiring::http_url(url, "The RPC URL")?);
    }
    if setting.rpc.is_empty() {
        setting = one_network(session.network.as_str(), environment)?;
    }
    wiring::node(&setting, session.allow_http)
}

/// Reads `--network NETWORK[=RPC_URL]` of a Starknet network.
fn one_network(text: &str, environment: &Environment) -> Result<NetworkSetting, Failure> {
    let settings = wiring::networks(&[text.to_owned()], environment)?;
    let setting = settings.into_iter().next();
    setting
        .filter(|setting| setting.network.family() == tollway_core::Family::Starknet)
        .ok_or_else(|| {
            Failure::usage(
                "Sessions are on Starknet networks; write --network starknet=https://your.rpc.",
            )
        })
}

/// A refusal, as an exit of ours.
fn refused(refusal: &Refusal) -> Failure {
    if let Some(detail) = refusal.detail() {
        tracing::debug!(code = refusal.code(), detail, "refused");
    }
    Failure::coded(
        Exit::RefusedByPolicy,
        refusal.code().to_owned(),
        refusal.message(),
    )
}

/// `90s`, `30m`, `6h` or `7d`.
fn time(text: &str, flag: &str) -> Result<Duration, Failure> {
    routes::time(text).ok_or_else(|| {
        Failure::usage(format!(
            "{flag}: `{text}` is no time; write for example 90s, 30m, 6h or 7d."
        ))
    })
}
