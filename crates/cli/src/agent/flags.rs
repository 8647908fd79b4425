//! The flags of whoever pays, and of `budget`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Which agent spends, and what its owner allows.
#[derive(Args, Clone, Default)]
pub struct AgentFlags {
    /// Agent that spends, by the policy ~/.tollway/agents/NAME.toml.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Policy of the agent, in another file; without --agent the file's name is the agent's.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

/// Who pays, and within which limits.
#[derive(Args, Default)]
pub struct BuyerArgs {
    /// Whose money it is.
    #[command(flatten)]
    pub agent: AgentFlags,
    /// Pay at most this much, in whole units of a dollar asset [default: what the
    /// agent's policy or the session allows, which it can only lower].
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    pub max: Option<String>,
    /// Pay nobody but this account; may be repeated.
    #[arg(long = "payee", value_name = "ADDRESS")]
    pub payees: Vec<String>,
    /// Pay only on this network, with an optional RPC URL to check the balance; may be repeated.
    /// Contracts that it has elsewhere than published stand behind it: `…; permit2=0x…;
    /// exact-proxy=0x…; upto-proxy=0x…`.
    #[arg(long = "network", value_name = "NETWORK[=RPC_URL][; CONTRACT=ADDRESS]")]
    pub networks: Vec<String>,
    /// Prefer this way to pay between equal prices: eip3009, permit2, upto, erc7710, eip2612, txid; may be repeated.
    #[arg(long = "method", value_name = "METHOD")]
    pub ways: Vec<String>,
    /// Let Permit2 move the asset by a transaction of the account's own, where that is missing; it costs gas once.
    #[arg(long)]
    pub approve: bool,
    /// Neither buy nor show access tokens: pay for this answer alone.
    #[arg(long)]
    pub no_tokens: bool,
    /// Key that pays (file with mode 0600), or one in AWS or Google Cloud KMS where this program is built with it.
    #[arg(
        long,
        value_name = "FILE|aws-kms:KEY|gcp-kms:KEY",
        conflicts_with = "wallet"
    )]
    pub key_file: Option<PathBuf>,
    /// Wallet that pays (see `tollway wallet list`).
    #[arg(long, value_name = "NAME")]
    pub wallet: Option<String>,
    /// Session that pays (see `tollway session create`).
    #[arg(long, value_name = "NAME", conflicts_with_all = ["key_file", "wallet"])]
    pub session: Option<String>,
    /// Starknet account that pays, with the file (mode 0600) of its owner's key. With --session it is
    /// the same account, and pays where the session is over, used up or revoked.
    #[arg(long, value_name = "ADDRESS=KEY_FILE", conflicts_with_all = ["key_file", "wallet"])]
    pub starknet_account: Option<String>,
    /// An asset beside the built-in ones; one of the same name on the same network takes its place.
    /// May be repeated.
    #[arg(
        long = "add-asset",
        value_name = "SYMBOL=CONTRACT,DECIMALS,NETWORK[,NAME,VERSION[,METHOD…]]"
    )]
    pub add_assets: Vec<String>,
    /// Permission that pays (see `tollway permission list`); payments are by erc7710 then.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["wallet", "key_file", "session", "starknet_account"])]
    pub permission: Option<String>,
    /// Signer that pays, by its socket (see `tollway signer serve`): this program has no key then.
    #[arg(long, value_name = "unix:PATH", conflicts_with_all = ["wallet", "key_file", "session", "starknet_account", "permission", "approve"])]
    pub signer: Option<String>,
    /// File with the wallet's, the session's or the permission's passphrase (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Where spending is recorded [default: sqlite:~/.tollway/payer.db].
    #[arg(long, value_name = "sqlite:PATH")]
    pub ledger: Option<String>,
    /// Allow plain http to other machines; where an agent's policy forbids it, only to nodes.
    #[arg(long)]
    pub allow_http: bool,
}

/// `tollway mcp`
#[derive(Args)]
#[command(after_help = MCP_HELP)]
pub struct McpArgs {
    /// Who pays, and within which limits.
    #[command(flatten)]
    pub buyer: BuyerArgs,
    /// Offer the tools of another server (streamable HTTP) too, as NAME__TOOL, and pay for them within the
    /// policy, whose hosts it must be one of; may be repeated.
    #[arg(long, value_name = "NAME=URL")]
    pub connect: Vec<String>,
    /// Serve streamable HTTP at /mcp of this address of this machine, instead of standard input and output.
    #[arg(long, value_name = "127.0.0.1:PORT")]
    pub listen: Option<String>,
    /// File with the token that clients show over HTTP (mode 0600; made if it is missing)
    /// [default: ~/.tollway/mcp.token].
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub token_file: Option<PathBuf>,
}

