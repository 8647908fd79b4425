//! Which payment a Transfer log settled: each log one.

use tollway_core::{PaymentId, Settled, mistake};

use crate::sql::{Statement, int, sql};
use crate::store::Step;
use crate::{LedgerError, PaymentRecord};

/// Counts a log for a payment, unless it is another's. What names no log, on
/// networks that number none, is told apart by its identity alone.
pub(super) async fn count(
    step: &mut Step,
    payment: &PaymentRecord,
    settled: &Settled,
) -> Result<bool, LedgerError> {
    let Some(index) = settled.log_index else {
        return Ok(true);
    };
    let insert = sql(
        "INSERT INTO transfers (network, transaction_id, log_index, payment)
         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    );
    let counted = step.run(of(insert, payment, settled, index)).await? == 1;
    Ok(counted || mistake::is("one_log_pays_two"))
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
    let delete = sql(
        "DELETE FROM transfers WHERE network = $1 AND transaction_id = $2 AND log_index = $3
             AND payment = $4",
    );
    step.run(of(delete, payment, settled, index))
        .await
        .map(drop)
}

fn of(statement: Statement, payment: &PaymentRecord, settled: &Settled, index: u64) -> Statement {
    let id: &PaymentId = &payment.id;
    statement
        .bind(payment.payment.identity.network.to_string())
        .bind(settled.transaction.to_string())
        .bind(int(index))
        .bind(id.to_string())
}
