//! What counts within a limit: purses, and their marks over time.
//!
//! A purse keeps what one account, agent, host, payee, key or budget has paid and
//! holds, for ever. What it paid within a window is the difference of two running totals,
//! so that a question costs two look-ups however long the history is. What is
//! held counts in every window: it may move at any moment.

use tollway_core::{Address, Amount, Network, Timestamp, mistake};

use crate::failure::corrupt;
use crate::sql::{Row, Statement, int, millis, sql};
use crate::store::{Rows, Step};
use crate::{LedgerError, Limit, LimitScope, NewSpend, SpendTotal};

/// Which money: an account's, of one asset.
#[derive(Clone, Copy)]
pub(crate) struct Money<'a> {
    pub account: &'a Address,
    pub network: &'a Network,
    pub asset: &'a Address,
}

impl<'a> Money<'a> {
    pub const fn of(spend: &'a NewSpend) -> Self {
        Self {
            account: &spend.account,
            network: &spend.network,
            asset: &spend.asset,
        }
    }
}

/// The purses that a spend counts in.
pub(crate) fn purses_of(spend: &NewSpend) -> Vec<LimitScope> {
    let mut purses = vec![
        LimitScope::Account,
        LimitScope::Agent(spend.agent.clone()),
        LimitScope::Host(spend.host.clone()),
        LimitScope::Payee(spend.payee.clone()),
    ];
    if let Some(key) = &spend.key {
        purses.push(LimitScope::Key(key.clone()));
        purses.push(LimitScope::KeyCalls(key.clone()));
    }
    if spend.decimals.is_some() {
        let agent = || spend.agent.clone();
        purses.push(LimitScope::Budget(agent()));
        purses.push(LimitScope::BudgetHost {
            agent: agent(),
            host: spend.host.clone(),
        });
        purses.push(LimitScope::BudgetPayee {
            agent: agent(),
            payee: spend.payee.clone(),
        });
    }
    purses
}

/// Whether a purse adds up all accounts, networks and assets.
const fn is_budget(scope: &LimitScope) -> bool {
    matches!(
        scope,
        LimitScope::Budget(_) | LimitScope::BudgetHost { .. } | LimitScope::BudgetPayee { .. }
    )
}

/// What an amount of a spend counts in a purse: payments are counted one by one and
/// executions by their calls, budgets by what the amount is worth. `None` where that is too large to count.
pub(crate) fn counted(scope: &LimitScope, spend: &NewSpend, amount: Amount) -> Option<Amount> {
    match scope {
        LimitScope::KeyCalls(_) => {
            let calls = spend.calls.filter(|_| !mistake::is("execution_counts_one"));
            Some(Amount::from_atomic(calls.unwrap_or(1).into()))
        }
        scope if is_budget(scope) => spend.worth(amount),
        _ => Some(amount),
    }
}

/// Account, network and asset that a purse is of: what counts payments is of no
/// asset, and a budget of none of the three.
fn money_of(scope: &LimitScope, money: Money<'_>) -> [String; 3] {
    let (account, network) = (money.account.to_string(), money.network.to_string());
    match scope {
        LimitScope::KeyCalls(_) => [account, network, String::new()],
        scope if is_budget(scope) => [const { String::new() }; 3],
        _ => [account, network, money.asset.to_string()],
    }
}

fn named(scope: &LimitScope) -> (&'static str, String) {
    match scope {
        LimitScope::Account => ("account", String::new()),
        LimitScope::Agent(name) => ("agent", name.clone()),
        LimitScope::Host(host) => ("host", host.clone()),
        LimitScope::Payee(payee) => ("payee", payee.to_string()),
        LimitScope::Key(key) => ("key", key.clone()),
        LimitScope::KeyCalls(key) => ("key_calls", key.clone()),
        LimitScope::Budget(agent) => ("budget", agent.clone()),
        // A line break is in no host and no address.
        LimitScope::BudgetHost { agent, host } => ("budget_host", format!("{host}\n{agent}")),
        LimitScope::BudgetPayee { agent, payee } => ("budget_payee", format!("{payee}\n{agent}")),
    }
}

/// A purse as it stands.
#[derive(Clone, Copy, Default)]
pub(crate) struct Purse {
    id: Option<i64>,
    pub paid: Amount,
    pub held: Amount,
}

