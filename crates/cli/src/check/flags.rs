//! The flags of `check`.

use clap::Args;

use crate::cli::GateArgs;

/// `tollway check`
#[derive(Args)]
#[command(after_help = CHECK_HELP)]
pub struct CheckArgs {
    /// Endpoint of anybody's to look at from outside, instead of a configuration.
    pub url: Option<String>,
    /// HTTP method to ask a URL with [default: GET, or POST with -d].
    #[arg(short = 'X', long = "request", value_name = "METHOD", requires = "url")]
    pub method: Option<String>,
    /// Body to send to a URL, or @FILE [default: {}, where a body is tried].
    #[arg(
        short = 'd',
        long = "data",
        value_name = "DATA|@FILE",
        requires = "url"
    )]
    pub data: Option<String>,
    /// A path that is there, for a route with * or :name; may be repeated.
    #[arg(long = "path", value_name = "/PATH")]
    pub paths: Vec<String>,
    /// Also send other spellings of POST, PUT, PATCH and DELETE routes: one that is
    /// not priced reaches the server behind, which acts on it.
    #[arg(long)]
    pub try_changes: bool,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
    /// The gate's own flags, which win over its file.
    #[command(flatten)]
    pub gate: GateArgs,
}

const CHECK_HELP: &str = "\
Examples:
  tollway check --config tollway.toml --path /paid/weather
  tollway check --config tollway.toml --json | jq '.findings[] | select(.level == \"red\")'
  tollway check https://api.example/paid/weather
  tollway check -X POST -d '{\"q\": \"x\"}' https://api.example/ask --network base=https://your.rpc

A configuration is proved before the first customer: payees, chain ids, tokens against the chain, contracts,
gas, facilitator, ledger, the server behind, and the gate's answers. If the gate runs, it is asked at its public URL;
else one like it is started on a free port, with a record that is forgotten. A URL is only looked at from outside; with
--network NETWORK=RPC_URL its tokens are compared with the chain. Nothing is signed, paid or sent to a chain.

Lines are ok, warn (look at it) or FAIL (a customer would meet it); what is not ok ends with its cure.
Fields with --json: ok, green, yellow, red (how many), findings (name, level, message, cure).

Exit codes:
  0  nothing is red
  1  something is red
  2  flags are wrong, or the file cannot be read";
