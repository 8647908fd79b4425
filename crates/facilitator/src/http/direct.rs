//! The API as a plain service, without a router before what is called most.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::{BoxError, Router};
use http::{Method, Request, Response};
use http_body_util::{Either, Full};
use tower::{Service, ServiceExt as _};

use super::{Api, HttpOptions, call, routes};
use crate::Engine;

/// What the service's answers carry: bytes that are there, or what a router gave.
pub type ApiBody = Either<Full<Bytes>, Body>;

/// The HTTP API as a service. Cheap to clone; always ready.
#[derive(Clone)]
pub struct FacilitatorService {
    api: Arc<Api>,
    router: Router,
}

impl std::fmt::Debug for FacilitatorService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FacilitatorService").finish_non_exhaustive()
    }
}

impl FacilitatorService {
    pub(super) fn new(engine: Engine, options: HttpOptions) -> Self {
        let api = Api::new(engine, options);
        Self {
            router: routes(api.clone()),
            api: Arc::new(api),
        }
    }
}

impl<B> Service<Request<B>> for FacilitatorService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ApiBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let direct = request.method() == Method::POST;
        match request.uri().path() {
            "/verify" if direct => {
                let api = Arc::clone(&self.api);
                Box::pin(async move {
                    let answer = call::answer_verify(&api, request).await;
                    Ok(answer.map(Either::Left))
                })
            }
            "/settle" if direct => {
                let api = Arc::clone(&self.api);
                Box::pin(async move {
                    let answer = call::answer_settle(&api, request).await;
                    Ok(answer.map(Either::Left))
                })
            }
            _ => {
                let router = self.router.clone();
                Box::pin(async move {
                    let answer = router.oneshot(request.map(Body::new)).await?;
                    Ok(answer.map(Either::Right))
                })
            }
        }
    }
}
