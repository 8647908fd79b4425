//! Figures about a ledger. Each question goes through an index, and where it sums
//! up a long time, through one that holds all that it asks for.

use tollway_core::{Amount, Network, Timestamp};

use super::{Step, Store, step_name};
use crate::LedgerError;
use crate::figures::{GasDay, Payer, Refusals, Side, Takings, Tally, Unfinished, Window};
use crate::sql::{Row, Statement, int, millis, sql};

/// Latest records whose time is looked at.
const TIMED: i64 = 10_000;
/// Reasons that are told.
const REASONS: i64 = 50;

fn within(statement: &'static str, window: Window) -> Statement {
    sql(statement)
        .bind(millis(window.since))
        .bind(millis(window.until))
}

impl Store {
    /// Money that came in: in steps of `step_millis` since 1970, by route, network,
    /// asset and price.
    ///
    /// # Errors
    /// The ledger's, if it cannot be read; so with all figures.
    pub async fn takings(
        &self,
        side: Side,
        window: Window,
        step_millis: u64,
    ) -> Result<Vec<Takings>, LedgerError> {
        let question = match side {
            Side::Sales => {
                "SELECT r.claimed_at / $3 AS step, r.route, r.network, r.asset, r.amount,
                     COUNT(*) AS times FROM grants r
                 WHERE r.state = 'released' AND r.claimed_at >= $1 AND r.claimed_at < $2
                 GROUP BY 1, 2, 3, 4, 5"
            }
            Side::Settlements => {
                "SELECT r.accepted_at / $3 AS step, '' AS route, r.network, r.asset, r.amount,
                     COUNT(*) AS times FROM payments r
                 WHERE r.state = 'settled' AND r.accepted_at >= $1 AND r.accepted_at < $2
                 GROUP BY 1, 3, 4, 5"
            }
        };
        let rows = within(question, window).bind(int(step_millis.max(1)));
        let takings = |row: &Row| {
            Ok(Takings {
                step: row.number("step")?,
                route: row.text("route")?,
                network: row.network("network")?,
                asset: row.address("asset")?,
                each: row.amount("amount")?,
                times: row.number("times")?,
            })
        };
        self.list(rows).await?.iter().map(takings).collect()
    }

    /// Whether a side has any record at all.
    ///
    /// # Errors
    /// See [`Store::takings`].
    pub async fn has_any(&self, side: Side) -> Result<bool, LedgerError> {
        let any = match side {
            Side::Sales => sql("SELECT seq FROM grants LIMIT 1"),
            Side::Settlements => sql("SELECT seq FROM payments LIMIT 1"),
        };
        Ok(self.find(any).await?.is_some())
    }

    /// What has not ended now.
    ///
    /// # Errors
    /// See [`Store::takings`].
    pub async fn unfinished(&self, side: Side) -> Result<Vec<Unfinished>, LedgerError> {
        let question = match side {
            Side::Sales => {
                "SELECT r.state, COUNT(*) AS times, MIN(r.claimed_at) AS oldest FROM grants r
                 WHERE r.is_open = 1 GROUP BY r.state ORDER BY r.state"
            }
            Side::Settlements => {
                "SELECT r.state, COUNT(*) AS times, MIN(r.accepted_at) AS oldest FROM payments r
                 WHERE r.is_open = 1 GROUP BY r.state ORDER BY r.state"
            }
        };
        let unfinished = |row: &Row| {
            Ok(Unfinished {
                state: row.text("state")?,
                times: row.number("times")?,
                oldest: row.time("oldest")?,
            })
        };
        self.list(sql(question))
            .await?
            .iter()
            .map(unfinished)
            .collect()
    }

    /// Why records were refused, the most frequent reason first.
    ///
    /// # Errors
    /// See [`Store::takings`].
    pub async fn refusals(&self, side: Side, window: Window) -> Result<Vec<Refusals>, LedgerError> {
        let question = match side {
            Side::Sales => {
                "SELECT COALESCE(r.refusal_code, '') AS code, COUNT(*) AS times FROM grants r
                 WHERE r.state = 'refused' AND r.claimed_at >= $1 AND r.claimed_at < $2
                 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $3"
            }
            Side::Settlements => {
                "SELECT COALESCE(r.refusal_code, '') AS code, COUNT(*) AS times FROM payments r
                 WHERE r.state IN ('refused', 'expired')
                     AND r.accepted_at >= $1 AND r.accepted_at < $2
                 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $3"
            }
        };
        let refusals = |row: &Row| {
            Ok(Refusals {
                code: row.text("code")?,
                times: row.number("times")?,
            })
        };
        let rows = within(question, window).bind(REASONS);
        self.list(rows).await?.iter().map(refusals).collect()
    }

    /// How many milliseconds the latest records took from their beginning to the
    /// money, at most 10,000 of them, in no order.
    ///
    /// # Errors
    /// See [`Store::takings`].
    pub async fn latencies(&self, side: Side, window: Window) -> Result<Vec<u64>, LedgerError> {
        let question = match side {
            Side::Sales => {
                "SELECT r.updated_at - r.claimed_at AS took FROM grants r
                 WHERE r.state = 'released' AND r.claimed_at >= $1 AND r.claimed_at < $2
                 ORDER BY r.claimed_at DESC LIMIT $3"
            }
            Side::Settlements => {
                "SELECT r.updated_at - r.accepted_at AS took FROM payments r
                 WHERE r.state = 'settled' AND r.accepted_at >= $1 AND r.accepted_at < $2
                 ORDER BY r.accepted_at DESC LIMIT $3"
            }
        };
        let rows = within(question, window).bind(TIMED);
        let took = |row: &Row| row.number("took");
        self.list(rows).await?.iter().map(took).collect()
    }

