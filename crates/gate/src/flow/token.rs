//! The token door: a payment that was posted, and the pass that it opens.
//!
//! ```text
//! repeat? · verify · claim with pass, exposure and order in one commit · token · settle
//! repeat? · verify · claim · settle · release with pass · token     (where it may not wait)
//! ```

use std::sync::Arc;

use http::{HeaderValue, Response};
use serde_json::json;
use tokio::time::Instant;
use tollway_core::wire::SettleResponse;
use tollway_core::{Amount, Phase, Refusal, Scheme, codes};
use tollway_ledger::{
    ExposureCap, GrantRecord, GrantState, Issue, LedgerError, NewGrant, Outstanding, PassEnd,
    PassRecord, Release,
};

use super::authorization::{end, end_unpaid, give_back, refused as refusal_of, release_surely};
use super::keeper::{has_ended, taken};
use super::repeat::wait;
use super::settle::{Order, Settled, Settling, failed_receipt};
use super::upfront::settled_first;
use super::{MAX_CLAIMS, background, claim, entry, ledger_failed, verify};
use crate::answer;
use crate::body::{self, Body};
use crate::crash::durably;
use crate::event::Event;
use crate::gate::{Active, Inner};
use crate::hooks::{self, Step};
use crate::pass::{self, Passes, SoldPass};
use crate::purchase::{BACKGROUND, Purchase};

/// Methods whose payments may settle behind a pass.
const MAY_WAIT: [&str; 3] = ["eip3009", "permit2", "eip2612"];
/// Whether a grant was claimed at the token door.
fn is_door(grant: &NewGrant) -> bool {
    grant.pass.as_ref().is_some_and(|pass| pass.is_door)
}

/// A posted payment with all that sells it a pass.
struct Sale {
    gate: Arc<Inner>,
    passes: Passes,
    purchase: Arc<Purchase>,
}

/// Sells the pass of a purchase; the answer carries its token, or says why not.
pub(crate) async fn sell(gate: Arc<Inner>, purchase: Purchase) -> Response<Body> {
    let Some(passes) = gate.passes.clone() else {
        return pass::missing();
    };
    let sale = Sale {
        gate,
        passes,
        purchase: Arc::new(purchase),
    };
    match sale.run().await {
        Ok(response) | Err(Failed::Answer(response)) => response,
        Err(Failed::Ledger(error)) => ledger_failed(&error),
    }
}

/// Why there is no token.
enum Failed {
    Answer(Response<Body>),
    Ledger(LedgerError),
}

impl From<LedgerError> for Failed {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl Sale {
    async fn run(&self) -> Result<Response<Body>, Failed> {
        let gate = &self.gate;
        for _ in 0..MAX_CLAIMS {
            if let Some(response) = self.known().await? {
                return Ok(response);
            }
            // What is only known may be of a route that sells no pass any more.
            if self.purchase.is_only_known && !self.purchase.is_proof() {
                return Ok(pass::missing());
            }
            if let Some(answer) = self.purchase.outdated(gate) {
                return Ok(answer);
            }
            let Some(sold) = &self.purchase.sale.pass else {
                return Ok(pass::missing());
            };
            let places = Arc::clone(&gate.places);
            let place = tokio::time::timeout(gate.limits.place_wait, places.acquire_owned()).await;
            let Ok(Ok(_place)) = place else {
                return Ok(answer::unavailable(
                    codes::TOO_MANY_REQUESTS,
                    "Too many payments are being handled; post the same payment again.",
                ));
            };
            let admitting = entry::admitted(gate, &self.purchase);
            let owed = admitting.await.map_err(Failed::Answer)?;
            verify(gate, &self.purchase).await.map_err(Failed::Answer)?;
            if let Some(why) = owed {
                let Some((record, _active)) = claim(gate, &self.purchase).await? else {
                    continue;
                };
                return Ok(entry::owe(gate, &self.purchase, &record, &why).await);
            }
            if let Some(cap) = self.cap().await {
                match self.issue(sold, cap).await? {
                    Issue::New(grant, pass) => return Ok(self.issued(*grant, &pass)),
                    Issue::Existing(_) => continue,
                    Issue::OverExposed => {}
                }
            }
            if let Some((record, active)) = claim(gate, &self.purchase).await? {
                return self.settle_first(record, active).await;
            }
        }
        Ok(answer::unavailable(
            codes::PAYMENT_IN_PROGRESS,
            "The same payment is being handled right now; post it again.",
        ))
    }