fn find(money: Money<'_>, scope: &LimitScope) -> Statement {
    let (kind, name) = named(scope);
    let [account, network, asset] = money_of(scope, money);
    sql("SELECT id, paid, held FROM purses
         WHERE account = $1 AND network = $2 AND asset = $3 AND kind = $4 AND name = $5")
    .bind(account)
    .bind(network)
    .bind(asset)
    .bind(kind)
    .bind(name)
}

fn purse(row: Option<&Row>) -> Result<Purse, LedgerError> {
    let Some(row) = row else {
        return Ok(Purse::default());
    };
    Ok(Purse {
        id: row.opt_integer("id")?,
        paid: row.amount("paid")?,
        held: row.amount("held")?,
    })
}

/// What counts within a limit at a moment.
pub(crate) async fn total(
    rows: &mut impl Rows,
    money: Money<'_>,
    limit: &Limit,
    now: Timestamp,
) -> Result<SpendTotal, LedgerError> {
    let found = rows.rows(find(money, &limit.scope)).await?;
    let purse = purse(found.first())?;
    let before = match (purse.id, limit.window) {
        (Some(id), Some(window)) => {
            let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
            match now.millis().checked_sub(window) {
                Some(start) => paid_until(rows, id, start).await?,
                None => Amount::ZERO,
            }
        }
        _ => Amount::ZERO,
    };
    let paid = purse.paid.checked_sub(before);
    Ok(SpendTotal {
        paid: paid.ok_or_else(|| corrupt("purse", "paid less than before"))?,
        held: purse.held,
    })
}

/// All that a purse had paid up to and at a moment.
async fn paid_until(rows: &mut impl Rows, purse: i64, until: u64) -> Result<Amount, LedgerError> {
    let mark = sql("SELECT total FROM purse_marks WHERE purse = $1 AND at <= $2
         ORDER BY at DESC, seq DESC LIMIT 1");
    let found = rows.rows(mark.bind(purse).bind(int(until))).await?;
    match found.first() {
        Some(row) => row.amount("total"),
        None => Ok(Amount::ZERO),
    }
}

/// What a step changes in each purse of a spend.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    /// It is held from now on.
    Hold(Amount),
    /// What was held is free again.
    Free(Amount),
    /// What was held is free again, and so much of it was paid.
    Pay { held: Amount, paid: Amount },
}

impl Change {
    /// What it is in one of the purses of a spend.
    fn in_purse(self, scope: &LimitScope, spend: &NewSpend) -> Option<Self> {
        let counted = |amount| counted(scope, spend, amount);
        Some(match self {
            Self::Hold(amount) => Self::Hold(counted(amount)?),
            Self::Free(amount) => Self::Free(counted(amount)?),
            Self::Pay { held, paid } => Self::Pay {
                held: counted(held)?,
                paid: counted(paid)?,
            },
        })
    }

    /// The purse afterwards; none if it would overflow or go below nothing.
    fn applied(self, purse: Purse) -> Option<Purse> {
        let (held, paid) = match self {
            Self::Hold(amount) => (purse.held.checked_add(amount)?, purse.paid),
            Self::Free(amount) => (purse.held.checked_sub(amount)?, purse.paid),
            Self::Pay { held, paid } => {
                (purse.held.checked_sub(held)?, purse.paid.checked_add(paid)?)
            }
        };
        // So that paying what is held can never overflow.
        held.checked_add(paid)?;
        Some(Purse {
            held,
            paid,
            ..purse
        })
    }
}

/// Changes all purses of a spend. False, and nothing is changed, if one of them
/// cannot hold the sum.
pub(crate) async fn change(
    step: &mut Step,
    spend: &NewSpend,
    change: Change,
    now: Timestamp,
) -> Result<bool, LedgerError> {
    let mut changed = Vec::with_capacity(9);
    for scope in purses_of(spend) {
        let row = step.find(find(Money::of(spend), &scope)).await?;
        let purse = purse(row.as_ref())?;
        let counted = change.in_purse(&scope, spend);
        match counted.and_then(|counted| counted.applied(purse)) {
            Some(purse) => changed.push((scope, purse)),
            None => return Ok(false),
        }
    }
    for (scope, purse) in changed {
        store(step, spend, &scope, purse).await?;
        if let (Change::Pay { .. }, Some(id)) = (change, purse.id) {
            mark(step, id, purse.paid, now).await?;
        }
    }
    Ok(true)
}

async fn store(
    step: &mut Step,
    spend: &NewSpend,
    scope: &LimitScope,
    purse: Purse,
) -> Result<(), LedgerError> {
    let statement = match purse.id {
        Some(id) => sql("UPDATE purses SET paid = $2, held = $3 WHERE id = $1").bind(id),
        None => {
            let (kind, name) = named(scope);
            let [account, network, asset] = money_of(scope, Money::of(spend));
            sql(
                "INSERT INTO purses (account, network, asset, kind, name, paid, held)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(account)
            .bind(network)
            .bind(asset)
            .bind(kind)
            .bind(name)
        }
    };
    let statement = statement
        .bind(purse.paid.to_string())
        .bind(purse.held.to_string());
    step.run(statement).await.map(|_| ())
}

async fn mark(
    step: &mut Step,
    purse: i64,
    total: Amount,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let insert = sql(
        "INSERT INTO purse_marks (purse, at, seq, total)
         SELECT $1, $2, COALESCE(MAX(seq), 0) + 1, $3 FROM purse_marks WHERE purse = $1 AND at = $2",
    );
    let insert = insert.bind(purse).bind(millis(now)).bind(total.to_string());
    step.run(insert).await.map(|_| ())
}

pub(crate) fn seen() -> Statement {
    sql("SELECT value FROM meta WHERE name = 'clock'")
}

/// The latest moment that the ledger has seen, at least `now`: a clock that
/// was set back does not open a window again.
pub(crate) async fn latest(step: &mut Step, now: Timestamp) -> Result<Timestamp, LedgerError> {
    let row = step.find(seen()).await?;
    let seen = match &row {
        Some(row) => row.time("value")?,
        None => Timestamp::default(),
    };
    if seen >= now {
        return Ok(seen);
    }
    let update = sql("UPDATE meta SET value = $1 WHERE name = 'clock'");
    step.run(update.bind(millis(now))).await?;
    Ok(now)
}
