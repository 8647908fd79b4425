//! [`SettlementStore`]: reading, and the way into the steps.

use std::sync::Arc;

use async_trait::async_trait;
use tollway_core::{Address, Amount, Identity, Network, PaymentId, Proof, Raw, Timestamp};

use super::{Step, Store, step_name};
use crate::sql::by_seq;
use crate::steps::{endings, gas, payments, replicas, slots};
use crate::{
    Acceptance, Cost, Ended, Ending, GasSpent, HandOut, Lease, LedgerError, NewPayment,
    PaymentFilter, PaymentRecord, ReplicaId, SettlementStore, SlotRecord, SlotRef,
};

#[async_trait]
impl SettlementStore for Store {
    fn acting_as(&self, replica: &ReplicaId) -> Arc<dyn SettlementStore> {
        Arc::new(Self {
            acting: Some(replica.clone()),
            ..self.clone()
        })
    }

    async fn lease_signer(
        &self,
        replica: &ReplicaId,
        network: &Network,
        signer: &Address,
    ) -> Result<Option<Lease>, LedgerError> {
        let (replica, network, signer) = (replica.clone(), network.clone(), signer.clone());
        self.write(step_name!("lease_signer"), async move |step: &mut Step| {
            replicas::lease(step, &replica, &network, &signer).await
        })
        .await
    }

    async fn adopt(
        &self,
        replica: &ReplicaId,
        network: &Network,
        limit: u32,
    ) -> Result<Vec<PaymentRecord>, LedgerError> {
        let (replica, network) = (replica.clone(), network.clone());
        self.write(step_name!("adopt"), async move |step: &mut Step| {
            replicas::adopt(step, &replica, &network, limit).await
        })
        .await
    }

    async fn give_up(&self, id: &PaymentId) -> Result<(), LedgerError> {
        let (id, acting) = (id.clone(), self.acting.clone());
        self.write(step_name!("give_up"), async move |step: &mut Step| {
            replicas::give_up(step, &id, acting.as_ref()).await
        })
        .await
    }

    async fn accept(&self, new: NewPayment, now: Timestamp) -> Result<Acceptance, LedgerError> {
        let acting = self.acting.clone();
        self.write(step_name!("accept"), async move |step: &mut Step| {
            payments::accept(step, &new, acting.as_ref(), now).await
        })
        .await
    }

    async fn payment(&self, id: &PaymentId) -> Result<Option<PaymentRecord>, LedgerError> {
        let row = self.find(payments::by_id(id)).await?;
        row.as_ref().map(payments::record).transpose()
    }

    async fn payments_of(&self, ids: &[PaymentId]) -> Result<Vec<PaymentRecord>, LedgerError> {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.extend(self.payment(id).await?);
        }
        Ok(found)
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
        lease: &Lease,
        confirmed_nonce: u64,
        now: Timestamp,
    ) -> Result<SlotRecord, LedgerError> {
        let lease = lease.clone();
        self.write(step_name!("allocate_slot"), async move |step: &mut Step| {
            slots::allocate(step, &lease, confirmed_nonce, now).await
        })
        .await
    }

    async fn reopen_slot(
        &self,
        slot: &SlotRef,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<SlotRecord, LedgerError> {
        let (slot, lease) = (slot.clone(), lease.clone());
        self.write(step_name!("reopen_slot"), async move |step: &mut Step| {
            slots::reopen(step, &slot, &lease, now).await
        })
        .await
    }

    async fn store_raw(
        &self,
        slot: &SlotRef,
        raw: &Raw,
        payments: &[PaymentId],
        lease: &Lease,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (slot, raw, ids) = (slot.clone(), raw.clone(), payments.to_vec());
        let lease = lease.clone();
        self.write(step_name!("store_raw"), async move |step: &mut Step| {
            slots::store_raw(step, &slot, &raw, &ids, &lease, now).await
        })
        .await
    }

    async fn reopen(
        &self,
        id: &PaymentId,
        proof: &Proof,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, proof, acting) = (id.clone(), proof.clone(), self.acting.clone());
        self.write(step_name!("reopen"), async move |step: &mut Step| {
            payments::reopen(step, &id, &proof, acting.as_ref(), now).await
        })
        .await
    }

    async fn close_slot(
        &self,
        slot: &SlotRef,
        costs: &[Cost],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (slot, costs) = (slot.clone(), costs.to_vec());
        self.write(step_name!("close_slot"), async move |step: &mut Step| {
            slots::close(step, &slot, &costs, now).await
        })
        .await
    }

    async fn conclude_all(
        &self,
        endings: Vec<Ending>,
        now: Timestamp,
    ) -> Result<Vec<Ended>, LedgerError> {
        let acting = self.acting.clone();
        self.write(step_name!("conclude_all"), async move |step: &mut Step| {
            endings::conclude_all(step, &endings, acting.as_ref(), now).await
        })
        .await
    }

    async fn take_back(
        &self,
        id: &PaymentId,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, reason, acting) = (id.clone(), reason.to_owned(), self.acting.clone());
        self.write(step_name!("take_back"), async move |step: &mut Step| {
            payments::take_back(step, &id, &reason, acting.as_ref(), now).await
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
        self.write(step_name!("hand_out"), async move |step: &mut Step| {
            endings::hand_out(step, &id, key.as_deref(), now).await
        })
        .await
    }

    async fn settled_since(
        &self,
        network: &Network,
        after: Option<&PaymentId>,
        limit: u32,
    ) -> Result<Vec<PaymentRecord>, LedgerError> {
        let statement = match &self.acting {
            None => payments::watched(network, after, limit),
            Some(replica) => {
                let now = self.store_now().await?;
                payments::watched_by(network, after, limit, replica, now)
            }
        };
        let rows = self.list(statement).await?;
        rows.iter().map(payments::record).collect()
    }

    async fn mark_final(&self, ids: &[PaymentId], now: Timestamp) -> Result<(), LedgerError> {
        let ids = ids.to_vec();
        self.write(step_name!("mark_final"), async move |step: &mut Step| {
            payments::mark_final(step, &ids, now).await
        })
        .await
    }

    async fn gas_spent(
        &self,
        network: &Network,
        since: Timestamp,
        payer: Option<&Address>,
    ) -> Result<GasSpent, LedgerError> {
        gas::sum(&self.list(gas::spent(network, since, payer)).await?)
    }

    async fn held(
        &self,
        network: &Network,
        asset: &Address,
        payer: &Address,
        except: &Identity,
    ) -> Result<Amount, LedgerError> {
        let promises = gas::promises(network, asset, payer, except);
        gas::promised(&self.list(promises).await?)
    }

    async fn open_payments(&self) -> Result<Vec<PaymentRecord>, LedgerError> {
        let rows = self.list(payments::open(self.acting.as_ref())).await?;
        let rows = by_seq(rows)?;
        rows.iter().map(payments::record).collect()
    }

    async fn open_slots(&self) -> Result<Vec<SlotRecord>, LedgerError> {
        let mut reader = self;
        slots::open(&mut reader, self.acting.as_ref()).await
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
