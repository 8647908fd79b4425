//! A gRPC service and its callers as `tonic-build` would write them, by hand, so
//! that the examples need no protocol compiler: the messages are plain text.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use futures_util::stream::{self, Iter};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tollway_payer::{PayBody, PayLayer, Payer};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::Error;

/// One message: the day's weather somewhere.
pub const TODAY: &str = "/weather.Forecast/Today";
/// One message an hour, streamed.
pub const HOURS: &str = "/weather.Forecast/Hours";

/// The service `weather.Forecast`. It knows nothing of payments.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    calls: Arc<AtomicUsize>,
}

impl Forecast {
    /// How often it was called.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl NamedService for Forecast {
    const NAME: &'static str = "weather.Forecast";
}

impl Service<http::Request<Body>> for Forecast {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            Ok(match request.uri().path() {
                TODAY => Grpc::new(Text).unary(service_fn(today), request).await,
                HOURS => {
                    let hours = service_fn(hours);
                    Grpc::new(Text).server_streaming(hours, request).await
                }
                _ => Status::unimplemented("There is no such method.").into_http(),
            })
        })
    }
}

async fn today(place: Request<String>) -> Result<Response<String>, Status> {
    match place.into_inner().as_str() {
        "" => Err(Status::not_found("No place was named.")),
        place => Ok(Response::new(format!("{place}: sunny, 24 degrees"))),
    }
}

type Hours = Iter<std::vec::IntoIter<Result<String, Status>>>;

/// Three hours; of a place called Atlantis only the first, then a failure.
async fn hours(place: Request<String>) -> Result<Response<Hours>, Status> {
    let place = place.into_inner();
    let told = (1..=3).map(|hour| match (place.as_str(), hour) {
        ("Atlantis", 2..) => Err(Status::data_loss("The station is under water.")),
        _ => Ok(format!("{place}, hour {hour}: sunny")),
    });
    Ok(Response::new(stream::iter(told.collect::<Vec<_>>())))
}

/// Calls the methods of a server.
pub type Caller = tonic::client::Grpc<Sends>;
type Sends = BoxCloneService<http::Request<Body>, http::Response<PayBody>, Error>;

/// A caller that pays nothing.
///
/// # Errors
/// Fails if the URL is none.
pub fn plain(base_url: &str) -> Result<Caller, Error> {
    caller(
        http2().map_request(|asked: http::Request<Bytes>| asked.map(Full::new)),
        base_url,
    )
}

/// A caller that pays by itself.
///
/// # Errors
/// Fails if the URL is none.
pub fn paying(payer: Payer, base_url: &str) -> Result<Caller, Error> {
    caller(PayLayer::new(payer).layer(http2()), base_url)
}

/// Whoever may have to send a request again to pay for it needs it whole.
fn caller<S, R>(client: S, base_url: &str) -> Result<Caller, Error>
where
    S: Service<http::Request<Bytes>, Response = http::Response<R>> + Clone + Send + 'static,
    S::Error: Into<Error> + Send,
    S::Future: Send,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Error>,
{
    let sends = service_fn(move |request: http::Request<Body>| {
        let client = client.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let whole = http::Request::from_parts(head, body);
            let answer = client.oneshot(whole).await.map_err(Into::into)?;
            Ok::<_, Error>(answer.map(PayBody::new))
        }
    });
    let origin = base_url.parse()?;
    Ok(Caller::with_origin(BoxCloneService::new(sends), origin))
}

fn http2() -> Client<HttpConnector, Full<Bytes>> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.http2_only(true).build_http()
}

/// Messages of UTF-8 text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        let text = String::from_utf8(bytes.to_vec());
        text.map(Some)
            .map_err(|_| Status::invalid_argument("A message is not UTF-8 text."))
    }
}
