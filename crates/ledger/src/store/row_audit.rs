//! Compares records with what their events say, column by column.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Store;
use super::chain::redacted;
use crate::LedgerError;
use crate::audit::{Fault, Progress, RowReport};
use crate::sql::{Row, int, sql};

/// Numbers of records that are looked at in one question.
const STRIDE: u64 = 500;
/// Events that are looked through at once for records that are gone.
const EVENTS_AT_ONCE: u64 = 20_000;

/// What events say of a record, by its columns.
type Told = BTreeMap<&'static str, Value>;

/// One kind of record.
struct Kind {
    /// The lowest and the highest number.
    range: &'static str,
    /// Records of some numbers, each as often as it has events, with these.
    rows: &'static str,
    /// Records of which a first event tells, among events of some numbers, and which are
    /// not there.
    missing: &'static str,
    /// Columns that hold JSON.
    documents: &'static [&'static str],
    /// What one event changes.
    apply: fn(kind: &str, data: &Value, told: &mut Told),
    /// Whether a record may be there without any event.
    may_be_silent: fn(&Row) -> Result<bool, LedgerError>,
}

/// One statement gives a record and its events as they are at one moment.
macro_rules! with_events {
    ($table:literal, $columns:literal) => {
        concat!(
            "SELECT r.seq, r.id, ",
            $columns,
            ", e.kind AS told_kind, e.data AS told_data FROM ",
            $table,
            " r LEFT JOIN events e ON e.subject = r.id
             WHERE r.seq > $1 AND r.seq <= $2 ORDER BY r.seq, e.id"
        )
    };
}

const PAYMENTS: Kind = Kind {
    range: "SELECT MIN(seq) AS first, MAX(seq) AS last FROM payments",
    rows: with_events!(
        "payments",
        "r.state, r.is_open, r.network, r.asset, r.from_account, r.to_account, r.amount,
         r.deadline, r.caller, r.slot_signer, r.slot_nonce, r.transaction_id, r.settled,
         r.refusal_code"
    ),
    missing: "SELECT e.subject FROM events e WHERE e.id > $1 AND e.id <= $2
        AND e.kind = 'accepted'
        AND NOT EXISTS (SELECT 1 FROM payments r WHERE r.id = e.subject) ORDER BY e.id LIMIT 1000",
    documents: &["settled"],
    apply: apply_to_payment,
    may_be_silent: |_| Ok(false),
};

// A claim that came to nothing is forgotten, and its story stays.
const GRANTS: Kind = Kind {
    range: "SELECT MIN(seq) AS first, MAX(seq) AS last FROM grants",
    rows: with_events!(
        "grants",
        "r.state, r.is_open, r.network, r.asset, r.from_account, r.to_account, r.amount,
         r.route, r.flow, r.owner, r.evidence, r.refusal_code, r.reclaimable, r.receipt"
    ),
    missing: "SELECT e.subject FROM events e WHERE e.id > $1 AND e.id <= $2
        AND e.kind = 'claimed'
        AND NOT EXISTS (SELECT 1 FROM grants r WHERE r.id = e.subject)
        AND NOT EXISTS (SELECT 1 FROM events f WHERE f.subject = e.subject
            AND f.kind = 'refused' AND f.data LIKE '%\"reclaimable\":true%')
        ORDER BY e.id LIMIT 1000",
    documents: &["evidence"],
    apply: apply_to_grant,
    may_be_silent: claim_without_story,
};

const SPENDS: Kind = Kind {
    range: "SELECT MIN(seq) AS first, MAX(seq) AS last FROM spends",
    rows: with_events!(
        "spends",
        "r.state, r.is_open, r.network, r.asset, r.amount, r.payee, r.host, r.agent,
         r.valid_until, r.raw_hash, r.paid, r.transaction_id"
    ),
    missing: "SELECT e.subject FROM events e WHERE e.id > $1 AND e.id <= $2
        AND e.kind = 'reserved'
        AND NOT EXISTS (SELECT 1 FROM spends r WHERE r.id = e.subject) ORDER BY e.id LIMIT 1000",
    documents: &[],
    apply: apply_to_spend,
    may_be_silent: |_| Ok(false),
};

impl Store {
    /// Compares every payment, grant and spend with its events: whatever an event
    /// says of it stands in it, none is gone, and none is there that no event
    /// tells of. In constant memory; a ledger that is being written to may be
    /// looked at.
    ///
    /// # Errors
    /// The ledger's, if it cannot be read.
    pub async fn audit_rows(&self, progress: Progress<'_>) -> Result<RowReport, LedgerError> {
        let mut report = RowReport::default();
        for kind in [PAYMENTS, GRANTS, SPENDS] {
            self.audit_kind(&kind, &mut report, progress).await?;
        }
        Ok(report)
    }

