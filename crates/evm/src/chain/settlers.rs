//! Contracts that settlements go through: which are there, and how a payee's
//! missing settler gets there in the transaction that needs it.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use alloy_primitives::{Address as Account, Bytes};
use tollway_core::{ChainError, Intent, Refusal, codes};

use super::EvmChain;
use super::batch::in_order;
use super::recent::Recent;
use super::simulate::SettleCall;
use crate::contracts::{CREATE2_DEPLOYER, settler_address, settler_deployment};
use crate::methods::Way;
use crate::refusal::refuse;

/// Contracts whose code was seen: it never goes away.
#[derive(Debug, Default)]
pub(super) struct There(Mutex<Recent<Account, ()>>);

impl There {
    fn knows(&self, contract: Account) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&contract).is_some()
    }
}

impl EvmChain {
    /// Whether a contract is there; asked for until it is. A call to an address
    /// without code succeeds and does nothing.
    pub(super) async fn is_there(&self, contract: Account) -> Result<bool, ChainError> {
        if self.there.knows(contract) {
            return Ok(true);
        }
        let code = self.code(contract).await?;
        self.saw_code(contract, &code);
        Ok(!code.is_empty())
    }

    pub(super) fn saw_code(&self, contract: Account, code: &Bytes) {
        if !code.is_empty() {
            let mut seen = self.there.0.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(contract, ());
        }
    }

    /// Whether a contract's code was seen.
    pub(super) fn knows(&self, contract: Account) -> bool {
        self.there.knows(contract)
    }

    /// The call of a permit, after the deployment of its settler where that is
    /// missing.
    pub(super) async fn with_settler(
        &self,
        call: SettleCall,
        payee: Account,
    ) -> Result<SettleCall, ChainError> {
        if self.is_there(settler_address(payee)).await? {
            return Ok(call);
        }
        let (target, data) = self.deploying(payee, (call.target, call.data))?;
        Ok(SettleCall {
            target,
            data,
            gas_beside: self.limits.deployment_gas,
            ..call
        })
    }

    /// The same for a call that is about to be signed.
    pub(super) async fn call_with_settler(
        &self,
        payee: Account,
        call: (Account, Bytes),
    ) -> Result<(Account, Bytes), ChainError> {
        match self.is_there(settler_address(payee)).await? {
            true => Ok(call),
            false => Ok(self.deploying(payee, call)?),
        }
    }

    fn deploying(
        &self,
        payee: Account,
        call: (Account, Bytes),
    ) -> Result<(Account, Bytes), Refusal> {
        let is_ours = self.settler_payees.contains(&payee);
        if !is_ours || !self.start.multicall.load(Ordering::Acquire) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_EIP2612_NOT_SUPPORTED,
                &format!("put the settler {} there first", settler_address(payee)),
            ));
        }
        Ok(in_order(
            self.contracts.multicall3,
            (CREATE2_DEPLOYER, settler_deployment(payee)),
            call,
        ))
    }

    /// Whether settling a payment deploys something first. It does not share a
    /// transaction: deploying what is there by then takes nearly all of its gas.
    pub(super) fn deploys(&self, intent: &Intent) -> bool {
        matches!(Way::of(&intent.terms), Ok(Way::Eip2612))
            && super::account(&intent.terms.pay_to)
                .is_some_and(|payee| !self.there.knows(settler_address(payee)))
    }
}
