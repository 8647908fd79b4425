//! A paying request, read and bound: who pays what for which request.

mod known;

pub(crate) use known::told_by_name;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tollway_core::extensions::{self, PaymentIdentifierId};
use tollway_core::header::{Presentation, Presented};
use tollway_core::wire::{PaymentPayload, Version, v1};
use tollway_core::{Amount, Intent, PaymentFlow, ProofProfile, Refusal, Terms, codes, mistake};
use tollway_ledger::NewGrant;
use url::Url;

use crate::body::Body;
use crate::discovery::BAZAAR;
use crate::gate::{ChainUse, Inner, Sale};
use crate::limits::MAX_STORED_URL_BYTES;
use crate::meter::Rate;
use crate::renew::ByFormer;
use crate::{Offer, challenge};

/// x402's phrase for a payment that fits no offer.
const NO_MATCH: &str = "No matching payment requirements";

/// What a payment is told that comes after its terms.
const CHANGED: &str = "The terms have changed since this payment was signed, and it was not taken; choose one of the ways to pay that are offered now.";

/// Where a paying request goes, in canonical form.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub method: Method,
    /// Canonical path.
    pub path: String,
    pub query: Option<String>,
}

/// The flow of a grant whose pass was handed out before it settles. It is the
/// seller's alone, and never on the wire.
pub(crate) const BACKGROUND: &str = "background";

/// The flow of a grant that is charged by what is handed out, and settled when
/// that ends. On the wire it is `authorization`.
pub(crate) const METERED: &str = "metered";

/// A payment that fits an offer, bound to its request.
#[derive(Clone)]
pub(crate) struct Purchase {
    pub version: Version,
    pub payload: Arc<PaymentPayload>,
    pub terms: Arc<Terms>,
    /// Of the asset that is paid in.
    pub decimals: u8,
    pub intent: Intent,
    pub chain: ChainUse,
    pub identifier: Option<PaymentIdentifierId>,
    pub sale: Arc<Sale>,
    /// Where it is of terms that are not told any more.
    pub former: Option<ByFormer>,
    /// Whether it fits nothing that is sold, now or before: what the ledger holds of
    /// it is told, and it buys nothing.
    pub is_only_known: bool,
    /// The offer's, but at the token door.
    pub flow: PaymentFlow,
    /// Whether it was posted at the token door.
    pub is_door: bool,
    pub target: Target,
    /// As the ledger keeps it: a long one ends with the digest of the whole.
    pub url: String,
    pub payload_digest: String,
    pub body_digest: String,
}

/// Why a payment is not taken, before anybody was asked.
pub(crate) struct Rejection {
    pub status: StatusCode,
    pub error: String,
    pub refusal: Refusal,
    /// Whether the terms are told again: not to who has paid by them already.
    pub tells_terms: bool,
}

impl Rejection {
    /// 402 with the refusal's code as the terms' error.
    pub(crate) fn terms(refusal: Refusal) -> Self {
        Self {
            status: StatusCode::PAYMENT_REQUIRED,
            error: refusal.code().to_owned(),
            refusal,
            tells_terms: true,
        }
    }

    /// 400: it cannot be valid, whatever the terms.
    pub(crate) fn malformed(refusal: Refusal) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            ..Self::terms(refusal)
        }
    }
}

impl Purchase {
    /// Reads what was presented for a sale. Asks nobody.
    pub(crate) fn read(
        gate: &Inner,
        sale: Arc<Sale>,
        presented: Presented,
        target: Target,
    ) -> Result<Self, Rejection> {
        let version = presented.version;
        let own_url = format!("{}{}", gate.base_url, target.path);
        let offer = matching(gate, &sale, &presented, &own_url)?;
        let (terms, decimals) = (Arc::clone(offer.terms()), offer.decimals());
        // What the route says of itself may have changed since, and is ours to declare.
        extensions::check_echo(Some(&gate.extensions), presented.extensions())
            .map_err(Rejection::terms)?;
        let payload = payload_for(&sale, presented, &terms, own_url);
        let identifier = identifier(gate, version, &payload)?;
        let purchase = Self::of(gate, sale, (version, payload), terms, target)?;
        Ok(Self {
            decimals,
            identifier,
            ..purchase
        })
    }

