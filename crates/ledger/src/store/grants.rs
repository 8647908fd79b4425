//! [`GrantStore`]: reading, and the way into the steps.

use std::sync::Arc;

use async_trait::async_trait;
use tollway_core::{Amount, GrantId, Identity, Timestamp};

use super::{Step, Store, step_name};
use crate::sql::{by_seq, millis, sql};
use crate::steps::grant_rows::{answer, by_id, by_identifier, by_identity, open, record};
use crate::steps::{grants as steps, meters, passes, sign_ins};
use crate::{
    Claim, Evidence, ExposureCap, GrantRecord, GrantStore, LedgerError, MeterRecord, NewGrant,
    Outstanding, PaidBefore, Release, StoredAnswer,
};

/// Answers forgotten in one step, so that the steps of others get in between.
const FORGET_AT_ONCE: u64 = 64;
/// Refused grants forgotten in one step; they are small.
const FORGET_REFUSED_AT_ONCE: u64 = 512;
/// Refused grants that may be claimed again, kept at most.
const MAX_REFUSED: i64 = 10_000;

fn refused(
    code: &str,
    message: &str,
    reclaimable: bool,
    receipt: Option<serde_json::Value>,
) -> steps::Refused {
    steps::Refused {
        code: code.to_owned(),
        message: message.to_owned(),
        reclaimable,
        receipt,
    }
}

impl Store {
    async fn refuse_for(
        &self,
        id: &GrantId,
        why: steps::Refused,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, owner) = (id.clone(), self.owner.clone());
        self.write(step_name!("refuse"), async move |step: &mut Step| {
            steps::refuse(step, &id, owner.as_deref(), &why, now).await
        })
        .await
    }
}

#[async_trait]
impl GrantStore for Store {
    fn owned_by(&self, owner: &str) -> Arc<dyn GrantStore> {
        Arc::new(Self {
            owner: Some(owner.to_owned()),
            ..self.clone()
        })
    }

    async fn claim(&self, new: NewGrant, now: Timestamp) -> Result<Claim, LedgerError> {
        self.write(step_name!("claim"), async move |step: &mut Step| {
            steps::claim(step, &new, now).await
        })
        .await
    }

