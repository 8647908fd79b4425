//! Verify and settle, as callers see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tollway_core::wire::{SettleResponse, VerifyResponse};
use tollway_core::{
    Amount, ChainError, Intent, Network, Phase, Refusal, SettleRequest, TxHash, VerifyRequest,
    codes,
};
use tollway_ledger::{HandOut, PaymentRecord, PaymentState};

use super::answer::{self, refused};
use super::error::EngineError;
use super::event::SettlementEvent;
use super::intent::read_intent;
use super::machine::Event;
use super::perform::ask;
use super::shared::{NetworkHandle, Shared};
use super::waiters::Waiting;
use super::{Engine, crash};
use crate::telemetry::Call;

impl Engine {
    /// Would this settle now? Commits nothing. A refusal is an answer.
    ///
    /// # Errors
    /// [`EngineError`] if that cannot be said now.
    pub async fn check(&self, request: &VerifyRequest) -> Result<VerifyResponse, EngineError> {
        let _caller = Caller::enter(&self.shared);
        let began = Instant::now();
        let result = self.verify_payment(request, began).await;
        let (outcome, code) = match &result {
            Ok(r) if r.is_valid => ("ok", None),
            Ok(r) => ("refused", r.invalid_reason.as_deref()),
            Err(e) => ("error", Some(e.code)),
        };
        let requirements = &request.requirements;
        Call {
            step: "verify",
            network: self.served(&requirements.network).map(|(n, _)| n),
            scheme: &requirements.scheme,
            outcome,
            code,
            took: began.elapsed(),
        }
        .count();
        result
    }

    /// Moves the money and waits for the receipt. Success is given once.
    ///
    /// # Errors
    /// [`EngineError`] if nothing can be said now; the same request may be
    /// repeated.
    pub async fn pay(&self, request: &SettleRequest) -> Result<SettleResponse, EngineError> {
        let _caller = Caller::enter(&self.shared);
        let began = Instant::now();
        let result = self.settle_payment(request).await;
        let (outcome, code) = match &result {
            Ok(r) if r.success => ("ok", None),
            Ok(r) => {
                let code = r.error_reason.as_deref();
                let pending = code == Some(codes::SETTLEMENT_PENDING);
                (if pending { "pending" } else { "refused" }, code)
            }
            Err(e) => ("error", Some(e.code)),
        };
        let requirements = &request.requirements;
        Call {
            step: "settle",
            network: self.served(&requirements.network).map(|(n, _)| n),
            scheme: &requirements.scheme,
            outcome,
            code,
            took: began.elapsed(),
        }
        .count();
        result
    }

    async fn verify_payment(
        &self,
        request: &VerifyRequest,
        began: Instant,
    ) -> Result<VerifyResponse, EngineError> {
        self.admit()?;
        let handle = match self.network(&request.requirements.network) {
            Ok(handle) => handle,
            Err(refusal) => return Ok(answer::invalid(&refusal, None)),
        };
        handle.admit(self.shared.config.queue_limit)?;
        let chain = handle.chain.as_ref();
        let intent = match read_intent(chain, &request.payload, &request.requirements) {
            Ok(intent) => intent,
            Err(refusal) => return Ok(answer::invalid(&refusal, None)),
        };
        let identity = intent.identity.clone();
        let verdict = ask(
            &self.shared,
            chain.verify(intent, Phase::Verify, Amount::ZERO),
        )
        .await;
        let (response, refusal) = match verdict {
            Ok(_) => {
                self.shared.unused.put(identity.key(), ());
                (answer::valid(&identity.payer), None)
            }
            Err(ChainError::Refused(refusal)) => (
                answer::invalid(&refusal, Some(&identity.payer)),
                Some(refusal),
            ),
            Err(error @ ChainError::Unavailable { .. }) => return Err(unavailable(&error)),
        };
        self.shared.tell(&SettlementEvent::Verified {
            identity,
            refusal,
            took: began.elapsed(),
        });
        Ok(response)
    }

    async fn settle_payment(&self, request: &SettleRequest) -> Result<SettleResponse, EngineError> {
        let network = &request.requirements.network;
        if let Some(key) = &request.idempotency_key
            && !is_idempotency_key(key)
        {
            return Ok(refused(&bad_idempotency_key(), network));
        }
        let read = self.network(network).and_then(|handle| {
            read_intent(
                handle.chain.as_ref(),
                &request.payload,
                &request.requirements,
            )
            .map(|intent| (handle, intent))
        });
        let (handle, intent) = match read {
            Ok(read) => read,
            Err(refusal) => return Ok(refused(&refusal, network)),
        };
        let known = self
            .shared
            .store
            .payment_by_identity(&intent.identity)
            .await;
        if let Some(record) = known.map_err(|e| EngineError::ledger(&e))? {
            return self.known_payment(request, handle, &intent, record).await;
        }
        self.new_payment(request, handle, intent).await
    }

