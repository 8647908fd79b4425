//! What is promised and not settled, by payer and in all.

use tollway_core::{Address, Amount, Network};

use super::passes::less;
use crate::sql::sql;
use crate::store::Step;
use crate::{ExposureCap, LedgerError, NewGrant, PassRecord};

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

    async fn amount(&self, step: &mut Step) -> Result<Amount, LedgerError> {
        let found =
            sql("SELECT amount FROM exposures WHERE network = $1 AND asset = $2 AND payer = $3")
                .bind(self.network.to_string())
                .bind(self.asset.to_string())
                .bind(self.payer.clone());
        match step.find(found).await? {
            Some(row) => row.amount("amount"),
            None => Ok(Amount::ZERO),
        }
    }

    async fn set(&self, step: &mut Step, amount: Amount) -> Result<(), LedgerError> {
        let key = [
            self.network.to_string(),
            self.asset.to_string(),
            self.payer.clone(),
        ];
        let statement = match amount.is_zero() {
            // Payers come and go; who owes nothing is not remembered.
            true => sql("DELETE FROM exposures WHERE network = $1 AND asset = $2 AND payer = $3"),
            false => sql(
                "INSERT INTO exposures (network, asset, payer, amount) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (network, asset, payer) DO UPDATE SET amount = excluded.amount",
            ),
        };
        let mut statement = key.into_iter().fold(statement, |s, part| s.bind(part));
        if !amount.is_zero() {
            statement = statement.bind(amount.to_string());
        }
        step.run(statement).await.map(drop)
    }
}

/// Promises a grant's amount, unless it is too much: then nothing is written.
pub(super) async fn promise(
    step: &mut Step,
    grant: &NewGrant,
    cap: ExposureCap,
) -> Result<Option<()>, LedgerError> {
    let expected = &grant.expected;
    let purses = Purse::both(
        &grant.identity.network,
        &expected.asset,
        &grant.identity.payer,
    );
    let mut sums = Vec::with_capacity(2);
    for (purse, most) in purses.iter().zip([cap.per_payer, cap.total]) {
        let sum = purse.amount(step).await?.checked_add(expected.amount);
        let Some(sum) = sum.filter(|sum| *sum <= most) else {
            return Ok(None);
        };
        sums.push(sum);
    }
    for (purse, sum) in purses.iter().zip(sums) {
        purse.set(step, sum).await?;
    }
    Ok(Some(()))
}

/// A promise is kept, or owed no more.
pub(super) async fn kept(step: &mut Step, pass: &PassRecord) -> Result<(), LedgerError> {
    for purse in Purse::both(&pass.network, &pass.asset, &pass.payer) {
        let left = less(purse.amount(step).await?, pass.amount);
        purse.set(step, left).await?;
    }
    Ok(())
}

/// A promise that was kept is open again, whatever the cap says.
pub(super) async fn promise_again(step: &mut Step, pass: &PassRecord) -> Result<(), LedgerError> {
    for purse in Purse::both(&pass.network, &pass.asset, &pass.payer) {
        let sum = purse.amount(step).await?.checked_add(pass.amount);
        purse.set(step, sum.unwrap_or(Amount::MAX)).await?;
    }
    Ok(())
}
