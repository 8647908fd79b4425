//! Which transaction settles what: one each, since a call that fails undoes all
//! calls of its transaction.

use tollway_core::{Plan, PlannedPayment};

use super::StarknetChain;

impl StarknetChain {
    pub(super) fn plan_each(&self, payments: &[PlannedPayment]) -> Vec<Plan> {
        if payments.is_empty() {
            return vec![Plan {
                payments: Vec::new(),
                gas_limit: self.limits.cancel_gas,
                signers: Vec::new(),
            }];
        }
        let one = |payment: &PlannedPayment| Plan {
            payments: vec![payment.clone()],
            gas_limit: payment.verified.gas.min(self.limits.payment_gas),
            signers: payment.verified.signers.clone(),
        };
        payments.iter().map(one).collect()
    }
}