    /// The identity is known: wait for it while it is open, then say what became of it.
    pub(super) async fn known_payment(
        &self,
        request: &SettleRequest,
        handle: &NetworkHandle,
        intent: &Intent,
        record: PaymentRecord,
    ) -> Result<SettleResponse, EngineError> {
        if !is_same_payment(request, intent, &record) {
            return Ok(answer::duplicate(&record));
        }
        let waiting = self.shared.waiters.subscribe(&record.id);
        // It may have ended between the reading and the subscribing.
        let again = self.shared.store.payment(&record.id).await;
        let record = again
            .map_err(|e| EngineError::ledger(&e))?
            .unwrap_or(record);
        if is_open(&record) {
            // Perhaps nobody works on it since a restart: the actor ignores what it knows.
            self.wake(handle, &record).await;
        }
        self.finish(request, record, waiting).await
    }

    async fn wake(&self, handle: &NetworkHandle, record: &PaymentRecord) {
        let slot = match (&record.slot, record.state) {
            (Some(slot), PaymentState::Submitted) => {
                self.shared.store.slot(slot).await.ok().flatten()
            }
            _ => None,
        };
        let _ = handle.events.send(Event::Recovered {
            payments: vec![record.clone()],
            slots: slot.into_iter().collect(),
        });
    }

    /// Waits for the end, and hands success out at most once.
    pub(super) async fn finish(
        &self,
        request: &SettleRequest,
        record: PaymentRecord,
        mut waiting: Waiting,
    ) -> Result<SettleResponse, EngineError> {
        let record = if is_open(&record) {
            let progress = waiting.wait(self.shared.config.settle_wait).await;
            match progress.ended {
                Some(ended) => ended,
                None => {
                    let transaction = progress.transaction.or_else(|| record.transaction.clone());
                    return self.still_open(request, &record, transaction);
                }
            }
        } else {
            Arc::new(record)
        };
        if record.state != PaymentState::Settled {
            return Ok(answer::failed(&record));
        }
        let key = request.idempotency_key.as_deref();
        crash::point(crash::HANDED_OUT.before);
        let handed = self
            .shared
            .store
            .hand_out(&record.id, key, self.shared.now())
            .await;
        crash::point(crash::HANDED_OUT.after);
        self.shared.note_ledger(&handed);
        match handed.map_err(|e| EngineError::ledger(&e).after_accepting())? {
            HandOut::First | HandOut::Again => Ok(answer::success(&record)),
            HandOut::Duplicate => Ok(answer::duplicate(&record)),
        }
    }

    /// `settlement_pending` is a promise of success, for whoever opened the
    /// payment. With another key it is somebody else's purchase.
    fn still_open(
        &self,
        request: &SettleRequest,
        record: &PaymentRecord,
        transaction: Option<TxHash>,
    ) -> Result<SettleResponse, EngineError> {
        let opener = self.shared.openers.get(&record.id).flatten();
        if opener.is_some() && opener != request.idempotency_key {
            let mut response = answer::duplicate(record);
            response.transaction = transaction.map(|t| t.to_string()).unwrap_or_default();
            return Ok(response);
        }
        answer::pending(record, transaction)
    }

    /// Whether payments are taken at all.
    pub(super) fn admit(&self) -> Result<(), EngineError> {
        if self.shared.draining.load(Ordering::Acquire) {
            return Err(EngineError::shutting_down());
        }
        self.shared.ledger.admit(self.shared.now())
    }

    fn served(&self, text: &str) -> Option<(&Network, &NetworkHandle)> {
        self.networks
            .iter()
            .find(|(network, _)| network.as_str() == text)
    }

    fn network(&self, text: &str) -> Result<&NetworkHandle, Refusal> {
        self.served(text).map(|(_, handle)| handle).ok_or_else(|| {
            Refusal::new(
                codes::INVALID_NETWORK,
                "The network is not served by this facilitator; choose one that /supported lists.",
            )
        })
    }
}

/// Counts a caller while it is inside, so that a drain can wait for it.
struct Caller<'a>(&'a AtomicUsize);

impl<'a> Caller<'a> {
    fn enter(shared: &'a Shared) -> Self {
        shared.callers.fetch_add(1, Ordering::AcqRel);
        Self(&shared.callers)
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Success may go only to who shows the same signed payment for the same
/// terms: knowing an identity is not knowing its signature.
fn is_same_payment(request: &SettleRequest, intent: &Intent, record: &PaymentRecord) -> bool {
    let known = &record.payment;
    let expected = &known.expected;
    known.payload.payload == request.payload.payload
        && expected.asset == intent.expected.asset
        && expected.to == intent.expected.to
        && known.requirements.amount == request.requirements.amount
}

fn is_open(record: &PaymentRecord) -> bool {
    matches!(
        record.state,
        PaymentState::Accepted | PaymentState::Submitted
    )
}

fn is_idempotency_key(key: &str) -> bool {
    (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
}

fn bad_idempotency_key() -> Refusal {
    Refusal::new(
        codes::INVALID_IDEMPOTENCY_KEY,
        "The Idempotency-Key is not 1 to 255 visible ASCII characters; send another.",
    )
}

pub(super) fn unavailable(error: &ChainError) -> EngineError {
    if let ChainError::Unavailable { detail, .. } = error {
        tracing::warn!(detail, "the chain gave no answer");
    }
    EngineError::network(error.to_string())
}