    /// In steps, since each has only so much time where the database is a server.
    async fn audit_missing(&self, kind: &Kind, report: &mut RowReport) -> Result<(), LedgerError> {
        let range = "SELECT MIN(id) AS first, MAX(id) AS last FROM events";
        for (below, up_to) in self.steps(range, EVENTS_AT_ONCE).await? {
            let rows = sql(kind.missing).bind(int(below)).bind(int(up_to));
            for row in self.list(rows).await? {
                let subject = row.text("subject")?;
                report.note(Fault::RowMissing { subject });
            }
        }
        Ok(())
    }

    /// The numbers of a range, so many at once: above the first and up to the second.
    async fn steps(
        &self,
        range: &'static str,
        at_once: u64,
    ) -> Result<impl Iterator<Item = (u64, u64)>, LedgerError> {
        let range = self.find(sql(range)).await?;
        let (mut below, mut last) = (0, 0);
        if let Some(range) = range {
            let first = range.opt_number("first")?.unwrap_or_default();
            last = range.opt_number("last")?.unwrap_or_default();
            below = first.saturating_sub(1);
        }
        Ok(std::iter::from_fn(move || {
            let from = below;
            below = from.saturating_add(at_once);
            (from < last).then_some((from, below))
        }))
    }

    async fn audit_kind(
        &self,
        kind: &Kind,
        report: &mut RowReport,
        progress: Progress<'_>,
    ) -> Result<(), LedgerError> {
        // Before the records: one that is made meanwhile is not called missing.
        self.audit_missing(kind, report).await?;
        for (below, up_to) in self.steps(kind.range, STRIDE).await? {
            let rows = sql(kind.rows).bind(int(below)).bind(int(up_to));
            let rows = self.list(rows).await?;
            for of_one in rows.chunk_by(is_same) {
                audit_one(kind, of_one, report)?;
            }
            progress(report.rows);
        }
        Ok(())
    }
}

fn is_same(a: &Row, b: &Row) -> bool {
    matches!((a.number("seq"), b.number("seq")), (Ok(a), Ok(b)) if a == b)
}

/// Looks at one record; each row holds it whole with one of its events.
fn audit_one(kind: &Kind, rows: &[Row], report: &mut RowReport) -> Result<(), LedgerError> {
    let Some(record) = rows.first() else {
        return Ok(());
    };
    report.rows += 1;
    let subject = record.text("id")?;
    let mut told = Told::new();
    for row in rows {
        if let Some(word) = row.opt_text("told_kind")? {
            let data = row.opt_json("told_data")?.unwrap_or_default();
            (kind.apply)(&word, &data, &mut told);
        }
    }
    if told.is_empty() {
        if !(kind.may_be_silent)(record)? {
            report.note(Fault::RowWithoutEvents { subject });
        }
        return Ok(());
    }
    for (column, events) in told {
        let row = cell(record, column, kind.documents)?;
        if !are_alike(&row, &events) {
            report.note(Fault::RowChanged {
                subject: subject.clone(),
                column,
                row: shown(&row),
                events: shown(&events),
            });
        }
    }
    Ok(())
}

/// The end of time is stored as the largest number there is a column for; and of
/// what could be a signature, events say only how long it was.
fn are_alike(row: &Value, events: &Value) -> bool {
    let is_endless = |value: &Value| value.as_u64() >= Some(i64::MAX as u64);
    row == events || (is_endless(row) && is_endless(events)) || redacted(row.clone()) == *events
}

/// A column as an event would say it.
fn cell(row: &Row, column: &str, documents: &[&str]) -> Result<Value, LedgerError> {
    if documents.contains(&column) {
        // What is no document any more differs from every event.
        let parsed = row.opt_json::<Value>(column);
        return Ok(match parsed {
            Ok(value) => value.unwrap_or_default(),
            Err(_) => json!(row.opt_text(column)?),
        });
    }
    row.plain(column)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "nothing".to_owned(),
        other => other.to_string(),
    }
}

