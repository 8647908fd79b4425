//! [`SpendStore`] on SQLite: reading, and the way into the steps.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use tollway_core::{Address, Amount, Identity, Network, Raw, SpendId, Timestamp, TxHash};

use super::limits::{self, Money};
use super::row::Columns;
use super::spend_steps as steps;
use super::step::Statement;
use super::{SqliteLedger, step_name};
use crate::{
    LedgerError, Limit, NewSpend, Reservation, SignedSpend, SpendRecord, SpendState, SpendStore,
    SpendTotal,
};

/// Most spends that one listing gives.
const PAGE: u32 = 1_000;

pub(super) fn by_id(id: &SpendId) -> Statement<'static> {
    sqlx::query("SELECT * FROM spends WHERE id = $1").bind(id.to_string())
}

pub(super) fn record(row: &SqliteRow) -> Result<SpendRecord, LedgerError> {
    let columns = Columns(row);
    Ok(SpendRecord {
        id: SpendId::from_text(columns.text("id")?),
        spend: NewSpend {
            account: columns.address("account")?,
            agent: columns.text("agent")?,
            request: columns.text("request")?,
            url: columns.text("url")?,
            host: columns.text("host")?,
            payee: columns.address("payee")?,
            network: columns.network("network")?,
            asset: columns.address("asset")?,
            amount: columns.amount("amount")?,
        },
        state: columns.word("state", SpendState::from_word)?,
        signed: signed(&columns)?,
        paid: columns.opt_amount("paid")?,
        transaction: columns.opt_hash("transaction_id")?,
        reason: columns.opt_text("reason")?,
        reserved_at: columns.time("reserved_at")?,
        updated_at: columns.time("updated_at")?,
    })
}

fn signed(columns: &Columns<'_>) -> Result<Option<SignedSpend>, LedgerError> {
    let Some(payload) = columns.opt_json("payload")? else {
        return Ok(None);
    };
    let hash = columns.opt_hash("raw_hash")?;
    let bytes = columns.opt_bytes("raw_bytes")?;
    Ok(Some(SignedSpend {
        identity: Identity {
            network: columns.network("identity_network")?,
            scope: columns.text("identity_scope")?,
            payer: columns.address("identity_payer")?,
            nonce: columns.text("identity_nonce")?,
        },
        payload,
        valid_until: columns.time("valid_until")?,
        transaction: hash.zip(bytes).map(|(hash, bytes)| Raw { hash, bytes }),
    }))
}

#[async_trait]
impl SpendStore for SqliteLedger {
    async fn reserve(
        &self,
        new: NewSpend,
        limits: &[Limit],
        now: Timestamp,
    ) -> Result<Reservation, LedgerError> {
        let limits = limits.to_vec();
        self.write(step_name!("reserve"), move |step| {
            Box::pin(steps::reserve(step, new, limits, now))
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
        self.write(step_name!("signed"), move |step| {
            Box::pin(steps::signed(step, id, signed, now))
        })
        .await
    }

    async fn presented(&self, id: &SpendId, now: Timestamp) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(step_name!("presented"), move |step| {
            Box::pin(steps::presented(step, id, now))
        })
        .await
    }

    async fn unclear(&self, id: &SpendId, reason: &str, now: Timestamp) -> Result<(), LedgerError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.write(step_name!("unclear"), move |step| {
            Box::pin(steps::unclear(step, id, reason, now))
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
        self.write(step_name!("paid"), move |step| {
            Box::pin(steps::paid(step, id, paid, transaction, now))
        })
        .await
    }

    async fn release(&self, id: &SpendId, reason: &str, now: Timestamp) -> Result<(), LedgerError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.write(step_name!("release_spend"), move |step| {
            Box::pin(steps::release(step, id, reason, now))
        })
        .await
    }

    async fn spend(&self, id: &SpendId) -> Result<Option<SpendRecord>, LedgerError> {
        let row = self.find(by_id(id)).await?;
        row.as_ref().map(record).transpose()
    }

    async fn open_spends(&self, account: &Address) -> Result<Vec<SpendRecord>, LedgerError> {
        let open =
            sqlx::query("SELECT * FROM spends WHERE account = $1 AND is_open = 1 ORDER BY seq");
        let rows = self.list(open.bind(account.to_string())).await?;
        rows.iter().map(record).collect()
    }

    async fn spends(&self, limit: u32) -> Result<Vec<SpendRecord>, LedgerError> {
        let newest = sqlx::query("SELECT * FROM spends ORDER BY seq DESC LIMIT $1");
        let rows = self.list(newest.bind(i64::from(limit.min(PAGE)))).await?;
        rows.iter().map(record).collect()
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
            Some(row) => Columns(row).time("value")?,
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
