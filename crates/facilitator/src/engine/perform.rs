//! Performing the machine's effects: the only place where the engine touches
//! chain and ledger on behalf of a payment that it accepted.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::join_all;
use tollway_core::{Amount, Chain, ChainError, Network, PaymentId, Phase, Raw, Slot, Verified};
use tollway_ledger::{
    Conclusion, Cost, Ending, Lease, LedgerError, PaymentRecord, PaymentState, SettlementStore,
    SlotRecord, SlotRef,
};

use super::crash;
use super::gas::Gas;
use super::intent::read_intent;
use super::machine::{Effect, Event, NotAllocated, Records, SlotKey, Ticket};
use super::shared::Shared;
use crate::telemetry;

/// Payments that are read in one step at most.
const AT_ONCE: usize = 500;

/// What an effect is performed with.
pub(super) struct Performer {
    pub(super) shared: Arc<Shared>,
    pub(super) chain: Arc<dyn Chain>,
    pub(super) network: Network,
    pub(super) gas: Arc<Gas>,
}

impl Performer {
    /// Performs one effect; the answer, if it has one.
    pub(super) async fn perform(self: Arc<Self>, effect: Effect) -> Option<Event> {
        Some(match effect {
            Effect::ReVerify {
                id,
                ticket,
                payment,
            } => Event::Verified {
                id,
                ticket,
                result: Box::new(self.re_verify(&payment).await),
            },
            Effect::ReVerifySlot {
                slot,
                ticket,
                payments,
            } => {
                let all = payments.iter().map(|payment| self.re_verify(payment));
                Event::SlotVerified {
                    slot,
                    ticket,
                    results: join_all(all).await,
                }
            }
            Effect::Plan {
                subject,
                ticket,
                payments,
            } => Event::Planned {
                subject,
                ticket,
                result: self.ask(self.chain.plan(&payments)).await,
            },
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
            Effect::Broadcast { slot, ticket, raw } => self.broadcast(slot, ticket, &raw).await,
            Effect::Look {
                ticket,
                last,
                watches,
            } => Event::Looked {
                ticket,
                result: self.ask(self.chain.look(last.as_ref(), &watches)).await,
            },
            Effect::ConfirmedNonce { signer, ticket } => Event::Nonce {
                result: self.ask(self.chain.confirmed_nonce(&signer)).await,
                signer,
                ticket,
            },
            Effect::CheckBlock { ticket, number } => Event::BlockChecked {
                ticket,
                number,
                result: self.ask(self.chain.block_hash(number)).await,
            },
            other => return self.perform_for_one(other).await,
        })
    }

    async fn perform_for_one(&self, effect: Effect) -> Option<Event> {
        Some(match effect {
            Effect::Lookup {
                id,
                ticket,
                identity,
                expected,
                finality,
            } => {
                let lookup = self.chain.lookup(&identity, &expected, finality);
                Event::LookedUp {
                    id,
                    ticket,
                    result: self.ask(lookup).await,
                }
            }
            Effect::Observe {
                id,
                ticket,
                transaction,
                identity,
                expected,
                finality,
            } => {
                let observe = self
                    .chain
                    .observe(&transaction, &identity, &expected, finality);
                Event::Observed {
                    id,
                    ticket,
                    result: self.ask(observe).await,
                }
            }
            durable => return self.write(durable).await,
        })
    }

