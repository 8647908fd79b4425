//! Rows of a ledger's tables, every column as text.

use rusqlite::OpenFlags;
use sqlx::{Connection as _, PgConnection, Row as _};

/// A row.
pub type Texts = Vec<Option<String>>;

/// Runs all queries in one transaction, so that they see one moment.
pub async fn tables<const N: usize>(
    url: &str,
    queries: [&'static str; N],
) -> Result<[Vec<Texts>; N], String> {
    let found = match url.strip_prefix("sqlite:") {
        Some(path) => sqlite(path, &queries).map_err(|e| format!("{url}: {e}"))?,
        None => postgres(url, &queries)
            .await
            .map_err(|e| format!("the database: {e}"))?,
    };
    let count = found.len();
    found
        .try_into()
        .map_err(|_| format!("{count} of {N} tables were read"))
}

fn sqlite(path: &str, queries: &[&'static str]) -> rusqlite::Result<Vec<Vec<Texts>>> {
    let connection = rusqlite::Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.execute_batch("BEGIN")?;
    let mut tables = Vec::new();
    for query in queries {
        let mut statement = connection.prepare(query)?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect())?;
        tables.push(rows.collect::<rusqlite::Result<Vec<Texts>>>()?);
    }
    Ok(tables)
}

async fn postgres(url: &str, queries: &[&'static str]) -> Result<Vec<Vec<Texts>>, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    sqlx::query(begin).execute(&mut connection).await?;
    let mut tables = Vec::new();
    for query in queries {
        let mut table = Vec::new();
        for row in sqlx::query(*query).fetch_all(&mut connection).await? {
            let columns: Result<Texts, _> = (0..row.len()).map(|at| row.try_get(at)).collect();
            table.push(columns?);
        }
        tables.push(table);
    }
    connection.close().await?;
    Ok(tables)
}
