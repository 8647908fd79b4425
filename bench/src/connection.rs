//! One HTTP/1.1 connection that asks one thing at a time.

use std::time::{Duration, Instant};

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An open connection.
pub struct Connection {
    address: String,
    sender: SendRequest<Full<Bytes>>,
}

/// What came back.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
    /// From sending the request.
    pub latency: Duration,
}

impl Connection {
    /// Connects to a server's `http://` URL.
    pub async fn open(url: &str) -> Self {
        let address = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection);
        Self { address, sender }
    }

    /// Sends one request and reads its answer. A connection that breaks gives
    /// an answer without a status that says why: it counts as no yes.
    pub async fn ask(&mut self, method: Method, path: &str, body: Vec<u8>) -> Answer {
        self.ask_with(method, path, body, None).await
    }

    /// The same, with what `Authorization` is to say.
    pub async fn ask_with(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        authorization: Option<&str>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("content-type", "application/json");
        if let Some(said) = authorization {
            request = request.header("authorization", said);
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("request");
        let start = Instant::now();
        let (status, body) = match self.exchange(request).await {
            Ok(answer) => answer,
            Err(error) => (0, Bytes::from(format!("the connection broke: {error}"))),
        };
        Answer {
            status,
            body,
            latency: start.elapsed(),
        }
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<(u16, Bytes)> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?;
        Ok((status, body.to_bytes()))
    }
}

impl Answer {
    /// Whether its JSON holds this, blanks aside.
    pub fn holds(&self, text: &str) -> bool {
        let compact: String = String::from_utf8_lossy(&self.body)
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect();
        compact.contains(text)
    }

    /// For people, when it is not what was expected.
    pub fn describe(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body)
            .chars()
            .take(400)
            .collect();
        format!("{} {body}", self.status)
    }
}
