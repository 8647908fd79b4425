//! `tollway ledger export`: every record as one line, oldest first, in constant
//! memory however long the ledger is.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};

use serde_json::{Value, json};
use tollway_core::TxHash;
use tollway_core::assets::AssetTable;
use tollway_ledger::{LOOK_STATES, LookCursor, LookFilter, LookKind, LookRow, Store};

use super::{csv, when};
use crate::assets;
use crate::cli::LedgerExportArgs;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};

/// The columns, in the order of the file.
const COLUMNS: [&str; 18] = [
    "id",
    "kind",
    "state",
    "began_at",
    "changed_at",
    "network",
    "place",
    "asset",
    "symbol",
    "decimals",
    "amount",
    "amount_atomic",
    "payer",
    "payee",
    "transaction",
    "block",
    "error_code",
    "explorer",
];

/// Writes all records that the flags ask for.
pub async fn export(
    store: &Store,
    args: &LedgerExportArgs,
    environment: &Environment,
) -> Result<Exit, Failure> {
    let table = assets::table(&args.add_assets, environment)?;
    let filter = filter(args)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = write_all(store, &filter, (args.csv, &table), &mut out).await;
    match written.and_then(|()| out.flush().map_err(Stopped::Write)) {
        Ok(()) => Ok(Exit::Done),
        // Whoever read it has read enough.
        Err(Stopped::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(Stopped::Write(e)) => Err(Failure::new(format!(
            "The export is not whole, since it cannot be written: {e}; make room and run it again."
        ))),
        Err(Stopped::Ledger(failure)) => Err(failure),
    }
}

/// Why an export did not come to its end.
enum Stopped {
    Write(io::Error),
    Ledger(Failure),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

fn filter(args: &LedgerExportArgs) -> Result<LookFilter, Failure> {
    let mut filter = LookFilter::default();
    if let Some(text) = &args.since {
        filter.since = when::parse(text, "--since")?;
    }
    if let Some(text) = &args.until {
        filter.until = when::parse(text, "--until")?;
    }
    if filter.until <= filter.since {
        return Err(Failure::usage(
            "--until is not after --since, so that nothing lies between them; correct one of them.",
        ));
    }
    if let Some(state) = &args.state {
        let known = LOOK_STATES.into_iter().find(|known| known == state);
        filter.state = Some(known.ok_or_else(|| {
            Failure::usage(format!(
                "`{state}` is not a state; use one of {}.",
                LOOK_STATES.join(", ")
            ))
        })?);
    }
    Ok(filter)
}

async fn write_all(
    store: &Store,
    filter: &LookFilter,
    (as_csv, table): (bool, &AssetTable),
    out: &mut impl Write,
) -> Result<(), Stopped> {
    if as_csv {
        csv::line(out, &COLUMNS)?;
    }
    let mut streams = [LookKind::Payment, LookKind::Grant, LookKind::Spend].map(Stream::of);
    loop {
        for stream in &mut streams {
            stream.fill(store, filter).await.map_err(Stopped::Ledger)?;
        }
        // The oldest of the three that are next.
        let next = streams
            .iter_mut()
            .filter(|stream| !stream.rows.is_empty())
            .min_by_key(|stream| stream.rows.front().map(|row| row.began_at));
        let Some(row) = next.and_then(|stream| stream.rows.pop_front()) else {
            return Ok(());
        };
        match as_csv {
            true => csv_line(out, table, &row)?,
            false => writeln!(out, "{}", object(table, &row))?,
        }
    }
}

/// One kind's records, a page at a time.
struct Stream {
    kind: LookKind,
    rows: VecDeque<LookRow>,
    after: Option<LookCursor>,
    is_over: bool,
}

impl Stream {
    const fn of(kind: LookKind) -> Self {
        Self {
            kind,
            rows: VecDeque::new(),
            after: None,
            is_over: false,
        }
    }

    async fn fill(&mut self, store: &Store, filter: &LookFilter) -> Result<(), Failure> {
        if self.is_over || !self.rows.is_empty() {
            return Ok(());
        }
        let page = store.looked_at(self.kind, filter, self.after).await;
        let page = page.map_err(|e| Failure::coded(Exit::Failed, "ledger_unavailable", e))?;
        self.is_over = page.is_empty();
        self.after = page.last().map(LookRow::cursor);
        self.rows = page.into();
        Ok(())
    }
}

/// What an amount is in the asset's own words; nothing where our table does not
/// know the asset.
fn in_units<'a>(table: &'a AssetTable, row: &LookRow) -> Option<(&'a str, u8, String)> {
    let known = table.find(&row.network, &row.expected.asset)?;
    let amount = row.expected.amount.to_decimal(known.decimals);
    Some((&*known.symbol, known.decimals, amount))
}

fn explorer(row: &LookRow) -> Option<String> {
    row.transaction
        .as_ref()
        .filter(|hash| is_hash(hash))
        .and_then(|hash| row.network.explorer_tx(hash))
}

/// Whether somebody's word for a transaction can be part of a link.
pub fn is_hash(hash: &TxHash) -> bool {
    hash.as_str()
        .strip_prefix("0x")
        .is_some_and(|d| (1..=64).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn csv_line(out: &mut impl Write, table: &AssetTable, row: &LookRow) -> io::Result<()> {
    let units = in_units(table, row);
    let (symbol, decimals, amount) = match &units {
        Some((symbol, decimals, amount)) => (*symbol, decimals.to_string(), amount.as_str()),
        None => ("", String::new(), ""),
    };
    csv::line(
        out,
        &[
            &row.id,
            row.kind.as_str(),
            row.state,
            &when::rfc3339(row.began_at),
            &when::rfc3339(row.changed_at),
            row.network.as_str(),
            row.place.as_deref().unwrap_or_default(),
            row.expected.asset.as_str(),
            symbol,
            &decimals,
            amount,
            &row.expected.amount.to_string(),
            row.expected.from.as_str(),
            row.expected.to.as_str(),
            row.transaction.as_ref().map_or("", TxHash::as_str),
            &row.block.map(|block| block.to_string()).unwrap_or_default(),
            row.code.as_deref().unwrap_or_default(),
            &explorer(row).unwrap_or_default(),
        ],
    )
}

fn object(table: &AssetTable, row: &LookRow) -> Value {
    let units = in_units(table, row);
    json!({
        "id": row.id,
        "kind": row.kind.as_str(),
        "state": row.state,
        "beganAt": when::rfc3339(row.began_at),
        "changedAt": when::rfc3339(row.changed_at),
        "network": row.network,
        "place": row.place,
        "asset": row.expected.asset,
        "symbol": units.as_ref().map(|(symbol, ..)| symbol),
        "decimals": units.as_ref().map(|(_, decimals, _)| decimals),
        "amount": units.as_ref().map(|(.., amount)| amount),
        "amountAtomic": row.expected.amount,
        "payer": row.expected.from,
        "payee": row.expected.to,
        "transaction": row.transaction,
        "block": row.block,
        "errorCode": row.code,
        "explorer": explorer(row),
    })
}
