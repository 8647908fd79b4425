//! One record's whole story, with that of its other half: a gate's sale and the
//! engine's payment are one purchase.

use askama::Template;
use serde_json::Value;
use tollway_core::assets::AssetTable;
use tollway_core::{Network, TxHash};
use tollway_ledger::{EventRecord, LookKind, LookRow, StoryStore as _};

use super::pages::{Frame, Pages, Shown, rendered, told};
use super::words;
use crate::books::when;
use crate::story::printable;

/// Longest name that is looked for.
const MOST_NAME: usize = 80;
/// Events that are shown.
const MOST_EVENTS: usize = 500;

#[derive(Template)]
#[template(path = "dashboard/record.html")]
struct Page {
    frame: Frame,
    record: Facts,
    related: Vec<String>,
    events: Vec<Line>,
}

struct Facts {
    kind: &'static str,
    id: String,
    state: &'static str,
    amount: String,
    symbol: String,
    atomic: String,
    network: String,
    asset: String,
    place: String,
    payer: String,
    payee: String,
    transaction: String,
    explorer: Option<String>,
    code: String,
    sentence: &'static str,
}

struct Line {
    at: String,
    after: String,
    kind: String,
    meaning: &'static str,
    of_other: bool,
    subject: String,
    facts: Vec<Fact>,
}

struct Fact {
    name: String,
    value: String,
    link: Option<String>,
}

/// The page, if there is such a record.
pub async fn page(pages: &Pages, id: &str, frame: Frame) -> Shown {
    let is_name =
        id.len() <= MOST_NAME && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_name {
        return Ok(None);
    }
    let store = &pages.store;
    let Some(row) = store.look_up(id).await.map_err(told)? else {
        return Ok(None);
    };
    let related = store.other_half(&row).await.map_err(told)?;
    let mut events = store.story(id).await.map_err(told)?;
    for other in &related {
        events.extend(store.story(other).await.map_err(told)?);
    }
    events.sort_by_key(|event| event.at);
    events.truncate(MOST_EVENTS);
    let page = Page {
        frame,
        events: lines(&row, &events),
        record: facts(&pages.assets, row),
        related,
    };
    rendered(&page).map(Some)
}

fn facts(table: &AssetTable, row: LookRow) -> Facts {
    let expected = &row.expected;
    let (amount, symbol) = words::money(table, &row.network, &expected.asset, expected.amount);
    let code = row.code.clone().unwrap_or_default();
    Facts {
        kind: match row.kind {
            LookKind::Payment => "Payment",
            LookKind::Grant => "Sale",
            LookKind::Spend => "Spend",
        },
        state: row.state,
        amount,
        symbol,
        atomic: expected.amount.to_string(),
        network: format!("{} ({})", words::network(&row.network), row.network),
        asset: expected.asset.to_string(),
        place: row.place.unwrap_or_default(),
        payer: expected.from.to_string(),
        payee: expected.to.to_string(),
        explorer: row
            .transaction
            .as_ref()
            .and_then(|hash| words::explorer(&row.network, hash)),
        transaction: row
            .transaction
            .map(|hash| hash.to_string())
            .unwrap_or_default(),
        sentence: words::meaning(&code),
        code,
        id: row.id,
    }
}

fn lines(row: &LookRow, events: &[EventRecord]) -> Vec<Line> {
    let mut before = events.first().map(|event| event.at);
    let line = |event: &EventRecord| {
        let (day, time) = when::day_and_time(event.at);
        let since = before.map(|before| event.at.since(before));
        before = Some(event.at);
        let after = since.filter(|since| !since.is_zero());
        Line {
            at: format!("{day} {time}.{:03} UTC", event.at.millis() % 1_000),
            after: after
                .map(|since| format!("+ {}", words::long(since)))
                .unwrap_or_default(),
            kind: event.kind.clone(),
            meaning: meaning(&event.kind),
            of_other: event.subject != row.id,
            subject: event.subject.clone(),
            facts: told_facts(&row.network, &event.data),
        }
    };
    events.iter().map(line).collect()
}

/// What an event says, one fact a line; what is nothing is left out.
fn told_facts(network: &Network, data: &Value) -> Vec<Fact> {
    let mut facts = Vec::new();
    flatten(network, "", data, &mut facts);
    facts
}

fn flatten(network: &Network, name: &str, data: &Value, facts: &mut Vec<Fact>) {
    match data {
        Value::Null => {}
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = match name {
                    "" => field.clone(),
                    outer => format!("{outer} {field}"),
                };
                flatten(network, &name, value, facts);
            }
        }
        value => {
            let text = match value {
                Value::String(text) => printable(text),
                other => printable(&other.to_string()),
            };
            let hash = name.ends_with("transaction").then(|| TxHash::new(&text));
            facts.push(Fact {
                name: printable(name),
                link: hash.and_then(|hash| words::explorer(network, &hash)),
                value: text,
            });
        }
    }
}

fn meaning(kind: &str) -> &'static str {
    match kind {
        "claimed" => "the authorization opened a sale; nobody else can use it",
        "served" => "the server behind answered; the answer is held back",
        "settling" => "settling was asked for",
        "receipt" => "the facilitator said something",
        "released" => "paid: the answer left",
        "accepted" => "the payment was verified and recorded",
        "stored_raw" => "a signed transaction was on disk before it was sent",
        "settled" => "the chain shows exactly this transfer",
        "handed_out" => "success was told, once",
        "final" => "so deep that nothing takes it back",
        "taken_back" => "its block was replaced",
        "reopened" => "an attempt can no longer land; another may begin",
        "refused" => "it did not and will not move money",
        "expired" => "its time passed, and its nonce is proved unused",
        "reserved" => "set aside in the budget",
        "signed" | "signed_again" => "an authorization was signed and recorded",
        "presented" => "shown to the server",
        "unknown" => "nobody could say what became of it",
        "paid" => "the money moved",
        "metered" => "charged by what is handed out",
        "pass_issued" => "an access token was issued",
        "pass_revoked" => "its access token opens nothing any more",
        "taken_over" => "another process went on with it",
        _ => "",
    }
}
