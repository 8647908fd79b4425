//! A chain, keys, a place on disk, and a seller's server.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alloy_primitives::U256;
use tempfile::TempDir;
use tollway_devnet::{DEV_ACCOUNTS, Devnet, DevnetServer, Mining, Preset};
use tollway_test_postgres::Postgres;

use crate::Failure;
use crate::buyer::{Buyer, NETWORK, PAYEE, PRICE};
use crate::plan::{Chance, Plan, Scene, Setup};

/// What only who paid may read.
pub const GOODS: &str = "sunny, 24 degrees";
/// Where nothing is sold that the service behind can serve.
pub const BROKEN: &str = "/paid/broken";
const CALLS_ROUTE: &str = "GET /paid/*=$0.01; pass=4; audience=calls";
const HOUR_ROUTE: &str = "GET /hours/*=$0.01; pass=1h; audience=hour";
/// Payers; each signs several payments.
const BUYERS: usize = 8;
/// Blocks above the payers' money before anything begins.
const FOUNDATION: u64 = 40;
/// Payers who can pay once.
const POOR: usize = 4;

/// The programs that a round runs.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The binary, with its places to crash at.
    pub tollway: PathBuf,
    /// The judge.
    pub checker: PathBuf,
    /// A deliberate bug, for a binary that has them.
    pub mistake: Option<String>,
    /// A database server, started by the first round that needs one.
    pub postgres: Arc<OnceLock<Postgres>>,
}

/// Where a round takes place.
pub struct World {
    /// Everything on disk.
    pub dir: TempDir,
    /// The chain.
    pub chain: Devnet,
    /// The payers, with money.
    pub buyers: Vec<Buyer>,
    /// Payers with money for one payment.
    pub poor: Vec<Buyer>,
    /// From one block to the next.
    pub pause: Duration,
    node: DevnetServer,
    upstream: String,
    database: Option<String>,
}

impl World {
    /// Builds one, with a block every so often.
    pub async fn build(tools: &Tools, plan: &Plan, chance: &mut Chance) -> Result<Self, Failure> {
        let text = |e: std::io::Error| e.to_string();
        let dir = TempDir::with_prefix("tollway-sweep-").map_err(text)?;
        let pause = match plan.scene {
            Scene::Final => Duration::from_millis(15),
            _ => chance.millis(80, 200),
        };
        // Every block is made by the round's weather.
        let chain = Devnet::builder()
            .preset(Preset::BaseSepolia)
            .mining(Mining::Manual);
        let chain = chain.build().map_err(|e| e.to_string())?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let node = chain.serve(listener.map_err(text)?).map_err(text)?;
        let buyers: Result<Vec<_>, _> = (0..BUYERS).map(|_| Buyer::by(chance)).collect();
        let buyers = buyers?;
        let poor: Result<Vec<_>, _> = (0..POOR).map(|_| Buyer::by(chance)).collect();
        let poor = poor?;
        for (all, payments) in [(&buyers, 1_000), (&poor, 1)] {
            for buyer in all {
                let minted = chain.mint(buyer.account(), U256::from(payments * PRICE));
                minted.map_err(|e| e.to_string())?;
            }
        }
        // So deep that no replacement of blocks takes the money back.
        chain.mine(FOUNDATION).map_err(|e| e.to_string())?;
        let signer = DEV_ACCOUNTS[0].key.to_string();
        write_key(&dir.path().join("signer.key"), &signer).map_err(text)?;
        write_key(&dir.path().join("hook.key"), &signer).map_err(text)?;
        let upstream = upstream().await.map_err(text)?;
        let database = match plan.setup {
            Setup::Pair | Setup::Takeover => {
                Some(tools.postgres.get_or_init(Postgres::start).database().await)
            }
            _ => None,
        };
        Ok(Self {
            dir,
            chain,
            buyers,
            poor,
            pause,
            node,
            upstream,
            database,
        })
    }

    /// Where the node is.
    pub fn rpc(&self) -> String {
        self.node.url()
    }

    /// Below the round's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The ledger's URL.
    pub fn ledger(&self) -> String {
        let file = || format!("sqlite:{}", self.path("ledger.db").display());
        self.database.clone().unwrap_or_else(file)
    }

    /// The server's arguments, to listen there.
    pub fn args(&self, setup: Setup, listen: &str) -> Vec<String> {
        let network = format!("{NETWORK}={}", self.rpc());
        let key = self.path("signer.key").display().to_string();
        let (payee, ledger) = (PAYEE.to_checksum(None), self.ledger());
        let gate = |settle: &str, route: &str| {
            let words = [
                "gate",
                "--upstream",
                &self.upstream,
                "--route",
                route,
                "--pay-to",
                &payee,
                "--facilitator",
                "local",
                "--settle",
                settle,
            ];
            words.map(str::to_owned).to_vec()
        };
        let mut args = match setup {
            Setup::Facilitator | Setup::Pair | Setup::Takeover => vec![
                "facilitator".to_owned(),
                "--min-validity".to_owned(),
                "5".to_owned(),
            ],
            Setup::Gate => gate("after", "GET /paid/*=$0.01"),
            Setup::Upfront => gate("before", "GET /paid/*=$0.01"),
            Setup::Passes => {
                let mut args = gate("after", CALLS_ROUTE);
                let hook = format!("{}/hook", self.upstream);
                let hook_key = self.path("hook.key").display().to_string();
                let more = [
                    "--route",
                    HOUR_ROUTE,
                    "--webhook",
                    &hook,
                    "--webhook-key-file",
                    &hook_key,
                ];
                args.extend(more.map(str::to_owned));
                args
            }
        };
        let common = [
            "--listen",
            listen,
            "--network",
            &network,
            "--signer-key-file",
            &key,
            "--ledger",
            &ledger,
        ];
        args.extend(common.map(str::to_owned));
        args
    }

    /// The settling account, as all evidence names it.
    pub fn signer() -> String {
        format!("{:#x}", DEV_ACCOUNTS[0].address)
    }

    /// Keeps the round's folder for who looks into what went wrong.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}

fn write_key(path: &Path, key: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    std::io::Write::write_all(&mut file, key.as_bytes())
}

/// A server that knows nothing of payments, and takes a moment; and at one place
/// only fails.
async fn upstream() -> std::io::Result<String> {
    let goods = || async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        GOODS
    };
    let broken = || async { http::StatusCode::INTERNAL_SERVER_ERROR };
    let app = axum::Router::new()
        .route(BROKEN, axum::routing::any(broken))
        .fallback(goods);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
