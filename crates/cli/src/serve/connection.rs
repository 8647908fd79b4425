//! One connection, and the watch over all of them. A connection has no timer
//! and no lock of its own: what it does it notes, and one watcher of the whole
//! server tells those that are idle for too long, or all of them, to end.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service as HyperService;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tollway_gate::ClientAddress;
use tower::ServiceExt;
use tower::util::Oneshot;

use super::Answer;

/// How long a connection may ask for nothing.
#[derive(Clone, Copy)]
pub(super) struct Idleness {
    /// Then it is told to end.
    pub(super) max: Duration,
    /// So long after its last answer must a request that has begun be whole.
    pub(super) begun: Duration,
    /// How often that is looked at, and how long it then has to go by itself.
    pub(super) check: Duration,
    /// How much longer an answer may lie there of which the client takes nothing.
    pub(super) unread: Duration,
}

/// The open connections of a server.
#[derive(Default)]
pub(super) struct Watch {
    open: Mutex<HashMap<u64, Arc<Activity>>>,
    count: AtomicU64,
}

impl Watch {
    /// Watches one more connection, until what this gives is dropped.
    pub(super) fn watched(self: &Arc<Self>) -> Watched {
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::default());
        self.connections().insert(id, activity.clone());
        Watched {
            watch: self.clone(),
            id,
            activity,
        }
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Activity>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what is idle, and asks all to end once a stop is asked for.
    pub(super) async fn keep(&self, idleness: Idleness, stop: &CancellationToken) {
        let mut checks = tokio::time::interval(idleness.check);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = checks.tick() => self.check(idleness),
            }
        }
        loop {
            for activity in self.connections().values() {
                activity.order(Order::Finish);
            }
            checks.tick().await;
            self.check(idleness);
        }
    }

    fn check(&self, idleness: Idleness) {
        for activity in self.connections().values() {
            let max = match activity.begun.load(Ordering::Relaxed) {
                true => idleness.begun,
                false => idleness.max,
            };
            let idle = activity.idle(idleness.unread);
            if idle >= max + idleness.check {
                activity.order(Order::End);
            } else if idle >= max {
                activity.order(Order::Finish);
            }
        }
    }
}

/// A connection under watch.
pub(super) struct Watched {
    watch: Arc<Watch>,
    id: u64,
    activity: Arc<Activity>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.connections().remove(&self.id);
    }
}

impl Watched {
    /// Serves it until it ends, or is told to.
    pub(super) async fn serve(
        self,
        server: &auto::Builder<TokioExecutor>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        service: impl Answer,
    ) {
        let activity = &self.activity;
        let service = Counted {
            service,
            peer,
            activity: activity.clone(),
        };
        let stream = TokioIo::new(Noted {
            stream,
            activity: activity.clone(),
        });
        let mut connection = pin!(server.serve_connection_with_upgrades(stream, service));
        let mut is_finishing = false;
        let ended = poll_fn(|cx| {
            activity.told.register(cx.waker());
            match activity.ordered() {
                Order::End => return Poll::Ready(Ok(())),
                Order::Finish if !is_finishing => {
                    connection.as_mut().graceful_shutdown();
                    is_finishing = true;
                }
                Order::Finish | Order::GoOn => {}
            }
            connection.as_mut().poll(cx)
        })
        .await;
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// What a connection is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
enum Order {
    GoOn = 0,
    /// The answers that are being made, and no more.
    Finish = 1,
    /// Now.
    End = 2,
}

/// What a connection is doing, and what it is told.
struct Activity {
    ordered: AtomicU8,
    told: AtomicWaker,
    /// Whether bytes came since the last whole request.
    begun: AtomicBool,
    /// Requests whose answer is being made, here or by whom it comes from.
    making: AtomicUsize,
    /// Requests whose answer lies ready for the client to take.
    ready: AtomicUsize,
    /// Milliseconds from the first connection of the process to the last change.
    changed: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            ordered: AtomicU8::new(Order::GoOn as u8),
            told: AtomicWaker::new(),
            begun: AtomicBool::new(false),
            making: AtomicUsize::new(0),
            ready: AtomicUsize::new(0),
            changed: AtomicU64::new(now_millis()),
        }
    }
}

