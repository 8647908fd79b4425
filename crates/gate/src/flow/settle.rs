//! Settling, until the outcome is known.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tollway_core::wire::SettleResponse;
use tollway_core::{
    ChainError, FacilitatorError, Finality, GrantId, Lookup, Outcome, Proof, Refusal,
    SettleRequest, TxHash, codes,
};
use tollway_ledger::Evidence;

use crate::event::Event;
use crate::gate::Inner;
use crate::limits::MAX_SETTLE_BACKOFF;
use crate::purchase::Purchase;

/// How settling ended.
#[derive(Clone, Debug)]
pub(super) enum Settled {
    /// The money moved.
    Yes {
        evidence: Evidence,
        receipt: SettleResponse,
    },
    /// It did not, and will not by this payment. `reclaimable` if it is certain
    /// that nothing was sent.
    No {
        refusal: Refusal,
        receipt: SettleResponse,
        reclaimable: bool,
    },
    /// The facilitator could not be asked, and nothing was sent.
    Unavailable,
    /// Nobody knows, and nobody can be asked any more by this task.
    Unknown { receipt: SettleResponse },
}

/// A settlement under way.
pub(super) struct Settling {
    gate: Arc<Inner>,
    purchase: Arc<Purchase>,
    grant: GrantId,
    /// Whether a call may have been accepted without our hearing of it.
    uncertain: bool,
    /// What is known so far; a caller that waits too long answers with it.
    latest: watch::Sender<SettleResponse>,
}

/// What a success rests on that was not checked on chain by ourselves.
pub(super) fn unchecked_evidence(gate: &Inner, receipt: &SettleResponse) -> Evidence {
    let transaction = TxHash::new(&receipt.transaction);
    match gate.facilitator_origin.clone() {
        Some(facilitator) => Evidence::FacilitatorSaid {
            facilitator,
            transaction,
        },
        None if receipt.transaction.is_empty() => Evidence::Nothing,
        None => Evidence::Receipt { transaction },
    }
}

/// A receipt that says nothing yet.
pub(super) fn unknown_receipt(purchase: &Purchase) -> SettleResponse {
    SettleResponse {
        success: false,
        error_reason: Some(codes::SETTLEMENT_PENDING.to_owned()),
        payer: Some(purchase.intent.identity.payer.to_string()),
        network: purchase.terms.network.to_string(),
        ..SettleResponse::default()
    }
}

impl Settling {
    pub(super) fn new(
        gate: Arc<Inner>,
        purchase: Arc<Purchase>,
        grant: GrantId,
        uncertain: bool,
    ) -> (Self, watch::Receiver<SettleResponse>) {
        let (latest, seen) = watch::channel(unknown_receipt(&purchase));
        (
            Self {
                gate,
                purchase,
                grant,
                uncertain,
                latest,
            },
            seen,
        )
    }

    /// Asks the facilitator, again and again with the same authorization and
    /// the same key, until the outcome is known or the authorization is long
    /// past its deadline.
    pub(super) async fn run(mut self) -> Settled {
        let request = SettleRequest {
            payload: self.purchase.payload.clone(),
            requirements: self.purchase.terms.wire.clone(),
            idempotency_key: Some(self.grant.to_string()),
        };
        let give_up = self
            .purchase
            .intent
            .deadline
            .plus(self.gate.limits.settle_grace);
        let started = std::time::Instant::now();
        let mut pause = self.gate.limits.settle_backoff;
        loop {
            let said = self.gate.facilitator.settle(&request).await;
            if let Some(settled) = self.judge(said).await {
                metrics::histogram!("tollway_gate_settle_seconds")
                    .record(started.elapsed().as_secs_f64());
                return settled;
            }
            if self.gate.now() > give_up {
                return Settled::Unknown {
                    receipt: self.latest.borrow().clone(),
                };
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_SETTLE_BACKOFF);
        }
    }

