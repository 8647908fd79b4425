//! Showing a recorded payment until the answer is decided. Nothing is signed here.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use http::header::TE;
use tollway_core::wire::Version;
use tollway_core::{ChainError, Lookup, Raw, Refusal, Scheme, Terms, codes, extensions, header};
use tollway_ledger::{SignedSpend, SpendRecord, SpendState};

use crate::body::PayBody;
use crate::code;
use crate::crash;
use crate::engine::{Engine, Ready};
use crate::error::{Answer, ErrorKind, PayError};
use crate::event::Event;
use crate::offer::Via;
use crate::payment::Payment;
use crate::receipt::claim;
use crate::reconcile::Fate;
use crate::request::PayRequest;
use crate::transport::{Incoming, Lost, PaymentHeader, Transport, send_within};
use crate::verdict::{Reason, Verdict, is_metered, judge, retry_after};

/// How much of an answer is kept that is not the goods.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A payment that is being shown.
pub(crate) struct Shown<'a> {
    pub(crate) record: &'a SpendRecord,
    pub(crate) signed: &'a SignedSpend,
    pub(crate) terms: Terms,
    pub(crate) version: Version,
    pub(crate) began: Instant,
    pub(crate) attempts: u32,
    /// Whether doing the request twice is doing it once: by its method (RFC 9110
    /// §9.2.2), or because the server knows it by its payment identifier.
    repeatable: bool,
}

impl<'a> Shown<'a> {
    /// The recorded payment, about to be shown.
    pub(crate) fn of(
        request: &PayRequest,
        record: &'a SpendRecord,
        version: Version,
        began: Instant,
    ) -> Result<Self, PayError> {
        let Some(signed) = &record.signed else {
            return Err(PayError::invalid(
                "The record holds no signed payment; fetch the URL anew.",
            ));
        };
        let terms = Terms::check(signed.payload.accepted.clone()).map_err(PayError::declined)?;
        let named = extensions::read(&signed.payload).is_ok_and(|id| id.is_some());
        Ok(Self {
            repeatable: named || request.method.is_idempotent(),
            record,
            signed,
            terms,
            version: Version::from_number(signed.payload.x402_version).unwrap_or(version),
            began,
            attempts: 0,
        })
    }

    /// The same header every time.
    fn header(&self) -> Result<PaymentHeader, PayError> {
        let header = header::payment(self.version, &self.signed.payload);
        let (name, mut value) = header.map_err(PayError::declined)?;
        value.set_sensitive(true);
        Ok((name, value))
    }

    /// A server that answers 500 or a redirect to a request that is not
    /// repeatable, and says nothing about the payment or coming back, may have
    /// done it or half of it: whether to try again is for the caller to say.
    fn may_repeat(&self, heard: &Heard) -> bool {
        let failed = heard.answer.as_ref().is_some_and(|answer| {
            let done = answer.status == http::StatusCode::INTERNAL_SERVER_ERROR
                || answer.status.is_redirection();
            done && !answer.headers.contains_key(&header::PAYMENT_RESPONSE)
                && !answer.headers.contains_key(&header::X_PAYMENT_RESPONSE)
        });
        self.repeatable || !failed || heard.wait.is_some()
    }
}

/// What one attempt came to.
pub(crate) struct Heard {
    pub(crate) verdict: Verdict,
    /// The goods, where there are any.
    pub(crate) goods: Option<http::Response<PayBody>>,
    /// The rest.
    pub(crate) answer: Option<Answer>,
    wait: Option<Duration>,
}

impl Heard {
    /// An answer that is not the goods.
    pub(crate) const fn without_goods(verdict: Verdict, answer: Option<Answer>) -> Self {
        Self {
            verdict,
            goods: None,
            answer,
            wait: None,
        }
    }
}

