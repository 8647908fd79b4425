//! A load generator: so many connections, each asking as fast as it is answered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use tokio::task::JoinSet;

use crate::connection::{Answer, Connection};
use crate::process::Server;

/// Bodies that wait for a connection.
pub type Queue = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// Requests to send.
pub struct Load {
    url: String,
    path: &'static str,
    method: Method,
    bodies: VecDeque<Vec<u8>>,
    concurrency: usize,
    authorization: Option<Arc<str>>,
}

/// What came back.
pub struct Measured {
    latencies: Vec<Duration>,
    answers: Vec<Answer>,
    wall: Duration,
    cpu: Duration,
}

impl Load {
    /// POSTs each body once.
    pub fn post(url: &str, path: &'static str, bodies: Vec<Vec<u8>>, concurrency: usize) -> Self {
        Self {
            url: url.to_owned(),
            path,
            method: Method::POST,
            bodies: bodies.into(),
            concurrency,
            authorization: None,
        }
    }

    /// Shows an access token with each.
    pub fn bearer(self, token: &str) -> Self {
        Self {
            authorization: Some(format!("Bearer {token}").into()),
            ..self
        }
    }

    /// GETs the path so many times.
    pub fn get(url: &str, path: &'static str, count: usize, concurrency: usize) -> Self {
        Self {
            method: Method::GET,
            ..Self::post(url, path, vec![Vec::new(); count], concurrency)
        }
    }

    /// Connects, then runs it with an eye on the server's CPU time.
    pub async fn run(self, server: &Server) -> Measured {
        let connections = open(&self.url, self.concurrency).await;
        let queue: Queue = Arc::new(Mutex::new(self.bodies));
        let cpu_before = server.cpu();
        let start = Instant::now();
        let workers: Vec<_> = connections
            .into_iter()
            .map(|connection| {
                tokio::spawn(work(
                    connection,
                    self.method.clone(),
                    self.path,
                    queue.clone(),
                    self.authorization.clone(),
                ))
            })
            .collect();
        let mut answers = Vec::new();
        for worker in workers {
            answers.extend(worker.await.expect("worker"));
        }
        let wall = start.elapsed();
        let mut latencies: Vec<Duration> = answers.iter().map(|answer| answer.latency).collect();
        latencies.sort_unstable();
        Measured {
            latencies,
            answers,
            wall,
            cpu: server.cpu().saturating_sub(cpu_before),
        }
    }
}

/// How many connections are opened at a time: fewer than a listener's queue holds.
const OPENED_AT_ONCE: usize = 128;

/// So many connections to one server.
pub async fn open(url: &str, count: usize) -> Vec<Connection> {
    let mut connections = Vec::with_capacity(count);
    while connections.len() < count {
        let mut opening = JoinSet::new();
        for _ in 0..OPENED_AT_ONCE.min(count - connections.len()) {
            let url = url.to_owned();
            opening.spawn(async move { Connection::open(&url).await });
        }
        connections.extend(opening.join_all().await);
    }
    connections
}

async fn work(
    mut connection: Connection,
    method: Method,
    path: &'static str,
    queue: Queue,
    authorization: Option<Arc<str>>,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(body) = next(&queue) {
        let said = authorization.as_deref();
        answers.push(connection.ask_with(method.clone(), path, body, said).await);
    }
    answers
}

/// The next body that waits.
pub fn next(queue: &Queue) -> Option<Vec<u8>> {
    queue.lock().expect("queue").pop_front()
}

/// A percentile of sorted durations.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last * percent / 100)
        .copied()
        .unwrap_or_default()
}

impl Measured {
    /// Stops the run unless every answer holds this text: a fast refusal is not a result.
    pub fn expect_all(&self, text: &str, name: &str) {
        if let Some(answer) = self.answers.iter().find(|answer| !answer.holds(text)) {
            panic!("{name} answered {}", answer.describe());
        }
    }

    /// Stops the run unless every answer has this status.
    pub fn expect_status(&self, status: u16, name: &str) {
        if let Some(answer) = self.answers.iter().find(|answer| answer.status != status) {
            panic!("{name} answered {}", answer.describe());
        }
    }

    /// One answer's body.
    pub fn any_body(&self) -> &[u8] {
        self.answers.first().map_or(&[], |answer| &answer.body)
    }

    /// How many answers hold this text.
    pub fn matching(&self, text: &str) -> usize {
        self.answers
            .iter()
            .filter(|answer| answer.holds(text))
            .count()
    }

    /// One of the answers that do not hold it.
    pub fn other_than(&self, text: &str) -> Option<String> {
        let other = self.answers.iter().find(|answer| !answer.holds(text))?;
        Some(other.describe())
    }

    /// The server's CPU time per request.
    pub fn cpu_per_request(&self) -> Duration {
        self.cpu / u32::try_from(self.answers.len().max(1)).expect("count")
    }

    /// How long it took from the first request to the last answer.
    pub fn wall(&self) -> Duration {
        self.wall
    }

    /// How many answers came.
    pub fn count(&self) -> usize {
        self.answers.len()
    }

    /// A percentile of the latencies.
    pub fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.latencies, percent)
    }
}