    /// `None` while the outcome is unknown.
    async fn judge(&mut self, said: Result<SettleResponse, FacilitatorError>) -> Option<Settled> {
        let response = match said {
            Ok(response) => response,
            Err(FacilitatorError::Unavailable(detail)) => {
                tracing::warn!(detail, grant = %self.grant, "the facilitator cannot be asked to settle");
                return (!self.uncertain).then_some(Settled::Unavailable);
            }
            Err(error) => {
                tracing::warn!(%error, grant = %self.grant, "the outcome of settling is unknown");
                self.uncertain = true;
                return None;
            }
        };
        if response.success {
            return self.succeeded(response).await;
        }
        match response.error_reason.as_deref() {
            Some(codes::SETTLEMENT_PENDING) => {
                self.uncertain = true;
                self.remember(response).await;
                None
            }
            Some(codes::DUPLICATE_SETTLEMENT) if self.uncertain => self.duplicate(response).await,
            _ => self.failed(response).await,
        }
    }

    /// Success counts only if it is about this payment.
    async fn succeeded(&mut self, mut response: SettleResponse) -> Option<Settled> {
        let terms = &self.purchase.terms;
        let named = !response.transaction.is_empty() || terms.amount.is_zero();
        if !named || response.network != terms.network.as_str() {
            tracing::error!(grant = %self.grant, network = response.network, "the facilitator reports success without a transaction or on another network; it is not believed");
            self.uncertain = true;
            return None;
        }
        response.error_reason = None;
        response.error_message = None;
        // What the facilitator's extensions say is for the seller.
        response.extensions = None;
        response
            .payer
            .get_or_insert_with(|| self.purchase.intent.identity.payer.to_string());
        self.check(response).await
    }

    /// Looks at the transfer ourselves where a node is there to be asked and
    /// the facilitator is a remote one.
    async fn check(&mut self, receipt: SettleResponse) -> Option<Settled> {
        let facilitator = match &self.gate.facilitator_origin {
            Some(origin) if self.purchase.chain.checks && !receipt.transaction.is_empty() => {
                origin.clone()
            }
            _ => {
                let evidence = unchecked_evidence(&self.gate, &receipt);
                return Some(Settled::Yes { evidence, receipt });
            }
        };
        let transaction = TxHash::new(&receipt.transaction);
        match self.observed(&transaction).await {
            Outcome::Settled(settled) => {
                let receipt = SettleResponse {
                    transaction: settled.transaction.to_string(),
                    ..receipt
                };
                let evidence = Evidence::Checked {
                    facilitator,
                    transaction: settled.transaction,
                };
                Some(Settled::Yes { evidence, receipt })
            }
            Outcome::NotSettled(proof) => {
                tracing::error!(grant = %self.grant, %transaction, ?proof, "the facilitator reports a success that the chain denies");
                let refusal = Refusal::new(
                    codes::TRANSFER_NOT_FOUND,
                    "The transaction that the facilitator named does not pay; tell the seller.",
                );
                Some(Settled::No {
                    refusal,
                    receipt: failed_receipt(receipt),
                    reclaimable: false,
                })
            }
            Outcome::Unknown => {
                self.uncertain = true;
                self.remember(pending(receipt)).await;
                None
            }
        }
    }

