//! What all doors of a payer share: wallet, policy, record, and the way from a
//! 402 answer to the goods.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tollway_core::header::Required;
use tollway_core::{Clock, Refusal, Wallet};
use tollway_ledger::{Limit, NewSpend, Reservation, SpendRecord, SpendStore};
use url::Url;

use crate::body::PayBody;
use crate::code;
use crate::counters::Meter;
use crate::error::{ErrorKind, PayError};
use crate::event::Event;
use crate::note::known_paid;
use crate::offer::Offer;
use crate::payment::Payment;
use crate::policy::{Policy, origin};
use crate::reconcile::{Fate, Reconciler, is_dead};
use crate::request::{PayRequest, public_url};
use crate::settings::Patience;
use crate::transport::{Incoming, Transport};

/// How many open payments of one request may exist side by side.
const MAX_ORDINAL: u32 = 4096;

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
    /// Digests of the requests that are being paid for right now.
    pub(crate) busy: Mutex<HashSet<String>>,
}

/// A payment that is on disk and may be shown.
pub(crate) struct Ready {
    pub(crate) record: SpendRecord,
    pub(crate) version: tollway_core::wire::Version,
}

/// What to do with an open payment.
enum Reuse {
    Show,
    Forget,
    Leave,
}

/// Keeps a request's digest for one call at a time.
pub(crate) struct Place<'a> {
    busy: &'a Mutex<HashSet<String>>,
    pub(crate) digest: String,
    ordinal: u32,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.digest);
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
    /// answer is decided.
    pub(crate) async fn pay(
        &self,
        transport: &mut dyn Transport,
        request: &PayRequest,
        asked: Incoming,
    ) -> Result<(http::Response<PayBody>, Payment), PayError> {
        let began = Instant::now();
        let required = self.terms(request, asked).await?;
        // The place is held until the answer is decided: another call of the same
        // request meanwhile is another purchase, and a later one resumes this.
        let (ready, _place) = self.ready(request, &required).await?;
        self.present(transport, request, ready, began).await
    }

    /// Signs a payment, or finds the one that was left open.
    async fn ready<'a>(
        &'a self,
        request: &PayRequest,
        required: &Required,
    ) -> Result<(Ready, Place<'a>), PayError> {
        self.policy
            .check_url(&request.url)
            .map_err(PayError::declined)?;
        let mut place = self.place(request, 0)?;
        let (offer, wire) = match self.choose(self.appraise(required)).await {
            Ok(chosen) => chosen,
            // A payment that has left already may be shown again whatever the
            // policy says now.
            Err(error) => match self.open(required, &place.digest).await? {
                Some(record) => return Ok((self.resumed(record, required), place)),
                None => return Err(error),
            },
        };
        loop {
            let new = self.new_spend(request, &offer, &place.digest)?;
            let now = self.clock.now();
            match self.spends()?.reserve(new, &self.limits, now).await? {
                Reservation::Reserved(id) => {
                    let record = self.sign(id, &offer, wire, required).await?;
                    return Ok((record, place));
                }
                Reservation::Exceeded { limit, used } => {
                    return Err(PayError::declined(exceeded(&offer, &limit, used)));
                }
                Reservation::Open(record) => match self.reuse(&record).await? {
                    Reuse::Show => return Ok((self.resumed(*record, required), place)),
                    Reuse::Forget => {}
                    Reuse::Leave => place = self.place(request, place.ordinal + 1)?,
                },
            }
        }
    }

    /// What to do with an open payment of the same request.
    async fn reuse(&self, record: &SpendRecord) -> Result<Reuse, PayError> {
        let dead = record
            .signed
            .as_ref()
            .is_some_and(|s| is_dead(s, self.clock.now()));
        if !dead {
            return Ok(Reuse::Show);
        }
        Ok(match self.decide(record).await? {
            // The server had its time to deliver.
            Fate::Paid if known_paid(record) => Reuse::Forget,
            // It was paid after all: the server may still hold the answer.
            Fate::Paid => Reuse::Show,
            Fate::Released => Reuse::Forget,
            // Nobody can prove it dead: it stays on the budget, and must not
            // stop the next purchase.
            Fate::Held => Reuse::Leave,
        })
    }

    /// The first place for this request that no other call holds.
    fn place(&self, request: &PayRequest, from: u32) -> Result<Place<'_>, PayError> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        for ordinal in from..MAX_ORDINAL {
            let digest = request.digest(&self.agent, ordinal);
            if busy.insert(digest.clone()) {
                return Ok(Place {
                    busy: &self.busy,
                    digest,
                    ordinal,
                });
            }
        }
        Err(PayError::invalid(
            "The same request is being paid for too often at once; wait for the others.",
        ))
    }

    fn resumed(&self, record: SpendRecord, required: &Required) -> Ready {
        self.tell(&Event::Resumed {
            spend: record.id.clone(),
        });
        Ready {
            record,
            version: required.version,
        }
    }

    /// The open payment of a request, where choosing anew failed.
    async fn open(
        &self,
        required: &Required,
        digest: &str,
    ) -> Result<Option<SpendRecord>, PayError> {
        let (Some(wallet), Some(spends)) = (&self.wallet, &self.spends) else {
            return Ok(None);
        };
        for wire in &required.terms.accepts {
            let account = wire
                .network
                .parse()
                .ok()
                .and_then(|network| wallet.address(&network));
            let Some(account) = account else { continue };
            let open = spends.open_spends(&account).await?.into_iter();
            let mut same = open.filter(|r| r.spend.request == digest && r.signed.is_some());
            if let Some(record) = same.next() {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn new_spend(
        &self,
        request: &PayRequest,
        offer: &Offer,
        digest: &str,
    ) -> Result<NewSpend, PayError> {
        let terms = &offer.terms;
        let account = self.wallet()?.address(&terms.network).ok_or_else(|| {
            PayError::declined(Refusal::new(
                code::NO_ACCEPTABLE_OFFER,
                format!(
                    "The wallet has no account on {}; use a wallet that has one.",
                    terms.network
                ),
            ))
        })?;
        Ok(NewSpend {
            account,
            agent: self.agent.clone(),
            request: digest.to_owned(),
            url: public_url(&request.url),
            host: host(&request.url),
            payee: terms.pay_to.clone(),
            network: terms.network.clone(),
            asset: terms.asset.clone(),
            amount: terms.amount,
        })
    }
}

/// The host that limits count, without its port.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    host.strip_suffix('.').unwrap_or(host).to_owned()
}

fn exceeded(offer: &Offer, limit: &Limit, used: tollway_core::Amount) -> Refusal {
    let show = |amount: tollway_core::Amount| amount.to_decimal(offer.asset.decimals);
    Refusal::new(
        code::BUDGET_EXCEEDED,
        format!(
            "The price is {}, and {} of {} {} are spent or held; raise the budget, or wait until held payments are decided.",
            offer.cost(),
            show(used),
            show(limit.max),
            offer.asset.symbol
        ),
    )
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
