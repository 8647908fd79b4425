//! What all doors of a payer share: wallet, policy, record, and the way from a
//! 402 answer to the goods.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tollway_core::{Clock, Refusal, Wallet};
use tollway_ledger::{Limit, SpendRecord, SpendStore};
use url::Url;

use crate::body::PayBody;
use crate::code;
use crate::counters::Meter;
use crate::error::{ErrorKind, PayError};
use crate::event::Event;
use crate::payer::PaidResponse;
use crate::payment::Payment;
use crate::policy::{Policy, origin};
use crate::ready::Next;
use crate::reconcile::Reconciler;
use crate::request::PayRequest;
use crate::settings::Patience;
use crate::sign_in::SignedIn;
use crate::statements::Statements;
use crate::token::{KeptToken, Pass, TokenPurchase, TokenStore, Visits};
use crate::transport::{Incoming, Transport};

pub(crate) type Story = Arc<dyn Fn(&Event) + Send + Sync>;
pub(crate) type OnPayment = Arc<dyn Fn(&Payment) + Send + Sync>;

pub(crate) struct Engine {
    pub(crate) wallet: Option<Arc<dyn Wallet>>,
    pub(crate) spends: Option<Arc<dyn SpendStore>>,
    pub(crate) policy: Policy,
    pub(crate) limits: Vec<Limit>,
    pub(crate) agent: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) reconciler: Option<Arc<dyn Reconciler>>,
    pub(crate) confirm: bool,
    pub(crate) patience: Patience,
    pub(crate) meter: Meter,
    pub(crate) story: Option<Story>,
    pub(crate) on_payment: Option<OnPayment>,
    /// Reads and keeps what sellers sign.
    pub(crate) statements: Option<Statements>,
    /// Digests of the requests that are being paid for right now.
    pub(crate) busy: Mutex<HashSet<String>>,
    pub(crate) tokens: Arc<dyn TokenStore>,
    pub(crate) visits: Visits,
    /// Who buys a token where, by endpoint, and who signs for whom, by request.
    pub(crate) turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A payment that is on disk and may be shown.
pub(crate) struct Ready {
    pub(crate) record: SpendRecord,
    pub(crate) version: tollway_core::wire::Version,
}

/// What a request came to.
pub(crate) struct Bought {
    pub(crate) response: http::Response<PayBody>,
    pub(crate) payment: Option<Payment>,
    pub(crate) pass: Option<Pass>,
}

impl Bought {
    pub(crate) fn answer(self, url: Url) -> PaidResponse {
        PaidResponse {
            response: self.response,
            url,
            payment: self.payment,
            pass: self.pass,
        }
    }

    /// With what was paid among the extensions.
    pub(crate) fn into_response(self) -> http::Response<PayBody> {
        let mut response = self.response;
        if let Some(payment) = self.payment {
            response.extensions_mut().insert(payment);
        }
        if let Some(pass) = self.pass {
            response.extensions_mut().insert(pass);
        }
        response
    }
}

impl Engine {
    pub(crate) fn tell(&self, event: &Event) {
        if let Some(story) = &self.story {
            story(event);
        }
    }

    pub(crate) fn wallet(&self) -> Result<&Arc<dyn Wallet>, PayError> {
        self.wallet.as_ref().ok_or_else(|| {
            PayError::new(
                ErrorKind::Failed,
                Refusal::new(
                    code::WALLET_UNAVAILABLE,
                    "There is no wallet to pay with; give the payer one.",
                ),
            )
        })
    }

    pub(crate) fn spends(&self) -> Result<&Arc<dyn SpendStore>, PayError> {
        self.spends.as_ref().ok_or_else(|| {
            PayError::new(
                ErrorKind::Failed,
                Refusal::new(
                    code::LEDGER_UNAVAILABLE,
                    "There is no record of spending to pay from; give the payer one.",
                ),
            )
        })
    }

    /// Pays for a request that was answered 402, and shows the payment until the
    /// answer is decided. `refused` is the access token that was shown in vain.
    pub(crate) async fn pay(
        &self,
        transport: &mut dyn Transport,
        request: &PayRequest,
        incoming: Incoming,
        refused: Option<KeptToken>,
    ) -> Result<Bought, PayError> {
        let mut asked = self.asked(request, incoming).await?;
        match self.sign_in(transport, request, &asked).await? {
            SignedIn::No => {}
            SignedIn::Opened(bought) => return Ok(*bought),
            SignedIn::Asked(anew) => asked = *anew,
        }
        if let Some(token) = &refused {
            self.turned_away(token, request).await?;
        }
        // The place is held until the answer is decided: another call of the same
        // request meanwhile is another purchase, and a later one resumes this.
        let (next, _place) = self.ready(request, &asked).await?;
        match next {
            Next::Show(ready) => self.show(transport, request, &ready).await,
            Next::Open(token) => self.open(transport, request, &token, None).await,
        }
    }

    /// Shows a recorded payment where it belongs.
    pub(crate) async fn show(
        &self,
        transport: &mut dyn Transport,
        request: &PayRequest,
        ready: &Ready,
    ) -> Result<Bought, PayError> {
        let began = Instant::now();
        let signed = ready.record.signed.as_ref();
        match signed.and_then(|signed| TokenPurchase::of(&signed.payload)) {
            Some(purchase) => {
                self.present_permit(transport, request, ready, &purchase, began)
                    .await
            }
            None => {
                let mut shown = self.present(transport, request, ready, began).await;
                if let Err(error) = &shown
                    && error.kind() == ErrorKind::RefusedByServer
                    && let Some(again) = self.signed_again(ready).await
                {
                    shown = self.present(transport, request, &again, began).await;
                }
                let (mut response, payment) = shown?;
                let payload = signed.map(|signed| &signed.payload);
                let payment = self.with_receipt(payment, payload, response.headers());
                let pass = self.pass_beside(request, &payment, &mut response).await;
                Ok(Bought {
                    response,
                    payment: Some(payment),
                    pass,
                })
            }
        }
    }
}

pub(crate) fn moved(to: &Url) -> Refusal {
    Refusal::new(
        code::POLICY_REDIRECT,
        format!(
            "The server sent the request to {}, and nothing is paid there; ask that URL yourself if you trust it.",
            origin(to)
        ),
    )
}

pub(crate) fn request_failed(detail: &str) -> PayError {
    PayError::new(
        ErrorKind::Failed,
        Refusal::new(
            code::REQUEST_FAILED,
            format!("The server cannot be reached ({detail}); nothing was signed, so try again."),
        ),
    )
}
