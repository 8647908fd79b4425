//! The tower layer and service.

use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::TryFutureExt;
use futures_util::future::{BoxFuture, Either, Ready, ready};
use http::header::{AUTHORIZATION, VARY, WWW_AUTHENTICATE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use tollway_core::extensions::sign_in::SIGN_IN_HEADER;
use tollway_core::{Address, Refusal, codes, header};
use tollway_ledger::PassId;
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::answer::grpc;
use crate::body::{self, Body, BoxError};
use crate::cors::Cors;
use crate::discovery::Document;
use crate::event::Event;
use crate::flow::{self, Upstream, UpstreamError};
use crate::gate::{Gate, Inner, Sale};
use crate::hygiene;
use crate::limits::{MAX_PRICED_PATH_BYTES, MAX_PRICED_QUERY_BYTES, MAX_TARGET_BYTES};
use crate::pass::{self, Admission, Opened, Passes};
use crate::paywall::landing;
use crate::proxy::MayHaveActed;
use crate::purchase::{Purchase, Rejection, Target, told_by_name};
use crate::route::{Decision, PathError};
use crate::{answer, challenge, sign_in};

/// Puts a [`Gate`] before a service.
#[derive(Clone, Debug)]
pub struct GateLayer {
    gate: Gate,
}

impl GateLayer {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = GateService<S>;

    fn layer(&self, inner: S) -> GateService<S> {
        GateService {
            inner,
            gate: Arc::clone(&self.gate.inner),
        }
    }
}

/// A service behind a [`Gate`].
#[derive(Clone)]
pub struct GateService<S> {
    inner: S,
    gate: Arc<Inner>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for GateService<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send + 'static,
    ReqBody: http_body::Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<BoxError>,
    ResBody: http_body::Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let is_grpc = grpc::is_grpc(request.headers());
        match (is_grpc, self.answer(request)) {
            (false, answer) => answer,
            (true, Either::Left(now)) => Either::Left(ready(now.into_inner().map(grpc::told))),
            (true, Either::Right(later)) => Either::Right(Box::pin(later.map_ok(grpc::told))),
        }
    }
}

/// An answer that is there, or one that is awaited.
type Answering<E> =
    Either<Ready<Result<Response<Body>, E>>, BoxFuture<'static, Result<Response<Body>, E>>>;

impl<S> GateService<S> {
    fn answer<ReqBody, ResBody>(&mut self, mut request: Request<ReqBody>) -> Answering<S::Error>
    where
        S: Service<Request<Body>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError> + Send + 'static,
        ReqBody: http_body::Body<Data = Bytes> + Send + 'static,
        ReqBody::Error: Into<BoxError>,
        ResBody: http_body::Body<Data = Bytes> + Send + 'static,
        ResBody::Error: Into<BoxError>,
    {
        let now = |response| Either::Left(ready(Ok(response)));
        let target = request
            .uri()
            .path_and_query()
            .map_or(0, |t| t.as_str().len());
        if target > MAX_TARGET_BYTES {
            return now(refused_path(&self.gate, PathError::TooLong));
        }
        if let Some(door) = pass::asked(&self.gate, request.uri().path()) {
            if let Some(response) = door_preflight(&self.gate, &request) {
                return now(response);
            }
            let gate = Arc::clone(&self.gate);
            let request = request.map(body::boxed);
            return Either::Right(Box::pin(async move {
                let response = pass::answer(Arc::clone(&gate), door, request).await;
                Ok(decorated(&gate, response))
            }));
        }
        let (route, path) = match self.gate.decide(request.method(), request.uri().path()) {
            Decision::Paid { route, path } => (route, path),
            Decision::Refused(error) => return now(refused_path(&self.gate, error)),
            Decision::Free { path } => {
                if let Some(response) = preflight(&self.gate, &request) {
                    return now(response);
                }
                let told = self.gate.document(&path);
                if let Some((discovery, document)) = told
                    && !discovery.yields()
                {
                    return now(documented(&self.gate, document, request.method()));
                }
                hygiene::clean_request(request.headers_mut());
                pass::keep_to_ourselves(&self.gate, request.headers_mut());
                let mut request = request.map(body::boxed);
                if let Err(error) = set_path(request.uri_mut(), &path) {
                    return now(refused_path(&self.gate, error));
                }
                let behind = told.map(|(_, document)| (document, request.method().clone()));
                let gate = Arc::clone(&self.gate);
                let answer = self.inner.call(request);
                let answer = answer.map_ok(move |response| match behind {
                    Some((document, method)) if has_nothing(response.status()) => {
                        documented(&gate, document, &method)
                    }
                    _ => response.map(body::boxed),
                });
                return Either::Right(Box::pin(answer));
            }
        };
        if let Some(response) = preflight(&self.gate, &request) {
            return now(response);
        }
        let query = request.uri().query().map_or(0, str::len);
        if path.len() > MAX_PRICED_PATH_BYTES || query > MAX_PRICED_QUERY_BYTES {
            return now(refused_path(&self.gate, PathError::TooLong));
        }
        if let Some(sale) = self.gate.fixed_sale(route)
            && (!has_payment(&request) || request.method() == Method::HEAD)
            && sign_in::shown(&sale, request.headers()).is_none()
            && (sale.pass.is_none() || pass::bearer(request.headers()).is_none())
        {
            let asked = Asked::new(request.method(), request.headers(), request.uri());
            return now(challenged(&self.gate, &sale, &asked, &path));
        }
        let mut service = self.ready_service();
        let call: Call<S::Error> = Box::new(move |request| {
            Box::pin(
                service
                    .call(request)
                    .map_ok(|response| response.map(body::boxed)),
            )
        });
        let gate = Arc::clone(&self.gate);
        Either::Right(Box::pin(priced(
            gate,
            route,
            path,
            request.map(body::boxed),
            call,
        )))
    }

