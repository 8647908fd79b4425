//! Taking a new payment: verified, within its payer's bounds, durable.

use std::sync::Arc;

use tollway_core::wire::{PaymentPayload, PaymentRequirements, SettleResponse};
use tollway_core::{
    Amount, ChainError, Intent, Lookup, Phase, Refusal, SettleRequest, Settlement, Terms, Verified,
    codes,
};
use tollway_ledger::{Acceptance, LedgerError, NewPayment, PaymentRecord};

use super::answer::refused;
use super::error::EngineError;
use super::event::SettlementEvent;
use super::intake::unavailable;
use super::machine::Event;
use super::payers::Place;
use super::perform::ask;
use super::shared::NetworkHandle;
use super::waiters::Waiting;
use super::{Engine, crash};

enum Accepted {
    New(PaymentRecord, Waiting),
    Known(PaymentRecord),
}

/// What verifying right before the money moves said.
enum Verdict {
    Good(Box<Verified>),
    /// Since we verified it, somebody else has sent it.
    SentBySomebody,
    Refused(Refusal),
}

impl Engine {
    pub(super) async fn new_payment(
        &self,
        request: &SettleRequest,
        handle: &NetworkHandle,
        intent: Intent,
    ) -> Result<SettleResponse, EngineError> {
        self.admit()?;
        handle.admit(self.shared.config.queue_limit)?;
        let mut verdict = self.verdict(handle, &intent).await?;
        let mut place = None;
        if let Verdict::Good(_) = verdict
            && intent.settlement == Settlement::Submit
        {
            if handle.chain.signers().is_empty() {
                return Err(nobody_signs());
            }
            let (free, at_once) = self.place(&intent).await?;
            place = Some(free);
            if !at_once {
                // Much may have changed while it waited for its turn.
                let known = self
                    .shared
                    .store
                    .payment_by_identity(&intent.identity)
                    .await;
                if let Some(record) = known.map_err(|e| EngineError::ledger(&e))? {
                    drop(place);
                    return self.known_payment(request, handle, &intent, record).await;
                }
                verdict = self.verdict(handle, &intent).await?;
            }
        }
        let verified = match verdict {
            Verdict::Good(verified) => Some(verified),
            Verdict::SentBySomebody => None,
            Verdict::Refused(refusal) => {
                let mut response = refused(&refusal, &request.requirements.network);
                response.payer = Some(intent.identity.payer.to_string());
                return Ok(response);
            }
        };
        match self
            .accept(request, handle, &intent, verified, place)
            .await?
        {
            Accepted::New(record, waiting) => self.finish(request, record, waiting).await,
            Accepted::Known(record) => self.known_payment(request, handle, &intent, record).await,
        }
    }

    /// Verifies once more. A nonce that was unused when we verified it, and is
    /// used now, was perhaps sent by somebody else: then it is paid.
    async fn verdict(
        &self,
        handle: &NetworkHandle,
        intent: &Intent,
    ) -> Result<Verdict, EngineError> {
        let verify = handle
            .chain
            .verify(intent.clone(), Phase::Settle, Amount::ZERO);
        let refusal = match ask(&self.shared, verify).await {
            Ok(verified) => return Ok(Verdict::Good(Box::new(verified))),
            Err(ChainError::Refused(refusal)) => refusal,
            Err(error @ ChainError::Unavailable { .. }) => return Err(unavailable(&error)),
        };
        let was_unused = self.shared.unused.get(&intent.identity.key()).is_some();
        if !(was_unused && says_used(refusal.code())) {
            return Ok(Verdict::Refused(refusal));
        }
        let finality = self.shared.config.finality_on(&intent.identity.network);
        let lookup = handle
            .chain
            .lookup(&intent.identity, &intent.expected, finality);
        match ask(&self.shared, lookup).await {
            Ok(Lookup::Settled(_)) => Ok(Verdict::SentBySomebody),
            Ok(Lookup::Spent | Lookup::Unused { .. }) => Ok(Verdict::Refused(refusal)),
            Ok(Lookup::Unknown) => Err(EngineError::network(
                "It is not known yet who used the authorization; ask again for the same payment.",
            )),
            Err(error) => Err(unavailable(&error)),
        }
    }

