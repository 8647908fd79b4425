//! What each address shows.

use std::collections::HashMap;

use askama::Template;
use tollway_core::assets::AssetTable;
use tollway_core::{Clock as _, SystemClock, Timestamp};
use tollway_ledger::{Side, Store};

use super::live::Live;
use super::{list, overview, record};
use crate::books::when;

/// The one style.
pub const STYLE: &str = include_str!("../../templates/dashboard/style.css");
/// Longest value of a query that is read.
const MOST_QUERY: usize = 512;

/// Where pages come from.
pub struct Pages {
    /// The ledger.
    pub store: Store,
    /// What only the process knows that settles.
    pub live: Option<Live>,
    /// Overviews that were written a moment ago.
    pub kept: overview::Kept,
    /// Which contract is which money.
    pub assets: AssetTable,
    /// The ledger's name for people: never its URL, which may hold a password.
    pub name: String,
}

/// What a request asks to see.
pub struct Asked {
    query: HashMap<String, String>,
    is_signed_in: bool,
    /// When it was asked.
    pub now: Timestamp,
}

/// What all pages have.
pub struct Frame {
    /// The ledger's name.
    pub ledger: String,
    /// The view that is shown.
    pub here: &'static str,
    /// Whether a gate wrote to it.
    pub has_sales: bool,
    /// Whether an engine wrote to it.
    pub has_settlements: bool,
    /// Whether there is a session to end.
    pub is_signed_in: bool,
    /// When it was asked.
    pub now: String,
}

/// A page, none if there is no such thing, or why the ledger cannot be read.
pub type Shown = Result<Option<String>, String>;

#[derive(Template)]
#[template(path = "dashboard/login.html")]
struct Login<'a> {
    problem: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "dashboard/problem.html")]
struct Problem<'a> {
    title: &'a str,
    message: &'a str,
}

/// The form that asks for the token.
pub fn login(problem: Option<&str>) -> String {
    rendered(&Login { problem }).unwrap_or_default()
}

/// A page that says what is wrong.
pub fn problem(title: &str, message: &str) -> String {
    rendered(&Problem { title, message }).unwrap_or_default()
}

/// A template's text. Everything in it is escaped by its engine.
pub fn rendered(page: &impl Template) -> Result<String, String> {
    page.render()
        .map_err(|e| format!("The page could not be written ({e}); report this."))
}

impl Asked {
    /// From the query; what is too long is left out.
    pub fn read(query: Option<&str>, is_signed_in: bool) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let query = pairs
            .take(16)
            .filter(|(name, value)| name.len() <= 32 && value.len() <= MOST_QUERY)
            .map(|(name, value)| (name.into_owned(), value.trim().to_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        Self {
            query,
            is_signed_in,
            now: SystemClock.now(),
        }
    }

    /// A value of the query, unless it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

impl Pages {
    /// How the business goes.
    pub async fn overview(&self, asked: &Asked) -> Shown {
        let frame = self.frame("overview", asked).await?;
        overview::page(self, frame, asked).await.map(Some)
    }

    /// What the gate sold.
    pub async fn sales(&self, asked: &Asked) -> Shown {
        let frame = self.frame("sales", asked).await?;
        list::page(self, Side::Sales, frame, asked).await.map(Some)
    }

    /// What the engine settled.
    pub async fn payments(&self, asked: &Asked) -> Shown {
        let frame = self.frame("payments", asked).await?;
        let page = list::page(self, Side::Settlements, frame, asked);
        page.await.map(Some)
    }

    /// One record's story.
    pub async fn record(&self, id: &str, asked: &Asked) -> Shown {
        let frame = self.frame("", asked).await?;
        record::page(self, id, frame).await
    }

    async fn frame(&self, here: &'static str, asked: &Asked) -> Result<Frame, String> {
        let (day, time) = when::day_and_time(asked.now);
        Ok(Frame {
            ledger: self.name.clone(),
            here,
            has_sales: self.store.has_any(Side::Sales).await.map_err(told)?,
            has_settlements: self.store.has_any(Side::Settlements).await.map_err(told)?,
            is_signed_in: asked.is_signed_in,
            now: format!("{day} {time}"),
        })
    }
}

/// What a page says of a ledger that fails; the detail is for the log.
pub fn told(error: tollway_ledger::LedgerError) -> String {
    tracing::warn!(%error, detail = error.detail(), "the dashboard could not read the ledger");
    error.to_string()
}
