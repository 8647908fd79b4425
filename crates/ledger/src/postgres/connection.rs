//! The one connection that writes: it comes back after it broke, and finds out
//! what became of a commit that it broke in.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::time::timeout;
use tollway_core::Timestamp;

use super::rows::{bound, checked, read};
use crate::LedgerError;
use crate::sql::{Row, Statement, sql};
use crate::store::{ChainHead, Trouble};

/// How long the server may take to let us in.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take for one statement. Longer than it keeps a session that
/// does nothing within a transaction.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(20);

/// What every session of the writer says first. A session that was cut off
/// gives its locks back soon; questions go through indexes, so that what a
/// transaction has read is little, and few conflict without need.
const SESSION: [&str; 4] = [
    "SET idle_in_transaction_session_timeout = '10s'",
    "SET enable_seqscan = off",
    // What it thinks that costs would have it compile every question.
    "SET jit = off",
    "SET synchronous_commit = on",
];

/// The writer's connection, or the lack of one.
pub(crate) struct PostgresWriter {
    options: PgConnectOptions,
    writer: String,
    conn: Option<PgConnection>,
    /// Groups of this writer that are known to be committed.
    commits: i64,
    /// The end of the writer's chain, read anew after the connection was.
    head: Option<ChainHead>,
}

impl PostgresWriter {
    /// Connects, and leaves the writer's mark.
    pub async fn open(options: PgConnectOptions, writer: &str) -> Result<Self, LedgerError> {
        let mut this = Self {
            conn: None,
            options,
            writer: writer.to_owned(),
            commits: 0,
            head: None,
        };
        this.first().await.map_err(Trouble::into_error)?;
        Ok(this)
    }

    async fn first(&mut self) -> Result<(), Trouble> {
        self.conn = Some(connect(&self.options).await?);
        let mark = sql("INSERT INTO writer_marks (writer, commits, fences) VALUES ($1, 0, 0)");
        let mark = mark.bind(self.writer.clone());
        self.execute(&mark).await.map(drop)
    }

    /// Begins a group's transaction. The end of the writer's chain, if it had
    /// to be read anew.
    pub async fn begin(&mut self) -> Result<Option<ChainHead>, Trouble> {
        if self.conn.is_none() {
            self.connect_again().await?;
        }
        self.control("BEGIN ISOLATION LEVEL SERIALIZABLE").await?;
        Ok(self.head.take())
    }

    /// Commits, with the mark that says so.
    pub async fn commit(&mut self) -> Result<(), Trouble> {
        let mark = sql("UPDATE writer_marks SET commits = commits + 1 WHERE writer = $1");
        let mark = mark.bind(self.writer.clone());
        if self.execute(&mark).await? != 1 {
            let gone = "the writer's mark is gone".to_owned();
            return Err(Trouble::Failed(super::failure::away(gone)));
        }
        match self.control("COMMIT").await {
            Ok(()) => {
                self.commits += 1;
                Ok(())
            }
            Err(trouble) => {
                let trouble = in_doubt(trouble);
                if matches!(trouble, Trouble::InDoubt(_)) {
                    self.conn = None;
                }
                Err(trouble)
            }
        }
    }

    /// Whether the commit stands that the connection broke in.
    pub async fn is_committed(&mut self) -> Result<bool, Trouble> {
        let known = self.commits;
        self.connect_again().await?;
        Ok(self.commits > known)
    }

    /// Connects, waits until the session before holds nothing any more, and
    /// reads what it left.
    async fn connect_again(&mut self) -> Result<(), Trouble> {
        self.conn = Some(connect(&self.options).await?);
        // Every transaction that commits holds this row: afterwards none does.
        let fence =
            sql("UPDATE writer_marks SET fences = fences + 1 WHERE writer = $1 RETURNING commits");
        let fence = fence.bind(self.writer.clone());
        let rows = self.query(&fence).await?;
        let mark = rows.first().map(|row| row.opt_integer("commits"));
        let Some(Ok(Some(commits))) = mark else {
            self.conn = None;
            let gone = "the writer's mark is gone".to_owned();
            return Err(Trouble::Failed(super::failure::away(gone)));
        };
        self.head = Some(self.read_head().await?);
        // Last: as long as this did not end, the commit in doubt stays in doubt.
        self.commits = commits;
        Ok(())
    }

