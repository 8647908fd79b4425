//! What an agent may spend over many calls, whatever it pays from and with.
//!
//! Amounts of all assets are added up in whole units, so that neither another
//! network nor another asset opens a budget again.

use std::time::Duration;

use tollway_core::Address;
use tollway_ledger::{Limit, LimitScope};

use crate::price::UnitPrice;

/// The window of what is counted by the day: the last 24 hours, at any moment.
pub const DAY: Duration = Duration::from_secs(86_400);

/// What an agent may spend over many calls; what is `None` has no limit. All that
/// are set hold at once, over every program that shares the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// For ever.
    pub total: Option<UnitPrice>,
    /// Within 24 hours.
    pub per_day: Option<UnitPrice>,
    /// For ever, at one host.
    pub per_host: Option<UnitPrice>,
    /// Within 24 hours, at one host.
    pub per_host_day: Option<UnitPrice>,
    /// For ever, to one payee.
    pub per_payee: Option<UnitPrice>,
    /// Within 24 hours, to one payee.
    pub per_payee_day: Option<UnitPrice>,
}

impl Budget {
    /// The limits that hold for whatever an agent pays.
    #[must_use]
    pub fn overall(&self, agent: &str) -> Vec<Limit> {
        let scope = || LimitScope::Budget(agent.to_owned());
        limits(scope, self.total, self.per_day)
    }

    /// The limits that hold for what an agent pays to a payee at a host.
    #[must_use]
    pub fn limits(&self, agent: &str, host: &str, payee: &Address) -> Vec<Limit> {
        let at_host = || LimitScope::BudgetHost {
            agent: agent.to_owned(),
            host: host.to_owned(),
        };
        let to_payee = || LimitScope::BudgetPayee {
            agent: agent.to_owned(),
            payee: payee.clone(),
        };
        let mut all = self.overall(agent);
        all.extend(limits(at_host, self.per_host, self.per_host_day));
        all.extend(limits(to_payee, self.per_payee, self.per_payee_day));
        all
    }
}

fn limits(
    scope: impl Fn() -> LimitScope,
    for_ever: Option<UnitPrice>,
    per_day: Option<UnitPrice>,
) -> Vec<Limit> {
    let windows = [(for_ever, None), (per_day, Some(DAY))];
    let set = windows.into_iter().filter_map(|(max, window)| {
        Some(Limit {
            scope: scope(),
            window,
            max: max?.amount(),
        })
    });
    set.collect()
}

/// A limit in words: `the budget for 24 hours at api.example.com`.
pub(crate) fn words(limit: &Limit) -> String {
    let per = match limit.window {
        None => String::new(),
        Some(DAY) => " for 24 hours".to_owned(),
        Some(window) => format!(" for {} s", window.as_secs()),
    };
    let of = match &limit.scope {
        LimitScope::Account => " of this account".to_owned(),
        LimitScope::Agent(agent) | LimitScope::Budget(agent) => format!(" of {agent}"),
        LimitScope::Host(host) | LimitScope::BudgetHost { host, .. } => format!(" at {host}"),
        LimitScope::Payee(payee) | LimitScope::BudgetPayee { payee, .. } => format!(" to {payee}"),
        LimitScope::Key(_) | LimitScope::KeyCalls(_) => " of this session".to_owned(),
    };
    format!("the budget{per}{of}")
}
