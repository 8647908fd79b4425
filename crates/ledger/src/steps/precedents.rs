//! What an agent paid before at the same place: whom, and how much. What was
//! given back sets no precedent; what is held does.

use tollway_core::{Address, Amount, Network};

use super::spend_rows::record;
use crate::sql::{Row, sql};
use crate::store::{Rows, Step};
use crate::{LedgerError, NewSpend, Reservation, Rules};

/// The first rule about precedents that a spend breaks.
pub(crate) async fn first_broken(
    step: &mut Step,
    new: &NewSpend,
    rules: &Rules,
) -> Result<Option<Reservation>, LedgerError> {
    if let Some(also) = &rules.pinned_or
        && !also.contains(&new.payee)
        && let Some(pinned) = payee(step, &new.agent, &new.host, &new.network).await?
        && pinned != new.payee
    {
        return Ok(Some(Reservation::OtherPayee { pinned }));
    }
    if let Some(percent) = rules.max_rise_percent
        && let Some(last) = price(step, &new.agent, &new.url).await?
        && !is_within(new.worth(new.amount), last, percent)
    {
        return Ok(Some(Reservation::PriceJump { last }));
    }
    Ok(None)
}

/// Whether a price is at most so many hundredths of the last one. Where one of
/// the products overflows it is not.
fn is_within(price: Option<Amount>, last: Amount, percent: u32) -> bool {
    let price = price.and_then(|price| price.checked_mul(100));
    let most = last.checked_mul(u64::from(percent));
    matches!((price, most), (Some(price), Some(most)) if price <= most)
}

/// Whom an agent paid first at a host, on networks of the same family.
pub(crate) async fn payee(
    rows: &mut impl Rows,
    agent: &str,
    host: &str,
    network: &Network,
) -> Result<Option<Address>, LedgerError> {
    let family = network.as_str().split(':').next().unwrap_or_default();
    let first = sql(
        "SELECT * FROM spends WHERE agent = $1 AND host = $2 AND network LIKE $3
             AND decimals IS NOT NULL AND state <> 'released' ORDER BY seq LIMIT 1",
    );
    let first = first
        .bind(agent.to_owned())
        .bind(host.to_owned())
        .bind(format!("{family}:%"));
    let found = rows.rows(first).await?;
    found
        .first()
        .map(|row: &Row| row.address("payee"))
        .transpose()
}

/// The last price that an agent paid, or holds, at a URL.
pub(crate) async fn price(
    rows: &mut impl Rows,
    agent: &str,
    url: &str,
) -> Result<Option<Amount>, LedgerError> {
    let last = sql("SELECT * FROM spends WHERE agent = $1 AND url = $2
             AND decimals IS NOT NULL AND state <> 'released' ORDER BY seq DESC LIMIT 1");
    let found = rows
        .rows(last.bind(agent.to_owned()).bind(url.to_owned()))
        .await?;
    let Some(row) = found.first() else {
        return Ok(None);
    };
    let spend = record(row)?.spend;
    Ok(spend.worth(spend.amount))
}