    async fn read_head(&mut self) -> Result<ChainHead, Trouble> {
        let last = sql("SELECT seq, hash FROM events WHERE writer = $1 ORDER BY seq DESC LIMIT 1");
        let last = self.query(&last.bind(self.writer.clone())).await?;
        let checkpoint =
            sql("SELECT seq FROM checkpoints WHERE writer = $1 ORDER BY seq DESC LIMIT 1");
        let checkpoint = self.query(&checkpoint.bind(self.writer.clone())).await?;
        let mut head = ChainHead::before_the_first();
        let read = || -> Result<ChainHead, LedgerError> {
            if let Some(row) = last.first() {
                head.seq = row.number("seq")?;
                head.hash = row.text("hash")?;
            }
            if let Some(row) = checkpoint.first() {
                head.checkpointed = row.number("seq")?;
            }
            Ok(head)
        };
        read().map_err(Trouble::Failed)
    }

    pub async fn roll_back(&mut self) {
        if self.conn.is_some() && self.control("ROLLBACK").await.is_err() {
            self.conn = None;
        }
    }

    pub async fn control(&mut self, statement: &'static str) -> Result<(), Trouble> {
        let conn = self.conn.as_mut().ok_or_else(no_connection)?;
        let done = within(conn.execute(sqlx::raw_sql(statement))).await;
        self.kept(done).map(drop)
    }

    pub async fn execute(&mut self, statement: &Statement) -> Result<u64, Trouble> {
        let conn = self.conn.as_mut().ok_or_else(no_connection)?;
        let done = within(bound(statement).execute(conn)).await;
        self.kept(done).map(|done| done.rows_affected())
    }

    pub async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, Trouble> {
        let conn = self.conn.as_mut().ok_or_else(no_connection)?;
        let rows = within(bound(statement).fetch_all(conn)).await;
        let rows = self.kept(rows)?;
        checked(read(&rows))
    }

    /// A connection that failed is not used again.
    fn kept<T>(&mut self, result: Result<T, Trouble>) -> Result<T, Trouble> {
        if matches!(result, Err(Trouble::Away(_))) {
            self.conn = None;
        }
        result
    }

    /// The database's clock, which all machines share.
    pub async fn now(&mut self) -> Result<Timestamp, Trouble> {
        let now =
            sql("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS millis");
        let rows = self.query(&now).await?;
        let now = rows.first().map_or_else(
            || Err(super::failure::away("no clock".to_owned())),
            |row| row.time("millis"),
        );
        now.map_err(Trouble::Failed)
    }

    /// Tries whether the database takes writes.
    pub async fn probe(&mut self) -> Result<(), Trouble> {
        self.connect_again().await
    }

    pub async fn close(self) -> Result<(), LedgerError> {
        match self.conn {
            Some(conn) => checked(conn.close().await).map_err(Trouble::into_error),
            None => Ok(()),
        }
    }
}

/// What a failed COMMIT means: that others were in the way, or that a constraint
/// forbids it, is a refusal. Of anything else (a cancelled query, a statement
/// whose completion the database does not know) it is not known whether the
/// commit stands.
fn in_doubt(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Again(_) | Trouble::Failed(LedgerError::Conflict { .. }) => trouble,
        Trouble::Away(detail) | Trouble::InDoubt(detail) => Trouble::InDoubt(detail),
        Trouble::Failed(error) => {
            let detail = error.detail().unwrap_or_default().to_owned();
            Trouble::InDoubt(detail)
        }
    }
}

fn no_connection() -> Trouble {
    Trouble::Away("there is no connection".to_owned())
}

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Trouble> {
    match timeout(STATEMENT_PATIENCE, work).await {
        Ok(result) => checked(result),
        Err(_) => Err(Trouble::Away(format!(
            "no answer in {STATEMENT_PATIENCE:?}"
        ))),
    }
}

/// A session for writing.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Trouble> {
    let connecting = timeout(CONNECT_PATIENCE, options.connect()).await;
    let Ok(connected) = connecting else {
        let detail = format!("no connection in {CONNECT_PATIENCE:?}");
        return Err(Trouble::Away(detail));
    };
    let mut conn = checked(connected)?;
    for setting in SESSION {
        // A database that only speaks PostgreSQL's protocol may not know one.
        let set = within(conn.execute(sqlx::raw_sql(setting))).await;
        if let Err(trouble @ Trouble::Away(_)) = set {
            return Err(trouble);
        }
    }
    Ok(conn)
}
