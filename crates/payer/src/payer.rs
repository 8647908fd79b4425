//! The payer: a client that pays within limits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::HeaderMap;
use tollway_core::extensions::offer_receipt::StatementReader;
use tollway_core::{Clock, Refusal, SpendId, SystemClock, Wallet};
use tollway_ledger::{Limit, SpendStore};
use url::Url;

use crate::body::PayBody;
use crate::code;
use crate::counters::{Counters, Meter};
use crate::engine::{Engine, OnPayment, Ready, Story, moved, request_failed};
use crate::error::{ErrorKind, PayError};
use crate::event::Event;
use crate::guard;
use crate::http_client::{client_builder, guarded_client_builder};
use crate::inspect::{Inspection, look};
use crate::payment::Payment;
use crate::policy::Policy;
use crate::present::Shown;
use crate::reconcile::{Reconciled, Reconciler};
use crate::request::{PayRequest, public_url};
use crate::settings::Patience;
use crate::statements::{KeptReceipt, Statements};
use crate::token::{KeptToken, MemoryTokens, Pass, TokenStore, Visits};
use crate::transport::{Clients, Direct, Incoming, redirect_target, redirected, send_within};

/// A client that pays for what it fetches, within limits. Cheap to clone; all
/// clones share wallet, record, counters and connections.
#[derive(Clone)]
pub struct Payer {
    pub(crate) engine: Arc<Engine>,
    clients: Clients,
}

/// An answer, and what was paid for it.
#[derive(Debug)]
pub struct PaidResponse {
    /// The server's answer; its body streams.
    pub response: http::Response<PayBody>,
    /// Where it came from, after redirects.
    pub url: Url,
    /// What was paid; `None` if nothing was asked for. Look at
    /// [`Payment::standing`]: the goods may be here without a credible receipt.
    pub payment: Option<Payment>,
    /// The access token that opened it: bought just now, or reused (and then
    /// nothing was paid).
    pub pass: Option<Pass>,
}

/// Sets a [`Payer`] up.
pub struct PayerBuilder {
    wallet: Option<Arc<dyn Wallet>>,
    spends: Option<Arc<dyn SpendStore>>,
    policy: Policy,
    limits: Vec<Limit>,
    agent: String,
    clock: Arc<dyn Clock>,
    reconciler: Option<Arc<dyn Reconciler>>,
    confirm: bool,
    patience: Patience,
    story: Option<Story>,
    on_payment: Option<OnPayment>,
    statements: Option<Statements>,
    client: Option<reqwest::Client>,
    tokens: Arc<dyn TokenStore>,
}

impl Payer {
    /// A payer with the default policy, and neither wallet nor record yet.
    #[must_use]
    pub fn builder() -> PayerBuilder {
        PayerBuilder {
            wallet: None,
            spends: None,
            policy: Policy::default(),
            limits: Vec::new(),
            agent: "default".to_owned(),
            clock: Arc::new(SystemClock),
            reconciler: None,
            confirm: false,
            patience: Patience::default(),
            story: None,
            on_payment: None,
            statements: None,
            client: None,
            tokens: Arc::new(MemoryTokens::default()),
        }
    }

    /// Fetches, and pays if payment is asked for and allowed.
    ///
    /// A call that ended without a decided answer, or without the goods, is
    /// resumed by fetching the same request again: until it has expired the same
    /// authorization is shown, and none is signed. [`PayRequest::purchase`] names
    /// another purchase.
    ///
    /// # Errors
    /// [`PayError`]; its [`PayError::kind`] says how far it came.
    pub async fn fetch(&self, request: PayRequest) -> Result<PaidResponse, PayError> {
        let _in_flight = self.engine.meter.enter();
        let fetched = self.fetch_inner(request).await;
        self.engine.noted(fetched)
    }