    async fn served(
        &self,
        id: &GrantId,
        answer: Option<StoredAnswer>,
        charged: Option<Amount>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, owner) = (id.clone(), self.owner.clone());
        self.write(step_name!("served"), async move |step: &mut Step| {
            steps::served(step, &id, owner.as_deref(), answer.as_ref(), charged, now).await
        })
        .await
    }

    async fn meter(
        &self,
        id: &GrantId,
        outstanding: Outstanding,
        cap: ExposureCap,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let (id, owner) = (id.clone(), self.owner.clone());
        self.write(step_name!("meter"), async move |step: &mut Step| {
            meters::meter(step, &id, owner.as_deref(), &outstanding, cap, now).await
        })
        .await
    }

    async fn metered(
        &self,
        id: &GrantId,
        charged: Amount,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, owner) = (id.clone(), self.owner.clone());
        self.write(step_name!("metered"), async move |step: &mut Step| {
            meters::metered(step, &id, owner.as_deref(), charged, now).await
        })
        .await
    }

    async fn meter_of(&self, id: &GrantId) -> Result<Option<MeterRecord>, LedgerError> {
        let row = self.find(meters::by_grant(id)).await?;
        row.as_ref().map(meters::record).transpose()
    }

    async fn settling(&self, id: &GrantId, now: Timestamp) -> Result<(), LedgerError> {
        let (id, owner) = (id.clone(), self.owner.clone());
        self.write(step_name!("settling"), async move |step: &mut Step| {
            steps::settling(step, &id, owner.as_deref(), now).await
        })
        .await
    }

    async fn settled_first(
        &self,
        id: &GrantId,
        evidence: &Evidence,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let (id, evidence, receipt) = (id.clone(), evidence.clone(), receipt.clone());
        let owner = self.owner.clone();
        self.write(step_name!("settled_first"), async move |step: &mut Step| {
            steps::settled_first(step, &id, owner.as_deref(), &evidence, &receipt, now).await
        })
        .await
    }

    async fn release(
        &self,
        id: &GrantId,
        evidence: &Evidence,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<Release, LedgerError> {
        let (id, evidence, receipt) = (id.clone(), evidence.clone(), receipt.clone());
        let owner = self.owner.clone();
        self.write(step_name!("release"), async move |step: &mut Step| {
            steps::release(step, &id, owner.as_deref(), &evidence, &receipt, now).await
        })
        .await
    }

    async fn refuse(
        &self,
        id: &GrantId,
        code: &str,
        message: &str,
        reclaimable: bool,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let why = refused(code, message, reclaimable, None);
        self.refuse_for(id, why, now).await
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
        let why = refused(code, message, reclaimable, Some(receipt.clone()));
        self.refuse_for(id, why, now).await
    }

    async fn remember_receipt(
        &self,
        id: &GrantId,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, receipt) = (id.clone(), receipt.clone());
        let owner = self.owner.clone();
        self.write(
            step_name!("remember_receipt"),
            async move |step: &mut Step| {
                steps::remember_receipt(step, &id, owner.as_deref(), &receipt, now).await
            },
        )
        .await
    }

    async fn grant_by_id(&self, id: &GrantId) -> Result<Option<GrantRecord>, LedgerError> {
        let row = self.find(by_id(id)).await?;
        row.as_ref().map(record).transpose()
    }

    async fn grant_by_identifier(
        &self,
        payment_identifier: &str,
    ) -> Result<Option<GrantRecord>, LedgerError> {
        let row = self.find(by_identifier(payment_identifier)).await?;
        row.as_ref().map(record).transpose()
    }

    async fn grant_by_identity(
        &self,
        identity: &Identity,
    ) -> Result<Option<GrantRecord>, LedgerError> {
        let row = self.find(by_identity(identity)).await?;
        row.as_ref().map(record).transpose()
    }

    async fn outstanding(&self, id: &GrantId) -> Result<Option<Outstanding>, LedgerError> {
        let row = self.find(passes::by_grant(id)).await?;
        let pass = row.as_ref().map(passes::record).transpose()?;
        match pass {
            Some(pass) => Ok(pass.outstanding),
            None => Ok(self.meter_of(id).await?.and_then(|meter| meter.outstanding)),
        }
    }

    async fn paid_before(&self, asked: &PaidBefore) -> Result<bool, LedgerError> {
        for row in self.list(sign_ins::of(asked)).await? {
            if sign_ins::is_paid(&record(&row)?, asked) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn use_sign_in(
        &self,
        nonce: &str,
        keep_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let nonce = nonce.to_owned();
        self.write(step_name!("use_sign_in"), async move |step: &mut Step| {
            sign_ins::use_once(step, &nonce, keep_until, now).await
        })
        .await
    }

    async fn answer(&self, id: &GrantId) -> Result<Option<StoredAnswer>, LedgerError> {
        let stored = sql("SELECT * FROM answers WHERE grant_id = $1");
        let row = self.find(stored.bind(id.to_string())).await?;
        row.as_ref().map(answer).transpose()
    }

    async fn open_grants(&self) -> Result<Vec<GrantRecord>, LedgerError> {
        let rows = by_seq(self.list(open()).await?)?;
        rows.iter().map(record).collect()
    }

    async fn take_over(
        &self,
        id: &GrantId,
        heir: &str,
        alive: &[String],
        now: Timestamp,
    ) -> Result<Option<GrantRecord>, LedgerError> {
        let (id, heir, alive) = (id.clone(), heir.to_owned(), alive.to_vec());
        self.write(step_name!("take_over"), async move |step: &mut Step| {
            steps::take_over(step, &id, &heir, &alive, now).await
        })
        .await
    }

    async fn refuse_orphans(&self, alive: &[String], now: Timestamp) -> Result<u64, LedgerError> {
        let alive = alive.to_vec();
        self.write(
            step_name!("refuse_orphans"),
            async move |step: &mut Step| steps::refuse_orphans(step, &alive, now).await,
        )
        .await
    }

    /// An answer is kept while its grant has not ended: whoever paid for it
    /// must be able to fetch it.
    async fn forget_answers(&self, before: Timestamp) -> Result<u64, LedgerError> {
        let mut forgotten = 0;
        loop {
            let delete = sql("DELETE FROM answers WHERE grant_id IN (
                     SELECT a.grant_id FROM answers a JOIN grants g ON g.id = a.grant_id
                     WHERE a.stored_at < $1 AND g.is_open = 0 ORDER BY a.stored_at LIMIT $2)");
            let delete = delete.bind(millis(before)).bind(FORGET_AT_ONCE as i64);
            let count = self
                .write(
                    step_name!("forget_answers"),
                    async move |step: &mut Step| step.run(delete.clone()).await,
                )
                .await?;
            forgotten += count;
            if count < FORGET_AT_ONCE {
                return Ok(forgotten);
            }
        }
    }

    async fn forget_refused(&self, before: Timestamp) -> Result<u64, LedgerError> {
        let surplus = sql("SELECT updated_at FROM grants WHERE reclaimable = 1
             ORDER BY updated_at DESC LIMIT 1 OFFSET $1");
        let surplus = match self.find(surplus.bind(MAX_REFUSED)).await? {
            Some(row) => row.time("updated_at")?.millis().saturating_add(1),
            None => 0,
        };
        let before = before.max(Timestamp::from_millis(surplus));
        let mut forgotten = 0;
        loop {
            let delete = sql("DELETE FROM grants WHERE seq IN (
                     SELECT seq FROM grants WHERE reclaimable = 1 AND updated_at < $1
                     ORDER BY updated_at LIMIT $2)");
            let delete = delete
                .bind(millis(before))
                .bind(FORGET_REFUSED_AT_ONCE as i64);
            let count = self
                .write(
                    step_name!("forget_refused"),
                    async move |step: &mut Step| step.run(delete.clone()).await,
                )
                .await?;
            forgotten += count;
            if count < FORGET_REFUSED_AT_ONCE {
                return Ok(forgotten);
            }
        }
    }
}
