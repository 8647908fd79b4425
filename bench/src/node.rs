//! The node that every facilitator asks: the embedded chain, optionally slow.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::serve::ListenerExt;
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::net::TcpListener;
use tollway_devnet::{Devnet, Mining, Preset};

/// x402-rs does not start unless these hold code: the EIP-6492 validator,
/// Permit2 and its exact proxy. Paying by EIP-3009 from a plain account never
/// calls them, so a single STOP stands there.
const PRESENT_FOR_PEERS: [&str; 3] = [
    "0xdAcD51A54883eb67D95FAEb2BBfdC4a9a6BD2a3B",
    "0x000000000022D473030F116dDEE9F6B43aC78BA3",
    "0x402085c248EeA27D92E8b30b2C58ed07f9E20001",
];

/// The longest JSON-RPC body, bytes: a batch of thousands of transactions.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// Transactions of one signer that may wait: a burst, each payment on its own.
const WAITING_PER_SENDER: usize = 16_384;

/// What each new payer gets: ten dollars.
const FUNDS: u64 = 10_000_000;

/// A chain's blocks, and how slow its node is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Between two blocks; zero: one for every transaction, at once.
    pub block_time: Duration,
    /// Until each request is looked at.
    pub delay: Duration,
}

impl Pace {
    /// Blocks every two seconds, as Base has them, and a node that answers at once.
    pub const BLOCKS: Self = Self {
        block_time: Duration::from_secs(2),
        delay: Duration::ZERO,
    };
}

/// One block, as anybody who asks the node sees it.
#[derive(Clone, Copy, Debug)]
pub struct BlockSeen {
    /// When it began to be filled: what was sent before can be in it.
    pub due: Instant,
    /// When the node had it.
    pub visible: Instant,
}

/// A running node.
pub struct Node {
    /// Its URL.
    pub url: String,
    /// The chain itself.
    pub devnet: Devnet,
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
    server: tokio::task::JoinHandle<()>,
}

/// What the node notes.
#[derive(Default)]
struct Record {
    methods: Mutex<BTreeMap<String, u64>>,
    blocks: Mutex<Vec<BlockSeen>>,
}

impl Node {
    /// Starts one with blocks of 400M gas.
    pub async fn start(pace: Pace) -> Self {
        let manual = !pace.block_time.is_zero();
        let devnet = Devnet::builder()
            .preset(Preset::BaseSepolia)
            .mining(if manual {
                Mining::Manual
            } else {
                Mining::Automine
            })
            .block_gas_limit(400_000_000)
            .waiting_per_sender(WAITING_PER_SENDER)
            .build()
            .expect("devnet");
        for address in PRESENT_FOR_PEERS {
            let stop = vec![0x00];
            devnet
                .set_code(address.parse().expect("address"), stop.into())
                .expect("code");
        }
        let (record, stop) = (
            Arc::new(Record::default()),
            Arc::new(AtomicBool::new(false)),
        );
        if manual {
            let (devnet, record, stop) = (devnet.clone(), record.clone(), stop.clone());
            std::thread::spawn(move || mine(&devnet, &record, &stop, pace.block_time));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let app = Router::new()
            .route("/", post(answer))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state((devnet.clone(), record.clone(), pace.delay));
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("serve") });
        Self {
            url,
            devnet,
            record,
            stop,
            server,
        }
    }

    /// Gives each of these accounts ten test dollars.
    pub fn fund(&self, accounts: &[Address]) {
        for account in accounts {
            self.devnet.mint(*account, U256::from(FUNDS)).expect("mint");
        }
    }

    /// How often each method was asked for so far; the elements of a batch count singly.
    pub fn methods(&self) -> BTreeMap<String, u64> {
        self.record.methods.lock().expect("methods").clone()
    }

    /// Every block so far.
    pub fn blocks(&self) -> Vec<BlockSeen> {
        self.record.blocks.lock().expect("blocks").clone()
    }

    /// Stops it.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.server.abort();
        let _ = self.server.await;
    }
}

/// Mines on the beat, and notes when.
fn mine(devnet: &Devnet, record: &Record, stop: &AtomicBool, every: Duration) {
    let mut next = Instant::now() + every;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let due = Instant::now();
        devnet.mine(1).expect("block");
        let visible = Instant::now();
        record
            .blocks
            .lock()
            .expect("blocks")
            .push(BlockSeen { due, visible });
        next = (next + every).max(visible);
    }
}

async fn answer(
    State((devnet, record, delay)): State<(Devnet, Arc<Record>, Duration)>,
    body: Bytes,
) -> ([(&'static str, &'static str); 1], Vec<u8>) {
    record.count(&body);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    // The EVM runs off the async threads: a block takes a while.
    let answer = tokio::task::spawn_blocking(move || devnet.handle_body(&body))
        .await
        .expect("chain");
    ([("content-type", "application/json")], answer)
}

/// One call, or one element of a batch.
#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Body<'a> {
    #[serde(borrow)]
    Batch(Vec<Call<'a>>),
    #[serde(borrow)]
    Single(Call<'a>),
}

impl Record {
    fn count(&self, body: &[u8]) {
        let calls = match serde_json::from_slice(body) {
            Ok(Body::Batch(calls)) => calls,
            Ok(Body::Single(call)) => vec![call],
            Err(_) => return,
        };
        let mut methods = self.methods.lock().expect("methods");
        for call in calls {
            *methods.entry(call.method.into_owned()).or_default() += 1;
        }
    }
}
