//! The order in which a facilitator asks a chain, without durability.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tollway_core::{
    Amount, Broadcast, Chain, ChainError, Charge, Finality, Intent, Outcome, Phase, Plan,
    PlannedPayment, Refusal, Settled, Settlement, Slot, Terms, Verified, Watch, Watched,
};

use crate::pretend::payload;

#[derive(Debug, PartialEq)]
pub enum End {
    Settled(Settled),
    NotSettled,
    Unknown,
    Accumulated { channel: String, cumulative: Amount },
    Nothing,
}

pub struct Engine<'a> {
    chain: &'a dyn Chain,
    vouchers: Mutex<HashMap<String, Amount>>,
}

fn refusal(error: ChainError) -> Refusal {
    match error {
        ChainError::Refused(refusal) => refusal,
        ChainError::Unavailable { detail, .. } => panic!("{detail}"),
    }
}

impl<'a> Engine<'a> {
    pub fn new(chain: &'a dyn Chain) -> Self {
        Self {
            chain,
            vouchers: Mutex::default(),
        }
    }

    pub fn last_voucher(&self, channel: &str) -> Option<Amount> {
        self.vouchers.lock().unwrap().get(channel).copied()
    }

    /// Verifies against the ceiling, then settles what the handler charged.
    pub async fn pay(
        &self,
        scheme: &Value,
        terms: &Arc<Terms>,
        charge: u128,
    ) -> Result<End, Refusal> {
        let charge = Amount::from_atomic(charge);
        let verified = self.verify(scheme, terms, charge).await?;
        let Intent {
            settlement,
            expected,
            ..
        } = verified.intent.clone();
        match settlement {
            Settlement::Submit => {
                let plans = self
                    .chain
                    .plan(&[planned(verified, charge)])
                    .await
                    .map_err(refusal)?;
                Ok(end(self.send(&plans[0]).await.remove(0)))
            }
            Settlement::Observe { transaction } => self
                .chain
                .observe(
                    &transaction,
                    &verified.intent.identity,
                    &expected,
                    Finality::Included,
                )
                .await
                .map(end)
                .map_err(refusal),
            Settlement::Accumulate {
                channel,
                cumulative,
            } => {
                let mut vouchers = self.vouchers.lock().unwrap();
                vouchers.insert(channel.clone(), cumulative);
                Ok(End::Accumulated {
                    channel,
                    cumulative,
                })
            }
            Settlement::Nothing => Ok(End::Nothing),
        }
    }

    /// Several payments in one transaction.
    pub async fn pay_together(
        &self,
        payments: &[(Value, u128)],
        terms: &Arc<Terms>,
    ) -> Result<Vec<Settled>, Refusal> {
        let mut batch = Vec::new();
        for (scheme, charge) in payments {
            let charge = Amount::from_atomic(*charge);
            batch.push(planned(self.verify(scheme, terms, charge).await?, charge));
        }
        let plans = self.chain.plan(&batch).await.map_err(refusal)?;
        let mut settled = Vec::new();
        for plan in plans {
            for outcome in self.send(&plan).await {
                let End::Settled(one) = end(outcome) else {
                    panic!("not settled")
                };
                settled.push(one);
            }
        }
        Ok(settled)
    }

    /// The identity must not depend on what is charged in the end.
    async fn verify(
        &self,
        scheme: &Value,
        terms: &Arc<Terms>,
        charge: Amount,
    ) -> Result<Verified, Refusal> {
        let before = self.chain.inspect(&payload(scheme, terms), terms)?;
        let identity = before.identity.clone();
        let held = self.chain.verify(before, Phase::Verify, Amount::ZERO);
        assert_eq!(held.await.map_err(refusal)?.intent.identity, identity);

        let charged = Arc::new(terms.charging(charge));
        let after = self.chain.inspect(&payload(scheme, terms), &charged)?;
        assert_eq!(after.identity, identity);
        assert_eq!(after.expected.amount, charge);
        self.chain
            .verify(after, Phase::Settle, Amount::ZERO)
            .await
            .map_err(refusal)
    }

    /// Signs, and only then sends; sending again changes nothing.
    pub async fn send(&self, plan: &Plan) -> Vec<Outcome> {
        let signer = plan.signers[0].clone();
        let nonce = self.chain.confirmed_nonce(&signer).await.unwrap();
        let slot = Slot {
            signer: signer.clone(),
            nonce,
            replaces: None,
        };
        let raw = self.chain.seal(plan, &slot).await.unwrap();
        for _ in 0..2 {
            let sent = self.chain.broadcast(&raw).await.unwrap();
            assert_eq!(sent, Broadcast::Accepted);
        }
        let watch = Watch {
            signer,
            nonce,
            hashes: vec![raw.hash],
            expected: plan
                .payments
                .iter()
                .map(|p| {
                    let intent = &p.verified.intent;
                    Watched {
                        identity: intent.identity.clone(),
                        expected: intent.expected.clone(),
                        finality: Finality::Included,
                    }
                })
                .collect(),
        };
        let sight = self.chain.look(None, &[watch]).await.unwrap();
        sight.outcomes.into_iter().next().flatten().unwrap()
    }
}

fn planned(verified: Verified, amount: Amount) -> PlannedPayment {
    PlannedPayment {
        verified,
        charge: Charge { amount },
        alone: false,
    }
}

fn end(outcome: Outcome) -> End {
    match outcome {
        Outcome::Settled(settled) => End::Settled(settled),
        Outcome::NotSettled(_) => End::NotSettled,
        Outcome::Unknown | Outcome::Included { .. } => End::Unknown,
    }
}
