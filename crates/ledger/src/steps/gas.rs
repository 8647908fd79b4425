//! What transactions cost, by UTC day and payer; and what is promised of a
//! payer's balance.

use std::collections::BTreeMap;

use tollway_core::{Address, Amount, Identity, Network, Timestamp};

use super::payments::digest;
use crate::failure::corrupt;
use crate::sql::{Row, Statement, int, sql};
use crate::store::Step;
use crate::{Cost, GasSpent, LedgerError};

const DAY_MILLIS: u64 = 86_400_000;
/// Stands for all payers of a network.
const ALL: &str = "";

/// The days since a moment's, its own included.
pub(crate) fn spent(network: &Network, since: Timestamp, payer: Option<&Address>) -> Statement {
    sql("SELECT fee, lost FROM gas WHERE network = $1 AND payer = $2 AND day >= $3")
        .bind(network.to_string())
        .bind(payer.map_or_else(|| ALL.to_owned(), ToString::to_string))
        .bind(int(since.millis() / DAY_MILLIS))
}

pub(crate) fn sum(days: &[Row]) -> Result<GasSpent, LedgerError> {
    let mut sum = GasSpent::default();
    for day in days {
        add(&mut sum, day.amount("fee")?, day.amount("lost")?);
    }
    Ok(sum)
}

fn add(sum: &mut GasSpent, fee: Amount, lost: Amount) {
    sum.fee = sum.fee.checked_add(fee).unwrap_or(Amount::MAX);
    sum.lost = sum.lost.checked_add(lost).unwrap_or(Amount::MAX);
}

/// Counts costs on the day of `now`, in one row for each payer and one for all.
pub(crate) async fn spend(
    step: &mut Step,
    network: &Network,
    costs: &[Cost],
    now: Timestamp,
) -> Result<(), LedgerError> {
    let mut by_payer: BTreeMap<String, GasSpent> = BTreeMap::new();
    for cost in costs {
        let lost = if cost.lost { cost.fee } else { Amount::ZERO };
        for payer in [ALL.to_owned(), cost.payer.to_string()] {
            add(by_payer.entry(payer).or_default(), cost.fee, lost);
        }
    }
    let day = int(now.millis() / DAY_MILLIS);
    for (payer, mut spent) in by_payer {
        let found = sql("SELECT fee, lost FROM gas WHERE network = $1 AND payer = $2 AND day = $3")
            .bind(network.to_string())
            .bind(payer.clone())
            .bind(day);
        if let Some(row) = step.find(found).await? {
            add(&mut spent, row.amount("fee")?, row.amount("lost")?);
        }
        let store = sql(
            "INSERT INTO gas (network, payer, day, fee, lost) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (network, payer, day)
             DO UPDATE SET fee = excluded.fee, lost = excluded.lost",
        )
        .bind(network.to_string())
        .bind(payer)
        .bind(day)
        .bind(spent.fee.to_string())
        .bind(spent.lost.to_string());
        step.run(store).await?;
    }
    Ok(())
}

/// Open payments and open grants that need a payer's balance. An `upfront` grant
/// is claimed before anybody verified it: garbage that names a payer holds nothing.
pub(crate) fn promises(
    network: &Network,
    asset: &Address,
    payer: &Address,
    except: &Identity,
) -> Statement {
    sql("SELECT identity, amount FROM payments WHERE is_open = 1
             AND from_account = $1 AND asset = $2 AND network = $3 AND identity <> $4
         UNION SELECT identity, amount FROM grants WHERE is_open = 1 AND flow <> 'upfront'
             AND from_account = $1 AND asset = $2 AND network = $3 AND identity <> $4")
    .bind(payer.to_string())
    .bind(asset.to_string())
    .bind(network.to_string())
    .bind(digest(except))
}

/// Each identity counts once, with the larger amount.
pub(crate) fn promised(rows: &[Row]) -> Result<Amount, LedgerError> {
    let mut by_identity: BTreeMap<Vec<u8>, Amount> = BTreeMap::new();
    for row in rows {
        let amount = row.amount("amount")?;
        let held = by_identity.entry(row.bytes("identity")?).or_default();
        *held = amount.max(*held);
    }
    let sum = by_identity
        .into_values()
        .try_fold(Amount::ZERO, |sum, amount| sum.checked_add(amount));
    sum.ok_or_else(|| corrupt("amount", "promised amounts overflow"))
}
