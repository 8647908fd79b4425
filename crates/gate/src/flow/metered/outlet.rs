//! What the client's connection takes of a metered stream, piece by piece.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::mpsc;

use crate::body::BoxError;

/// What is on its way to the client.
pub(super) enum Piece {
    /// Bytes, and how many units were begun once they are taken.
    Data(Bytes, u64),
    Trailers(HeaderMap),
    /// The stream breaks off here.
    Broken(BoxError),
}

/// What was taken so far. Nothing is taken once it is closed, so that what is
/// settled is what was handed out.
#[derive(Clone, Default)]
pub(super) struct Tally(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    units: u64,
    is_closed: bool,
}

impl Tally {
    pub(super) fn units(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).units
    }

    /// Takes no more; what was taken.
    pub(super) fn close(&self) -> u64 {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.is_closed = true;
        taken.units
    }

    /// Counts a piece; false if it may not be handed out any more.
    fn take(&self, units: u64) -> bool {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_closed {
            return false;
        }
        taken.units = units;
        true
    }
}

/// The body that the client's connection reads.
pub(super) struct Outlet {
    pieces: mpsc::Receiver<Piece>,
    tally: Tally,
}

impl Outlet {
    /// The body, and what feeds it: one piece at a time.
    pub(super) fn new(tally: Tally) -> (mpsc::Sender<Piece>, Self) {
        let (sender, pieces) = mpsc::channel(1);
        (sender, Self { pieces, tally })
    }
}

impl http_body::Body for Outlet {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            return Poll::Ready(match ready!(self.pieces.poll_recv(cx)) {
                None => None,
                Some(Piece::Data(bytes, units)) if self.tally.take(units) => {
                    Some(Ok(Frame::data(bytes)))
                }
                Some(Piece::Data(..)) => continue,
                Some(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Piece::Broken(error)) => Some(Err(error)),
            });
        }
    }
}
