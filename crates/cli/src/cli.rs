//! Flags and subcommands: the table from which parsing and help come.
//!
//! `gate`, `facilitator` and `pay` also read a TOML file; its keys are the
//! flags' names, and a flag wins over the file (see [`crate::settings`]).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Deserializer};

pub use crate::agent::flags::{BudgetCommand, BuyerArgs, McpArgs};
pub use crate::check::flags::CheckArgs;
pub use crate::commands::init::InitArgs;
use crate::logs::Format;
pub use crate::session::flags::SessionCommand;
use crate::signer::flags::SignerCommand;
use crate::storefront::{About, AccessSettings, DiscoverySettings, PageSettings};
pub use crate::tools::flags::McpGateArgs;
use crate::{environment, exit};

/// HTTP 402 payments: put a price on any route, pay it within limits, settle it on chain.
#[derive(Parser)]
#[command(name = "tollway", version, about, max_term_width = 100)]
#[command(after_help = after_help())]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

fn after_help() -> String {
    format!(
        "{}\n\n{}\n\nStart with `tollway demo`: it shows money moving, offline, within seconds.",
        environment::TABLE,
        exit::TABLE
    )
}

/// The subcommands.
#[derive(Subcommand)]
pub enum Command {
    /// Show one paid request from end to end: chain, seller and buyer in one process, offline.
    Demo(DemoArgs),
    /// Write a gate's configuration, on a testnet unless told otherwise.
    Init(InitArgs),
    /// Prove a gate's configuration before the first customer, or look at anybody's endpoint.
    Check(Box<CheckArgs>),
    /// Put prices on the routes of an HTTP server.
    Gate(Box<GateArgs>),
    /// Verify and settle payments for others.
    Facilitator(Box<FacilitatorArgs>),
    /// Make a key with which a seller may call a facilitator.
    ApiKey(ApiKeyArgs),
    /// Fetch a URL and pay for it within a limit.
    Pay(PayArgs),
    /// Say what a URL would cost; nothing is signed.
    Inspect(InspectArgs),
    /// Say whose signature a kept receipt has, and what it proves.
    Receipt(ReceiptArgs),
    /// Give an agent tools to pay with, within its budget (Model Context Protocol).
    Mcp(McpArgs),
    /// Put prices on the tools of a server of the Model Context Protocol.
    McpGate(Box<McpGateArgs>),
    /// Look at and set what a named agent may spend.
    #[command(subcommand)]
    Budget(BudgetCommand),
    /// Make, import and list encrypted wallets.
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// Sign for agents that have no key, in a process of its own.
    #[command(subcommand)]
    Signer(SignerCommand),
    /// Let a key spend for a Starknet account, within limits and for a while.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Pay with allowances that somebody's wallet grants to a session account (ERC-7710).
    #[command(subcommand)]
    Permission(PermissionCommand),
    /// Show sellers and operators their figures, on pages in the browser.
    Dashboard(DashboardArgs),
    /// Look at the durable record of payments.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Run an embedded EVM chain with test dollars.
    Devnet(DevnetArgs),
    /// Say whether a running gate or facilitator takes payments; exits with 0 if it does.
    Health(HealthArgs),
    /// Say what an error code means, or list them all.
    Codes(CodesArgs),
    /// Print what a shell needs to complete commands and flags.
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command.
    Man(ManArgs),
}

/// `tollway codes`
#[derive(Args)]
#[command(after_help = "Examples:
  tollway codes budget_exceeded
  tollway codes --json | jq -r .code")]
pub struct CodesArgs {
    /// The code; without it all are listed, as a page (Markdown).
    pub code: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// `tollway completions`
#[derive(Args)]
#[command(after_help = "Examples:
  tollway completions bash > /etc/bash_completion.d/tollway
  tollway completions zsh > \"${fpath[1]}/_tollway\"")]
pub struct CompletionsArgs {
    /// Which shell.
    pub shell: clap_complete::Shell,
}

/// `tollway man`
#[derive(Args)]
#[command(after_help = "Examples:
  tollway man | man -l -
  tollway man --output /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write a page for each command into this folder.
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

/// `tollway demo`
#[derive(Args)]
pub struct DemoArgs {
    /// Exit after the first paid request.
    #[arg(long)]
    pub once: bool,
    /// Print one JSON object instead of the story.
    #[arg(long)]
    pub json: bool,
}

/// When the money moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settle {
    /// Before the upstream is asked (payment flow `upfront`).
    Before,
    /// After the upstream answered, before the answer leaves (payment flow `authorization`).
    #[default]
    After,
}

/// `tollway gate`
#[derive(Args, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(after_help = "Examples:
  tollway gate --listen 127.0.0.1:4021 --upstream http://127.0.0.1:3000 --route 'GET /paid/*=$0.01' \\
    --pay-to 0xYourAddress --network base-sepolia --facilitator local --signer-key-file signer.key
  tollway gate … --route '/report=$0.10, 0.08 USDC on base' --facilitator https://facilitator.example

