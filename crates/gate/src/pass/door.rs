//! `POST /token` as HTTP: which route's pass a body pays for.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use tollway_core::header::{Presentation, Presented};
use tollway_core::json::JsonLimits;
use tollway_core::wire::{PaymentPayload, Version};
use tollway_core::{PaymentFlow, Refusal, codes};
use tollway_ledger::LedgerError;
use tracing::Instrument as _;
use url::Url;

use super::permit::{self, Posted};
use super::{Passes, settlement};
use crate::answer;
use crate::body::Body;
use crate::challenge;
use crate::flow;
use crate::gate::{Inner, Sale};
use crate::purchase::{Purchase, Rejection, Target, unknown_reference};
use crate::renew::ByFormer;
use crate::route::Decision;
use crate::service::read_body;

/// Payees by which a permit that names none is looked for.
const MAX_PAYEES: usize = 8;

/// A door that a path names.
pub(crate) enum Door {
    /// Tokens are sold here.
    Tokens,
    /// It is told what became of the grant of this name.
    Settlement(String),
}

/// The door that a path names, if it names one.
pub(crate) fn asked(gate: &Inner, path: &str) -> Option<Door> {
    if gate.passes.as_ref().is_some_and(|p| path == p.token_path) {
        return Some(Door::Tokens);
    }
    let id = path.strip_prefix(gate.settlements_path.as_deref()?)?;
    let plain = !id.is_empty() && !id.contains('/');
    plain.then(|| Door::Settlement(id.to_owned()))
}

/// Answers at a door.
pub(crate) async fn answer(gate: Arc<Inner>, door: Door, request: Request<Body>) -> Response<Body> {
    let allowed = match door {
        Door::Tokens => Method::POST,
        Door::Settlement(_) => Method::GET,
    };
    if *request.method() != allowed {
        let mut refused = answer::problem(
            StatusCode::METHOD_NOT_ALLOWED,
            codes::METHOD_NOT_ALLOWED,
            &format!("This takes {allowed}; ask with that method."),
        );
        if let Ok(allow) = HeaderValue::from_str(allowed.as_str()) {
            refused.headers_mut().insert(http::header::ALLOW, allow);
        }
        return refused;
    }
    match (door, gate.passes.clone()) {
        (Door::Settlement(id), _) => settlement(&gate, &id).await,
        (Door::Tokens, None) => missing(),
        (Door::Tokens, Some(passes)) => match bought(&gate, &passes, request).await {
            Ok(response) | Err(response) => response,
        },
    }
}

pub(crate) fn missing() -> Response<Body> {
    answer::problem(
        StatusCode::NOT_FOUND,
        "not_found",
        "No pass is sold for this; ask the resource for its terms.",
    )
}

/// Reads a body and hands its payment to a task that runs to its end.
async fn bought(
    gate: &Arc<Inner>,
    passes: &Passes,
    request: Request<Body>,
) -> Result<Response<Body>, Response<Body>> {
    let (parts, body) = request.into_parts();
    if let Some(guard) = &gate.guard {
        let from = guard.from(&parts.extensions, gate.now());
        from.map_err(|denied| denied.answer())?;
    }
    let wanted = parts.uri.query().and_then(wanted_route);
    let bytes = read_body(gate, body, JsonLimits::BODY.max_bytes).await?;
    let malformed = |refusal: Refusal| answer::refusal(StatusCode::BAD_REQUEST, &refusal);
    let posted = permit::read(&bytes).map_err(malformed)?;
    let for_poster = match posted {
        Posted::Permit(_) => for_permits,
        Posted::Payment(_) => std::convert::identity,
    };
    let wanted = wanted.as_deref();
    let sold = purchase(gate, passes, &posted, wanted, Fit::Exact);
    // What names no payee fits what is sold now also where it paid somebody before.
    let is_vague = matches!(&posted, Posted::Permit(permit) if !permit.names_payee());
    let known = match is_vague || sold.is_err() {
        true => known(gate, passes, &posted, wanted).await,
        false => Ok(None),
    };
    let known = known.map_err(|error| flow::ledger_failed(&error))?;
    let mut purchase = match (known, sold, &posted) {
        (Some(known), Ok(sold), _) if known.payload_digest == sold.payload_digest => sold,
        (Some(known), _, _) => known,
        (None, Ok(sold), _) => sold,
        (None, Err(answer), Posted::Payment(_)) => return Err(*answer),
        // Who verifies it says best what is wrong with it.
        (None, Err(_), Posted::Permit(_)) => purchase(gate, passes, &posted, wanted, Fit::Loose)
            .map_err(|answer| for_permits(*answer))?,
    };
    purchase.bind_body(&bytes);
    let task = gate
        .tasks
        .spawn(flow::sell(Arc::clone(gate), purchase).in_current_span());
    task.await.map(for_poster).map_err(|error| {
        tracing::error!(%error, "the task of a token ended early");
        answer::problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            codes::INTERNAL_ERROR,
            "Something failed on this side; post the same payment again.",
        )
    })
}

