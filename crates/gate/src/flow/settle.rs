//! Settling, until the outcome is known.

use std::sync::Arc;

use tokio::sync::watch;
use tollway_core::wire::{PaymentPayload, SettleResponse};
use tollway_core::{
    Amount, FacilitatorError, GrantId, Intent, Refusal, SettleRequest, Settlement, Terms, TxHash,
    codes,
};
use tollway_ledger::{Evidence, GrantRecord};
use tracing::Instrument as _;

use crate::event::Event;
use crate::gate::{ChainUse, Inner};
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

/// A payment that is to be settled.
#[derive(Clone)]
pub(crate) struct Order {
    pub payload: Arc<PaymentPayload>,
    pub terms: Arc<Terms>,
    pub intent: Intent,
    pub chain: ChainUse,
    /// The route's pattern.
    pub route: String,
    /// Whether it was verified before its grant was claimed.
    pub is_verified: bool,
}

impl Order {
    /// Of a purchase that was claimed in its flow.
    pub(super) fn of(purchase: &Purchase) -> Arc<Self> {
        Arc::new(Self {
            payload: Arc::clone(&purchase.payload),
            terms: Arc::clone(&purchase.terms),
            intent: purchase.intent.clone(),
            chain: purchase.chain.clone(),
            route: purchase.sale.pattern.clone(),
            is_verified: purchase.is_verified_first(),
        })
    }

    /// Of a purchase that was verified before, whatever its flow.
    pub(super) fn verified(purchase: &Purchase) -> Arc<Self> {
        let mut order = Self::of(purchase);
        Arc::make_mut(&mut order).is_verified = true;
        order
    }

    /// The same with what is charged of the maximum.
    pub(super) fn charging(&self, amount: Amount) -> Self {
        let mut charged = self.clone();
        charged.terms = Arc::new(self.terms.charging(amount));
        charged.intent.expected.amount = amount;
        charged
    }

    /// A receipt that says nothing yet.
    pub(super) fn unknown_receipt(&self) -> SettleResponse {
        // One that the buyer made is known before anybody looked for it.
        let transaction = match &self.intent.settlement {
            Settlement::Observe { transaction } => transaction.to_string(),
            _ => String::new(),
        };
        SettleResponse {
            success: false,
            transaction,
            error_reason: Some(codes::SETTLEMENT_PENDING.to_owned()),
            payer: Some(self.intent.identity.payer.to_string()),
            network: self.terms.network.to_string(),
            ..SettleResponse::default()
        }
    }
}

/// A settlement under way.
pub(super) struct Settling {
    pub(super) gate: Arc<Inner>,
    pub(super) order: Arc<Order>,
    pub(super) grant: GrantId,
    /// Whether a call may have been accepted without our hearing of it.
    pub(super) uncertain: bool,
    /// Whether the answer of a call was lost.
    lost: bool,
    /// What is known so far; a caller that waits too long answers with it.
    latest: watch::Sender<SettleResponse>,
}

impl Settled {
    /// The same, where the place of its Transfer was seen and is not in it.
    pub(super) fn seen_at(mut self, place: Option<u64>) -> Self {
        if let Self::Yes {
            evidence: Evidence::Receipt { log_index, .. },
            ..
        } = &mut self
        {
            *log_index = log_index.or(place);
        }
        self
    }
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
        None => Evidence::Receipt {
            transaction,
            log_index: None,
        },
    }
}

/// What a recorded success rests on: as it was recorded, if it was.
pub(super) fn recorded_evidence(
    gate: &Inner,
    record: &GrantRecord,
    receipt: &SettleResponse,
) -> Evidence {
    let recorded = record.evidence.clone();
    recorded.unwrap_or_else(|| unchecked_evidence(gate, receipt))
}

/// Why a success opens nothing whose Transfer was counted for another authorization:
/// the buyer is told of which transaction, and is offered no terms to pay anew by.
pub(super) fn of_anothers(grant: &GrantId, receipt: &SettleResponse) -> (Refusal, SettleResponse) {
    tracing::error!(%grant, transaction = receipt.transaction, "the transfer that a success rests on is another payment's");
    let refusal = Refusal::new(
        codes::DUPLICATE_SETTLEMENT,
        "The transfer that this payment rests on was counted for another payment; look at the named transaction, and show it to the seller.",
    );
    let receipt = SettleResponse {
        error_reason: Some(refusal.code().to_owned()),
        ..failed_receipt(receipt.clone())
    };
    (refusal, receipt)
}

impl Settled {
    /// See [`of_anothers`].
    pub(super) fn anothers(grant: &GrantId, receipt: &SettleResponse) -> Self {
        let (refusal, receipt) = of_anothers(grant, receipt);
        Self::No {
            refusal,
            receipt,
            reclaimable: false,
        }
    }
}

