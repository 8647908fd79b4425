//! Taking a new payment: verified, covered, durable.

use std::sync::Arc;

use tollway_core::wire::SettleResponse;
use tollway_core::{
    Amount, ChainError, Intent, Lookup, Phase, Refusal, SettleRequest, Settlement, Terms, Verified,
    codes,
};
use tollway_ledger::{Acceptance, LedgerError, NewPayment, PaymentRecord};

use super::account::add;
use super::answer::refused;
use super::callers::{Caller, OpenPlace};
use super::config::Holds;
use super::error::EngineError;
use super::event::SettlementEvent;
use super::holds::Entry;
use super::intake::unavailable;
use super::machine::Event;
use super::perform::ask;
use super::shared::NetworkHandle;
use super::waiters::Waiting;
use super::{Engine, crash};

enum Accepted {
    New(Arc<PaymentRecord>, Waiting),
    Known(Box<PaymentRecord>),
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
        caller: &Caller,
        request: &SettleRequest,
        handle: &NetworkHandle,
        intent: Intent,
    ) -> Result<SettleResponse, EngineError> {
        let (place, entry) = match self.admit_new(caller, handle, &intent).await {
            Ok(admitted) => admitted,
            // What was taken before is no new payment, whatever is full now.
            Err(error) => match self.known(&intent).await? {
                Some(record) => return self.known_payment(request, handle, &intent, record).await,
                None => return Err(error),
            },
        };
        let verdict = match self.verdict(request, handle, &intent, entry.as_ref()).await {
            Ok(verdict) => verdict,
            // What was settled before is told without asking the chain.
            Err(error) => match self.known(&intent).await? {
                Some(record) => return self.known_payment(request, handle, &intent, record).await,
                None => return Err(error),
            },
        };
        let verified = match verdict {
            Verdict::Good(verified) => Some(verified),
            Verdict::SentBySomebody => None,
            Verdict::Refused(refusal) => {
                if let Some(record) = self.known(&intent).await? {
                    return self.known_payment(request, handle, &intent, record).await;
                }
                let mut response = refused(&refusal, &request.requirements.network);
                response.payer = Some(intent.identity.payer.to_string());
                return Ok(response);
            }
        };
        match self
            .accept(caller, request, handle, &intent, verified, place)
            .await?
        {
            Accepted::New(record, waiting) => self.finish(request, record, waiting).await,
            Accepted::Known(record) => self.known_payment(request, handle, &intent, *record).await,
        }
    }

    /// Whether another payment is taken now.
    async fn admit_new(
        &self,
        caller: &Caller,
        handle: &NetworkHandle,
        intent: &Intent,
    ) -> Result<(OpenPlace, Option<Entry>), EngineError> {
        self.admit()?;
        handle.admit(&self.shared.config)?;
        let place = caller.open()?;
        if intent.settlement != Settlement::Submit {
            return Ok((place, None));
        }
        handle.admit_signers()?;
        self.admit_gas(handle, intent).await?;
        Ok((place, Some(self.enter(intent)?)))
    }

    /// What the ledger knows of the identity.
    async fn known(&self, intent: &Intent) -> Result<Option<PaymentRecord>, EngineError> {
        let store = self.shared.store_now();
        let known = store.payment_by_identity(&intent.identity).await;
        known.map_err(|e| EngineError::ledger(&e))
    }

    pub(super) async fn admit_gas(
        &self,
        handle: &NetworkHandle,
        intent: &Intent,
    ) -> Result<(), EngineError> {
        let network = &intent.identity.network;
        let caps = self.shared.config.gas_on(network);
        let funds = handle.gauge.funds();
        let store = self.shared.store_now();
        let payer = &intent.identity.payer;
        handle
            .gas
            .admit(
                caps,
                funds,
                store.as_ref(),
                network,
                payer,
                self.shared.now(),
            )
            .await
    }

    /// Its amount is in the book from now on, as one that is being verified.
    pub(super) fn enter(&self, intent: &Intent) -> Result<Entry, EngineError> {
        let expected = &intent.expected;
        let entry = self.shared.holds.enter(
            &intent.identity,
            &expected.asset,
            expected.amount,
            self.shared.now(),
        );
        entry.ok_or_else(|| {
            EngineError::new(
                codes::TOO_MANY_REQUESTS,
                "Too many payments, of this payer or in all, were verified and not settled; try again later.",
            )
        })
    }

    /// Verifies that the balance covers the payment and all that is promised
    /// besides. If it does, its amount is held.
    pub(super) async fn verify_held(
        &self,
        handle: &NetworkHandle,
        intent: &Intent,
        phase: Phase,
        entry: &Entry,
    ) -> Result<Verified, ChainError> {
        let mut held = entry.held;
        if self.shared.config.holds == Holds::Ledger {
            held = held.max(Box::pin(self.held_in_ledger(intent)).await?);
        }
        let all = add(held, entry.others);
        let mut verified = self.verify_once(handle, intent, phase, all).await;
        let mut counted = all;
        if !entry.others.is_zero() && matches!(verified, Err(ChainError::Refused(_))) {
            // Those that are being verified may be refused themselves.
            verified = self.verify_once(handle, intent, phase, held).await;
            counted = held;
        }
        let good = verified?;
        let until = self.shared.now().plus(self.shared.config.hold_for);
        let held_now = entry.hold(until.min(intent.deadline));
        if held_now <= counted {
            return Ok(good);
        }
        let again = self.verify_once(handle, intent, phase, held_now).await;
        if again.is_err() {
            entry.refuse();
        }
        again
    }

    async fn verify_once(
        &self,
        handle: &NetworkHandle,
        intent: &Intent,
        phase: Phase,
        held: Amount,
    ) -> Result<Verified, ChainError> {
        ask(
            &self.shared,
            handle.chain.verify(intent.clone(), phase, held),
        )
        .await
    }

    async fn held_in_ledger(&self, intent: &Intent) -> Result<Amount, ChainError> {
        let identity = &intent.identity;
        let store = self.shared.store_now();
        let held = store.held(
            &identity.network,
            &intent.expected.asset,
            &identity.payer,
            identity,
        );
        let held = held
            .await
            .map_err(|e| ChainError::unavailable(format!("the ledger did not answer: {e}")))?;
        // What is in a block is less in the balance already.
        let asset = &intent.expected.asset;
        let paid = self.shared.holds.paid_besides(identity, asset);
        Ok(held.checked_sub(paid).unwrap_or_default())
    }

    /// Verifies once more. A nonce that was unused when we verified it, and is
    /// used now, was perhaps sent by somebody else: then it is paid.
    async fn verdict(
        &self,
        request: &SettleRequest,
        handle: &NetworkHandle,
        intent: &Intent,
        entry: Option<&Entry>,
    ) -> Result<Verdict, EngineError> {
        let allowed = charge_of(intent, request);
        let allowed = allowed.and_then(|charge| self.shared.config.check(intent, charge));
        if let Err(refusal) = allowed {
            return Ok(Verdict::Refused(refusal));
        }
        let verified = match entry {
            Some(entry) => self.verify_held(handle, intent, Phase::Settle, entry).await,
            None => {
                self.verify_once(handle, intent, Phase::Settle, Amount::ZERO)
                    .await
            }
        };
        let refusal = match verified {
            Ok(verified) => {
                handle.admit_pinned(&verified.signers)?;
                return Ok(Verdict::Good(Box::new(verified)));
            }
            Err(ChainError::Refused(refusal)) => refusal,
            Err(error @ ChainError::Unavailable { .. }) => return Err(unavailable(&error)),
        };
        let fingerprint = self.shared.holds.fingerprint(&intent.identity);
        let was_unused = self.shared.unused.get(&fingerprint).is_some();
        if !(was_unused && says_used(refusal.code())) {
            return Ok(Verdict::Refused(refusal));
        }
        let finality = self.shared.config.finality_of(intent);
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

    /// Makes the payment durable and gives it to the actor. Once begun, this
    /// runs to its end also when the caller goes away.
    async fn accept(
        &self,
        caller: &Caller,
        request: &SettleRequest,
        handle: &NetworkHandle,
        intent: &Intent,
        verified: Option<Box<Verified>>,
        place: OpenPlace,
    ) -> Result<Accepted, EngineError> {
        let new = self.new_record(caller, request, intent)?;
        let (shared, events) = (Arc::clone(&self.shared), handle.events.clone());
        let store = shared.store().await?;
        let accepting = tokio::spawn(async move {
            crash::point(crash::ACCEPTED.before);
            let result = store.accept(new, shared.now()).await;
            crash::point(crash::ACCEPTED.after);
            shared.note_ledger(&result);
            Ok(match result? {
                Acceptance::Existing(record) => Accepted::Known(Box::new(record)),
                Acceptance::New(record) => {
                    let record = Arc::new(record);
                    let opener = record.payment.opener.as_deref();
                    let waiting = shared.waiters.subscribe(&record.id, opener, opener);
                    shared.opened(&record, place);
                    if shared.hooked.load(std::sync::atomic::Ordering::Acquire) {
                        shared.tell(&SettlementEvent::Accepted {
                            record: Arc::clone(&record),
                        });
                    }
                    // If the actor is gone, the next start recovers it.
                    let _ = events.send(Event::Accepted {
                        record: Arc::clone(&record),
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

    pub(super) fn new_record(
        &self,
        caller: &Caller,
        request: &SettleRequest,
        intent: &Intent,
    ) -> Result<NewPayment, EngineError> {
        let mut expected = intent.expected.clone();
        expected.amount = charge_of(intent, request)
            .map_err(|r| EngineError::new(codes::INTERNAL_ERROR, r.message().to_owned()))?;
        Ok(NewPayment {
            identity: intent.identity.clone(),
            expected,
            deadline: intent.deadline,
            settlement: intent.settlement.clone(),
            finality: self.shared.config.finality_of(intent),
            payload: Arc::clone(&request.payload),
            requirements: Arc::clone(&request.requirements),
            caller: caller.name().map(str::to_owned),
            opener: request.idempotency_key.clone(),
        })
    }
}

/// What is charged. For `upto` the terms are the ceiling's, and the requirements
/// name the charge.
fn charge_of(intent: &Intent, request: &SettleRequest) -> Result<Amount, Refusal> {
    let metered = matches!(intent.settlement, Settlement::Submit | Settlement::Nothing)
        && !Arc::ptr_eq(&intent.terms.wire, &request.requirements);
    match metered {
        true => Ok(Terms::check(Arc::clone(&request.requirements))?.amount),
        false => Ok(intent.expected.amount),
    }
}

/// Whether a refusal says that what a payment can be made with once is used.
fn says_used(code: &str) -> bool {
    matches!(
        code,
        codes::INVALID_EXACT_EVM_NONCE_ALREADY_USED
            | codes::NONCE_ALREADY_USED
            | codes::PERMIT2_INVALID_NONCE
            | codes::INVALID_EXACT_EVM_EIP2612_ALREADY_SETTLED
            | codes::INVALID_EXACT_EVM_ERC7710_ALREADY_USED
    )
}