/// Published clients of permit doors take every 402 as a bill, this door's too:
/// they would sign anew and post again, without end.
fn for_permits(mut answer: Response<Body>) -> Response<Body> {
    if answer.status() == StatusCode::PAYMENT_REQUIRED {
        let is_pending = answer.headers().contains_key(RETRY_AFTER);
        *answer.status_mut() = match is_pending {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::BAD_REQUEST,
        };
    }
    answer
}

/// The pattern of the route that is wanted: `for=`.
fn wanted_route(query: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("for="))?;
    let decoded = percent_decode_str(value).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// How much of an offer a permit must name; a payment names it all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Its amount too.
    Exact,
    /// Network, token and method.
    Loose,
}

/// The purchase of the pass that a body pays for.
fn purchase(
    gate: &Inner,
    passes: &Passes,
    posted: &Posted,
    wanted: Option<&str>,
    fit: Fit,
) -> Result<Purchase, Box<Response<Body>>> {
    let path = posted.path();
    let sales = gate.sales_for(wanted, path.as_deref());
    let unsold = |answer| Box::new(posted.is_proof().then(unknown_proof).unwrap_or(answer));
    let Some(first) = sales.first().cloned() else {
        return Err(unsold(missing()));
    };
    let is_one = sales.len() == 1;
    let mut fits = sales
        .into_iter()
        .filter_map(|sale| payment_for(&sale, posted, fit).map(|payment| (sale, payment)));
    let found = fits.next().map(|(sale, payment)| (sale, payment, None));
    let found = found.or_else(|| {
        let before = gate.passes_sold_before(wanted, path.as_deref());
        before.into_iter().find_map(|(sale, until)| {
            let payment = payment_for(&sale, posted, fit)?;
            Some((sale, payment, Some(until)))
        })
    });
    let Some((sale, payment, until)) = found else {
        // Terms of one of several routes would be paid by who asked for another, and any
        // by who paid on a network that is taken no more: nothing is known of that.
        if !is_one || posted.is_proof() || !posted.is_on(gate) {
            return Err(unsold(answer::problem(
                StatusCode::BAD_REQUEST,
                codes::NO_MATCHING_PAYMENT_REQUIREMENTS,
                "The payment is for another network, token, amount or method than any pass here costs; ask the resource for its terms.",
            )));
        }
        let refusal = Refusal::new(
            codes::NO_MATCHING_PAYMENT_REQUIREMENTS,
            "The payment is for another network, token, amount or method than is asked; choose one of those.",
        );
        let rejection = Rejection::terms(refusal);
        return Err(Box::new(challenge::rejected(
            gate,
            &first,
            &passes.token_path,
            &rejection,
        )));
    };
    if until.is_none() && fits.any(|(other, _)| other.pass != sale.pass) {
        return Err(Box::new(answer::problem(
            StatusCode::BAD_REQUEST,
            codes::INVALID_REQUEST,
            "The payment fits several routes; post it to the access_token_endpoint that the resource names.",
        )));
    }
    let target = target(passes, path);
    let shown = target.path.clone();
    let read = Purchase::read(gate, Arc::clone(&sale), presented(payment), target);
    let purchase =
        read.map_err(|rejection| Box::new(challenge::rejected(gate, &sale, &shown, &rejection)))?;
    Ok(Purchase {
        former: until.map(|until| ByFormer { until, now: first }),
        ..at_door(gate, passes, purchase)
    })
}

/// A payment that buys no pass that is sold now, and bought one before.
async fn known(
    gate: &Inner,
    passes: &Passes,
    posted: &Posted,
    wanted: Option<&str>,
) -> Result<Option<Purchase>, LedgerError> {
    let path = posted.path();
    for (sale, payment) in maybe_sold_before(gate, posted, wanted, path.as_deref()) {
        let target = target(passes, path.clone());
        let read = Purchase::read_known(gate, &sale, presented(payment), target).await?;
        if let Some(purchase) = read {
            return Ok(Some(at_door(gate, passes, purchase)));
        }
    }
    Ok(None)
}

