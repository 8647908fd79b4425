//! What is promised and not settled, by payer and in all; and what was promised
//! and never paid, which counts against the same caps for a day at least.

use tollway_core::{Address, Amount, Network, Timestamp, mistake};

use super::passes::less;
use crate::sql::{Statement, int, sql};
use crate::store::Step;
use crate::{ExposureCap, LedgerError, NewGrant, PassRecord};

const DAY_MILLIS: u64 = 86_400_000;

/// The UTC day of a moment.
const fn day_of(now: Timestamp) -> u64 {
    now.millis() / DAY_MILLIS
}

/// Of whom, and in what.
struct Purse<'a> {
    network: &'a Network,
    asset: &'a Address,
    payer: String,
}

impl<'a> Purse<'a> {
    /// The payer's own, and the one of all.
    fn both(network: &'a Network, asset: &'a Address, payer: &Address) -> [Self; 2] {
        [payer.to_string(), String::new()].map(|payer| Self {
            network,
            asset,
            payer,
        })
    }

    fn of_pass(pass: &'a PassRecord) -> [Self; 2] {
        Self::both(&pass.network, &pass.asset, &pass.payer)
    }

    /// A statement about this purse: its first three parameters.
    fn ask(&self, statement: &'static str) -> Statement {
        sql(statement)
            .bind(self.network.to_string())
            .bind(self.asset.to_string())
            .bind(self.payer.clone())
    }

    /// What is open.
    async fn open(&self, step: &mut Step) -> Result<Amount, LedgerError> {
        sum(
            step,
            self.ask(
                "SELECT amount FROM exposures WHERE network = $1 AND asset = $2 AND payer = $3",
            ),
        )
        .await
    }

    async fn set_open(&self, step: &mut Step, amount: Amount) -> Result<(), LedgerError> {
        let statement = match amount.is_zero() {
            // Payers come and go; who owes nothing is not remembered.
            true => {
                self.ask("DELETE FROM exposures WHERE network = $1 AND asset = $2 AND payer = $3")
            }
            false => self
                .ask(
                    "INSERT INTO exposures (network, asset, payer, amount) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (network, asset, payer) DO UPDATE SET amount = excluded.amount",
                )
                .bind(amount.to_string()),
        };
        step.run(statement).await.map(drop)
    }

    /// What was lost on a day and since.
    async fn lost_since(&self, step: &mut Step, day: u64) -> Result<Amount, LedgerError> {
        let days = self.ask(
            "SELECT amount FROM losses WHERE network = $1 AND asset = $2 AND payer = $3
                 AND day >= $4",
        );
        sum(step, days.bind(int(day))).await
    }

    /// Adds to what was lost on a day, or takes from it what was found again.
    async fn change_loss(
        &self,
        step: &mut Step,
        day: u64,
        change: impl FnOnce(Amount) -> Amount,
    ) -> Result<(), LedgerError> {
        let on_day = self.ask(
            "SELECT amount FROM losses WHERE network = $1 AND asset = $2 AND payer = $3
                 AND day = $4",
        );
        let lost = change(sum(step, on_day.bind(int(day))).await?);
        let statement = match lost.is_zero() {
            true => self
                .ask(
                    "DELETE FROM losses WHERE network = $1 AND asset = $2 AND payer = $3
                         AND day = $4",
                )
                .bind(int(day)),
            false => self
                .ask(
                    "INSERT INTO losses (network, asset, payer, day, amount)
                     VALUES ($1, $2, $3, $4, $5)
                     ON CONFLICT (network, asset, payer, day)
                     DO UPDATE SET amount = excluded.amount",
                )
                .bind(int(day))
                .bind(lost.to_string()),
        };
        step.run(statement).await.map(drop)
    }
}

async fn sum(step: &mut Step, amounts: Statement) -> Result<Amount, LedgerError> {
    let mut sum = Amount::ZERO;
    for row in step.list(amounts).await? {
        sum = plus(sum, row.amount("amount")?);
    }
    Ok(sum)
}

