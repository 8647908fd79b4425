//! `tollway ledger verify`: lines that are green or red, each red with its cure.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_ledger::{ChainReport, Fault, LedgerError, RowReport, Store};

use super::chains::{self, OnChain};
use crate::cli::LedgerVerifyArgs;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::story::printable;
use crate::{assets, wiring};

const CURE_CHAIN: &str = "Somebody changed the file, or its disk did: stop whoever writes to it, keep a copy, and go back to a backup that is green; what was paid since is on the chain.";
const CURE_ROWS: &str = "The history is what was written: correct the record by what `tollway ledger show ID` tells, or go back to a backup that is green.";
const CURE_NODE: &str = "Ask a node that keeps old receipts (an archive node), or look at the transaction in an explorer; if it is not there, the money did not arrive.";
const CURE_UNKNOWN: &str = "Give each network its node with --network NETWORK=RPC_URL, and run it again when the node answers.";

/// How one line came out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Light {
    Green,
    Red,
    /// Nothing wrong was seen, and not all could be looked at.
    Unknown,
}

/// One thing that was looked at.
struct Line {
    light: Light,
    /// A stable word.
    check: String,
    /// What was seen.
    said: String,
    /// What is wrong, one by one.
    details: Vec<String>,
    cure: Option<&'static str>,
}

/// Looks at the whole ledger, and says what it saw.
pub async fn verify(
    store: &Store,
    args: &LedgerVerifyArgs,
    environment: &Environment,
) -> Result<Exit, Failure> {
    let heads = args.heads.iter().map(|head| noted(head));
    let heads = heads.collect::<Result<Vec<_>, _>>()?;
    let networks = wiring::networks(&args.networks, environment)?;
    let assets = assets::table(&args.add_assets, environment)?;
    let progress = Told::default();
    let chain = store
        .audit_chain(&heads, &|events| progress.say(events, "events"))
        .await
        .map_err(broken)?;
    let rows = store
        .audit_rows(&|rows| progress.say(rows, "records"))
        .await
        .map_err(broken)?;
    let mut lines = vec![chain_line(&chain), row_line(&rows)];
    if !networks.is_empty() {
        let seen = chains::look(store, &networks, &assets, args.allow_http).await?;
        lines.extend(
            seen.into_iter()
                .map(|(network, of)| on_chain(network.as_str(), of)),
        );
    }
    let head = chain.head.as_ref().map(|event| event.hash.as_str());
    match args.json {
        true => println!("{}", as_json(&lines, head)),
        false => print!("{}", in_lines(&lines, head)),
    }
    Ok(exit(&lines))
}

fn broken(error: LedgerError) -> Failure {
    Failure::coded(Exit::Failed, "ledger_unavailable", error)
}

fn noted(head: &str) -> Result<String, Failure> {
    let hash = head.trim().to_ascii_lowercase();
    if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(hash);
    }
    Err(Failure::usage(
        "--head is no head of a ledger; give the 64 digits that `tollway ledger verify` printed before.",
    ))
}

fn exit(lines: &[Line]) -> Exit {
    let any = |light| lines.iter().any(|line| line.light == light);
    if any(Light::Red) {
        Exit::Failed
    } else if any(Light::Unknown) {
        Exit::Unknown
    } else {
        Exit::Done
    }
}

fn chain_line(report: &ChainReport) -> Line {
    let checkpoints = report.checkpoints;
    let said = format!(
        "{} events in {} chains, {checkpoints} checkpoints",
        report.events, report.writers
    );
    line(
        "history",
        said,
        &report.faults,
        report.fault_count,
        CURE_CHAIN,
    )
}

fn row_line(report: &RowReport) -> Line {
    let said = format!("{} records compared with their events", report.rows);
    line(
        "records",
        said,
        &report.faults,
        report.fault_count,
        CURE_ROWS,
    )
}

