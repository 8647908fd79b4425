//! The flags of `tollway signer`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tollway_payer::MOST_PER_HOUR;

use crate::agent::flags::{AgentFlags, BuyerArgs};

/// `tollway signer …`
#[derive(Subcommand)]
pub enum SignerCommand {
    /// Sign at a Unix socket, within a policy and a budget of the signer's own.
    Serve(Box<SignerServe>),
    /// Ask a signer whose money it spends.
    Accounts(SignerAccounts),
}

const SERVE_HELP: &str = "Examples:
  tollway budget set --agent researcher --per-call 0.05 --per-day 1 --total 5 --payee 0xSeller
  tollway signer serve --socket ~/.tollway/run/signer.sock --agent researcher --wallet agent
  tollway pay https://api.example.com/paid/report --max 0.05 --signer unix:$HOME/.tollway/run/signer.sock

The program that pays has no key: it sends terms, and the signer makes the payment by its own tables, checks
the agent's policy, and reserves the price in its own record before it signs. Payees, networks, assets, prices
and budgets are the signer's own to check. Hosts are those that the caller says: a policy that has hosts,
consents or limits per host is refused, and payees are not pinned to hosts nor prices compared with earlier
ones, unless --trust-hosts is given. The policy is read once, at the start, and must have a budget. What costs
gas besides (txid) is signed only if the policy names it.
With --network NETWORK=RPC_URL expired payments that the chain shows unused are given back to the budget;
without it they stay counted.";

/// `tollway signer serve`
#[derive(Args)]
#[command(after_help = SERVE_HELP)]
pub struct SignerServe {
    /// Where callers come: a path in a folder that only you reach (mode 0700; made if it is missing).
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// Whose policy and budget hold.
    #[command(flatten)]
    pub agent: AgentFlags,
    /// Serve programs of this user too, by number; everybody can knock then (folder of mode 0711). May be repeated.
    #[arg(long = "serve-user", value_name = "UID")]
    pub serve_users: Vec<u32>,
    /// Key that signs (file with mode 0600), or one in AWS or Google Cloud KMS where this program is built with it.
    #[arg(
        long,
        value_name = "FILE|aws-kms:KEY|gcp-kms:KEY",
        conflicts_with = "wallet"
    )]
    pub key_file: Option<PathBuf>,
    /// Wallet that signs (see `tollway wallet list`).
    #[arg(long, value_name = "NAME")]
    pub wallet: Option<String>,
    /// Session that signs (see `tollway session create`).
    #[arg(long, value_name = "NAME", conflicts_with_all = ["key_file", "wallet"])]
    pub session: Option<String>,
    /// Starknet account that signs, with the file (mode 0600) of its owner's key; with --session it
    /// signs where the session is over, used up or revoked.
    #[arg(long, value_name = "ADDRESS=KEY_FILE", conflicts_with_all = ["key_file", "wallet"])]
    pub starknet_account: Option<String>,
    /// File with the wallet's or the session's passphrase (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Keep the policy's rules by host, though a host is what the caller says it is.
    #[arg(long)]
    pub trust_hosts: bool,
    /// Sign for at most so many payments within an hour, whatever they cost: each stays on record.
    #[arg(long, value_name = "NUMBER", default_value_t = MOST_PER_HOUR, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_per_hour: u64,
    /// Sign only on this network, with an RPC URL to look at it; may be repeated.
    #[arg(long = "network", value_name = "NETWORK[=RPC_URL][; CONTRACT=ADDRESS]")]
    pub networks: Vec<String>,
    /// Sign unlimited approvals of Permit2 too, where a server pays their gas; permits of what one payment
    /// costs are signed for it without.
    #[arg(long)]
    pub approve: bool,
    /// An asset beside the built-in ones; may be repeated.
    #[arg(
        long = "add-asset",
        value_name = "SYMBOL=CONTRACT,DECIMALS,NETWORK[,NAME,VERSION[,METHOD…]]"
    )]
    pub add_assets: Vec<String>,
    /// Where what is signed for is recorded [default: sqlite:~/.tollway/signer.db].
    #[arg(long, value_name = "sqlite:PATH")]
    pub ledger: Option<String>,
    /// Allow plain http to nodes on other machines.
    #[arg(long)]
    pub allow_http: bool,
}

impl SignerServe {
    /// As whoever pays is set up.
    pub fn buyer(&self) -> BuyerArgs {
        BuyerArgs {
            networks: self.networks.clone(),
            approve: self.approve,
            key_file: self.key_file.clone(),
            wallet: self.wallet.clone(),
            session: self.session.clone(),
            starknet_account: self.starknet_account.clone(),
            add_assets: self.add_assets.clone(),
            passphrase_file: self.passphrase_file.clone(),
            ledger: self.ledger.clone(),
            allow_http: self.allow_http,
            ..BuyerArgs::default()
        }
    }
}

/// `tollway signer accounts`
#[derive(Args)]
#[command(after_help = "Example:
  tollway signer accounts unix:$HOME/.tollway/run/signer.sock")]
pub struct SignerAccounts {
    /// The signer's socket.
    #[arg(value_name = "unix:PATH")]
    pub signer: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