fn plus(amount: Amount, other: Amount) -> Amount {
    amount.checked_add(other).unwrap_or(Amount::MAX)
}

/// Promises a grant's amount, unless with what is open and what was lost since
/// yesterday it is too much: then nothing is written.
pub(super) async fn promise(
    step: &mut Step,
    grant: &NewGrant,
    cap: ExposureCap,
    now: Timestamp,
) -> Result<Option<()>, LedgerError> {
    let expected = &grant.expected;
    let purses = Purse::both(
        &grant.identity.network,
        &expected.asset,
        &grant.identity.payer,
    );
    let yesterday = day_of(now).saturating_sub(1);
    let mut sums = Vec::with_capacity(2);
    for (purse, most) in purses.iter().zip([cap.per_payer, cap.total]) {
        let open = plus(purse.open(step).await?, expected.amount);
        let lost = purse.lost_since(step, yesterday).await?;
        let is_too_much = open.checked_add(lost).is_none_or(|sum| sum > most);
        if is_too_much && !mistake::is("promised_beyond_the_cap") {
            return Ok(None);
        }
        sums.push(open);
    }
    for (purse, sum) in purses.iter().zip(sums) {
        purse.set_open(step, sum).await?;
    }
    Ok(Some(()))
}

/// A promise is kept.
pub(super) async fn kept(step: &mut Step, pass: &PassRecord) -> Result<(), LedgerError> {
    take_off(step, Purse::of_pass(pass), pass.amount).await
}

/// What was promised to a grant ends; so much of it was handed out and never paid.
pub(super) async fn ended(
    step: &mut Step,
    grant: &NewGrant,
    promised: Amount,
    unpaid: Amount,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let identity = &grant.identity;
    let purses = || Purse::both(&identity.network, &grant.expected.asset, &identity.payer);
    take_off(step, purses(), promised).await?;
    if unpaid.is_zero() {
        return Ok(());
    }
    for purse in purses() {
        let more = |lost| plus(lost, unpaid);
        purse.change_loss(step, day_of(now), more).await?;
    }
    Ok(())
}

async fn take_off(
    step: &mut Step,
    purses: [Purse<'_>; 2],
    amount: Amount,
) -> Result<(), LedgerError> {
    for purse in purses {
        let left = less(purse.open(step).await?, amount);
        purse.set_open(step, left).await?;
    }
    Ok(())
}

/// A promise that was kept is open again, whatever the cap says.
pub(super) async fn promise_again(step: &mut Step, pass: &PassRecord) -> Result<(), LedgerError> {
    for purse in Purse::of_pass(pass) {
        let sum = plus(purse.open(step).await?, pass.amount);
        purse.set_open(step, sum).await?;
    }
    Ok(())
}

/// A promise is not kept: it is lost, on the day that is returned.
pub(super) async fn lost(
    step: &mut Step,
    pass: &PassRecord,
    now: Timestamp,
) -> Result<u64, LedgerError> {
    kept(step, pass).await?;
    let day = day_of(now);
    for purse in Purse::of_pass(pass) {
        let more = |lost| plus(lost, pass.amount);
        purse.change_loss(step, day, more).await?;
    }
    Ok(day)
}

/// What was called lost on a day has been paid after all.
pub(super) async fn found(step: &mut Step, pass: &PassRecord, day: u64) -> Result<(), LedgerError> {
    for purse in Purse::of_pass(pass) {
        let fewer = |lost| less(lost, pass.amount);
        purse.change_loss(step, day, fewer).await?;
    }
    Ok(())
}

/// Losses of days that count no more, by the day of `now`.
pub(super) async fn forget(step: &mut Step, now: Timestamp) -> Result<(), LedgerError> {
    let yesterday = day_of(now).saturating_sub(1);
    let delete = sql("DELETE FROM losses WHERE day < $1").bind(int(yesterday));
    step.run(delete).await.map(drop)
}
