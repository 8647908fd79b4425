//! How the business goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use askama::Template;
use tokio::sync::Mutex;
use tollway_core::assets::AssetTable;
use tollway_core::{Address, Network, Timestamp};
use tollway_ledger::{Payer, Refusals, Side, Takings, Tally, Unfinished, Window};

use super::chart::{Chart, Sum, charts};
use super::live::NetworkLine;
use super::pages::{Asked, Frame, Pages, rendered, told};
use super::words;

/// Payers that are shown.
const TOP: u32 = 10;
/// What waits longer than this is not as it should be.
const OLD: Duration = Duration::from_secs(300);

/// How far a page looks back, and in which steps.
pub struct Span {
    word: &'static str,
    pub label: &'static str,
    pub step_name: &'static str,
    pub step_millis: u64,
    pub steps: u64,
}

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

const fn span(
    word: &'static str,
    label: &'static str,
    step_name: &'static str,
    step_millis: u64,
    steps: u64,
) -> Span {
    Span {
        word,
        label,
        step_name,
        step_millis,
        steps,
    }
}

/// The first one is shown unless another is asked for.
static SPANS: [Span; 4] = [
    span("24h", "last 24 hours", "hour", HOUR, 24),
    span("7d", "last 7 days", "six hours", 6 * HOUR, 28),
    span("30d", "last 30 days", "day", DAY, 30),
    span("90d", "last 90 days", "day", DAY, 90),
];

#[derive(Template)]
#[template(path = "dashboard/overview.html")]
struct Overview {
    frame: Frame,
    spans: Vec<SpanLink>,
    revenue_note: &'static str,
    charts: Vec<Chart>,
    routes: Vec<RouteLine>,
    funnel: Vec<FunnelLine>,
    unfinished: Vec<UnfinishedLine>,
    refusals: Vec<RefusalLine>,
    latency: Option<Latency>,
    payers: Vec<PayerLine>,
    networks: Vec<NetworkLine>,
}

struct SpanLink {
    word: &'static str,
    label: &'static str,
    is_here: bool,
}

struct RouteLine {
    route: String,
    link: String,
    symbol: String,
    network: String,
    times: u64,
    amount: String,
}

struct FunnelLine {
    route: String,
    asked: u64,
    paid: u64,
    share: String,
}

struct UnfinishedLine {
    state: String,
    meaning: &'static str,
    link: String,
    times: u64,
    age: String,
    is_old: bool,
}

struct RefusalLine {
    code: String,
    sentence: &'static str,
    times: u64,
}

struct Latency {
    p50: String,
    p95: String,
    p99: String,
    count: usize,
}

struct PayerLine {
    payer: String,
    short: String,
    link: String,
    times: u64,
    amount: String,
    symbol: String,
    network: String,
}

