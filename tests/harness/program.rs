//! The real binary as a process whose output is collected and whose life ends
//! with the story.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::{seconds, until};

/// How long a server may take until it says that it listens.
const READY: Duration = seconds(20);
/// How long a command may take.
const DONE: Duration = seconds(60);

/// What a process has written so far.
type Text = Arc<Mutex<String>>;

/// A running process of ours.
pub struct Program {
    child: Child,
    stdout: Text,
    stderr: Text,
    readers: Vec<tokio::task::JoinHandle<()>>,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All that it wrote to standard output.
    pub stdout: String,
    /// All that it wrote to standard error.
    pub stderr: String,
}

/// The binary, with a home of its own and nothing of ours in its environment.
pub fn tollway(home: &Path, args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollway"));
    dressed(&mut command, home);
    command.args(args);
    command
}

/// Gives a command the surroundings in which every process of a story runs.
pub fn dressed(command: &mut Command, home: &Path) {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("TMPDIR", home)
        .env("TOLLWAY_HOME", home.join("tollway-home"))
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
}

impl Program {
    /// Starts a process.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let (stdout, stderr) = (Text::default(), Text::default());
        let readers = vec![
            collect(child.stdout.take().unwrap(), &stdout),
            collect(child.stderr.take().unwrap(), &stderr),
        ];
        Self {
            child,
            stdout,
            stderr,
            readers,
        }
    }

    /// Starts a server and waits for the line with its address, which it returns.
    pub async fn serve(command: Command) -> (Self, String) {
        let mut program = Self::spawn(command);
        let mut url = None;
        until(READY, "the server says where it listens", async || {
            url = program.address();
            if url.is_none() && program.child.try_wait().unwrap().is_some() {
                panic!("the server ended: {}{}", program.stdout(), program.stderr());
            }
            url.is_some()
        })
        .await;
        (program, url.unwrap())
    }

    fn address(&self) -> Option<String> {
        let text = self.stdout();
        let (_, rest) = text.split_once("listening on ")?;
        rest.split_once('\n').map(|(url, _)| url.trim().to_owned())
    }

    /// What it wrote to standard output until now.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// What it wrote to standard error until now.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("the process runs").to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.await.unwrap().success());
    }

    /// Ends it as a crash would, and waits until it is gone.
    pub async fn crash(mut self) -> Finished {
        self.child.start_kill().unwrap();
        self.end().await
    }

    /// Waits until it ends by itself.
    pub async fn end(mut self) -> Finished {
        let waited = tokio::time::timeout(DONE, self.child.wait()).await;
        let Ok(status) = waited else {
            panic!("it does not end: {}{}", self.stdout(), self.stderr());
        };
        for reader in self.readers.drain(..) {
            reader.await.unwrap();
        }
        Finished {
            code: status.unwrap().code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

/// Runs a command to its end.
pub async fn run(command: Command) -> Finished {
    Program::spawn(command).end().await
}

fn collect(
    from: impl AsyncRead + Unpin + Send + 'static,
    into: &Text,
) -> tokio::task::JoinHandle<()> {
    let into = Arc::clone(into);
    tokio::spawn(async move {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from
            .read_until(b'\n', &mut line)
            .await
            .is_ok_and(|read| read > 0)
        {
            into.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}

impl Finished {
    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}\n{}", self.stdout, self.stderr))
    }
}
