//! Whose Transfer log it is: each log settles one payment, whoever saw it.
//!
//! An engine counts it for a payment, a gate that looked at the chain itself for a
//! grant: both are of one authorization where one ledger has both, and then the
//! log is theirs together. The column `payment` names whichever came first.

use tollway_core::{Identity, TxHash, mistake};

use super::payments::digest;
use crate::sql::{Statement, int, sql};
use crate::store::Step;
use crate::{GrantRecord, LedgerError, PaymentRecord};

/// Who counts a log.
pub(super) struct Holder<'a> {
    id: &'a str,
    identity: &'a Identity,
}

impl<'a> From<&'a PaymentRecord> for Holder<'a> {
    fn from(payment: &'a PaymentRecord) -> Self {
        Self {
            id: payment.id.as_str(),
            identity: &payment.payment.identity,
        }
    }
}

impl<'a> From<&'a GrantRecord> for Holder<'a> {
    fn from(grant: &'a GrantRecord) -> Self {
        Self {
            id: grant.id.as_str(),
            identity: &grant.grant.identity,
        }
    }
}

/// Counts a log, unless it is another authorization's. What names no log, on
/// networks that number none, is told apart by its identity alone.
pub(super) async fn count(
    step: &mut Step,
    holder: Holder<'_>,
    transaction: &TxHash,
    log_index: Option<u64>,
) -> Result<bool, LedgerError> {
    let Some(index) = log_index else {
        return Ok(true);
    };
    let insert = sql(
        "INSERT INTO transfers (network, transaction_id, log_index, payment)
         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    );
    let insert = of(insert, &holder, transaction, index).bind(holder.id.to_owned());
    if step.run(insert).await? == 1 || mistake::is("one_log_pays_two") {
        return Ok(true);
    }
    let same = sql("SELECT t.payment FROM transfers t
         WHERE t.network = $1 AND t.transaction_id = $2 AND t.log_index = $3 AND (
             EXISTS (SELECT 1 FROM payments p WHERE p.id = t.payment AND p.identity = $4)
             OR EXISTS (SELECT 1 FROM grants g WHERE g.id = t.payment AND g.identity = $4))");
    let same = of(same, &holder, transaction, index).bind(digest(holder.identity));
    Ok(step.find(same).await?.is_some())
}

/// A settlement is taken back: its log may settle again.
pub(super) async fn free(step: &mut Step, payment: &PaymentRecord) -> Result<(), LedgerError> {
    let Some((settled, index)) = payment
        .settled
        .as_ref()
        .and_then(|s| Some((s, s.log_index?)))
    else {
        return Ok(());
    };
    let holder = Holder::from(payment);
    let delete = sql(
        "DELETE FROM transfers WHERE network = $1 AND transaction_id = $2 AND log_index = $3
             AND payment = $4",
    );
    let delete = of(delete, &holder, &settled.transaction, index).bind(holder.id.to_owned());
    step.run(delete).await.map(drop)
}

fn of(statement: Statement, holder: &Holder<'_>, transaction: &TxHash, index: u64) -> Statement {
    statement
        .bind(holder.identity.network.to_string())
        .bind(transaction.to_string())
        .bind(int(index))
}
