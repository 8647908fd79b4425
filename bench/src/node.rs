//! The node that every facilitator asks: the embedded chain, optionally slow.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use hyper::body::Bytes;
use tokio::net::TcpListener;
use tollway_devnet::{Devnet, DevnetServer, Mining, Preset};

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