    /// What a payment that was seen before gets: the same token.
    async fn known(&self) -> Result<Option<Response<Body>>, Failed> {
        let (gate, purchase) = (&self.gate, &self.purchase);
        let until = Instant::now() + gate.limits.repeat_wait;
        loop {
            let identity = &purchase.intent.identity;
            let found = gate.noted(gate.grants.grant_by_identity(identity).await)?;
            let Some(record) = found.filter(|record| !record.reclaimable) else {
                return Ok(None);
            };
            // Whoever knows an authorization need not be who signed it.
            if record.grant.payload_digest != purchase.payload_digest {
                return Ok(Some(self.duplicate(&record)));
            }
            if let Some(pass) = gate.noted(self.passes.store.pass_of(&record.id).await)? {
                return Ok(Some(self.again(&record, &pass)));
            }
            match record.state {
                GrantState::Released => return Ok(Some(self.duplicate(&record))),
                GrantState::Refused => return Ok(Some(self.refused(&record))),
                _ => {}
            }
            let is_ours = is_door(&record.grant) && record.state != GrantState::Claimed;
            let may_settle = is_ours && !purchase.is_only_known;
            if may_settle && let Some((record, active)) = taken(gate, &record.id).await? {
                if !has_ended(&record) {
                    return self.settle(record, active, true).await.map(Some);
                }
            } else if Instant::now() >= until || !wait(gate, &record, until).await {
                let receipt = Order::of(purchase).unknown_receipt();
                return Ok(Some(answer::pending(purchase.version, &receipt)));
            }
        }
    }

    /// What was signed can be read by anybody as soon as it is sent, before any block
    /// holds it: only the very bytes that were posted get the token once more. Clients
    /// put a time or a name of their own into them, which no chain shows.
    fn again(&self, record: &GrantRecord, pass: &PassRecord) -> Response<Body> {
        let is_own = record.grant.body_digest == self.purchase.body_digest;
        match pass.end(self.gate.now()) {
            None | Some(PassEnd::UsedUp) if !is_own => self.duplicate(record),
            Some(PassEnd::InDoubt) => {
                let receipt = Order::of(&self.purchase).unknown_receipt();
                answer::pending(self.purchase.version, &receipt)
            }
            // A pass that is used up was bought all the same: its token says so.
            None | Some(PassEnd::UsedUp) => self.token(pass, None),
            Some(PassEnd::Expired) => self.duplicate(record),
            Some(PassEnd::Revoked | PassEnd::Unknown) => self.refused(record),
        }
    }

    fn duplicate(&self, record: &GrantRecord) -> Response<Body> {
        let kept = record.receipt.clone().map(serde_json::from_value);
        let receipt = SettleResponse {
            success: false,
            error_reason: Some(codes::DUPLICATE_SETTLEMENT.to_owned()),
            ..kept
                .and_then(Result::ok)
                .unwrap_or_else(|| Order::of(&self.purchase).unknown_receipt())
        };
        answer::duplicate(self.purchase.version, &receipt)
    }

    fn refused(&self, record: &GrantRecord) -> Response<Body> {
        let (code, message) = record.refusal.clone().unwrap_or_else(|| {
            (
                codes::TOKEN_REVOKED.to_owned(),
                "The payment of the access token failed; buy a new one.".to_owned(),
            )
        });
        let receipt = SettleResponse {
            error_reason: Some(code.clone()),
            ..failed_receipt(Order::of(&self.purchase).unknown_receipt())
        };
        let refusal = Refusal::foreign(code, message);
        refusal_of(&self.gate, &self.purchase, refusal, &receipt)
    }

    /// The most that may be promised, if this payment may settle behind its
    /// pass at all: by a method that cannot change its mind, of a payer without
    /// code, which could.
    async fn cap(&self) -> Option<ExposureCap> {
        let (gate, purchase) = (&self.gate, &self.purchase);
        let terms = &purchase.terms;
        let cap = self.passes.cap(&terms.network, &terms.asset)?;
        let method = terms.method().unwrap_or("eip3009");
        let can_look = gate.facilitator_origin.is_none() || purchase.chain.checks;
        if terms.scheme != Scheme::Exact || !MAY_WAIT.contains(&method) || !can_look {
            return None;
        }
        let looked =
            purchase
                .chain
                .chain
                .verify(purchase.intent.clone(), Phase::Verify, Amount::ZERO);
        let looked = tokio::time::timeout(gate.limits.verify_timeout, looked).await;
        // Contract payers are bound to a settling account, where there is one to bind to.
        let can_bind = !purchase.chain.chain.signers().is_empty();
        let verified = looked.ok()?.ok()?;
        (can_bind && verified.signers.is_empty()).then_some(cap)
    }

    async fn issue(&self, sold: &SoldPass, cap: ExposureCap) -> Result<Issue, LedgerError> {
        let (gate, purchase) = (&self.gate, &self.purchase);
        let now = gate.now();
        let new = NewGrant {
            flow: BACKGROUND.to_owned(),
            ..purchase.grant(&gate.owner)
        };
        let outstanding = Outstanding {
            payload: serde_json::to_value(&*purchase.payload).unwrap_or_default(),
            requirements: serde_json::to_value(&*purchase.terms.wire).unwrap_or_default(),
        };
        let pass = self.passes.new_pass(sold, true);
        let store = &self.passes.store;
        gate.noted(durably!(
            "issued",
            store.issue(new, pass, outstanding, cap, now)
        ))
    }

    /// It is durable: the token leaves, and the payment settles behind it.
    fn issued(&self, grant: GrantRecord, pass: &PassRecord) -> Response<Body> {
        let gate = &self.gate;
        gate.emit(&Event::Claimed {
            grant: grant.id.clone(),
            route: grant.grant.route.clone(),
        });
        self.tell_issued(&grant, true);
        if let Some(active) = gate.activate(&grant.id) {
            background::start(gate, Order::verified(&self.purchase), grant, active);
        }
        self.token(pass, None)
    }

