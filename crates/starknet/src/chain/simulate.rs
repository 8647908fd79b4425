//! The settlement as it would happen now: the only check that sees a session's
//! whitelist, its call counter and its spending policy before gas is spent.

use serde_json::json;
use starknet_crypto::Felt;
use tollway_core::{ChainError, codes};
use tollway_rpc::ask::unavailable;

use super::StarknetChain;
use super::seal::settling_calldata;
use crate::felt;
use crate::invoke::{Bound, Bounds, Invoke};
use crate::node::{LATEST, code, refused_with};
use crate::payload::SignedExecution;
use crate::refusal::refuse;
use crate::trace::Simulated;
use crate::transfer::Effect;

impl StarknetChain {
    /// Step 10. Gives the L2 gas that the real transaction gets.
    pub(super) async fn simulate(
        &self,
        signed: &SignedExecution,
        sender: &Felt,
        nonce: u64,
        effect: &Effect,
    ) -> Result<u64, ChainError> {
        let invoke = Invoke {
            sender: *sender,
            nonce,
            tip: 0,
            bounds: self.simulated_bounds(),
            calldata: settling_calldata(signed),
        };
        let params = json!({
            "block_id": LATEST,
            "transactions": [invoke.signed(&[])],
            "simulation_flags": ["SKIP_VALIDATE", "SKIP_FEE_CHARGE"],
        });
        let method = "starknet_simulateTransactions";
        let answer = self.rpc.call::<[Simulated; 1]>(method, params).await;
        let [simulated] = match answer {
            Err(error) if refused_with(&error) == Some(code::EXECUTION_ERROR) => {
                return Err(fails(error).into());
            }
            answer => answer.map_err(unavailable(method))?,
        };
        self.judge_trace(&simulated, effect)
    }

    fn judge_trace(&self, simulated: &Simulated, effect: &Effect) -> Result<u64, ChainError> {
        let execution = &simulated.transaction_trace.execute_invocation;
        if let Some(reason) = &execution.revert_reason {
            return Err(fails(reason).into());
        }
        let events = execution
            .events
            .as_ref()
            .ok_or_else(|| fails("the trace is nested too deeply"))?;
        if effect.find(events).is_none() {
            return Err(fails("not exactly the expected transfer").into());
        }
        let data = felt::to_u64(&simulated.fee_estimation.l1_data_gas_consumed.0);
        let gas = felt::to_u64(&simulated.fee_estimation.l2_gas_consumed.0);
        let (Some(gas), Some(data)) = (gas, data) else {
            return Err(ChainError::unavailable("an estimate above 2^64"));
        };
        let wanted = gas
            .saturating_add(gas / 4)
            .saturating_add(self.limits.validation_gas);
        if wanted > self.limits.payment_gas || data > self.limits.data_gas {
            return Err(refuse(
                codes::TRANSACTION_GAS_LIMIT_EXCEEDED,
                "pay from an account whose checks are cheaper",
            )
            .with_detail(format!("{gas} L2 gas, {data} L1 data gas"))
            .into());
        }
        Ok(wanted)
    }

    fn simulated_bounds(&self) -> Bounds {
        let bound = |amount| Bound { amount, price: 0 };
        Bounds {
            l1_gas: bound(0),
            l2_gas: bound(self.limits.payment_gas),
            l1_data_gas: bound(self.limits.data_gas),
        }
    }
}

fn fails(detail: impl std::fmt::Display) -> tollway_core::Refusal {
    refuse(
        codes::SIMULATION_FAILED,
        "check the session's calls, entry points and spending policy, and the account's class",
    )
    .with_detail(detail)
}
