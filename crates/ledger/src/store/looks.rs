//! Records for those who look: exports, listings, and what is to be found on chain.

use serde_json::Value;
use tollway_core::{Expected, Identity, TxHash};

use super::Store;
use crate::LedgerError;
use crate::failure::corrupt;
use crate::look::{Claimed, LOOK_STATES, LookCursor, LookFilter, LookKind, LookRow};
use crate::sql::{Row, int, millis, sql};

/// Records read at once.
const PAGE: i64 = 1_000;

/// Columns that all kinds have, in the words of a look.
macro_rules! looked_at {
    ($columns:literal, $from:literal, $began:literal, $state:literal) => {
        concat!(
            "SELECT r.seq, r.id, r.network, r.asset, r.amount, r.updated_at, ",
            $columns,
            ", ",
            $began,
            " AS began_at FROM ",
            $from,
            " WHERE (",
            $began,
            ", r.seq) > ($1, $2) AND ",
            $began,
            " < $3 AND ($4 = '' OR r.state = $4)",
            $state,
            " ORDER BY ",
            $began,
            ", r.seq LIMIT $5"
        )
    };
}

const PAYMENTS: &str = looked_at!(
    "r.state, r.from_account, r.to_account, r.transaction_id, r.settled, r.refusal_code,
     g.route AS place",
    "payments r LEFT JOIN grants g ON g.identity = r.identity AND g.reclaimable = 0",
    "r.accepted_at",
    ""
);
// One that is settled here is shown as a payment.
const GRANTS: &str = looked_at!(
    "r.state, r.from_account, r.to_account, r.evidence, r.refusal_code, r.route AS place",
    "grants r",
    "r.claimed_at",
    " AND NOT EXISTS (SELECT 1 FROM payments p WHERE p.identity = r.identity)"
);
const SPENDS: &str = looked_at!(
    "r.state, r.account AS from_account, r.payee AS to_account, r.paid, r.transaction_id,
     r.host AS place",
    "spends r",
    "r.reserved_at",
    ""
);

impl Store {
    /// Records of a kind, the first begun first, after a place; at most 1,000. A
    /// grant whose payment is in this ledger too is that payment's row.
    ///
    /// # Errors
    /// The ledger's, if it cannot be read.
    pub async fn looked_at(
        &self,
        kind: LookKind,
        filter: &LookFilter,
        after: Option<LookCursor>,
    ) -> Result<Vec<LookRow>, LedgerError> {
        let (question, state) = match kind {
            LookKind::Payment => (PAYMENTS, payment_state(filter.state)),
            LookKind::Grant => (GRANTS, grant_state(filter.state)),
            LookKind::Spend => (SPENDS, spend_state(filter.state)),
        };
        let Some(state) = state else {
            return Ok(Vec::new());
        };
        let (at, seq) = match after {
            Some(cursor) => (millis(cursor.at), int(cursor.seq)),
            // Just before the first moment that counts.
            None => (millis(filter.since) - 1, i64::MAX),
        };
        let page = sql(question)
            .bind(at)
            .bind(seq)
            .bind(millis(filter.until))
            .bind(state)
            .bind(PAGE);
        self.list(page)
            .await?
            .iter()
            .map(|row| look(kind, row))
            .collect()
    }

    /// Money that records of a kind say has moved by a transaction, in the order
    /// of their numbers, after one; at most 1,000. A grant counts where no payment
    /// of this ledger does.
    ///
    /// # Errors
    /// The ledger's, if it cannot be read.
    pub async fn claimed_transfers(
        &self,
        kind: LookKind,
        after: u64,
    ) -> Result<Vec<Claimed>, LedgerError> {
        let question = match kind {
            LookKind::Payment => {
                "SELECT r.seq, r.id, r.network, r.scope, r.payer, r.nonce, r.asset,
                     r.from_account, r.to_account, r.amount, r.transaction_id
                 FROM payments r WHERE r.seq > $1 AND r.state = 'settled'
                     AND r.settled IS NOT NULL ORDER BY r.seq LIMIT $2"
            }
            LookKind::Grant => {
                "SELECT r.seq, r.id, r.network, r.scope, r.payer, r.nonce, r.asset,
                     r.from_account, r.to_account, r.amount, r.evidence
                 FROM grants r WHERE r.seq > $1 AND r.state = 'released'
                     AND r.evidence LIKE '%\"transaction\":%'
                     AND NOT EXISTS (SELECT 1 FROM payments p WHERE p.identity = r.identity)
                 ORDER BY r.seq LIMIT $2"
            }
            LookKind::Spend => {
                "SELECT r.seq, r.id, r.identity_network AS network, r.identity_scope AS scope,
                     r.identity_payer AS payer, r.identity_nonce AS nonce, r.asset,
                     r.account AS from_account, r.payee AS to_account, r.paid AS amount,
                     r.transaction_id
                 FROM spends r WHERE r.seq > $1 AND r.state = 'paid'
                     AND r.transaction_id IS NOT NULL ORDER BY r.seq LIMIT $2"
            }
        };
        let page = sql(question).bind(int(after)).bind(PAGE);
        let rows = self.list(page).await?;
        rows.iter().map(|row| claimed(kind, row)).collect()
    }
}

