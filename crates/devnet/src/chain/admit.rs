//! Who may wait in the pool.

use alloy_consensus::Transaction as _;
use revm::context::Cfg;

use super::Chain;
use crate::error::RpcError;
use crate::evm::{self, tx_env};
use crate::pool::SignedTx;

impl Chain {
    /// What geth's pool checks, in its order and its words.
    pub(super) fn validate(&self, tx: &SignedTx) -> Result<(), RpcError> {
        if self.pool.get(tx.hash).is_some() {
            return Err(RpcError::server("already known"));
        }
        self.validate_form(tx)?;
        let next = self.world.nonce(tx.sender);
        let nonce = tx.envelope.nonce();
        if nonce < next {
            return Err(RpcError::server(format!(
                "nonce too low: next nonce {next}, tx nonce {nonce}"
            )));
        }
        let account = self.world.account(tx.sender);
        let code = account.and_then(|info| info.code.as_ref());
        if code.is_some_and(|code| !code.is_empty() && !code.is_eip7702()) {
            return Err(RpcError::server("sender not an eoa"));
        }
        self.validate_funds(tx)
    }

    fn validate_form(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let envelope = &tx.envelope;
        let have = envelope.chain_id().unwrap_or(self.settings.chain_id);
        if have != self.settings.chain_id {
            return Err(RpcError::server(format!(
                "invalid chain id for signer: have {have} want {}",
                self.settings.chain_id
            )));
        }
        if envelope.nonce() == u64::MAX {
            return Err(RpcError::server("nonce has max value"));
        }
        if envelope.gas_limit() > self.settings.gas_limit {
            return Err(RpcError::server("exceeds block gas limit"));
        }
        if envelope.gas_limit() > evm::TX_GAS_CAP {
            return Err(RpcError::server(format!(
                "transaction gas limit too high (cap: {}, tx: {})",
                evm::TX_GAS_CAP,
                envelope.gas_limit()
            )));
        }
        if envelope.is_create() && envelope.input().len() > self.rules.max_initcode_size() {
            return Err(RpcError::server("max initcode size exceeded"));
        }
        if envelope
            .max_priority_fee_per_gas()
            .is_some_and(|tip| tip > envelope.max_fee_per_gas())
        {
            return Err(RpcError::server(
                "max priority fee per gas higher than max fee per gas",
            ));
        }
        if envelope.authorization_list().is_some_and(<[_]>::is_empty) {
            return Err(RpcError::server(
                "set code tx must have at least one authorization tuple",
            ));
        }
        self.validate_gas(tx)
    }

    fn validate_gas(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let limit = tx.envelope.gas_limit();
        let (intrinsic, floor) = evm::intrinsic_gas(&self.rules, &tx_env(&tx.envelope, tx.sender));
        if limit < intrinsic {
            return Err(RpcError::server(format!(
                "intrinsic gas too low: gas {limit}, minimum needed {intrinsic}"
            )));
        }
        if limit < floor {
            return Err(RpcError::server(format!(
                "insufficient gas for floor data gas cost: gas {limit}, minimum needed {floor}"
            )));
        }
        Ok(())
    }

    fn validate_funds(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let balance = self.world.balance(tx.sender);
        let cost = tx.cost();
        let message = "insufficient funds for gas * price + value";
        if cost > balance {
            return Err(RpcError::server(format!(
                "{message}: balance {balance}, tx cost {cost}, overshot {}",
                cost - balance
            )));
        }
        let queued = self.pool.cost_beside(tx);
        let total = queued.saturating_add(cost);
        if total > balance {
            return Err(RpcError::server(format!(
                "{message}: balance {balance}, queued cost {queued}, tx cost {cost}, overshot {}",
                total - balance
            )));
        }
        Ok(())
    }
}
