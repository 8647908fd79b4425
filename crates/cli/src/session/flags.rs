//! `tollway session …`: flags.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `tollway session …`
#[derive(Subcommand)]
#[command(
    after_help = "Example, an agent that pays for six hours, at most 100 calls of at most $0.10:
  tollway session create agent --network starknet=https://your.rpc --account 0xYourAccount \\
    --lifetime 6h --max-calls 100 --max-per-call 0.10
  tollway session register agent --owner-key-file owner.key
  tollway pay https://api.example/paid/weather --session agent

What the account allows it also enforces: a stolen session key spends what is left of its limits.
When the agent is done, end it: tollway session revoke agent --owner-key-file owner.key"
)]
pub enum SessionCommand {
    /// Make a session key and encrypt it; the account knows nothing of it yet.
    Create(CreateArgs),
    /// Take over a session key from the text of the published session SDKs (`U2FsdGVkX1…`).
    Import(ImportArgs),
    /// Print a session key as the published session SDKs keep it: weakly encrypted.
    Export(ExportArgs),
    /// Let the session spend for its account: signed by the owner.
    Register(OwnerArgs),
    /// Put a fresh key in a session's place, with one signature of the owner.
    Renew(RenewArgs),
    /// End a session, and remove its key from here.
    Revoke(OwnerArgs),
    /// Deploy an account whose sessions can pay.
    Deploy(DeployArgs),
    /// Say what the account has on record about a session.
    Status {
        /// Its name.
        name: String,
        /// Warn if fewer calls are left.
        #[arg(long, value_name = "N", default_value_t = 5)]
        warn_below: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the sessions that are kept here.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// How much of a token a session may move.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Have any calls made by a session.
    Execute(ExecuteArgs),
}

/// What a session is made for.
#[derive(Args)]
pub struct CreateArgs {
    /// Its name.
    pub name: String,
    /// The account's network and the URL of a node.
    #[arg(long, value_name = "NETWORK[=RPC_URL]", default_value = "starknet")]
    pub network: String,
    /// The account that it spends for.
    #[arg(long, value_name = "ADDRESS")]
    pub account: String,
    /// How long it lives: 90s, 30m, 6h or 7d.
    #[arg(long, value_name = "TIME", default_value = "6h")]
    pub lifetime: String,
    /// How many calls it may make.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_calls: u32,
    /// How much one call may cost, in units of the token.
    #[arg(long, value_name = "AMOUNT", default_value = "0.10")]
    pub max_per_call: String,
    /// What it pays with: a symbol or a contract [default: the network's dollar].
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Entry point that it may call, by name or selector; may be repeated [default: transfer].
    #[arg(long = "entrypoint", value_name = "NAME|SELECTOR")]
    pub entrypoints: Vec<String>,
    /// Let it call every entry point but the account's own.
    #[arg(long, conflicts_with = "entrypoints")]
    pub everything: bool,
    /// An asset beside the built-in ones; one of the same name on the same network takes its place.
    /// May be repeated.
    #[arg(
        long = "add-asset",
        value_name = "SYMBOL=CONTRACT,DECIMALS,NETWORK[,NAME,VERSION[,METHOD…]]"
    )]
    pub add_assets: Vec<String>,
    /// Allow plain http to a node on another machine.
    #[arg(long)]
    pub allow_http: bool,
    /// File with the passphrase that encrypts it (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// A key that exists already.
#[derive(Args)]
pub struct ImportArgs {
    /// What it is made for; --lifetime is how long it still lives.
    #[command(flatten)]
    pub session: CreateArgs,
    /// File with the text (mode 0600).
    #[arg(long, value_name = "FILE")]
    pub salted_file: PathBuf,
    /// File with the password of that text (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub salted_password_file: Option<PathBuf>,
}