    /// What our own node says; it may be a little behind the facilitator's.
    async fn observed(&self, transaction: &TxHash) -> Outcome {
        let until = tokio::time::Instant::now() + self.gate.limits.check_wait;
        let mut pause = Duration::from_millis(100);
        loop {
            match self.look(transaction).await {
                Ok(Outcome::Unknown) => {}
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

    /// Looks into the transaction that was named, and where that decides
    /// nothing, for whichever transaction used the authorization.
    async fn look(&self, transaction: &TxHash) -> Result<Outcome, ChainError> {
        let chain = &self.purchase.chain.chain;
        let (identity, expected) = (
            &self.purchase.intent.identity,
            &self.purchase.intent.expected,
        );
        match chain
            .observe(transaction, identity, expected, Finality::Included)
            .await?
        {
            Outcome::Unknown => {}
            decided => return Ok(decided),
        }
        Ok(
            match chain.lookup(identity, expected, Finality::Included).await? {
                Lookup::Settled(settled) => Outcome::Settled(settled),
                Lookup::Spent => Outcome::NotSettled(Proof::NoTransfer {
                    transaction: transaction.clone(),
                }),
                Lookup::Unused | Lookup::Unknown => Outcome::Unknown,
            },
        )
    }

    /// After an answer was lost, "settled before" may mean: by that very call.
    async fn duplicate(&mut self, response: SettleResponse) -> Option<Settled> {
        let known = self.latest.borrow().transaction.clone();
        let ours = !known.is_empty() && known.eq_ignore_ascii_case(&response.transaction);
        if ours {
            let receipt = SettleResponse {
                success: true,
                ..response
            };
            return self.succeeded(receipt).await;
        }
        self.look_up(response).await
    }

    async fn failed(&mut self, response: SettleResponse) -> Option<Settled> {
        if self.uncertain && self.chain_must_say(&response) {
            return self.look_up(response).await;
        }
        let code = response
            .error_reason
            .clone()
            .unwrap_or_else(|| codes::UNEXPECTED_SETTLE_ERROR.to_owned());
        let vague = code.starts_with("unexpected_") || code == codes::DUPLICATE_SETTLEMENT;
        let reclaimable = response.transaction.is_empty() && !vague && !self.uncertain;
        let message = response
            .error_message
            .clone()
            .or_else(|| codes::sentence(&code).map(str::to_owned))
            .unwrap_or_else(|| {
                "The payment could not be settled; nothing was delivered.".to_owned()
            });
        Some(Settled::No {
            refusal: Refusal::foreign(code, message),
            receipt: failed_receipt(response),
            reclaimable,
        })
    }

    /// After a lost answer, these may have been caused by that very call: its
    /// transfer used the nonce and lowered the balance.
    fn chain_must_say(&self, response: &SettleResponse) -> bool {
        let reason = response.error_reason.as_deref().unwrap_or("unexpected");
        [
            "nonce",
            "balance",
            "funds",
            "simulation",
            "unexpected",
            "duplicate",
        ]
        .iter()
        .any(|word| reason.contains(word))
    }

    /// Asks the chain who used the authorization.
    async fn look_up(&mut self, response: SettleResponse) -> Option<Settled> {
        let intent = &self.purchase.intent;
        let chain = &self.purchase.chain.chain;
        let looked = chain
            .lookup(&intent.identity, &intent.expected, Finality::Included)
            .await;
        match looked {
            Ok(Lookup::Settled(settled)) => {
                let receipt = SettleResponse {
                    success: true,
                    transaction: settled.transaction.to_string(),
                    network: self.purchase.terms.network.to_string(),
                    ..response
                };
                self.succeeded(receipt).await
            }
            Ok(Lookup::Spent) => {
                let code = response.error_reason.clone().unwrap_or_default();
                Some(Settled::No {
                    refusal: Refusal::foreign(
                        code,
                        "The payment was used or cancelled elsewhere; ask without payment for new terms.",
                    ),
                    receipt: failed_receipt(response),
                    reclaimable: false,
                })
            }
            Ok(Lookup::Unused | Lookup::Unknown) | Err(_) => {
                if !response.transaction.is_empty() {
                    self.remember(pending(response)).await;
                }
                None
            }
        }
    }

    /// Keeps a hash that became known, durably.
    async fn remember(&self, receipt: SettleResponse) {
        self.gate.emit(&Event::Pending {
            grant: self.grant.clone(),
            transaction: Some(receipt.transaction.clone()).filter(|t| !t.is_empty()),
        });
        let value = serde_json::to_value(&receipt).unwrap_or_default();
        let kept = self
            .gate
            .grants
            .remember_receipt(&self.grant, &value, self.gate.now())
            .await;
        let _ = self.gate.noted(kept);
        self.latest.send_replace(receipt);
    }
}

/// The receipt of a settlement that is not known to have ended.
fn pending(receipt: SettleResponse) -> SettleResponse {
    SettleResponse {
        success: false,
        error_reason: Some(codes::SETTLEMENT_PENDING.to_owned()),
        error_message: None,
        extensions: None,
        ..receipt
    }
}

fn failed_receipt(receipt: SettleResponse) -> SettleResponse {
    SettleResponse {
        success: false,
        extensions: None,
        ..receipt
    }
}
