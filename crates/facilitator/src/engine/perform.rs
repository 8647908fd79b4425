//! Performing the machine's effects: the only place where the engine touches
//! chain and ledger on behalf of a payment that it accepted.

use std::future::Future;
use std::sync::Arc;

use tollway_core::{Address, Amount, Chain, ChainError, Network, Slot, Verified, Watch};
use tollway_ledger::{
    Conclusion, LedgerError, PaymentRecord, PaymentState, SettlementStore, SlotRecord,
};

use super::crash;
use super::intent::read_intent;
use super::machine::{Effect, Event, SlotKey, Ticket};
use super::shared::Shared;
use crate::telemetry;

/// What an effect is performed with.
#[derive(Clone)]
pub(super) struct Performer {
    pub(super) shared: Arc<Shared>,
    pub(super) chain: Arc<dyn Chain>,
    pub(super) network: Network,
}

impl Performer {
    /// Performs one effect; the answer, if it has one.
    pub(super) async fn perform(&self, effect: Effect) -> Option<Event> {
        Some(match effect {
            Effect::ReVerify {
                subject,
                ticket,
                payment,
            } => Event::Verified {
                subject,
                ticket,
                result: Box::new(self.re_verify(&payment).await),
            },
            Effect::Plan {
                subject,
                ticket,
                payments,
            } => Event::Planned {
                subject,
                ticket,
                result: self.ask(self.chain.plan(&payments)).await,
            },
            Effect::AllocateSlot {
                signer,
                ticket,
                confirmed,
            } => {
                let result = self.allocate(&signer, confirmed).await;
                Event::Allocated {
                    signer,
                    ticket,
                    result,
                }
            }
            Effect::Seal {
                slot,
                ticket,
                plan,
                replaces,
            } => {
                let place = Slot {
                    signer: slot.0.clone(),
                    nonce: slot.1,
                    replaces,
                };
                Event::Sealed {
                    result: self.ask(self.chain.seal(&plan, &place)).await,
                    slot,
                    ticket,
                }
            }
            Effect::Broadcast { slot, ticket, raw } => {
                crash::point("saga::submitted::before_send");
                let result = self.ask(self.chain.broadcast(&raw)).await;
                crash::point("saga::submitted::after_send");
                telemetry::broadcast(&self.network, &result);
                Event::Sent {
                    slot,
                    ticket,
                    result,
                }
            }
            Effect::Poll { watches } => self.poll(watches).await,
            Effect::Lookup {
                id,
                ticket,
                identity,
                expected,
                finality,
            } => Event::LookedUp {
                id,
                ticket,
                result: self
                    .ask(self.chain.lookup(&identity, &expected, finality))
                    .await,
            },
            Effect::Observe {
                id,
                ticket,
                transaction,
                identity,
                expected,
                finality,
            } => Event::Observed {
                id,
                ticket,
                result: self
                    .ask(
                        self.chain
                            .observe(&transaction, &identity, &expected, finality),
                    )
                    .await,
            },
            Effect::ConfirmedNonce { signer, ticket } => Event::Nonce {
                result: self.ask(self.chain.confirmed_nonce(&signer)).await,
                signer,
                ticket,
            },
            Effect::NotifyWaiters { id, update } => {
                self.shared.moved(&self.network, id, update);
                return None;
            }
            durable => return self.write(durable).await,
        })
    }

    /// The durable steps.
    async fn write(&self, effect: Effect) -> Option<Event> {
        let now = self.shared.now();
        let store = &self.shared.store;
        Some(match effect {
            Effect::StoreRaw {
                slot,
                ticket,
                raw,
                payments,
            } => {
                let place = self.slot_ref(&slot);
                let write = store.store_raw(&place, &raw, &payments, now);
                let result = self.durable(crash::SUBMITTED, write).await;
                Event::Stored {
                    slot,
                    ticket,
                    result,
                }
            }
            Effect::Reopen { id, ticket, proof } => {
                let result = self
                    .durable(crash::REOPENED, store.reopen(&id, &proof, now))
                    .await;
                Event::Reopened { id, ticket, result }
            }
            Effect::CloseSlot { slot, ticket } => {
                let place = self.slot_ref(&slot);
                let result = self
                    .durable(crash::CLOSED, store.close_slot(&place, now))
                    .await;
                Event::Closed {
                    slot,
                    ticket,
                    result,
                }
            }
            Effect::Conclude {
                id,
                ticket,
                conclusion,
            } => {
                let place = place_of(&conclusion);
                let result = self
                    .durable(place, store.conclude(&id, conclusion, now))
                    .await;
                Event::Concluded { id, ticket, result }
            }
            Effect::Reload { id, ticket } => {
                let result = load(store.as_ref(), &id).await;
                Event::Reloaded { id, ticket, result }
            }
            _ => return None,
        })
    }

