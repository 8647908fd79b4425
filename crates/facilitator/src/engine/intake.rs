//! Verify and settle, as callers see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tollway_core::wire::{SettleResponse, VerifyResponse};
use tollway_core::{
    Amount, ChainError, Intent, Lookup, Network, Phase, Refusal, SettleRequest, Settlement, TxHash,
    Verified, VerifyRequest, codes, mistake,
};
use tollway_ledger::{HandOut, LedgerError, PaymentRecord, PaymentState};
use tracing::Instrument as _;

use super::answer::{self, refused};
use super::callers::Caller;
use super::error::EngineError;
use super::event::SettlementEvent;
use super::intent::read_intent;
use super::machine::Event;
use super::perform::{ask, with_slots};
use super::shared::{NetworkHandle, Shared};
use super::waiters::{Ended, Progress, Waiting};
use super::{Engine, crash};
use crate::telemetry::Call;

/// How long a caller waits before it looks whether the payment is still ours.
const LONG_LOOK: Duration = Duration::from_secs(2);
/// The same while another machine settles it.
const SHORT_LOOK: Duration = Duration::from_millis(200);
/// How long a caller waits on while success is being recorded as its own.
const RECORDING: Duration = Duration::from_secs(20);

impl Engine {
    /// Would this settle now? Commits nothing. A refusal is an answer.
    ///
    /// # Errors
    /// [`EngineError`] if that cannot be said now.
    pub async fn check(&self, request: &VerifyRequest) -> Result<VerifyResponse, EngineError> {
        self.check_for(&Caller::default(), request).await
    }

    /// The same, for a caller and within its quota.
    ///
    /// # Errors
    /// [`EngineError`] if that cannot be said now.
    pub async fn check_for(
        &self,
        caller: &Caller,
        request: &VerifyRequest,
    ) -> Result<VerifyResponse, EngineError> {
        let _inside = Inside::enter(&self.shared);
        let began = Instant::now();
        let verifying = self.verify_payment(caller, request, began);
        let result = verifying
            .instrument(tracing::info_span!("engine verify"))
            .await;
        let (outcome, code) = match &result {
            Ok(r) if r.is_valid => ("ok", None),
            Ok(r) => ("refused", r.invalid_reason.as_deref()),
            Err(e) => ("error", Some(e.code)),
        };
        let requirements = &request.requirements;
        let served = self.served(&requirements.network);
        Call {
            step: "verify",
            network: served.map(|(network, _)| network),
            scheme: &requirements.scheme,
            outcome,
            code,
            took: began.elapsed(),
        }
        .count_with(served.map(|(_, handle)| handle.meters.as_ref()));
        result
    }

    /// Moves the money and waits for the receipt. Success is given once.
    ///
    /// # Errors
    /// [`EngineError`] if nothing can be said now; the same request may be
    /// repeated.
    pub async fn pay(&self, request: &SettleRequest) -> Result<SettleResponse, EngineError> {
        self.pay_for(&Caller::default(), request).await
    }

    /// The same, for a caller and within its quota.
    ///
    /// # Errors
    /// [`EngineError`] if nothing can be said now; the same request may be
    /// repeated.
    pub async fn pay_for(
        &self,
        caller: &Caller,
        request: &SettleRequest,
    ) -> Result<SettleResponse, EngineError> {
        let _inside = Inside::enter(&self.shared);
        let began = Instant::now();
        let settling = self.settle_payment(caller, request);
        let result = settling
            .instrument(tracing::info_span!("engine settle"))
            .await;
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
        let served = self.served(&requirements.network);
        Call {
            step: "settle",
            network: served.map(|(network, _)| network),
            scheme: &requirements.scheme,
            outcome,
            code,
            took: began.elapsed(),
        }
        .count_with(served.map(|(_, handle)| handle.meters.as_ref()));
        result
    }

