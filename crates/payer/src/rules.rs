//! What is compared with the record: budgets, and what was paid before. The
//! ledger decides it in one step with the reservation; looking asks the same.

use tollway_core::{Address, Amount, LimitedKey, Refusal, codes};
use tollway_ledger::{Limit, LimitScope, Rules, SpendStore};
use url::Url;

use crate::budget::words;
use crate::code;
use crate::engine::Engine;
use crate::error::PayError;
use crate::offer::Offer;
use crate::price::UnitPrice;
use crate::request::public_url;

impl Engine {
    /// What a spend must keep to. The limits of a key come last, its payments
    /// before its money, so that it is known which of the two stands in the way.
    pub(crate) fn rules(&self, offer: &Offer, url: &Url, key: Option<&LimitedKey>) -> Rules {
        let (policy, payee) = (&self.policy, &offer.terms.pay_to);
        let mut limits = self.limits.clone();
        limits.extend(policy.budget.limits(&self.agent, &host(url), payee));
        limits.extend(key.map(limits_of).unwrap_or_default());
        let consents = policy.consents.iter().filter(|(host, _)| host.matches(url));
        let consented: Vec<Address> = consents.map(|(_, payee)| payee.clone()).collect();
        Rules {
            limits,
            pinned_or: policy.pin_payees.then_some(consented),
            max_rise_percent: policy.max_rise_percent,
        }
    }

    /// Which rule an offer would break now, where a record is at hand.
    ///
    /// # Errors
    /// `ledger_unavailable`.
    pub(crate) async fn broken_rule(
        &self,
        offer: &Offer,
        url: &Url,
    ) -> Result<Option<Refusal>, PayError> {
        let (Some(wallet), Some(spends)) = (&self.wallet, &self.spends) else {
            return Ok(None);
        };
        let Some(account) = wallet.address(&offer.terms.network) else {
            return Ok(None);
        };
        let rules = self.rules(offer, url, None);
        if let Some(refusal) = self
            .against_precedent(spends.as_ref(), offer, url, &rules)
            .await?
        {
            return Ok(Some(refusal));
        }
        let (terms, now) = (&offer.terms, self.clock.now());
        for limit in &rules.limits {
            let total = spends
                .total(&account, &terms.network, &terms.asset, limit, now)
                .await?;
            let add = |a: Amount, b: Amount| a.checked_add(b).unwrap_or(Amount::MAX);
            let used = add(total.paid, total.held);
            let price = match counts_worth(limit) {
                true => offer.price.amount(),
                false => terms.amount,
            };
            if add(used, price) > limit.max {
                return Ok(Some(exceeded(offer, limit, used)));
            }
        }
        Ok(None)
    }

    async fn against_precedent(
        &self,
        spends: &dyn SpendStore,
        offer: &Offer,
        url: &Url,
        rules: &Rules,
    ) -> Result<Option<Refusal>, PayError> {
        if rules.pinned_or.is_none() && rules.max_rise_percent.is_none() {
            return Ok(None);
        }
        let network = &offer.terms.network;
        let before = spends
            .precedent(&self.agent, &host(url), network, &public_url(url))
            .await?;
        if let (Some(also), Some(pinned)) = (&rules.pinned_or, before.payee)
            && pinned != offer.terms.pay_to
            && !also.contains(&offer.terms.pay_to)
        {
            return Ok(Some(other_payee(offer, url, &pinned)));
        }
        if let (Some(percent), Some(last)) = (rules.max_rise_percent, before.price) {
            let price = offer.price.amount().checked_mul(100);
            let most = last.checked_mul(u64::from(percent));
            if price.is_none() || most.is_none() || price > most {
                return Ok(Some(price_jump(offer, last)));
            }
        }
        Ok(None)
    }
}

fn limits_of(key: &LimitedKey) -> Vec<Limit> {
    let for_ever = |scope, max| Limit {
        scope,
        window: None,
        max,
    };
    let calls = LimitScope::KeyCalls(key.name.clone());
    let mut limits = vec![for_ever(calls, key.payments)];
    let money = LimitScope::Key(key.name.clone());
    limits.extend(key.total.map(|total| for_ever(money, total)));
    limits
}

/// Whether a limit counts payments of a key.
pub(crate) const fn counts_calls(limit: &Limit) -> bool {
    matches!(limit.scope, LimitScope::KeyCalls(_))
}

const fn counts_worth(limit: &Limit) -> bool {
    matches!(
        limit.scope,
        LimitScope::Budget(_) | LimitScope::BudgetHost { .. } | LimitScope::BudgetPayee { .. }
    )
}

/// The host that limits count, without its port.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    host.strip_suffix('.').unwrap_or(host).to_owned()
}

pub(crate) fn used_up() -> Refusal {
    Refusal::new(
        codes::SESSION_MAX_CALLS_EXCEEDED,
        "All payments that this session may make are made or under way; renew it with the owner's key.",
    )
}

pub(crate) fn exceeded(offer: &Offer, limit: &Limit, used: Amount) -> Refusal {
    let show = |amount: Amount| match counts_worth(limit) {
        true => UnitPrice::from_amount(amount).to_string(),
        false => amount.to_decimal(offer.asset.decimals),
    };
    let unit = match counts_worth(limit) {
        true => String::new(),
        false => format!(" {}", offer.asset.symbol),
    };
    Refusal::new(
        code::BUDGET_EXCEEDED,
        format!(
            "The price is {}, and {} of {}{unit} are spent or held ({}); raise the budget, or wait until held payments are decided.",
            offer.cost(),
            show(used),
            show(limit.max),
            words(limit),
        ),
    )
}

pub(crate) fn other_payee(offer: &Offer, url: &Url, pinned: &Address) -> Refusal {
    Refusal::new(
        code::POLICY_PAYEE_CHANGED,
        format!(
            "{} asks to pay {}, and was paid at {pinned} before; ask the seller by another way, and if it is right let the owner consent (`tollway budget set --consent {0}={1}`).",
            host(url),
            offer.terms.pay_to,
        ),
    )
}

pub(crate) fn price_jump(offer: &Offer, last: Amount) -> Refusal {
    Refusal::new(
        code::POLICY_PRICE_JUMP,
        format!(
            "The price is {}, and was {} the last time; ask the seller why, or let the owner raise what a price may rise by.",
            offer.cost(),
            UnitPrice::from_amount(last)
        ),
    )
}
