//! What follows from a verdict: the record, the counters, and what the caller gets.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use tollway_core::{Amount, Lookup, Refusal, TxHash, codes, mistake};

use crate::body::PayBody;
use crate::code;
use crate::engine::Engine;
use crate::error::{Answer, ErrorKind, PayError};
use crate::event::Event;
use crate::method::PayMethod;
use crate::note::{Note, is_complete, is_open, known_paid};
use crate::offer::network_name;
use crate::payment::{Payment, Standing};
use crate::present::{Heard, Shown};
use crate::receipt::{Claim, claim};
use crate::reconcile::is_dead;
use crate::verdict::{Reason, Verdict};

/// How often the chain is asked what a stream came to.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

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
            Verdict::Metered => Ok((goods, self.metered(shown).await)),
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

    pub(crate) async fn delivered(
        &self,
        shown: &Shown<'_>,
        amount: Amount,
        transaction: Option<TxHash>,
    ) -> Payment {
        // What less was used than was signed for is proved by the chain or not at all.
        if !self.confirm && amount == shown.terms.amount {
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
            // Nothing was used, or the chain is not asked about other payments either.
            Lookup::Unused { .. } if amount.is_zero() || !self.confirm => {
                self.settled(shown, amount, transaction, Standing::Settled)
                    .await
            }
            Lookup::Unused { .. } | Lookup::Spent => {
                let why = "the server names a settlement that the chain does not show";
                let note = Note::Delivered(why.to_owned());
                self.note(shown, &note.line()).await;
                self.held(shown, why.to_owned(), transaction)
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
            _ => self.unreceipted(shown, why).await,
        }
    }

    /// The goods come, and only their end says what they come to: until then all
    /// that was signed for is counted.
    async fn metered(&self, shown: &Shown<'_>) -> Payment {
        let why = "what it streams is settled when it ends";
        self.note(shown, &Note::Accepted(why.to_owned()).line())
            .await;
        let payment = self.payment(shown, shown.terms.amount, None, Standing::Background);
        self.counted(shown, &payment);
        payment
    }

    /// The same now that it ended: what the receipt at its end says, or else the
    /// chain within a time.
    pub(crate) async fn streamed(
        &self,
        shown: &Shown<'_>,
        trailers: &HeaderMap,
        within: Duration,
    ) -> Option<Payment> {
        let payer = shown.signed.identity.payer.as_str();
        if let Claim::Settled {
            amount,
            transaction,
        } = claim(trailers, &shown.terms, payer)
        {
            return Some(self.delivered(shown, amount, transaction).await);
        }
        let until = Instant::now() + within;
        loop {
            match self.lookup(shown.signed).await {
                Lookup::Settled(seen) => {
                    let tx = Some(seen.transaction);
                    let standing = Standing::Confirmed;
                    return Some(self.settled(shown, seen.amount, tx, standing).await);
                }
                Lookup::Unused { .. } if Instant::now() < until => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                _ => return None,
            }
        }
    }

    async fn unreceipted(&self, shown: &Shown<'_>, why: String) -> Payment {
        match Note::read(shown.record) {
            // The receipt came with an earlier answer, which was not the goods.
            Some(Note::Undelivered {
                amount,
                transaction,
            }) => {
                self.settled(shown, amount, transaction, Standing::Settled)
                    .await
            }
            _ => {
                self.note(shown, &Note::Delivered(why.clone()).line()).await;
                self.held(shown, why, None)
            }
        }
    }

    /// The server says that the money moved, and this is not the goods. Where the
    /// chain can be asked, the server's word is not enough.
    async fn not_delivered(
        &self,
        shown: &Shown<'_>,
        amount: Amount,
        transaction: Option<TxHash>,
        reason: &Reason,
    ) -> PayError {
        let trusted = self.reconciler.is_none() || known_paid(shown.record);
        match self.lookup(shown.signed).await {
            Lookup::Settled(seen) => {
                let tx = Some(seen.transaction);
                self.undelivered(shown, seen.amount, tx, Standing::Confirmed, reason)
                    .await
            }
            Lookup::Unknown if trusted => {
                self.undelivered(shown, amount, transaction, Standing::Settled, reason)
                    .await
            }
            Lookup::Unknown | Lookup::Unused { .. } | Lookup::Spent => {
                let at = transaction.as_ref().map_or("unnamed", TxHash::as_str);
                let message = format!(
                    "{} The server says that the payment settled (transaction {at}), and the chain does not show it.",
                    reason.message
                );
                let reason = Reason::new(code::PAYMENT_OUTCOME_UNKNOWN, message);
                self.unknown(shown, &reason, transaction, None).await
            }
        }
    }

    /// The money moved, and this is not the goods. The record stays open, so that
    /// the next equal request shows this payment again.
    async fn undelivered(
        &self,
        shown: &Shown<'_>,
        amount: Amount,
        transaction: Option<TxHash>,
        standing: Standing,
        reason: &Reason,
    ) -> PayError {
        let payment = if is_open(shown.record) && !is_dead(shown.signed, self.clock.now()) {
            let note = Note::Undelivered {
                amount,
                transaction: transaction.clone(),
            };
            self.note(shown, &note.line()).await;
            let payment = self.payment(shown, amount, transaction, standing);
            self.counted(shown, &payment);
            payment
        } else {
            self.settled(shown, amount, transaction, standing).await
        };
        let at = payment
            .transaction
            .as_ref()
            .map_or("no transaction named", TxHash::as_str);
        let who = match payment.standing {
            Standing::Confirmed => "The chain shows",
            _ => "The server says",
        };
        let message = format!(
            "{} {who} that the money moved ({at}), and this answer is not the goods; run the same request again, which shows the same payment until {}, or show the transaction to the seller.",
            reason.message,
            shown.signed.valid_until.secs()
        );
        PayError::new(
            ErrorKind::PaidNotDelivered,
            Refusal::foreign(reason.code.clone(), message),
        )
        .with_payment(payment)
    }

    async fn refused(&self, shown: &Shown<'_>, reason: &Reason) -> PayError {
        // Its transaction was seen in a block before it was shown.
        if let Some(raw) = &shown.signed.transaction {
            let (amount, hash) = (shown.terms.amount, Some(raw.hash.clone()));
            return self
                .undelivered(shown, amount, hash, Standing::Confirmed, reason)
                .await;
        }
        if let Lookup::Settled(seen) = self.lookup(shown.signed).await {
            let tx = Some(seen.transaction);
            return self
                .undelivered(shown, seen.amount, tx, Standing::Confirmed, reason)
                .await;
        }
        let why = format!("refused: {}", reason.code);
        self.unclear(shown, &why).await;
        let payment = self.held(shown, why, None);
        let remedy = allowance_remedy(shown, reason).unwrap_or_default();
        let message = format!(
            "{}{remedy} The payment is held against the budget until it has expired ({}) and is proved unused; correct the cause and ask again.",
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
        self.unclear(shown, &reason.code).await;
        let payment = self.held(shown, reason.code.clone(), transaction);
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

    /// The goods came and the money moved: records it, counts it and tells it.
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
        let proved = payment.standing == Standing::Confirmed || amount == shown.terms.amount;
        if !proved && self.reconciler.is_some() {
            // The chain will tell how much it was.
            let why = "less was used than was signed for, and the chain does not show it yet";
            self.note(shown, &Note::Accepted(why.to_owned()).line())
                .await;
        } else {
            // Without a chain to ask, the maximum is what may have moved.
            let counted = if proved { amount } else { shown.terms.amount };
            let (id, at) = (&shown.record.id, self.clock.now());
            let tx = payment.transaction.as_ref();
            if let Err(error) = spends.paid(id, counted, tx, at).await {
                // It stays held, which is the safe side.
                tracing::error!(spend = %id, %error, "a payment that moved could not be recorded as paid");
            }
        }
        self.counted(shown, &payment);
        payment
    }

    /// Tells a payment whose money moved, and counts it the first time.
    pub(crate) fn counted(&self, shown: &Shown<'_>, payment: &Payment) {
        if !known_paid(shown.record) && !is_complete(shown.record) {
            self.meter.paid(payment);
            if let Some(on_payment) = &self.on_payment {
                on_payment(payment);
            }
        }
        self.tell(&Event::Paid(Box::new(payment.clone())));
    }

    /// Tells a payment whose money may have moved or may still move: the budget
    /// keeps it.
    fn held(&self, shown: &Shown<'_>, reason: String, transaction: Option<TxHash>) -> Payment {
        let standing = Standing::Held { reason };
        let payment = self.payment(shown, shown.terms.amount, transaction, standing);
        self.tell(&Event::Held {
            payment: Box::new(payment.clone()),
        });
        payment
    }

    /// Records why the outcome is unclear, unless the record knows more already.
    async fn unclear(&self, shown: &Shown<'_>, why: &str) {
        if mistake::is("budget_freed_when_unclear")
            && let Ok(spends) = self.spends()
        {
            let id = &shown.record.id;
            let _ = spends.release(id, "timeout", self.clock.now()).await;
            return;
        }
        if Note::read(shown.record).is_none() {
            self.note(shown, why).await;
        }
    }

    /// Leaves the record open with a line of text; one that has ended stays as it is.
    pub(crate) async fn note(&self, shown: &Shown<'_>, line: &str) {
        let id = &shown.record.id;
        if is_open(shown.record)
            && let Ok(spends) = self.spends()
            && let Err(error) = spends.unclear(id, line, self.clock.now()).await
        {
            tracing::error!(spend = %id, %error, "an open payment could not be recorded as unclear");
        }
    }

    pub(crate) fn payment(
        &self,
        shown: &Shown<'_>,
        amount: Amount,
        transaction: Option<TxHash>,
        standing: Standing,
    ) -> Payment {
        let (network, asset) = (&shown.terms.network, &shown.terms.asset);
        let info = self.policy.assets.find(network, asset);
        let in_words = |amount: Amount| match info {
            Some(info) => format!("{} {}", amount.to_decimal(info.decimals), info.symbol),
            None => format!("{amount} atomic units of {asset}"),
        };
        let maximum = shown.terms.amount;
        let words = match amount == maximum {
            true => in_words(amount),
            false => format!("{} (of at most {})", in_words(amount), in_words(maximum)),
        };
        Payment {
            spend: shown.record.id.clone(),
            standing,
            version: shown.version.number(),
            url: shown.record.spend.url.clone(),
            network: network.clone(),
            asset: asset.clone(),
            symbol: info.map(|info| info.symbol.to_string()),
            scheme: shown.terms.scheme.as_str().to_owned(),
            method: PayMethod::of(&shown.terms),
            amount,
            maximum,
            words: format!("{words} on {}", network_name(network)),
            payer: shown.signed.identity.payer.clone(),
            payee: shown.terms.pay_to.clone(),
            explorer: transaction.as_ref().and_then(|tx| network.explorer_tx(tx)),
            transaction,
            receipt: None,
            shown: shown.attempts,
            took_ms: u64::try_from(shown.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What to do about a missing allowance for Permit2: which call, on which token,
/// for which spender. The spender is the contract that our own wallet signed for,
/// never one that a server names.
fn allowance_remedy(shown: &Shown<'_>, reason: &Reason) -> Option<String> {
    if reason.code != codes::PERMIT2_ALLOWANCE_REQUIRED {
        return None;
    }
    let (asset, spender) = (&shown.terms.asset, &shown.signed.identity.scope);
    let account = &shown.signed.identity.payer;
    Some(format!(
        " Call approve({spender}, amount) on {asset} with the account {account} on {}, once, or allow the payer to do it.",
        network_name(&shown.terms.network)
    ))
}
