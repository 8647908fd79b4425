//! A metered stream, from the service behind to the client's connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::mpsc::{self, Permit};
use tokio::time::Instant;
use tollway_core::Amount;
use tollway_ledger::{GrantRecord, LedgerError};

use super::outlet::{Piece, Tally};
use crate::body::{Body, BoxError};
use crate::crash::durably;
use crate::gate::Inner;
use crate::hygiene;
use crate::meter::{Counter, Rate};

/// Of the most that may be charged, what may leave before it is recorded is one
/// part of so many, or one unit: all that a crash can give away.
const PIECES: u64 = 32;
/// How often the last charge is recorded when the ledger fails.
const MAX_RECORDS: u32 = 5;

/// Why a stream ended.
pub(super) enum End {
    /// The service behind had no more.
    Whole,
    /// The next unit would cost more than was signed for.
    Maximum,
    /// The client went away.
    Left,
    /// The client took nothing for too long.
    Stalled,
    /// What is left of the authorization is needed to settle.
    Time,
    /// The service behind broke off.
    Broken(BoxError),
    /// The ledger did not record what was handed out.
    Unrecorded,
    /// Another gate took the grant over.
    Lost,
}

impl End {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Maximum => "maximum",
            Self::Left => "client_left",
            Self::Stalled => "client_stalled",
            Self::Time => "time",
            Self::Broken(_) => "upstream_broke",
            Self::Unrecorded => "unrecorded",
            Self::Lost => "taken_over",
        }
    }

    /// Whether the client must see that something is missing that it did not pay
    /// for. At the maximum nothing is: it got all that it signed for.
    pub(super) fn breaks_off(self) -> Option<BoxError> {
        match self {
            Self::Whole | Self::Maximum | Self::Left => None,
            Self::Broken(error) => Some(error),
            other => Some(format!("the metered stream ended: {}", other.word()).into()),
        }
    }
}

pub(super) struct Stream {
    gate: Arc<Inner>,
    record: GrantRecord,
    rate: Rate,
    counter: Counter,
    /// Units that may leave unrecorded.
    piece: u64,
    /// Units that are recorded.
    recorded: u64,
    out: mpsc::Sender<Piece>,
    tally: Tally,
    ends_at: Instant,
    stall: Duration,
    /// What the service behind said at its end.
    pub(super) trailers: HeaderMap,
}

impl Stream {
    pub(super) fn new(
        gate: Arc<Inner>,
        record: GrantRecord,
        rate: Rate,
        (out, tally): (mpsc::Sender<Piece>, Tally),
        ends_at: Instant,
    ) -> Self {
        Self {
            stall: gate.limits.stalled_reader,
            counter: Counter::new(rate.unit),
            piece: rate.most.div_ceil(PIECES),
            recorded: 0,
            trailers: HeaderMap::new(),
            gate,
            record,
            rate,
            out,
            tally,
            ends_at,
        }
    }

    /// Hands a body out, as far as may be. It is dropped when that ends.
    pub(super) async fn drive(&mut self, mut body: Body) -> End {
        loop {
            let frame = tokio::select! {
                biased;
                () = self.out.closed() => return End::Left,
                frame = tokio::time::timeout_at(self.ends_at, body.frame()) => frame,
            };
            let frame = match frame {
                Err(_) => return End::Time,
                Ok(None) => return self.drained(End::Whole).await,
                Ok(Some(Err(error))) => return self.drained(End::Broken(error)).await,
                Ok(Some(Ok(frame))) => frame,
            };
            match frame.into_data() {
                Ok(data) => {
                    if let Err(end) = self.hand_out(data).await {
                        return end;
                    }
                }
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    hygiene::clean_trailers(&mut trailers);
                    self.trailers = trailers;
                }
            }
            if self.counter.is_full(self.rate.most) && !body.is_end_stream() {
                return self.drained(End::Maximum).await;
            }
        }
    }

    async fn hand_out(&mut self, mut data: Bytes) -> Result<(), End> {
        while !data.is_empty() {
            let limit = self.recorded.saturating_add(self.piece).min(self.rate.most);
            let piece = self.counter.take(&mut data, limit);
            if !piece.is_empty() {
                let units = self.counter.begun();
                self.room().await?.send(Piece::Data(piece, units));
            } else if limit == self.rate.most {
                return Err(self.drained(End::Maximum).await);
            } else {
                self.room().await?;
                self.record().await?;
            }
        }
        Ok(())
    }

    /// Waits until all that was handed over is taken.
    async fn room(&self) -> Result<Permit<'_, Piece>, End> {
        let until = self.ends_at.min(Instant::now() + self.stall);
        match tokio::time::timeout_at(until, self.out.reserve()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(End::Left),
            Err(_) if until == self.ends_at => Err(End::Time),
            Err(_) => Err(End::Stalled),
        }
    }

    /// The end, once the last piece is taken; or why it never is.
    async fn drained(&self, end: End) -> End {
        match self.room().await {
            Ok(_) => {
                self.tally.count(self.counter.begun());
                end
            }
            Err(other) => other,
        }
    }

    async fn record(&mut self) -> Result<(), End> {
        let units = self.tally.units();
        self.write(units).await.map_err(|error| match error {
            LedgerError::Conflict { .. } => End::Lost,
            _ => End::Unrecorded,
        })?;
        self.recorded = units;
        Ok(())
    }

    async fn write(&self, units: u64) -> Result<(), LedgerError> {
        let charge = self.rate.charge(units);
        self.gate.noted(durably!(
            "metered",
            self.gate
                .grants
                .metered(&self.record.id, charge, self.gate.now())
        ))
    }

    /// Hands out no more, and records what that came to: units and charge. An
    /// error leaves the grant to the keeper, with what was recorded last.
    pub(super) async fn close(&mut self) -> Result<(u64, Amount), LedgerError> {
        let units = self.tally.close();
        let mut attempt = 1;
        while units > self.recorded {
            match self.write(units).await {
                Ok(()) => self.recorded = units,
                Err(error @ LedgerError::Conflict { .. }) => return Err(error),
                Err(error) if attempt == MAX_RECORDS => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(200) * attempt).await,
            }
            attempt += 1;
        }
        Ok((units, self.rate.charge(units)))
    }

    /// Ends the body: by an error, or by trailers that may still come.
    pub(super) fn end(self, broken: Option<BoxError>) -> Tail {
        if let Some(error) = broken {
            // Where there is no room the client reads nothing any more.
            let _ = self.out.try_send(Piece::Broken(error));
            return Tail(None);
        }
        Tail(Some((self.out, self.trailers)))
    }
}

/// The open end of a body.
pub(super) struct Tail(Option<(mpsc::Sender<Piece>, HeaderMap)>);

impl Tail {
    /// Ends it with what the service behind said and these.
    pub(super) fn close(self, more: HeaderMap) {
        let Some((out, mut trailers)) = self.0 else {
            return;
        };
        trailers.extend(more);
        if !trailers.is_empty() {
            let _ = out.try_send(Piece::Trailers(trailers));
        }
    }
}