/// What was posted, by the terms that it may have been claimed by, beside any sale: what
/// it bought is in the ledger, whatever is sold now. A permit names neither its terms
/// nor, by EIP-2612, its payee.
fn maybe_sold_before(
    gate: &Inner,
    posted: &Posted,
    wanted: Option<&str>,
    path: Option<&str>,
) -> Vec<(Arc<Sale>, PaymentPayload)> {
    let mut sales = gate.sales_for(wanted, path);
    let before = gate.passes_sold_before(wanted, path);
    sales.extend(before.into_iter().map(|(sale, _)| sale));
    sales.extend(gate.fixed_sales());
    let permit = match posted {
        Posted::Payment(payment) => {
            let sale = sales.into_iter().next();
            return sale
                .map(|sale| (sale, (**payment).clone()))
                .into_iter()
                .collect();
        }
        Posted::Permit(permit) => permit,
    };
    let mut found: Vec<(Arc<Sale>, PaymentPayload)> = Vec::new();
    for sale in sales {
        for payment in sale
            .offers
            .iter()
            .filter_map(|offer| permit.by_itself(offer))
        {
            let is_new =
                |(_, known): &(_, PaymentPayload)| known.accepted.pay_to != payment.accepted.pay_to;
            if found.len() < MAX_PAYEES && found.iter().all(is_new) {
                found.push((Arc::clone(&sale), payment));
            }
        }
    }
    found
}

fn presented(payment: PaymentPayload) -> Presented {
    Presented {
        version: Version::V2,
        payload: Presentation::V2(Box::new(payment)),
    }
}

fn target(passes: &Passes, path: Option<String>) -> Target {
    Target {
        method: Method::POST,
        path: path.unwrap_or_else(|| passes.token_path.clone()),
        query: None,
    }
}

/// The same, as it is sold at the token door.
fn at_door(gate: &Inner, passes: &Passes, purchase: Purchase) -> Purchase {
    Purchase {
        flow: PaymentFlow::Upfront,
        is_door: true,
        url: format!("{}{}", gate.base_url, passes.token_path),
        // A pass is found again by its payment, which needs no other name.
        identifier: None,
        ..purchase
    }
}

/// What was posted, as a payment for one of a sale's offers.
fn payment_for(sale: &Sale, posted: &Posted, fit: Fit) -> Option<PaymentPayload> {
    let offers = sale.offers.iter();
    match posted {
        Posted::Permit(permit) => offers
            .filter(|offer| fit == Fit::Loose || permit.pays(offer))
            .filter_map(|offer| permit.for_offer(offer))
            .next(),
        Posted::Payment(payment) => offers
            .map(|offer| &offer.terms().wire)
            .any(|wire| wire.is_accepted_by(&payment.accepted))
            .then(|| (**payment).clone()),
    }
}

/// The path of the resource that a payment names.
fn path_of(payment: &PaymentPayload) -> Option<String> {
    let url = &payment.resource.as_ref()?.url;
    Url::parse(url).ok().map(|url| url.path().to_owned())
}

impl Posted {
    fn path(&self) -> Option<String> {
        match self {
            Self::Payment(payment) => path_of(payment),
            Self::Permit(_) => None,
        }
    }

    /// Whether it is on a network that is taken here at all.
    fn is_on(&self, gate: &Inner) -> bool {
        match self {
            Self::Payment(payment) => payment
                .accepted
                .network
                .parse()
                .is_ok_and(|network| gate.chains.contains_key(&network)),
            Self::Permit(permit) => gate.chains.contains_key(&permit.network()),
        }
    }

    /// Whether a transaction is shown: who posts it has paid.
    fn is_proof(&self) -> bool {
        match self {
            Self::Payment(payment) => payment.accepted.proof_profile().is_some(),
            Self::Permit(_) => false,
        }
    }
}

/// The answer to a transaction by terms of no pass here, without terms to pay anew by.
fn unknown_proof() -> Response<Body> {
    let why = unknown_reference();
    answer::problem(why.status, why.refusal.code(), why.refusal.message())
}

impl Inner {
    /// The sales of passes at fixed prices that may be meant: of the route of one
    /// pattern, or of all that price a path, whatever the method.
    fn sales_for(&self, pattern: Option<&str>, path: Option<&str>) -> Vec<Arc<Sale>> {
        let priced = path.map(|path| self.routes_of(path));
        let routes = (0..self.routes.len())
            .filter(|route| priced.as_ref().is_none_or(|priced| priced.contains(route)));
        routes
            .filter_map(|route| self.fixed_sale(route))
            .filter(|sale| sale.pass.is_some())
            .filter(|sale| pattern.is_none_or(|pattern| pattern == sale.pattern))
            .collect()
    }

    /// The routes that price a path, by any usual method.
    fn routes_of(&self, path: &str) -> BTreeSet<usize> {
        let methods = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        let priced = methods.iter().filter_map(|m| match self.decide(m, path) {
            Decision::Paid { route, .. } => Some(route),
            _ => None,
        });
        priced.collect()
    }
}
