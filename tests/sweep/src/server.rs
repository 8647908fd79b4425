//! The real binary as a process that dies.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::Failure;
use crate::plan::Death;
use crate::world::Tools;

/// How long a server may take until it listens.
const READY: Duration = Duration::from_secs(60);
/// How long it may take to stop.
const STOPPED: Duration = Duration::from_secs(10);
/// What an engine waits for is so many times shorter.
const HASTE: &str = "5";
/// Lines of its log that a failure shows.
const SHOWN: usize = 2_000;

/// A server that runs.
pub struct Server {
    child: Child,
    /// `ADDRESS:PORT`.
    pub host: String,
    /// The same where its operator asks, if it listens there.
    pub admin: Option<String>,
    stderr: tokio::task::JoinHandle<String>,
}

/// How a start went.
pub enum Started {
    /// It listens.
    Up(Box<Server>),
    /// It came to the place where it had to die before it listened.
    Died,
}

impl Server {
    /// Starts it, armed to die at a place if the death is one at a place.
    pub async fn start(
        tools: &Tools,
        home: &Path,
        args: &[String],
        death: Option<&Death>,
    ) -> Result<Started, Failure> {
        let mut command = Command::new(&tools.tollway);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("TOLLWAY_HOME", home.join("tollway-home"))
            .env("TOLLWAY_TEST_HASTE", HASTE)
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(mistake) = &tools.mistake {
            command.env("TOLLWAY_MISTAKE", mistake);
        }
        if let Some(Death::At { place, hit }) = death {
            command.env("TOLLWAY_CRASH_AT", format!("{place}={hit}"));
        }
        let failed = |e: std::io::Error| format!("{}: {e}", tools.tollway.display());
        let mut child = command.spawn().map_err(failed)?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let stderr = tokio::spawn(async move {
            let mut text = String::new();
            let _ = BufReader::new(stderr).read_to_string(&mut text).await;
            text
        });
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut admin = None;
        let said = tokio::time::timeout(READY, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, url)) = line.split_once("admin on http://") {
                    admin = Some(url.trim().to_owned());
                }
                if let Some((_, url)) = line.split_once("listening on http://") {
                    return Some(url.trim().to_owned());
                }
            }
            None
        });
        match said.await {
            Ok(Some(host)) => {
                // What else it says must not fill the pipe.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                Ok(Started::Up(Box::new(Self {
                    child,
                    host,
                    admin,
                    stderr,
                })))
            }
            Ok(None) => {
                let _ = child.wait().await;
                let text = stderr.await.unwrap_or_default();
                match text.contains("crashed at") {
                    true => Ok(Started::Died),
                    false => Err(format!("the server ended: {}", tail(&text))),
                }
            }
            Err(_) => Err("the server does not say where it listens".into()),
        }
    }

    /// Waits until it has ended by itself; whether it died.
    pub async fn died(&mut self) -> bool {
        let ended = self.child.wait().await;
        ended.is_ok_and(|status| status.code().is_none())
    }

    /// Asks it to stop, and waits for its end; whether it died on the way.
    pub async fn stop(&mut self) -> bool {
        if let Some(id) = self.child.id() {
            let mut kill = Command::new("kill");
            let _ = kill.args(["-TERM", &id.to_string()]).status().await;
        }
        tokio::time::timeout(STOPPED, self.died())
            .await
            .unwrap_or(false)
    }

    /// SIGKILL; returns what it wrote to stderr.
    pub async fn kill(mut self: Box<Self>) -> String {
        let _ = self.child.kill().await;
        self.stderr.await.unwrap_or_default()
    }
}

/// The end of a text.
pub fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(SHOWN);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}