impl Activity {
    /// How long nothing was asked, or an answer lies unread beyond its time; zero
    /// while an answer is being made.
    fn idle(&self, unread: Duration) -> Duration {
        if self.making.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        let changed = self.changed.load(Ordering::Acquire);
        let still = Duration::from_millis(now_millis().saturating_sub(changed));
        match self.ready.load(Ordering::Acquire) {
            0 => still,
            _ => still.saturating_sub(unread),
        }
    }

    fn order(&self, order: Order) {
        if self.ordered.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.told.wake();
        }
    }

    fn ordered(&self) -> Order {
        match self.ordered.load(Ordering::Acquire) {
            0 => Order::GoOn,
            1 => Order::Finish,
            _ => Order::End,
        }
    }

    fn moved(&self) {
        self.changed.store(now_millis(), Ordering::Release);
    }
}

fn now_millis() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A request in flight, from its header to the last byte of its answer.
struct InFlight {
    activity: Arc<Activity>,
    /// Whether it is the client's turn, not ours.
    is_ready: bool,
}

impl InFlight {
    fn new(activity: Arc<Activity>) -> Self {
        activity.making.fetch_add(1, Ordering::AcqRel);
        activity.begun.store(false, Ordering::Relaxed);
        Self {
            activity,
            is_ready: false,
        }
    }

    /// Whose turn it is from now on.
    fn turn(&mut self, is_ready: bool) {
        self.activity.moved();
        if self.is_ready != is_ready {
            let (from, to) = self.places(is_ready);
            to.fetch_add(1, Ordering::AcqRel);
            from.fetch_sub(1, Ordering::AcqRel);
            self.is_ready = is_ready;
        }
    }

    /// What it leaves, and what it goes to.
    fn places(&self, to_ready: bool) -> (&AtomicUsize, &AtomicUsize) {
        let (making, ready) = (&self.activity.making, &self.activity.ready);
        if to_ready {
            (making, ready)
        } else {
            (ready, making)
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.moved();
        let (_, place) = self.places(self.is_ready);
        place.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A stream that notes when bytes come.
struct Noted<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.begun.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A service for one connection that counts what is in flight. Nothing in it is
/// boxed: it stands before every request.
#[derive(Clone)]
struct Counted<S> {
    service: S,
    peer: SocketAddr,
    activity: Arc<Activity>,
}

impl<S: Answer> HyperService<Request<Incoming>> for Counted<S> {
    type Response = Response<CountedBody<S::Body>>;
    type Error = S::Error;
    type Future = Answering<Oneshot<S, Request<Incoming>>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let in_flight = InFlight::new(self.activity.clone());
        request.extensions_mut().insert(ClientAddress(self.peer));
        Answering {
            answer: self.service.clone().oneshot(request),
            in_flight: Some(in_flight),
        }
    }
}

pin_project! {
    /// An answer that is being made.
    struct Answering<F> {
        #[pin]
        answer: F,
        in_flight: Option<InFlight>,
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<CountedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(cx));
        let mut in_flight = this.in_flight.take();
        if let Some(in_flight) = &mut in_flight {
            in_flight.turn(true);
        }
        Poll::Ready(answer.map(|response| response.map(|body| CountedBody { body, in_flight })))
    }
}

pin_project! {
    /// A body that keeps its request in flight until it is sent or dropped.
    struct CountedBody<B> {
        #[pin]
        body: B,
        in_flight: Option<InFlight>,
    }
}

impl<B: hyper::body::Body> hyper::body::Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = this.body.poll_frame(cx);
        if let Some(in_flight) = this.in_flight {
            in_flight.turn(frame.is_ready());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
