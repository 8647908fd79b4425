//! `tollway mcp`: what an agent gets of its owner's money, as tools of the Model
//! Context Protocol.
//!
//! There is no tool that changes a policy, a budget or a key, and none that shows
//! a key, a signature or an access token. What servers say comes back in a part of
//! its own, marked as theirs.

mod http;
pub mod remote;
mod tools;
mod words;

use std::sync::Arc;

use rmcp::ServiceExt as _;
use tollway_payer::Payer;

use super::Agent;
use super::flags::McpArgs;
use crate::buyer::{self, OpenBuyer};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};

use remote::Remote;
pub use tools::Tools;

/// Runs it.
pub async fn run(args: McpArgs, environment: &Environment) -> Result<Exit, Failure> {
    let agent = Agent::named(&args.buyer.agent, environment)?;
    let limits = &agent.file.limits;
    if limits.total.is_none() && limits.per_day.is_none() {
        return Err(Failure::usage(format!(
            "{} has no budget, so a program could spend all; set one with `tollway budget set --agent {} --per-day 1`.",
            agent.name, agent.name
        )));
    }
    let opened = buyer::open(&args.buyer, Some(&agent), None, environment).await?;
    reconcile(&opened.payer).await;
    let OpenBuyer { payer, ledger } = opened;
    let mut remotes = Vec::new();
    for server in &args.connect {
        remotes.push(Remote::connect(server).await?);
    }
    let tools = Tools::new(payer, ledger.clone(), Arc::new(agent), remotes);
    let ended = match &args.listen {
        Some(address) => http::serve(address, args.token_file.as_deref(), tools, environment).await,
        None => over_stdio(tools).await,
    };
    ledger.close().await;
    ended.map(|()| Exit::Done)
}

/// What earlier runs left open is given back where the chain proves that nothing moved.
async fn reconcile(payer: &Payer) {
    if let Err(error) = payer.reconcile().await {
        tracing::warn!(%error, "open payments could not be looked up");
    }
}

/// Serves whoever started us, until it closes our input.
async fn over_stdio(tools: Tools) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(format!(
            "The client did not speak MCP: {error}; start `tollway mcp` from an MCP client."
        ))
    };
    let service = tools.serve(rmcp::transport::stdio()).await;
    let service = service.map_err(|error| failed(&error))?;
    let ended = service.waiting().await;
    ended.map(|_| ()).map_err(|error| failed(&error))
}
