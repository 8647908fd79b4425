//! A priced resource from outside: no method, no body, no spelling, no header and no
//! payment that is none gets it.

use http::{Method, StatusCode, header};
use tollway_core::assets::AssetTable;
use tollway_core::wire::PaymentRequirements;

use super::Report;
use super::resource::{Resource, Served, Surroundings};
use super::spellings::{self, Trick};
use super::terms;
use super::wire::{Answer, Ask, NoAnswer, Wire};
use crate::story::printable;

/// Lines for spellings that are served; more are counted.
const MOST_TOLD: usize = 10;
/// A page of another site, which asks from a browser.
const ORIGIN: &str = "https://tollway-check.invalid";

/// Looks at all of it, and returns what it offers.
pub async fn look(
    report: &mut Report,
    wire: &mut Wire,
    resource: &Resource,
    surroundings: &Surroundings,
    assets: &AssetTable,
) -> Vec<PaymentRequirements> {
    let Some(challenge) = challenged(report, wire, resource).await else {
        return Vec::new();
    };
    let offers = match resource.speaks_sdk {
        // Its exchange has other terms, which its own clients read.
        true => Vec::new(),
        false => terms::look(report, &challenge, resource, assets),
    };
    cors(report, wire, resource, &challenge).await;
    match resource.try_spellings {
        true => unpaid(report, wire, resource, surroundings).await,
        false => report.yellow(
            "spelling",
            format!(
                "Other spellings of {} were not tried: one that is not priced would make the server behind act.",
                resource.name()
            ),
            "Try them with --try-changes where that harms nobody, such as before a copy of the server.",
        ),
    }
    offers
}

/// Each method, with a body and without. The answer of the one that stands for all,
/// if it is a 402.
async fn challenged(report: &mut Report, wire: &mut Wire, resource: &Resource) -> Option<Answer> {
    let first = Ask::new(&resource.method, &resource.path);
    let challenge = match wire.ask(&first).await {
        Ok(answer) if answer.status == StatusCode::PAYMENT_REQUIRED => answer,
        Ok(answer) => {
            let (message, cure) = not_asked(resource, &resource.method, "", &answer);
            report.red("unpaid", message, &cure);
            return None;
        }
        Err(NoAnswer::Unsendable) => {
            report.red(
                "unpaid",
                format!("{} cannot be sent.", resource.name()),
                "Name another path.",
            );
            return None;
        }
        Err(NoAnswer::Silent(why)) => {
            report.red(
                "unpaid",
                format!(
                    "{} at {} gets no answer: {}.",
                    resource.name(),
                    resource.origin,
                    printable(&why)
                ),
                "Start the server, or correct the URL.",
            );
            return None;
        }
    };
    let mut wrong = 0;
    for (method, with_body) in ways(resource) {
        let mut ask = Ask::new(&method, &resource.path);
        if with_body {
            ask = ask.json(&resource.body);
        }
        let Ok(answer) = wire.ask(&ask).await else {
            continue;
        };
        if is_kept(resource, &method, &answer) {
            continue;
        }
        wrong += 1;
        let body = if with_body { " with a body" } else { "" };
        let (message, cure) = not_asked(resource, &method, body, &answer);
        report.red("unpaid", message, &cure);
    }
    if wrong == 0 {
        let methods: Vec<_> = resource.methods.iter().map(Method::as_str).collect();
        report.green(
            "unpaid",
            format!(
                "{} by {} is asked to pay, with a body and without.",
                resource.path,
                methods.join(", ")
            ),
        );
    }
    Some(challenge)
}

fn ways(resource: &Resource) -> Vec<(Method, bool)> {
    let mut all = Vec::new();
    for method in &resource.methods {
        if *method != resource.method {
            all.push((method.clone(), false));
        }
        if *method != Method::HEAD {
            all.push((method.clone(), true));
        }
    }
    all
}

/// Whether nothing was served. The method that stands for all must be asked to pay;
/// others may be refused, and OPTIONS may say what is allowed.
fn is_kept(resource: &Resource, method: &Method, answer: &Answer) -> bool {
    if *method != resource.method {
        let told_only = *method == Method::OPTIONS && answer.body.is_empty();
        return !answer.serves() || told_only;
    }
    // A body where none belongs is refused by some servers.
    let refused = *method == Method::GET && answer.status.is_client_error();
    answer.status == StatusCode::PAYMENT_REQUIRED || refused
}

fn not_asked(
    resource: &Resource,
    method: &Method,
    body: &str,
    answer: &Answer,
) -> (String, String) {
    let status = answer.status;
    let what = format!(
        "{method} {}{body} answers {}",
        resource.path,
        status.as_u16()
    );
    let ours = resource.expected.is_some();
    if status.is_success() {
        let cure = match ours {
            true => format!(
                "Let {} lead to the gate and not to the server behind it.",
                resource.origin
            ),
            false => "Put the price before the handler, for this method too.".to_owned(),
        };
        return (format!("{what}: it is served without payment."), cure);
    }
    if status.is_redirection() {
        let to = answer
            .text(&header::LOCATION)
            .map(printable)
            .unwrap_or_default();
        return (
            format!("{what}: it leads on to {to}."),
            "Check that URL, and give it to buyers: a payment is not carried on.".to_owned(),
        );
    }
    let (why, cure) = match status.as_u16() {
        404 => ("there is nothing there.", "Correct the path."),
        405 => (
            "it is not asked for by this method.",
            "Name the method that buyers use, with -X.",
        ),
        401 | 403 => (
            "it is refused before it is priced.",
            "Ask for payment first: buyers have no other key.",
        ),
        429 => ("it is asked for too often.", "Check again later."),
        500.. => ("the server failed.", "Look into its log."),
        _ => (
            "it finds fault with the request before it names a price.",
            "Ask for payment before anything is validated.",
        ),
    };
    (format!("{what}: {why}"), cure.to_owned())
}

