//! Our own accept loop: axum's has no bound on what a slow, idle or hostile
//! connection may hold.

mod connection;
mod hands;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use connection::{Idleness, Watch};
use hands::Hands;

use crate::exit::Failure;

pub use tls::{Certificate, Tls, certificate};

/// Room for a 16 KiB payment header beside ordinary ones.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: u64 = 16_384;
/// Files that are kept for all else: ledger, nodes, what is paid and asked behind.
const OTHER_FILES: u64 = 512;
/// An idle connection is closed after 20 seconds, one with half a request after
/// 10, looked for every 2.
const IDLENESS: Idleness = Idleness {
    max: Duration::from_secs(20),
    begun: Duration::from_secs(10),
    check: Duration::from_secs(2),
    unread: Duration::from_secs(60),
};
/// In-flight requests get this long to end after a stop is asked for.
pub const DRAIN_TIME: Duration = Duration::from_secs(90);

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

/// The URL of an address that is served.
pub fn url(address: SocketAddr, tls: Option<&Arc<Tls>>) -> String {
    let scheme = if tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}")
}

/// Serves until stopped, then lets requests in flight end.
pub async fn serve(listener: TcpListener, service: impl Answer, stop: CancellationToken) {
    serve_with(listener, None, service, stop, IDLENESS).await;
}

/// The same behind TLS, where there is a certificate.
pub async fn serve_tls(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    service: impl Answer,
    stop: CancellationToken,
) {
    serve_with(listener, tls, service, stop, IDLENESS).await;
}

async fn serve_with(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    service: impl Answer,
    stop: CancellationToken,
    idleness: Idleness,
) {
    let watch = Arc::new(Watch::default());
    tokio::select! {
        () = serve_all(listener, tls, service, &stop, &watch) => {}
        () = watch.keep(idleness, &stop) => {}
    }
}

async fn serve_all(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    service: impl Answer,
    stop: &CancellationToken,
    watch: &Arc<Watch>,
) {
    let hands = Hands::of_process();
    let server = Arc::new(builder());
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(most_connections()));
    while let Some((stream, peer, place)) = next(&listener, &places, stop).await {
        let Ok(stream) = stream.into_std() else {
            continue;
        };
        let (server, service, watched) = (server.clone(), service.clone(), watch.watched());
        let (tls, stop) = (tls.clone(), stop.clone());
        let attended = async move {
            // Events of a socket come to the thread that it is registered on.
            if let Ok(stream) = TcpStream::from_std(stream) {
                let _ = stream.set_nodelay(true);
                match tls {
                    None => watched.serve(&server, stream, peer, service).await,
                    // Who has not been heard yet is not waited for.
                    Some(tls) => {
                        if let Some(Some(stream)) =
                            stop.run_until_cancelled(tls.shaken(stream)).await
                        {
                            watched.serve(&server, stream, peer, service).await;
                        }
                    }
                }
            }
            drop(place);
        };
        connections.spawn_on(attended, hands.next());
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

fn builder() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .header_read_timeout(None)
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

/// How a server goes: first it says so, then it takes nothing more.
#[derive(Clone)]
pub struct Leaving {
    /// Cancelled by SIGTERM or Ctrl-C, or by whoever asks for it.
    pub draining: CancellationToken,
    /// Cancelled so long after it that whoever sends requests has heard.
    pub stop: CancellationToken,
}

/// A token that is cancelled by SIGTERM or Ctrl-C.
pub fn stop_on_signal() -> Result<CancellationToken, Failure> {
    Ok(leave_on_signal(Duration::ZERO)?.stop)
}

/// The same with time to hear of it between the signal and the stop.
pub fn leave_on_signal(delay: Duration) -> Result<Leaving, Failure> {
    let failed =
        |e: std::io::Error| Failure::new(format!("Signals cannot be watched: {e}; start again."));
    let leaving = Leaving {
        draining: CancellationToken::new(),
        stop: CancellationToken::new(),
    };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(failed)?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .map_err(failed)?;
    let Leaving { draining, stop } = leaving.clone();
    tokio::spawn(async move {
        let mut is_signalled = tokio::select! {
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
            () = draining.cancelled() => false,
        };
        draining.cancel();
        let later = tokio::time::sleep(delay);
        tokio::pin!(later);
        loop {
            tokio::select! {
                () = &mut later, if !stop.is_cancelled() => {
                    stop.cancel();
                    continue;
                }
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // Who was asked to drain is told by the first signal not to wait any
            // longer; a second one means now.
            if is_signalled {
                std::process::exit(130);
            }
            is_signalled = true;
            stop.cancel();
        }
    });
    Ok(leaving)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const QUICK: Idleness = Idleness {
        max: Duration::from_millis(200),
        begun: Duration::from_millis(100),
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
        tokio::spawn(serve_with(
            listener,
            None,
            app,
            CancellationToken::new(),
            QUICK,
        ));
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
        // Nothing at all, half a request, half an HTTP/2 preface, and HTTP/2 without a request.
        said_to(b"").await;
        said_to(b"GET /slow HTTP/1.1\r\nhost").await;
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
