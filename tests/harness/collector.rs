//! A stand-in for an OpenTelemetry collector: it takes what is sent by OTLP as JSON,
//! and keeps it. It is none: nothing is checked against the protocol's schema.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::Value;

/// A running stand-in.
pub struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// Starts it.
    pub async fn start() -> Self {
        let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
        let app = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&bodies));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, bodies }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All that was sent.
    pub fn text(&self) -> String {
        self.bodies.lock().unwrap().concat()
    }

    /// The spans that were sent, each with the name of its `service`.
    pub fn spans(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for body in self.bodies.lock().unwrap().iter() {
            let body: Value = serde_json::from_str(body).unwrap();
            for resource in body["resourceSpans"].as_array().unwrap() {
                let attributes = resource["resource"]["attributes"].as_array().unwrap();
                let name = attributes
                    .iter()
                    .find(|a| a["key"] == "service.name")
                    .unwrap();
                let name = name["value"]["stringValue"].clone();
                for scope in resource["scopeSpans"].as_array().unwrap() {
                    for span in scope["spans"].as_array().unwrap() {
                        let mut span = span.clone();
                        span["service"] = name.clone();
                        all.push(span);
                    }
                }
            }
        }
        all
    }
}

async fn take(
    State(bodies): State<Arc<Mutex<Vec<String>>>>,
    headers: HeaderMap,
    body: String,
) -> axum::Json<Value> {
    assert_eq!(headers["content-type"], "application/json");
    bodies.lock().unwrap().push(body);
    axum::Json(serde_json::json!({}))
}