const MCP_HELP: &str = "Example, in the configuration of an MCP client:
  {\"mcpServers\": {\"tollway\": {\"command\": \"tollway\",
    \"args\": [\"mcp\", \"--agent\", \"researcher\", \"--wallet\", \"agent\", \"--passphrase-file\", \"/home/me/agent.pass\"]}}}

Tools: look_at_price, pay_and_fetch, budget, history. None changes a limit or shows a key. The policy is read
at the start and must have a budget (`tollway budget set --per-day` or `--total`); hosts of your own network
are reached only if they are listed in it.";

/// `tollway budget …`
#[derive(Subcommand)]
pub enum BudgetCommand {
    /// Show what an agent may spend, and what it has spent.
    Show {
        /// Which agent.
        #[command(flatten)]
        agent: AgentFlags,
        /// Where spending is recorded [default: sqlite:~/.tollway/payer.db].
        #[arg(long, value_name = "sqlite:PATH")]
        ledger: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make or change an agent's policy. What is not named stays as it is.
    #[command(after_help = SET_HELP)]
    Set(Box<BudgetSet>),
    /// List what an agent paid and holds, newest first.
    History {
        /// Which agent.
        #[command(flatten)]
        agent: AgentFlags,
        /// Where spending is recorded [default: sqlite:~/.tollway/payer.db].
        #[arg(long, value_name = "sqlite:PATH")]
        ledger: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

const SET_HELP: &str = "Examples:
  tollway budget set --agent researcher --per-call 0.05 --per-day 1 --total 5 --host api.example.com
  tollway budget set --agent researcher --consent api.example.com=0xNewPayee

The file is written anew: comments of yours in it are lost. Amounts are whole units of any dollar asset,
added up over all networks and assets; `none` takes a limit away. A day is the last 24 hours.";

/// `tollway budget set`
#[derive(Args)]
pub struct BudgetSet {
    /// Which agent.
    #[command(flatten)]
    pub agent: AgentFlags,
    /// One call may cost at most.
    #[arg(long, value_name = "AMOUNT")]
    pub per_call: Option<String>,
    /// At most within 24 hours.
    #[arg(long, value_name = "AMOUNT|none")]
    pub per_day: Option<String>,
    /// At most for ever.
    #[arg(long, value_name = "AMOUNT|none")]
    pub total: Option<String>,
    /// At most for ever at one host.
    #[arg(long, value_name = "AMOUNT|none")]
    pub per_host: Option<String>,
    /// At most within 24 hours at one host.
    #[arg(long, value_name = "AMOUNT|none")]
    pub per_host_day: Option<String>,
    /// At most for ever to one payee.
    #[arg(long, value_name = "AMOUNT|none")]
    pub per_payee: Option<String>,
    /// At most within 24 hours to one payee.
    #[arg(long, value_name = "AMOUNT|none")]
    pub per_payee_day: Option<String>,
    /// Pay this host, and no other that is not named; may be repeated; `any` for any.
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Pay on this network; may be repeated; `any` for any.
    #[arg(long = "network", value_name = "NETWORK")]
    pub networks: Vec<String>,
    /// Pay with this asset; may be repeated; `any` for any that is known.
    #[arg(long = "asset", value_name = "SYMBOL|CONTRACT")]
    pub assets: Vec<String>,
    /// Pay this account; may be repeated; `any` for any.
    #[arg(long = "payee", value_name = "ADDRESS")]
    pub payees: Vec<String>,
    /// Pay by this scheme; may be repeated; `any` for any.
    #[arg(long = "scheme", value_name = "SCHEME")]
    pub schemes: Vec<String>,
    /// Pay by this way, the preferred one first; may be repeated; `any` for any.
    #[arg(long = "method", value_name = "METHOD")]
    pub methods: Vec<String>,
    /// Whether only the payee that was paid first at a host is paid there.
    #[arg(long, value_name = "true|false")]
    pub pin_payees: Option<bool>,
    /// Another account may be paid at this host from now on, too; may be repeated.
    #[arg(long = "consent", value_name = "HOST=ADDRESS")]
    pub consents: Vec<String>,
    /// How many times the last price of the same address a price may be, such as 3 or 1.5, or `any`.
    #[arg(long, value_name = "TIMES|any")]
    pub max_price_rise: Option<String>,
    /// How long an authorization may live, 900 at most.
    #[arg(long, value_name = "SECONDS")]
    pub lifetime: Option<u64>,
    /// Whether plain http to other machines may be paid over.
    #[arg(long, value_name = "true|false")]
    pub allow_http: Option<bool>,
}
