//! A paid route from x402-axum 2.0.2, as its README builds one.

use axum::Router;
use axum::routing::get;
use tollway_bench_peers::{arguments, serve};
use x402_axum::X402Middleware;
use x402_chain_eip155::{KnownNetworkEip155, V2Eip155Exact};
use x402_types::networks::USDC;

#[tokio::main]
async fn main() {
    let arguments = arguments();
    let x402 = X402Middleware::new(&arguments.rpc);
    let price = V2Eip155Exact::price_tag(
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse::<x402_chain_eip155::chain::ChecksummedAddress>().expect("payee"),
        USDC::base_sepolia().parse("0.01").expect("price"),
    );
    let app = Router::new().route(
        "/paid/report",
        get(|| async { "{\"weather\":\"sunny\"}" }).layer(x402.with_price_tag(price)),
    );
    serve(&arguments.listen, app).await;
}