    /// A payment by terms, as the chain reads it; its name and its asset's decimals
    /// are still to be said.
    fn of(
        gate: &Inner,
        sale: Arc<Sale>,
        (version, payload): (Version, Arc<PaymentPayload>),
        terms: Arc<Terms>,
        target: Target,
    ) -> Result<Self, Rejection> {
        let chain = gate
            .chains
            .get(&terms.network)
            .cloned()
            .ok_or_else(no_match)?;
        let intent =
            chain
                .chain
                .inspect(&payload, &terms)
                .map_err(|refusal| match refusal.code() {
                    codes::INVALID_PAYLOAD => Rejection::malformed(refusal),
                    _ => Rejection::terms(refusal),
                })?;
        let url = match &target.query {
            Some(query) => bounded(format!("{}{}?{query}", gate.base_url, target.path)),
            None => bounded(format!("{}{}", gate.base_url, target.path)),
        };
        Ok(Self {
            version,
            payload_digest: payload_digest(&payload),
            body_digest: String::new(),
            payload,
            decimals: 0,
            intent,
            chain,
            identifier: None,
            flow: terms.flow,
            is_door: false,
            terms,
            sale,
            former: None,
            is_only_known: false,
            target,
            url,
        })
    }

    /// Reads it by what the request is sold by, or else by what it was sold by before.
    pub(crate) fn read_by_any(
        gate: &Inner,
        sale: &Arc<Sale>,
        presented: &Presented,
        target: &Target,
    ) -> Result<Self, Rejection> {
        let by = |sale| Self::read(gate, sale, presented.clone(), target.clone());
        let read = by(Arc::clone(sale));
        let fits = read.as_ref().is_ok_and(Self::pays_its_terms);
        if gate.former.is_empty() || fits {
            return read;
        }
        let before = match &read {
            Ok(_) => gate.sold_before(&no_match(), &target.method, &target.path),
            Err(rejection) => gate.sold_before(rejection, &target.method, &target.path),
        };
        let by_former = before.into_iter().find_map(|(former, until)| {
            let mut purchase = by(former).ok().filter(Self::pays_its_terms)?;
            let now = Arc::clone(sale);
            purchase.former = Some(ByFormer { until, now });
            Some(purchase)
        });
        by_former.map_or(read, Ok)
    }

    /// Whether what was signed is the price. Version 1 does not say what it accepts: its
    /// payments fit any price of their network, and were for one.
    fn pays_its_terms(&self) -> bool {
        let signed = self.payload.payload.get("authorization");
        let signed = signed.and_then(|signed| signed.get("value")?.as_str());
        self.version == Version::V2
            || signed.is_none_or(|value| value == self.terms.wire.amount.as_str())
    }

    /// What its buyer is told to pay by, if it cannot be taken.
    pub(crate) fn told(&self) -> &Sale {
        self.former
            .as_ref()
            .map_or(&self.sale, |former| &former.now)
    }

    /// The answer to terms that are not told any more and whose time is over: those
    /// that are told now.
    pub(crate) fn outdated(&self, gate: &Inner) -> Option<Response<Body>> {
        let proof = self.terms.wire.proof_profile();
        if !self.is_only_known {
            // What is signed holds when its terms were told.
            if proof == Some(ProofProfile::Signed) {
                return None;
            }
            let former = self.former.as_ref()?;
            let time = Duration::from_secs(self.terms.wire.max_timeout_seconds);
            // As long to pay as was said; a transaction is shown after that.
            let time = if proof.is_some() { time * 2 } else { time };
            if gate.now() < former.until.plus(time) {
                return None;
            }
        }
        let changed = match proof {
            // Who shows a transaction has paid.
            Some(_) => unknown_reference(),
            None => no_match_because(CHANGED),
        };
        Some(challenge::rejected(
            gate,
            self.told(),
            &self.target.path,
            &changed,
        ))
    }

    /// Whether a transaction is shown that was made already.
    pub(crate) fn is_proof(&self) -> bool {
        self.terms.wire.proof_profile().is_some()
    }