    async fn verify_payment(
        &self,
        caller: &Caller,
        request: &VerifyRequest,
        began: Instant,
    ) -> Result<VerifyResponse, EngineError> {
        let now = self.shared.now();
        caller.count(now)?;
        self.admit()?;
        let handle = match self.network(&request.requirements.network) {
            Ok(handle) => handle,
            Err(refusal) => return Ok(answer::invalid(&refusal, None)),
        };
        handle.admit(&self.shared.config)?;
        let chain = handle.chain.as_ref();
        let read = read_intent(chain, &request.payload, &request.requirements);
        let allowed = |intent: Intent| {
            let charge = intent.expected.amount;
            self.shared.config.check_charging(caller, &intent)?;
            self.shared.config.check(&intent, charge).map(|()| intent)
        };
        let intent = match read.and_then(allowed) {
            Ok(intent) => intent,
            Err(refusal) => return Ok(answer::invalid(&refusal, None)),
        };
        let _turn = caller.turn().await;
        let verdict = self.verify_intent(handle, &intent).await;
        let payer = &intent.identity.payer;
        let (response, refusal) = match verdict? {
            Ok(verified) => {
                handle.admit_pinned(&verified.signers)?;
                let fingerprint = self.shared.holds.fingerprint(&intent.identity);
                self.shared.unused.put(fingerprint, ());
                if mistake::is("verify_commits") {
                    let new = self.new_record(caller, &as_settled(request), &intent)?;
                    let _ = self.shared.store_now().accept(new, now).await;
                }
                (answer::valid(payer), None)
            }
            Err(ChainError::Refused(refusal)) => {
                (answer::invalid(&refusal, Some(payer)), Some(refusal))
            }
            Err(error @ ChainError::Unavailable { .. }) => return Err(unavailable(&error)),
        };
        if self.shared.hooked.load(Ordering::Acquire) {
            self.shared.tell(&SettlementEvent::Verified {
                identity: intent.identity,
                refusal,
                took: began.elapsed(),
            });
        }
        Ok(response)
    }

    /// Whether it would settle, and in time: what would not is said before
    /// anything is served.
    async fn verify_intent(
        &self,
        handle: &NetworkHandle,
        intent: &Intent,
    ) -> Result<Result<Verified, ChainError>, EngineError> {
        if intent.settlement != Settlement::Submit {
            let verify = handle
                .chain
                .verify(intent.clone(), Phase::Verify, Amount::ZERO);
            return Ok(ask(&self.shared, verify).await);
        }
        handle.admit_signers()?;
        handle.admit_deadline(&self.shared.config, intent.deadline, self.shared.now())?;
        self.admit_gas(handle, intent).await?;
        let entry = self.enter(intent)?;
        Ok(self
            .verify_held(handle, intent, Phase::Verify, &entry)
            .await)
    }

    async fn settle_payment(
        &self,
        caller: &Caller,
        request: &SettleRequest,
    ) -> Result<SettleResponse, EngineError> {
        let network = &request.requirements.network;
        if let Some(key) = &request.idempotency_key
            && !is_idempotency_key(key)
        {
            return Ok(refused(&bad_idempotency_key(), network));
        }
        caller.count(self.shared.now())?;
        let read = self.network(network).and_then(|handle| {
            read_intent(
                handle.chain.as_ref(),
                &request.payload,
                &request.requirements,
            )
            .and_then(|intent| {
                self.shared.config.check_charging(caller, &intent)?;
                Ok((handle, intent))
            })
        });
        let (handle, intent) = match read {
            Ok(read) => read,
            Err(refusal) => return Ok(refused(&refusal, network)),
        };
        // What is open here is known without reading. What ended is refused by
        // the chain, and is then looked up; what neither knows is new.
        let fingerprint = self.shared.holds.fingerprint(&intent.identity);
        if let Some(id) = self.shared.open.get(fingerprint) {
            let known = self.shared.store_now().payment(&id).await;
            if let Some(record) = known.map_err(|e| EngineError::ledger(&e).after_accepting())?
                && record.payment.identity == intent.identity
            {
                return self.known_payment(request, handle, &intent, record).await;
            }
        }
        self.new_payment(caller, request, handle, intent).await
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
        if !self.is_as_deep(handle, intent, &record).await {
            let settled = record.settled.as_ref().map(|s| s.transaction.clone());
            let transaction = settled.or_else(|| record.transaction.clone());
            return self.still_open(request, &record, transaction);
        }
        let key = request.idempotency_key.as_deref();
        let opener = record.payment.opener.as_deref();
        let waiting = self.shared.waiters.subscribe(&record.id, key, opener);
        // It may have ended between the reading and the subscribing.
        let again = self.shared.store_now().payment(&record.id).await;
        let record = again
            .map_err(|e| EngineError::ledger(&e).after_accepting())?
            .unwrap_or(record);
        if is_open(&record) && self.shared.is_ours(&record) {
            // Perhaps nobody works on it since a restart: the actor ignores what it knows.
            self.wake(handle, &record).await;
        }
        self.finish(request, Arc::new(record), waiting).await
    }

