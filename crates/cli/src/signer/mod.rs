//! `tollway signer`: keys in a process of their own.

pub mod flags;

use std::path::{Path, PathBuf};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tollway_core::WalletError;
use tollway_payer::{PayMethod, PolicyFile, RemoteWallet, SignerSocket};

use crate::agent::Agent;
use crate::buyer;
use crate::commands::pay;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::serve;
use flags::{SignerAccounts, SignerCommand, SignerServe};

/// Runs it.
pub async fn run(command: SignerCommand, environment: &Environment) -> Result<Exit, Failure> {
    match command {
        SignerCommand::Serve(args) => serve(*args, environment).await,
        SignerCommand::Accounts(args) => accounts(&args).await,
    }
}

async fn serve(args: SignerServe, environment: &Environment) -> Result<Exit, Failure> {
    // A signer has a key, and never another signer.
    let environment = environment.without("TOLLWAY_SIGNER");
    let mut agent = Agent::named(&args.agent, &environment)?;
    let limits = &agent.file.limits;
    if limits.total.is_none() && limits.per_day.is_none() {
        return Err(Failure::usage(format!(
            "{} has no budget, so a program could spend all; set one with `tollway budget set --agent {} --per-day 1`.",
            agent.name, agent.name
        )));
    }
    if agent.file.methods.is_empty() {
        agent.file.methods = without_gas();
    }
    if !args.trust_hosts {
        without_hosts(&mut agent)?;
    }
    let mut buyer = args.buyer();
    if buyer.ledger.is_none() {
        let own = environment.home()?.join("signer.db");
        buyer.ledger = Some(format!("sqlite:{}", own.display()));
    }
    let opened = buyer::open(&buyer, Some(&agent), None, &environment).await?;
    let socket = SignerSocket::bind(&args.socket, &args.serve_users);
    let socket = socket.map_err(|error| Failure::usage(format!("{}.", capital(&error))))?;
    let socket = socket.at_most(args.max_per_hour);
    // Programs of the same user can neither look into it nor make it dump the key.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other programs of this user may look into this process");
    }
    let stop = serve::stop_on_signal()?;
    println!("listening on unix:{}", socket.path().display());
    eprintln!(
        "Signing for {} by {}; Ctrl-C stops.",
        agent.name,
        agent.path.display()
    );
    let served = opened.payer.sign_at(socket, stop.cancelled()).await;
    opened.ledger.close().await;
    served.map_err(|error| pay::failure(&error))?;
    Ok(Exit::Done)
}

/// Takes out what goes by the host: a caller says which that is, and what one caller
/// says would be what the payments of others are compared with.
fn without_hosts(agent: &mut Agent) -> Result<(), Failure> {
    let (file, usual) = (&mut agent.file, PolicyFile::default());
    let limits = &file.limits;
    let rises = file.max_price_rise != "any" && file.max_price_rise != usual.max_price_rise;
    let written = [
        ("hosts", !file.hosts.is_empty()),
        ("consents", !file.consents.is_empty()),
        ("max_price_rise", rises),
        ("limits.per_host", limits.per_host.is_some()),
        ("limits.per_host_day", limits.per_host_day.is_some()),
    ];
    if let Some((rule, _)) = written.iter().find(|(_, is_written)| *is_written) {
        return Err(Failure::usage(format!(
            "{} has `{rule}`, and which host is paid is what the caller says; list payees and a budget instead, or add --trust-hosts if its callers tell the truth.",
            agent.path.display()
        )));
    }
    file.pin_payees = false;
    file.max_price_rise = "any".to_owned();
    Ok(())
}

/// Ways by which a payment costs its price and nothing else.
fn without_gas() -> Vec<String> {
    let ways = PayMethod::ALL.iter().filter(|way| **way != PayMethod::Txid);
    ways.map(ToString::to_string).collect()
}

fn capital(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

async fn accounts(args: &SignerAccounts) -> Result<Exit, Failure> {
    let remote = connect(&args.signer).await?;
    if args.json {
        let accounts = remote.accounts();
        println!(
            "{}",
            serde_json::json!({ "agent": remote.agent(), "accounts": accounts })
        );
        return Ok(Exit::Done);
    }
    for (network, address) in remote.accounts() {
        println!("{network}  {address}");
    }
    Ok(Exit::Done)
}

/// The signer at `unix:PATH`.
pub async fn connect(place: &str) -> Result<RemoteWallet, Failure> {
    let path = path(place)?;
    let connected = RemoteWallet::connect(&path).await;
    connected.map_err(|error| match error {
        WalletError::Refused(refusal) => {
            Failure::coded(Exit::Failed, refusal.code(), refusal.message())
        }
        WalletError::Chain(error) => Failure::coded(Exit::Failed, "wallet_unavailable", error),
    })
}

fn path(place: &str) -> Result<PathBuf, Failure> {
    let path = place.strip_prefix("unix:").map(Path::new);
    let path = path.filter(|path| path.is_absolute());
    path.map(Path::to_owned).ok_or_else(|| {
        Failure::usage(format!(
            "`{place}` names no signer; write the whole path of its socket, such as unix:/home/me/.tollway/run/signer.sock."
        ))
    })
}
