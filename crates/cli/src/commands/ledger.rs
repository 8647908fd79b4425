//! `tollway ledger`: the durable record, for people and programs.
//!
//! One ledger may hold payments (an engine's), grants (a gate's) and spends (a
//! buyer's). A grant is listed where no payment of this ledger settled it: its
//! facilitator is a remote one.

use std::collections::HashSet;

use serde_json::{Value, json};
use tollway_core::{Expected, GrantId, Network, PaymentId, SpendId, Timestamp, TxHash};
use tollway_ledger::{
    EventRecord, Evidence, GrantRecord, GrantState, LOOK_STATES, PaymentFilter, PaymentRecord,
    SettlementStore, SpendRecord, SpendState, SpendStore, Store, StoryStore,
};

use crate::cli::LedgerCommand;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::wiring::{self, ledger_unavailable};
use crate::{books, story};

/// Runs it.
pub async fn run(command: LedgerCommand, environment: &Environment) -> Result<Exit, Failure> {
    match command {
        LedgerCommand::List {
            ledger,
            state,
            limit,
            json,
        } => {
            check_state(state.as_deref())?;
            let ledger = open(ledger.as_deref(), environment).await?;
            let mut rows = rows(&ledger, limit.clamp(1, 1000)).await?;
            rows.retain(|row| state.as_deref().is_none_or(|state| row.state == state));
            rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            list(&rows, json);
        }
        LedgerCommand::Show { id, ledger, json } => {
            let ledger = open(ledger.as_deref(), environment).await?;
            let row = find(&ledger, &id).await?;
            let events = ledger.story(&id).await.map_err(ledger_unavailable)?;
            show(&row, &events, json);
        }
        LedgerCommand::Export(args) => {
            let ledger = open_to_read(args.ledger.as_deref(), environment).await?;
            return books::export(&ledger, &args, environment).await;
        }
        LedgerCommand::Verify(args) => {
            let ledger = open_to_read(args.ledger.as_deref(), environment).await?;
            return books::verify(&ledger, &args, environment).await;
        }
    }
    Ok(Exit::Done)
}

/// Opens a ledger that exists and is up to date; whoever writes to it goes on.
pub async fn open_to_read(url: Option<&str>, environment: &Environment) -> Result<Store, Failure> {
    let url = existing(url, environment)?;
    Store::open_to_read(&url).await.map_err(ledger_unavailable)
}

/// Opens a ledger that exists: looking never makes one.
async fn open(url: Option<&str>, environment: &Environment) -> Result<Store, Failure> {
    let url = existing(url, environment)?;
    Store::open(&url).await.map_err(ledger_unavailable)
}

fn existing(url: Option<&str>, environment: &Environment) -> Result<String, Failure> {
    let url = wiring::ledger_url(url, "gate.db", environment)?;
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.trim_start_matches("//");
        if !std::path::Path::new(path).is_file() {
            return Err(Failure::usage(format!(
                "There is no ledger at {path}; name one with --ledger sqlite:PATH."
            )));
        }
    }
    Ok(url)
}

fn check_state(state: Option<&str>) -> Result<(), Failure> {
    match state {
        Some(state) if !LOOK_STATES.contains(&state) => Err(Failure::usage(format!(
            "`{state}` is not a state; use one of {}.",
            LOOK_STATES.join(", ")
        ))),
        _ => Ok(()),
    }
}

/// What all three kinds of record have in common.
struct Row {
    kind: &'static str,
    id: String,
    state: &'static str,
    network: Network,
    expected: Expected,
    transaction: Option<TxHash>,
    deadline: Option<Timestamp>,
    began_at: Timestamp,
    refusal: Option<(String, String)>,
}

async fn rows(ledger: &Store, limit: u32) -> Result<Vec<Row>, Failure> {
    let filter = PaymentFilter {
        limit,
        ..PaymentFilter::default()
    };
    let payments = ledger.payments(&filter).await.map_err(ledger_unavailable)?;
    let settled_here: HashSet<String> = payments
        .iter()
        .map(|record| record.payment.identity.key())
        .collect();
    let grants = ledger.grants(limit).await.map_err(ledger_unavailable)?;
    let spends = ledger.spends(limit).await.map_err(ledger_unavailable)?;
    let mut rows: Vec<Row> = payments.into_iter().map(Row::from).collect();
    rows.extend(
        grants
            .into_iter()
            .filter(|record| !settled_here.contains(&record.grant.identity.key()))
            .map(Row::from),
    );
    rows.extend(spends.into_iter().map(Row::from));
    rows.sort_by(|a, b| b.began_at.cmp(&a.began_at).then_with(|| a.id.cmp(&b.id)));
    Ok(rows)
}