/// Pages that were written a moment ago, by span and by who looks.
#[derive(Default)]
pub struct Kept(Mutex<BTreeMap<(&'static str, bool), Written>>);

/// A page, when it was written, and how long that took.
struct Written {
    at: Instant,
    took: Duration,
    page: String,
}

/// Longest that a page is kept.
const KEPT: Duration = Duration::from_secs(60);

/// The page. One that took long is kept ten times as long, so that whoever reloads
/// it, and how often, keeps the ledger busy for a tenth of the time at most.
pub async fn page(pages: &Pages, frame: Frame, asked: &Asked) -> Result<String, String> {
    let word = asked.get("span");
    let chosen = SPANS.iter().find(|span| word == Some(span.word));
    let span = chosen.unwrap_or(&SPANS[0]);
    let key = (span.word, frame.is_signed_in);
    let mut kept = pages.kept.0.lock().await;
    if let Some(last) = kept.get(&key)
        && last.at.elapsed() < (last.took * 10).min(KEPT)
    {
        return Ok(last.page.clone());
    }
    let begun = Instant::now();
    let page = written(pages, frame, span, asked).await?;
    let last = Written {
        at: Instant::now(),
        took: begun.elapsed(),
        page: page.clone(),
    };
    kept.insert(key, last);
    Ok(page)
}

async fn written(
    pages: &Pages,
    frame: Frame,
    span: &Span,
    asked: &Asked,
) -> Result<String, String> {
    let window = window(span, asked.now);
    // What a gate sold is its revenue, whoever settled it; where there is no gate,
    // what was settled is.
    let side = match frame.has_sales {
        true => Side::Sales,
        false => Side::Settlements,
    };
    let store = &pages.store;
    let takings = store.takings(side, window, span.step_millis).await;
    let takings = takings.map_err(told)?;
    let tallies = store.tallies(window).await.map_err(told)?;
    let payers = store.top_payers(side, window, TOP).await.map_err(told)?;
    let latencies = store.latencies(side, window).await.map_err(told)?;
    let networks = match &pages.live {
        Some(live) => live.lines(store, asked.now).await.map_err(told)?,
        None => Vec::new(),
    };
    let page = Overview {
        spans: links(span),
        revenue_note: match side {
            Side::Sales => "What the gate sold and was paid for, by the moment of the claim.",
            Side::Settlements => "What was settled, by the moment it was accepted.",
        },
        charts: charts(&pages.assets, &takings, span, asked.now),
        routes: routes(&pages.assets, &takings),
        funnel: funnel(&takings, &tallies),
        unfinished: unfinished(pages, &frame, asked.now).await?,
        refusals: refusals(pages, &frame, window, &tallies).await?,
        latency: latency(latencies),
        payers: payers
            .into_iter()
            .map(|payer| payer_line(&pages.assets, side, payer))
            .collect(),
        networks,
        frame,
    };
    rendered(&page)
}

/// Whole steps, the running one included.
fn window(span: &Span, now: Timestamp) -> Window {
    let last = now.millis() / span.step_millis;
    let first = last.saturating_sub(span.steps - 1);
    Window {
        since: Timestamp::from_millis(first * span.step_millis),
        until: Timestamp::from_millis((last + 1) * span.step_millis),
    }
}

fn links(here: &Span) -> Vec<SpanLink> {
    let link = |span: &Span| SpanLink {
        word: span.word,
        label: span.label,
        is_here: span.word == here.word,
    };
    SPANS.iter().map(link).collect()
}

fn routes(table: &AssetTable, takings: &[Takings]) -> Vec<RouteLine> {
    let mut sums: BTreeMap<(&str, &Network, &Address), Sum> = BTreeMap::new();
    for one in takings.iter().filter(|one| !one.route.is_empty()) {
        let key = (one.route.as_str(), &one.network, &one.asset);
        sums.entry(key).or_default().add(one);
    }
    let line = |((route, network, asset), sum): ((&str, &Network, &Address), Sum)| {
        let (amount, symbol) = words::money(table, network, asset, sum.amount);
        RouteLine {
            route: route.to_owned(),
            link: format!("/sales?route={}", words::encoded(route)),
            symbol,
            network: words::network(network),
            times: sum.times,
            amount,
        }
    };
    sums.into_iter().map(line).collect()
}

fn funnel(takings: &[Takings], tallies: &[Tally]) -> Vec<FunnelLine> {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for tally in tallies.iter().filter(|tally| tally.what == "challenged") {
        counts.entry(&tally.route).or_default().0 += tally.times;
    }
    if counts.is_empty() {
        return Vec::new();
    }
    for one in takings {
        counts.entry(&one.route).or_default().1 += one.times;
    }
    let line = |(route, (asked, paid)): (&str, (u64, u64))| FunnelLine {
        route: route.to_owned(),
        asked,
        paid,
        share: words::percent(paid, asked),
    };
    counts.into_iter().map(line).collect()
}

fn meaning(state: &str) -> &'static str {
    match state {
        "accepted" => "verified, nothing was sent yet",
        "submitted" => "sent, and not known yet what became of it",
        "claimed" => "the upstream is asked",
        "served" => "answered, not settled yet",
        "settling" => "being settled: unknown until it ends",
        _ => "",
    }
}

async fn unfinished(
    pages: &Pages,
    frame: &Frame,
    now: Timestamp,
) -> Result<Vec<UnfinishedLine>, String> {
    let mut lines = Vec::new();
    for (is_there, side, path) in [
        (frame.has_sales, Side::Sales, "/sales"),
        (frame.has_settlements, Side::Settlements, "/payments"),
    ] {
        if !is_there {
            continue;
        }
        let found = pages.store.unfinished(side).await.map_err(told)?;
        let line = |one: Unfinished| {
            let age = now.since(one.oldest);
            UnfinishedLine {
                meaning: meaning(&one.state),
                link: format!("{path}?state={}", words::encoded(&one.state)),
                state: one.state,
                times: one.times,
                age: words::long(age),
                is_old: age > OLD,
            }
        };
        lines.extend(found.into_iter().map(line));
    }
    Ok(lines)
}

/// What never became a record is counted; what became one and was refused is in
/// the record. Where a gate counts, it counts both.
async fn refusals(
    pages: &Pages,
    frame: &Frame,
    window: Window,
    tallies: &[Tally],
) -> Result<Vec<RefusalLine>, String> {
    let mut by_code: BTreeMap<String, u64> = BTreeMap::new();
    for tally in tallies {
        if let Some(code) = tally.what.strip_prefix("refused:") {
            *by_code.entry(code.to_owned()).or_default() += tally.times;
        }
    }
    if by_code.is_empty() {
        let side = match frame.has_sales {
            true => Side::Sales,
            false => Side::Settlements,
        };
        let found = pages.store.refusals(side, window).await.map_err(told)?;
        by_code.extend(
            found
                .into_iter()
                .map(|Refusals { code, times }| (code, times)),
        );
    }
    let mut lines: Vec<RefusalLine> = by_code
        .into_iter()
        .map(|(code, times)| RefusalLine {
            sentence: words::meaning(&code),
            code,
            times,
        })
        .collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.times));
    Ok(lines)
}

fn latency(mut times: Vec<u64>) -> Option<Latency> {
    times.sort_unstable();
    let at = |percent: usize| {
        let place = times.len().checked_sub(1)? * percent / 100;
        times
            .get(place)
            .map(|millis| words::long(Duration::from_millis(*millis)))
    };
    Some(Latency {
        p50: at(50)?,
        p95: at(95)?,
        p99: at(99)?,
        count: times.len(),
    })
}

fn payer_line(table: &AssetTable, side: Side, one: Payer) -> PayerLine {
    let path = match side {
        Side::Sales => "/sales",
        Side::Settlements => "/payments",
    };
    let payer = one.payer.to_string();
    let (amount, symbol) = match one.amount {
        Some(amount) => words::money(table, &one.network, &one.asset, amount),
        None => ("more than can be said".to_owned(), String::new()),
    };
    PayerLine {
        short: words::short(&payer),
        link: format!("{path}?payer={}", words::encoded(&payer)),
        payer,
        times: one.times,
        amount,
        symbol,
        network: words::network(&one.network),
    }
}
