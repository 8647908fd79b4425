//! Between our statements and rows and sqlx's, and the connections that read.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{Column as _, Executor as _, Postgres, Row as _, TypeInfo as _, ValueRef as _};

use super::failure::trouble;
use crate::LedgerError;
use crate::sql::{Names, Param, Row, Statement, Value};
use crate::store::Trouble;

/// Connections that read.
const READERS: u32 = 4;
/// How long a reader waits for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the server works on what is read. Longer than any page of ours takes; what
/// waits for a lock, or for a machine that is gone, does not wait for ever.
const LIMIT: &str = "SET statement_timeout = '60s'";
/// And how long we wait for its answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(65);

/// A statement as sqlx takes it.
pub(super) fn bound(statement: &Statement) -> Query<'_, Postgres, PgArguments> {
    let mut query = sqlx::query(statement.sql);
    for param in &statement.params {
        query = match param {
            Param::Int(value) => query.bind(*value),
            Param::Text(text) => query.bind(text.as_deref()),
            Param::Bytes(bytes) => query.bind(bytes.as_deref()),
        };
    }
    query
}

/// Rows as the steps read them.
pub(super) fn read(found: &[PgRow]) -> Result<Vec<Row>, sqlx::Error> {
    let Some(first) = found.first() else {
        return Ok(Vec::new());
    };
    let names: Names = first
        .columns()
        .iter()
        .map(|c| Box::from(c.name()))
        .collect();
    let row = |row: &PgRow| {
        let values = (0..names.len()).map(|column| value(row, column));
        Ok(Row {
            names: Arc::clone(&names),
            values: values.collect::<Result<_, sqlx::Error>>()?,
        })
    };
    found.iter().map(row).collect()
}

fn value(row: &PgRow, column: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    Ok(match raw.type_info().name() {
        "INT8" => Value::Int(row.try_get(column)?),
        "INT4" => Value::Int(row.try_get::<i32, _>(column)?.into()),
        "BOOL" => Value::Int(row.try_get::<bool, _>(column)?.into()),
        "BYTEA" => Value::Bytes(row.try_get(column)?),
        _ => Value::Text(row.try_get(column)?),
    })
}

/// A few connections that read, opened when they are needed.
#[derive(Clone)]
pub(crate) struct PostgresReaders(PgPool);

impl PostgresReaders {
    pub fn new(options: PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(PATIENCE)
            .after_connect(|conn, _| {
                Box::pin(async move {
                    // A database that only speaks PostgreSQL's protocol may not know it.
                    let _ = conn.execute(sqlx::raw_sql(LIMIT)).await;
                    Ok(())
                })
            });
        Self(pool.connect_lazy_with(options))
    }

    pub async fn query(&self, statement: Statement) -> Result<Vec<Row>, LedgerError> {
        let rows = tokio::time::timeout(ANSWER_PATIENCE, bound(&statement).fetch_all(&self.0));
        let Ok(rows) = rows.await else {
            let late = format!("no answer in {ANSWER_PATIENCE:?}");
            return Err(super::failure::away(late));
        };
        let rows = rows.and_then(|rows| read(&rows));
        rows.map_err(|error| trouble(error).into_error())
    }

    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// What a statement gave, or why it did not.
pub(super) fn checked<T>(result: Result<T, sqlx::Error>) -> Result<T, Trouble> {
    result.map_err(trouble)
}
