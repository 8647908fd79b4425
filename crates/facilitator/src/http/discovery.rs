//! `GET /discovery/resources` and `GET /discovery/search`: what can be bought.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Deserialize;
use serde_json::json;
use tollway_core::codes;

use super::{Api, body};
use crate::catalog::{Page, Wanted};

/// Entries of a page, unless it is said.
const LIMIT: usize = 20;
/// Most entries of a page.
const MAX_LIMIT: usize = 100;

/// Filters and a page.
#[derive(Deserialize)]
pub(super) struct Listing {
    #[serde(flatten)]
    wanted: Wanted,
    query: Option<String>,
    limit: Option<String>,
    offset: Option<String>,
    cursor: Option<String>,
}

/// All that fit the filters.
pub(super) async fn resources(State(api): State<Api>, Query(listing): Query<Listing>) -> Response {
    let Some(page) = page(listing.limit.as_deref(), listing.offset.as_deref()) else {
        return no_page();
    };
    let Some((items, total)) = api.catalog.look(listing.wanted, page).await else {
        return busy();
    };
    let pagination = json!({ "limit": page.limit, "offset": page.offset, "total": total });
    axum::Json(json!({ "x402Version": 2, "items": items, "pagination": pagination }))
        .into_response()
}

/// What holds all words of the query.
pub(super) async fn search(State(api): State<Api>, Query(listing): Query<Listing>) -> Response {
    let Some(page) = page(listing.limit.as_deref(), listing.cursor.as_deref()) else {
        return no_page();
    };
    let wanted = listing.wanted.words(&listing.query.unwrap_or_default());
    let Some((resources, total)) = api.catalog.look(wanted, page).await else {
        return busy();
    };
    let next = page.offset.saturating_add(resources.len());
    let cursor = (next < total && !resources.is_empty()).then(|| next.to_string());
    let pagination = json!({ "limit": page.limit, "cursor": cursor });
    axum::Json(json!({
        "x402Version": 2,
        "resources": resources,
        "partialResults": false,
        "pagination": pagination,
    }))
    .into_response()
}

fn page(limit: Option<&str>, offset: Option<&str>) -> Option<Page> {
    let number = |text: Option<&str>, or: usize| text.map_or(Some(or), |t| t.parse().ok());
    let limit = number(limit, LIMIT)?;
    let offset = number(offset, 0)?;
    (1..=MAX_LIMIT)
        .contains(&limit)
        .then_some(Page { offset, limit })
}

fn busy() -> Response {
    let problem = body::problem(
        StatusCode::SERVICE_UNAVAILABLE,
        codes::TOO_MANY_REQUESTS,
        "Others are looking at the list; ask again in a moment.",
    );
    ([(RETRY_AFTER, "1")], problem).into_response()
}

fn no_page() -> Response {
    body::problem(
        StatusCode::BAD_REQUEST,
        codes::INVALID_REQUEST,
        "The limit is 1 to 100, offset and cursor are numbers; ask with such ones.",
    )
}
