//! A facilitator from the r402 0.21 crates: its EVM exact scheme behind two axum routes.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use r402_evm::Eip155ExactFacilitator;
use r402_evm::chain::{Eip155ChainProvider, Eip155ChainReference};
use r402_facilitator::DynFacilitator;
use r402_protocol::{SettleRequest, VerifyRequest};
use serde_json::{Value, json};
use tollway_bench_peers::{arguments, serve};

type Shared = Arc<dyn DynFacilitator>;

async fn verify(State(facilitator): State<Shared>, Json(request): Json<VerifyRequest>) -> Json<Value> {
    Json(match facilitator.verify(request).await {
        Ok(answer) => json!(answer),
        Err(error) => json!({ "isValid": false, "invalidReason": error.to_string() }),
    })
}

async fn settle(State(facilitator): State<Shared>, Json(request): Json<SettleRequest>) -> Json<Value> {
    Json(match facilitator.settle(request).await {
        Ok(answer) => json!(answer),
        Err(error) => json!({ "success": false, "errorReason": error.to_string(), "transaction": "", "network": "eip155:84532" }),
    })
}

async fn supported(State(facilitator): State<Shared>) -> Json<Value> {
    Json(facilitator.supported().await.map_or_else(|e| json!({ "error": e.to_string() }), |s| json!(s)))
}

#[tokio::main]
async fn main() {
    let arguments = arguments();
    let signer: alloy_signer_local::PrivateKeySigner = arguments.key.parse().expect("key");
    let provider = Eip155ChainProvider::new(
        Eip155ChainReference::new(84532),
        alloy_network::EthereumWallet::from(signer),
        &[(arguments.rpc.parse().expect("url"), None)],
        true,
        false,
        30,
    )
    .expect("provider");
    let facilitator: Shared = Arc::new(Eip155ExactFacilitator::try_new(Arc::new(provider)).expect("facilitator"));
    let app = Router::new()
        .route("/verify", post(verify))
        .route("/settle", post(settle))
        .route("/supported", get(supported))
        .with_state(facilitator);
    serve(&arguments.listen, app).await;
}