    fn tell_issued(&self, grant: &GrantRecord, in_background: bool) {
        self.gate.emit(&Event::TokenIssued {
            grant: grant.id.clone(),
            route: grant.grant.route.clone(),
            in_background,
        });
    }

    async fn settle_first(
        &self,
        record: GrantRecord,
        active: Active,
    ) -> Result<Response<Body>, Failed> {
        let gate = &self.gate;
        if let Err(stop) = hooks::before(gate, &self.purchase, Step::Settle).await {
            return Ok(entry::not_settled(gate, &self.purchase, &record, &stop).await);
        }
        let settling = durably!("settling", gate.grants.settling(&record.id, gate.now()));
        if let Err(error) = gate.noted(settling) {
            give_back(gate, &record, codes::LEDGER_UNAVAILABLE).await;
            return Err(error.into());
        }
        self.settle(record, active, false).await
    }

    /// Settles, releases with the pass, and answers with its token. It runs to
    /// its end whether or not anybody waits.
    async fn settle(
        &self,
        record: GrantRecord,
        active: Active,
        uncertain: bool,
    ) -> Result<Response<Body>, Failed> {
        let (gate, purchase) = (Arc::clone(&self.gate), Arc::clone(&self.purchase));
        let order = Order::verified(&purchase);
        let (settling, seen) =
            Settling::new(Arc::clone(&gate), order, record.id.clone(), uncertain);
        let wait = gate.limits.settle_wait;
        let task = gate.tasks.spawn(tracing::Instrument::in_current_span({
            let (gate, purchase, record) = (gate.clone(), purchase.clone(), record.clone());
            async move {
                let paid = paid(&gate, &purchase, &record, settling.run().await).await;
                drop(active);
                paid
            }
        }));
        let receipt = match tokio::time::timeout(wait, task).await {
            Ok(Ok(paid)) => paid.map_err(Failed::Answer)?,
            Ok(Err(_)) | Err(_) => {
                return Ok(answer::pending(purchase.version, &seen.borrow()));
            }
        };
        match gate.noted(self.passes.store.pass_of(&record.id).await)? {
            Some(pass) => {
                self.tell_issued(&record, false);
                Ok(self.token(&pass, Some(&receipt)))
            }
            None => Ok(answer::pending(purchase.version, &receipt)),
        }
    }

    /// The answer that carries the token.
    fn token(&self, pass: &PassRecord, receipt: Option<&SettleResponse>) -> Response<Body> {
        let left = pass.expires_at.since(self.gate.now()).as_secs();
        let settlement = format!("{}{}", self.passes.settlements_path, pass.grant);
        let text = json!({
            "access_token": self.passes.token(pass),
            "token_type": "Bearer",
            "expires_in": left,
            "metadata": {
                "Token Instruction": "Use this token to access the protected resource in the Authorization header as a Bearer token.",
                "audience": pass.audience,
                "settlement": settlement,
            },
        });
        let mut response = Response::new(body::full(text.to_string()));
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(http::header::CONTENT_TYPE, json);
        let fresh = HeaderValue::from_static("no-store");
        headers.insert(http::header::CACHE_CONTROL, fresh);
        match receipt {
            Some(receipt) => answer::with_receipt(response, self.purchase.version, receipt),
            None => response,
        }
    }
}

/// Writes down what settling came to; the receipt if the money moved.
async fn paid(
    gate: &Inner,
    purchase: &Purchase,
    record: &GrantRecord,
    settled: Settled,
) -> Result<SettleResponse, Response<Body>> {
    let (evidence, receipt) = match settled {
        Settled::Yes { evidence, receipt } => (evidence, receipt),
        other => {
            return end(gate, purchase, record, other)
                .await
                .map(|(receipt, _)| receipt);
        }
    };
    let pending = |_| answer::pending(purchase.version, &receipt);
    let mut is_own = true;
    if record.state != GrantState::Served {
        // The hash first: whoever dies before the release leaves it to find the money by.
        is_own = settled_first(gate, record, &evidence, &receipt)
            .await
            .map_err(pending)?;
        if is_own {
            let served = durably!(
                "served",
                gate.grants.served(&record.id, None, None, gate.now())
            );
            gate.noted(served).map_err(pending)?;
        }
    }
    let release = match is_own {
        true => release_surely(gate, record, &evidence, &receipt)
            .await
            .map_err(pending)?,
        false => Release::Anothers,
    };
    if release == Release::Anothers {
        let settled = Settled::anothers(&record.id, &receipt);
        return Err(end_unpaid(gate, purchase, record, settled).await);
    }
    gate.emit(&Event::Released {
        grant: record.id.clone(),
        route: record.grant.route.clone(),
        transaction: receipt.transaction.clone(),
        payer: purchase.intent.identity.payer.to_string(),
        amount: purchase.terms.amount,
    });
    hooks::settled(gate, purchase, &receipt);
    Ok(receipt)
}
