//! The server, and the switches.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tollway_devnet::Devnet;

use crate::Fault;
use crate::answer::Node;
use crate::http::{message, read_request, trickle, until_closed};
use crate::rule::{Dice, Rule};

const JSON: &str = "application/json";

/// A node before an embedded chain that does what its rules say. Dropping it
/// ends it; clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Chaos {
    inner: Arc<Inner>,
    address: SocketAddr,
    /// Ends the server with the last handle.
    _server: Arc<Server>,
}

#[derive(Debug)]
struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Inner {
    node: Node,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rules: Vec<Rule>,
    dice: Dice,
    /// Strikes of faults that have ended.
    struck: BTreeMap<String, u64>,
    asked: BTreeMap<String, u64>,
}

impl Chaos {
    /// Stands before a chain on a free port of this machine, without faults.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn before(chain: &Devnet, seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let inner = Arc::new(Inner {
            node: Node::new(chain),
            state: Mutex::new(State {
                rules: Vec::new(),
                dice: Dice(seed),
                struck: BTreeMap::new(),
                asked: BTreeMap::new(),
            }),
        });
        let shared = Arc::clone(&inner);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&shared), stream));
            }
        });
        Ok(Self {
            inner,
            address,
            _server: Arc::new(Server(server)),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this goes wrong, whenever it can.
    pub fn begin(&self, fault: Fault) {
        self.obey(Rule::of(fault));
    }

    /// From now on this goes wrong too.
    pub fn obey(&self, rule: Rule) {
        self.inner.state().rules.push(rule);
    }

    /// Everything is well again: what was held back reaches the chain.
    pub fn calm(&self) {
        let mut state = self.inner.state();
        for rule in std::mem::take(&mut state.rules) {
            *state.struck.entry(rule.fault.name()).or_default() += rule.strikes;
        }
        drop(state);
        self.inner.node.calm();
    }

    /// How often a fault struck.
    #[must_use]
    pub fn struck(&self, fault: Fault) -> u64 {
        let state = self.inner.state();
        let now = state.rules.iter().filter(|rule| rule.fault == fault);
        let before = state.struck.get(&fault.name()).copied().unwrap_or_default();
        before + now.map(|rule| rule.strikes).sum::<u64>()
    }

    /// How often blocks were replaced.
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.inner.node.replaced.load(Ordering::SeqCst)
    }

    /// How often a method was asked for.
    #[must_use]
    pub fn asked(&self, method: &str) -> u64 {
        self.inner
            .state()
            .asked
            .get(method)
            .copied()
            .unwrap_or_default()
    }
}

/// What strikes a request: one fault of its way, and faults of each call.
struct Struck {
    way: Option<Fault>,
    calls: Vec<Vec<Fault>>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike(&self, calls: &[Value]) -> Struck {
        let state = &mut *self.state();
        let mut struck = Struck {
            way: None,
            calls: Vec::new(),
        };
        for call in calls {
            let method = call["method"].as_str().unwrap_or_default();
            *state.asked.entry(method.to_owned()).or_default() += 1;
            let mut faults = Vec::new();
            for rule in &mut state.rules {
                if !rule.strikes(method, &mut state.dice) {
                    continue;
                }
                if rule.fault.is_of_the_way() {
                    struck.way = struck.way.or(Some(rule.fault));
                } else {
                    faults.push(rule.fault);
                }
            }
            struck.calls.push(faults);
        }
        struck
    }
}

/// Serves one connection until either side, or a fault, ends it.
async fn serve(inner: Arc<Inner>, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(body) = read_request(&mut stream, &mut buffer).await {
        if reply(&inner, &mut stream, &body).await.is_none() {
            return;
        }
    }
}

/// Answers one request; `None` where the connection is not to go on.
async fn reply(inner: &Inner, stream: &mut TcpStream, body: &[u8]) -> Option<()> {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let calls = match &request {
        Value::Array(calls) => calls.as_slice(),
        call => std::slice::from_ref(call),
    };
    let struck = inner.strike(calls);
    let whole = match struck.way {
        Some(Fault::TimeoutBeforeAccept) => {
            until_closed(stream).await;
            return None;
        }
        Some(Fault::Unreachable) => return None,
        Some(Fault::Status(status)) => message(status, "text/plain", b"try again later"),
        Some(Fault::Html) => message(200, "text/html", b"<html><body>welcome</body></html>"),
        way => {
            let pairs = calls.iter().zip(&struck.calls);
            let mut answers: Vec<Value> = pairs
                .map(|(call, faults)| inner.node.answer(call, faults))
                .collect();
            match way {
                Some(Fault::OutOfOrderBatch) => answers.reverse(),
                Some(Fault::MissingAnswer) if answers.len() > 1 => drop(answers.pop()),
                _ => {}
            }
            let text = if request.is_array() {
                Value::Array(answers).to_string()
            } else {
                answers.pop().unwrap_or_default().to_string()
            };
            message(200, JSON, text.as_bytes())
        }
    };
    write(stream, struck.way, &whole).await
}

/// Writes an answer, as far as a fault lets it pass.
async fn write(stream: &mut TcpStream, way: Option<Fault>, whole: &[u8]) -> Option<()> {
    match way {
        Some(Fault::TimeoutAfterAccept) => {
            until_closed(stream).await;
            None
        }
        Some(Fault::AcceptedThenDropped) => None,
        Some(Fault::TruncatedJson) => {
            let text = whole.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
            let body = whole.get(text..)?;
            let cut = message(200, JSON, body.get(..body.len() / 2)?);
            stream.write_all(&cut).await.ok()
        }
        Some(Fault::SlowTrickle { pause_ms }) => {
            trickle(stream, whole, Duration::from_millis(pause_ms))
                .await
                .ok()
        }
        _ => stream.write_all(whole).await.ok(),
    }
}