    /// The durable steps.
    async fn write(&self, effect: Effect) -> Option<Event> {
        let now = self.shared.now();
        let store = self.shared.store_now();
        Some(match effect {
            Effect::AllocateSlot {
                lease,
                ticket,
                confirmed,
            } => {
                let result = self.allocate(&lease, confirmed).await;
                Event::Allocated {
                    signer: lease.signer,
                    ticket,
                    result,
                }
            }
            Effect::StoreRaw {
                slot,
                lease,
                ticket,
                raw,
                payments,
            } => {
                let place = self.slot_ref(&slot);
                let write = store.store_raw(&place, &raw, &payments, &lease, now);
                let result = self.durable(crash::SUBMITTED, write).await;
                Event::Stored {
                    slot,
                    ticket,
                    result,
                }
            }
            Effect::Reopen { id, ticket, proof } => {
                let step = store.reopen(&id, &proof, now);
                let result = self.durable(crash::REOPENED, step).await;
                Event::Reopened { id, ticket, result }
            }
            Effect::CloseSlot {
                slot,
                ticket,
                costs,
            } => {
                let result = self.close(store.as_ref(), &slot, &costs).await;
                Event::Closed {
                    slot,
                    ticket,
                    result,
                }
            }
            Effect::Conclude { ticket, endings } => {
                self.conclude(store.as_ref(), ticket, endings).await
            }
            Effect::Reload { id, ticket } => {
                let result = self.load(store.as_ref(), &id).await;
                Event::Reloaded { id, ticket, result }
            }
            Effect::ReopenSlot {
                slot,
                lease,
                ticket,
            } => {
                let place = self.slot_ref(&slot);
                let step = store.reopen_slot(&place, &lease, now);
                let result = match self.durable(crash::ALLOCATED, step).await {
                    Ok(opened) => complete(store.as_ref(), Vec::new(), vec![opened]).await,
                    Err(error) => Err(error),
                };
                Event::SlotOpened {
                    slot,
                    ticket,
                    result,
                }
            }
            Effect::TakeBack { ticket, block, ids } => Event::TakenBack {
                ticket,
                block,
                result: self.take_back(store.as_ref(), block, &ids).await,
            },
            Effect::MarkFinal { ticket, ids } => {
                let step = store.mark_final(&ids, now);
                let result = self.durable(crash::FINAL, step).await;
                Event::Finalized { ticket, result }
            }
            Effect::GiveUp { id, ticket } => {
                let step = store.give_up(&id);
                let result = self.durable(crash::GIVEN_UP, step).await;
                Event::GivenUp { id, ticket, result }
            }
            _ => return None,
        })
    }

    async fn broadcast(&self, slot: SlotKey, ticket: Ticket, raw: &Raw) -> Event {
        crash::point("saga::submitted::before_send");
        let result = self.ask(self.chain.broadcast(raw)).await;
        crash::point("saga::submitted::after_send");
        telemetry::broadcast(&self.network, &result);
        Event::Sent {
            slot,
            ticket,
            result,
        }
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

    fn slot_ref(&self, slot: &SlotKey) -> SlotRef {
        (self.network.clone(), slot.0.clone(), slot.1)
    }

    /// Asks the chain, for a limited time.
    async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        ask(&self.shared, call).await
    }

    /// What else is promised of the balance was looked at when it was taken.
    async fn re_verify(&self, record: &PaymentRecord) -> Result<Verified, ChainError> {
        let facts = &record.payment;
        let intent = read_intent(self.chain.as_ref(), &facts.payload, &facts.requirements)?;
        self.ask(self.chain.verify(intent, Phase::Settle, Amount::ZERO))
            .await
    }

    async fn allocate(
        &self,
        lease: &Lease,
        confirmed: Option<u64>,
    ) -> Result<(SlotRecord, u64), NotAllocated> {
        let confirmed = match confirmed {
            Some(nonce) => nonce,
            None => self
                .ask(self.chain.confirmed_nonce(&lease.signer))
                .await
                .map_err(|e| NotAllocated::Failed(e.to_string()))?,
        };
        let store = self.shared.store_now();
        let step = store.allocate_slot(lease, confirmed, self.shared.now());
        match self.durable(crash::ALLOCATED, step).await {
            Ok(slot) => Ok((slot, confirmed)),
            Err(LedgerError::LeaseLost { .. }) => Err(NotAllocated::LeaseLost),
            Err(error) => Err(NotAllocated::Failed(error.to_string())),
        }
    }

    async fn close(
        &self,
        store: &dyn SettlementStore,
        slot: &SlotKey,
        costs: &[Cost],
    ) -> Result<(), LedgerError> {
        let now = self.shared.now();
        let place = self.slot_ref(slot);
        let step = store.close_slot(&place, costs, now);
        let result = self.durable(crash::CLOSED, step).await;
        if result.is_ok() {
            self.gas.spent(costs, now);
            telemetry::gas_spent(&self.network, costs);
        }
        result
    }