/// Whether a page of another site can read the terms and send a payment.
async fn cors(report: &mut Report, wire: &mut Wire, resource: &Resource, challenge: &Answer) {
    let from_page = Ask::new(&resource.method, &resource.path).header("origin", ORIGIN);
    let preflight = Ask::new(&Method::OPTIONS, &resource.path)
        .header("origin", ORIGIN)
        .header("access-control-request-method", resource.method.as_str())
        .header("access-control-request-headers", "payment-signature");
    let answer = wire
        .ask(&from_page)
        .await
        .unwrap_or_else(|_| challenge.clone());
    let reads = lists(
        &answer,
        &header::ACCESS_CONTROL_EXPOSE_HEADERS,
        &["payment-required", "payment-response"],
    );
    let origin = |answer: &Answer| {
        let told = answer.text(&header::ACCESS_CONTROL_ALLOW_ORIGIN);
        told.is_some_and(|origin| origin == "*" || origin == ORIGIN)
    };
    let asked = wire.ask(&preflight).await.ok();
    let sends = asked.is_some_and(|answer| {
        answer.serves()
            && origin(&answer)
            && lists(
                &answer,
                &header::ACCESS_CONTROL_ALLOW_HEADERS,
                &["payment-signature"],
            )
    });
    match (reads && origin(&answer), sends) {
        (true, true) => report.green("cors", "Pages of other sites can read the terms and pay."),
        (true, false) => report.yellow(
            "cors",
            "Pages of other sites can read the terms and send no payment.",
            "Answer preflights with Access-Control-Allow-Headers: PAYMENT-SIGNATURE.",
        ),
        (false, _) => report.yellow(
            "cors",
            "Pages of other sites cannot read the terms.",
            "Send Access-Control-Allow-Origin, and Access-Control-Expose-Headers: PAYMENT-REQUIRED, PAYMENT-RESPONSE.",
        ),
    }
}

fn lists(answer: &Answer, name: &header::HeaderName, wanted: &[&str]) -> bool {
    let told: Vec<String> = answer
        .headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|part| part.trim().to_ascii_lowercase())
        .collect();
    let is_there = |name: &&str| told.iter().any(|part| part == name || part == "*");
    wanted.iter().all(is_there)
}

/// Tries to get it otherwise.
async fn unpaid(
    report: &mut Report,
    wire: &mut Wire,
    resource: &Resource,
    surroundings: &Surroundings,
) {
    let path = resource.bare_path();
    let spelled = spellings::spellings(path, &resource.origin);
    let spelled = spelled.into_iter().map(|(what, target)| Trick {
        what: format!("{target} ({what})"),
        ask: Ask::new(&resource.method, target),
    });
    let tricks = spelled.chain(spellings::tricks(&resource.method, &resource.path));
    let mut tally = Tally::default();
    for trick in tricks {
        if let Ok(answer) = wire.ask(&trick.ask).await {
            tally.add(surroundings.judge(&answer), &trick.what, &answer);
        }
    }
    for trick in spellings::detours(path) {
        if let Ok(answer) = wire.ask(&trick.ask).await
            && let Some(served) = surroundings.judge_detour(&answer)
        {
            tally.add(served, &trick.what, &answer);
        }
    }
    tally.tell(report, resource);
}

#[derive(Default)]
struct Tally {
    tried: usize,
    served: Vec<String>,
    unclear: usize,
}

impl Tally {
    fn add(&mut self, served: Served, what: &str, answer: &Answer) {
        self.tried += 1;
        match served {
            Served::Nothing => {}
            Served::Goods => self
                .served
                .push(format!("{what} answers {}", answer.status.as_u16())),
            Served::Unclear => self.unclear += 1,
        }
    }

    fn tell(self, report: &mut Report, resource: &Resource) {
        let cure = match resource.expected {
            Some(_) => {
                "Price what the server behind takes for the same, such as with a * in the route, or let it refuse that spelling."
            }
            None => {
                "Decide on the price after the path is in its one plain form, or refuse other spellings."
            }
        };
        for served in self.served.iter().take(MOST_TOLD) {
            report.red(
                "spelling",
                format!("{} is served unpaid: {served}.", resource.name()),
                cure,
            );
        }
        let more = self.served.len().saturating_sub(MOST_TOLD);
        if more > 0 {
            report.red(
                "spelling",
                format!(
                    "{more} more ways to ask for {} are served unpaid.",
                    resource.name()
                ),
                cure,
            );
        }
        if self.unclear > 0 {
            report.yellow(
                "spelling",
                format!(
                    "{} other ways to ask for {} are served something, by a server that serves every path.",
                    self.unclear,
                    resource.name()
                ),
                "Let it answer 404 for what is not there, and check again.",
            );
        }
        if self.served.is_empty() && self.unclear == 0 {
            report.green(
                "spelling",
                format!(
                    "{} other ways to ask for {} are not served.",
                    self.tried,
                    resource.name()
                ),
            );
        }
    }
}
