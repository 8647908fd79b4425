//! A ledger whose disk fails now and then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tollway_core::{Amount, GrantId, Identity, Timestamp};
use tollway_ledger::{
    Claim, Evidence, ExposureCap, GrantRecord, GrantStore, LedgerError, MeterRecord, NewGrant,
    Outstanding, PaidBefore, Release, SqliteLedger, StoredAnswer,
};

pub struct UnsteadyStore {
    ledger: Arc<dyn GrantStore>,
    /// How often each step still fails.
    failing: Arc<Mutex<HashMap<&'static str, usize>>>,
    /// Grants looked for.
    pub finds: Arc<AtomicUsize>,
}

impl UnsteadyStore {
    pub fn new(ledger: Arc<SqliteLedger>) -> Self {
        Self {
            ledger,
            failing: Arc::default(),
            finds: Arc::default(),
        }
    }

    /// Lets a step fail so often.
    pub fn fail(&self, step: &'static str, times: usize) {
        self.failing.lock().unwrap().insert(step, times);
    }

    fn well(&self, step: &'static str) -> Result<(), LedgerError> {
        let mut failing = self.failing.lock().unwrap();
        match failing.get_mut(step) {
            Some(times @ 1..) => {
                *times -= 1;
                Err(LedgerError::Unavailable {
                    message: "The disk is full; free some space.".to_owned(),
                    detail: step.to_owned(),
                })
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl GrantStore for UnsteadyStore {
    fn owned_by(&self, owner: &str) -> Arc<dyn GrantStore> {
        Arc::new(Self {
            ledger: self.ledger.owned_by(owner),
            failing: Arc::clone(&self.failing),
            finds: Arc::clone(&self.finds),
        })
    }

    async fn take_over(
        &self,
        id: &GrantId,
        heir: &str,
        alive: &[String],
        now: Timestamp,
    ) -> Result<Option<GrantRecord>, LedgerError> {
        self.well("take_over")?;
        self.ledger.take_over(id, heir, alive, now).await
    }

    async fn claim(&self, new: NewGrant, now: Timestamp) -> Result<Claim, LedgerError> {
        self.well("claim")?;
        self.ledger.claim(new, now).await
    }

    async fn served(
        &self,
        id: &GrantId,
        answer: Option<StoredAnswer>,
        charged: Option<Amount>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.well("served")?;
        self.ledger.served(id, answer, charged, now).await
    }

    async fn meter(
        &self,
        id: &GrantId,
        outstanding: Outstanding,
        cap: ExposureCap,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.well("meter")?;
        self.ledger.meter(id, outstanding, cap, now).await
    }

    async fn metered(
        &self,
        id: &GrantId,
        charged: Amount,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.well("metered")?;
        self.ledger.metered(id, charged, now).await
    }

    async fn paid_before(&self, asked: &PaidBefore) -> Result<bool, LedgerError> {
        self.well("paid_before")?;
        self.ledger.paid_before(asked).await
    }

    async fn use_sign_in(
        &self,
        nonce: &str,
        keep_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.well("use_sign_in")?;
        self.ledger.use_sign_in(nonce, keep_until, now).await
    }

    async fn meter_of(&self, id: &GrantId) -> Result<Option<MeterRecord>, LedgerError> {
        self.well("meter_of")?;
        self.ledger.meter_of(id).await
    }

    async fn grant_by_id(&self, id: &GrantId) -> Result<Option<GrantRecord>, LedgerError> {
        self.well("grant_by_id")?;
        self.ledger.grant_by_id(id).await
    }

    async fn settling(&self, id: &GrantId, now: Timestamp) -> Result<(), LedgerError> {
        self.well("settling")?;
        self.ledger.settling(id, now).await
    }

    async fn settled_first(
        &self,
        id: &GrantId,
        evidence: &Evidence,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.well("settled_first")?;
        self.ledger.settled_first(id, evidence, receipt, now).await
    }

    async fn release(
        &self,
        id: &GrantId,
        evidence: &Evidence,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<Release, LedgerError> {
        self.well("release")?;
        self.ledger.release(id, evidence, receipt, now).await
    }

    async fn refuse(
        &self,
        id: &GrantId,
        code: &str,
        message: &str,
        reclaimable: bool,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.well("refuse")?;
        self.ledger
            .refuse(id, code, message, reclaimable, now)
            .await
    }

    async fn refuse_with_receipt(
        &self,
        id: &GrantId,
        code: &str,
        message: &str,
        reclaimable: bool,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.well("refuse")?;
        self.ledger
            .refuse_with_receipt(id, code, message, reclaimable, receipt, now)
            .await
    }

    async fn remember_receipt(
        &self,
        id: &GrantId,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.well("remember_receipt")?;
        self.ledger.remember_receipt(id, receipt, now).await
    }

    async fn grant_by_identifier(
        &self,
        payment_identifier: &str,
    ) -> Result<Option<GrantRecord>, LedgerError> {
        self.finds.fetch_add(1, Ordering::SeqCst);
        self.well("find")?;
        self.ledger.grant_by_identifier(payment_identifier).await
    }

    async fn grant_by_identity(
        &self,
        identity: &Identity,
    ) -> Result<Option<GrantRecord>, LedgerError> {
        self.finds.fetch_add(1, Ordering::SeqCst);
        self.well("find")?;
        self.ledger.grant_by_identity(identity).await
    }

    async fn outstanding(&self, id: &GrantId) -> Result<Option<Outstanding>, LedgerError> {
        self.well("outstanding")?;
        self.ledger.outstanding(id).await
    }

    async fn answer(&self, id: &GrantId) -> Result<Option<StoredAnswer>, LedgerError> {
        self.well("answer")?;
        self.ledger.answer(id).await
    }

    async fn open_grants(&self) -> Result<Vec<GrantRecord>, LedgerError> {
        self.well("open_grants")?;
        self.ledger.open_grants().await
    }

    async fn refuse_orphans(&self, alive: &[String], now: Timestamp) -> Result<u64, LedgerError> {
        self.well("refuse_orphans")?;
        self.ledger.refuse_orphans(alive, now).await
    }

    async fn forget_answers(&self, before: Timestamp) -> Result<u64, LedgerError> {
        self.well("forget_answers")?;
        self.ledger.forget_answers(before).await
    }

    async fn forget_refused(&self, before: Timestamp) -> Result<u64, LedgerError> {
        self.well("forget_refused")?;
        self.ledger.forget_refused(before).await
    }
}
