//! A client that shows a payment until it has ended, and records it first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::watch;
use tollway_checker::client::{Answer, Door, Recorder, Verdict, What};

use crate::Failure;
use crate::ask::{Asked, Reply, ask};
use crate::buyer::{Payment, requirements};
use crate::plan::Setup;
use crate::world::GOODS;

/// Pause before the same payment is shown again.
pub(crate) const PAUSE: Duration = Duration::from_millis(120);

/// Where payments are shown.
#[derive(Clone)]
pub struct Shop {
    /// `ADDRESS:PORT` of the server, while it lives.
    pub host: watch::Receiver<Option<String>>,
    /// Where everything is written first.
    pub recorder: Arc<Recorder>,
    /// Who is asked.
    pub setup: Setup,
    /// A gate's terms.
    pub terms: Option<Value>,
    /// Payments that have not ended.
    pub left: Arc<AtomicUsize>,
    /// Where the seller takes passes back, while the server lives, and by which token.
    pub admin: watch::Receiver<Option<String>>,
    /// What the seller shows there.
    pub admin_token: String,
}

impl Shop {
    fn door(&self) -> Door {
        match self.setup {
            Setup::Facilitator | Setup::Pair | Setup::Takeover => Door::Settle,
            Setup::Gate | Setup::Upfront | Setup::Passes => Door::Gate,
            Setup::Meter => Door::Meter,
        }
    }

    /// Records that a payment is signed.
    pub fn record(&self, payment: &Payment) -> Result<(), Failure> {
        self.add(payment, What::Signed(payment.signed.clone()))
    }

    pub(crate) fn add(&self, payment: &Payment, what: What) -> Result<(), Failure> {
        let added = self.recorder.add(&payment.auth, what);
        added.map_err(|e| format!("the client's record: {e}"))
    }

    /// Shows a payment until it has ended.
    pub async fn show(mut self, payment: Payment) -> Result<(), Failure> {
        let shown = match self.setup {
            Setup::Passes => self.hold(payment).await,
            Setup::Meter => self.stream(payment).await,
            _ => self.show_on(payment).await,
        };
        self.left.fetch_sub(1, Ordering::Relaxed);
        shown
    }

    async fn show_on(&mut self, payment: Payment) -> Result<(), Failure> {
        let door = self.door();
        while let Some(host) = self.open().await {
            self.add(&payment, What::Sent(door))?;
            match ask(&host, self.request(&payment)?).await {
                Asked::Unreachable => {}
                Asked::Broke => self.add(&payment, What::Broke(door))?,
                Asked::Replied(reply) => {
                    let answer = self.read(&reply, &payment);
                    let verdict = answer.verdict();
                    self.add(&payment, What::Answered(door, answer))?;
                    if !matches!(verdict, Verdict::Pending | Verdict::Later) {
                        return Ok(());
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Waits until the server lives; nothing if it never will.
    pub(crate) async fn open(&mut self) -> Option<String> {
        let host = self.host.wait_for(Option::is_some).await.ok()?;
        host.clone()
    }

    pub(crate) fn request(&self, payment: &Payment) -> Result<Request<Full<Bytes>>, Failure> {
        let built = match &self.terms {
            None => settling(payment),
            Some(terms) => buying(wares(self.setup), terms, payment),
        };
        built.map_err(|e| e.to_string())
    }

    pub(crate) fn read(&self, reply: &Reply, payment: &Payment) -> Answer {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let told = match self.setup {
            Setup::Facilitator | Setup::Pair | Setup::Takeover => body.clone(),
            Setup::Gate | Setup::Upfront | Setup::Passes | Setup::Meter => receipt(reply),
        };
        let word = |value: &Value| value.as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        let goods = reply.status == 200 && reply.body == GOODS;
        Answer {
            status: reply.status,
            success: told["success"].as_bool(),
            code: word(&told["errorReason"]).or_else(|| word(&body["error"])),
            transaction: word(&told["transaction"]),
            key: payment.key.clone(),
            goods: goods && self.terms.is_some(),
            terms: reply.headers.contains_key("payment-required"),
        }
    }
}

/// `POST /settle`.
fn settling(payment: &Payment) -> http::Result<Request<Full<Bytes>>> {
    let requirements = requirements(payment);
    let mut body = json!({
        "x402Version": 2,
        "paymentPayload": {
            "x402Version": 2,
            "resource": { "url": "http://shop.example/paid/weather" },
            "accepted": requirements,
            "payload": payment.payload,
        },
        "paymentRequirements": requirements,
    });
    if let Some(extensions) = &payment.extensions {
        body["paymentPayload"]["extensions"] = extensions.clone();
    }
    let mut request = Request::post("/settle")
        .header("host", "facilitator")
        .header("content-type", "application/json");
    if let Some(key) = &payment.key {
        request = request.header("idempotency-key", key);
    }
    request.body(Full::new(body.to_string().into()))
}

/// `GET` of a priced path.
fn buying(path: &str, terms: &Value, payment: &Payment) -> http::Result<Request<Full<Bytes>>> {
    let payload = presented(terms, payment);
    Request::get(path)
        .header("host", "shop")
        .header("payment-signature", STANDARD.encode(payload.to_string()))
        .body(Full::default())
}

/// The payment as a gate's terms ask for it.
pub(crate) fn presented(terms: &Value, payment: &Payment) -> Value {
    let mut extensions = terms["extensions"].clone();
    let named = extensions.pointer_mut("/payment-identifier/info");
    if let (Some(key), Some(info)) = (&payment.key, named) {
        info["id"] = key.as_str().into();
    }
    json!({
        "x402Version": 2,
        "resource": terms["resource"],
        "accepted": terms["accepts"][0],
        "payload": payment.payload,
        "extensions": extensions,
    })
}

/// What a gate says in PAYMENT-RESPONSE.
fn receipt(reply: &Reply) -> Value {
    decoded(reply, "payment-response").unwrap_or_default()
}

fn decoded(reply: &Reply, header: &str) -> Option<Value> {
    let text = STANDARD.decode(reply.headers.get(header)?).ok()?;
    serde_json::from_slice(&text).ok()
}

/// What a gate is asked for.
const fn wares(setup: Setup) -> &'static str {
    match setup {
        Setup::Meter => "/events/weather",
        _ => "/paid/weather",
    }
}

/// Asks a gate what it wants.
pub async fn terms(host: &str, setup: Setup) -> Result<Value, Failure> {
    let request = Request::get(wares(setup))
        .header("host", "shop")
        .body(Full::default());
    match ask(host, request.map_err(|e| e.to_string())?).await {
        Asked::Replied(reply) => {
            decoded(&reply, "payment-required").ok_or_else(|| "the gate has no terms".into())
        }
        Asked::Unreachable | Asked::Broke => Err("the gate does not answer".into()),
    }
}
