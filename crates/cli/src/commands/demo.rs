//! `tollway demo`: one paid request from end to end, in one process, offline.
//!
//! Every part is the real one: an embedded EVM chain with JSON-RPC, the gate
//! with its engine and ledger before a sample server, and a payer with a
//! budget. Only the money is pretended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::response::Json;
use axum::routing::get;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tollway_core::Amount;
use tollway_devnet::{DEV_ACCOUNTS, DevAccount, Devnet, DevnetServer, Preset};
use tollway_evm::{EvmSigner, EvmWallet};
use tollway_ledger::{Limit, LimitScope, Store};
use tollway_payer::{PayRequest, Payer, Payment, Policy};

use crate::cli::{DemoArgs, GateArgs};
use crate::commands::gate::Opened;
use crate::commands::pay;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::story::Story;
use crate::{keys, serve, wiring};

const NETWORK: &str = "eip155:84532";
const PRICE: &str = "$0.01";
const SIGNER: DevAccount = DEV_ACCOUNTS[0];
const SELLER: DevAccount = DEV_ACCOUNTS[1];
const BUYER: DevAccount = DEV_ACCOUNTS[2];
/// The buyer's budget: one dollar, ever.
const BUDGET_ATOMIC: u128 = 1_000_000;

/// Runs it: once, or until it is stopped.
pub async fn run(args: DemoArgs) -> Result<Exit, Failure> {
    let stop = serve::stop_on_signal()?;
    let scratch = Scratch::new()?;
    let start = Instant::now();
    let story = if args.json {
        Story::Silent
    } else {
        Story::Sentences
    };
    let stage = Stage::open(&scratch, story).await?;
    if !args.json {
        stage.introduce();
    }
    let gate_stop = CancellationToken::new();
    let serving = tokio::spawn(stage.gate.serve(gate_stop.clone()));
    let bought = buy(&stage.url, &stage.rpc_url, &scratch, story).await;
    let result = bought.map(|answer| answer.tell(args.json, start));
    if result.is_ok() && !args.once {
        invite(&stage.url, &stage.rpc_url, &scratch, args.json);
        stop.cancelled().await;
    }
    gate_stop.cancel();
    let _ = serving.await;
    stage.chain.shutdown().await;
    result.map(|()| Exit::Done)
}