/// The stored word of a state that is asked for: empty for any, none if no
/// record of this kind is ever shown so.
pub(super) fn payment_state(state: Option<&'static str>) -> Option<&'static str> {
    match state {
        None => Some(""),
        Some(word @ ("accepted" | "submitted" | "settled" | "refused" | "expired")) => Some(word),
        Some(_) => None,
    }
}

pub(super) fn grant_state(state: Option<&'static str>) -> Option<&'static str> {
    match state {
        None => Some(""),
        Some("settled") => Some("released"),
        Some(word @ ("claimed" | "served" | "settling" | "refused")) => Some(word),
        Some(_) => None,
    }
}

fn spend_state(state: Option<&'static str>) -> Option<&'static str> {
    match state {
        None => Some(""),
        Some("settled") => Some("paid"),
        Some("refused") => Some("released"),
        Some(word @ ("reserved" | "signed" | "presented" | "unknown")) => Some(word),
        Some(_) => None,
    }
}

/// The word that a stored state is shown by.
fn shown_state(kind: LookKind, stored: &str) -> Option<&'static str> {
    let word = match (kind, stored) {
        (LookKind::Grant, "released") | (LookKind::Spend, "paid") => "settled",
        (LookKind::Spend, "released") => "refused",
        (_, word) => word,
    };
    LOOK_STATES.into_iter().find(|known| *known == word)
}

pub(super) fn look(kind: LookKind, row: &Row) -> Result<LookRow, LedgerError> {
    let state = row.text("state")?;
    let mut expected = row.expected()?;
    let mut found = (None, None, None);
    match kind {
        LookKind::Payment => {
            let settled: Option<Value> = row.opt_json("settled")?;
            let block = settled.and_then(|s| s.get("block_number").and_then(Value::as_u64));
            found = (
                row.opt_hash("transaction_id")?,
                block,
                row.opt_text("refusal_code")?,
            );
        }
        LookKind::Grant => found = (evidence(row)?, None, row.opt_text("refusal_code")?),
        LookKind::Spend => {
            found.0 = row.opt_hash("transaction_id")?;
            found.2 = (state == "released").then(|| "released".to_owned());
            if let Some(paid) = row.opt_amount("paid")? {
                expected.amount = paid;
            }
        }
    }
    Ok(LookRow {
        kind,
        id: row.text("id")?,
        state: shown_state(kind, &state).ok_or_else(|| corrupt("state", &state))?,
        network: row.network("network")?,
        expected,
        place: row.opt_text("place")?,
        transaction: found.0,
        block: found.1,
        code: found.2,
        began_at: row.time("began_at")?,
        changed_at: row.time("updated_at")?,
        seq: row.number("seq")?,
    })
}

/// The transaction that a release rests on.
fn evidence(row: &Row) -> Result<Option<TxHash>, LedgerError> {
    let evidence: Option<Value> = row.opt_json("evidence")?;
    let named = evidence
        .as_ref()
        .and_then(|e| e.get("transaction")?.as_str());
    Ok(named.filter(|hash| !hash.is_empty()).map(TxHash::new))
}

fn claimed(kind: LookKind, row: &Row) -> Result<Claimed, LedgerError> {
    let transaction = match kind {
        LookKind::Grant => evidence(row)?,
        LookKind::Payment | LookKind::Spend => row.opt_hash("transaction_id")?,
    };
    let expected: Expected = row.expected()?;
    let identity: Identity = row.identity()?;
    Ok(Claimed {
        kind,
        id: row.text("id")?,
        identity,
        expected,
        // A record without one says nothing that could be looked for.
        transaction: transaction.unwrap_or_else(|| TxHash::new("")),
        seq: row.number("seq")?,
    })
}