    async fn place(&self, intent: &Intent) -> Result<(Place, bool), EngineError> {
        let waiting = self.shared.payers.place(&intent.identity);
        let at_most = self.shared.config.settle_wait / 2;
        tokio::time::timeout(at_most, waiting).await.map_err(|_| {
            EngineError::new(
                codes::TOO_MANY_REQUESTS,
                "Too many payments of this payer wait to be settled; try again later.",
            )
        })
    }

    /// Makes the payment durable and gives it to the actor. Once begun, this
    /// runs to its end also when the caller goes away.
    async fn accept(
        &self,
        request: &SettleRequest,
        handle: &NetworkHandle,
        intent: &Intent,
        verified: Option<Box<Verified>>,
        place: Option<Place>,
    ) -> Result<Accepted, EngineError> {
        let new = self.new_record(request, intent)?;
        let opener = request.idempotency_key.clone();
        let (shared, events) = (Arc::clone(&self.shared), handle.events.clone());
        let accepting = tokio::spawn(async move {
            crash::point(crash::ACCEPTED.before);
            let result = shared.store.accept(new, shared.now()).await;
            crash::point(crash::ACCEPTED.after);
            shared.note_ledger(&result);
            Ok(match result? {
                Acceptance::Existing(record) => Accepted::Known(record),
                Acceptance::New(record) => {
                    let waiting = shared.waiters.subscribe(&record.id);
                    if let Some(place) = place {
                        place.keep_for(&record.id);
                    }
                    shared.openers.put(record.id.clone(), opener);
                    shared.tell(&SettlementEvent::Accepted {
                        record: Arc::new(record.clone()),
                    });
                    // If the actor is gone, the next start recovers it.
                    let _ = events.send(Event::Accepted {
                        record: record.clone(),
                        verified,
                    });
                    Accepted::New(record, waiting)
                }
            })
        });
        match accepting.await {
            Ok(Err(error @ LedgerError::Unavailable { .. })) => Err(EngineError::ledger(&error)),
            // Only a plain failure says for certain that nothing was written.
            Ok(result) => result.map_err(|e| EngineError::ledger(&e).after_accepting()),
            Err(_) => Err(EngineError::new(
                codes::INTERNAL_ERROR,
                "The payment may have been taken; ask again for the same payment.",
            )
            .after_accepting()),
        }
    }

    fn new_record(
        &self,
        request: &SettleRequest,
        intent: &Intent,
    ) -> Result<NewPayment, EngineError> {
        let charge = Terms::check(request.requirements.clone())
            .map_err(|r| EngineError::new(codes::INTERNAL_ERROR, r.message().to_owned()))?
            .amount;
        let mut expected = intent.expected.clone();
        if matches!(intent.settlement, Settlement::Submit | Settlement::Nothing) {
            expected.amount = charge;
        }
        Ok(NewPayment {
            identity: intent.identity.clone(),
            expected,
            deadline: intent.deadline,
            settlement: intent.settlement.clone(),
            finality: self.shared.config.finality_on(&intent.identity.network),
            payload: PaymentPayload::clone(&request.payload),
            requirements: PaymentRequirements::clone(&request.requirements),
        })
    }
}

/// Whether a refusal says that the authorization's nonce is used.
fn says_used(code: &str) -> bool {
    matches!(
        code,
        codes::INVALID_EXACT_EVM_NONCE_ALREADY_USED
            | codes::NONCE_ALREADY_USED
            | codes::PERMIT2_INVALID_NONCE
    )
}

fn nobody_signs() -> EngineError {
    EngineError::new(
        codes::SIGNER_UNAVAILABLE,
        "No settling account is configured here; settle at another facilitator.",
    )
}
