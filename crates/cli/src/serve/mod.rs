//! Our own accept loop: axum's has no timer, and so no bound on what a slow,
//! idle or hostile connection may hold.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::{Bytes, Incoming};
use hyper::service::Service as HyperService;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use pin_project_lite::pin_project;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollway_gate::ClientAddress;
use tower::util::Oneshot;
use tower::{Service, ServiceExt};

use crate::exit::Failure;

/// A header must arrive within this time.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Room for a 16 KiB payment header beside ordinary ones.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: u64 = 16_384;
/// Files that are kept for all else: ledger, nodes, what is paid and asked behind.
const OTHER_FILES: u64 = 512;
/// An idle connection is closed after 20 seconds, looked for every 5.
const IDLENESS: Idleness = Idleness {
    max: Duration::from_secs(20),
    check: Duration::from_secs(5),
    unread: Duration::from_secs(60),
};
/// In-flight requests get this long to end after a stop is asked for.
pub const DRAIN_TIME: Duration = Duration::from_secs(90);

/// How long a connection may ask for nothing.
#[derive(Clone, Copy)]
struct Idleness {
    /// Then it is told to end.
    max: Duration,
    /// How often that is looked at, and how long it then has to go by itself.
    check: Duration,
    /// How much longer an answer may lie there of which the client takes nothing.
    unread: Duration,
}

/// Binds an address that the user named.
pub async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |e: std::io::Error| {
        Failure::usage(format!(
            "Cannot listen on {address}: {e}; choose another --listen address."
        ))
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What answers: a clone of it takes each request.
pub trait Answer:
    Service<
        Request<Incoming>,
        Response = Response<Self::Body>,
        Future: Send + 'static,
        Error: Into<BoxError> + Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
    /// What its answers carry.
    type Body: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> Answer for S
where
    S: Service<
            Request<Incoming>,
            Response = Response<B>,
            Future: Send + 'static,
            Error: Into<BoxError> + Send,
        > + Clone
        + Send
        + Sync
        + 'static,
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
}

/// Serves until stopped, then lets requests in flight end.
pub async fn serve(listener: TcpListener, service: impl Answer, stop: CancellationToken) {
    serve_with(listener, service, stop, IDLENESS).await;
}

async fn serve_with(
    listener: TcpListener,
    service: impl Answer,
    stop: CancellationToken,
    idleness: Idleness,
) {
    let server = Arc::new(builder());
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(most_connections()));
    while let Some((stream, peer, place)) = next(&listener, &places, &stop).await {
        let (server, service, stop) = (server.clone(), service.clone(), stop.clone());
        connections.spawn(async move {
            attend(&server, (stream, peer), service, &stop, idleness).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_TIME, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not end in time");
    }
}

/// As many as half of the open files allow, whose limit is raised as far as we
/// may: the other half is for connections to the server behind.
pub fn most_connections() -> usize {
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => files.maximum,
        Err(_) => files.current,
    };
    let most = files.map_or(MAX_CONNECTIONS, |files| {
        let half = files.saturating_sub(OTHER_FILES) / 2;
        half.clamp(64, MAX_CONNECTIONS)
    });
    usize::try_from(most).unwrap_or(64)
}

/// The next connection and its place; `None` once a stop is asked for.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let accept = async {
        let place = places.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, place)),
                Err(error) => {
                    // Out of file descriptors, or a connection that died in the queue.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    tokio::select! {
        accepted = accept => accepted,
        () = stop.cancelled() => None,
    }
}

/// Serves one connection until it ends, is stopped, or has been idle too long.
async fn attend(
    server: &auto::Builder<TokioExecutor>,
    (stream, peer): (TcpStream, SocketAddr),
    service: impl Answer,
    stop: &CancellationToken,
    idleness: Idleness,
) {
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::default());
    let service = Counted {
        service,
        peer,
        activity: activity.clone(),
    };
    let mut connection = pin!(server.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut checks = tokio::time::interval(idleness.check);
    let mut asked_to_end = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = stop.cancelled(), if !asked_to_end => {
                connection.as_mut().graceful_shutdown();
                asked_to_end = true;
            }
            _ = checks.tick() => {
                let idle = activity.idle(idleness.unread);
                if idle >= idleness.max + idleness.check {
                    return;
                }
                if idle >= idleness.max {
                    connection.as_mut().graceful_shutdown();
                    asked_to_end = true;
                }
            }
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_headers(100)
        .max_buf_size(MAX_HEADER_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(15))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_header_list_size(64 * 1024)
        .max_concurrent_streams(128);
    server
}

/// What a connection is doing, for its idle deadline.
struct Activity {
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

/// A token that is cancelled by SIGTERM or Ctrl-C.
pub fn stop_on_signal() -> Result<CancellationToken, Failure> {
    let failed =
        |e: std::io::Error| Failure::new(format!("Signals cannot be watched: {e}; start again."));
    let stop = CancellationToken::new();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(failed)?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .map_err(failed)?;
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
        // A second signal means now.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const QUICK: Idleness = Idleness {
        max: Duration::from_millis(200),
        check: Duration::from_millis(50),
        unread: Duration::from_millis(300),
    };

    /// More than the sockets hold.
    const LARGE: usize = 64 << 20;

    async fn served() -> SocketAddr {
        let slow = get(|| async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            "done"
        });
        let app = Router::new()
            .route("/slow", slow)
            .route("/large", get(|| async { vec![b'x'; LARGE] }));
        let (listener, address) = bind("127.0.0.1:0").await.unwrap();
        tokio::spawn(serve_with(listener, app, CancellationToken::new(), QUICK));
        address
    }

    /// What the server says to these first bytes until it closes the connection.
    async fn said_to(first: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(served().await).await.unwrap();
        stream.write_all(first).await.unwrap();
        let mut said = Vec::new();
        let end = stream.read_to_end(&mut said);
        let _ = tokio::time::timeout(Duration::from_secs(5), end)
            .await
            .expect("the connection stays open");
        said
    }

    #[tokio::test]
    async fn a_connection_that_asks_for_nothing_is_closed() {
        // Nothing at all, half an HTTP/2 preface, and HTTP/2 without a request.
        said_to(b"").await;
        said_to(b"PRI * HTTP/2").await;
        said_to(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_holds_no_place_for_ever() {
        let mut stream = TcpStream::connect(served().await).await.unwrap();
        let request = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        // What is left comes from the sockets; the rest was given up.
        let mut said = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut said))
            .await
            .expect("the connection stays open");
        assert!(!said.is_empty() && said.len() < LARGE, "{}", said.len());
    }

    #[tokio::test]
    async fn a_request_may_take_longer_than_a_connection_may_idle() {
        let said = said_to(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(String::from_utf8_lossy(&said).ends_with("done"));
    }
}