    /// One durable step between two places where the process may die.
    async fn durable<T>(
        &self,
        place: crash::Write,
        step: impl Future<Output = Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        crash::point(place.before);
        let result = step.await;
        crash::point(place.after);
        self.shared.note_ledger(&result);
        result
    }

    fn slot_ref(&self, slot: &SlotKey) -> tollway_ledger::SlotRef {
        (self.network.clone(), slot.0.clone(), slot.1)
    }

    /// Asks the chain, for a limited time.
    async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        ask(&self.shared, call).await
    }

    async fn re_verify(&self, record: &PaymentRecord) -> Result<Verified, ChainError> {
        let payment = &record.payment;
        let (payload, requirements) = (
            Arc::new(payment.payload.clone()),
            Arc::new(payment.requirements.clone()),
        );
        let intent = read_intent(self.chain.as_ref(), &payload, &requirements)?;
        let phase = tollway_core::Phase::Settle;
        self.ask(self.chain.verify(intent, phase, Amount::ZERO))
            .await
    }

    async fn allocate(
        &self,
        signer: &Address,
        confirmed: Option<u64>,
    ) -> Result<(SlotRecord, u64), String> {
        let confirmed = match confirmed {
            Some(nonce) => nonce,
            None => self
                .ask(self.chain.confirmed_nonce(signer))
                .await
                .map_err(|e| e.to_string())?,
        };
        let step =
            self.shared
                .store
                .allocate_slot(&self.network, signer, confirmed, self.shared.now());
        let slot = self
            .durable(crash::ALLOCATED, step)
            .await
            .map_err(|e| e.to_string())?;
        Ok((slot, confirmed))
    }

    /// All watches at once, so that the node's client can send them together.
    async fn poll(&self, watches: Vec<(SlotKey, Ticket, Watch)>) -> Event {
        let mut asked = tokio::task::JoinSet::new();
        for (slot, ticket, watch) in watches {
            let (shared, chain) = (Arc::clone(&self.shared), Arc::clone(&self.chain));
            asked.spawn(async move {
                let result = ask(&shared, chain.outcome(&watch)).await;
                (slot, ticket, result)
            });
        }
        let mut results = Vec::with_capacity(asked.len());
        while let Some(answer) = asked.join_next().await {
            // A poll that panicked is missing here, and is asked again after its time-out.
            results.extend(answer.ok());
        }
        Event::Polled { results }
    }
}

/// Asks a chain, for a limited time.
pub(super) async fn ask<T>(
    shared: &Shared,
    call: impl Future<Output = Result<T, ChainError>>,
) -> Result<T, ChainError> {
    match tokio::time::timeout(shared.config.chain_timeout, call).await {
        Ok(result) => result,
        Err(_) => Err(ChainError::unavailable("the chain did not answer in time")),
    }
}

/// A record and the slot it names.
async fn load(
    store: &dyn SettlementStore,
    id: &tollway_core::PaymentId,
) -> Result<Option<(PaymentRecord, Option<SlotRecord>)>, LedgerError> {
    let Some(record) = store.payment(id).await? else {
        return Ok(None);
    };
    let slot = match (&record.slot, record.state) {
        (Some(slot), PaymentState::Submitted) => store.slot(slot).await?,
        _ => None,
    };
    Ok(Some((record, slot)))
}

/// What the ledger holds open, with what is needed to watch it: the ended
/// payments that open slots carry, and closed slots that open payments name.
pub(super) async fn open_records(
    store: &dyn SettlementStore,
) -> Result<(Vec<PaymentRecord>, Vec<SlotRecord>), LedgerError> {
    // Slots first: a payment submitted in between is then found without its slot,
    // which is read by name below; never the other way round.
    let mut slots = store.open_slots().await?;
    let mut payments = store.open_payments().await?;
    for index in 0..payments.len() {
        let Some(record) = payments.get(index) else {
            break;
        };
        let Some(place) = record.slot.clone() else {
            continue;
        };
        let known = slots
            .iter()
            .any(|s| (&s.network, &s.signer, s.nonce) == (&place.0, &place.1, place.2));
        if record.state == PaymentState::Submitted && !known {
            slots.extend(store.slot(&place).await?);
        }
    }
    let carried: std::collections::BTreeSet<_> = slots
        .iter()
        .flat_map(|s| s.payments.iter().cloned())
        .collect();
    for id in carried {
        if !payments.iter().any(|p| p.id == id) {
            payments.extend(store.payment(&id).await?);
        }
    }
    Ok((payments, slots))
}

fn place_of(conclusion: &Conclusion) -> crash::Write {
    match conclusion {
        Conclusion::Settled(_) | Conclusion::SettledWithoutTransaction => crash::SETTLED,
        Conclusion::Refused { .. } => crash::REFUSED,
        Conclusion::Expired => crash::EXPIRED,
    }
}
