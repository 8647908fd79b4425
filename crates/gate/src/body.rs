//! The body type of requests and responses that pass through a gate.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};

/// Any error of a body or a service.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a gate hands to the service behind it, and what it answers with.
pub struct Body(Kind, Option<Box<dyn Send>>);

enum Kind {
    /// Bytes that are there already, until they are taken.
    Whole(Option<Bytes>),
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        empty()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

/// Any body as a [`Body`].
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Body(Kind::Boxed(body.map_err(Into::into).boxed_unsync()), None)
}

/// A body that keeps something until it is dropped, such as a place.
pub(crate) fn keeping(mut body: Body, kept: impl Send + 'static) -> Body {
    body.1 = Some(Box::new(kept));
    body
}

/// A body without bytes.
#[must_use]
pub fn empty() -> Body {
    Body(Kind::Whole(None), None)
}

/// A body of these bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    let bytes = Some(bytes.into()).filter(|bytes| !bytes.is_empty());
    Body(Kind::Whole(bytes), None)
}

/// A body of these bytes that ends with trailers.
pub(crate) fn with_trailers(bytes: Bytes, trailers: HeaderMap) -> Body {
    let frames = [Frame::data(bytes), Frame::trailers(trailers)];
    boxed(StreamBody::new(stream::iter(frames.map(Ok::<_, BoxError>))))
}
