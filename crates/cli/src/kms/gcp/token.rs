//! What tells the service who asks: an access token, from the metadata server of the
//! machine, or from where `gcloud` looks for one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use tollway_rpc::tls;
use zeroize::Zeroizing;

use super::http;
use crate::environment::{Environment, GCE_METADATA_HOST, GCP_ACCESS_TOKEN, GCP_ACCESS_TOKEN_FILE};
use crate::exit::Failure;
use crate::keys;

/// The metadata server of Google's machines, whatever their names are resolved by.
const METADATA: &str = "169.254.169.254";
const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// In what is asked and in what is answered: a server that knows it is no other.
const FLAVOR: (&str, &str) = ("metadata-flavor", "Google");
const TIMEOUT: Duration = Duration::from_secs(3);
/// A token is not used so shortly before its end; the server has a new one by then.
const MARGIN: Duration = Duration::from_secs(225);

type Token = Zeroizing<String>;

/// Where access tokens come from.
pub enum Tokens {
    /// It was given, and is never renewed.
    Given(Token),
    /// Somebody keeps it fresh in a file.
    File(PathBuf),
    /// The machine has it.
    Metadata(Box<Metadata>),
}

/// The machine's own server.
pub struct Metadata {
    client: Client,
    url: Url,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: Token,
    until: Instant,
}

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    /// Seconds.
    expires_in: u64,
}

impl Tokens {
    /// A file before a token, and either before the metadata server.
    pub fn of(environment: &Environment) -> Result<Self, Failure> {
        if let Some(file) = environment.path(GCP_ACCESS_TOKEN_FILE) {
            return Ok(Self::File(file));
        }
        if let Some(token) = environment.get(GCP_ACCESS_TOKEN) {
            return Ok(Self::Given(Zeroizing::new(token.trim().to_owned())));
        }
        let host = environment.get(GCE_METADATA_HOST).unwrap_or(METADATA);
        Metadata::at(host).map(|server| Self::Metadata(Box::new(server)))
    }

    /// One that is good now, as far as can be known.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub async fn current(&self) -> Result<Token, String> {
        match self {
            Self::Given(token) => Ok(token.clone()),
            Self::File(file) => keys::read_private(file)
                .map(|text| Zeroizing::new(text.trim().to_owned()))
                .map_err(|failure| failure.message),
            Self::Metadata(server) => server.current().await,
        }
    }

    /// The service does not know it (any more).
    pub async fn forget(&self, token: &Token) {
        if let Self::Metadata(server) = self {
            let mut held = server.held.lock().await;
            held.take_if(|held| held.token == *token);
        }
    }
}

impl Metadata {
    fn at(host: &str) -> Result<Self, Failure> {
        let url = Url::parse(&format!("http://{host}/")).ok();
        let url = url
            .filter(http::is_place)
            .and_then(|url| url.join(PATH).ok());
        let url = url.ok_or_else(|| {
            Failure::usage(format!(
                "{GCE_METADATA_HOST} does not name a server; write HOST or HOST:PORT, or leave it out."
            ))
        })?;
        let client = tls::plain_client_builder().timeout(TIMEOUT).build();
        Ok(Self {
            client: client.map_err(|error| {
                Failure::new(format!("No HTTP client can be made: {error}; try again."))
            })?,
            url,
            held: Mutex::new(None),
        })
    }

    /// Asked once for all who wait.
    async fn current(&self) -> Result<Token, String> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.until) {
            return Ok(held.token.clone());
        }
        let issued = self.ask().await?;
        let token = Zeroizing::new(issued.access_token);
        let lasts = Duration::from_secs(issued.expires_in).saturating_sub(MARGIN);
        *held = Instant::now().checked_add(lasts).map(|until| Held {
            token: token.clone(),
            until,
        });
        Ok(token)
    }

    async fn ask(&self) -> Result<Issued, String> {
        let (name, value) = FLAVOR;
        let asked = self.client.get(self.url.clone()).header(name, value);
        let answer = http::answer(asked).await;
        let mut answer = answer.map_err(|why| format!("the metadata server: {why}"))?;
        let is_google = answer.headers.get(name).is_some_and(|said| said == value);
        let body = Zeroizing::new(std::mem::take(&mut answer.body));
        match answer.status {
            StatusCode::OK if is_google => serde_json::from_slice(&body)
                .map_err(|_| "the metadata server's answer holds no token".to_owned()),
            StatusCode::OK => Err("what answered is no metadata server of Google's".to_owned()),
            status => Err(format!("the metadata server says HTTP {}", status.as_u16())),
        }
    }
}
