//! A misbehaving middleman for HTTP/1.1: it sees every request, and passes it
//! on, loses it, loses the answer, or answers in another's place.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is passed on, and so is its answer.
    Pass,
    /// It never arrives: the connection breaks.
    Lose,
    /// It arrives, and the answer is lost on the way back.
    LoseAnswer,
    /// It arrives, and its answer breaks off in the middle of the body.
    CutAnswer,
    /// It is answered here, with this status, content type and body.
    Answer(u16, &'static str, String),
    /// It is never answered.
    Hang,
}

/// A request that came by.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method and path.
    pub target: String,
    /// The request's headers, as they were sent.
    pub head: String,
    /// The body, as text.
    pub body: String,
}

type Rule = Arc<dyn Fn(&Seen) -> Act + Send + Sync>;

struct Inner {
    target: String,
    client: reqwest::Client,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
}

/// A running middleman.
#[derive(Clone)]
pub struct Chaos {
    inner: Arc<Inner>,
    address: SocketAddr,
}

impl Chaos {
    /// Stands before a server, and passes everything on for now.
    pub async fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            target: target.trim_end_matches('/').to_owned(),
            client: super::raw::client(),
            rule: Mutex::new(Arc::new(|_| Act::Pass)),
            seen: Mutex::default(),
        });
        let shared = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&shared), stream));
            }
        });
        Self { inner, address }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it does this.
    pub fn obey(&self, rule: impl Fn(&Seen) -> Act + Send + Sync + 'static) {
        *self.inner.rule.lock().unwrap() = Arc::new(rule);
    }

    /// The requests of this kind that came by.
    pub fn seen(&self, of: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let seen = self.inner.seen.lock().unwrap();
        seen.iter().filter(|seen| of(seen)).cloned().collect()
    }

    /// How often a path was asked for.
    pub fn asked(&self, target: &str) -> usize {
        self.seen(|seen| seen.target == target).len()
    }
}

/// Serves one connection until either side, or the rule, ends it.
async fn serve(inner: Arc<Inner>, mut stream: TcpStream) {
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut buffer).await {
        inner.seen.lock().unwrap().push(seen.clone());
        let rule = Arc::clone(&inner.rule.lock().unwrap());
        let answer = match rule(&seen) {
            Act::Lose => return,
            Act::Hang => std::future::pending().await,
            Act::Answer(status, kind, body) => {
                message(status, &[("content-type", kind)], body.as_bytes())
            }
            Act::Pass => match forward(&inner, &seen).await {
                Some(answer) => answer,
                None => return,
            },
            Act::CutAnswer => {
                if let Some(answer) = forward(&inner, &seen).await {
                    let _ = stream.write_all(&answer[..answer.len() - 5]).await;
                }
                return;
            }
            Act::LoseAnswer => {
                forward(&inner, &seen).await;
                return;
            }
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length: usize = header(&head, "content-length").map_or(0, |v| v.parse().unwrap_or(0));
    while buffer.len() < end + 4 + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(&buffer[end + 4..end + 4 + length]).into_owned();
    buffer.drain(..end + 4 + length);
    let line = head.lines().next()?;
    let target = line.rsplit_once(' ')?.0.to_owned();
    Some(Seen { target, head, body })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Hop-by-hop and length headers are this connection's own.
fn passes(name: &str) -> bool {
    !["host", "content-length", "connection", "transfer-encoding"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
}

async fn forward(inner: &Inner, seen: &Seen) -> Option<Vec<u8>> {
    let (method, path) = seen.target.split_once(' ')?;
    let url = format!("{}{path}", inner.target);
    let mut request = inner.client.request(method.parse().ok()?, url);
    for line in seen.head.lines().skip(1) {
        let (name, value) = line.split_once(':')?;
        if passes(name) {
            request = request.header(name, value.trim());
        }
    }
    let answer = request.body(seen.body.clone()).send().await.ok()?;
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let body = answer.bytes().await.ok()?;
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| passes(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    Some(message(status, &headers, &body))
}

fn message(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}
