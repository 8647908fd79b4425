//! A place to trade in: a chain, a seller's server, keys and a home.

use std::ffi::OsString;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tollway_devnet::{Builder, DEV_ACCOUNTS, DevAccount, Devnet, DevnetServer, Mining, Preset};

use tollway_ledger::{SpendRecord, SpendStore, SqliteLedger};

use super::program::{Finished, Program, run, tollway};
use super::upstream::Upstream;

/// The network that the chain poses as.
pub const NETWORK: &str = "eip155:84532";
/// Who is paid; nobody has ever paid it before.
pub const PAYEE: &str = "0x5e11e75E11e75e11E75E11E75E11e75E11E75E11";
/// Pays for gas.
pub const SIGNER: DevAccount = DEV_ACCOUNTS[0];
/// Pays for goods.
pub const BUYER: DevAccount = DEV_ACCOUNTS[2];
/// What a call of `/paid/…` costs, in atomic units.
pub const PRICE: u64 = 10_000;
/// `Transfer(address,address,uint256)`.
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

/// How a town differs from the usual one.
pub struct TownOptions {
    /// When blocks are made.
    pub mining: Mining,
    /// The seller's server.
    pub upstream: Option<Upstream>,
    /// The chain.
    pub chain: Builder,
}

impl Default for TownOptions {
    fn default() -> Self {
        Self {
            mining: Mining::Automine,
            upstream: None,
            chain: Devnet::builder().preset(Preset::BaseSepolia),
        }
    }
}

/// A chain, a seller's server, keys and a home.
pub struct Town {
    /// Everything on disk; goes with the town.
    pub dir: TempDir,
    /// The chain.
    pub chain: Devnet,
    /// The seller's server.
    pub upstream: Upstream,
    server: DevnetServer,
}

impl Town {
    /// The usual one: blocks as transactions arrive.
    pub async fn new() -> Self {
        Self::with(TownOptions::default()).await
    }

    /// One where blocks are made only when a story asks for them.
    pub async fn with_manual_blocks() -> Self {
        Self::with(TownOptions {
            mining: Mining::Manual,
            ..TownOptions::default()
        })
        .await
    }

    /// One that differs.
    pub async fn with(options: TownOptions) -> Self {
        let dir = TempDir::with_prefix("tollway-story-").unwrap();
        let chain = options.chain.mining(options.mining).build().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = chain.serve(listener).unwrap();
        let upstream = match options.upstream {
            Some(upstream) => upstream,
            None => Upstream::start().await,
        };
        let town = Self {
            dir,
            chain,
            upstream,
            server,
        };
        town.write_key("signer.key", &SIGNER);
        town.write_key("buyer.key", &BUYER);
        town
    }

    fn write_key(&self, name: &str, account: &DevAccount) {
        self.write_private(name, &account.key.to_string());
    }

    /// Writes a file that only its owner may read.
    pub fn write_private(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let _ = std::fs::remove_file(&path);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        path
    }

    /// A place on disk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The home of every process.
    pub fn home(&self) -> &Path {
        self.dir.path()
    }

    /// Where the chain's node is.
    pub fn rpc(&self) -> String {
        self.server.url()
    }

    /// A ledger's URL.
    pub fn ledger(&self, name: &str) -> String {
        format!("sqlite:{}", self.path(name).display())
    }

    /// A path below the home, as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The binary with these arguments.
    pub fn command(&self, args: &[impl AsRef<str>]) -> tokio::process::Command {
        let args: Vec<OsString> = args.iter().map(|arg| arg.as_ref().into()).collect();
        tollway(self.home(), &args)
    }

    /// Runs the binary to its end.
    pub async fn run(&self, args: &[impl AsRef<str>]) -> Finished {
        run(self.command(args)).await
    }

    /// A gate's arguments: `/paid/*` costs a cent, and the node is where `rpc` says.
    pub fn gate_args(&self, facilitator: &str, rpc: &str) -> Vec<String> {
        let mut args = strings(&[
            "gate",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            self.upstream.url(),
            "--route",
            "GET /paid/*=$0.01",
            "--pay-to",
            PAYEE,
            "--facilitator",
            facilitator,
        ]);
        args.extend(strings(&["--network", &format!("{NETWORK}={rpc}")]));
        args.extend(strings(&["--ledger", &self.ledger("gate.db")]));
        if facilitator == "local" {
            args.extend(strings(&["--signer-key-file", &self.arg("signer.key")]));
        }
        args
    }

    /// Starts a gate that settles by itself.
    pub async fn gate(&self, more: &[&str]) -> (Program, String) {
        let mut args = self.gate_args("local", &self.rpc());
        args.extend(strings(more));
        Program::serve(self.command(&args)).await
    }