    /// The service that was polled ready; a clone takes its place.
    fn ready_service(&mut self) -> S
    where
        S: Clone,
    {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }
}

/// Whether the service behind has nothing at a path.
fn has_nothing(status: StatusCode) -> bool {
    [
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::NOT_IMPLEMENTED,
    ]
    .contains(&status)
}

/// What programs that look for services are told.
fn documented(gate: &Inner, document: Document, method: &Method) -> Response<Body> {
    let documents = gate
        .documents
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    decorated(gate, documents.answer(document, method))
}

fn has_payment<B>(request: &Request<B>) -> bool {
    pays(request.headers())
}

fn pays(headers: &HeaderMap) -> bool {
    headers.contains_key(&header::PAYMENT_SIGNATURE) || headers.contains_key(&header::X_PAYMENT)
}

/// Answers a preflight about a priced request. The question is what the real
/// request would cost, not the OPTIONS request.
fn preflight<B>(gate: &Inner, request: &Request<B>) -> Option<Response<Body>> {
    let cors = gate.cors.as_ref()?;
    let asked = Cors::preflight(request.method(), request.headers())?;
    match gate.decide(&asked, request.uri().path()) {
        Decision::Paid { .. } => Some(cors.allow(&asked, request.headers())),
        _ => None,
    }
}

/// Answers a preflight about a door of passes.
fn door_preflight<B>(gate: &Inner, request: &Request<B>) -> Option<Response<Body>> {
    let cors = gate.cors.as_ref()?;
    let asked = Cors::preflight(request.method(), request.headers())?;
    Some(cors.allow(&asked, request.headers()))
}

fn refused_path(gate: &Inner, error: PathError) -> Response<Body> {
    let status = match error {
        PathError::TooLong => StatusCode::URI_TOO_LONG,
        _ => StatusCode::BAD_REQUEST,
    };
    decorated(
        gate,
        answer::problem(status, error.code(), &error.to_string()),
    )
}

/// A request, as far as the answer without payment depends on it.
struct Asked<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    uri: &'a Uri,
}

impl<'a> Asked<'a> {
    const fn new(method: &'a Method, headers: &'a HeaderMap, uri: &'a Uri) -> Self {
        Self {
            method,
            headers,
            uri,
        }
    }
}

