//! Posting a recorded payment to a token endpoint until the answer is decided, and
//! opening the request with what comes back.

use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode, header};
use tollway_core::{Refusal, SpendId};
use tollway_ledger::{SpendRecord, SpendState};

use super::permit::{TokenPurchase, body};
use super::reply::{Reply, beside, complaint, parse};
use super::store::KeptToken;
use super::visit::{Pass, useless};
use crate::body::PayBody;
use crate::code;
use crate::crash;
use crate::engine::{Bought, Engine, Ready};
use crate::error::{Answer, ErrorKind, PayError};
use crate::event::Event;
use crate::note::Note;
use crate::offer::Via;
use crate::payment::{Payment, Standing};
use crate::policy::origin;
use crate::present::Shown;
use crate::receipt::{Claim, claim};
use crate::request::PayRequest;
use crate::transport::{Lost, Transport, post_within, send_within};
use crate::verdict::{Reason, Verdict, judge, retry_after};

/// Longest answer of a token endpoint.
const MAX_REPLY_BYTES: usize = 64 * 1024;
/// A token is renewed so long before it expires, or after nine tenths of its life.
const RENEW_BEFORE: Duration = Duration::from_secs(30);
/// Why the money for a token is not known to have moved.
const IN_BACKGROUND: &str = "an access token was given for it, and the seller settles later";

/// What one post came to.
struct Heard {
    outcome: Outcome,
    answer: Option<Answer>,
    wait: Option<Duration>,
}

enum Outcome {
    /// A token, and what the answer says about the money.
    Given(Reply, Claim),
    /// No token.
    Not(Verdict),
}

impl Engine {
    /// Buys a token with a recorded payment, keeps it, and opens the request with it.
    pub(crate) async fn present_permit(
        &self,
        transport: &mut dyn Transport,
        request: &PayRequest,
        ready: &Ready,
        purchase: &TokenPurchase,
        began: std::time::Instant,
    ) -> Result<Bought, PayError> {
        let mut shown = Shown::of(request, &ready.record, ready.version, began)?;
        let post = self.post(request, &ready.record, purchase)?;
        if ready.record.state == SpendState::Signed {
            let spends = self.spends()?;
            spends.presented(&ready.record.id, self.clock.now()).await?;
        }
        crash::point("spend::presented::after_write");
        let heard = loop {
            shown.attempts += 1;
            self.tell(&Event::Presented {
                spend: ready.record.id.clone(),
                attempt: shown.attempts,
                via: Via::Token,
            });
            let sent = post_within(transport, &post, self.patience.answer).await;
            crash::point("spend::presented::after_send");
            let heard = self.hear_token(sent, &shown).await;
            let wait = self.patience.wait(shown.attempts, heard.wait);
            match &heard.outcome {
                Outcome::Not(Verdict::Unclear { reason, .. })
                    if self.has_patience(&shown, wait, reason) => {}
                _ => break heard,
            }
            tokio::time::sleep(wait).await;
        };
        match heard.outcome {
            Outcome::Given(reply, claim) => {
                let token = self.kept(request, &ready.record.id, reply).await;
                let payment = self.token_given(&shown, &token, claim).await;
                self.open(transport, request, &token, Some(payment)).await
            }
            Outcome::Not(verdict) => {
                let heard = crate::present::Heard::without_goods(verdict, heard.answer);
                match self.conclude(&shown, heard).await {
                    Err(error) => Err(error),
                    // Goods without a token: what was posted is no request for them.
                    Ok((_, payment)) => Err(no_token(payment)),
                }
            }
        }
    }

    /// The request that posts the permit, the same every time.
    fn post(
        &self,
        request: &PayRequest,
        record: &SpendRecord,
        purchase: &TokenPurchase,
    ) -> Result<PayRequest, PayError> {
        // The record may be older than the policy, and the file is not sacred.
        if purchase.endpoint.origin() != request.url.origin() {
            return Err(PayError::declined(crate::engine::moved(&purchase.endpoint)));
        }
        let signed = record.signed.as_ref().ok_or_else(|| {
            PayError::invalid("The record holds no signed payment; fetch the URL anew.")
        })?;
        let body = body(purchase, &signed.payload).map_err(PayError::declined)?;
        let json = HeaderValue::from_static("application/json");
        Ok(PayRequest::new(Method::POST, purchase.endpoint.clone())
            .header(header::CONTENT_TYPE, json.clone())
            .header(header::ACCEPT, json)
            .body(body))
    }

    /// Judges what a token endpoint answered.
    async fn hear_token(
        &self,
        sent: Result<crate::transport::Incoming, Lost>,
        shown: &Shown<'_>,
    ) -> Heard {
        let incoming = match sent {
            Ok(incoming) => incoming,
            Err(Lost(why)) => {
                return Heard {
                    outcome: unclear(format!("The answer to the permit was lost ({why}).")),
                    answer: None,
                    wait: None,
                };
            }
        };
        let (head, body) = incoming.response.into_parts();
        let payer = shown.signed.identity.payer.as_str();
        let claim = claim(&head.headers, &shown.terms, payer);
        let read = tokio::time::timeout(self.patience.ask, body.read(MAX_REPLY_BYTES)).await;
        let (bytes, whole) = match read {
            Ok(Ok(read)) => read,
            _ => (Bytes::new(), false),
        };
        let given = (head.status.is_success() && whole).then(|| parse(&bytes));
        let outcome = match given.flatten() {
            Some(reply) => Outcome::Given(reply, claim),
            None if head.status.is_success() => {
                unclear("The token endpoint answered without a token.".to_owned())
            }
            None => Outcome::Not(explained(
                judge(head.status, &head.headers, &bytes, claim),
                head.status,
                &bytes,
            )),
        };
        let wait = retry_after(&head.headers);
        let secret = head.status.is_success();
        let answer = Some(Answer {
            status: head.status,
            headers: head.headers,
            // What may hold a token is not handed around.
            body: if secret { Bytes::new() } else { bytes },
        });
        Heard {
            outcome,
            answer,
            wait,
        }
    }

