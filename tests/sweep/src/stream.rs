//! A client that takes what is paid for by a meter, all of it or until it hangs up.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tollway_checker::client::{Door, Stream, StreamEnd, Verdict, What};

use crate::Failure;
use crate::ask::{Opened, open, read};
use crate::buyer::Payment;
use crate::load::{PAUSE, Shop};

/// Longest wait for the next part of a stream, or for its receipt.
const PATIENCE: Duration = Duration::from_secs(60);
/// What each unit begins with.
const UNIT: &[u8] = b"data:";

/// How a payment's answer is taken: by chance, but always the same for one payment.
struct Taking {
    /// The client hangs up after so many units.
    most: Option<u64>,
    /// It wants to be told of the payment at the end.
    wants_trailers: bool,
}

impl Taking {
    fn of(payment: &Payment) -> Self {
        let [chance, more] = [payment.nonce[31], payment.nonce[30]];
        Self {
            most: (chance % 4 == 0).then(|| u64::from(more % 30) + 1),
            wants_trailers: chance % 2 == 1,
        }
    }
}

impl Shop {
    /// Shows the payment until a stream ended as it should, or none is to come.
    pub(crate) async fn stream(&mut self, payment: Payment) -> Result<(), Failure> {
        let taking = Taking::of(&payment);
        while let Some(host) = self.open().await {
            self.add(&payment, What::Sent(Door::Meter))?;
            let mut request = self.request(&payment)?;
            if taking.wants_trailers {
                let trailers = http::HeaderValue::from_static("trailers");
                request.headers_mut().insert("te", trailers);
            }
            match open(&host, request).await {
                Opened::Unreachable => {}
                Opened::Broke => self.add(&payment, What::Broke(Door::Meter))?,
                Opened::Answered(answer) if answer.status() == 200 => {
                    let stream = take(answer, taking.most).await;
                    let end = stream.end;
                    self.add(&payment, What::Streamed(stream))?;
                    if end != StreamEnd::Broke {
                        return Ok(());
                    }
                }
                Opened::Answered(answer) => match read(answer).await {
                    None => self.add(&payment, What::Broke(Door::Meter))?,
                    Some(reply) => {
                        let answer = self.read(&reply, &payment);
                        let verdict = answer.verdict();
                        self.add(&payment, What::Answered(Door::Meter, answer))?;
                        if !matches!(verdict, Verdict::Pending | Verdict::Later) {
                            return Ok(());
                        }
                    }
                },
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

async fn take(answer: Response<Incoming>, most: Option<u64>) -> Stream {
    let mut body = answer.into_body();
    let mut taken = Vec::new();
    let mut transaction = None;
    let end = loop {
        if most.is_some_and(|most| units(&taken) >= most) {
            break StreamEnd::Left;
        }
        match tokio::time::timeout(PATIENCE, body.frame()).await {
            Ok(None) => break StreamEnd::Whole,
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => taken.extend_from_slice(&data),
                Err(frame) => {
                    transaction = frame.into_trailers().ok().as_ref().and_then(paid);
                }
            },
            Ok(Some(Err(_))) | Err(_) => break StreamEnd::Broke,
        }
    };
    Stream {
        units: units(&taken),
        end,
        transaction,
    }
}

fn units(taken: &[u8]) -> u64 {
    taken.windows(UNIT.len()).filter(|at| *at == UNIT).count() as u64
}

/// The transaction that the end of a stream names as the one that paid for it.
fn paid(trailers: &HeaderMap) -> Option<String> {
    let text = STANDARD.decode(trailers.get("payment-response")?).ok()?;
    let told: Value = serde_json::from_slice(&text).ok()?;
    let paid = told["success"].as_bool().unwrap_or_default();
    let transaction = told["transaction"].as_str().filter(|tx| !tx.is_empty());
    transaction.filter(|_| paid).map(str::to_owned)
}
