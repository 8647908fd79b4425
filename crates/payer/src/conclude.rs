//! What follows from a verdict: the record, the counters, and what the caller gets.

use bytes::Bytes;
use tollway_core::{Amount, Lookup, Refusal, TxHash};

use crate::body::PayBody;
use crate::engine::Engine;
use crate::error::{Answer, ErrorKind, PayError};
use crate::event::Event;
use crate::offer::network_name;
use crate::payment::{Payment, Standing};
use crate::present::{Heard, Shown};
use crate::verdict::{Reason, Verdict};

impl Engine {
    /// Records what the last answer decided.
    pub(crate) async fn conclude(
        &self,
        shown: &Shown<'_>,
        heard: Heard,
    ) -> Result<(http::Response<PayBody>, Payment), PayError> {
        let Heard {
            verdict,
            goods,
            answer,
            ..
        } = heard;
        let goods = goods.unwrap_or_else(|| http::Response::new(PayBody::from_bytes(Bytes::new())));
        match verdict {
            Verdict::Delivered {
                amount,
                transaction,
            } => {
                let payment = self.delivered(shown, amount, transaction).await;
                Ok((goods, payment))
            }
            Verdict::Unproven(why) => {
                let payment = self.unproven(shown, why).await;
                Ok((goods, payment))
            }
            Verdict::NotDelivered {
                amount,
                transaction,
                reason,
            } => {
                let amount = amount.unwrap_or(shown.terms.amount);
                Err(self
                    .not_delivered(shown, amount, transaction, &reason)
                    .await
                    .with_answer(answer))
            }
            Verdict::Refused(reason) => Err(self.refused(shown, &reason).await.with_answer(answer)),
            Verdict::Unclear {
                reason,
                transaction,
            } => Err(self.unknown(shown, &reason, transaction, answer).await),
        }
    }

    async fn delivered(
        &self,
        shown: &Shown<'_>,
        amount: Amount,
        transaction: Option<TxHash>,
    ) -> Payment {
        if !self.confirm {
            return self
                .settled(shown, amount, transaction, Standing::Settled)
                .await;
        }
        match self.lookup(shown.signed).await {
            Lookup::Settled(seen) => {
                let tx = Some(seen.transaction);
                self.settled(shown, seen.amount, tx, Standing::Confirmed)
                    .await
            }
            Lookup::Unknown => {
                self.settled(shown, amount, transaction, Standing::Settled)
                    .await
            }
            Lookup::Unused | Lookup::Spent => {
                let why = "the server names a settlement that the chain does not show";
                self.held(shown, why.to_owned(), transaction).await
            }
        }
    }

    /// The goods came without a credible receipt.
    async fn unproven(&self, shown: &Shown<'_>, why: String) -> Payment {
        match self.lookup(shown.signed).await {
            Lookup::Settled(seen) => {
                let tx = Some(seen.transaction);
                self.settled(shown, seen.amount, tx, Standing::Confirmed)
                    .await
            }
            _ => self.held(shown, why, None).await,
        }
    }

    async fn not_delivered(
        &self,
        shown: &Shown<'_>,
        amount: Amount,
        transaction: Option<TxHash>,
        reason: &Reason,
    ) -> PayError {
        let payment = self
            .settled(shown, amount, transaction, Standing::Settled)
            .await;
        let at = payment
            .transaction
            .as_ref()
            .map_or("no transaction named", TxHash::as_str);
        let message = format!(
            "{} The money moved ({at}) and this answer is not the goods; show the transaction to the seller.",
            reason.message
        );
        PayError::new(
            ErrorKind::PaidNotDelivered,
            Refusal::foreign(reason.code.clone(), message),
        )
        .with_payment(payment)
    }

    async fn refused(&self, shown: &Shown<'_>, reason: &Reason) -> PayError {
        if let Lookup::Settled(seen) = self.lookup(shown.signed).await {
            let tx = Some(seen.transaction);
            return self.not_delivered(shown, seen.amount, tx, reason).await;
        }
        let payment = self
            .held(shown, format!("refused: {}", reason.code), None)
            .await;
        let message = format!(
            "{} The payment is held against the budget until it has expired ({}) and is proved unused; correct the cause and ask again.",
            reason.message,
            shown.signed.valid_until.secs()
        );
        PayError::new(
            ErrorKind::RefusedByServer,
            Refusal::foreign(reason.code.clone(), message),
        )
        .with_payment(payment)
    }

    pub(crate) async fn unknown(
        &self,
        shown: &Shown<'_>,
        reason: &Reason,
        transaction: Option<TxHash>,
        answer: Option<Answer>,
    ) -> PayError {
        let payment = self.held(shown, reason.code.clone(), transaction).await;
        let message = format!(
            "{} Nobody can say yet whether the money moved; run the same request again, which shows the same payment again and never signs another one.",
            reason.message
        );
        PayError::new(
            ErrorKind::Unknown,
            Refusal::foreign(reason.code.clone(), message),
        )
        .with_payment(payment)
        .with_answer(answer)
    }

    /// The money moved: records it, counts it and tells it.
    async fn settled(
        &self,
        shown: &Shown<'_>,
        amount: Amount,
        transaction: Option<TxHash>,
        standing: Standing,
    ) -> Payment {
        let payment = self.payment(shown, amount, transaction, standing);
        let Ok(spends) = self.spends() else {
            return payment;
        };
        let id = &shown.record.id;
        let recorded = spends
            .paid(id, amount, payment.transaction.as_ref(), self.clock.now())
            .await;
        if let Err(error) = recorded {
            // It stays held, which is the safe side.
            tracing::error!(spend = %id, %error, "a payment that moved could not be recorded as paid");
        }
        self.meter.paid(&payment);
        if let Some(on_payment) = &self.on_payment {
            on_payment(&payment);
        }
        self.tell(&Event::Paid(Box::new(payment.clone())));
        payment
    }

    /// The money may have moved or may still move: the budget keeps it.
    async fn held(
        &self,
        shown: &Shown<'_>,
        reason: String,
        transaction: Option<TxHash>,
    ) -> Payment {
        let id = &shown.record.id;
        if let Ok(spends) = self.spends()
            && let Err(error) = spends.unclear(id, &reason, self.clock.now()).await
        {
            tracing::error!(spend = %id, %error, "an open payment could not be recorded as unclear");
        }
        let payment = self.payment(
            shown,
            shown.terms.amount,
            transaction,
            Standing::Held { reason },
        );
        self.tell(&Event::Paid(Box::new(payment.clone())));
        payment
    }

    fn payment(
        &self,
        shown: &Shown<'_>,
        amount: Amount,
        transaction: Option<TxHash>,
        standing: Standing,
    ) -> Payment {
        let (network, asset) = (&shown.terms.network, &shown.terms.asset);
        let info = self.policy.assets.find(network, asset);
        let words = match info {
            Some(info) => format!("{} {}", amount.to_decimal(info.decimals), info.symbol),
            None => format!("{amount} atomic units of {asset}"),
        };
        Payment {
            spend: shown.record.id.clone(),
            standing,
            version: shown.version.number(),
            url: shown.record.spend.url.clone(),
            network: network.clone(),
            asset: asset.clone(),
            symbol: info.map(|info| info.symbol.to_string()),
            amount,
            words: format!("{words} on {}", network_name(network)),
            payer: shown.signed.identity.payer.clone(),
            payee: shown.terms.pay_to.clone(),
            explorer: transaction.as_ref().and_then(|tx| network.explorer_tx(tx)),
            transaction,
            shown: shown.attempts,
            took_ms: u64::try_from(shown.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}
