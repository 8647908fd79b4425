//! The model ledger behind the trait, with a disk that can be made to fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use tollway_core::{Address, Identity, Network, PaymentId, Proof, Raw, Timestamp};
use tollway_ledger::{
    Acceptance, Conclusion, HandOut, LedgerError, NewPayment, PaymentFilter, PaymentRecord,
    SettlementStore, SlotRecord, SlotRef,
};

use crate::fuse::Fuse;
use crate::model_store::ModelStore;

#[derive(Debug, Default)]
pub struct MemoryStore {
    model: Mutex<ModelStore>,
    full: AtomicBool,
    /// Burns before and after each write.
    pub fuse: Fuse,
}

impl MemoryStore {
    pub fn disk_is_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    pub fn model(&self) -> MutexGuard<'_, ModelStore> {
        self.model.lock().unwrap()
    }

    fn write(&self) -> Result<MutexGuard<'_, ModelStore>, LedgerError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(LedgerError::Unavailable {
                message: "The disk is full; free some space.".to_owned(),
                detail: "ENOSPC".to_owned(),
            });
        }
        Ok(self.model())
    }
}

#[async_trait]
impl SettlementStore for MemoryStore {
    async fn accept(&self, new: NewPayment, now: Timestamp) -> Result<Acceptance, LedgerError> {
        self.fuse.burn().await;
        let done = self.write().and_then(|mut m| m.accept(new, now));
        self.fuse.burn().await;
        done
    }

    async fn payment(&self, id: &PaymentId) -> Result<Option<PaymentRecord>, LedgerError> {
        Ok(self.model().payment(id))
    }

    async fn payment_by_identity(
        &self,
        identity: &Identity,
    ) -> Result<Option<PaymentRecord>, LedgerError> {
        Ok(self.model().by_identity(identity))
    }

    async fn allocate_slot(
        &self,
        _network: &Network,
        signer: &Address,
        confirmed_nonce: u64,
        now: Timestamp,
    ) -> Result<SlotRecord, LedgerError> {
        self.fuse.burn().await;
        let done = self
            .write()
            .map(|mut m| m.allocate(signer, confirmed_nonce, now));
        self.fuse.burn().await;
        done
    }

    async fn store_raw(
        &self,
        slot: &SlotRef,
        raw: &Raw,
        payments: &[PaymentId],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.fuse.burn().await;
        let done = self
            .write()
            .and_then(|mut m| m.store_raw(slot, raw, payments, now));
        self.fuse.burn().await;
        done
    }

    async fn note(
        &self,
        _id: &PaymentId,
        _kind: &'static str,
        _data: serde_json::Value,
        _now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write().map(|_| ())
    }

    async fn reopen(
        &self,
        id: &PaymentId,
        proof: &Proof,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.fuse.burn().await;
        let done = self.write().and_then(|mut m| m.reopen(id, proof, now));
        self.fuse.burn().await;
        done
    }

    async fn close_slot(&self, slot: &SlotRef, _now: Timestamp) -> Result<(), LedgerError> {
        self.fuse.burn().await;
        let done = self.write().and_then(|mut m| m.close(slot));
        self.fuse.burn().await;
        done
    }

    async fn conclude(
        &self,
        id: &PaymentId,
        conclusion: Conclusion,
        now: Timestamp,
    ) -> Result<PaymentRecord, LedgerError> {
        self.fuse.burn().await;
        let done = self
            .write()
            .and_then(|mut m| m.conclude(id, conclusion, now));
        self.fuse.burn().await;
        done
    }

    async fn take_back(
        &self,
        id: &PaymentId,
        _reason: &str,
        _now: Timestamp,
    ) -> Result<(), LedgerError> {
        Err(LedgerError::NotFound(id.to_string()))
    }

    async fn hand_out(
        &self,
        id: &PaymentId,
        idempotency_key: Option<&str>,
        _now: Timestamp,
    ) -> Result<HandOut, LedgerError> {
        self.fuse.burn().await;
        let done = self
            .write()
            .and_then(|mut m| m.hand_out(id, idempotency_key));
        self.fuse.burn().await;
        done
    }

    async fn open_payments(&self) -> Result<Vec<PaymentRecord>, LedgerError> {
        Ok(self.model().open_payments())
    }

    async fn open_slots(&self) -> Result<Vec<SlotRecord>, LedgerError> {
        Ok(self.model().open_slots())
    }

    async fn slot(&self, slot: &SlotRef) -> Result<Option<SlotRecord>, LedgerError> {
        Ok(self.model().slots.get(&(slot.1.clone(), slot.2)).cloned())
    }

    async fn payments(&self, _filter: &PaymentFilter) -> Result<Vec<PaymentRecord>, LedgerError> {
        Ok(self.model().payments.values().cloned().collect())
    }
}
