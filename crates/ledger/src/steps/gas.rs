//! What transactions cost, by UTC day and payer; and what is promised of a
//! payer's balance.

use std::collections::BTreeMap;

use tollway_core::{Address, Amount, Identity, Network, Taken, Timestamp, mistake};

use super::payments::digest;
use crate::failure::corrupt;
use crate::sql::{Row, Statement, int, sql};
use crate::store::Step;
use crate::{Cost, GasSpent, LedgerError};

const DAY_MILLIS: u64 = 86_400_000;
/// Stands for all payers of a network.
const ALL: &str = "";
/// Stands for what payers are helped with, of all and of each.
pub(crate) const HELP: &str = "help";
/// Stands for the fees that are paid for callers.
pub(crate) const SPONSORED: &str = "sponsored";

/// The UTC day of a moment.
pub(crate) const fn day(now: Timestamp) -> u64 {
    now.millis() / DAY_MILLIS
}

/// The days since a moment's, its own included.
pub(crate) fn spent(network: &Network, since: Timestamp, payer: Option<&Address>) -> Statement {
    sql("SELECT fee, lost FROM gas WHERE network = $1 AND payer = $2 AND day >= $3")
        .bind(network.to_string())
        .bind(payer.map_or_else(|| ALL.to_owned(), ToString::to_string))
        .bind(int(day(since)))
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
    let day = int(day(now));
    for (payer, spent) in by_payer {
        let page = Page {
            network,
            payer,
            day,
        };
        let mut sum = page.read(step).await?;
        add(&mut sum, spent.fee, spent.lost);
        page.write(step, sum).await?;
    }
    Ok(())
}

/// What one payer, or all of a network, cost on one day.
struct Page<'a> {
    network: &'a Network,
    payer: String,
    day: i64,
}

impl Page<'_> {
    async fn read(&self, step: &mut Step) -> Result<GasSpent, LedgerError> {
        let found = sql("SELECT fee, lost FROM gas WHERE network = $1 AND payer = $2 AND day = $3")
            .bind(self.network.to_string())
            .bind(self.payer.clone())
            .bind(self.day);
        let mut spent = GasSpent::default();
        if let Some(row) = step.find(found).await? {
            add(&mut spent, row.amount("fee")?, row.amount("lost")?);
        }
        Ok(spent)
    }

    async fn write(&self, step: &mut Step, spent: GasSpent) -> Result<(), LedgerError> {
        let store = sql(
            "INSERT INTO gas (network, payer, day, fee, lost) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (network, payer, day)
             DO UPDATE SET fee = excluded.fee, lost = excluded.lost",
        )
        .bind(self.network.to_string())
        .bind(self.payer.clone())
        .bind(self.day)
        .bind(spent.fee.to_string())
        .bind(spent.lost.to_string());
        step.run(store).await.map(drop)
    }
}

/// The pages of a day's budget: of all, and of one who is paid for. They are
/// counted apart from what settling costs.
fn pages<'a>(name: &str, taken: &'a Taken) -> [Page<'a>; 2] {
    [name.to_owned(), format!("{name}:{}", taken.whom)].map(|payer| Page {
        network: &taken.network,
        payer,
        day: int(taken.day),
    })
}

/// Takes what paying for somebody may cost at most out of the day's budget, unless
/// that is more than is left for him or for all.
pub(crate) async fn help(
    step: &mut Step,
    name: &str,
    asked: &Taken,
    (per_day, per_payer): (Amount, Amount),
) -> Result<bool, LedgerError> {
    let pages = pages(name, asked);
    let mut sums = Vec::with_capacity(2);
    for (page, cap) in pages.iter().zip([per_day, per_payer]) {
        let mut sum = page.read(step).await?;
        add(&mut sum, asked.most, Amount::ZERO);
        if sum.fee > cap && !mistake::is("helped_without_budget") {
            return Ok(false);
        }
        sums.push(sum);
    }
    for (page, sum) in pages.iter().zip(sums) {
        page.write(step, sum).await?;
    }
    Ok(true)
}

/// Gives back what was taken, on the day that it was taken.
pub(crate) async fn give_back(
    step: &mut Step,
    name: &str,
    taken: &Taken,
) -> Result<(), LedgerError> {
    for page in pages(name, taken) {
        let mut sum = page.read(step).await?;
        sum.fee = sum.fee.checked_sub(taken.most).unwrap_or(Amount::ZERO);
        page.write(step, sum).await?;
    }
    Ok(())
}

/// Open payments and open grants that need a payer's balance. An `upfront` grant
/// is claimed before anybody verified it: garbage that names a payer holds nothing.
/// What streams may come to all that was permitted.
pub(crate) fn promises(
    network: &Network,
    asset: &Address,
    payer: &Address,
    except: &Identity,
) -> Statement {
    sql("SELECT identity, amount FROM payments WHERE is_open = 1
             AND from_account = $1 AND asset = $2 AND network = $3 AND identity <> $4
         UNION SELECT identity, amount FROM grants WHERE is_open = 1 AND flow <> 'upfront'
             AND from_account = $1 AND asset = $2 AND network = $3 AND identity <> $4
         UNION SELECT g.identity, m.permitted FROM grants g JOIN meters m ON m.grant_id = g.id
             WHERE g.is_open = 1 AND g.flow = 'metered' AND g.from_account = $1
             AND g.asset = $2 AND g.network = $3 AND g.identity <> $4")
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