    /// Whether it is verified before it is claimed.
    pub(crate) fn is_verified_first(&self) -> bool {
        self.flow == PaymentFlow::Authorization || self.is_proof()
    }

    /// The same with what is charged of the maximum.
    pub(crate) fn charging(&self, amount: Amount) -> Self {
        let mut charged = self.clone();
        charged.terms = Arc::new(self.terms.charging(amount));
        charged.intent.expected.amount = amount;
        charged
    }

    /// How it is metered, where it is.
    pub(crate) fn rate(&self) -> Option<Rate> {
        let meter = self.sale.meter.as_ref()?;
        meter.rate(self.terms.amount, self.decimals)
    }

    /// Binds the request's body.
    pub(crate) fn bind_body(&mut self, body: &Bytes) {
        self.body_digest = hex::encode(Sha256::digest(body));
    }

    /// The grant that it claims.
    pub(crate) fn grant(&self, owner: &str) -> NewGrant {
        NewGrant {
            identity: self.intent.identity.clone(),
            expected: self.intent.expected.clone(),
            deadline: self.intent.deadline,
            route: self.sale.pattern.clone(),
            method: self.target.method.to_string(),
            url: self.url.clone(),
            body_digest: self.body_digest.clone(),
            payload_digest: self.payload_digest.clone(),
            payment_identifier: self.identifier.as_ref().map(|id| id.as_str().to_owned()),
            flow: match self.rate() {
                Some(_) => METERED.to_owned(),
                None => self.flow.as_str().to_owned(),
            },
            owner: owner.to_owned(),
            pass: None,
        }
    }

    /// Whether a grant was claimed by the same request: identifier, payload,
    /// method, URL and body.
    pub(crate) fn is_same_request(&self, grant: &NewGrant) -> bool {
        self.names(grant)
            && grant.payload_digest == self.payload_digest
            && grant.method == self.target.method.as_str()
            && grant.url == self.url
            && grant.body_digest == self.body_digest
    }

    /// Whether a grant was claimed under the identifier of this purchase.
    pub(crate) fn names(&self, grant: &NewGrant) -> bool {
        let own = self.identifier.as_ref().map(PaymentIdentifierId::as_str);
        let named = own.is_some() || mistake::is("repeat_gets_goods");
        named && grant.payment_identifier.as_deref() == own
    }
}

/// What was presented, as it is worked on.
fn payload_for(
    sale: &Sale,
    presented: Presented,
    terms: &Terms,
    own_url: String,
) -> Arc<PaymentPayload> {
    let mut resource = sale.resource.clone();
    resource.url = own_url;
    let mut payload = presented.into_payload(&terms.wire, resource.clone());
    if terms.wire.proof_profile().is_some() {
        // What its payer signed is compared with what is sold, not with what it says.
        payload.resource = Some(resource);
    }
    declare(sale, &mut payload);
    Arc::new(payload)
}

/// A URL as the ledger keeps it: of a long one the beginning, and the digest of
/// the whole, so that two URLs still never look the same.
fn bounded(mut url: String) -> String {
    if url.len() > MAX_STORED_URL_BYTES {
        let digest = hex::encode(Sha256::digest(&url));
        url.truncate(url.floor_char_boundary(MAX_STORED_URL_BYTES - digest.len() - 8));
        url.push_str("#sha256=");
        url.push_str(&digest);
    }
    url
}

/// The offer that a payment accepts.
fn matching(
    gate: &Inner,
    sale: &Sale,
    presented: &Presented,
    own_url: &str,
) -> Result<Offer, Rejection> {
    if let Presentation::V2(payload) = &presented.payload
        && let Some(resource) = &payload.resource
        && !same_resource(&resource.url, own_url)
    {
        return Err(no_match_because(
            "The payment was made for another resource; ask without payment for the terms of this one.",
        ));
    }
    if let Presentation::V2(payment) = &presented.payload
        && payment.accepted.proof_profile() == Some(ProofProfile::Signed)
    {
        let offer = gate.accepted_for_proof(sale, &payment.accepted, own_url);
        return offer.ok_or_else(unknown_reference);
    }
    let fits = |offer: &&Offer| {
        let wire = &offer.terms().wire;
        let can_be_accepted = presented.version == Version::V2 || v1::can_be_accepted(wire);
        presented.matches(wire) && can_be_accepted
    };
    let found = sale.offers.iter().find(fits).cloned();
    found.ok_or_else(|| match &presented.payload {
        // Whoever shows a transaction has paid, and is not told to pay again.
        Presentation::V2(payment) if payment.accepted.proof_profile().is_some() => {
            unknown_reference()
        }
        _ => no_match(),
    })
}

