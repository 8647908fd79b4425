//! JSON-RPC over a plain socket.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Calls in one request.
const BATCH: usize = 200;

/// A node at `http://HOST:PORT`.
pub struct Node {
    host: String,
}

impl Node {
    /// Names it; nothing is asked yet.
    pub fn at(url: &str) -> Self {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        let host = host.to_owned();
        Self { host }
    }

    /// One call.
    pub async fn ask(&self, method: &str, params: Value) -> Result<Value, String> {
        let mut answers = self.ask_all(method, vec![params]).await?;
        answers.pop().ok_or_else(|| format!("{method}: no answer"))
    }

    /// The same method for many parameters; answers in the same order.
    pub async fn ask_all(&self, method: &str, params: Vec<Value>) -> Result<Vec<Value>, String> {
        let mut all = Vec::with_capacity(params.len());
        for chunk in params.chunks(BATCH) {
            let calls: Vec<Value> = chunk
                .iter()
                .enumerate()
                .map(|(id, params)| {
                    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
                })
                .collect();
            let mut answers = match self.post(&Value::from(calls)).await? {
                Value::Array(answers) => answers,
                other => return Err(format!("{method}: {other}")),
            };
            answers.sort_by_key(|answer| answer["id"].as_u64());
            for mut answer in answers {
                if let Some(error) = answer.get("error") {
                    return Err(format!("{method}: {error}"));
                }
                all.push(answer["result"].take());
            }
        }
        match all.len() == params.len() {
            true => Ok(all),
            false => Err(format!("{method}: {} of {}", all.len(), params.len())),
        }
    }

    /// HTTP/1.0, so that the answer is neither chunked nor followed by another.
    async fn post(&self, body: &Value) -> Result<Value, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", self.host);
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.0\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.host).await.map_err(failed)?;
        let sent = [head.as_bytes(), body.as_bytes()].concat();
        stream.write_all(&sent).await.map_err(failed)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map_err(failed)?;
        let body = answer.windows(4).position(|w| w == b"\r\n\r\n");
        let body = body.map(|at| &answer[at + 4..]).unwrap_or_default();
        serde_json::from_slice(body).map_err(|e| format!("{}: {e}", self.host))
    }
}

/// A number as nodes write it.
pub fn number(value: &Value) -> Result<u64, String> {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x"));
    text.and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| format!("{value} is no number"))
}

/// Hex text in lower case.
pub fn text(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or_else(|| format!("{value} is no text"));
    text.map(str::to_lowercase)
}
