//! The model ledger behind the trait, with a disk that can be made to fail.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tollway_core::{Address, Amount, Identity, Network, PaymentId, Proof, Raw, Timestamp};
use tollway_ledger::{
    Acceptance, Cost, Ended, Ending, GasSpent, HandOut, Lease, LedgerError, NewPayment,
    PaymentFilter, PaymentRecord, Replica, ReplicaId, ReplicaStore, SettlementStore, SlotRecord,
    SlotRef,
};

use crate::fuse::Fuse;
use crate::model_store::{ModelStore, me};

#[derive(Debug, Default)]
pub struct Disk {
    model: Mutex<ModelStore>,
    full: AtomicBool,
    /// Ending payments takes so long, in milliseconds.
    pub slow_to_end: AtomicU64,
    /// So many times ending is done, and then answered as if that were not known.
    pub doubtful_ends: AtomicU64,
    /// Burns before and after each write.
    pub fuse: Fuse,
}

#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    disk: Arc<Disk>,
    acting: Option<ReplicaId>,
    /// Several replicas live at once; else whoever joins is the only one.
    pub shared: bool,
}

impl std::ops::Deref for MemoryStore {
    type Target = Disk;

    fn deref(&self) -> &Disk {
        &self.disk
    }
}

impl MemoryStore {
    /// One that several machines use.
    pub fn of_several() -> Self {
        Self {
            shared: true,
            ..Self::default()
        }
    }

    fn acting(&self) -> ReplicaId {
        self.acting.clone().unwrap_or_else(me)
    }

    async fn change<T>(
        &self,
        step: impl FnOnce(&mut ModelStore) -> Result<T, LedgerError> + Send,
    ) -> Result<T, LedgerError> {
        self.fuse.burn().await;
        let done = self.write().and_then(|mut model| step(&mut model));
        self.fuse.burn().await;
        done
    }
}

impl Disk {
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
impl ReplicaStore for MemoryStore {
    async fn join(&self, name: &str, _ttl: Duration) -> Result<Replica, LedgerError> {
        let mut model = self.write()?;
        if !self.shared {
            model.alive.clear();
        }
        Ok(Replica {
            id: model.join(),
            name: name.to_owned(),
        })
    }

    async fn beat(&self, replica: &ReplicaId, _ttl: Duration) -> Result<(), LedgerError> {
        match self.model().alive.contains(replica) {
            true => Ok(()),
            false => Err(LedgerError::NotFound(replica.to_string())),
        }
    }

    async fn leave(&self, replica: &ReplicaId) -> Result<(), LedgerError> {
        self.model().alive.remove(replica);
        Ok(())
    }
}

#[async_trait]
impl SettlementStore for MemoryStore {
    fn acting_as(&self, replica: &ReplicaId) -> Arc<dyn SettlementStore> {
        Arc::new(Self {
            acting: Some(replica.clone()),
            ..self.clone()
        })
    }

    async fn lease_signer(
        &self,
        replica: &ReplicaId,
        _network: &Network,
        signer: &Address,
    ) -> Result<Option<Lease>, LedgerError> {
        Ok(self.write()?.lease(replica, signer))
    }

    async fn adopt(
        &self,
        replica: &ReplicaId,
        _network: &Network,
        _limit: u32,
    ) -> Result<Vec<PaymentRecord>, LedgerError> {
        Ok(self.write()?.adopt(replica))
    }

    async fn give_up(&self, id: &PaymentId) -> Result<(), LedgerError> {
        self.change(|m| m.give_up(id)).await
    }

    async fn accept(&self, new: NewPayment, now: Timestamp) -> Result<Acceptance, LedgerError> {
        self.change(|m| m.accept(&self.acting(), new, now)).await
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
        lease: &Lease,
        confirmed_nonce: u64,
        now: Timestamp,
    ) -> Result<SlotRecord, LedgerError> {
        self.change(|m| m.allocate(lease, confirmed_nonce, now))
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
        self.change(|m| m.store_raw(slot, raw, payments, lease, now))
            .await
    }

    async fn reopen_slot(
        &self,
        slot: &SlotRef,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<SlotRecord, LedgerError> {
        self.change(|m| m.reopen_slot(slot, lease, now)).await
    }

    async fn payments_of(&self, ids: &[PaymentId]) -> Result<Vec<PaymentRecord>, LedgerError> {
        let model = self.model();
        Ok(ids.iter().filter_map(|id| model.payment(id)).collect())
    }

    async fn reopen(
        &self,
        id: &PaymentId,
        proof: &Proof,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.change(|m| m.reopen(id, proof, now)).await
    }

    async fn close_slot(
        &self,
        slot: &SlotRef,
        costs: &[Cost],
        _now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.change(|m| m.close(slot, costs)).await
    }

    async fn conclude_all(
        &self,
        endings: Vec<Ending>,
        now: Timestamp,
    ) -> Result<Vec<Ended>, LedgerError> {
        let millis = self.slow_to_end.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let ended = self.change(|m| Ok(m.conclude_all(endings, now))).await;
        let left = |left: u64| left.checked_sub(1);
        let doubts = &self.doubtful_ends;
        match doubts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) {
            Ok(_) => Err(LedgerError::InDoubt {
                message: "It is not known whether the step stands; ask again.".to_owned(),
                detail: "the connection broke".to_owned(),
            }),
            Err(_) => ended,
        }
    }

    async fn take_back(
        &self,
        id: &PaymentId,
        _reason: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.change(|m| m.take_back(id, now)).await
    }

    async fn hand_out(
        &self,
        id: &PaymentId,
        idempotency_key: Option<&str>,
        _now: Timestamp,
    ) -> Result<HandOut, LedgerError> {
        self.change(|m| m.hand_out(id, idempotency_key)).await
    }

    async fn settled_since(
        &self,
        _network: &Network,
        after: Option<&PaymentId>,
        _limit: u32,
    ) -> Result<Vec<PaymentRecord>, LedgerError> {
        let mut watched = self.model().watched();
        watched.retain(|p| after.is_none_or(|after| p.id > *after));
        Ok(watched)
    }

    async fn mark_final(&self, ids: &[PaymentId], _now: Timestamp) -> Result<(), LedgerError> {
        self.write()?.mark_final(ids);
        Ok(())
    }

    async fn gas_spent(
        &self,
        _network: &Network,
        _since: Timestamp,
        payer: Option<&Address>,
    ) -> Result<GasSpent, LedgerError> {
        Ok(self.model().gas_spent(payer))
    }

    async fn held(
        &self,
        _network: &Network,
        _asset: &Address,
        payer: &Address,
        except: &Identity,
    ) -> Result<Amount, LedgerError> {
        Ok(self.model().held(payer, except))
    }

    async fn open_payments(&self) -> Result<Vec<PaymentRecord>, LedgerError> {
        let mut open = self.model().open_payments();
        if let Some(acting) = &self.acting {
            open.retain(|p| p.replica.as_ref() == Some(acting));
        }
        Ok(open)
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