fn line(check: &str, said: String, faults: &[Fault], count: u64, cure: &'static str) -> Line {
    let mut details: Vec<String> = faults.iter().map(sentence).collect();
    let untold = count.saturating_sub(details.len() as u64);
    if untold > 0 {
        details.push(format!("and {untold} more"));
    }
    let is_red = count > 0;
    Line {
        light: if is_red { Light::Red } else { Light::Green },
        check: check.to_owned(),
        said,
        details,
        cure: is_red.then_some(cure),
    }
}

fn on_chain(network: &str, of: OnChain) -> Line {
    let (light, cure) = match (of.wrong, of.unknown) {
        (0, 0) => (Light::Green, None),
        (0, _) => (Light::Unknown, Some(CURE_UNKNOWN)),
        _ => (Light::Red, Some(CURE_NODE)),
    };
    Line {
        light,
        check: format!("chain {network}"),
        said: format!(
            "{} transfers found exactly, {} not there, {} not looked at",
            of.found, of.wrong, of.unknown
        ),
        details: of.faults,
        cure,
    }
}

fn sentence(fault: &Fault) -> String {
    match fault {
        Fault::EventChanged {
            writer,
            seq,
            subject,
            kind,
        } => format!(
            "event {seq} of {writer} ({subject} {kind}) is not as it was written, or not in its place"
        ),
        Fault::EventsMissing { writer, seq } => {
            format!("event {seq} of {writer} is gone")
        }
        Fault::CheckpointChanged { writer, seq } => {
            format!("the checkpoint at event {seq} of {writer} was changed")
        }
        Fault::CheckpointsMissing {
            writer,
            made,
            found,
        } => format!("{writer} made {made} checkpoints, and {found} are there"),
        Fault::LooseBeginning { writer } => {
            format!("{writer} began after an event that is not there: a whole chain is gone")
        }
        Fault::HeadMissing { hash } => {
            format!(
                "the history does not hold {hash}, which was its end before: it was rolled back"
            )
        }
        Fault::RowChanged {
            subject,
            column,
            row,
            events,
        } => format!("{subject}: {column} is {row}, and its events say {events}"),
        Fault::RowMissing { subject } => format!("{subject} is gone; its events are there"),
        Fault::RowWithoutEvents { subject } => {
            format!("{subject} is there, and no event tells of it")
        }
    }
}

fn in_lines(lines: &[Line], head: Option<&str>) -> String {
    let colours = std::io::stdout().is_terminal();
    let mut text = String::new();
    for line in lines {
        let (word, colour) = match line.light {
            Light::Green => ("ok", "32"),
            Light::Red => ("WRONG", "31"),
            Light::Unknown => ("?", "33"),
        };
        let word = match colours {
            true => format!("\u{1b}[{colour}m{word:<5}\u{1b}[0m"),
            false => format!("{word:<5}"),
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{word}  {}: {}", line.check, line.said);
        for detail in &line.details {
            let _ = writeln!(text, "       {}", printable(detail));
        }
        if let Some(cure) = line.cure {
            let _ = writeln!(text, "       → {cure}");
        }
    }
    if let Some(head) = head {
        let _ = writeln!(
            text,
            "head   {head}\n       Keep it elsewhere: with --head {}… a later run proves that nothing before it was changed.",
            head.get(..8).unwrap_or_default()
        );
    }
    text
}

fn as_json(lines: &[Line], head: Option<&str>) -> Value {
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!({
                "check": line.check,
                "result": match line.light {
                    Light::Green => "ok",
                    Light::Red => "wrong",
                    Light::Unknown => "unknown",
                },
                "said": line.said,
                "details": line.details,
                "cure": line.cure,
            })
        })
        .collect();
    json!({ "checks": lines, "head": head })
}

/// Says how far it is, every two seconds.
#[derive(Default)]
struct Told(Mutex<Option<Instant>>);

impl Told {
    fn say(&self, count: u64, of: &str) {
        const EVERY: Duration = Duration::from_secs(2);
        let Ok(mut last) = self.0.lock() else {
            return;
        };
        let since = last.get_or_insert_with(Instant::now);
        if since.elapsed() >= EVERY {
            *since = Instant::now();
            eprintln!("tollway: looked at {count} {of} so far …");
        }
    }
}
