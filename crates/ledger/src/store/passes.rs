//! [`PassStore`]: reading, and the way into the steps.

use std::sync::Arc;

use async_trait::async_trait;
use tollway_core::{GrantId, Timestamp};

use super::{Step, Store, step_name};
use crate::sql::{int, sql};
use crate::steps::{grant_rows, notices, passes as steps, token_keys};
use crate::{
    ExposureCap, GrantRecord, Issue, LedgerError, NewGrant, NewPass, Notice, OpenExposure,
    Outstanding, PassEnd, PassId, PassRecord, PassStore, Revocations, TokenKeyName,
};

/// Rows forgotten in one step.
const FORGET_AT_ONCE: i64 = 512;
/// Revocations read at once.
const REVOCATIONS_AT_ONCE: i64 = 1_000;

impl Store {
    /// What is promised to all and not settled, by network and asset.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn open_exposures(&self) -> Result<Vec<OpenExposure>, LedgerError> {
        let all = sql("SELECT network, asset, amount FROM exposures WHERE payer = ''");
        let rows = self.list(all).await?;
        let read = rows.iter().map(|row| {
            Ok(OpenExposure {
                network: row.network("network")?,
                asset: row.address("asset")?,
                amount: row.amount("amount")?,
            })
        });
        read.collect()
    }
}

#[async_trait]
impl PassStore for Store {
    fn passes_of_owner(&self, owner: &str) -> Arc<dyn PassStore> {
        Arc::new(Self {
            owner: Some(owner.to_owned()),
            ..self.clone()
        })
    }

    async fn issue(
        &self,
        new: NewGrant,
        pass: NewPass,
        outstanding: Outstanding,
        cap: ExposureCap,
        now: Timestamp,
    ) -> Result<Issue, LedgerError> {
        self.write(step_name!("issue"), async move |step: &mut Step| {
            steps::issue(step, &new, &pass, &outstanding, cap, now).await
        })
        .await
    }

    async fn pass(&self, id: &PassId) -> Result<Option<PassRecord>, LedgerError> {
        let row = self.find(steps::by_id(id)).await?;
        row.as_ref().map(steps::record).transpose()
    }

    async fn pass_of(&self, grant: &GrantId) -> Result<Option<PassRecord>, LedgerError> {
        let row = self.find(steps::by_grant(grant)).await?;
        row.as_ref().map(steps::record).transpose()
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<GrantRecord>, LedgerError> {
        let row = self.find(grant_rows::by_id(id)).await?;
        row.as_ref().map(grant_rows::record).transpose()
    }

    async fn use_pass(
        &self,
        id: &PassId,
        now: Timestamp,
    ) -> Result<Result<PassRecord, PassEnd>, LedgerError> {
        let id = id.clone();
        self.write(step_name!("use_pass"), async move |step: &mut Step| {
            steps::use_pass(step, &id, now).await
        })
        .await
    }

    async fn give_use_back(&self, id: &PassId) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(step_name!("give_use_back"), async move |step: &mut Step| {
            steps::give_use_back(step, &id).await
        })
        .await
    }

    async fn revoke(&self, id: &PassId, now: Timestamp) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(step_name!("revoke"), async move |step: &mut Step| {
            steps::revoke(step, &id, now).await
        })
        .await
    }

    async fn revocations(&self, after: u64) -> Result<Revocations, LedgerError> {
        let later = sql("SELECT * FROM revocations WHERE seq > $1 ORDER BY seq LIMIT $2");
        let later = later.bind(int(after)).bind(REVOCATIONS_AT_ONCE);
        let mut found = Revocations {
            seq: after,
            ..Revocations::default()
        };
        for row in self.list(later).await? {
            let pass = PassId::from_text(row.text("pass")?);
            found.passes.push((pass, row.time("expires_at")?));
            found.seq = row.number("seq")?;
        }
        Ok(found)
    }

    async fn latest_revocation(&self) -> Result<u64, LedgerError> {
        let latest = sql("SELECT value FROM meta WHERE name = 'revocations'");
        match self.find(latest).await? {
            Some(row) => row.number("value"),
            None => Ok(0),
        }
    }

    async fn forget_passes(&self, before: Timestamp, now: Timestamp) -> Result<u64, LedgerError> {
        let mut forgotten = 0;
        loop {
            let forget =
                async move |step: &mut Step| steps::forget(step, before, now, FORGET_AT_ONCE).await;
            let count = self.write(step_name!("forget_passes"), forget).await?;
            forgotten += count;
            if count < FORGET_AT_ONCE.unsigned_abs() {
                return Ok(forgotten);
            }
        }
    }

    async fn sign_with(
        &self,
        keys: &[TokenKeyName],
        whatever_is_out: bool,
        now: Timestamp,
    ) -> Result<Option<String>, LedgerError> {
        let keys = keys.to_vec();
        self.write(step_name!("sign_with"), async move |step: &mut Step| {
            token_keys::sign_with(step, &keys, whatever_is_out, now).await
        })
        .await
    }

    async fn take_notices(
        &self,
        limit: u32,
        again: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Notice>, LedgerError> {
        self.write(step_name!("take_notices"), async move |step: &mut Step| {
            notices::take(step, limit, again, now).await
        })
        .await
    }

    async fn told(&self, id: &str) -> Result<(), LedgerError> {
        let id = id.to_owned();
        self.write(step_name!("told"), async move |step: &mut Step| {
            notices::told(step, &id).await
        })
        .await
    }
}
