//! Which payments share a transaction.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use tollway_core::{Address, Intent, Plan, PlannedPayment};

use super::EvmChain;
use super::config::BatchWay;
use crate::methods::Way;

impl EvmChain {
    /// Plain payers' payments share transactions, in order, within the limits.
    /// Contract payers could burn what belongs to the others, and `alone` says
    /// it. Without payments: one cancellation.
    pub(super) fn plan_all(&self, payments: &[PlannedPayment]) -> Vec<Plan> {
        if payments.is_empty() {
            return vec![Plan {
                payments: Vec::new(),
                gas_limit: self.limits.cancel_gas,
                signers: self.accounts.clone(),
            }];
        }
        let sharing = self.sharing();
        let mut plans: Vec<Plan> = Vec::new();
        let mut open: HashMap<Option<Address>, usize> = HashMap::new();
        for payment in payments {
            let shares = sharing.as_ref().and_then(|way| self.shares(payment, way));
            if let Some(signer) = &shares
                && let Some(plan) = open.get(signer).and_then(|at| plans.get_mut(*at))
                && let Some(gas) = self.room(plan, payment)
            {
                plan.gas_limit = gas;
                plan.payments.push(payment.clone());
                if let Some((_, signers)) = sharing.as_ref().filter(|_| signer.is_none()) {
                    plan.signers.clone_from(signers);
                }
                continue;
            }
            if let Some(signer) = shares {
                open.insert(signer, plans.len());
            }
            plans.push(self.plan_one(payment));
        }
        plans
    }

    fn plan_one(&self, payment: &PlannedPayment) -> Plan {
        let pinned = &payment.verified.signers;
        let signers = if pinned.is_empty() {
            &self.accounts
        } else {
            pinned
        };
        Plan {
            payments: vec![payment.clone()],
            gas_limit: self
                .limits
                .transaction_gas
                .saturating_add(payment.verified.gas),
            signers: signers.clone(),
        }
    }

    /// The gas limit with one more payment, if there is room for it.
    fn room(&self, plan: &Plan, payment: &PlannedPayment) -> Option<u64> {
        if plan.payments.len() >= self.limits.batch_max
            || plan.payments.iter().any(|other| are_alike(other, payment))
        {
            return None;
        }
        let all = || {
            plan.payments
                .iter()
                .chain([payment])
                .map(|p| p.verified.gas)
        };
        let beside = self.limits.shared_gas;
        let gas = match self.limits.batch_way {
            BatchWay::Multicall3 => all().map(|gas| gas.saturating_add(beside)).sum::<u64>(),
            // Each may use as much as the dearest.
            BatchWay::SelfCall => {
                let most = all().max().unwrap_or_default().saturating_add(beside);
                most.saturating_mul(plan.payments.len() as u64 + 1)
            }
        };
        let limit = gas.saturating_add(self.limits.transaction_gas);
        (limit <= self.most_gas()).then_some(limit)
    }

    /// Whether a payment may share a transaction, and with whose payments: those that
    /// anybody settles, or those of permissions that the same account redeems. Called
    /// by itself an account is who it is; through Multicall3 it is not.
    fn shares(
        &self,
        payment: &PlannedPayment,
        (way, delegated): &(BatchWay, Vec<Address>),
    ) -> Option<Option<Address>> {
        let verified = &payment.verified;
        if payment.alone || self.deploys(&verified.intent) {
            return None;
        }
        match verified.signers.as_slice() {
            [] => Some(None),
            [only]
                if *way == BatchWay::SelfCall
                    && is_permission(&verified.intent)
                    && delegated.contains(only) =>
            {
                Some(Some(only.clone()))
            }
            _ => None,
        }
    }

    /// Most gas of a shared transaction: one that takes much of a block waits
    /// for a block that has the room.
    fn most_gas(&self) -> u64 {
        let block = self.start.block_gas.load(Ordering::Acquire);
        match block {
            0 => self.limits.batch_gas,
            block => self.limits.batch_gas.min(block / 4),
        }
    }

    /// Most gas of any transaction.
    pub(super) fn dearest_gas(&self) -> u64 {
        let alone = self.limits.transaction_gas + self.limits.payment_gas;
        let alone = alone.max(self.limits.contract_payment_gas);
        let alone = match self.managers.is_empty() {
            true => alone,
            false => alone.max(self.limits.permission_gas),
        };
        match self.sharing() {
            Some(_) => alone.max(self.most_gas()),
            None => alone,
        }
    }

    /// How payments can share a transaction now, and who may sign it.
    pub(super) fn sharing(&self) -> Option<(BatchWay, Vec<Address>)> {
        if self.limits.batch_max < 2 {
            return None;
        }
        if self.limits.batch_way == BatchWay::SelfCall {
            let delegated = self.delegated();
            if !delegated.is_empty() {
                return Some((BatchWay::SelfCall, delegated));
            }
        }
        let multicall = self.start.multicall.load(Ordering::Acquire);
        multicall.then(|| (BatchWay::Multicall3, self.accounts.clone()))
    }
}

/// Whether a payment redeems a permission.
pub(super) fn is_permission(intent: &Intent) -> bool {
    matches!(Way::of(&intent.terms), Ok(Way::Erc7710))
}

/// Whether two payments could be taken for one another by their logs: a token
/// logs the nonces of its own authorizations, Permit2 logs nothing.
fn are_alike(one: &PlannedPayment, other: &PlannedPayment) -> bool {
    let (one, other) = (
        &one.verified.intent.identity,
        &other.verified.intent.identity,
    );
    let both_logged = one.nonce.starts_with("0x") && other.nonce.starts_with("0x");
    !both_logged && one.payer == other.payer
}
