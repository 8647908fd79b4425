//! How the program ends: one table of exit codes, and the error that carries one.

use std::fmt;
use std::process::ExitCode;

/// Exit codes, a contract with the programs that call us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; for `pay`: paid and delivered.
    Done = 0,
    /// Something failed before any money was at stake.
    Failed = 1,
    /// Flags, configuration or environment are wrong.
    Usage = 2,
    /// `pay`: delivered, and it cost nothing.
    Free = 3,
    /// `pay`: our own policy, budget or balance forbade it; nothing was signed.
    RefusedByPolicy = 4,
    /// `pay`: the server did not accept the payment, or did not deliver.
    RefusedByServer = 5,
    /// `pay`: signed and shown, and nobody can say yet what became of it;
    /// `ledger verify`: nothing wrong was seen, and not all could be looked at.
    Unknown = 6,
    /// `pay`: paid, and the answer could not be read or written whole.
    PaidNotKept = 7,
}

/// The table for `--help` and the manual.
pub const TABLE: &str = "\
Exit codes:
  0  done; for `pay`: paid and delivered
  1  failed before any money was at stake
  2  flags, configuration or environment are wrong
  3  pay: delivered, and it was free
  4  pay: refused by our own policy, budget or balance; nothing was signed
  5  pay: refused by the server
  6  pay: outcome unknown; run the same command again, it shows the same payment
     ledger verify: nothing wrong was seen, and not all could be looked at
  7  pay: paid, and the answer was lost on the way; fetch it with --again";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error for a person: what went wrong, what to do, and how we exit.
#[derive(Debug)]
pub struct Failure {
    /// How the program exits.
    pub exit: Exit,
    /// Stable code, where there is one.
    pub code: Option<String>,
    /// A sentence that ends with what to do.
    pub message: String,
    /// The line of a file that is wrong.
    pub line: Option<usize>,
}

impl Failure {
    /// Something failed before any money was at stake.
    pub fn new(message: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Failed,
            code: None,
            message: message.to_string(),
            line: None,
        }
    }

    /// Flags, configuration or environment are wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::new(message)
        }
    }

    /// Says which line of a file is wrong.
    pub fn at_line(self, line: Option<usize>) -> Self {
        Self { line, ..self }
    }

    /// With a stable code.
    pub fn coded(exit: Exit, code: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            exit,
            code: Some(code.into()),
            ..Self::new(message)
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} [{code}]", self.message),
            None => f.write_str(&self.message),
        }
    }
}
