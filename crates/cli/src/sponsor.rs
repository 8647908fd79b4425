//! `/sponsor` of a facilitator: it sends what Starknet accounts allow it to send,
//! and pays the fee, for callers with a key.
//!
//! | route | answer |
//! |---|---|
//! | `GET /sponsor` | `{sponsors: [{network, caller, entrypoints, tokens, classes}]}` |
//! | `POST /sponsor` `{network, execution}` or `{network, deployment}` | `{success, transaction?, network, errorReason?, errorMessage?}` |
//!
//! `execution` is the object of scheme `exact` (`from` and `outsideExecution`), whose
//! caller is the sponsor's account; `deployment` is `{classHash, salt, publicKey}`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use futures_util::future::BoxFuture;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tollway_core::assets::AssetTable;
use tollway_core::wire::Object;
use tollway_core::{Amount, ChainError, Network, Refusal, SystemClock, TxHash, codes};
use tollway_facilitator::{ApiBody, Engine, FacilitatorService, api_key};
use tollway_ledger::{DailyPurse, Store};
use tollway_starknet::{Felt, NewAccount, OwnerSender, Sponsor, SponsorRules, Sponsored, felt};
use tower::Service;
use tracing::Instrument as _;

use crate::chains;
use crate::cli::FacilitatorArgs;
use crate::exit::Failure;
use crate::operate::{Health, State};
use crate::session::entrypoint;
use crate::traces;
use crate::wiring::{self, NetworkSetting};

const PATH: &str = "/sponsor";
/// An execution of eight calls is a few KiB.
const MAX_BODY_BYTES: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Most STRK for one caller and day, unless it is said.
const FEES_PER_DAY: &str = "10";

/// The sponsors of all Starknet networks that are served.
pub struct Sponsors(Vec<Sponsor>);

impl Sponsors {
    /// From the flags; none if no account is named.
    pub fn read(
        args: &FacilitatorArgs,
        networks: &[NetworkSetting],
        assets: &AssetTable,
        ledger: &Store,
    ) -> Result<Option<Self>, Failure> {
        let Some(text) = &args.sponsor_account else {
            return Ok(None);
        };
        if args.callers.is_empty() {
            return Err(Failure::usage(
                "--sponsor-account pays fees for known callers only; add [[facilitator.callers]] to the configuration (see `tollway api-key`).",
            ));
        }
        let account = chains::starknet_account(text, "--sponsor-account")?;
        let settles = |settling: &String| {
            let address = settling.split('=').next().unwrap_or_default();
            chains::starknet_address(address.trim(), "--starknet-account")
                .is_ok_and(|address| address == *account.address())
        };
        if args.starknet_accounts.iter().any(settles) {
            return Err(Failure::usage(
                "--sponsor-account settles payments too, and one account cannot send both; name another account.",
            ));
        }
        let per_day = chains::strk(
            Some(args.sponsor_fees_per_day.as_deref().unwrap_or(FEES_PER_DAY)),
            "--sponsor-fees-per-day",
        )?;
        let clock = Arc::new(SystemClock);
        let per_caller = Amount::from_atomic(per_day);
        let purse = DailyPurse::of_callers(ledger.clone(), clock.clone(), per_caller);
        let purse = Arc::new(purse);
        let listed = args.sponsor_entrypoints.iter();
        let listed = listed.map(|text| entrypoint(text, "--sponsor-entrypoint"));
        let listed: Vec<Felt> = listed.collect::<Result<_, _>>()?;
        let max_fee = chains::strk(args.starknet_max_fee.as_deref(), "--starknet-max-fee")?;
        let mut sponsors = Vec::new();
        for setting in networks {
            let node = || wiring::node(setting, args.allow_http);
            if felt::chain_id(&setting.network).is_none() {
                continue;
            }
            let network = setting.network.clone();
            let sender = OwnerSender::new(&network, node()?, account.clone(), max_fee);
            let (purse, clock) = (purse.clone(), clock.clone());
            let tokens = assets.iter().filter(|asset| asset.network == network);
            let tokens: Vec<Felt> = tokens
                .filter_map(|a| felt::of_address(&a.address))
                .collect();
            let mut rules = SponsorRules::sessions(&tokens);
            if !listed.is_empty() {
                rules.entrypoints.clone_from(&listed);
            }
            let sponsor = sender.and_then(|s| Sponsor::new(network, s, rules, purse, clock));
            sponsors.extend(sponsor);
        }
        match sponsors.is_empty() {
            true => Err(Failure::usage(
                "--sponsor-account pays fees on Starknet, and no Starknet network is served; add --network starknet=RPC_URL.",
            )),
            false => Ok(Some(Self(sponsors))),
        }
    }

