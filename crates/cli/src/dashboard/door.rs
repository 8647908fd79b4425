//! Who is let in, and to which page. Everything is read only but the session.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST,
    LOCATION, REFERRER_POLICY, SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::pages::{self, Pages};
use super::session::{Entry, Guard, LIFETIME};

/// The name of the cookie.
const COOKIE_NAME: &str = "tollway_dashboard";
/// Longest wait for those who asked before.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest time for a page: a ledger that does not answer holds up no page after it.
const LONGEST: Duration = Duration::from_secs(60);
/// A form with a token is short.
const MOST_FORM: usize = 4 * 1024;
/// Nothing is loaded but our own style, nothing runs, nobody frames us.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What answers.
pub struct Door {
    /// Without one, only this machine is let in.
    pub guard: Option<Guard>,
    /// Who may ask the ledger: one page at a time.
    pub turn: Semaphore,
    /// What is shown.
    pub pages: Pages,
}

type Answer = Response<Body>;

/// Answers one request.
pub async fn answer(door: Arc<Door>, request: Request<Body>) -> Answer {
    let mut response = route(door, request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A page that was begun is written to its end, also when nobody waits for it any
/// more: only then the next one has its turn.
async fn route(door: Arc<Door>, request: Request<Body>) -> Answer {
    let answer = tokio::spawn(async move { door.route(request).await });
    answer.await.unwrap_or_else(|_| {
        problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The page broke",
            "Open it again; if it breaks again, report this.",
        )
    })
}

impl Door {
    async fn route(&self, request: Request<Body>) -> Answer {
        if self.guard.is_none() && !is_this_machine(request.headers()) {
            return problem(
                StatusCode::MISDIRECTED_REQUEST,
                "Not under this name",
                "The dashboard is opened by this machine's own address, such as http://127.0.0.1. To open it by another name, start it with --dashboard-token-file.",
            );
        }
        if is_sent_by_another_page(&request) {
            return problem(
                StatusCode::FORBIDDEN,
                "Asked by another page",
                "Another page sent this browser here; open the dashboard by its own address.",
            );
        }
        let (path, method) = (request.uri().path().to_owned(), request.method().clone());
        let is_look = matches!(method, Method::GET | Method::HEAD);
        match (path.as_str(), &method) {
            ("/style.css", _) if is_look => style(),
            ("/login", &Method::POST) => self.log_in(request).await,
            ("/logout", &Method::POST) => self.log_out(request.headers()),
            ("/login" | "/logout", _) => to("/", None),
            _ if !is_look => {
                let mut answer = problem(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "Nothing is changed here",
                    "The dashboard only shows; ask with GET.",
                );
                answer
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                answer
            }
            _ => match self.let_in(request.headers()) {
                Ok(is_signed_in) => self.show(&path, request.uri().query(), is_signed_in).await,
                Err(answer) => *answer,
            },
        }
    }

    /// Whether by a session, where a token is asked for.
    fn let_in(&self, headers: &HeaderMap) -> Result<bool, Box<Answer>> {
        let Some(guard) = &self.guard else {
            return Ok(false);
        };
        if cookie(headers).is_some_and(|name| guard.knows(name)) {
            return Ok(true);
        }
        let Some(shown) = bearer(headers) else {
            return Err(Box::new(asked(StatusCode::UNAUTHORIZED, None)));
        };
        match guard.is_token(shown) {
            Entry::Opened(_) => Ok(false),
            Entry::Wrong => Err(Box::new(asked(StatusCode::UNAUTHORIZED, Some(WRONG)))),
            Entry::TooMany => Err(Box::new(asked(
                StatusCode::TOO_MANY_REQUESTS,
                Some(TOO_MANY),
            ))),
        }
    }

    async fn log_in(&self, request: Request<Body>) -> Answer {
        let Some(guard) = &self.guard else {
            return to("/", None);
        };
        let is_secure = is_behind_tls(request.headers());
        let Ok(body) = to_bytes(request.into_body(), MOST_FORM).await else {
            return asked(StatusCode::PAYLOAD_TOO_LARGE, Some(WRONG));
        };
        let shown = url::form_urlencoded::parse(&body)
            .find(|(name, _)| name == "token")
            .map(|(_, value)| value.trim().to_owned());
        match guard.open(&shown.unwrap_or_default()) {
            Entry::Opened(name) => to("/", Some(&set_cookie(&name, LIFETIME.as_secs(), is_secure))),
            Entry::Wrong => asked(StatusCode::UNAUTHORIZED, Some(WRONG)),
            Entry::TooMany => asked(StatusCode::TOO_MANY_REQUESTS, Some(TOO_MANY)),
        }
    }

    fn log_out(&self, headers: &HeaderMap) -> Answer {
        if let (Some(guard), Some(name)) = (&self.guard, cookie(headers)) {
            guard.end(name);
        }
        to("/", Some(&set_cookie("", 0, is_behind_tls(headers))))
    }

    async fn show(&self, path: &str, query: Option<&str>, is_signed_in: bool) -> Answer {
        let asked = pages::Asked::read(query, is_signed_in);
        let written = in_turn(&self.turn, (PATIENCE, LONGEST), async {
            match path {
                "/" => self.pages.overview(&asked).await,
                "/sales" => self.pages.sales(&asked).await,
                "/payments" => self.pages.payments(&asked).await,
                _ => match path.strip_prefix("/record/") {
                    Some(id) => self.pages.record(id, &asked).await,
                    None => Ok(None),
                },
            }
        });
        let page = match written.await {
            Ok(page) => page,
            Err(Late::Turn) => {
                return problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Others are looking",
                    "Pages are written one after the other, and one before this takes long; try again in a minute.",
                );
            }
            Err(Late::Page) => {
                return problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The page took too long",
                    "The ledger did not answer in time; look at a shorter span, or try again in a minute.",
                );
            }
        };
        match page {
            Ok(Some(page)) => html(StatusCode::OK, page),
            Ok(None) => problem(
                StatusCode::NOT_FOUND,
                "Not here",
                "There is no such page or record; go back to the overview.",
            ),
            Err(message) => problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "The ledger cannot be read now",
                &message,
            ),
        }
    }
}