/// A key that is to be used elsewhere.
#[derive(Args)]
pub struct ExportArgs {
    /// Its name.
    pub name: String,
    /// File with the password of the text (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub salted_password_file: Option<PathBuf>,
    /// File with the session's passphrase (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Who signs, and who pays the fee.
#[derive(Args, Default)]
pub struct OwnerArgs {
    /// The session's name.
    pub name: String,
    /// Who signs, and who pays.
    #[command(flatten)]
    pub owner: Owner,
}

/// The owner's key, and who pays the fee.
#[derive(Args, Default)]
pub struct Owner {
    /// File with the account owner's key (mode 0600).
    #[arg(long, value_name = "FILE")]
    pub owner_key_file: Option<PathBuf>,
    /// Who pays the fee.
    #[command(flatten)]
    pub fees: Fees,
}

/// Who pays the fee: the account itself, or a sponsor.
#[derive(Args, Default)]
pub struct Fees {
    /// Facilitator that pays the fee [default: the account pays].
    #[arg(long, value_name = "URL")]
    pub sponsor: Option<String>,
    /// Key that the sponsor asks for (file with mode 0600).
    #[arg(long, value_name = "FILE", requires = "sponsor")]
    pub sponsor_key_file: Option<PathBuf>,
    /// Pay at most this much STRK for one transaction.
    #[arg(long, value_name = "STRK")]
    pub max_fee: Option<String>,
}

/// A fresh key in a session's place.
#[derive(Args)]
pub struct RenewArgs {
    /// The session's name.
    pub name: String,
    /// How long the fresh key lives.
    #[arg(long, value_name = "TIME", default_value = "6h")]
    pub lifetime: String,
    /// File with the session's passphrase (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Who signs, and who pays.
    #[command(flatten)]
    pub owner: Owner,
}

/// An account that is not there yet.
#[derive(Args)]
pub struct DeployArgs {
    /// Where, and the URL of a node.
    #[arg(long, value_name = "NETWORK[=RPC_URL]", default_value = "starknet")]
    pub network: String,
    /// Make the owner's key, in the file that --owner-key-file names and that is not there yet.
    #[arg(long)]
    pub new_key: bool,
    /// A number: with another one the account has another address.
    #[arg(long, value_name = "HEX", default_value = "0x0")]
    pub salt: String,
    /// Class of the account [default: Tollway's own, which must be declared on the network].
    #[arg(long, value_name = "HEX")]
    pub class: Option<String>,
    /// Print the address that it will have, and deploy nothing.
    #[arg(long)]
    pub address_only: bool,
    /// Allow plain http to a node on another machine.
    #[arg(long)]
    pub allow_http: bool,
    /// Who owns it, and who pays.
    #[command(flatten)]
    pub owner: Owner,
}

/// `tollway session policy …`
#[derive(Subcommand)]
pub enum PolicyCommand {
    /// Set it; what was moved counts anew.
    Set {
        /// The session's name.
        name: String,
        /// At most this much by one call, in units of the token.
        #[arg(long, value_name = "AMOUNT")]
        max_per_call: String,
        /// At most this much in a window.
        #[arg(long, value_name = "AMOUNT")]
        max_per_window: String,
        /// How long a window is.
        #[arg(long, value_name = "TIME", default_value = "24h")]
        window: String,
        /// Of what [default: what the session pays with].
        #[arg(long, value_name = "TOKEN")]
        token: Option<String>,
        /// Who signs, and who pays.
        #[command(flatten)]
        owner: Owner,
    },
    /// Print it, and what is left of its window.
    Get {
        /// The session's name.
        name: String,
        /// Of what [default: what the session pays with].
        #[arg(long, value_name = "TOKEN")]
        token: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove it: a session without any may move all of every token.
    Remove {
        /// The session's name.
        name: String,
        /// Of what [default: what the session pays with].
        #[arg(long, value_name = "TOKEN")]
        token: Option<String>,
        /// Consent to that: without its last policy a session may move all of every token.
        #[arg(long)]
        everything: bool,
        /// Who signs, and who pays.
        #[command(flatten)]
        owner: Owner,
    },
}

/// Calls by a session.
#[derive(Args)]
pub struct ExecuteArgs {
    /// The session's name.
    pub name: String,
    /// A call, by contract, entry point and numbers; may be repeated. All happen, or none.
    #[arg(
        long = "call",
        value_name = "CONTRACT:ENTRYPOINT[:N,N…]",
        required = true
    )]
    pub calls: Vec<String>,
    /// Another account that sends them and pays, with the file (mode 0600) of its key.
    #[arg(
        long,
        value_name = "ADDRESS=KEY_FILE",
        required_unless_present = "sponsor"
    )]
    pub sender: Option<String>,
    /// File with the session's passphrase (mode 0600) [default: ask].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Where spending is recorded [default: sqlite:~/.tollway/payer.db].
    #[arg(long, value_name = "URL")]
    pub ledger: Option<String>,
    /// Who pays the fee.
    #[command(flatten)]
    pub fees: Fees,
}
