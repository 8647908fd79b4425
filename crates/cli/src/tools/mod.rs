//! `tollway mcp-gate`: prices on the tools of a server of others (Model Context Protocol),
//! which stays as it is. A tool is sold as a route of its name.

pub mod flags;
mod shop;
mod upstream;

use std::sync::Arc;

use rmcp::ServiceExt as _;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tollway_core::mcp;

use crate::cli::GateArgs;
use crate::commands::gate::Till;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::serve;

use flags::McpGateArgs;
use shop::{Price, Shop};
use upstream::Upstream;

/// A call holds a tool's arguments and a payment.
const MAX_REQUEST_BYTES: usize = 2 << 20;

/// Runs it.
pub async fn run(args: McpGateArgs, environment: &Environment) -> Result<Exit, Failure> {
    let prices = Price::all(&args.tools)?;
    let till = Till::open(&settings(&args, &prices), mcp::RESOURCE, environment).await;
    let till = till.map_err(of_a_tool)?;
    let upstream = Upstream::connect(&args).await?;
    let ended = upstream.ended();
    let shop = Shop::new(till.gate.clone(), upstream, prices).await?;
    let served = tokio::select! {
        served = serve(&args, shop) => served,
        () = ended => Err(Failure::new(
            "The server of the tools ended; start it again, and this with it.",
        )),
    };
    till.close().await;
    served.map(|()| Exit::Done)
}

/// What a gate is told: its routes are the tools that cost something.
fn settings(args: &McpGateArgs, prices: &[Price]) -> GateArgs {
    let routes = prices.iter().filter_map(Price::route);
    GateArgs {
        routes: routes.collect(),
        // Neither is used: what is sold is called, not forwarded.
        listen: Some("127.0.0.1:0".to_owned()),
        upstream: Some("http://127.0.0.1:1".to_owned()),
        public_url: Some(mcp::RESOURCE.to_owned()),
        ledger: args.ledger.clone(),
        no_page: true,
        no_discovery: true,
        pay_to: args.pay_to.clone(),
        networks: args.networks.clone(),
        facilitator: args.facilitator.clone(),
        facilitator_key_file: args.facilitator_key_file.clone(),
        signer_key_files: args.signer_key_files.clone(),
        add_assets: args.add_assets.clone(),
        receipt_key_file: args.receipt_key_file.clone(),
        allow_http: args.allow_http,
        ..GateArgs::default()
    }
}

/// A failure in the words of the flag that was given.
fn of_a_tool(failure: Failure) -> Failure {
    let message = failure.message.replace("--route 'POST /", "--tool '");
    Failure { message, ..failure }
}

async fn serve(args: &McpGateArgs, shop: Shop) -> Result<(), Failure> {
    match &args.listen {
        Some(address) => over_http(address, shop).await,
        None => over_stdio(shop).await,
    }
}

/// Serves whoever started us, until it closes our input.
async fn over_stdio(shop: Shop) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(format!(
            "The client did not speak MCP: {error}; start `tollway mcp-gate` from an MCP client, or add --listen ADDR."
        ))
    };
    let service = shop.serve(rmcp::transport::stdio()).await;
    let service = service.map_err(|error| failed(&error))?;
    let ended = service.waiting().await;
    ended.map(|_| ()).map_err(|error| failed(&error))
}

/// Serves streamable HTTP at `/mcp`, until the program is told to stop. Nobody has a
/// session: whoever asks is a stranger each time, and nothing is kept of it.
async fn over_http(address: &str, shop: Shop) -> Result<(), Failure> {
    let (listener, bound) = serve::bind(address).await?;
    let stop = serve::stop_on_signal()?;
    let mut config = StreamableHttpServerConfig::default()
        .with_cancellation_token(stop.child_token())
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(MAX_REQUEST_BYTES);
    if !bound.ip().is_loopback() {
        // It is there for others, under whatever name they know it by.
        config = config.disable_allowed_hosts();
    }
    let service = StreamableHttpService::new(
        move || Ok(shop.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let router = axum::Router::new().nest_service("/mcp", service);
    println!("tollway mcp-gate: listening on http://{bound}/mcp");
    serve::serve(listener, router, stop).await;
    Ok(())
}