A route is PATTERN=PRICE[, PRICE …]. PATTERN is `VERB /path` or `/path` (every method), with *, :name and a trailing /*.
PRICE is `$0.01` or `AMOUNT ASSET`, then ` on NETWORK` to offer it on that network only;
ASSET is a symbol (USDC) or a contract address of the asset table. `up to $0.05` is the most that is
charged (scheme upto): the server behind says how much it is, by a header `Settlement-Overrides: {\"amount\": \"1000\"}` (atomic units, or `\"50%\"`, or `\"$0.02\"`).
`up to $0.10; meter=$0.001/event` (or /byte, /kB, /MB, /GB, /KiB, /MiB, /GiB) streams the answer as it comes and charges
each server-sent event, or each so many bytes, that was begun; at the maximum the stream ends. It is settled when it
ended: GET /settlements/ID tells what it came to, by the name in the answer's header Tollway-Payment.
After the prices a route may say `; finality=safe` (or finalized, or a number of confirmations) and
`; single`, for a transaction of its own for each payment. `; starknet-sdk` speaks the exchange of the published
Starknet session SDK on the route, and no other.
`; pass=1h`, `; pass=100` or `; pass=100/1h` sells a pass, for a time or a number of requests: the answer
to its payment carries an access token (Tollway-Pass), and so does POST /token. `; audience=NAME` opens all
routes of that name with it. `; returning=1h` gives what was paid for again, for an hour, to who signs in with the
account that paid (extension sign-in-with-x). `; methods=eip3009,permit2,erc7710,eip2612,txid` says how it can be paid;
txid is a transaction that the buyer made and shows, signed for. `unsigned-txid` takes its hash alone, as some
demonstrations send it: whoever shows a transfer to the payee first then gets the goods.

One ledger for each --pay-to: two gates that are paid at one address and keep separate ledgers
would both serve one and the same payment.

GET /health on the listening address answers for the gate itself, not for the upstream.")]
pub struct GateArgs {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Server that is protected.
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// A route and its prices; may be repeated.
    #[arg(long = "route", value_name = "PATTERN=PRICE")]
    #[serde(rename = "routes")]
    pub routes: Vec<String>,
    /// Who is paid.
    #[arg(long, value_name = "ADDRESS")]
    pub pay_to: Option<String>,
    /// Who is paid on Starknet networks, beside others [default: --pay-to].
    #[arg(long, value_name = "ADDRESS")]
    pub starknet_pay_to: Option<String>,
    /// Network to be paid on, with the URLs of its nodes, the preferred one first; may be repeated.
    /// Contracts that it has elsewhere than published stand behind them: `…; permit2=0x…;
    /// exact-proxy=0x…; upto-proxy=0x…; multicall3=0x…`.
    #[arg(
        long = "network",
        value_name = "NETWORK[=RPC_URL,…][; CONTRACT=ADDRESS]"
    )]
    #[serde(rename = "networks")]
    pub networks: Vec<String>,
    /// `local`, or the URL of a facilitator.
    #[arg(long, value_name = "local|URL")]
    pub facilitator: Option<String>,
    /// When the money moves [default: after].
    #[arg(long, value_enum)]
    pub settle: Option<Settle>,
    /// Key that pays for gas, with a local facilitator (file with mode 0600, or one in AWS or Google
    /// Cloud KMS where this program is built with it); may be repeated, the accounts then settle side by side.
    #[arg(long = "signer-key-file", value_name = "FILE|aws-kms:KEY|gcp-kms:KEY")]
    #[serde(rename = "signer_key_file", deserialize_with = "one_or_many")]
    pub signer_key_files: Vec<PathBuf>,
    /// Account that settles on Starknet networks and pays the fees there, with the file (mode 0600)
    /// of its key; may be repeated. It is used for nothing else.
    #[arg(long = "starknet-account", value_name = "ADDRESS=KEY_FILE")]
    pub starknet_accounts: Vec<String>,
    /// Pay at most this much STRK for one transaction on Starknet [default: 1].
    #[arg(long, value_name = "STRK")]
    pub starknet_max_fee: Option<String>,
    /// An asset beside the built-in ones; one of the same name on the same network takes its place.
    /// May be repeated.
    #[arg(
        long = "add-asset",
        value_name = "SYMBOL=CONTRACT,DECIMALS,NETWORK[,NAME,VERSION[,METHOD…]]"
    )]
    pub add_assets: Vec<String>,
    /// Where the record is kept: sqlite:PATH for one machine, a postgres:// URL for several
    /// [default: sqlite:~/.tollway/gate.db].
    #[arg(long, value_name = "URL")]
    pub ledger: Option<String>,
    /// Payments that share one transaction at most; 1 gives each its own [default: 100].
    #[arg(long, value_name = "N")]
    pub batch: Option<u16>,
    /// Spend at most this much on gas a day and network, in its coin, or none for no bound
    /// [default: three quarters of what the accounts have].
    #[arg(long, value_name = "COINS")]
    pub max_gas_per_day: Option<String>,
    /// Lose at most this much gas a day and network on one payer's payments that fail, in its coin,
    /// or none for no bound [default: a hundredth of what the accounts have].
    #[arg(long, value_name = "COINS")]
    pub max_lost_gas_per_payer: Option<String>,
    /// Key of an account without rights that holds only gas money (file with mode 0600): it deploys
    /// wallets that pay before they exist, and pays for approvals of Permit2 that buyers hand over
    /// [default: neither is done].
    #[arg(long, value_name = "FILE")]
    pub helper_key_file: Option<PathBuf>,
    /// Spend at most this much of it a day and network, in its coin; a tenth for one payer
    /// [default: 0.01].
    #[arg(long, value_name = "COINS")]
    pub max_help_per_day: Option<String>,
    /// Contract that may deploy paying wallets (EIP-6492, ERC-7715), with a helper; may be repeated
    /// [default: none].
    #[arg(long = "wallet-factory", value_name = "ADDRESS")]
    #[serde(rename = "wallet_factories")]
    pub wallet_factories: Vec<String>,
    /// Key that the facilitator asks for (file with mode 0600).
    #[arg(long, value_name = "FILE")]
    pub facilitator_key_file: Option<PathBuf>,
    /// URL under which buyers know this server (default: http and the listen address).
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Where payments are posted for access tokens, with routes that sell passes [default: /token].
    #[arg(long, value_name = "PATH")]
    pub token_path: Option<String>,
    /// Keys that sign access tokens, one `NAME HEX` a line, the first signs (file with mode 0600;
    /// made if it is missing) [default: ~/.tollway/token.keys].
    #[arg(long, value_name = "FILE")]
    pub token_key_file: Option<PathBuf>,
    /// Keys that mark the offers of routes with `methods=txid`, one `NAME HEX` a line, the first
    /// marks (file with mode 0600; made if it is missing) [default: ~/.tollway/proof.keys].
    #[arg(long, value_name = "FILE")]
    pub proof_key_file: Option<PathBuf>,
    /// Key that signs the offers of every 402 answer, and a receipt with every paid answer (file with
    /// mode 0600); best that of --pay-to, which buyers can tell by itself [default: none is signed].
    #[arg(long, value_name = "FILE")]
    pub receipt_key_file: Option<PathBuf>,
    /// Signed receipts name the payment's transaction.
    #[arg(long)]
    pub receipt_transactions: bool,
    /// Start though the ledger's tokens are signed with a key that the file does not have; they
    /// open nothing any more. For a key that is lost.
    #[arg(long)]
    pub new_token_keys: bool,
    /// Hand out tokens, and stream metered answers, before their payments settle while no more than
    /// this is promised to one payer, or was since yesterday and never paid, in dollars for each
    /// network and asset; 0 settles every payment first [default: 1].
    #[arg(long, value_name = "DOLLARS")]
    pub exposure_per_payer: Option<String>,
    /// The same for all payers together [default: 20].
    #[arg(long, value_name = "DOLLARS")]
    pub exposure: Option<String>,
    /// Server of yours that is told of passes and their payments, signed and at least once.
    #[arg(long, value_name = "URL")]
    pub webhook: Option<String>,
    /// Key that signs what it is told, at least 16 characters (file with mode 0600).
    #[arg(long, value_name = "FILE")]
    pub webhook_key_file: Option<PathBuf>,
    /// How deep a settlement must lie: included, a number of confirmations, safe, finalized.
    #[arg(long, value_name = "FINALITY")]
    pub finality: Option<String>,
    /// Give browsers the terms as JSON too, instead of a page to pay on.
    #[arg(long)]
    #[serde(skip)]
    pub no_page: bool,
    /// Leave /.well-known/x402 and /openapi.json to the upstream, instead of listing the routes there.
    #[arg(long)]
    #[serde(skip)]
    pub no_discovery: bool,
    /// What the page says of the seller: a table `gate.page` of the file.
    #[arg(skip)]
    pub page: PageSettings,
    /// What programs are told: a table `gate.discovery` of the file.
    #[arg(skip)]
    pub discovery: DiscoverySettings,
    /// Who may pay, and how often: a table `gate.access` of the file.
    #[arg(skip)]
    pub access: AccessSettings,
    /// What the routes say of themselves: tables `[[gate.about]]` of the file.
    #[arg(skip)]
    pub about: Vec<About>,
    /// Allow plain http to other machines (facilitator, RPC).
    #[arg(long)]
    pub allow_http: bool,
    /// Address where pages with figures are shown, such as 127.0.0.1:4030; see `tollway dashboard`
    /// [default: none].
    #[arg(long, value_name = "ADDR")]
    pub dashboard: Option<String>,
    /// Token without which they show nothing (file with mode 0600).
    #[arg(long, value_name = "FILE")]
    pub dashboard_token_file: Option<PathBuf>,
    /// Serve https with this certificate: a PEM file, the server's own first, then those that issued
    /// it. It is read again at SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM file with mode 0600, without a passphrase).
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// What is logged, such as info or tollway_gate=debug [default: TOLLWAY_LOG, or warn].
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// How it is logged: text, or one JSON object a line [default: text].
    #[arg(long, value_enum)]
    pub log_format: Option<Format>,
    /// Address for whoever runs it: metrics, health, and with a token reload, drain and the end of a
    /// pass [default: none].
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<String>,
    /// Token of 32 characters or more for what changes something there (file with mode 0600).
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Seconds at the stop in which requests are still taken while /health says 503, so that a load
    /// balancer sends them elsewhere [default: 0].
    #[arg(long, value_name = "SECONDS")]
    pub drain_delay: Option<u16>,
    /// Send traces to this OpenTelemetry collector (OTLP over HTTP); TOLLWAY_OTLP_ENDPOINT behind it
    /// [default: none].
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// TOML file with these settings in its table gate.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
}

/// `"a"` or `["a", "b"]` in a configuration file.
fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(PathBuf),
        Many(Vec<PathBuf>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(path) => vec![path],
        OneOrMany::Many(paths) => paths,
    })
}

/// `tollway facilitator`
#[derive(Args, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(after_help = "Example:
  tollway facilitator --listen 127.0.0.1:4020 --network base-sepolia=https://rpc.example --signer-key-file signer.key

Serves POST /verify, POST /settle, GET /supported, GET /settlements/ID, GET /health, GET /metrics,
and with --sponsor-account GET and POST /sponsor.
Facilitators that settle for the same sellers must share one ledger: several machines share postgres://.

With [[facilitator.callers]] in the configuration file only they may verify and settle, each within its
quota and by its key (`Authorization: Bearer KEY`); see `tollway api-key`. A caller with pay_to = [\"0x…\"] may have
metered payments (scheme upto) to these addresses verified and settled.")]
pub struct FacilitatorArgs {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Network to settle on, with the URLs of its nodes, the preferred one first; may be repeated.
    /// Contracts that it has elsewhere than published stand behind them: `…; permit2=0x…;
    /// exact-proxy=0x…; upto-proxy=0x…; multicall3=0x…`.
    #[arg(
        long = "network",
        value_name = "NETWORK[=RPC_URL,…][; CONTRACT=ADDRESS]"
    )]
    #[serde(rename = "networks")]
    pub networks: Vec<String>,
    /// Key that pays for gas (file with mode 0600, or one in AWS or Google Cloud KMS where this program is
    /// built with it); may be repeated, the accounts then settle side by side.
    #[arg(long = "signer-key-file", value_name = "FILE|aws-kms:KEY|gcp-kms:KEY")]
    #[serde(rename = "signer_key_file", deserialize_with = "one_or_many")]
    pub signer_key_files: Vec<PathBuf>,
    /// Account that settles on Starknet networks and pays the fees there, with the file (mode 0600)
    /// of its key; may be repeated. It is used for nothing else.
    #[arg(long = "starknet-account", value_name = "ADDRESS=KEY_FILE")]
    pub starknet_accounts: Vec<String>,
    /// Pay at most this much STRK for one transaction on Starknet [default: 1].
    #[arg(long, value_name = "STRK")]
    pub starknet_max_fee: Option<String>,
    /// An asset beside the built-in ones; one of the same name on the same network takes its place.
    /// May be repeated.
    #[arg(
        long = "add-asset",
        value_name = "SYMBOL=CONTRACT,DECIMALS,NETWORK[,NAME,VERSION[,METHOD…]]"
    )]
    pub add_assets: Vec<String>,
    /// Where the record is kept: sqlite:PATH for one machine, a postgres:// URL for several
    /// [default: sqlite:~/.tollway/facilitator.db].
    #[arg(long, value_name = "URL")]
    pub ledger: Option<String>,
    /// How deep a settlement must lie: included, a number of confirmations, safe, finalized.
    #[arg(long, value_name = "FINALITY")]
    pub finality: Option<String>,
    /// The deepest finality that a seller may ask for [default: finalized].
    #[arg(long, value_name = "FINALITY")]
    pub max_finality: Option<String>,
    /// Payments that share one transaction at most; 1 gives each its own [default: 100].
    #[arg(long, value_name = "N")]
    pub batch: Option<u16>,
    /// Spend at most this much on gas a day and network, in its coin, or none for no bound
    /// [default: three quarters of what the accounts have].
    #[arg(long, value_name = "COINS")]
    pub max_gas_per_day: Option<String>,
    /// Lose at most this much gas a day and network on one payer's payments that fail, in its coin,
    /// or none for no bound [default: a hundredth of what the accounts have].
    #[arg(long, value_name = "COINS")]
    pub max_lost_gas_per_payer: Option<String>,
    /// Key of an account without rights that holds only gas money (file with mode 0600): it deploys
    /// wallets that pay before they exist, and pays for approvals of Permit2 that buyers hand over
    /// [default: neither is done].
    #[arg(long, value_name = "FILE")]
    pub helper_key_file: Option<PathBuf>,
    /// Spend at most this much of it a day and network, in its coin; a tenth for one payer
    /// [default: 0.01].
    #[arg(long, value_name = "COINS")]
    pub max_help_per_day: Option<String>,
    /// Contract that may deploy paying wallets (EIP-6492, ERC-7715), with a helper; may be repeated
    /// [default: none].
    #[arg(long = "wallet-factory", value_name = "ADDRESS")]
    #[serde(rename = "wallet_factories")]
    pub wallet_factories: Vec<String>,
    /// Payee whose settler contract is deployed with its first EIP-2612 payment, beside those of the
    /// callers; may be repeated. Others put it there themselves.
    #[arg(long = "settler-for", value_name = "ADDRESS")]
    #[serde(rename = "settlers_for")]
    pub settlers_for: Vec<String>,
    /// The least that is settled, in units of the asset, such as dollars; 0 for any amount
    /// [default: 0.001].
    #[arg(long, value_name = "AMOUNT")]
    pub min_amount: Option<String>,
    /// Account that pays the fees of what Starknet accounts of known callers allow it to send
    /// (POST /sponsor), with the file (mode 0600) of its key.
    #[arg(long, value_name = "ADDRESS=KEY_FILE")]
    pub sponsor_account: Option<String>,
    /// Entry point that it sends, by name or selector; may be repeated
    /// [default: what sessions need].
    #[arg(long = "sponsor-entrypoint", value_name = "NAME|SELECTOR")]
    pub sponsor_entrypoints: Vec<String>,
    /// Pay at most this much STRK a day for one caller [default: 10].
    #[arg(long, value_name = "STRK")]
    pub sponsor_fees_per_day: Option<String>,
    /// Settling accounts call as themselves, by an EIP-7702 delegation to our own executor: permissions
    /// then share transactions too. Where it is missing it is set up at the start, for gas.
    #[arg(long)]
    pub self_calls: bool,
    /// Delegation manager that permissions (ERC-7710) are redeemed through, in the place of the
    /// published one, or NETWORK=none to settle none there; may be repeated.
    #[arg(long = "delegation-manager", value_name = "NETWORK=ADDRESS")]
    #[serde(rename = "delegation_managers")]
    pub delegation_managers: Vec<String>,
    /// Who may call, and how much. Only in the configuration file; empty: anybody.
    #[arg(skip)]
    pub callers: Vec<CallerArgs>,
    /// Let anybody say what of a maximum is charged (scheme upto). Without it only callers with keys
    /// may, for the addresses of their `pay_to`: whoever has seen such a payment could settle it
    /// for nothing.
    #[arg(long)]
    pub open_upto: bool,
    /// Seconds an authorization must still be valid at /verify [default: 30].
    #[arg(long, value_name = "SECONDS")]
    pub min_validity: Option<u64>,
    /// Allow plain http to an RPC on another machine.
    #[arg(long)]
    pub allow_http: bool,
    /// Address where pages with figures are shown, such as 127.0.0.1:4030; see `tollway dashboard`
    /// [default: none].
    #[arg(long, value_name = "ADDR")]
    pub dashboard: Option<String>,
    /// Token without which they show nothing (file with mode 0600).
    #[arg(long, value_name = "FILE")]
    pub dashboard_token_file: Option<PathBuf>,
    /// Serve https with this certificate: a PEM file, the server's own first, then those that issued
    /// it. It is read again at SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM file with mode 0600, without a passphrase).
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// What is logged, such as info or tollway_gate=debug [default: TOLLWAY_LOG, or warn].
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// How it is logged: text, or one JSON object a line [default: text].
    #[arg(long, value_enum)]
    pub log_format: Option<Format>,
    /// Address for whoever runs it: metrics, health, and with a token reload, drain and the end of a
    /// pass [default: none].
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<String>,
    /// Token of 32 characters or more for what changes something there (file with mode 0600).
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Seconds at the stop in which requests are still taken while /health says 503, so that a load
    /// balancer sends them elsewhere [default: 0].
    #[arg(long, value_name = "SECONDS")]
    pub drain_delay: Option<u16>,
    /// Send traces to this OpenTelemetry collector (OTLP over HTTP); TOLLWAY_OTLP_ENDPOINT behind it
    /// [default: none].
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// TOML file with these settings in its table facilitator.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
}

/// `[[facilitator.callers]]` of a configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerArgs {
    /// Its name, for records and logs.
    pub name: String,
    /// SHA-256 of its key, 64 hex digits; see `tollway api-key`.
    pub key_sha256: String,
    /// Calls a minute at most.
    #[serde(default = "calls_per_minute")]
    pub per_minute: u32,
    /// Open payments at most.
    #[serde(default = "open_payments")]
    pub open_payments: u32,
    /// Verifications at a time at most; more wait for their turn.
    #[serde(default = "verifications")]
    pub concurrent: u32,
    /// Addresses that it is paid at: for them it may say what of a maximum is charged.
    #[serde(default)]
    pub pay_to: Vec<String>,
}

const fn calls_per_minute() -> u32 {
    6000
}

const fn open_payments() -> u32 {
    1024
}

const fn verifications() -> u32 {
    64
}

/// `tollway api-key`
#[derive(Args)]
#[command(after_help = "Example:
  tollway api-key acme --output acme.key >> tollway.toml

Prints what the facilitator's configuration needs; the key itself is only in the file, for the caller.")]
pub struct ApiKeyArgs {
    /// Whose key it is.
    pub name: String,
    /// Where the key is written (mode 0600); the file must not be there yet.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `tollway pay`
#[derive(Args)]
#[command(after_help = pay_help())]
pub struct PayArgs {
    /// What to fetch.
    pub url: String,
    /// HTTP method [default: GET, or POST with -d].
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub method: Option<String>,
    /// Request header; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "K: V")]
    pub headers: Vec<String>,
    /// Request body, or @FILE.
    #[arg(short = 'd', long = "data", value_name = "DATA|@FILE")]
    pub data: Option<String>,
    /// Write the body to a file instead of stdout.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print the answer's status and headers before the body.
    #[arg(short = 'i', long = "include")]
    pub include: bool,
    /// Who pays, and within which limits.
    #[command(flatten)]
    pub buyer: BuyerArgs,
    /// Wait at most this long for the whole answer, once it began.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 120,
        allow_negative_numbers = true
    )]
    pub max_time: u64,
    /// Fetch what was paid for already, by the name of its record (spd_…); nothing is signed.
    #[arg(long, value_name = "SPEND")]
    pub again: Option<String>,
    /// Say what would be paid, or why not; nothing is signed, reserved or paid.
    #[arg(long, conflicts_with = "again")]
    pub dry_run: bool,
    /// Print one JSON object on stdout instead of the body, the story as JSON on stderr.
    #[arg(long)]
    pub json: bool,
}

fn pay_help() -> String {
    format!(
        "Examples:\n  tollway pay https://api.example/paid/weather --max 0.02 --wallet agent\n  tollway pay https://api.example/paid/weather --agent researcher --wallet agent --dry-run\n\n{}\n\n{PAY_JSON}",
        exit::TABLE
    )
}

/// What `pay --json` prints.
const PAY_JSON: &str = "\
Fields with --json, one object on stdout:
  status        HTTP status of the answer, or null
  outcome       paid, token (opened by an access token that was bought before), free, refused_by_policy,
                refused_by_server, failed, unknown, paid_not_delivered, usage
  body          the answer, as text
                (with --dry-run: the terms as `inspect --json` prints them, would_pay and refusal)
  errorReason, errorMessage  stable code and sentence, where it failed
  payment       null, or:
    standing      settled (the server says so), confirmed (the chain shows it), background (an access token
                  was given, or the answer was streamed, and the seller settles later), held (not known; see reason)
    amount, maximum  atomic units: what was paid, and what was signed for (more where use is metered)
    scheme, method   exact or upto; eip3009, permit2, upto, erc7710, eip2612 or txid
    words, symbol, asset, network, payer, payee, url, version, transaction, explorer, spend, shown, took_ms
  pass          null, or the access token that opened it: spend, origin, expires_at (never the token itself)";

/// `tollway receipt`
#[derive(Args)]
#[command(after_help = "Examples:
  tollway receipt spd_0123456789abcdef0123456789abcdef
  tollway receipt receipt.json --json

Receipts that sellers signed are kept in ~/.tollway/receipts, one file for each payment. Exits with 0 if the
receipt is about this payment, and signed by the account that was paid or that made the offer, where the payment
is your own (spd_…), or by the one that --signer names; with 1 otherwise: a file's holder can make up both.")]
pub struct ReceiptArgs {
    /// The payment's record (spd_…), or a file.
    pub receipt: String,
    /// The seller's signing account, where you know it from elsewhere.
    #[arg(long, value_name = "0x…")]
    pub signer: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `tollway inspect`
#[derive(Args)]
pub struct InspectArgs {
    /// What to ask for.
    pub url: String,
    /// HTTP method.
    #[arg(
        short = 'X',
        long = "request",
        value_name = "METHOD",
        default_value = "GET"
    )]
    pub method: String,
    /// Request header; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "K: V")]
    pub headers: Vec<String>,
    /// Request body, or @FILE.
    #[arg(short = 'd', long = "data", value_name = "DATA|@FILE")]
    pub data: Option<String>,
    /// Allow plain http to other machines.
    #[arg(long)]
    pub allow_http: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `tollway wallet …`
#[derive(Subcommand)]
pub enum WalletCommand {
    /// Make a wallet with a fresh key.
    New {
        /// Its name.
        name: String,
        /// File with the passphrase (mode 0600) [default: ask].
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Encrypt the key of a private file.
    Import {
        /// The wallet's name.
        name: String,
        /// File with the hex key (mode 0600).
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        /// File with the passphrase (mode 0600) [default: ask].
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// List wallets and their addresses.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a wallet's address.
    Address {
        /// Its name.
        #[arg(required_unless_present = "key_file")]
        name: Option<String>,
        /// Or the address of the key in this file (mode 0600).
        #[arg(long, value_name = "FILE", conflicts_with = "name")]
        key_file: Option<PathBuf>,
    },
    /// Let Permit2 move a token of the account's, for payments by Permit2 and up to a maximum.
    Approve(ApproveArgs),
}

/// `tollway wallet approve`
#[derive(Args)]
#[command(after_help = "Example:
  tollway wallet approve agent --network base=https://your.rpc --amount 25

Sends one transaction of the account's own, which costs it gas, waits for it and prints its hash. It is
what permit2_allowance_required asks for. The amount is what may be moved in all until it is approved anew.")]
pub struct ApproveArgs {
    /// The wallet.
    #[arg(required_unless_present = "key_file")]
    pub name: Option<String>,
    /// Or the key in this file (mode 0600).
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    pub key_file: Option<PathBuf>,
    /// File with the wallet's passphrase (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Where, with the URL of a node.
    #[arg(long, value_name = "NETWORK[=RPC_URL]")]
    pub network: String,
    /// Which token: a symbol, or a contract of the asset table.
    #[arg(long, value_name = "ASSET", default_value = "USDC")]
    pub asset: String,
    /// How much in all, in whole units.
    #[arg(long, value_name = "AMOUNT", default_value = "10")]
    pub amount: String,
    /// Any amount, for ever.
    #[arg(long, conflicts_with = "amount")]
    pub unlimited: bool,
    /// Allow plain http to a node on another machine.
    #[arg(long)]
    pub allow_http: bool,
}

/// `tollway permission …`
#[derive(Subcommand)]
pub enum PermissionCommand {
    /// Ask a browser wallet for a permission, on a page of this machine (ERC-7715).
    Request(PermissionRequestArgs),
    /// Grant a permission with a key that we hold, for a fresh session account.
    Grant(PermissionGrantArgs),
    /// List permissions and what they allow.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stop spending a permission, and take it back on chain where the payer's key is named.
    Revoke(PermissionRevokeArgs),
}

/// What a permission allows.
#[derive(Args)]
pub struct PermissionArgs {
    /// Take asset, allowance, payee and redeemers from what this URL asks for.
    #[arg(long, value_name = "URL")]
    pub resource: Option<String>,
    /// Network, with the URL of a node.
    #[arg(long, value_name = "NETWORK[=RPC_URL]")]
    pub network: String,
    /// Asset, by symbol or contract [default: the network's dollar].
    #[arg(long, value_name = "ASSET")]
    pub asset: Option<String>,
    /// At most this much, in whole units, in all or in each period [default: the price].
    #[arg(long, value_name = "AMOUNT")]
    pub allowance: Option<String>,
    /// The allowance comes again after so long, such as 1d; without it, it is once.
    #[arg(long, value_name = "TIME")]
    pub period: Option<String>,
    /// The allowance grows by this much each second, up to --allowance.
    #[arg(long, value_name = "AMOUNT", conflicts_with = "period")]
    pub per_second: Option<String>,
    /// It ends after so long [default: 1h].
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// Facilitator's account that may redeem it; may be repeated [default: those that the resource names].
    #[arg(long = "redeemer", value_name = "ADDRESS")]
    pub redeemers: Vec<String>,
    /// Who alone is paid, or `any` [default: the resource's payee].
    #[arg(long, value_name = "ADDRESS|any")]
    pub payee: Option<String>,
    /// Key of the session account (file with mode 0600) [default: a fresh one].
    #[arg(long, value_name = "FILE")]
    pub session_key_file: Option<PathBuf>,
    /// Smart account that spends, if the session's key signs for it (EIP-1271) [default: the key's own account].
    #[arg(long, value_name = "ADDRESS")]
    pub session_account: Option<String>,
    /// Allow plain http to other machines.
    #[arg(long)]
    pub allow_http: bool,
}

/// `tollway permission request`
#[derive(Args)]
#[command(after_help = "Example:
  tollway permission request weather --resource https://api.example/paid/weather --network base --allowance 1 --expires 1d

The address of a page is printed on stdout: open it in the browser that has the wallet.")]
pub struct PermissionRequestArgs {
    /// Its name.
    pub name: String,
    /// What is asked for.
    #[command(flatten)]
    pub wish: PermissionArgs,
    /// What the wallet shows the person [default: what it is for, in words].
    #[arg(long, value_name = "TEXT")]
    pub justification: Option<String>,
    /// Let the person change the allowance in the wallet.
    #[arg(long)]
    pub adjustable: bool,
    /// Take what was granted though it is not what was asked: every difference is shown.
    #[arg(long)]
    pub accept_changes: bool,
    /// Factory that may deploy the payer's account, beside the framework's own; may be repeated.
    #[arg(long = "factory", value_name = "ADDRESS")]
    pub factories: Vec<String>,
    /// Key that pays for deploying the payer's account now (file with mode 0600) [default: the seller's facilitator does it].
    #[arg(long, value_name = "FILE")]
    pub deployer_key_file: Option<PathBuf>,
    /// Wait so many seconds for an answer.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 600,
        allow_negative_numbers = true
    )]
    pub wait: u64,
    /// File with the passphrase that encrypts the permission (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `tollway permission grant`
#[derive(Args)]
#[command(after_help = "Example:
  tollway permission grant weather --resource https://api.example/paid/weather --network base=https://your.node \\
    --allowance 1 --period 1d --expires 7d --wallet owner --upgrade
  tollway pay https://api.example/paid/weather --max 0.02 --permission weather")]
pub struct PermissionGrantArgs {
    /// Its name.
    pub name: String,
    /// What it allows.
    #[command(flatten)]
    pub wish: PermissionArgs,
    /// Key of the payer (file with mode 0600).
    #[arg(long, value_name = "FILE", conflicts_with = "wallet")]
    pub key_file: Option<PathBuf>,
    /// Wallet of the payer; its passphrase then also encrypts the permission.
    #[arg(long, value_name = "NAME")]
    pub wallet: Option<String>,
    /// Smart account that pays, if the key is its owner's [default: the key's own account].
    #[arg(long, value_name = "ADDRESS")]
    pub account: Option<String>,
    /// Give the payer's account the published delegator's code (EIP-7702) if it has none; costs gas once.
    #[arg(long)]
    pub upgrade: bool,
    /// Factory that deploys --account where it is not there yet.
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "factory_data",
        requires = "account"
    )]
    pub factory: Option<String>,
    /// What the factory is called with.
    #[arg(long, value_name = "HEX", requires = "factory")]
    pub factory_data: Option<String>,
    /// Key that pays for --upgrade, or for deploying --account now (file with mode 0600) [default: the payer, and the seller's facilitator].
    #[arg(long, value_name = "FILE")]
    pub deployer_key_file: Option<PathBuf>,
    /// File with the passphrase that encrypts the permission (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `tollway permission revoke`
#[derive(Args)]
pub struct PermissionRevokeArgs {
    /// Its name.
    pub name: String,
    /// Network, with the URL of a node, to revoke it on chain.
    #[arg(long, value_name = "NETWORK[=RPC_URL]")]
    pub network: Option<String>,
    /// Key of the payer, or of the owner of a smart account that pays (file with mode 0600).
    #[arg(long, value_name = "FILE", conflicts_with = "wallet")]
    pub key_file: Option<PathBuf>,
    /// Take back all that the payer granted so far, of whatever name, on chain.
    #[arg(long, conflicts_with = "in_wallet")]
    pub all: bool,
    /// Ask the wallet that granted it, on a page of this machine.
    #[arg(long, conflicts_with_all = ["key_file", "wallet"])]
    pub in_wallet: bool,
    /// Wait so many seconds for the wallet's answer.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 600,
        allow_negative_numbers = true
    )]
    pub wait: u64,
    /// Wallet of the payer.
    #[arg(long, value_name = "NAME")]
    pub wallet: Option<String>,
    /// File with the permission's passphrase (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Allow plain http to other machines.
    #[arg(long)]
    pub allow_http: bool,
}

/// `tollway dashboard`
#[derive(Args)]
#[command(after_help = "Examples:
  tollway dashboard --ledger sqlite:/var/lib/tollway/gate.db --listen 127.0.0.1:4030
  tollway dashboard --ledger postgres://reader@db.example/tollway --listen 10.0.0.5:4030 --dashboard-token-file dashboard.token

Reads the ledger beside whoever writes to it, and changes nothing. `tollway gate --dashboard` and
`tollway facilitator --dashboard` show the same, and how their nodes are and how long their gas lasts.

Without a token it listens on this machine only, and answers under its names only (127.0.0.1, localhost, [::1]).
With one, browsers sign in and programs send `Authorization: Bearer TOKEN`.")]
pub struct DashboardArgs {
    /// The ledger [default: sqlite:~/.tollway/gate.db].
    #[arg(long, value_name = "URL")]
    pub ledger: Option<String>,
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4030")]
    pub listen: String,
    /// Token without which nothing is shown, at least 16 characters (file with mode 0600).
    #[arg(long, value_name = "FILE")]
    pub dashboard_token_file: Option<PathBuf>,
    /// An asset beside the built-in ones; may be repeated.
    #[arg(
        long = "add-asset",
        value_name = "SYMBOL=CONTRACT,DECIMALS,NETWORK[,…]"
    )]
    pub add_assets: Vec<String>,
}

/// `tollway ledger …`
#[derive(Subcommand)]
pub enum LedgerCommand {
    /// List payments, newest first.
    List {
        /// The ledger.
        #[arg(long, value_name = "sqlite:PATH")]
        ledger: Option<String>,
        /// Only payments in this state: accepted, submitted, settled, refused, expired.
        #[arg(long)]
        state: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50, allow_negative_numbers = true)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one payment and all that happened to it.
    Show {
        /// The payment.
        id: String,
        /// The ledger.
        #[arg(long, value_name = "sqlite:PATH")]
        ledger: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write all records as CSV or JSON lines.
    Export(LedgerExportArgs),
    /// Prove that nobody changed the record, and that its money is on the chain.
    Verify(LedgerVerifyArgs),
}

/// `tollway ledger export`
#[derive(Args)]
#[command(after_help = "Examples:
  tollway ledger export --csv --since 2026-11-01 --until 2026-12-01 --state settled > november.csv
  tollway ledger export --json --since 24h | jq -r .amountAtomic

One line for each record, the first begun first: the engine's payments, the gate's sales that somebody else
settled, the buyer's spends. CSV has a line of column names; JSON is one object a line. Money is there twice, as a decimal (amount) and in atomic
units (amount_atomic), exact in both; the decimal is empty where the asset is not in our table. Times are UTC.
A cell that a spreadsheet would run as a formula has an apostrophe before it.")]
pub struct LedgerExportArgs {
    /// The ledger [default: sqlite:~/.tollway/gate.db].
    #[arg(long, value_name = "URL")]
    pub ledger: Option<String>,
    /// Comma-separated values, for spreadsheets.
    #[arg(long, required_unless_present = "json")]
    pub csv: bool,
    /// One JSON object a line.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Only what began then or later: a day, a time in UTC, or so long ago (7d).
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what began before.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only records in this state, such as settled or refused.
    #[arg(long)]
    pub state: Option<String>,
    /// An asset beside the built-in ones; may be repeated.
    #[arg(
        long = "add-asset",
        value_name = "SYMBOL=CONTRACT,DECIMALS,NETWORK[,…]"
    )]
    pub add_assets: Vec<String>,
}

/// `tollway ledger verify`
#[derive(Args)]
#[command(after_help = "Examples:
  tollway ledger verify --ledger sqlite:/var/lib/tollway/gate.db
  tollway ledger verify --network base=https://your.rpc --head 5f0c…

Recomputes the hash chain of each writer with its checkpoints; compares every record with its events; and with
--network asks the chain for every payment that the record calls settled: its transaction must hold exactly its Transfer.
Nothing is written, and whoever writes to the ledger may go on. The last line is the head of the history: keep it
elsewhere, and give it to a later run.

Exit codes: 0 all is well, 1 something is wrong (or the ledger cannot be read), 2 usage, 6 nothing is wrong as far as
was seen, and some payments could not be looked at.")]
pub struct LedgerVerifyArgs {
    /// The ledger [default: sqlite:~/.tollway/gate.db].
    #[arg(long, value_name = "URL")]
    pub ledger: Option<String>,
    /// Network whose payments are looked for, with the URLs of its nodes; may be repeated.
    #[arg(long = "network", value_name = "NETWORK[=RPC_URL,…]")]
    pub networks: Vec<String>,
    /// End of the history as an earlier run printed it: it must still be there. May be repeated.
    #[arg(long = "head", value_name = "HASH")]
    pub heads: Vec<String>,
    /// An asset beside the built-in ones; may be repeated.
    #[arg(
        long = "add-asset",
        value_name = "SYMBOL=CONTRACT,DECIMALS,NETWORK[,…]"
    )]
    pub add_assets: Vec<String>,
    /// Allow plain http to a node on another machine.
    #[arg(long)]
    pub allow_http: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `tollway health`
#[derive(Args)]
#[command(after_help = "Example:
  tollway health http://127.0.0.1:4021

Without a URL it asks the server that the configuration file is of, on this machine.")]
pub struct HealthArgs {
    /// Where it is [default: the listen address of the configuration file, or http://127.0.0.1:4021].
    pub url: Option<String>,
    /// The server's configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `tollway devnet`
#[derive(Args)]
pub struct DevnetArgs {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8545")]
    pub listen: String,
    /// Chain id; 84532 poses as Base Sepolia, 1328 as Sei testnet.
    #[arg(long, value_name = "N", default_value_t = 84532)]
    pub chain_id: u64,
    /// Seconds between blocks [default: a block for every transaction].
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub block_time: Option<String>,
}
