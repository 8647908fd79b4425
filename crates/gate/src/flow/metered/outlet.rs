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

/// What was taken so far. Nothing more is taken once it is closed, so that what is
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

    /// Counts what the reader has out of the channel, which it may not have counted
    /// yet: it is handed out, whoever closes meanwhile.
    pub(super) fn count(&self, units: u64) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.units = taken.units.max(units);
    }

    /// Counts a piece; false if it may not be handed out any more.
    fn take(&self, units: u64) -> bool {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_closed {
            return units <= taken.units;
        }
        taken.units = taken.units.max(units);
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// What a reader gets of a piece that it has out of the channel when the stream
    /// is closed.
    async fn got(counted: u64, piece: u64) -> Option<Bytes> {
        let tally = Tally::default();
        let (out, mut outlet) = Outlet::new(tally.clone());
        let sent = out.send(Piece::Data(Bytes::from_static(b"last"), piece));
        assert!(sent.await.is_ok());
        tally.count(counted);
        assert_eq!(tally.close(), counted);
        drop(out);
        let frame = outlet.frame().await?;
        frame.ok()?.into_data().ok()
    }

    #[tokio::test]
    async fn the_last_piece_is_handed_out_though_the_stream_is_closed_before_it_is_counted() {
        assert_eq!(got(5, 5).await, Some(Bytes::from_static(b"last")));
        assert_eq!(got(5, 6).await, None, "it was not charged");
    }
}
