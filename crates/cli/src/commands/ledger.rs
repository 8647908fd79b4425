//! `tollway ledger`: the durable record, for people and programs.

use serde_json::{Value, json};
use tollway_core::PaymentId;
use tollway_ledger::{
    PaymentFilter, PaymentRecord, PaymentState, SettlementStore, SqliteLedger, StoryStore,
};

use crate::cli::LedgerCommand;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::{story, wiring};

/// Runs it.
pub async fn run(command: LedgerCommand, environment: &Environment) -> Result<Exit, Failure> {
    match command {
        LedgerCommand::List {
            ledger,
            state,
            limit,
            json,
        } => {
            let ledger = open(ledger.as_deref(), environment).await?;
            let state = state.as_deref().map(payment_state).transpose()?;
            let filter = PaymentFilter {
                state,
                limit: limit.clamp(1, 1000),
                before: None,
            };
            let payments = ledger.payments(&filter).await.map_err(broken)?;
            list(&payments, json);
        }
        LedgerCommand::Show { id, ledger, json } => {
            let ledger = open(ledger.as_deref(), environment).await?;
            show(&ledger, &id, json).await?;
        }
    }
    Ok(Exit::Done)
}

/// Opens a ledger that exists: looking never makes one.
async fn open(url: Option<&str>, environment: &Environment) -> Result<SqliteLedger, Failure> {
    let url = wiring::ledger_url(url, "gate.db", environment)?;
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.trim_start_matches("//");
        if !std::path::Path::new(path).is_file() {
            return Err(Failure::usage(format!(
                "There is no ledger at {path}; name one with --ledger sqlite:PATH."
            )));
        }
    }
    SqliteLedger::open(&url).await.map_err(broken)
}

fn broken(error: tollway_ledger::LedgerError) -> Failure {
    Failure::coded(Exit::Failed, "ledger_unavailable", error)
}

fn payment_state(text: &str) -> Result<PaymentState, Failure> {
    serde_json::from_value(Value::from(text)).map_err(|_| {
        Failure::usage(format!(
            "`{text}` is not a state; use accepted, submitted, settled, refused or expired."
        ))
    })
}

fn list(payments: &[PaymentRecord], as_json: bool) {
    if as_json {
        println!(
            "{}",
            Value::from(payments.iter().map(payment_json).collect::<Vec<_>>())
        );
        return;
    }
    if payments.is_empty() {
        eprintln!("No payment is recorded here.");
    }
    for payment in payments {
        println!(
            "{}  {:<9}  {:>14}  {}  {}",
            payment.id,
            word(payment.state),
            amount_in_words(payment),
            payment.payment.identity.network,
            payment
                .transaction
                .as_ref()
                .map_or("-", |hash| hash.as_str()),
        );
    }
}

async fn show(ledger: &SqliteLedger, id: &str, as_json: bool) -> Result<(), Failure> {
    let payment = ledger
        .payment(&PaymentId::from_text(id))
        .await
        .map_err(broken)?
        .ok_or_else(|| {
            Failure::coded(
                Exit::Failed,
                "not_found",
                format!("The ledger has no payment {id}; list them with `tollway ledger list`."),
            )
        })?;
    let events = ledger.story(id).await.map_err(broken)?;
    if as_json {
        let mut whole = payment_json(&payment);
        if let Some(object) = whole.as_object_mut() {
            let events: Vec<Value> = events
                .iter()
                .map(|e| json!({ "seq": e.seq, "at": e.at, "kind": e.kind, "data": e.data }))
                .collect();
            object.insert("events".to_owned(), events.into());
        }
        println!("{whole}");
        return Ok(());
    }
    println!("payment      {}", payment.id);
    println!("state        {}", word(payment.state));
    println!("amount       {}", amount_in_words(&payment));
    println!("network      {}", payment.payment.identity.network);
    println!("payer        {}", payment.payment.expected.from);
    println!("payee        {}", payment.payment.expected.to);
    if let Some(hash) = &payment.transaction {
        println!("transaction  {hash}");
        if let Some(link) = payment.payment.identity.network.explorer_tx(hash) {
            println!("             {link}");
        }
    }
    if let Some((code, message)) = &payment.refusal {
        println!("refused      {code}: {message}");
    }
    for event in events {
        println!("{}  {}  {}", event.at, event.kind, event.data);
    }
    Ok(())
}

/// The record as programs read it.
fn payment_json(record: &PaymentRecord) -> Value {
    let payment = &record.payment;
    json!({
        "id": record.id,
        "state": word(record.state),
        "amount": payment.expected.amount,
        "asset": payment.expected.asset,
        "network": payment.identity.network,
        "payer": payment.expected.from,
        "payee": payment.expected.to,
        "transaction": record.transaction,
        "deadline": payment.deadline,
        "acceptedAt": record.accepted_at,
        "updatedAt": record.updated_at,
        "errorReason": record.refusal.as_ref().map(|(code, _)| code),
    })
}

fn word(state: PaymentState) -> String {
    serde_json::to_value(state)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn amount_in_words(record: &PaymentRecord) -> String {
    let expected = &record.payment.expected;
    story::in_words(
        &record.payment.identity.network,
        &expected.asset,
        expected.amount,
    )
}