async fn find(ledger: &Store, id: &str) -> Result<Row, Failure> {
    let row = match id.split('_').next() {
        Some("grt") => ledger
            .grant(&GrantId::from_text(id))
            .await
            .map_err(ledger_unavailable)?
            .map(Row::from),
        Some("spd") => ledger
            .spend(&SpendId::from_text(id))
            .await
            .map_err(ledger_unavailable)?
            .map(Row::from),
        _ => ledger
            .payment(&PaymentId::from_text(id))
            .await
            .map_err(ledger_unavailable)?
            .map(Row::from),
    };
    row.ok_or_else(|| {
        Failure::coded(
            Exit::Failed,
            "not_found",
            format!("The ledger has no record {id}; list them with `tollway ledger list`."),
        )
    })
}

impl From<PaymentRecord> for Row {
    fn from(record: PaymentRecord) -> Self {
        Self {
            kind: "payment",
            id: record.id.to_string(),
            state: record.state.as_str(),
            network: record.payment.identity.network,
            expected: record.payment.expected,
            transaction: record.transaction,
            deadline: Some(record.payment.deadline),
            began_at: record.accepted_at,
            refusal: record.refusal,
        }
    }
}

impl From<GrantRecord> for Row {
    fn from(record: GrantRecord) -> Self {
        let transfer = record.evidence.as_ref().and_then(Evidence::transfer);
        let transaction = transfer.map(|(transaction, _)| transaction.clone());
        Self {
            kind: "grant",
            id: record.id.to_string(),
            state: match record.state {
                GrantState::Released => "settled",
                other => other.as_str(),
            },
            network: record.grant.identity.network,
            expected: record.grant.expected,
            transaction,
            deadline: Some(record.grant.deadline),
            began_at: record.claimed_at,
            refusal: record.refusal,
        }
    }
}

impl From<SpendRecord> for Row {
    fn from(record: SpendRecord) -> Self {
        let refusal = match record.state {
            SpendState::Released => record.reason.map(|why| ("released".to_owned(), why)),
            _ => None,
        };
        Self {
            kind: "spend",
            id: record.id.to_string(),
            state: match record.state {
                SpendState::Paid => "settled",
                SpendState::Released => "refused",
                other => other.as_str(),
            },
            expected: Expected {
                asset: record.spend.asset,
                from: record.spend.account,
                to: record.spend.payee,
                amount: record.paid.unwrap_or(record.spend.amount),
            },
            network: record.spend.network,
            transaction: record.transaction,
            deadline: record.signed.map(|signed| signed.valid_until),
            began_at: record.reserved_at,
            refusal,
        }
    }
}

impl Row {
    fn amount(&self) -> String {
        story::in_words(&self.network, &self.expected.asset, self.expected.amount)
    }

    /// The record as programs read it.
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "amount": self.expected.amount,
            "asset": self.expected.asset,
            "network": self.network,
            "payer": self.expected.from,
            "payee": self.expected.to,
            "transaction": self.transaction,
            "deadline": self.deadline,
            "acceptedAt": self.began_at,
            "errorReason": self.refusal.as_ref().map(|(code, _)| code),
        })
    }
}

fn list(rows: &[Row], as_json: bool) {
    if as_json {
        println!(
            "{}",
            Value::from(rows.iter().map(Row::json).collect::<Vec<_>>())
        );
        return;
    }
    if rows.is_empty() {
        eprintln!("No payment is recorded here.");
    }
    for row in rows {
        println!(
            "{}  {:<9}  {:>14}  {}  {}",
            row.id,
            row.state,
            row.amount(),
            row.network,
            row.transaction.as_ref().map_or("-", TxHash::as_str),
        );
    }
}

fn show(row: &Row, events: &[EventRecord], as_json: bool) {
    if as_json {
        let mut whole = row.json();
        if let Some(object) = whole.as_object_mut() {
            object.insert("events".to_owned(), events.iter().map(event_json).collect());
        }
        println!("{whole}");
        return;
    }
    println!("{:<12} {}", row.kind, row.id);
    println!("state        {}", row.state);
    println!("amount       {}", row.amount());
    println!("network      {}", row.network);
    println!("payer        {}", row.expected.from);
    println!("payee        {}", row.expected.to);
    if let Some(hash) = &row.transaction {
        println!("transaction  {hash}");
        if let Some(link) = row.network.explorer_tx(hash) {
            println!("             {link}");
        }
    }
    if let Some((code, message)) = &row.refusal {
        println!("refused      {code}: {message}");
    }
    for event in events {
        println!("{}  {}  {}", event.at, event.kind, event.data);
    }
}

fn event_json(event: &EventRecord) -> Value {
    json!({ "seq": event.seq, "at": event.at, "kind": event.kind, "data": event.data })
}