    async fn fetch_inner(&self, request: PayRequest) -> Result<PaidResponse, PayError> {
        let (request, incoming, token) = self.ask(request).await?;
        if incoming.response.status() != http::StatusCode::PAYMENT_REQUIRED {
            let pass = match &token {
                Some(token) => Some(self.engine.let_in(token).await),
                None => None,
            };
            return Ok(PaidResponse {
                url: incoming.url,
                response: incoming.response,
                payment: None,
                pass,
            });
        }
        let mut transport = Direct(self.client_for(&request.url).clone());
        let engine = &self.engine;
        let bought = engine.pay(&mut transport, &request, incoming, token);
        Ok(bought.await?.answer(request.url))
    }

    /// Shows a recorded payment again, for goods that were paid and did not
    /// arrive whole. Nothing is signed; the request must be the one that was paid.
    ///
    /// # Errors
    /// As [`Payer::fetch`]; `invalid_request` if there is no such payment, or it
    /// was made for another URL.
    pub async fn fetch_again(
        &self,
        request: PayRequest,
        spend: &SpendId,
    ) -> Result<PaidResponse, PayError> {
        let _in_flight = self.engine.meter.enter();
        let fetched = self.again(request, spend).await;
        self.engine.noted(fetched)
    }

    async fn again(&self, request: PayRequest, spend: &SpendId) -> Result<PaidResponse, PayError> {
        request.check()?;
        self.engine
            .policy
            .check_transport(&request.url)
            .map_err(PayError::declined)?;
        let record = self.engine.spends()?.spend(spend).await?;
        let record = record
            .filter(|r| r.signed.is_some() && r.spend.url == public_url(&request.url))
            .ok_or_else(|| {
                PayError::invalid("There is no signed payment of that name for this URL; look it up in the ledger.")
            })?;
        let version = tollway_core::wire::Version::V2;
        let ready = Ready { record, version };
        let mut transport = Direct(self.client_for(&request.url).clone());
        let shown = self.engine.show(&mut transport, &request, &ready);
        Ok(shown.await?.answer(request.url))
    }

    /// What a metered answer came to, once its body was read to its end or left:
    /// by the receipt in its trailers ([`PayBody::with_trailers`]), or else by the
    /// chain, which is asked until `within` has passed. The payment as it was where
    /// neither says; the chain will ([`Payer::reconcile`]).
    ///
    /// # Errors
    /// `invalid_request` if there is no such payment; `ledger_unavailable`.
    pub async fn streamed(
        &self,
        payment: &Payment,
        trailers: &HeaderMap,
        within: Duration,
    ) -> Result<Payment, PayError> {
        let missing = || PayError::invalid("There is no such payment; look it up in the ledger.");
        let record = self.engine.spends()?.spend(&payment.spend).await?;
        let record = record.ok_or_else(missing)?;
        let url = payment.url.parse().map_err(|_| missing())?;
        let request = PayRequest::new(http::Method::GET, url);
        let version = tollway_core::wire::Version::V2;
        let shown = Shown::of(&request, &record, version, Instant::now())?;
        let known = self.engine.streamed(&shown, trailers, within).await;
        Ok(known.map_or_else(
            || payment.clone(),
            |known| Payment {
                shown: payment.shown,
                took_ms: payment.took_ms,
                ..known
            },
        ))
    }

    /// What a request would cost. Nothing is signed, reserved or paid.
    ///
    /// # Errors
    /// [`PayError`] if the server cannot be asked or its terms cannot be read.
    pub async fn inspect(&self, request: PayRequest) -> Result<Inspection, PayError> {
        let (request, incoming) = self.ask_bare(request).await?;
        if incoming.response.status() != http::StatusCode::PAYMENT_REQUIRED {
            return Ok(Inspection::free(&incoming));
        }
        let asked = self.engine.asked(&request, incoming).await?;
        Ok(look(&self.engine, &request, &asked).await)
    }

    /// Decides payments that were left open, as far as the chain can tell. Call
    /// it at start and now and then.
    ///
    /// # Errors
    /// `ledger_unavailable`.
    pub async fn reconcile(&self) -> Result<Reconciled, PayError> {
        self.engine.reconcile().await
    }