/// The terms. HEAD gets those of GET, without their body; a person in a browser
/// gets a page to pay on.
fn challenged(gate: &Inner, sale: &Sale, asked: &Asked<'_>, path: &str) -> Response<Body> {
    let mut response = challenge::unpaid(gate, sale, path);
    if *asked.method == Method::HEAD {
        *response.body_mut() = body::empty();
    }
    if let Some(paywall) = &gate.paywall
        && paywall.is_for(asked.method, asked.headers)
    {
        paywall.dress(gate, sale, (path, asked.uri), &mut response);
    }
    gate.counts.challenged(&sale.pattern);
    if gate.on_event.is_some() {
        gate.emit(&Event::Challenged {
            route: sale.pattern.clone(),
        });
    } else {
        sale.challenges.count(&sale.pattern);
    }
    decorated(gate, response)
}

fn decorated(gate: &Inner, mut response: Response<Body>) -> Response<Body> {
    if let Some(cors) = &gate.cors {
        cors.decorate(response.headers_mut());
    }
    response
}

/// One call of the service behind, with its own error.
type Call<E> =
    Box<dyn FnOnce(Request<Body>) -> BoxFuture<'static, Result<Response<Body>, E>> + Send>;

/// Serves a request of a priced route.
async fn priced<E>(
    gate: Arc<Inner>,
    route: usize,
    path: String,
    request: Request<Body>,
    call: Call<E>,
) -> Result<Response<Body>, E>
where
    E: Into<BoxError> + Send + 'static,
{
    let (mut parts, body) = request.into_parts();
    if let Err(error) = set_path(&mut parts.uri, &path) {
        return Ok(refused_path(&gate, error));
    }
    let sale = match sale_of(&gate, route, &parts).await {
        Ok(Some(sale)) => sale,
        Ok(None) => {
            hygiene::clean_paid_request(&mut parts.headers);
            pass::keep_to_ourselves(&gate, &mut parts.headers);
            return call(Request::from_parts(parts, body)).await;
        }
        Err(refusal) => return Ok(decorated(&gate, refused_price(&refusal))),
    };
    if let (Some(passes), Some(sold)) = (&gate.passes, &sale.pass)
        && let Some(token) = pass::bearer(&parts.headers)
    {
        match pass::admit(&gate, passes, sold, token).await {
            // Who has a good token need not pay, whatever else was sent.
            Admission::Open(opened) => {
                let request = Request::from_parts(parts, body);
                return opened_by_pass(&gate, passes, opened, request, call).await;
            }
            _ if pays(&parts.headers) => {}
            closed => return Ok(decorated(&gate, not_opened(&gate, &sale, &path, closed))),
        }
    }
    if let Some(shown) = sign_in::shown(&sale, &parts.headers) {
        match gate.signed_in(&sale, (&parts.method, &path), shown).await {
            Ok(payer) => {
                let request = Request::from_parts(parts, body);
                return opened_again(&gate, &sale, &payer, request, call).await;
            }
            Err(why) => {
                gate.emit(&sign_in::refused(&sale, why.code()));
                if !pays(&parts.headers) {
                    let answer = match why {
                        sign_in::NotSignedIn::Denied(denied) => denied.answer(),
                        sign_in::NotSignedIn::Rejected(why) => {
                            challenge::rejected(&gate, &sale, &path, &why)
                        }
                    };
                    return Ok(decorated(&gate, answer));
                }
            }
        }
    }
    let upstream: Upstream = Box::new(move |request| {
        let told = |error: E| UpstreamError::new(error.into().as_ref());
        let asking = call(request).map_err(told);
        Box::pin(asking.instrument(tracing::info_span!("upstream", otel.kind = "client")))
    });
    let is_page = landing::asks(&parts.headers);
    let request = Request::from_parts(parts, body);
    let mut answer = match bought(&gate, sale, path.clone(), request, upstream).await {
        Ok(answer) | Err(answer) => gate.receipted(&path, answer),
    };
    if is_page {
        answer = landing::told(&gate.base_url, &path, answer);
    }
    Ok(decorated(&gate, answer))
}

/// The answer to a token that opens nothing.
fn not_opened(gate: &Inner, sale: &Sale, path: &str, closed: Admission) -> Response<Body> {
    match closed {
        Admission::Closed(code, message) => {
            let refusal = Refusal::new(code, message);
            let mut response = challenge::rejected(gate, sale, path, &Rejection::terms(refusal));
            let error = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, error);
            response
        }
        Admission::Open(_) | Admission::Unknown => answer::unavailable(
            codes::LEDGER_UNAVAILABLE,
            "The access token cannot be checked now; ask again with it later.",
        ),
    }
}