    /// Whether success of the payment is as deep as this seller asks for. Whoever
    /// opened it may have asked for less; then the chain says how deep it lies.
    /// (How many share its transaction changes nothing for anybody.)
    async fn is_as_deep(
        &self,
        handle: &NetworkHandle,
        intent: &Intent,
        record: &PaymentRecord,
    ) -> bool {
        let known = &record.payment;
        let failed = !is_open(record) && record.state != PaymentState::Settled;
        let asked = intent.terms.finality;
        let Some(asked) = asked.filter(|asked| known.finality.deeper(*asked) != known.finality)
        else {
            return true;
        };
        let on_chain = matches!(
            known.settlement,
            Settlement::Submit | Settlement::Observe { .. }
        );
        if failed || !on_chain {
            return true;
        }
        let end = Instant::now() + self.shared.config.settle_wait;
        loop {
            let lookup = handle.chain.lookup(&known.identity, &known.expected, asked);
            if let Ok(Lookup::Settled(_)) = ask(&self.shared, lookup).await {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            tokio::time::sleep(left.min(LONG_LOOK)).await;
        }
    }

    async fn wake(&self, handle: &NetworkHandle, record: &PaymentRecord) {
        let fingerprint = self.shared.holds.fingerprint(&record.payment.identity);
        if self.shared.open.get(fingerprint).is_some() {
            return;
        }
        let store = self.shared.store_now();
        if let Ok((payments, slots)) = with_slots(store.as_ref(), vec![record.clone()]).await {
            let _ = handle.events.send(Event::Recovered { payments, slots });
        }
    }

    /// Waits for the end, and hands success out at most once.
    pub(super) async fn finish(
        &self,
        request: &SettleRequest,
        record: Arc<PaymentRecord>,
        mut waiting: Waiting,
    ) -> Result<SettleResponse, EngineError> {
        let (record, handed) = if is_open(&record) {
            let progress = self.wait(&record, &mut waiting).await;
            match progress.ended {
                Some(ended) => (ended.record, ended.handed),
                None => {
                    let transaction = progress.transaction.or_else(|| record.transaction.clone());
                    return self.still_open(request, &record, transaction);
                }
            }
        } else {
            (record, None)
        };
        if record.state != PaymentState::Settled {
            return Ok(answer::failed(&record));
        }
        let handed = match handed {
            Some(handed) => handed,
            None => self.hand_out(&waiting.voice, &record).await?,
        };
        match handed {
            HandOut::First | HandOut::Again => Ok(answer::success(&record)),
            HandOut::Duplicate => Ok(answer::duplicate(&record)),
        }
    }

    async fn hand_out(&self, voice: &str, record: &PaymentRecord) -> Result<HandOut, EngineError> {
        let store = self.shared.store_now();
        let step = || store.hand_out(&record.id, Some(voice), self.shared.now());
        crash::point(crash::HANDED_OUT.before);
        let mut handed = step().await;
        if matches!(handed, Err(LedgerError::InDoubt { .. })) {
            handed = step().await;
        }
        crash::point(crash::HANDED_OUT.after);
        self.shared.note_ledger(&handed);
        handed.map_err(|e| EngineError::ledger(&e).after_accepting())
    }

    /// Waits until the payment ends or the caller's time is over. What another
    /// machine settles is seen in the ledger.
    async fn wait(&self, record: &PaymentRecord, waiting: &mut Waiting) -> Progress {
        let fingerprint = self.shared.holds.fingerprint(&record.payment.identity);
        let end = Instant::now() + self.shared.config.settle_wait;
        let mut seen = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let ours = self.shared.open.get(fingerprint).is_some();
            let pause = if ours { LONG_LOOK } else { SHORT_LOOK };
            let mut progress = waiting.wait(left.min(pause)).await;
            progress.transaction = progress.transaction.or(seen.take());
            if progress.ended.is_some() {
                return progress;
            }
            if left <= pause {
                return match waiting.give_up() {
                    true => progress,
                    false => waiting.wait(RECORDING).await,
                };
            }
            if !ours && let Ok(Some(now)) = self.shared.store_now().payment(&record.id).await {
                if !is_open(&now) {
                    progress.ended = Some(Ended {
                        record: Arc::new(now),
                        handed: None,
                    });
                    return progress;
                }
                seen = now.transaction;
            }
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
        let opener = &record.payment.opener;
        if opener.is_some() && *opener != request.idempotency_key {
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
struct Inside<'a>(&'a AtomicUsize);

impl<'a> Inside<'a> {
    fn enter(shared: &'a Shared) -> Self {
        shared.inside.fetch_add(1, Ordering::AcqRel);
        Self(&shared.inside)
    }
}

impl Drop for Inside<'_> {
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

/// For the deliberate bug that verifying commits.
fn as_settled(request: &VerifyRequest) -> SettleRequest {
    SettleRequest {
        payload: Arc::clone(&request.payload),
        requirements: Arc::clone(&request.requirements),
        idempotency_key: None,
    }
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
