//! Records with filters, a page at a time.

use askama::Template;
use tollway_core::Timestamp;
use tollway_core::assets::AssetTable;
use tollway_ledger::{LOOK_STATES, Listing, LookCursor, LookRow, Side, Window};

use super::pages::{Asked, Frame, Pages, rendered, told};
use super::words;
use crate::books::when;

/// Records of a page.
const PAGE: u32 = 50;
const DAY_MILLIS: u64 = 86_400_000;

#[derive(Template)]
#[template(path = "dashboard/list.html")]
struct List<'a> {
    frame: Frame,
    title: &'static str,
    path: &'static str,
    states: Vec<StateOption>,
    filter: Filter<'a>,
    problem: Option<String>,
    rows: Vec<Line>,
    newest: Option<String>,
    older: Option<String>,
}

struct StateOption {
    word: &'static str,
    is_here: bool,
}

/// The filters as they were typed.
struct Filter<'a> {
    payer: &'a str,
    route: &'a str,
    network: &'a str,
    since: &'a str,
    until: &'a str,
}

struct Line {
    id: String,
    began: String,
    state: &'static str,
    code: String,
    amount: String,
    symbol: String,
    network: String,
    place: String,
    payer: String,
    short_payer: String,
    transaction: String,
    short_transaction: String,
    explorer: Option<String>,
}

/// The states that a side's records have.
const fn states(side: Side) -> [&'static str; 5] {
    match side {
        Side::Sales => ["settled", "claimed", "served", "settling", "refused"],
        Side::Settlements => ["settled", "accepted", "submitted", "refused", "expired"],
    }
}

/// The page.
pub async fn page(
    pages: &Pages,
    side: Side,
    frame: Frame,
    asked: &Asked,
) -> Result<String, String> {
    let (path, title) = match side {
        Side::Sales => ("/sales", "Sales"),
        Side::Settlements => ("/payments", "Payments"),
    };
    let text = |name| asked.get(name).unwrap_or_default();
    let filter = Filter {
        payer: text("payer"),
        route: text("route"),
        network: text("network"),
        since: text("since"),
        until: text("until"),
    };
    let (listing, problem) = match listing(side, asked) {
        Ok(listing) => (Some(listing), None),
        Err(problem) => (None, Some(problem)),
    };
    let rows = match &listing {
        Some(listing) => pages.store.page(listing).await.map_err(told)?,
        None => Vec::new(),
    };
    let last = rows.last().filter(|_| rows.len() == PAGE as usize);
    let page = List {
        frame,
        title,
        path,
        states: state_options(side, asked),
        filter,
        problem,
        newest: asked.get("before").map(|_| link(path, asked, None)),
        older: last.map(|row| link(path, asked, Some(row.cursor()))),
        rows: rows.iter().map(|row| line(&pages.assets, row)).collect(),
    };
    rendered(&page)
}

fn state_options(side: Side, asked: &Asked) -> Vec<StateOption> {
    let option = |word| StateOption {
        word,
        is_here: asked.get("state") == Some(word),
    };
    states(side).into_iter().map(option).collect()
}

/// What the filters ask for, or what is wrong with one.
fn listing(side: Side, asked: &Asked) -> Result<Listing, String> {
    let state = match asked.get("state") {
        None => None,
        Some(word) => {
            let known = LOOK_STATES.into_iter().find(|known| *known == word);
            Some(known.ok_or("There is no such state; choose one of the list.")?)
        }
    };
    let network = match asked.get("network") {
        None => None,
        Some(name) => Some(
            tollway_core::Network::resolve(name)
                .map_err(|_| "That is no network; write for example base, or eip155:8453.")?,
        ),
    };
    let payer = match (asked.get("payer"), &network) {
        (Some(payer), Some(network)) => network.address(payer).map(|a| a.to_string()).ok(),
        // Addresses are kept in lower case where case says nothing.
        (Some(payer), None) if payer.starts_with("0x") => Some(payer.to_ascii_lowercase()),
        (payer, _) => payer.map(str::to_owned),
    };
    if asked.get("payer").is_some() && payer.is_none() {
        return Err("That is no address of this network; correct it.".to_owned());
    }
    let before =
        match asked.get("before") {
            None => None,
            Some(place) => Some(place.parse::<LookCursor>().map_err(
                |()| "This page is named wrongly; go to the newest, and on from there.",
            )?),
        };
    Ok(Listing {
        side,
        window: Window {
            since: day(asked, "since")?.unwrap_or_default(),
            until: match day(asked, "until")? {
                // The day itself is among them.
                Some(at) => Timestamp::from_millis(at.millis().saturating_add(DAY_MILLIS)),
                None => Timestamp::from_millis(u64::MAX),
            },
        },
        state,
        payer,
        route: asked.get("route").map(str::to_owned),
        network: network.map(|network| network.to_string()),
        before,
        limit: PAGE,
    })
}

fn day(asked: &Asked, name: &'static str) -> Result<Option<Timestamp>, String> {
    asked
        .get(name)
        .map(|text| when::parse(text, name))
        .transpose()
        .map_err(|failure| failure.message)
}

/// The same filters, from a place on.
fn link(path: &str, asked: &Asked, before: Option<LookCursor>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for name in ["state", "payer", "route", "network", "since", "until"] {
        if let Some(value) = asked.get(name) {
            query.append_pair(name, value);
        }
    }
    if let Some(before) = before {
        query.append_pair("before", &before.to_string());
    }
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

fn line(table: &AssetTable, row: &LookRow) -> Line {
    let expected = &row.expected;
    let (amount, symbol) = words::money(table, &row.network, &expected.asset, expected.amount);
    let transaction = row.transaction.as_ref();
    let text = transaction.map(ToString::to_string).unwrap_or_default();
    Line {
        id: row.id.clone(),
        began: words::minute(row.began_at),
        state: row.state,
        code: row.code.clone().unwrap_or_default(),
        amount,
        symbol,
        network: words::network(&row.network),
        place: row.place.clone().unwrap_or_default(),
        payer: expected.from.to_string(),
        short_payer: words::short(expected.from.as_str()),
        short_transaction: words::short(&text),
        explorer: transaction.and_then(|hash| words::explorer(&row.network, hash)),
        transaction: text,
    }
}