/// Why there is no page.
#[derive(Debug, PartialEq, Eq)]
enum Late {
    /// Those before it took too long.
    Turn,
    /// It took too long itself.
    Page,
}

/// One after the other, and each ends: the longest wait for a turn, and the longest turn.
async fn in_turn<T>(
    turn: &Semaphore,
    (patience, longest): (Duration, Duration),
    page: impl Future<Output = T>,
) -> Result<T, Late> {
    let turn = tokio::time::timeout(patience, turn.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(Late::Turn);
    };
    tokio::time::timeout(longest, page)
        .await
        .map_err(|_| Late::Page)
}

const WRONG: &str = "That is not the token; look into the file that --dashboard-token-file names.";
const TOO_MANY: &str = "Too many wrong tokens came; wait a minute and try again.";

/// Whether a browser says that a page of elsewhere asks: an address may be given
/// anywhere, but only the overview, which costs the ledger little.
fn is_sent_by_another_page(request: &Request<Body>) -> bool {
    let said = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
    let is_foreign = matches!(said("sec-fetch-site"), Some(b"cross-site" | b"same-site"));
    let is_visit = said("sec-fetch-mode") == Some(b"navigate")
        && said("sec-fetch-dest") == Some(b"document")
        && request.uri().path() == "/"
        && request.uri().query().is_none();
    is_foreign && !is_visit
}

/// Whether a request names this machine: a page of somebody else's whose name
/// was made to lead here names itself.
fn is_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Some(authority) = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<http::uri::Authority>().ok())
    else {
        return false;
    };
    let name = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(COOKIE).iter();
    let mut pairs = all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (kind, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether somebody before us speaks TLS: whoever says so wrongly only harms
/// himself, his cookie does not come back over http.
fn is_behind_tls(headers: &HeaderMap) -> bool {
    headers
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto == "https")
}

fn set_cookie(name: &str, seconds: u64, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={name}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

fn html(status: StatusCode, page: String) -> Answer {
    let mut answer = Response::new(Body::from(page));
    *answer.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, html);
    answer
}

fn style() -> Answer {
    let mut answer = Response::new(Body::from(pages::STYLE));
    let headers = answer.headers_mut();
    let css = HeaderValue::from_static("text/css; charset=utf-8");
    headers.insert(CONTENT_TYPE, css);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    answer
}

fn to(path: &'static str, cookie: Option<&str>) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let headers = answer.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static(path));
    if let Some(cookie) = cookie.and_then(|cookie| cookie.parse().ok()) {
        headers.insert(SET_COOKIE, cookie);
    }
    answer
}

fn asked(status: StatusCode, problem: Option<&str>) -> Answer {
    let mut answer = html(status, pages::login(problem));
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    answer
}

fn problem(status: StatusCode, title: &str, message: &str) -> Answer {
    html(status, pages::problem(title, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_that_never_ends_keeps_its_turn_for_a_while_only() {
        let turn = Semaphore::new(1);
        let (short, long) = (Duration::from_millis(20), Duration::from_millis(400));
        let stuck = in_turn(&turn, (short, long), std::future::pending::<()>());
        let impatient = in_turn(&turn, (short, long), async {});
        let (stuck, impatient) = tokio::join!(stuck, impatient);
        assert_eq!((stuck, impatient), (Err(Late::Page), Err(Late::Turn)));
        assert_eq!(in_turn(&turn, (short, long), async { 1 }).await, Ok(1));
    }

    #[test]
    fn only_this_machines_own_names_are_its_own() {
        let named = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            is_this_machine(&headers)
        };
        for host in [
            "127.0.0.1:4030",
            "localhost",
            "LOCALHOST:1",
            "[::1]:4030",
            "127.9.9.9",
        ] {
            assert!(named(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:4030",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "",
            "127.0.0.1@evil.example",
            "xn--localhost",
            "2130706433",
        ] {
            assert!(!named(host), "{host}");
        }
        assert!(!is_this_machine(&HeaderMap::new()));
        let mut two = HeaderMap::new();
        two.append(HOST, "127.0.0.1".parse().unwrap());
        two.append(HOST, "evil.example".parse().unwrap());
        assert!(!is_this_machine(&two));
    }
}