/// Asks the service behind for whom a pass opened the route. A request that
/// fails there is given back to a pass that counts them, whether or not the
/// client stays to hear of it.
async fn opened_by_pass<E>(
    gate: &Arc<Inner>,
    passes: &Passes,
    opened: Opened,
    request: Request<Body>,
    call: Call<E>,
) -> Result<Response<Body>, E>
where
    E: Send + 'static,
{
    if let Some(Err(denied)) = gate
        .guard
        .as_ref()
        .map(|guard| guard.is_listed(&opened.payer))
    {
        return Ok(decorated(gate, denied.answer()));
    }
    let mut request = request;
    let headers = request.headers_mut();
    hygiene::clean_paid_request(headers);
    headers.remove(AUTHORIZATION);
    for (name, text) in [
        (hygiene::TOLLWAY_PAYER, opened.payer.as_str()),
        (pass::TOLLWAY_PASS, opened.pass.as_str()),
    ] {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
    request
        .extensions_mut()
        .remove::<hyper::upgrade::OnUpgrade>();
    let answered = match opened.is_counted {
        true => counted(gate, passes, opened.pass, call(request)).await,
        false => call(request).await.map(Some),
    };
    let Some(mut answer) = answered? else {
        return Ok(answer::problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            codes::INTERNAL_ERROR,
            "Something failed on this side; ask again with the same token.",
        ));
    };
    hygiene::clean_answer(answer.headers_mut());
    answer
        .headers_mut()
        .append(VARY, HeaderValue::from_static("Authorization"));
    Ok(decorated(gate, answer))
}

/// Asks the service behind for who paid before, and signed in.
async fn opened_again<E>(
    gate: &Inner,
    sale: &Sale,
    payer: &Address,
    mut request: Request<Body>,
    call: Call<E>,
) -> Result<Response<Body>, E> {
    gate.emit(&Event::SignedIn {
        route: sale.pattern.clone(),
        payer: payer.as_str().to_owned(),
    });
    sign_in::admit(request.headers_mut(), payer);
    pass::keep_to_ourselves(gate, request.headers_mut());
    request
        .extensions_mut()
        .remove::<hyper::upgrade::OnUpgrade>();
    let mut answer = call(request).await?;
    hygiene::clean_answer(answer.headers_mut());
    answer
        .headers_mut()
        .append(VARY, HeaderValue::from_name(SIGN_IN_HEADER));
    Ok(decorated(gate, answer))
}

/// A request that was counted, in a task of its own; no answer if that breaks
/// down.
async fn counted<E: Send + 'static>(
    gate: &Arc<Inner>,
    passes: &Passes,
    pass: PassId,
    answering: BoxFuture<'static, Result<Response<Body>, E>>,
) -> Result<Option<Response<Body>>, E> {
    let (gate, store) = (Arc::clone(gate), Arc::clone(&passes.store));
    let task = gate.tasks.clone().spawn(async move {
        let answered = answering.await;
        if answered.as_ref().map_or(true, did_nothing) {
            let _ = gate.noted(store.give_use_back(&pass).await);
        }
        answered
    });
    task.await.map_or(Ok(None), |answered| answered.map(Some))
}

/// Whether the service behind says that it failed, or never got the request. One
/// that broke off on the way, or that did not answer in time, may have acted.
fn did_nothing(answer: &Response<Body>) -> bool {
    answer.status().is_server_error() && answer.extensions().get::<MayHaveActed>().is_none()
}

async fn sale_of(
    gate: &Inner,
    route: usize,
    parts: &http::request::Parts,
) -> Result<Option<Arc<Sale>>, Refusal> {
    match (gate.fixed_sale(route), gate.routes.get(route)) {
        (Some(sale), _) => Ok(Some(sale)),
        (None, Some(route)) => gate.asked_sale(route, parts).await,
        (None, None) => Ok(None),
    }
}

fn refused_price(refusal: &Refusal) -> Response<Body> {
    let status = match refusal.code() {
        codes::INTERNAL_ERROR => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::FORBIDDEN,
    };
    answer::refusal(status, refusal)
}

