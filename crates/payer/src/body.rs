//! The body of an answer, streamed to the caller.

use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

/// Any error, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer, streamed as it arrives.
pub struct PayBody {
    // A lock that is never taken: it makes a body that is only `Send` also
    // `Sync`, which reqwest asks for.
    inner: Mutex<UnsyncBoxBody<Bytes, BoxError>>,
}

impl PayBody {
    /// Wraps any body.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            inner: Mutex::new(body.map_err(Into::into).boxed_unsync()),
        }
    }

    /// A body that is here already.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self::new(Full::new(bytes))
    }

    /// Reads at most `limit` bytes.
    ///
    /// # Errors
    /// Fails if the connection breaks or more than `limit` bytes come.
    pub async fn bytes(self, limit: usize) -> Result<Bytes, BoxError> {
        let (read, complete) = self.read(limit).await?;
        if complete {
            Ok(read)
        } else {
            Err(format!("the answer is longer than {limit} bytes").into())
        }
    }

    /// Reads at most `limit` bytes, and the trailers that follow them: a metered
    /// answer has its receipt there.
    ///
    /// # Errors
    /// Fails if the connection breaks or more than `limit` bytes come.
    pub async fn with_trailers(mut self, limit: usize) -> Result<(Bytes, HeaderMap), BoxError> {
        let mut read = BytesMut::new();
        let mut trailers = HeaderMap::new();
        while let Some(frame) = self.frame().await {
            match frame?.into_data() {
                Ok(data) if data.len() > limit - read.len() => {
                    return Err(format!("the answer is longer than {limit} bytes").into());
                }
                Ok(data) => read.extend_from_slice(&data),
                Err(last) => trailers.extend(last.into_trailers().unwrap_or_default()),
            }
        }
        Ok((read.freeze(), trailers))
    }

    /// Reads at most `limit` bytes; whether that was all of it.
    pub(crate) async fn read(mut self, limit: usize) -> Result<(Bytes, bool), BoxError> {
        let mut read = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            let room = limit - read.len();
            if data.len() > room {
                read.extend_from_slice(&data[..room]);
                return Ok((read.freeze(), false));
            }
            read.extend_from_slice(&data);
        }
        Ok((read.freeze(), true))
    }

    fn pinned(self: Pin<&mut Self>) -> Pin<&mut UnsyncBoxBody<Bytes, BoxError>> {
        let inner = self.get_mut().inner.get_mut();
        Pin::new(inner.unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl fmt::Debug for PayBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayBody").finish_non_exhaustive()
    }
}

impl Body for PayBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.pinned().poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        match self.inner.lock() {
            Ok(body) => body.size_hint(),
            Err(poisoned) => poisoned.into_inner().size_hint(),
        }
    }
}