impl Settling {
    pub(super) fn new(
        gate: Arc<Inner>,
        order: Arc<Order>,
        grant: GrantId,
        uncertain: bool,
    ) -> (Self, watch::Receiver<SettleResponse>) {
        let (latest, seen) = watch::channel(order.unknown_receipt());
        (
            Self {
                gate,
                order,
                grant,
                uncertain,
                lost: uncertain,
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
            payload: self.order.payload.clone(),
            requirements: self.order.terms.wire.clone(),
            idempotency_key: Some(self.grant.to_string()),
        };
        let give_up = self
            .order
            .intent
            .deadline
            .plus(self.gate.limits.settle_grace);
        let started = std::time::Instant::now();
        let mut pause = self.gate.limits.settle_backoff;
        loop {
            let (route, network) = (&self.order.route, self.order.terms.network.as_str());
            let span = tracing::info_span!("settle", otel.kind = "client", route, network);
            let said = self
                .gate
                .facilitator
                .settle(&request)
                .instrument(span)
                .await;
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
                let is_first = !self.lost;
                self.uncertain = true;
                self.lost = true;
                return match is_first {
                    true => self.wait_with(self.order.unknown_receipt()).await,
                    false => None,
                };
            }
        };
        if response.success {
            return self.succeeded(response).await;
        }
        match response.error_reason.as_deref() {
            Some(codes::SETTLEMENT_PENDING) => {
                self.uncertain = true;
                self.wait_with(response).await
            }
            _ => self.failed(response).await,
        }
    }

    /// Success counts only if it is about this payment.
    pub(super) async fn succeeded(&mut self, mut response: SettleResponse) -> Option<Settled> {
        let terms = &self.order.terms;
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
        // Whose payment it is was verified; receipts are signed for that one.
        response.payer = Some(self.order.intent.identity.payer.to_string());
        self.check(response).await
    }

    /// A failure counts at once only where nothing can have been sent.
    async fn failed(&mut self, response: SettleResponse) -> Option<Settled> {
        if self.chain_must_say(&response) {
            return self.look_up(response).await;
        }
        let code = response
            .error_reason
            .clone()
            .unwrap_or_else(|| codes::UNEXPECTED_SETTLE_ERROR.to_owned());
        let vague = code.starts_with("unexpected_") || code == codes::DUPLICATE_SETTLEMENT;
        // Nobody sends a transaction that is shown, and what was accepted is not early.
        let is_early = codes::is_early_proof(&code);
        let is_unsent = response.transaction.is_empty() && !vague && !self.uncertain;
        let reclaimable = is_early || is_unsent;
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

    /// Whether a failure may hide that the money moved. A nonce that was used
    /// after we verified it, by whomever; anything that a lost call of ours may
    /// have caused; and of a remote facilitator, whose word is no proof, every
    /// failure that names a transaction or says nothing.
    fn chain_must_say(&self, response: &SettleResponse) -> bool {
        let reason = response.error_reason.as_deref().unwrap_or("unexpected");
        let remote = self.gate.facilitator_origin.is_some();
        if reason == codes::DUPLICATE_SETTLEMENT {
            // Success was given to another key; only a facilitator that keeps
            // no keys may mean the call whose answer was lost.
            return self.lost && remote;
        }
        let verified = self.order.is_verified;
        let consumed = reason.contains("nonce");
        let caused = ["balance", "funds", "simulation"]
            .iter()
            .any(|word| reason.contains(word));
        let vague = reason.starts_with("unexpected");
        let named = remote && (vague || !response.transaction.is_empty());
        // The one engine that settles from our own ledger refuses only what that
        // does not hold: no call of ours, however it was lost, was taken.
        let engine = self.gate.settlements.as_ref();
        let is_sure = engine.is_some_and(|engine| engine.alone);
        let lost_call = !is_sure && self.uncertain && (caused || vague);
        (consumed && (verified || self.uncertain)) || lost_call || named
    }

    /// Goes on waiting (`None`) with what is known now, unless the ledger does
    /// not take it: what cannot be written cannot end either, so nobody waits.
    pub(super) async fn wait_with(&self, receipt: SettleResponse) -> Option<Settled> {
        let is_kept = self.remember(receipt.clone()).await;
        (!is_kept).then_some(Settled::Unknown { receipt })
    }

    /// Keeps what became known, durably; false if the ledger cannot.
    async fn remember(&self, receipt: SettleResponse) -> bool {
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
        let kept = self.gate.noted(kept);
        self.latest.send_replace(receipt);
        !matches!(kept, Err(error) if error.is_storage())
    }
}

/// The receipt of a settlement that is not known to have ended.
pub(super) fn pending(receipt: SettleResponse) -> SettleResponse {
    SettleResponse {
        success: false,
        error_reason: Some(codes::SETTLEMENT_PENDING.to_owned()),
        error_message: None,
        extensions: None,
        ..receipt
    }
}

pub(super) fn failed_receipt(receipt: SettleResponse) -> SettleResponse {
    SettleResponse {
        success: false,
        extensions: None,
        ..receipt
    }
}