/// Takes over what an event says, where it says it.
fn take(told: &mut Told, data: &Value, pairs: &[(&'static str, &str)]) {
    for (column, field) in pairs {
        if let Some(value) = data.get(*field) {
            told.insert(column, value.clone());
        }
    }
}

fn set(told: &mut Told, column: &'static str, value: impl Into<Value>) {
    told.insert(column, value.into());
}

fn apply_to_payment(kind: &str, data: &Value, told: &mut Told) {
    match kind {
        "accepted" => {
            take(
                told,
                data,
                &[
                    ("network", "network"),
                    ("asset", "asset"),
                    ("from_account", "from"),
                    ("to_account", "to"),
                    ("amount", "amount"),
                    ("deadline", "deadline"),
                    ("caller", "caller"),
                ],
            );
            set(told, "state", "accepted");
            set(told, "is_open", 1);
            for column in [
                "transaction_id",
                "settled",
                "refusal_code",
                "slot_signer",
                "slot_nonce",
            ] {
                set(told, column, Value::Null);
            }
        }
        "stored_raw" => {
            take(
                told,
                data,
                &[
                    ("transaction_id", "transaction"),
                    ("slot_signer", "signer"),
                    ("slot_nonce", "nonce"),
                ],
            );
            set(told, "state", "submitted");
        }
        "reopened" => {
            set(told, "state", "accepted");
            set(told, "slot_signer", Value::Null);
            set(told, "slot_nonce", Value::Null);
        }
        "settled" | "refused" | "expired" => {
            take(
                told,
                data,
                &[("settled", "evidence"), ("refusal_code", "code")],
            );
            set(told, "state", kind);
            set(told, "is_open", 0);
            let named = data.pointer("/evidence/transaction");
            let named = named.or_else(|| data.get("transaction"));
            if let Some(transaction @ Value::String(_)) = named {
                set(told, "transaction_id", transaction.clone());
            }
        }
        "taken_back" => {
            let has_slot = told.get("slot_nonce").is_some_and(Value::is_number);
            set(
                told,
                "state",
                if has_slot { "submitted" } else { "accepted" },
            );
            set(told, "is_open", 1);
            set(told, "settled", Value::Null);
        }
        _ => {}
    }
}

fn apply_to_grant(kind: &str, data: &Value, told: &mut Told) {
    match kind {
        "claimed" => {
            take(
                told,
                data,
                &[
                    ("route", "route"),
                    ("network", "network"),
                    ("asset", "asset"),
                    ("from_account", "from"),
                    ("to_account", "to"),
                    ("amount", "amount"),
                    ("flow", "flow"),
                    ("owner", "owner"),
                ],
            );
            set(told, "state", "claimed");
            set(told, "is_open", 1);
            set(told, "reclaimable", 0);
            set(told, "evidence", Value::Null);
            set(told, "refusal_code", Value::Null);
        }
        "served" | "settling" => set(told, "state", kind),
        // What it comes to is told when it has ended.
        "metered" => drop(told.remove("amount")),
        // One that settled first is told of as soon as it is paid.
        "receipt" => take(told, data, &[("evidence", "evidence")]),
        "released" => {
            take(told, data, &[("evidence", "evidence")]);
            set(told, "state", "released");
            set(told, "is_open", 0);
        }
        "refused" => {
            take(told, data, &[("refusal_code", "code")]);
            set(told, "state", "refused");
            set(told, "is_open", 0);
            let again = data.get("reclaimable").and_then(Value::as_bool);
            set(told, "reclaimable", u8::from(again.unwrap_or_default()));
        }
        "taken_over" => take(told, data, &[("owner", "by")]),
        _ => {}
    }
    if let Some(charged @ Value::String(_)) = data.get("charged") {
        set(told, "amount", charged.clone());
    }
}

fn apply_to_spend(kind: &str, data: &Value, told: &mut Told) {
    match kind {
        "reserved" => {
            take(
                told,
                data,
                &[
                    ("network", "network"),
                    ("asset", "asset"),
                    ("amount", "amount"),
                    ("payee", "payee"),
                    ("host", "host"),
                    ("agent", "agent"),
                ],
            );
            set(told, "state", "reserved");
            set(told, "is_open", 1);
            set(told, "paid", Value::Null);
            set(told, "transaction_id", Value::Null);
        }
        "signed" => {
            take(
                told,
                data,
                &[("valid_until", "valid_until"), ("raw_hash", "transaction")],
            );
            set(told, "state", "signed");
        }
        "signed_again" => take(told, data, &[("valid_until", "valid_until")]),
        "presented" | "unknown" => set(told, "state", kind),
        "paid" => {
            take(
                told,
                data,
                &[("paid", "amount"), ("transaction_id", "transaction")],
            );
            set(told, "state", "paid");
            set(told, "is_open", 0);
        }
        "released" => {
            set(told, "state", "released");
            set(told, "is_open", 0);
        }
        _ => {}
    }
}

/// A claim that anybody may make, and that came to nothing so far, has no story.
fn claim_without_story(row: &Row) -> Result<bool, LedgerError> {
    let is_upfront = row.text("flow")? == "upfront";
    Ok(match row.text("state")?.as_str() {
        "claimed" => true,
        "settling" => is_upfront && row.opt_text("receipt")?.is_none(),
        "refused" => row.flag("reclaimable")?,
        _ => false,
    })
}