    fn described(&self) -> Value {
        let one = |sponsor: &Sponsor| {
            json!({
                "network": sponsor.network(),
                "caller": sponsor.address(),
                "entrypoints": felt::texts(&sponsor.rules().entrypoints),
                "tokens": felt::texts(&sponsor.rules().tokens),
                "classes": felt::texts(&sponsor.rules().classes),
            })
        };
        json!({ "sponsors": self.0.iter().map(one).collect::<Vec<_>>() })
    }

    async fn send(&self, caller: &str, body: &[u8]) -> Result<(Network, TxHash), ChainError> {
        let asked: Asked = serde_json::from_slice(body).map_err(|e| {
            malformed("send network and execution, or network and deployment").with_detail(e)
        })?;
        let sponsor = self
            .0
            .iter()
            .find(|sponsor| sponsor.network().as_str() == asked.network)
            .ok_or_else(|| {
                Refusal::new(
                    codes::INVALID_NETWORK,
                    "Nothing is sent on this network here; see GET /sponsor.",
                )
            })?;
        let wanted = match (asked.execution, asked.deployment) {
            (Some(execution), None) => Sponsored::Execution(sponsor.read(&execution)?),
            (None, Some(deployment)) => Sponsored::Deployment(deployment.read()?),
            _ => return Err(malformed("send one execution or one deployment").into()),
        };
        let hash = sponsor.send(caller, &wanted).await?;
        Ok((sponsor.network().clone(), hash))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    network: String,
    execution: Option<Object>,
    deployment: Option<Deployment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Deployment {
    class_hash: String,
    salt: String,
    public_key: String,
}

impl Deployment {
    fn read(&self) -> Result<NewAccount, Refusal> {
        let number = |text: &str| -> Result<Felt, Refusal> {
            felt::parse(text).map_err(|e| malformed("give numbers").with_detail(e))
        };
        Ok(NewAccount {
            class_hash: number(&self.class_hash)?,
            salt: number(&self.salt)?,
            public_key: number(&self.public_key)?,
        })
    }
}

fn malformed(remedy: &str) -> Refusal {
    Refusal::new(
        codes::INVALID_REQUEST,
        format!("The body is none that is understood; {remedy}."),
    )
}

/// A facilitator that sponsors, or one that does not.
#[derive(Clone)]
pub struct WithSponsors {
    api: FacilitatorService,
    engine: Engine,
    sponsors: Option<Arc<Sponsors>>,
    health: Arc<FacilitatorHealth>,
}

impl WithSponsors {
    /// The API with `/sponsor` beside it, and in `/health` what the server says of itself.
    pub fn new(
        api: FacilitatorService,
        engine: Engine,
        sponsors: Option<Sponsors>,
        health: Arc<FacilitatorHealth>,
    ) -> Self {
        Self {
            api,
            engine,
            sponsors: sponsors.map(Arc::new),
            health,
        }
    }
}

type Answer = Response<ApiBody>;

impl Service<Request<Incoming>> for WithSponsors {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Incoming>>::poll_ready(&mut self.api, cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        match &self.sponsors {
            Some(sponsors) if request.uri().path() == PATH => {
                let (sponsors, engine) = (Arc::clone(sponsors), self.engine.clone());
                Box::pin(async move { Ok(answer(sponsors, &engine, request).await) })
            }
            _ if request.uri().path() == "/health" && *request.method() == Method::GET => {
                let asked = Arc::clone(&self.health);
                Box::pin(async move { Ok(health(&asked).await) })
            }
            _ => {
                let span = traces::of_request("facilitator", &request);
                Box::pin(self.api.call(request).instrument(span))
            }
        }
    }
}

/// How a facilitator is.
pub struct FacilitatorHealth {
    engine: Engine,
    state: Arc<State>,
}

impl FacilitatorHealth {
    /// By its engine, and what the server says of itself.
    pub const fn new(engine: Engine, state: Arc<State>) -> Self {
        Self { engine, state }
    }

    async fn told(&self) -> (bool, Value) {
        let health = self.engine.health().await;
        let mut body = match serde_json::to_value(&health) {
            Ok(Value::Object(body)) => body,
            _ => serde_json::Map::new(),
        };
        let is_ready = self.state.add_to(&mut body) && health.ready;
        (is_ready, Value::Object(body))
    }
}

impl Health for FacilitatorHealth {
    fn look(&self) -> BoxFuture<'_, (bool, Value)> {
        Box::pin(self.told())
    }
}

async fn health(health: &FacilitatorHealth) -> Answer {
    let (is_ready, body) = health.told().await;
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    json_answer(status, &body)
}

async fn answer(sponsors: Arc<Sponsors>, engine: &Engine, request: Request<Incoming>) -> Answer {
    match *request.method() {
        Method::GET => return json_answer(StatusCode::OK, &sponsors.described()),
        Method::POST => {}
        _ => {
            let mut refused = problem(
                StatusCode::METHOD_NOT_ALLOWED,
                codes::INVALID_REQUEST,
                "Ask with GET or POST.",
            );
            let headers = refused.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("GET,POST"));
            return refused;
        }
    }
    let caller = match engine.call_of(api_key(request.headers())) {
        Ok(caller) => caller,
        Err(error) => {
            let status = match error.is_quota {
                true => StatusCode::TOO_MANY_REQUESTS,
                false => StatusCode::UNAUTHORIZED,
            };
            return problem(status, error.code, &error.message);
        }
    };
    let name = caller.name().unwrap_or_default().to_owned();
    let reading = to_bytes(Body::new(request.into_body()), MAX_BODY_BYTES);
    let Ok(Ok(body)) = tokio::time::timeout(BODY_TIMEOUT, reading).await else {
        return problem(
            StatusCode::BAD_REQUEST,
            codes::INVALID_REQUEST,
            "The body is too long or late; send at most 64 KiB within 10 seconds.",
        );
    };
    let sending = to_its_end(async move { sponsors.send(&name, &body).await });
    match sending.await {
        Ok((network, hash)) => json_answer(
            StatusCode::OK,
            &json!({ "success": true, "transaction": hash, "network": network }),
        ),
        Err(ChainError::Refused(refusal)) => {
            tracing::debug!(
                code = refusal.code(),
                detail = refusal.detail(),
                "not sponsored"
            );
            problem(StatusCode::OK, refusal.code(), refusal.message())
        }
        Err(ChainError::Unavailable { message, detail }) => {
            tracing::warn!(detail, "a sponsored transaction could not be sent");
            let mut late = problem(
                StatusCode::SERVICE_UNAVAILABLE,
                codes::NETWORK_UNAVAILABLE,
                &message,
            );
            let headers = late.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            late
        }
    }
}

/// Runs what has begun to its end, also when the caller hangs up meanwhile.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ChainError>> + Send + 'static,
) -> Result<T, ChainError> {
    let ended = tokio::spawn(work).await;
    ended.unwrap_or_else(|e| Err(ChainError::unavailable(e.to_string())))
}

fn problem(status: StatusCode, code: &str, message: &str) -> Answer {
    let body = json!({ "success": false, "errorReason": code, "errorMessage": message });
    json_answer(status, &body)
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut response = Response::new(ApiBody::Right(Body::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_being_sent_is_sent_though_the_caller_hangs_up() {
        let (done, told) = tokio::sync::oneshot::channel();
        let (go, begins) = tokio::sync::oneshot::channel::<()>();
        let mut sending = Box::pin(to_its_end(async move {
            let _ = begins.await;
            let _ = done.send(());
            Ok(())
        }));
        let waits = std::future::poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        drop(sending);
        go.send(()).unwrap();
        told.await.unwrap();
    }
}
