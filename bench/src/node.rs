//! The node that every facilitator asks: the embedded chain, optionally slow.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use hyper::body::Bytes;
use tokio::net::TcpListener;
use tollway_devnet::{Devnet, DevnetServer, Mining, Preset};

/// x402-rs does not start unless these hold code: the EIP-6492 validator,
/// Permit2 and its exact proxy. Paying by EIP-3009 from a plain account never
/// calls them, so a single STOP stands there.
const PRESENT_FOR_PEERS: [&str; 3] = [
    "0xdAcD51A54883eb67D95FAEb2BBfdC4a9a6BD2a3B",
    "0x000000000022D473030F116dDEE9F6B43aC78BA3",
    "0x402085c248EeA27D92E8b30b2C58ed07f9E20001",
];

/// A running node.
pub struct Node {
    /// Its URL, behind the delay where there is one.
    pub url: String,
    server: DevnetServer,
    slow: Option<tokio::task::JoinHandle<()>>,
}

impl Node {
    /// Starts one with a block every `block_time` (zero: one for every
    /// transaction), whose answers take `delay`.
    pub async fn start(block_time: Duration, delay: Duration) -> Self {
        let mining = if block_time.is_zero() {
            Mining::Automine
        } else {
            Mining::Interval(block_time)
        };
        let devnet = Devnet::builder()
            .preset(Preset::BaseSepolia)
            .mining(mining)
            .block_gas_limit(400_000_000)
            .build()
            .expect("devnet");
        for address in PRESENT_FOR_PEERS {
            let stop = vec![0x00];
            devnet
                .set_code(address.parse().expect("address"), stop.into())
                .expect("code");
        }
        let server = devnet.serve(listen().await).expect("serve");
        let (url, slow) = if delay.is_zero() {
            (server.url(), None)
        } else {
            let listener = listen().await;
            let url = format!("http://{}", listener.local_addr().expect("address"));
            let app = Router::new()
                .route("/", post(late))
                .with_state((devnet, delay));
            let task =
                tokio::spawn(async move { axum::serve(listener, app).await.expect("serve") });
            (url, Some(task))
        };
        Self { url, server, slow }
    }

    /// Stops it.
    pub async fn stop(self) {
        if let Some(slow) = self.slow {
            slow.abort();
        }
        self.server.shutdown().await;
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("bind")
}

async fn late(
    State((devnet, delay)): State<(Devnet, Duration)>,
    body: Bytes,
) -> ([(&'static str, &'static str); 1], Vec<u8>) {
    tokio::time::sleep(delay).await;
    (
        [("content-type", "application/json")],
        devnet.handle_body(&body),
    )
}