    /// What this payer did since it was built.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.engine.meter.read()
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.engine.policy
    }

    /// Asks without payment or token, following redirects.
    async fn ask_bare(&self, request: PayRequest) -> Result<(PayRequest, Incoming), PayError> {
        let (request, incoming, _) = self.asking(request, false).await?;
        Ok((request, incoming))
    }

    /// Asks without payment, with an access token where there is one.
    async fn ask(
        &self,
        request: PayRequest,
    ) -> Result<(PayRequest, Incoming, Option<KeptToken>), PayError> {
        self.asking(request, true).await
    }

    /// Follows redirects. Within the origin that the caller named the request stays
    /// payable; elsewhere it goes without the caller's headers and without a token,
    /// to public addresses only, and is not paid.
    async fn asking(
        &self,
        mut request: PayRequest,
        with_token: bool,
    ) -> Result<(PayRequest, Incoming, Option<KeptToken>), PayError> {
        request.check()?;
        self.engine
            .policy
            .check_transport(&request.url)
            .map_err(PayError::declined)?;
        let typed = request.url.origin();
        for _ in 0..=self.engine.policy.max_redirects {
            let abroad = request.url.origin() != typed;
            let token = match with_token && !abroad {
                true => self.engine.token_for(&request).await,
                false => None,
            };
            let incoming = self.ask_once(&request, abroad, token.as_ref()).await?;
            let Some(target) = redirect_target(&incoming) else {
                let pays = incoming.response.status() == http::StatusCode::PAYMENT_REQUIRED;
                return if abroad && pays {
                    Err(PayError::declined(moved(&request.url)))
                } else {
                    Ok((request, incoming, token))
                };
            };
            let status = incoming.response.status().as_u16();
            request = self.follow(&request, status, target)?;
        }
        Err(PayError::declined(Refusal::new(
            code::POLICY_REDIRECT,
            "The server redirects too often; ask for the final URL.",
        )))
    }

    /// What connects to a URL of the caller's.
    fn client_for(&self, url: &Url) -> &reqwest::Client {
        match self.engine.policy.is_guarded(url) {
            true => &self.clients.guarded,
            false => &self.clients.typed,
        }
    }

    async fn ask_once(
        &self,
        request: &PayRequest,
        abroad: bool,
        token: Option<&KeptToken>,
    ) -> Result<Incoming, PayError> {
        self.engine.tell(&Event::Asked {
            method: request.method.to_string(),
            url: public_url(&request.url),
        });
        let client = if abroad {
            &self.clients.guarded
        } else {
            self.client_for(&request.url)
        };
        let mut transport = Direct(client.clone());
        let limit = self.engine.patience.ask;
        let header = token.and_then(|token| self.engine.bearer(token));
        let sent = send_within(&mut transport, request, header.as_ref(), limit).await;
        sent.map_err(|lost| request_failed(&lost.0))
    }

    /// The request for where a redirect leads, if it may be followed.
    fn follow(
        &self,
        request: &PayRequest,
        status: u16,
        target: Result<Url, ()>,
    ) -> Result<PayRequest, PayError> {
        let target = target.map_err(|()| request_failed("its redirect names no URL"))?;
        let same = target.origin() == request.url.origin();
        let mut next = redirected(request, status, target);
        if same {
            self.engine.tell(&Event::Redirected {
                to: public_url(&next.url),
            });
            return Ok(next);
        }
        let harmless = matches!(next.method, http::Method::GET | http::Method::HEAD);
        let allowed = harmless
            && guard::may_lead_to(&next.url)
            && self.engine.policy.check_transport(&next.url).is_ok();
        if !allowed {
            return Err(PayError::declined(moved(&next.url)));
        }
        // Cookies, tokens and whatever else was meant for the first origin.
        next.headers.clear();
        self.engine.tell(&Event::Redirected {
            to: public_url(&next.url),
        });
        Ok(next)
    }
}

