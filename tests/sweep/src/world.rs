//! A chain, keys, a place on disk, and a seller's server.

use std::convert::Infallible;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use alloy_primitives::U256;
use bytes::Bytes;
use hyper::body::Frame;
use tempfile::TempDir;
use tollway_devnet::{DEV_ACCOUNTS, DevAccount, Devnet, DevnetServer, Mining, Preset};
use tollway_test_postgres::Postgres;

use crate::Failure;
use crate::buyer::{Buyer, NETWORK, PAYEE, PRICE};
use crate::permits::METERED_ROUTE;
use crate::plan::{Chance, Plan, Scene, Setup};
use crate::round::IN_FLIGHT;

/// What only who paid may read.
pub const GOODS: &str = "sunny, 24 degrees";
/// Where nothing is sold that the service behind can serve.
pub const BROKEN: &str = "/paid/broken";
const CALLS_ROUTE: &str = "GET /paid/*=$0.01; pass=4; audience=calls";
const HOUR_ROUTE: &str = "GET /hours/*=$0.01; pass=1h; audience=hour";
/// The account that helps payers.
pub const HELPER: DevAccount = DEV_ACCOUNTS[4];
/// What it may spend a day, in the chain's coin: more than is needed.
const HELP_PER_DAY: &str = "1";
/// Most that is streamed at once; more than can be paid for now and then.
const MOST_EVENTS: usize = 120;
/// From one event to the next.
const EVENT_PAUSE: Duration = Duration::from_millis(3);
/// Payers; each signs several payments, where the chain says which one moved.
const BUYERS: usize = 8;
/// Blocks above the payers' money before anything begins.
const FOUNDATION: u64 = 40;
/// Empty blocks until gas costs next to nothing: what was signed for it is not too
/// much later.
const CHEAP: u64 = 200;
/// Payers who can pay once.
const POOR: usize = 4;
/// Payers who can pay once, and need help.
const HELPED: usize = 8;

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
    /// Shows that whoever has it runs the server.
    pub admin_token: String,
    node: DevnetServer,
    upstream: String,
    database: Option<String>,
    has_helper: bool,
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
        let is_metered = plan.setup == Setup::Meter;
        let buyers = if is_metered { IN_FLIGHT } else { BUYERS };
        let buyers: Result<Vec<_>, _> = (0..buyers).map(|_| Buyer::by(chance)).collect();
        let buyers = buyers?;
        let has_helper = plan.scene == Scene::Helped;
        let poor = if has_helper { HELPED } else { POOR };
        let poor: Result<Vec<_>, _> = (0..poor).map(|_| Buyer::by(chance)).collect();
        let poor = poor?;
        for (all, payments) in [(&buyers, 1_000), (&poor, 1)] {
            for buyer in all {
                let minted = chain.mint(buyer.account(), U256::from(payments * PRICE));
                minted.map_err(|e| e.to_string())?;
                if is_metered {
                    buyer.allow(&chain)?;
                }
            }
        }
        // So deep that no replacement of blocks takes the money back.
        let foundation = if has_helper { CHEAP } else { FOUNDATION };
        chain.mine(foundation).map_err(|e| e.to_string())?;
        let signer = DEV_ACCOUNTS[0].key.to_string();
        write_key(&dir.path().join("signer.key"), &signer).map_err(text)?;
        write_key(&dir.path().join("hook.key"), &signer).map_err(text)?;
        write_key(&dir.path().join("helper.key"), &HELPER.key.to_string()).map_err(text)?;
        let admin_token = format!("{:032x}{:032x}", chance.any(), chance.any());
        write_key(&dir.path().join("admin.token"), &admin_token).map_err(text)?;
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
            admin_token,
            node,
            upstream,
            database,
            has_helper,
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
            Setup::Meter => gate("after", METERED_ROUTE),
            Setup::Passes => {
                let mut args = gate("after", CALLS_ROUTE);
                let hook = format!("{}/hook", self.upstream);
                let hook_key = self.path("hook.key").display().to_string();
                let admin_token = self.path("admin.token").display().to_string();
                let more = [
                    "--route",
                    HOUR_ROUTE,
                    "--webhook",
                    &hook,
                    "--webhook-key-file",
                    &hook_key,
                    "--admin-listen",
                    "127.0.0.1:0",
                    "--admin-token-file",
                    &admin_token,
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
        if self.has_helper {
            let key = self.path("helper.key").display().to_string();
            let help = [
                "--helper-key-file",
                &key,
                "--max-help-per-day",
                HELP_PER_DAY,
            ];
            args.extend(help.map(str::to_owned));
        }
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
    let asked = Arc::new(AtomicUsize::new(1));
    let events = move || async move {
        let n = asked.fetch_add(1, Ordering::Relaxed);
        let kind = [("content-type", "text/event-stream")];
        let events = Events::new(n * 37 % MOST_EVENTS + 1);
        (kind, axum::body::Body::new(events))
    };
    let app = axum::Router::new()
        .route(BROKEN, axum::routing::any(broken))
        .route("/events/{*which}", axum::routing::get(events))
        .fallback(goods);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

/// An answer that comes bit by bit.
struct Events {
    left: usize,
    pause: tokio::time::Interval,
}

impl Events {
    fn new(left: usize) -> Self {
        Self {
            left,
            pause: tokio::time::interval(EVENT_PAUSE),
        }
    }
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        ready!(self.pause.poll_tick(cx));
        self.left -= 1;
        let event = Bytes::from(format!("data: {GOODS}\n\n"));
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}