/// A private directory that goes when the demo ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("tollway-demo-{}", std::process::id()));
        keys::private_directory(&path)?;
        let scratch = Self(path);
        scratch.write_key("signer.key", &SIGNER)?;
        scratch.write_key("buyer.key", &BUYER)?;
        Ok(scratch)
    }

    fn write_key(&self, name: &str, account: &DevAccount) -> Result<(), Failure> {
        keys::write_private(&self.path(name), &account.key.to_string())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn ledger(&self, name: &str) -> String {
        format!("sqlite:{}", self.path(name).display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The chain, the sample server and the gate before it.
struct Stage {
    chain: DevnetServer,
    gate: Opened,
    rpc_url: String,
    upstream: String,
    url: String,
}

impl Stage {
    async fn open(scratch: &Scratch, story: Story) -> Result<Self, Failure> {
        let (listener, _) = serve::bind("127.0.0.1:0").await?;
        let chain = Devnet::builder()
            .preset(Preset::BaseSepolia)
            .build()
            .map_err(Failure::new)?
            .serve(listener)
            .map_err(Failure::new)?;
        let rpc_url = chain.url();
        let upstream = sample_server().await?;
        let args = GateArgs {
            listen: Some("127.0.0.1:0".to_owned()),
            upstream: Some(upstream.clone()),
            routes: vec![format!("GET /paid/*={PRICE}")],
            pay_to: Some(SELLER.address.to_string()),
            networks: vec![format!("{NETWORK}={rpc_url}")],
            facilitator: Some("local".to_owned()),
            signer_key_files: vec![scratch.path("signer.key")],
            ledger: Some(scratch.ledger("gate.db")),
            ..GateArgs::default()
        };
        let gate = Opened::open(&args, &Environment::empty(), Some(story)).await?;
        let url = format!("http://{}/paid/weather", gate.address);
        Ok(Self {
            chain,
            gate,
            rpc_url,
            upstream,
            url,
        })
    }

    fn introduce(&self) {
        eprintln!("A chain, a seller and a buyer, in this process. The dollars are test dollars.");
        eprintln!(
            "  chain     {}  {NETWORK}, posing as Base Sepolia",
            self.rpc_url
        );
        eprintln!(
            "  upstream  {}  a sample server that knows nothing of payments",
            self.upstream
        );
        eprintln!(
            "  gate      http://{}  GET /paid/* costs {PRICE}",
            self.gate.address
        );
        eprintln!("  buyer     {}  with a budget of $1\n", BUYER.address);
    }
}

async fn sample_server() -> Result<String, Failure> {
    let app = Router::new()
        .route(
            "/paid/weather",
            get(|| async { Json(json!({ "city": "Lisbon", "weather": "sunny", "celsius": 24 })) }),
        )
        .route(
            "/",
            get(|| async { "This page is free. GET /paid/weather is not.\n" }),
        );
    let (listener, address) = serve::bind("127.0.0.1:0").await?;
    // It ends with the process: nobody pays it, and nobody waits for it.
    tokio::spawn(serve::serve(listener, app, CancellationToken::new()));
    Ok(format!("http://{address}"))
}

/// What the buyer got.
struct Answer {
    status: u16,
    body: Vec<u8>,
    payment: Payment,
}

async fn buy(url: &str, rpc_url: &str, scratch: &Scratch, story: Story) -> Result<Answer, Failure> {
    let key = EvmSigner::from_bytes(&BUYER.key.0).map_err(Failure::new)?;
    let setting = wiring::networks(&[format!("{NETWORK}={rpc_url}")], &Environment::empty())?;
    let mut wallet = EvmWallet::new(key);
    for setting in &setting {
        wallet = wallet.with_node(setting.network.clone(), wiring::node(setting, false)?);
    }
    let ledger = Store::open(&scratch.ledger("payer.db"))
        .await
        .map_err(Failure::new)?;
    let budget = Limit {
        scope: LimitScope::Account,
        window: None,
        max: Amount::from_atomic(BUDGET_ATOMIC),
    };
    let payer = Payer::builder()
        .wallet(Arc::new(wallet))
        .spends(Arc::new(ledger.clone()))
        .policy(Policy::default())
        .limits(vec![budget])
        .story(move |event| story.tell_buyer(event))
        .build()
        .map_err(|e| pay::failure(&e))?;
    let request = PayRequest::get(wiring::http_url(url, "The URL")?);
    let paid = payer.fetch(request).await.map_err(|e| pay::failure(&e))?;
    let payment = paid
        .payment
        .ok_or_else(|| Failure::new("The sample answer was free; report this."))?;
    let (parts, body) = paid.response.into_parts();
    let body = body.bytes(1 << 20).await.map_err(Failure::new)?.to_vec();
    ledger.close().await;
    Ok(Answer {
        status: parts.status.as_u16(),
        body,
        payment,
    })
}

impl Answer {
    fn tell(&self, as_json: bool, start: Instant) {
        if as_json {
            println!("{}", self.json(start));
            return;
        }
        eprintln!("← {}", self.status);
        println!("{}", String::from_utf8_lossy(&self.body));
        eprintln!(
            "\n{} moved from {} to {}",
            self.payment.words, self.payment.payer, self.payment.payee
        );
    }

    fn json(&self, start: Instant) -> Value {
        let decimals = tollway_core::assets::find(&self.payment.network, &self.payment.asset)
            .map_or(0, |a| a.decimals);
        json!({
            "status": self.status,
            "transaction": self.payment.transaction,
            "network": self.payment.network,
            "paid": self.payment.amount.to_decimal(decimals),
            "ms": u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}

fn invite(url: &str, rpc_url: &str, scratch: &Scratch, as_json: bool) {
    if as_json {
        return;
    }
    let key: &Path = &scratch.path("buyer.key");
    eprintln!("\nTry it yourself, from another terminal:");
    eprintln!("  tollway inspect {url}");
    eprintln!(
        "  tollway pay {url} --max 0.02 --network {NETWORK}={rpc_url} --key-file {}",
        key.display()
    );
    eprintln!(
        "  tollway ledger list --ledger {}",
        scratch.ledger("gate.db")
    );
    eprintln!("Ctrl-C ends it.");
}
