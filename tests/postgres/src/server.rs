//! One server: its folder, its process, its databases.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use crate::binaries;
use crate::user::User;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ends the server when nobody holds the other end of its input.
const WATCH: &str = r#""$@" & server=$!; read -r _; kill -QUIT $server; wait $server"#;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Postgres {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    user: User,
    process: Option<(Child, ChildStdin)>,
    databases: AtomicU32,
}

impl Postgres {
    /// Sets a server up and waits until it answers.
    ///
    /// # Panics
    /// If there is none to be had.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        let user = User::for_a_server();
        user.own(folder.path());
        let mut server = Self {
            folder,
            binaries: binaries::folder(),
            user,
            process: None,
            databases: AtomicU32::new(0),
        };
        server.set_up();
        server.run();
        server
    }

    fn set_up(&self) {
        let mut initdb = self.user.command(&self.binaries.join("initdb"));
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--username=tollway",
            "--encoding=UTF8",
        ]);
        initdb.arg("--pgdata").arg(self.data());
        let done = initdb.current_dir(self.folder.path()).output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the server again after [`Postgres::stop`].
    ///
    /// # Panics
    /// If it does not answer within a minute.
    pub fn run(&mut self) {
        let mut command = self.user.command(Path::new("/bin/sh"));
        command.args(["-c", WATCH, "watch"]);
        command.arg(self.binaries.join("postgres"));
        command.arg("-D").arg(self.data());
        command.arg("-k").arg(self.folder.path());
        for setting in ["listen_addresses=", "fsync=on", "max_connections=200"] {
            command.args(["-c", setting]);
        }
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.log())
            .unwrap();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        let mut child = command.current_dir(self.folder.path()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        self.process = Some((child, input));
        self.wait();
    }

    /// What the server said.
    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The socket is there before the server answers: the last line says so.
    fn wait(&self) {
        let start = Instant::now();
        let ready = "database system is ready to accept connections";
        loop {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            let last = log.lines().rev().take(3).any(|line| line.contains(ready));
            if last && self.socket().exists() {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "the server does not start: {log}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where the server listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    /// Ends the server at once, as a crash would.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) {
        if let Some((mut child, input)) = self.process.take() {
            drop(input);
            child.wait().unwrap();
        }
    }

    /// A session as the owner of everything.
    ///
    /// # Panics
    /// If the server does not let us in.
    pub async fn session(&self, database: &str) -> PgConnection {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.folder.path())
            .port(5432)
            .username("tollway")
            .database(database);
        options.connect().await.unwrap()
    }

    /// The URL of a new, empty database.
    ///
    /// # Panics
    /// If the server does not make one.
    pub async fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{number}");
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        let mut session = self.session("postgres").await;
        session.execute(sqlx::raw_sql(create)).await.unwrap();
        self.url(&name)
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.path().display();
        format!("postgres://tollway@localhost:5432/{database}?host={folder}")
    }

    /// One of the server's own programs, to run as its user.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        self.user.command(&self.binaries.join(name))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::Postgres;
    use sqlx::Row as _;

    #[tokio::test]
    async fn a_server_starts_stops_and_keeps_what_it_has() {
        let mut server = Postgres::start();
        assert_eq!(server.database().await, server.url("t0"));
        server.stop();
        assert!(!server.socket().exists());
        server.run();
        let mut session = server.session("t0").await;
        let row = sqlx::query("SHOW fsync")
            .fetch_one(&mut session)
            .await
            .unwrap();
        assert_eq!(row.get::<String, _>(0), "on");
    }
}
