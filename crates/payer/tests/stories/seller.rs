//! A server on loopback that answers, hangs or hangs up as a script says.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollway_core::header::{self, PAYMENT_SIGNATURE, X_PAYMENT};
use tollway_core::wire::{
    Object, PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo, SettleResponse,
    Version, v1,
};
use url::Url;

pub const PAYEE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
pub const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
pub const TX: &str = "0xabababababababababababababababababababababababababababababababab";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The how-manieth payment on this server it carries, from 1; 0 without one.
    pub payment_number: usize,
}

impl Seen {
    /// The payment header, byte by byte.
    pub fn payment(&self) -> Option<String> {
        let value = self
            .headers
            .get(&PAYMENT_SIGNATURE)
            .or(self.headers.get(&X_PAYMENT))?;
        Some(value.to_str().unwrap().to_owned())
    }

    pub fn decoded(&self) -> PaymentPayload {
        header::decode(&self.payment().unwrap()).unwrap()
    }
}

/// What the server does.
pub enum Reply {
    Http(u16, Vec<(HeaderName, HeaderValue)>, Bytes),
    Hang,
    Cut,
    /// Answers like that after so many milliseconds.
    After(u64, Box<Self>),
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Http(status, Vec::new(), Bytes::new())
    }

    pub fn text(status: u16, text: &str) -> Self {
        Self::Http(status, Vec::new(), Bytes::copy_from_slice(text.as_bytes()))
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let Self::Http(_, headers, _) = &mut self {
            headers.push((name, value));
        }
        self
    }

    pub fn with_text(self, name: &'static str, value: &str) -> Self {
        self.with(HeaderName::from_static(name), value.parse().unwrap())
    }
}

/// The server. It stops with the test's runtime.
pub struct Seller {
    pub url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Seller {
    pub async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/goods", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (script, log) = (Arc::new(script), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self {
            url: url.parse().unwrap(),
            seen,
        }
    }

    /// Asks for `accepts`, and does as `script` says once a payment is shown.
    pub async fn selling(
        accepts: Vec<PaymentRequirements>,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |seen| match seen.payment_number {
            0 => challenge_by(seen, accepts.clone()),
            _ => script(seen),
        })
        .await
    }

    /// A seller who keeps what was promised.
    pub async fn honest(accepts: Vec<PaymentRequirements>) -> Self {
        Self::selling(accepts, |_| goods()).await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Every payment header that came, in order.
    pub fn payments(&self) -> Vec<String> {
        self.seen().iter().filter_map(Seen::payment).collect()
    }

    /// Payments that differ.
    pub fn distinct_payments(&self) -> usize {
        let mut all = self.payments();
        all.sort();
        all.dedup();
        all.len()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<impl Fn(&Seen) -> Reply>,
    log: Arc<Mutex<Vec<Seen>>>,
) {
    let Some(mut seen) = read(&mut stream).await else {
        return;
    };
    {
        let mut log = log.lock().unwrap();
        if seen.payment().is_some() {
            seen.payment_number = 1 + log.iter().filter(|s| s.payment_number > 0).count();
        }
        log.push(seen.clone());
    }
    let mut reply = script(&seen);
    if let Reply::After(millis, later) = reply {
        tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
        reply = *later;
    }
    match reply {
        Reply::Cut | Reply::After(..) => {}
        Reply::Hang => tokio::time::sleep(std::time::Duration::from_secs(60)).await,
        Reply::Http(status, headers, body) => {
            let mut text = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n",
                body.len()
            );
            for (name, value) in headers {
                text += &format!("{name}: {}\r\n", value.to_str().unwrap());
            }
            text += "\r\n";
            let _ = stream.write_all(text.as_bytes()).await;
            if seen.method != "HEAD" {
                let _ = stream.write_all(&body).await;
            }
            let _ = stream.shutdown().await;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut buffer = Vec::new();
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        headers.append(name.parse::<HeaderName>().ok()?, value.parse().ok()?);
    }
    let length = headers
        .get("content-length")
        .map_or(0, |v| v.to_str().unwrap().parse().unwrap());
    let mut body = buffer.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen {
        method,
        path,
        headers,
        body: body.into(),
        payment_number: 0,
    })
}

/// An honest offer of so many millionths of a dollar on Base Sepolia.
pub fn offer(amount: &str) -> PaymentRequirements {
    PaymentRequirements {
        scheme: "exact".into(),
        network: "eip155:84532".into(),
        amount: amount.into(),
        asset: USDC.into(),
        pay_to: PAYEE.into(),
        max_timeout_seconds: 300,
        extra: json!({"name": "USDC", "version": "2"}).as_object().cloned(),
    }
}

pub fn terms(accepts: Vec<PaymentRequirements>) -> PaymentRequired {
    PaymentRequired {
        x402_version: 2,
        error: Some("Payment required".into()),
        resource: ResourceInfo {
            url: "https://seller.test/goods".into(),
            ..ResourceInfo::default()
        },
        accepts,
        extensions: None,
    }
}

/// What a proof is signed for lies where it was asked for.
fn challenge_by(seen: &Seen, accepts: Vec<PaymentRequirements>) -> Reply {
    let mut terms = terms(accepts);
    let mut entries = terms.accepts.iter();
    if entries.any(|entry| entry.proof_profile().is_some()) {
        let host = seen.headers["host"].to_str().unwrap();
        terms.resource.url = format!("http://{host}/goods");
    }
    let (name, value) = header::challenge(&terms);
    Reply::text(402, "{}").with(name, value)
}

pub fn challenge(accepts: Vec<PaymentRequirements>) -> Reply {
    challenge_with(accepts, None)
}

pub fn challenge_with(accepts: Vec<PaymentRequirements>, extensions: Option<Object>) -> Reply {
    let terms = PaymentRequired {
        extensions,
        ..terms(accepts)
    };
    let (name, value) = header::challenge(&terms);
    Reply::text(402, "{}").with(name, value)
}

pub fn challenge_v1(accepts: Vec<PaymentRequirements>) -> Reply {
    let body = v1::PaymentRequired::from_v2(&terms(accepts));
    Reply::text(402, &serde_json::to_string(&body).unwrap())
}

pub fn success() -> SettleResponse {
    SettleResponse {
        success: true,
        transaction: TX.into(),
        network: "eip155:84532".into(),
        ..SettleResponse::default()
    }
}

pub fn failure(code: &str, transaction: &str) -> SettleResponse {
    SettleResponse {
        success: false,
        error_reason: Some(code.into()),
        transaction: transaction.into(),
        ..success()
    }
}

pub fn receipt(reply: Reply, response: &SettleResponse) -> Reply {
    let (name, value) = header::response(Version::V2, response);
    reply.with(name, value)
}

/// The goods, with a receipt.
pub fn goods() -> Reply {
    receipt(Reply::text(200, "the goods"), &success())
}