impl Engine {
    /// Counts and tells a failure.
    pub(crate) fn noted<T>(&self, result: Result<T, PayError>) -> Result<T, PayError> {
        if let Err(error) = &result {
            self.meter.failed(error);
            self.tell(&Event::Failed {
                code: error.code().to_owned(),
                message: error.message().to_owned(),
            });
            tracing::debug!(
                code = error.code(),
                detail = error.detail(),
                "a request was not paid and delivered"
            );
        }
        result
    }
}

impl PayerBuilder {
    /// Who pays. Without one, only free answers and [`Payer::inspect`] work.
    #[must_use]
    pub fn wallet(mut self, wallet: Arc<dyn Wallet>) -> Self {
        self.wallet = Some(wallet);
        self
    }

    /// The durable record of spending. Without one, nothing is paid.
    #[must_use]
    pub fn spends(mut self, spends: Arc<dyn SpendStore>) -> Self {
        self.spends = Some(spends);
        self
    }

    /// What is allowed.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Budgets, counted over everybody who shares the record. All of them hold.
    #[must_use]
    pub fn limits(mut self, limits: Vec<Limit>) -> Self {
        self.limits = limits;
        self
    }

    /// The name under which this program spends. Programs that share a record and
    /// ask for the same URLs at the same time need different names, or they
    /// resume each other's payments.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = agent.into();
        self
    }

    /// What says how late it is.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What can ask the chain. With `confirm`, receipts are compared with it
    /// before a payment counts as settled.
    #[must_use]
    pub fn reconciler(mut self, reconciler: Arc<dyn Reconciler>, confirm: bool) -> Self {
        self.reconciler = Some(reconciler);
        self.confirm = confirm;
        self
    }

    /// How long to wait, and how often to ask again.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Is told what happens, as it happens. It is called on the paying task: be quick.
    #[must_use]
    pub fn story(mut self, story: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.story = Some(Arc::new(story));
        self
    }

    /// Is called once for every payment whose money moved.
    #[must_use]
    pub fn on_payment(mut self, called: impl Fn(&Payment) + Send + Sync + 'static) -> Self {
        self.on_payment = Some(Arc::new(called));
        self
    }

    /// Reads the receipts that sellers sign, and hands each to whoever keeps it, with
    /// what it is compared with ([`KeptReceipt::worth`]). Called on the paying task.
    #[must_use]
    pub fn receipts(
        mut self,
        reader: Arc<dyn StatementReader>,
        keep: impl Fn(&KeptReceipt) + Send + Sync + 'static,
    ) -> Self {
        self.statements = Some(Statements {
            reader,
            keep: Arc::new(keep),
        });
        self
    }

    /// Another client for URLs that the caller gives, made with [`client_builder`].
    #[must_use]
    pub fn client(mut self, client: reqwest::Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Where access tokens are kept; without it they live as long as the payer.
    #[must_use]
    pub fn tokens(mut self, tokens: Arc<dyn TokenStore>) -> Self {
        self.tokens = tokens;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// `request_failed` if no HTTP client can be made, for lack of root certificates.
    pub fn build(self) -> Result<Payer, PayError> {
        let typed = match self.client {
            Some(client) => client,
            None => built(client_builder())?,
        };
        let guarded = built(guarded_client_builder())?;
        let engine = Engine {
            wallet: self.wallet,
            spends: self.spends,
            policy: self.policy,
            limits: self.limits,
            agent: self.agent,
            clock: self.clock,
            reconciler: self.reconciler,
            confirm: self.confirm,
            patience: self.patience,
            meter: Meter::default(),
            story: self.story,
            on_payment: self.on_payment,
            statements: self.statements,
            busy: Mutex::new(HashSet::new()),
            tokens: self.tokens,
            visits: Visits::default(),
            turns: Mutex::new(HashMap::new()),
        };
        Ok(Payer {
            engine: Arc::new(engine),
            clients: Clients { typed, guarded },
        })
    }
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, PayError> {
    builder.build().map_err(|error| {
        PayError::new(
            ErrorKind::Failed,
            Refusal::new(
                code::REQUEST_FAILED,
                "No HTTPS client can be made; install the system's root certificates.",
            )
            .with_detail(error),
        )
    })
}
