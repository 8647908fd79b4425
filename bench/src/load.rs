//! A load generator: so many connections, each asking as fast as it is answered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::process::Server;

/// Requests to send.
pub struct Load {
    address: String,
    path: String,
    method: Method,
    bodies: VecDeque<Vec<u8>>,
    concurrency: usize,
}

/// What came back.
pub struct Measured {
    latencies: Vec<Duration>,
    answers: Vec<(u16, Bytes)>,
    wall: Duration,
    cpu: Duration,
}

impl Load {
    /// POSTs each body once.
    pub fn post(url: &str, path: &str, bodies: Vec<Vec<u8>>, concurrency: usize) -> Self {
        Self {
            address: url.trim_start_matches("http://").to_owned(),
            path: path.to_owned(),
            method: Method::POST,
            bodies: bodies.into(),
            concurrency,
        }
    }

    /// GETs the path so many times.
    pub fn get(url: &str, path: &str, count: usize, concurrency: usize) -> Self {
        Self {
            method: Method::GET,
            ..Self::post(url, path, vec![Vec::new(); count], concurrency)
        }
    }

    /// Runs it, with an eye on the server's CPU time.
    pub async fn run(self, server: &Server) -> Measured {
        let concurrency = self.concurrency;
        let shared = Arc::new(Mutex::new(self.bodies));
        let cpu_before = server.cpu();
        let start = Instant::now();
        let workers: Vec<_> = (0..concurrency)
            .map(|_| {
                let worker = Worker {
                    address: self.address.clone(),
                    path: self.path.clone(),
                    method: self.method.clone(),
                };
                tokio::spawn(worker.run(shared.clone()))
            })
            .collect();
        let mut measured = Measured {
            latencies: Vec::new(),
            answers: Vec::new(),
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
        };
        for worker in workers {
            for (latency, status, body) in worker.await.expect("worker") {
                measured.latencies.push(latency);
                measured.answers.push((status, body));
            }
        }
        measured.wall = start.elapsed();
        measured.cpu = server.cpu().saturating_sub(cpu_before);
        measured.latencies.sort_unstable();
        measured
    }
}

struct Worker {
    address: String,
    path: String,
    method: Method,
}

impl Worker {
    async fn run(self, bodies: Arc<Mutex<VecDeque<Vec<u8>>>>) -> Vec<(Duration, u16, Bytes)> {
        let stream = TcpStream::connect(&self.address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("handshake");
        tokio::spawn(connection);
        let mut answers = Vec::new();
        loop {
            let Some(body) = bodies.lock().expect("queue").pop_front() else {
                return answers;
            };
            let request = Request::builder()
                .method(self.method.clone())
                .uri(&self.path)
                .header("host", &self.address)
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body)))
                .expect("request");
            let start = Instant::now();
            sender.ready().await.expect("connection");
            let response = sender.send_request(request).await.expect("answer");
            let status = response.status().as_u16();
            let body = response
                .into_body()
                .collect()
                .await
                .expect("body")
                .to_bytes();
            answers.push((start.elapsed(), status, body));
        }
    }
}

impl Measured {
    /// Stops the run unless every answer holds this text: a fast refusal is not a result.
    pub fn expect_all(&self, text: &str, name: &str) {
        if let Some((status, body)) = self.answers.iter().find(|(_, body)| !holds(body, text)) {
            panic!("{name} answered {status} {}", String::from_utf8_lossy(body));
        }
    }

    /// Stops the run unless every answer has this status.
    pub fn expect_status(&self, status: u16, name: &str) {
        if let Some((other, body)) = self.answers.iter().find(|(answer, _)| *answer != status) {
            panic!("{name} answered {other} {}", String::from_utf8_lossy(body));
        }
    }

    /// How many answers hold this text.
    pub fn matching(&self, text: &str) -> usize {
        self.answers
            .iter()
            .filter(|(_, body)| holds(body, text))
            .count()
    }

    /// The server's CPU time per request.
    pub fn cpu_per_request(&self) -> Duration {
        self.cpu / u32::try_from(self.answers.len().max(1)).expect("count")
    }

    /// Requests per second, rounded down.
    pub fn per_second(&self) -> u128 {
        self.answers.len() as u128 * 1_000_000 / self.wall.as_micros().max(1)
    }

    /// A percentile of the latencies.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get(last * percent / 100)
            .copied()
            .unwrap_or_default()
    }
}

/// Whether JSON text holds this, blanks aside.
fn holds(body: &Bytes, text: &str) -> bool {
    let compact: String = String::from_utf8_lossy(body)
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    compact.contains(text)
}
