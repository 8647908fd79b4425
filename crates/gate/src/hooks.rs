//! Code of the seller's own at each step of a payment.

use std::sync::Arc;

use async_trait::async_trait;
use tollway_core::wire::SettleResponse;
use tollway_core::{Amount, Network, Refusal, codes};

use crate::gate::Inner;
use crate::purchase::Purchase;

/// A payment, as hooks see it: no signature is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookedPayment {
    /// The route's pattern.
    pub route: String,
    /// The request's method.
    pub method: String,
    /// What is asked for.
    pub url: String,
    /// Who pays, as the payment says; certain once it is verified.
    pub payer: String,
    /// Where.
    pub network: Network,
    /// Atomic units; before settling, what is charged of a maximum.
    pub amount: Amount,
}

/// A step of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The facilitator is asked whether it would settle.
    Verify,
    /// The money moves.
    Settle,
}

/// Code of the seller's own at each step of a payment, as the x402 server SDKs have
/// it. What may refuse is asked before anything happens and within
/// [`crate::Limits::hook_wait`]; the others are told afterwards, in a task of their own.
///
/// What is settled when its answer has left (tokens in the background, metered
/// streams), and what goes on after a restart, is told by events only
/// ([`crate::GateBuilder::on_event`]).
///
/// No hook makes a payment good that is not: there is none that goes on after a
/// failure.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// Before the facilitator is asked. Who refuses here gives the buyer 403 with the
    /// refusal's code, and nothing happened. A transaction that is shown was made
    /// before: it is looked at all the same, and refused on record with its hash, where
    /// it is good. Not called where a payment is settled without being verified first
    /// (`upfront`).
    ///
    /// # Errors
    /// Why the payment is not taken.
    async fn before_verify(&self, _payment: &HookedPayment) -> Result<(), Refusal> {
        Ok(())
    }

    /// It would settle.
    async fn after_verify(&self, _payment: &HookedPayment) {}

    /// Before the money moves: where it moves afterwards, the service behind has
    /// answered, and who refuses here keeps that answer back.
    ///
    /// # Errors
    /// Why nothing is charged; of a transaction that is shown, why it buys nothing.
    async fn before_settle(&self, _payment: &HookedPayment) -> Result<(), Refusal> {
        Ok(())
    }

    /// The money moved.
    async fn after_settle(&self, _payment: &HookedPayment, _receipt: &SettleResponse) {}

    /// A payment was not good, or did not settle. An outcome that is unknown is none
    /// of both.
    async fn on_failure(&self, _payment: &HookedPayment, _step: Step, _refusal: &Refusal) {}
}

impl HookedPayment {
    fn of(purchase: &Purchase) -> Self {
        Self {
            route: purchase.sale.pattern.clone(),
            method: purchase.target.method.to_string(),
            url: purchase.url.clone(),
            payer: purchase.intent.identity.payer.to_string(),
            network: purchase.terms.network.clone(),
            amount: purchase.terms.amount,
        }
    }
}

/// Why a step is not taken.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    Refused(Refusal),
    /// Nothing was said in time.
    NoAnswer,
}

impl Stop {
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused(why) => why.code(),
            Self::NoAnswer => codes::ACCESS_DENIED,
        }
    }
}

/// Asks before a step.
pub(crate) async fn before(gate: &Inner, purchase: &Purchase, step: Step) -> Result<(), Stop> {
    let Some(hooks) = &gate.hooks else {
        return Ok(());
    };
    let payment = HookedPayment::of(purchase);
    let asked = async {
        match step {
            Step::Verify => hooks.before_verify(&payment).await,
            Step::Settle => hooks.before_settle(&payment).await,
        }
    };
    let answered = tokio::time::timeout(gate.limits.hook_wait, asked).await;
    answered.map_or(Err(Stop::NoAnswer), |said| said.map_err(Stop::Refused))
}

/// Tells that it would settle.
pub(crate) fn verified(gate: &Inner, purchase: &Purchase) {
    tell(gate, purchase, |hooks, payment| async move {
        hooks.after_verify(&payment).await;
    });
}

/// Tells that the money moved.
pub(crate) fn settled(gate: &Inner, purchase: &Purchase, receipt: &SettleResponse) {
    let receipt = receipt.clone();
    tell(gate, purchase, |hooks, payment| async move {
        hooks.after_settle(&payment, &receipt).await;
    });
}

/// Tells that a step failed.
pub(crate) fn failed(gate: &Inner, purchase: &Purchase, step: Step, refusal: &Refusal) {
    let refusal = refusal.clone();
    tell(gate, purchase, move |hooks, payment| async move {
        hooks.on_failure(&payment, step, &refusal).await;
    });
}

fn tell<F, Fut>(gate: &Inner, purchase: &Purchase, told: F)
where
    F: FnOnce(Arc<dyn Hooks>, HookedPayment) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    if let Some(hooks) = &gate.hooks {
        let telling = told(Arc::clone(hooks), HookedPayment::of(purchase));
        let telling = tokio::time::timeout(gate.limits.hook_wait, telling);
        gate.tasks.spawn(telling);
    }
}
