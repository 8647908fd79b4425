//! The client's record: one JSON object a line, on disk before the client acts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// Where a payment was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// A facilitator's `/settle`.
    Settle,
    /// A priced route.
    Gate,
    /// A gate's door of tokens.
    Token,
    /// A route that is paid by a meter.
    Meter,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Who pays.
    pub payer: String,
    /// The authorization's nonce: hex in the token, decimal in Permit2.
    pub nonce: String,
    /// Who is paid.
    pub to: String,
    /// Atomic units; where a meter counts, at most.
    pub amount: u128,
    /// Until when it is valid, in Unix seconds.
    pub valid_before: u64,
    /// How the amount is counted, where it is.
    #[serde(default)]
    pub meter: Option<Meter>,
}

impl Signed {
    /// Whether so much may have moved by it.
    pub fn allows(&self, amount: u128) -> bool {
        match self.meter {
            None => amount == self.amount,
            Some(_) => amount <= self.amount,
        }
    }
}

/// What a metered answer costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// Atomic units for each that is begun.
    pub price: u128,
    /// How many of them may leave before they are recorded.
    pub piece: u64,
}

/// How a metered answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamEnd {
    /// As it should.
    Whole,
    /// It broke off.
    Broke,
    /// The client hung up.
    Left,
}

/// What came of a metered answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Units that came, each at least in part.
    pub units: u64,
    /// How it ended.
    pub end: StreamEnd,
    /// The transaction that its end named as the one that paid for it.
    pub transaction: Option<String>,
}

/// An answer as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// What the answer says: paid or not; nothing if it has no such word.
    pub success: Option<bool>,
    /// Why not.
    pub code: Option<String>,
    /// The transaction that it names, if any.
    pub transaction: Option<String>,
    /// The idempotency key or payment identifier under which was asked.
    pub key: Option<String>,
    /// What was paid for came along.
    pub goods: bool,
    /// Terms came along: "pay anew".
    pub terms: bool,
}

/// An access token that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The pass that it names.
    pub pass: String,
    /// How many requests it says that it opens; none: any number.
    pub quota: Option<u64>,
    /// Where it came from.
    pub door: Door,
}

/// A request that a token was shown with, and that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// When it was sent, in Unix milliseconds.
    pub sent_at: u64,
    /// HTTP status.
    pub status: u16,
    /// Why not.
    pub code: Option<String>,
    /// What was paid for came.
    pub goods: bool,
}

/// An answer that a pass is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Which.
    pub pass: String,
    /// When the answer came, in Unix milliseconds.
    pub at: u64,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Before it is first sent.
    Signed(Signed),
    /// Before each sending.
    Sent(Door),
    /// An answer came, whole.
    Answered(Door, Answer),
    /// No whole answer came.
    Broke(Door),
    /// A token came.
    Token(Token),
    /// A token was shown, and an answer came, whole.
    Used(Use),
    /// What was paid for by a meter came, or a part of it.
    Streamed(Stream),
    /// The seller took the pass back.
    Revoked(Revoked),
}

/// A line and the authorization that it is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// See [`crate::authorization`].
    pub auth: String,
    /// What happened.
    pub what: What,
}

/// Writes lines, and returns when they are on disk.
#[derive(Debug)]
pub struct Recorder {
    file: Mutex<File>,
}

impl Recorder {
    /// Begins a record.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let file = Mutex::new(File::create(path)?);
        Ok(Self { file })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// If it cannot be written or synced.
    pub fn add(&self, auth: &str, what: What) -> std::io::Result<()> {
        let auth = auth.to_owned();
        let mut line = serde_json::to_vec(&Line { auth, what })?;
        line.push(b'\n');
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&line)?;
        file.sync_data()
    }
}

/// One payment as the client lived it.
#[derive(Clone, Debug, Default)]
pub struct Lived {
    /// What was signed.
    pub signed: Option<Signed>,
    /// Where it was shown, each time.
    pub sent: Vec<Door>,
    /// What came back, in order.
    pub answers: Vec<(Door, Answer)>,
    /// How often nothing came back.
    pub broke: usize,
    /// Tokens that came back.
    pub tokens: Vec<Token>,
    /// What was asked for with them, and answered.
    pub uses: Vec<Use>,
    /// Metered answers that came.
    pub streams: Vec<Stream>,
    /// Passes that were taken back.
    pub revoked: Vec<Revoked>,
}

/// A client's whole record.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// By authorization.
    pub payments: BTreeMap<String, Lived>,
}

impl Client {
    /// Reads a record. A last line that was torn by a crash is left out.
    ///
    /// # Errors
    /// If it cannot be read, or a line before the last is no line of a record.
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let lines: Result<Vec<String>, _> = BufReader::new(file).lines().collect();
        let lines = lines.map_err(|e| format!("{}: {e}", path.display()))?;
        let mut client = Self::default();
        for (at, text) in lines.iter().enumerate() {
            match serde_json::from_str::<Line>(text) {
                Ok(line) => client.take(line),
                Err(_) if at + 1 == lines.len() => {}
                Err(e) => return Err(format!("{} line {}: {e}", path.display(), at + 1)),
            }
        }
        Ok(client)
    }

    fn take(&mut self, line: Line) {
        let lived = self.payments.entry(line.auth).or_default();
        match line.what {
            What::Signed(signed) => lived.signed = Some(signed),
            What::Sent(door) => lived.sent.push(door),
            What::Answered(door, answer) => lived.answers.push((door, answer)),
            What::Broke(_) => lived.broke += 1,
            What::Token(token) => lived.tokens.push(token),
            What::Used(used) => lived.uses.push(used),
            What::Streamed(stream) => lived.streams.push(stream),
            What::Revoked(revoked) => lived.revoked.push(revoked),
        }
    }
}

/// What an answer means for the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Paid, or the goods came.
    Success,
    /// Paid before; somebody had the success already.
    Duplicate,
    /// On its way.
    Pending,
    /// Not now; the same payment may be shown again.
    Later,
    /// No, for good.
    Refused,
}

/// Codes after which the same payment may be shown again.
const LATER: [&str; 10] = [
    "payment_in_progress",
    "server_stopped",
    "facilitator_unavailable",
    "upstream_unavailable",
    "upstream_failed",
    "unexpected_settle_error",
    "unexpected_verify_error",
    "too_many_requests",
    "signer_unavailable",
    "shutting_down",
];

impl Answer {
    /// What it means.
    pub fn verdict(&self) -> Verdict {
        match self.code.as_deref() {
            _ if self.goods || self.success == Some(true) => Verdict::Success,
            Some("settlement_pending") => Verdict::Pending,
            Some("duplicate_settlement") => Verdict::Duplicate,
            Some(code) if LATER.contains(&code) => Verdict::Later,
            _ if self.status == 429 || self.status >= 500 => Verdict::Later,
            _ => Verdict::Refused,
        }
    }
}

impl Lived {
    /// Every answer's meaning, in order.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> + '_ {
        self.answers.iter().map(|(_, answer)| answer.verdict())
    }

    /// Units of metered answers that came.
    pub fn streamed(&self) -> u64 {
        self.streams.iter().map(|stream| stream.units).sum()
    }
}
