//! Spends as they are stored.

use tollway_core::{Address, Identity, Raw, SpendId};

use crate::failure::corrupt;
use crate::sql::{Row, Statement, sql};
use crate::{LedgerError, NewSpend, SignedSpend, SpendRecord, SpendState};

pub(crate) fn by_id(id: &SpendId) -> Statement {
    sql("SELECT * FROM spends WHERE id = $1").bind(id.to_string())
}

/// What is open of a request, where something is signed for it.
pub(crate) fn open_of_request(account: &Address, request: &str) -> Statement {
    sql(
        "SELECT * FROM spends WHERE account = $1 AND request = $2 AND is_open = 1
             AND state <> 'reserved' ORDER BY seq LIMIT 1",
    )
    .bind(account.to_string())
    .bind(request.to_owned())
}

pub(crate) fn record(row: &Row) -> Result<SpendRecord, LedgerError> {
    Ok(SpendRecord {
        id: SpendId::from_text(row.text("id")?),
        spend: NewSpend {
            account: row.address("account")?,
            agent: row.text("agent")?,
            request: row.text("request")?,
            url: row.text("url")?,
            host: row.text("host")?,
            payee: row.address("payee")?,
            network: row.network("network")?,
            asset: row.address("asset")?,
            amount: row.amount("amount")?,
            key: row.opt_text("limited_key")?,
            decimals: decimals(row)?,
            calls: calls(row)?,
        },
        state: row.word("state", SpendState::from_word)?,
        signed: signed(row)?,
        paid: row.opt_amount("paid")?,
        transaction: row.opt_hash("transaction_id")?,
        reason: row.opt_text("reason")?,
        reserved_at: row.time("reserved_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn decimals(row: &Row) -> Result<Option<u8>, LedgerError> {
    let stored = row.opt_integer("decimals")?;
    let number = |n| u8::try_from(n).map_err(|_| corrupt("spend", "decimals"));
    stored.map(number).transpose()
}

fn calls(row: &Row) -> Result<Option<u32>, LedgerError> {
    let stored = row.opt_integer("calls")?;
    let number = |n| u32::try_from(n).map_err(|_| corrupt("spend", "calls"));
    stored.map(number).transpose()
}

fn signed(row: &Row) -> Result<Option<SignedSpend>, LedgerError> {
    let Some(payload) = row.opt_json("payload")? else {
        return Ok(None);
    };
    let hash = row.opt_hash("raw_hash")?;
    let bytes = row.opt_bytes("raw_bytes")?;
    Ok(Some(SignedSpend {
        identity: Identity {
            network: row.network("identity_network")?,
            scope: row.text("identity_scope")?,
            payer: row.address("identity_payer")?,
            nonce: row.text("identity_nonce")?,
        },
        payload,
        valid_until: row.time("valid_until")?,
        transaction: hash.zip(bytes).map(|(hash, bytes)| Raw { hash, bytes }),
    }))
}
