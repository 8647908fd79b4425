//! [`SettlementStore`] on SQLite.

use async_trait::async_trait;
use tollway_core::{Address, Identity, Network, PaymentId, Proof, Raw, Timestamp};

use super::{SqliteLedger, payments, slots, step_name};
use crate::{
    Acceptance, Conclusion, HandOut, LedgerError, NewPayment, PaymentFilter, PaymentRecord,
    SettlementStore, SlotRecord, SlotRef,
};

#[async_trait]
impl SettlementStore for SqliteLedger {
    async fn accept(&self, new: NewPayment, now: Timestamp) -> Result<Acceptance, LedgerError> {
        self.write(step_name!("accept"), move |step| {
            Box::pin(payments::accept(step, new, now))
        })
        .await
    }

    async fn payment(&self, id: &PaymentId) -> Result<Option<PaymentRecord>, LedgerError> {
        let row = self.find(payments::by_id(id)).await?;
        row.as_ref().map(payments::record).transpose()
    }

    async fn payment_by_identity(
        &self,
        identity: &Identity,
    ) -> Result<Option<PaymentRecord>, LedgerError> {
        let row = self.find(payments::by_identity(identity)).await?;
        row.as_ref().map(payments::record).transpose()
    }

    async fn allocate_slot(
        &self,
        network: &Network,
        signer: &Address,
        confirmed_nonce: u64,
        now: Timestamp,
    ) -> Result<SlotRecord, LedgerError> {
        let (network, signer) = (network.clone(), signer.clone());
        self.write(step_name!("allocate_slot"), move |step| {
            Box::pin(slots::allocate(step, network, signer, confirmed_nonce, now))
        })
        .await
    }

    async fn store_raw(
        &self,
        slot: &SlotRef,
        raw: &Raw,
        payments: &[PaymentId],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (slot, raw, ids) = (slot.clone(), raw.clone(), payments.to_vec());
        self.write(step_name!("store_raw"), move |step| {
            Box::pin(slots::store_raw(step, slot, raw, ids, now))
        })
        .await
    }

    async fn note(
        &self,
        id: &PaymentId,
        kind: &'static str,
        data: serde_json::Value,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(step_name!("note"), move |step| {
            Box::pin(payments::note(step, id, kind, data, now))
        })
        .await
    }

    async fn reopen(
        &self,
        id: &PaymentId,
        proof: &Proof,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, proof) = (id.clone(), proof.clone());
        self.write(step_name!("reopen"), move |step| {
            Box::pin(payments::reopen(step, id, proof, now))
        })
        .await
    }

    async fn close_slot(&self, slot: &SlotRef, now: Timestamp) -> Result<(), LedgerError> {
        let slot = slot.clone();
        self.write(step_name!("close_slot"), move |step| {
            Box::pin(slots::close(step, slot, now))
        })
        .await
    }

    async fn conclude(
        &self,
        id: &PaymentId,
        conclusion: Conclusion,
        now: Timestamp,
    ) -> Result<PaymentRecord, LedgerError> {
        let id = id.clone();
        self.write(step_name!("conclude"), move |step| {
            Box::pin(payments::conclude(step, id, conclusion, now))
        })
        .await
    }

    async fn take_back(
        &self,
        id: &PaymentId,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.write(step_name!("take_back"), move |step| {
            Box::pin(payments::take_back(step, id, reason, now))
        })
        .await
    }

    async fn hand_out(
        &self,
        id: &PaymentId,
        idempotency_key: Option<&str>,
        now: Timestamp,
    ) -> Result<HandOut, LedgerError> {
        let (id, key) = (id.clone(), idempotency_key.map(str::to_owned));
        self.write(step_name!("hand_out"), move |step| {
            Box::pin(payments::hand_out(step, id, key, now))
        })
        .await
    }

    async fn open_payments(&self) -> Result<Vec<PaymentRecord>, LedgerError> {
        let rows = self.list(payments::open()).await?;
        rows.iter().map(payments::record).collect()
    }

    async fn open_slots(&self) -> Result<Vec<SlotRecord>, LedgerError> {
        let mut reader = self;
        slots::open(&mut reader).await
    }

    async fn slot(&self, slot: &SlotRef) -> Result<Option<SlotRecord>, LedgerError> {
        let mut reader = self;
        slots::one(&mut reader, slot).await
    }

    async fn payments(&self, filter: &PaymentFilter) -> Result<Vec<PaymentRecord>, LedgerError> {
        let rows = self.list(payments::listed(filter)).await?;
        rows.iter().map(payments::record).collect()
    }
}