impl Engine {
    /// Shows a payment until the answer is decided or patience ends.
    pub(crate) async fn present(
        &self,
        transport: &mut dyn Transport,
        request: &PayRequest,
        ready: &Ready,
        began: Instant,
    ) -> Result<(http::Response<PayBody>, Payment), PayError> {
        let Ready { record, version } = ready;
        let mut shown = Shown::of(request, record, *version, began)?;
        let header = shown.header()?;
        let request = &metered_request(request, &shown.terms);
        self.send_transaction(&shown).await?;
        if record.state == SpendState::Signed {
            self.spends()?
                .presented(&record.id, self.clock.now())
                .await?;
        }
        crash::point("spend::presented::after_write");
        loop {
            shown.attempts += 1;
            self.tell(&Event::Presented {
                spend: record.id.clone(),
                attempt: shown.attempts,
                via: Via::Header,
            });
            let limit = self.patience.answer;
            let sent = send_within(transport, request, Some(&header), limit).await;
            crash::point("spend::presented::after_send");
            let heard = hear(sent, &shown, self.patience.ask).await;
            let wait = self.patience.wait(shown.attempts, heard.wait);
            if !self.asks_again(&heard, &shown, wait) {
                return self.conclude(&shown, heard).await;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether the answer is unclear and there is patience left for another one.
    fn asks_again(&self, heard: &Heard, shown: &Shown<'_>, wait: Duration) -> bool {
        let Verdict::Unclear { reason, .. } = &heard.verdict else {
            return false;
        };
        shown.may_repeat(heard) && self.has_patience(shown, wait, reason)
    }

    /// Whether there is patience left to show a payment again after so long.
    pub(crate) fn has_patience(&self, shown: &Shown<'_>, wait: Duration, reason: &Reason) -> bool {
        let again = shown.attempts < self.patience.attempts
            && shown.began.elapsed().saturating_add(wait) < self.patience.total;
        if again {
            self.tell(&Event::Unclear {
                spend: shown.record.id.clone(),
                code: reason.code.clone(),
                message: reason.message.clone(),
                wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            });
        }
        again
    }

    /// A proof method's transaction leaves first; it is on disk by now, and the
    /// same bytes leave however often that is repeated.
    async fn send_transaction(&self, shown: &Shown<'_>) -> Result<(), PayError> {
        let Some(raw) = &shown.signed.transaction else {
            return Ok(());
        };
        // The offer is over: a transfer that is in no block by now buys nothing more.
        if self.clock.now() >= shown.signed.valid_until {
            return Ok(());
        }
        self.tell(&Event::Sent {
            spend: shown.record.id.clone(),
            transaction: raw.hash.clone(),
        });
        crash::point("spend::transaction::before_send");
        let sent = self.wallet()?.broadcast(&shown.terms.network, raw).await;
        crash::point("spend::transaction::after_send");
        let Err(error) = sent else { return Ok(()) };
        tracing::warn!(spend = %shown.record.id, %error, "a payment's transaction was not seen included");
        Err(self.not_included(shown, raw, error).await)
    }

    /// A transaction that is in no block, or failed in one. Only the chain's own
    /// word gives the money back.
    async fn not_included(&self, shown: &Shown<'_>, raw: &Raw, error: ChainError) -> PayError {
        let failed = matches!(error, ChainError::Refused(_))
            && matches!(self.lookup(shown.signed).await, Lookup::Spent);
        if failed && let Ok(Fate::Released) = self.decide(shown.record).await {
            let message = format!(
                "The payment's transaction {} failed on the chain and moved nothing but gas; try again.",
                raw.hash
            );
            return PayError::new(
                ErrorKind::Failed,
                Refusal::new(codes::INVALID_EXACT_EVM_TXID_REVERTED, message),
            );
        }
        let message = format!(
            "The payment's transaction {} was sent, and nobody saw it included.",
            raw.hash
        );
        let reason = Reason::new(code::PAYMENT_OUTCOME_UNKNOWN, message);
        self.unknown(shown, &reason, Some(raw.hash.clone()), None)
            .await
    }
}

/// Of metered use the receipt may come last: it is asked for as a trailer.
fn metered_request<'r>(request: &'r PayRequest, terms: &Terms) -> Cow<'r, PayRequest> {
    if terms.scheme != Scheme::Upto || request.headers.contains_key(TE) {
        return Cow::Borrowed(request);
    }
    let mut asking = request.clone();
    let trailers = HeaderValue::from_static("trailers");
    asking.headers.insert(TE, trailers);
    Cow::Owned(asking)
}

/// Judges what came back, and reads the body where it is not the goods.
async fn hear(sent: Result<Incoming, Lost>, shown: &Shown<'_>, limit: Duration) -> Heard {
    let incoming = match sent {
        Ok(incoming) => incoming,
        Err(Lost(why)) => {
            let message = format!("The answer to the payment was lost ({why}).");
            return Heard {
                verdict: Verdict::Unclear {
                    reason: Reason::new(code::PAYMENT_OUTCOME_UNKNOWN, message),
                    transaction: None,
                },
                goods: None,
                answer: None,
                wait: None,
            };
        }
    };
    let (head, body) = incoming.response.into_parts();
    let claim = claim(
        &head.headers,
        &shown.terms,
        shown.signed.identity.payer.as_str(),
    );
    let wait = retry_after(&head.headers);
    if head.status.is_success() {
        let verdict = match is_metered(head.status, &head.headers, &shown.terms, &claim) {
            true => Verdict::Metered,
            false => judge(head.status, &head.headers, &Bytes::new(), claim),
        };
        if !matches!(verdict, Verdict::Unclear { .. }) {
            let goods = Some(http::Response::from_parts(head, body));
            return Heard {
                verdict,
                goods,
                answer: None,
                wait,
            };
        }
        return Heard {
            verdict,
            goods: None,
            answer: None,
            wait,
        };
    }
    let bytes = match tokio::time::timeout(limit, body.read(MAX_ANSWER_BYTES)).await {
        Ok(Ok((bytes, _))) => bytes,
        _ => Bytes::new(),
    };
    let verdict = judge(head.status, &head.headers, &bytes, claim);
    let answer = Some(Answer {
        status: head.status,
        headers: head.headers,
        body: bytes,
    });
    Heard {
        verdict,
        goods: None,
        answer,
        wait,
    }
}
