//! What the chain says about a settlement that somebody reported, or denied.

use std::time::Duration;

use tollway_core::wire::SettleResponse;
use tollway_core::{Amount, ChainError, Finality, Lookup, Outcome, Proof, Refusal, TxHash, codes};
use tollway_ledger::Evidence;

use super::settle::{Settled, Settling, failed_receipt, pending, unchecked_evidence};

impl Settling {
    /// Looks at the transfer ourselves where a node is there to be asked and
    /// the facilitator is a remote one.
    pub(super) async fn check(&mut self, receipt: SettleResponse) -> Option<Settled> {
        let facilitator = match &self.gate.facilitator_origin {
            Some(origin) if self.order.chain.checks && !receipt.transaction.is_empty() => {
                origin.clone()
            }
            _ => {
                let evidence = unchecked_evidence(&self.gate, &receipt);
                return Some(Settled::Yes { evidence, receipt });
            }
        };
        match self.observed(&TxHash::new(&receipt.transaction)).await {
            Outcome::Settled(settled) => {
                let receipt = SettleResponse {
                    transaction: settled.transaction.to_string(),
                    ..receipt
                };
                let evidence = Evidence::Checked {
                    facilitator,
                    transaction: settled.transaction,
                    log_index: settled.log_index,
                };
                Some(Settled::Yes { evidence, receipt })
            }
            Outcome::NotSettled(proof) => {
                tracing::error!(grant = %self.grant, ?proof, "the facilitator reports a success that the chain denies");
                let refusal = Refusal::new(
                    codes::TRANSFER_NOT_FOUND,
                    "The payment was used or cancelled elsewhere, and did not pay here; tell the seller.",
                );
                Some(Settled::No {
                    refusal,
                    receipt: failed_receipt(receipt),
                    reclaimable: false,
                })
            }
            Outcome::Unknown | Outcome::Included { .. } => {
                self.uncertain = true;
                self.wait_with(pending(receipt)).await
            }
        }
    }

    /// What our own node says; it may be a little behind the facilitator's.
    async fn observed(&self, transaction: &TxHash) -> Outcome {
        let until = tokio::time::Instant::now() + self.gate.limits.check_wait;
        let mut pause = Duration::from_millis(100);
        loop {
            match self.look(transaction).await {
                Ok(outcome) if !outcome.is_decided() => {}
                Ok(decided) => return decided,
                Err(error) => tracing::warn!(%error, "a settlement cannot be checked"),
            }
            if tokio::time::Instant::now() >= until {
                return Outcome::Unknown;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Looks into the transaction that was named, and where it does not pay,
    /// for whichever transaction used the authorization: while it is unused it
    /// may still land under another hash.
    async fn look(&self, transaction: &TxHash) -> Result<Outcome, ChainError> {
        let chain = &self.order.chain.chain;
        let finality = self.finality();
        let intent = &self.order.intent;
        let (identity, expected) = (&intent.identity, &intent.expected);
        let named = chain
            .observe(transaction, identity, expected, finality)
            .await?;
        if let Outcome::Settled(_) = named {
            return Ok(named);
        }
        Ok(match chain.lookup(identity, expected, finality).await? {
            Lookup::Settled(settled) => Outcome::Settled(settled),
            Lookup::Spent => Outcome::NotSettled(Proof::NoTransfer {
                transaction: transaction.clone(),
                fee: Amount::ZERO,
            }),
            Lookup::Unused { .. } | Lookup::Unknown => Outcome::Unknown,
        })
    }

    fn finality(&self) -> Finality {
        self.gate.finality_of(&self.order.route)
    }

    /// Asks the chain who used the authorization.
    pub(super) async fn look_up(&mut self, response: SettleResponse) -> Option<Settled> {
        self.uncertain = true;
        let intent = &self.order.intent;
        let chain = &self.order.chain.chain;
        let looked = chain
            .lookup(&intent.identity, &intent.expected, self.finality())
            .await;
        match looked {
            Ok(Lookup::Settled(settled)) => {
                let receipt = SettleResponse {
                    success: true,
                    transaction: settled.transaction.to_string(),
                    network: self.order.terms.network.to_string(),
                    ..response
                };
                let seen = settled.log_index;
                self.succeeded(receipt).await.map(|it| it.seen_at(seen))
            }
            Ok(Lookup::Spent) => {
                let code = response
                    .error_reason
                    .clone()
                    .unwrap_or_else(|| codes::INVALID_TRANSACTION_STATE.to_owned());
                Some(Settled::No {
                    refusal: Refusal::foreign(
                        code,
                        "The payment was used or cancelled elsewhere; ask without payment for new terms.",
                    ),
                    receipt: failed_receipt(response),
                    reclaimable: false,
                })
            }
            Ok(Lookup::Unused { .. } | Lookup::Unknown) | Err(_) => {
                match response.transaction.is_empty() {
                    true => None,
                    false => self.wait_with(pending(response)).await,
                }
            }
        }
    }
}