    /// Ends payments in one commit. Where somebody waits for success right now,
    /// it is handed out in the same step, and told at once.
    async fn conclude(
        &self,
        store: &dyn SettlementStore,
        ticket: Ticket,
        endings: Vec<(PaymentId, Conclusion)>,
    ) -> Event {
        let places: BTreeSet<crash::Write> = endings.iter().map(|(_, c)| place_of(c)).collect();
        let mut chosen = Vec::with_capacity(endings.len());
        let mut asked = Vec::with_capacity(endings.len());
        let mut ids = Vec::with_capacity(endings.len());
        for (id, conclusion) in endings {
            let settles = matches!(
                conclusion,
                Conclusion::Settled(_) | Conclusion::SettledWithoutTransaction
            );
            let waiter = settles.then(|| self.shared.waiters.chosen(&id)).flatten();
            asked.push(Ending {
                hand_out: waiter.as_ref().map(|w| Some(w.voice.clone())),
                id: id.clone(),
                conclusion,
            });
            chosen.push(waiter.map(|w| w.number));
            ids.push(id);
        }
        let hands_out = asked.iter().any(|e| e.hand_out.is_some());
        let handing = hands_out.then_some(crash::HANDED_OUT);
        for place in places.iter().chain(&handing) {
            crash::point(place.before);
        }
        let result = store.conclude_all(asked, self.shared.now()).await;
        for place in places.iter().chain(&handing) {
            crash::point(place.after);
        }
        self.shared.note_ledger(&result);
        let ended = match result {
            Ok(ended) => ended,
            Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
        };
        let results = ids.into_iter().zip(chosen).zip(ended);
        let results = results.map(|((id, number), ended)| {
            let ended = ended.map(|(record, handed)| {
                let record = Arc::new(record);
                self.shared.closed(&record);
                self.shared.waiters.ended(&id, &record, number.zip(handed));
                record
            });
            (id, ended)
        });
        Event::Concluded {
            ticket,
            results: results.collect(),
        }
    }

    /// The record, if it is ours to settle, its slot and what else that carries.
    async fn load(
        &self,
        store: &dyn SettlementStore,
        id: &PaymentId,
    ) -> Result<Option<Records>, LedgerError> {
        let Some(record) = store.payment(id).await? else {
            return Ok(None);
        };
        let open = matches!(
            record.state,
            PaymentState::Accepted | PaymentState::Submitted
        );
        if open && !self.shared.is_ours(&record) {
            return Ok(None);
        }
        with_slots(store, vec![record]).await.map(Some)
    }

    async fn take_back(
        &self,
        store: &dyn SettlementStore,
        block: u64,
        ids: &[PaymentId],
    ) -> Result<Records, LedgerError> {
        let now = self.shared.now();
        let reason = format!("block {block} was replaced");
        crash::point(crash::TAKEN_BACK.before);
        let all = ids.iter().map(|id| store.take_back(id, &reason, now));
        let results = join_all(all).await;
        crash::point(crash::TAKEN_BACK.after);
        for result in results {
            self.shared.note_ledger(&result);
            match result {
                Err(error) if error.is_storage() => return Err(error),
                // Taken back before, by us or by whoever has it now.
                Ok(()) | Err(_) => {}
            }
        }
        let mut records = Vec::with_capacity(ids.len());
        for ids in ids.chunks(AT_ONCE) {
            records.extend(store.payments_of(ids).await?);
        }
        with_slots(store, records).await
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

/// What the ledger holds open, with what is needed to watch it: the ended
/// payments that open slots carry, and closed slots that open payments name.
pub(super) async fn open_records(store: &dyn SettlementStore) -> Result<Records, LedgerError> {
    // Slots first: a payment submitted in between is then found without its slot,
    // which is read by name below; never the other way round.
    let slots = store.open_slots().await?;
    let payments = store.open_payments().await?;
    complete(store, payments, slots).await
}

/// Payments with the slots that they name.
pub(super) async fn with_slots(
    store: &dyn SettlementStore,
    payments: Vec<PaymentRecord>,
) -> Result<Records, LedgerError> {
    complete(store, payments, Vec::new()).await
}

async fn complete(
    store: &dyn SettlementStore,
    mut payments: Vec<PaymentRecord>,
    mut slots: Vec<SlotRecord>,
) -> Result<Records, LedgerError> {
    let place = |s: &SlotRecord| (s.network.clone(), s.signer.clone(), s.nonce);
    let mut places: BTreeSet<SlotRef> = slots.iter().map(place).collect();
    let submitted = payments
        .iter()
        .filter(|p| p.state == PaymentState::Submitted);
    let missing: BTreeSet<SlotRef> = submitted
        .filter_map(|p| p.slot.clone())
        .filter(|place| places.insert(place.clone()))
        .collect();
    for place in missing {
        slots.extend(store.slot(&place).await?);
    }
    let known: BTreeSet<PaymentId> = payments.iter().map(|p| p.id.clone()).collect();
    let carried: Vec<PaymentId> = slots
        .iter()
        .flat_map(|s| s.payments.iter())
        .filter(|id| !known.contains(id))
        .cloned()
        .collect();
    for ids in carried.chunks(AT_ONCE) {
        payments.extend(store.payments_of(ids).await?);
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
