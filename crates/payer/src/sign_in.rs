//! Coming back (extension `sign-in-with-x`): where the record shows that a resource was
//! paid for, and its seller opens it again to who signs in, a message is signed instead of
//! a payment.
//!
//! The message is built from checked fields and is for the origin that was asked; what is
//! signed can move no money.

use http::{HeaderValue, StatusCode};
use tollway_core::extensions::sign_in::{EIP191, SIGN_IN_HEADER, SignIn, SignInOffer};
use tollway_core::header::encode;
use tollway_ledger::SpendRecord;
use url::Url;

use crate::asked::Asked;
use crate::engine::{Bought, Engine, request_failed};
use crate::error::PayError;
use crate::event::Event;
use crate::request::{PayRequest, public_url};
use crate::transport::{Lost, PaymentHeader, Transport, send_within};

/// What signing in came to.
pub(crate) enum SignedIn {
    /// Nothing: it is not offered, or nothing was paid for here.
    No,
    /// The answer.
    Opened(Box<Bought>),
    /// The seller asks for payment all the same.
    Asked(Box<Asked>),
}

impl Engine {
    /// Signs in where that is offered for what was paid for before. A purchase that has a
    /// name of its own is a new one.
    pub(crate) async fn sign_in(
        &self,
        transport: &mut dyn Transport,
        request: &PayRequest,
        asked: &Asked,
    ) -> Result<SignedIn, PayError> {
        let offer = SignInOffer::find(asked.required.terms.extensions.as_ref());
        let Some(offer) = offer.filter(|offer| is_of(offer, &request.url)) else {
            return Ok(SignedIn::No);
        };
        let own = request.headers.contains_key(&SIGN_IN_HEADER) || request.purchase.is_some();
        if own || self.policy.check_url(&request.url).is_err() {
            return Ok(SignedIn::No);
        }
        let Some(paid) = self.paid_before(&request.url).await? else {
            return Ok(SignedIn::No);
        };
        let Some(header) = self.signed_message(&offer, &paid).await else {
            return Ok(SignedIn::No);
        };
        self.tell(&Event::SignedIn {
            spend: paid.id.clone(),
            account: paid.spend.account.clone(),
        });
        let sent = send_within(transport, request, Some(&header), self.patience.answer).await;
        let incoming = match sent {
            Ok(incoming) => incoming,
            Err(Lost(why)) => return Err(request_failed(&why)),
        };
        if incoming.response.status() == StatusCode::PAYMENT_REQUIRED {
            let asked = self.asked(request, incoming).await?;
            return Ok(SignedIn::Asked(Box::new(asked)));
        }
        Ok(SignedIn::Opened(Box::new(Bought {
            response: incoming.response,
            payment: None,
            pass: None,
        })))
    }

    /// The latest payment for a URL whose money moved.
    async fn paid_before(&self, url: &Url) -> Result<Option<SpendRecord>, PayError> {
        let Some(spends) = &self.spends else {
            return Ok(None);
        };
        Ok(spends.paid_at(&self.agent, &public_url(url)).await?)
    }

    /// The message, signed by the account that paid, on the network where it did.
    async fn signed_message(
        &self,
        offer: &SignInOffer,
        paid: &SpendRecord,
    ) -> Option<PaymentHeader> {
        let network = &paid.spend.network;
        let mut chains = offer.supported_chains.iter();
        if !chains.any(|chain| chain.chain_id == network.as_str() && chain.kind == EIP191) {
            return None;
        }
        let wallet = self.wallet.as_ref()?;
        let account = wallet.address(network)?;
        if account != paid.spend.account {
            return None;
        }
        let address = wallet
            .spelled(network)
            .unwrap_or_else(|| account.to_string());
        let message = offer.info.message(&address, network).ok()?;
        offer.info.check_times(self.clock.now()).ok()?;
        let signature = wallet.sign_message(network, &message).await.ok()??;
        let shown = SignIn {
            info: offer.info.clone(),
            address,
            chain_id: network.as_str().to_owned(),
            kind: EIP191.to_owned(),
            signature,
        };
        let mut value = HeaderValue::from_str(&encode(&shown)).ok()?;
        value.set_sensitive(true);
        Some((SIGN_IN_HEADER, value))
    }
}

/// Whether a message is for the origin that was asked: nobody shows it elsewhere.
fn is_of(offer: &SignInOffer, asked: &Url) -> bool {
    let Ok(uri) = Url::parse(&offer.info.uri) else {
        return false;
    };
    let Some(host) = asked.host_str() else {
        return false;
    };
    let domain = asked
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    uri.origin() == asked.origin() && offer.info.domain == domain
}
