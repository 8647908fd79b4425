//! The `tollway` binary: flags in, rooms wired, exit codes out.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod agent;
mod assets;
mod books;
mod buyer;
mod chains;
mod check;
mod cli;
mod commands;
mod crash;
mod dashboard;
mod delivered;
mod environment;
mod exit;
mod help;
mod keys;
mod kms;
mod logs;
mod metrics;
mod operate;
mod output;
mod permissions;
mod purse;
mod replica;
mod routes;
mod sdk;
mod serve;
mod session;
mod settings;
mod signer;
mod sponsor;
mod storefront;
mod story;
mod tools;
mod traces;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use environment::Environment;
use exit::{Exit, Failure};

/// A server's requests are many small allocations: a tenth and more of the CPU
/// time of a verification, compared with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match run(command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            logs::say(&failure);
            failure.exit.into()
        }
    }
}

fn run(command: Command) -> Result<Exit, Failure> {
    let environment = Environment::read(std::path::Path::new("."))?;
    crash::arm(&environment);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| {
            Failure::new(format!(
                "The runtime cannot start: {e}; check the system's limits."
            ))
        })?;
    {
        // What sends traces runs on it.
        let _within = runtime.enter();
        logs::start(&command.log(&environment)?, &environment)?;
    }
    let exit = runtime.block_on(dispatch(command, &environment));
    traces::finish();
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    exit
}

async fn dispatch(command: Command, environment: &Environment) -> Result<Exit, Failure> {
    match command {
        Command::Demo(args) => commands::demo::run(args).await,
        Command::Init(args) => commands::init::run(&args, environment),
        Command::Check(args) => commands::check::run(*args, environment).await,
        Command::Gate(args) => commands::gate::run(*args, environment).await,
        Command::Facilitator(args) => commands::facilitator::run(*args, environment).await,
        Command::ApiKey(args) => commands::api_key::run(&args),
        Command::Pay(args) => commands::pay::run(args, environment).await,
        Command::Inspect(args) => commands::inspect::run(args).await,
        Command::Receipt(args) => commands::receipt::run(&args, environment),
        Command::Mcp(args) => agent::mcp::run(args, environment).await,
        Command::McpGate(args) => tools::run(*args, environment).await,
        Command::Budget(command) => agent::budget::run(command, environment).await,
        Command::Wallet(command) => commands::wallet::run(command, environment).await,
        Command::Signer(command) => signer::run(command, environment).await,
        Command::Session(command) => session::run(command, environment).await,
        Command::Permission(command) => commands::permission::run(command, environment).await,
        Command::Dashboard(args) => commands::dashboard::run(args, environment).await,
        Command::Ledger(command) => commands::ledger::run(command, environment).await,
        Command::Codes(args) => commands::reference::codes(&args),
        Command::Completions(args) => commands::reference::completions(&args),
        Command::Man(args) => commands::reference::man(&args),
        Command::Devnet(args) => commands::devnet::run(args).await,
        Command::Health(args) => commands::health::run(args, environment).await,
    }
}