/// Another replica, or this one with other keys, may know it.
pub(crate) fn unknown_reference() -> Rejection {
    let refusal = Refusal::new(
        codes::INVALID_EXACT_EVM_TXID_REFERENCE,
        "The proof is not for terms of this resource; show it where its terms came from, with all that they said, and do not pay again for it.",
    );
    Rejection {
        tells_terms: false,
        ..Rejection::terms(refusal)
    }
}

/// Whether a URL that a payment names is the one that is sold. The query does
/// not count: it is not part of the resource URL that we send.
fn same_resource(named: &str, own: &str) -> bool {
    if named == own || named.is_empty() {
        return true;
    }
    let (Ok(mut named), Ok(mut own)) = (Url::parse(named), Url::parse(own)) else {
        return false;
    };
    for url in [&mut named, &mut own] {
        url.set_query(None);
        url.set_fragment(None);
    }
    named == own
}

fn no_match() -> Rejection {
    no_match_because(
        "The payment accepts none of the offered ways to pay; choose one of them unchanged.",
    )
}

fn no_match_because(message: &str) -> Rejection {
    Rejection {
        error: NO_MATCH.to_owned(),
        ..Rejection::terms(Refusal::new(
            codes::NO_MATCHING_PAYMENT_REQUIREMENTS,
            message,
        ))
    }
}

/// How the route is used, as the seller says it and whatever the buyer sent: the
/// facilitator may list it. Version 1 knows nothing of it.
fn declare(sale: &Sale, payload: &mut PaymentPayload) {
    if let Some(declared) = sale.extensions.get(BAZAAR) {
        let all = payload.extensions.get_or_insert_default();
        all.insert(BAZAAR.to_owned(), declared.clone());
    }
}

/// The identifier that a payment brings. Version 1 has no place for one.
fn identifier(
    gate: &Inner,
    version: Version,
    payload: &PaymentPayload,
) -> Result<Option<PaymentIdentifierId>, Rejection> {
    let identifier = extensions::read(payload).map_err(Rejection::malformed)?;
    if identifier.is_none() && gate.identifier_required && version == Version::V2 {
        return Err(Rejection::malformed(Refusal::new(
            codes::PAYMENT_IDENTIFIER_REQUIRED,
            "The route asks for a payment identifier; add one to the payment-identifier extension.",
        )));
    }
    Ok(identifier)
}

/// SHA-256 over what was accepted and signed, with keys in order.
fn payload_digest(payload: &PaymentPayload) -> String {
    let mut digest = Sha256::new();
    digest_value(&mut digest, &Value::Object(payload.payload.clone()));
    for field in [
        &payload.accepted.scheme,
        &payload.accepted.network,
        &payload.accepted.amount,
        &payload.accepted.asset,
        &payload.accepted.pay_to,
    ] {
        digest.update([0]);
        digest.update(field.to_ascii_lowercase());
    }
    hex::encode(digest.finalize())
}

pub(crate) fn digest_value(digest: &mut Sha256, value: &Value) {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<&String> = object.keys().collect();
            keys.sort();
            digest.update(b"{");
            for key in keys {
                digest.update(Value::String(key.clone()).to_string());
                digest.update(b":");
                digest_value(digest, &object[key]);
                digest.update(b",");
            }
            digest.update(b"}");
        }
        Value::Array(items) => {
            digest.update(b"[");
            for item in items {
                digest_value(digest, item);
                digest.update(b",");
            }
            digest.update(b"]");
        }
        other => digest.update(other.to_string()),
    }
}
