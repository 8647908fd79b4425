//! [`SpendStore`]: reading, and the way into the steps.

use async_trait::async_trait;
use tollway_core::{Address, Amount, Identity, Network, SpendId, Timestamp, TxHash};

use super::{Step, Store, step_name};
use crate::sql::{Row, Statement, millis, sql};
use crate::steps::limits::{self, Money};
use crate::steps::precedents;
use crate::steps::spend_rows::{by_id, open_of_request, record};
use crate::steps::spends as steps;
use crate::{
    LedgerError, Limit, NewSpend, Precedent, Reservation, Rules, SignedSpend, SpendRecord,
    SpendStore, SpendTotal,
};

/// Most spends that one listing gives.
const PAGE: u32 = 1_000;

#[async_trait]
impl SpendStore for Store {
    async fn reserve_within(
        &self,
        new: NewSpend,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Reservation, LedgerError> {
        self.write(step_name!("reserve"), async move |step: &mut Step| {
            steps::reserve(step, &new, &rules, now).await
        })
        .await
    }

    async fn signed(
        &self,
        id: &SpendId,
        signed: SignedSpend,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(step_name!("signed"), async move |step: &mut Step| {
            steps::signed(step, &id, &signed, now).await
        })
        .await
    }

    async fn signed_again(
        &self,
        id: &SpendId,
        signed: SignedSpend,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(step_name!("signed_again"), async move |step: &mut Step| {
            steps::signed_again(step, &id, &signed, now).await
        })
        .await
    }

    async fn presented(&self, id: &SpendId, now: Timestamp) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(step_name!("presented"), async move |step: &mut Step| {
            steps::presented(step, &id, now).await
        })
        .await
    }

    async fn unclear(&self, id: &SpendId, reason: &str, now: Timestamp) -> Result<(), LedgerError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.write(step_name!("unclear"), async move |step: &mut Step| {
            steps::unclear(step, &id, &reason, now).await
        })
        .await
    }

    async fn paid(
        &self,
        id: &SpendId,
        paid: Amount,
        transaction: Option<&TxHash>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, transaction) = (id.clone(), transaction.cloned());
        self.write(step_name!("paid"), async move |step: &mut Step| {
            steps::paid(step, &id, paid, transaction.as_ref(), now).await
        })
        .await
    }

    async fn release(&self, id: &SpendId, reason: &str, now: Timestamp) -> Result<(), LedgerError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.write(step_name!("release_spend"), async move |step: &mut Step| {
            steps::release(step, &id, &reason, now).await
        })
        .await
    }

    async fn spend(&self, id: &SpendId) -> Result<Option<SpendRecord>, LedgerError> {
        let row = self.find(by_id(id)).await?;
        row.as_ref().map(record).transpose()
    }

    async fn open_spends(&self, account: &Address) -> Result<Vec<SpendRecord>, LedgerError> {
        let open = sql("SELECT * FROM spends WHERE account = $1 AND is_open = 1 ORDER BY seq");
        let rows = self.list(open.bind(account.to_string())).await?;
        rows.iter().map(record).collect()
    }

    async fn open_ids(&self, account: &Address) -> Result<Vec<SpendId>, LedgerError> {
        let open = sql("SELECT id FROM spends WHERE account = $1 AND is_open = 1 ORDER BY seq");
        self.ids(open.bind(account.to_string())).await
    }

    async fn unsigned_ids(&self, account: &Address) -> Result<Vec<SpendId>, LedgerError> {
        let unsigned = sql("SELECT id FROM spends WHERE account = $1 AND is_open = 1
             AND state = 'reserved' ORDER BY seq");
        self.ids(unsigned.bind(account.to_string())).await
    }

    async fn open_of_request(
        &self,
        account: &Address,
        request: &str,
    ) -> Result<Option<SpendRecord>, LedgerError> {
        let row = self.find(open_of_request(account, request)).await?;
        row.as_ref().map(record).transpose()
    }

    async fn open_of_transaction(
        &self,
        account: &Address,
        transaction: &TxHash,
    ) -> Result<Option<SpendRecord>, LedgerError> {
        let open = sql("SELECT * FROM spends WHERE account = $1 AND is_open = 1
             AND raw_hash = $2 ORDER BY seq LIMIT 1");
        let open = open.bind(account.to_string()).bind(transaction.to_string());
        let row = self.find(open).await?;
        row.as_ref().map(record).transpose()
    }

    async fn spend_of(&self, identity: &Identity) -> Result<Option<SpendRecord>, LedgerError> {
        let holder = sql("SELECT * FROM spends WHERE identity = $1");
        let row = self.find(holder.bind(identity.key())).await?;
        row.as_ref().map(record).transpose()
    }

    async fn reserved_after(&self, moment: Timestamp) -> Result<u64, LedgerError> {
        let after = sql("SELECT COUNT(*) AS reserved FROM spends WHERE reserved_at > $1");
        let row = self.find(after.bind(millis(moment))).await?;
        row.map_or(Ok(0), |row| row.number("reserved"))
    }

    async fn spends(&self, limit: u32) -> Result<Vec<SpendRecord>, LedgerError> {
        let newest = sql("SELECT * FROM spends ORDER BY seq DESC LIMIT $1");
        let rows = self.list(newest.bind(i64::from(limit.min(PAGE)))).await?;
        rows.iter().map(record).collect()
    }

    async fn spends_of(&self, agent: &str, limit: u32) -> Result<Vec<SpendRecord>, LedgerError> {
        let newest = sql("SELECT * FROM spends WHERE agent = $1 ORDER BY seq DESC LIMIT $2");
        let newest = newest
            .bind(agent.to_owned())
            .bind(i64::from(limit.min(PAGE)));
        let rows = self.list(newest).await?;
        rows.iter().map(record).collect()
    }

    async fn paid_at(&self, agent: &str, url: &str) -> Result<Option<SpendRecord>, LedgerError> {
        let last = sql(
            "SELECT * FROM spends WHERE agent = $1 AND url = $2 AND state = 'paid'
             ORDER BY seq DESC LIMIT 1",
        );
        let row = self.find(last.bind(agent.to_owned()).bind(url.to_owned()));
        row.await?.as_ref().map(record).transpose()
    }

    async fn precedent(
        &self,
        agent: &str,
        host: &str,
        network: &Network,
        url: &str,
    ) -> Result<Precedent, LedgerError> {
        let mut reader = self;
        let payee = precedents::payee(&mut reader, agent, host, network).await?;
        let price = precedents::price(&mut reader, agent, url).await?;
        Ok(Precedent { payee, price })
    }

    async fn total(
        &self,
        account: &Address,
        network: &Network,
        asset: &Address,
        limit: &Limit,
        now: Timestamp,
    ) -> Result<SpendTotal, LedgerError> {
        let seen = self.find(limits::seen()).await?;
        let seen = match &seen {
            Some(row) => row.time("value")?,
            None => Timestamp::default(),
        };
        let money = Money {
            account,
            network,
            asset,
        };
        let mut reader = self;
        limits::total(&mut reader, money, limit, now.max(seen)).await
    }
}

impl Store {
    async fn ids(&self, listing: Statement) -> Result<Vec<SpendId>, LedgerError> {
        let rows = self.list(listing).await?;
        let name = |row: &Row| row.text("id").map(SpendId::from_text);
        rows.iter().map(name).collect()
    }
}