/// Reads the payment and the body, and hands both to a task that runs to its
/// end whether or not the client stays. The error is an answer as well: the
/// one of a request that bought nothing.
async fn bought(
    gate: &Arc<Inner>,
    sale: Arc<Sale>,
    path: String,
    request: Request<Body>,
    upstream: Upstream,
) -> Result<Response<Body>, Response<Body>> {
    let (mut parts, body) = request.into_parts();
    let rejected = |rejection: Rejection| challenge::rejected(gate, &sale, &path, &rejection);
    let presented = match header::presented(&parts.headers) {
        Ok(Some(presented)) if parts.method != Method::HEAD => presented,
        Ok(_) => {
            let asked = Asked::new(&parts.method, &parts.headers, &parts.uri);
            return Err(challenged(gate, &sale, &asked, &path));
        }
        Err(refusal) => return Err(rejected(Rejection::malformed(refusal))),
    };
    if let Some(guard) = &gate.guard {
        let from = guard.from(&parts.extensions, gate.now());
        from.map_err(|denied| denied.answer())?;
    }
    if hygiene::wants_upgrade(&parts.headers) {
        return Err(answer::problem(
            StatusCode::BAD_REQUEST,
            "upgrade_not_supported",
            "A priced route does not switch protocols; send an ordinary request.",
        ));
    }
    let target = Target {
        method: parts.method.clone(),
        path: path.clone(),
        query: parts.uri.query().map(str::to_owned),
    };
    let mut purchase = match Purchase::read_by_any(gate, &sale, &presented, &target) {
        Ok(purchase) => purchase,
        // Who paid by it once is told what became of it, before anybody is told terms.
        Err(rejection) => {
            let failed = |error| flow::ledger_failed(&error);
            let told = told_by_name(gate, &presented).await;
            if let Some(told) = told.map_err(failed)? {
                return Err(told);
            }
            let known = Purchase::read_known(gate, &sale, presented, target).await;
            known.map_err(failed)?.ok_or_else(|| rejected(rejection))?
        }
    };
    let body = read_body(gate, body, gate.limits.max_request_body_bytes).await?;
    purchase.bind_body(&body);
    hygiene::clean_paid_request(&mut parts.headers);
    pass::keep_to_ourselves(gate, &mut parts.headers);
    parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let request = Request::from_parts(parts, body);
    let work = flow::Work::new(Arc::clone(gate), purchase, request, upstream);
    let task = gate.tasks.spawn(work.run().in_current_span());
    task.await.map_err(|error| {
        tracing::error!(%error, "a paying request's task ended early");
        answer::problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            codes::INTERNAL_ERROR,
            "Something failed on this side; ask again with the same payment.",
        )
    })
}

pub(crate) async fn read_body(
    gate: &Inner,
    body: Body,
    limit: usize,
) -> Result<Bytes, Response<Body>> {
    let too_large = || {
        answer::problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            codes::REQUEST_TOO_LARGE,
            &format!("The body of a paying request is longer than {limit} bytes; send less."),
        )
    };
    // A length that is announced need not be waited for.
    if http_body::Body::size_hint(&body).lower() > limit as u64 {
        return Err(too_large());
    }
    let limited = http_body_util::Limited::new(body, limit).collect();
    match tokio::time::timeout(gate.limits.request_body_timeout, limited).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(answer::problem(
            StatusCode::BAD_REQUEST,
            codes::INVALID_REQUEST,
            "The body broke off; send it again with the same payment.",
        )),
        Err(_) => Err(answer::problem(
            StatusCode::REQUEST_TIMEOUT,
            codes::INVALID_REQUEST,
            "The body did not arrive in time; send it again with the same payment.",
        )),
    }
}

/// Replaces the path; the query and, where there is one, the authority stay.
/// What cannot be written that way is refused, never sent elsewhere.
fn set_path(uri: &mut Uri, path: &str) -> Result<(), PathError> {
    if uri.path() == path {
        return Ok(());
    }
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| PathError::NotAPath)?);
    *uri = Uri::from_parts(parts).map_err(|_| PathError::NotAPath)?;
    Ok(())
}