    /// Keeps the token that came with the answer to a payment in a header. It is
    /// taken out of the answer, which may be logged.
    pub(crate) async fn pass_beside(
        &self,
        request: &PayRequest,
        payment: &Payment,
        response: &mut http::Response<PayBody>,
    ) -> Option<Pass> {
        if !self.policy.access_tokens || request.headers.contains_key(AUTHORIZATION) {
            return None;
        }
        let token = response.headers_mut().remove("tollway-pass")?;
        let reply = beside(token.to_str().ok()?, self.clock.now())?;
        let token = self.kept(request, &payment.spend, reply).await;
        // It came with the goods: it has opened them.
        Some(self.let_in(&token).await)
    }

    /// Keeps a token before it is shown.
    async fn kept(&self, request: &PayRequest, spend: &SpendId, reply: Reply) -> KeptToken {
        let now = self.clock.now();
        let early = RENEW_BEFORE.min(reply.life / 10);
        let token = KeptToken {
            spend: spend.clone(),
            agent: self.agent.clone(),
            origin: origin(&request.url),
            path: request.url.path().to_owned(),
            token: reply.token,
            renew_at: now.plus(reply.life.saturating_sub(early)),
            expires_at: now.plus(reply.life),
            used: false,
        };
        let copy = token.clone();
        if let Err(error) = self.with_tokens(move |store| store.keep(&copy)).await {
            tracing::warn!(%spend, %error, "an access token cannot be kept, and will be bought again");
        }
        self.tell(&Event::TokenGiven {
            spend: spend.clone(),
            expires_at: token.expires_at,
        });
        token
    }

    /// Records that a token came for a payment.
    async fn token_given(&self, shown: &Shown<'_>, token: &KeptToken, claim: Claim) -> Payment {
        let payment = match claim {
            Claim::Settled {
                amount,
                transaction,
            } => self.delivered(shown, amount, transaction).await,
            Claim::Silent | Claim::Unfit(_) | Claim::Failed { .. } => {
                self.note(shown, &Note::Accepted(IN_BACKGROUND.to_owned()).line())
                    .await;
                let payment = self.payment(shown, shown.terms.amount, None, Standing::Background);
                self.counted(shown, &payment);
                payment
            }
        };
        tracing::debug!(spend = %token.spend, "an access token was bought");
        payment
    }

    /// Sends the request with a token. A second 402 ends the call: what was bought
    /// does not open it, and nothing else is bought for it.
    pub(crate) async fn open(
        &self,
        transport: &mut dyn Transport,
        request: &PayRequest,
        token: &KeptToken,
        payment: Option<Payment>,
    ) -> Result<Bought, PayError> {
        let undelivered = |error: PayError| match &payment {
            Some(payment) => error.with_payment(payment.clone()),
            None => error,
        };
        let header = self
            .bearer(token)
            .ok_or_else(|| undelivered(useless(token)))?;
        let sent = send_within(transport, request, Some(&header), self.patience.answer).await;
        let response = match sent {
            Ok(incoming) => incoming.response,
            Err(Lost(why)) => return Err(undelivered(kept_for_later(token, &why))),
        };
        if response.status() == StatusCode::PAYMENT_REQUIRED {
            return Err(undelivered(useless(token)));
        }
        let pass: Pass = self.let_in(token).await;
        Ok(Bought {
            response,
            payment,
            pass: Some(pass),
        })
    }
}

fn unclear(message: String) -> Outcome {
    Outcome::Not(Verdict::Unclear {
        reason: Reason::new(code::PAYMENT_OUTCOME_UNKNOWN, message),
        transaction: None,
    })
}

/// A refusal, with what the endpoint says about it.
fn explained(verdict: Verdict, status: StatusCode, bytes: &Bytes) -> Verdict {
    match verdict {
        Verdict::Refused(reason) => Verdict::Refused(match complaint(bytes) {
            Some(said) if reason.code == code::PAYMENT_REFUSED => Reason::new(
                reason.code,
                format!("The token endpoint answered {status}: {said}."),
            ),
            _ => reason,
        }),
        other => other,
    }
}

fn no_token(payment: Payment) -> PayError {
    PayError::new(
        ErrorKind::Unknown,
        Refusal::new(
            code::PAYMENT_OUTCOME_UNKNOWN,
            "The token endpoint answered without a token; run the same request again, which posts the same permit again.",
        ),
    )
    .with_payment(payment)
}

fn kept_for_later(token: &KeptToken, why: &str) -> PayError {
    let message = format!(
        "The access token ({}) was bought and is kept, and the answer to it was lost ({why}); run the same request again, which shows the token and pays nothing.",
        token.spend
    );
    PayError::new(
        ErrorKind::PaidNotDelivered,
        Refusal::new(code::PAID_NOT_DELIVERED, message),
    )
}