    /// Starts a gate that lets somebody else settle.
    pub async fn gate_with(&self, facilitator: &str, more: &[&str]) -> (Program, String) {
        let mut args = self.gate_args(facilitator, &self.rpc());
        args.extend(strings(more));
        Program::serve(self.command(&args)).await
    }

    /// Starts a gate that lets somebody else settle, and takes its word for it.
    pub async fn trusting_gate(&self, facilitator: &str, more: &[&str]) -> (Program, String) {
        let mut args = self.gate_args(facilitator, &self.rpc());
        set(&mut args, "--network", NETWORK);
        args.extend(strings(more));
        Program::serve(self.command(&args)).await
    }

    /// A facilitator's arguments, with its node where `rpc` says.
    pub fn facilitator_args(&self, rpc: &str) -> Vec<String> {
        strings(&[
            "facilitator",
            "--listen",
            "127.0.0.1:0",
            "--network",
            &format!("{NETWORK}={rpc}"),
            "--signer-key-file",
            &self.arg("signer.key"),
            "--ledger",
            &self.ledger("facilitator.db"),
        ])
    }

    /// Starts a facilitator.
    pub async fn facilitator(&self) -> (Program, String) {
        Program::serve(self.command(&self.facilitator_args(&self.rpc()))).await
    }

    /// The arguments with which the buyer pays up to two cents.
    pub fn pay_args(&self, url: &str, more: &[&str]) -> Vec<String> {
        let mut args = strings(&[
            "pay",
            url,
            "--max",
            "0.02",
            "--key-file",
            &self.arg("buyer.key"),
            "--ledger",
            &self.ledger("payer.db"),
        ]);
        args.extend(strings(more));
        args
    }

    /// The buyer pays up to two cents.
    pub async fn pay(&self, url: &str, more: &[&str]) -> Finished {
        self.run(&self.pay_args(url, more)).await
    }

    /// What a ledger says of an engine's payments, newest first.
    pub async fn payments(&self, ledger: &str) -> Vec<Value> {
        let mut rows = self.records(ledger).await;
        rows.retain(|row| row["kind"] == "payment");
        rows
    }

    /// All that a ledger lists, newest first.
    pub async fn records(&self, ledger: &str) -> Vec<Value> {
        let done = self
            .run(&["ledger", "list", "--ledger", &self.ledger(ledger), "--json"])
            .await;
        done.exits(0).json().as_array().unwrap().clone()
    }

    /// What a ledger says of one payment, with its events.
    pub async fn payment(&self, ledger: &str, id: &str) -> Value {
        let args = [
            "ledger",
            "show",
            id,
            "--ledger",
            &self.ledger(ledger),
            "--json",
        ];
        self.run(&args).await.exits(0).json()
    }

    /// What the buyer's ledger holds of spending, newest first.
    pub async fn spends(&self) -> Vec<SpendRecord> {
        let ledger = SqliteLedger::open(&self.ledger("payer.db")).await.unwrap();
        let spends = ledger.spends(100).await.unwrap();
        ledger.close().await;
        spends
    }

    /// What the payee has, in atomic units.
    pub fn earned(&self) -> u64 {
        self.chain.balance_of(PAYEE.parse().unwrap()).to::<u64>()
    }

    /// The transactions that paid the payee.
    pub fn transfers(&self) -> Vec<String> {
        let payee = format!("0x{:0>64}", PAYEE[2..].to_lowercase());
        let filter =
            json!([{ "fromBlock": "0x0", "toBlock": "latest", "topics": [TRANSFER, null, payee] }]);
        let logs = self.chain.request("eth_getLogs", filter).unwrap();
        let hash = |log: &Value| log["transactionHash"].as_str().unwrap().to_owned();
        logs.as_array().unwrap().iter().map(hash).collect()
    }

    /// Asserts that the money of exactly one purchase moved, once.
    #[track_caller]
    pub fn paid_exactly_once(&self) {
        assert_eq!(self.transfers().len(), 1, "one transfer");
        assert_eq!(self.earned(), PRICE, "of exactly the price");
    }

    /// Asserts that no money moved.
    #[track_caller]
    pub fn nothing_was_paid(&self) {
        assert_eq!((self.transfers().len(), self.earned()), (0, 0));
    }
}

/// Gives a flag another value. The name of a command stands for its argument.
pub fn set(args: &mut [String], flag: &str, value: &str) {
    let at = args
        .iter()
        .position(|arg| arg == flag)
        .expect("the flag is there");
    value.clone_into(&mut args[at + 1]);
}

/// Takes a flag and its value away.
pub fn without(args: &[String], flag: &str) -> Vec<String> {
    let at = args
        .iter()
        .position(|arg| arg == flag)
        .expect("the flag is there");
    [&args[..at], &args[at + 2..]].concat()
}

/// Owned texts.
pub fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
