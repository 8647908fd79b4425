//! Payments for a while: each connection verifies one, settles it, and takes the next.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;

use crate::connection::Connection;
use crate::load::{Queue, next, open, percentile};
use crate::node::{BlockSeen, Node};
use crate::process::Server;

/// How many pay at once, and for how long new payments begin.
pub struct Steady {
    /// Connections.
    pub concurrency: usize,
    /// Until none begins any more.
    pub during: Duration,
    /// Signed payments; enough of them.
    pub bodies: Vec<Vec<u8>>,
}

/// One payment's settling.
struct Settling {
    sent: Instant,
    latency: Duration,
    settled: bool,
}

/// What came of it.
pub struct Outcome {
    settlings: Vec<Settling>,
    wall: Duration,
    cpu: Duration,
    calls: u64,
    methods: Vec<(String, u64)>,
    refusal: Option<String>,
}

impl Steady {
    /// Runs it, with an eye on the server's CPU time and on what it asks the node.
    pub async fn run(self, server: &Server, node: &Node) -> Outcome {
        let connections = open(&server.url, self.concurrency).await;
        let queue: Queue = Arc::new(Mutex::new(self.bodies.into()));
        let (cpu, before, start) = (server.cpu(), node.methods(), Instant::now());
        let until = start + self.during;
        let payers: Vec<_> = connections
            .into_iter()
            .map(|connection| tokio::spawn(pay(connection, queue.clone(), until)))
            .collect();
        let (mut settlings, mut refusal) = (Vec::new(), None);
        for payer in payers {
            let (more, refused) = payer.await.expect("payer");
            settlings.extend(more);
            refusal = refusal.or(refused);
        }
        let (wall, cpu) = (start.elapsed(), server.cpu().saturating_sub(cpu));
        let mut methods: Vec<(String, u64)> = node
            .methods()
            .into_iter()
            .map(|(name, count)| {
                let already = before.get(&name).copied().unwrap_or(0);
                (name, count - already)
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        methods.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Outcome {
            settlings,
            wall,
            cpu,
            calls: methods.iter().map(|(_, count)| count).sum(),
            methods,
            refusal,
        }
    }
}

async fn pay(
    mut connection: Connection,
    queue: Queue,
    until: Instant,
) -> (Vec<Settling>, Option<String>) {
    let (mut settlings, mut refusal) = (Vec::new(), None);
    while Instant::now() < until {
        let Some(body) = next(&queue) else {
            panic!("more payments were settled than signed");
        };
        let verified = connection.ask(Method::POST, "/verify", body.clone()).await;
        let sent = Instant::now();
        let answer = connection.ask(Method::POST, "/settle", body).await;
        let settled = verified.holds("isValid\":true") && answer.holds("success\":true");
        if !settled {
            refusal = Some(format!("{} {}", verified.describe(), answer.describe()));
        }
        settlings.push(Settling {
            sent,
            latency: answer.latency,
            settled,
        });
    }
    (settlings, refusal)
}

impl Outcome {
    /// How many settled.
    pub fn settled(&self) -> usize {
        self.settlings.iter().filter(|one| one.settled).count()
    }

    /// How many were tried.
    pub fn tried(&self) -> usize {
        self.settlings.len()
    }

    /// From the first request to the last answer.
    pub fn wall(&self) -> Duration {
        self.wall
    }

    /// One answer that was not a yes.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The middle of the times from sending /settle to its answer.
    pub fn p50(&self) -> Duration {
        middle(self.settlings.iter().map(|one| one.latency))
    }

    /// The middle of the times from sending /settle until the node had the
    /// first block that was begun after it.
    pub fn to_next_block(&self, blocks: &[BlockSeen]) -> Duration {
        middle(self.settlings.iter().filter_map(|one| {
            let block = blocks.iter().find(|block| block.due >= one.sent)?;
            Some(block.visible - one.sent)
        }))
    }

    /// CPU time for each that settled, its verification included.
    pub fn cpu_per_payment(&self) -> Duration {
        self.cpu / u32::try_from(self.settled().max(1)).expect("count")
    }

    /// RPC methods for each that settled.
    pub fn calls_per_payment(&self) -> (f64, f64) {
        (self.calls as f64, self.settled() as f64)
    }

    /// Which methods, most often first.
    pub fn methods(&self) -> String {
        let each = |(name, count): &(String, u64)| format!("{name} {count}");
        let all: Vec<String> = self.methods.iter().map(each).collect();
        all.join(", ")
    }
}

fn middle(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    percentile(&times, 50)
}