    /// Who paid most often, at most `limit`, with how much it came to in each
    /// asset.
    ///
    /// # Errors
    /// See [`Store::takings`].
    pub async fn top_payers(
        &self,
        side: Side,
        window: Window,
        limit: u32,
    ) -> Result<Vec<Payer>, LedgerError> {
        let (often, amounts) = match side {
            Side::Sales => (
                "SELECT r.from_account AS payer, r.network, r.asset, COUNT(*) AS times
                 FROM grants r
                 WHERE r.state = 'released' AND r.claimed_at >= $1 AND r.claimed_at < $2
                 GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT $3",
                "SELECT r.amount, COUNT(*) AS times FROM grants r
                 WHERE r.claimed_at >= $1 AND r.claimed_at < $2 AND r.from_account = $3
                     AND r.network = $4 AND r.asset = $5 AND r.state = 'released' GROUP BY 1",
            ),
            Side::Settlements => (
                "SELECT r.from_account AS payer, r.network, r.asset, COUNT(*) AS times
                 FROM payments r
                 WHERE r.state = 'settled' AND r.accepted_at >= $1 AND r.accepted_at < $2
                 GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT $3",
                "SELECT r.amount, COUNT(*) AS times FROM payments r
                 WHERE r.accepted_at >= $1 AND r.accepted_at < $2 AND r.from_account = $3
                     AND r.network = $4 AND r.asset = $5 AND r.state = 'settled' GROUP BY 1",
            ),
        };
        let rows = within(often, window).bind(i64::from(limit.min(1_000)));
        let mut payers = Vec::new();
        for row in self.list(rows).await? {
            let of_one = within(amounts, window)
                .bind(row.text("payer")?)
                .bind(row.text("network")?)
                .bind(row.text("asset")?);
            payers.push(Payer {
                payer: row.address("payer")?,
                network: row.network("network")?,
                asset: row.address("asset")?,
                times: row.number("times")?,
                amount: sum(&self.list(of_one).await?)?,
            });
        }
        Ok(payers)
    }

    /// What a network's transactions cost, day by day from the UTC day of `since`.
    ///
    /// # Errors
    /// See [`Store::takings`].
    pub async fn gas_days(
        &self,
        network: &Network,
        since: Timestamp,
    ) -> Result<Vec<GasDay>, LedgerError> {
        let days = sql(
            "SELECT day, fee, lost FROM gas WHERE network = $1 AND payer = '' AND day >= $2
             ORDER BY day",
        );
        let days = days
            .bind(network.to_string())
            .bind(int(since.secs() / 86_400));
        let day = |row: &Row| {
            Ok(GasDay {
                day: row.number("day")?,
                fee: row.amount("fee")?,
                lost: row.amount("lost")?,
            })
        };
        self.list(days).await?.iter().map(day).collect()
    }

    /// What was counted, by hour.
    ///
    /// # Errors
    /// See [`Store::takings`].
    pub async fn tallies(&self, window: Window) -> Result<Vec<Tally>, LedgerError> {
        let counted = sql(
            "SELECT hour, route, what, times FROM tallies WHERE hour >= $1 AND hour < $2
             ORDER BY hour, route, what LIMIT 100000",
        );
        let hour = |at: Timestamp| int(at.secs() / 3_600);
        let counted = counted
            .bind(hour(window.since))
            .bind(hour(window.until).saturating_add(1));
        let tally = |row: &Row| {
            Ok(Tally {
                hour: row.number("hour")?,
                route: row.text("route")?,
                what: row.text("what")?,
                times: row.number("times")?,
            })
        };
        self.list(counted).await?.iter().map(tally).collect()
    }

    /// Adds to what was counted, and forgets what was counted before an hour.
    ///
    /// # Errors
    /// The ledger's, if it cannot be written.
    pub async fn tally(&self, tallies: Vec<Tally>, keep_from: u64) -> Result<(), LedgerError> {
        self.write(step_name!("tally"), async move |step: &mut Step| {
            for tally in &tallies {
                let add = sql(
                    "INSERT INTO tallies (hour, route, what, times) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (hour, route, what)
                         DO UPDATE SET times = tallies.times + excluded.times",
                );
                let add = add
                    .bind(int(tally.hour))
                    .bind(tally.route.clone())
                    .bind(tally.what.clone())
                    .bind(int(tally.times));
                step.run(add).await?;
            }
            let old = sql("DELETE FROM tallies WHERE hour < $1").bind(int(keep_from));
            step.run(old).await.map(drop)
        })
        .await
    }
}

fn sum(rows: &[Row]) -> Result<Option<Amount>, LedgerError> {
    let mut sum = Some(Amount::ZERO);
    for row in rows {
        let of_price = row.amount("amount")?.checked_mul(row.number("times")?);
        sum = sum.zip(of_price).and_then(|(a, b)| a.checked_add(b));
    }
    Ok(sum)
}
