//! What the settling accounts have.

use alloy_primitives::U256;
use tollway_core::{Amount, ChainError, SignerState};
use tollway_rpc::Batch;
use tollway_rpc::ask::unavailable;

use super::EvmChain;
use crate::node::LATEST;

impl EvmChain {
    /// What the settling accounts have, and whether that is little.
    pub(super) async fn read_signers(&self) -> Result<Vec<SignerState>, ChainError> {
        let mut batch = Batch::new();
        for signer in &self.signers {
            batch.push("eth_getBalance", &(signer.address(), LATEST));
        }
        let fees = self.current_fees().await?;
        let answers = self.rpc.batch::<U256>(batch).await;
        let answers = answers.map_err(unavailable("eth_getBalance"))?;
        let least = U256::from(self.limits.low_transactions)
            .saturating_mul(U256::from(self.dearest_gas()))
            .saturating_mul(U256::from(fees.max_fee));
        let both = self.accounts.iter().zip(answers);
        both.map(|(signer, answer)| {
            let balance = answer.map_err(unavailable("eth_getBalance"))?;
            Ok(SignerState {
                signer: signer.clone(),
                balance: Amount::from(balance),
                low: balance < least,
            })
        })
        .collect()
    }
}
