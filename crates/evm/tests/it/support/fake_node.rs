//! A node that answers what a test tells it to. It executes nothing.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use serde_json::{Value, json};
use tollway_devnet::Devnet;
use tollway_rpc::{RpcClient, RpcConfig};

/// Method and parameters in; a result, or a code and words.
pub type Answer = Arc<dyn Fn(&str, &Value) -> Result<Value, (i64, String)> + Send + Sync>;

/// Serves until the test's runtime ends.
pub async fn serve(
    answer: impl Fn(&str, &Value) -> Result<Value, (i64, String)> + Send + Sync + 'static,
) -> RpcClient {
    client(&start(answer).await)
}

/// The same, by its URL.
async fn start(
    answer: impl Fn(&str, &Value) -> Result<Value, (i64, String)> + Send + Sync + 'static,
) -> String {
    let answer: Answer = Arc::new(answer);
    let handler = move |body: Bytes| {
        let answer = Arc::clone(&answer);
        async move {
            let request: Value = serde_json::from_slice(&body).unwrap();
            let reply = match &request {
                Value::Array(calls) => calls.iter().map(|call| one(&answer, call)).collect(),
                call => one(&answer, call),
            };
            axum::Json(reply)
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/", post(handler));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

pub fn client(url: &str) -> RpcClient {
    RpcClient::new(RpcConfig::new(vec![url.parse().unwrap()])).unwrap()
}

fn one(answer: &Answer, call: &Value) -> Value {
    let id = &call["id"];
    match answer(call["method"].as_str().unwrap(), &call["params"]) {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, message)) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        }
    }
}

/// The embedded chain, with some methods answered by the test instead.
pub async fn behind(
    devnet: &Devnet,
    odd: impl Fn(&str, &Value) -> Option<Result<Value, (i64, String)>> + Send + Sync + 'static,
) -> RpcClient {
    client(&address(devnet, odd).await)
}

/// The same, by its URL.
pub async fn address(
    devnet: &Devnet,
    odd: impl Fn(&str, &Value) -> Option<Result<Value, (i64, String)>> + Send + Sync + 'static,
) -> String {
    let devnet = devnet.clone();
    start(move |method, params| {
        odd(method, params).unwrap_or_else(|| {
            devnet
                .request(method, params.clone())
                .map_err(|e| (i64::from(e.code), e.message.to_string()))
        })
    })
    .await
}
