//! What a gate of a configuration answers: whoever asks for a priced path, by whatever
//! spelling, is asked to pay, and for what the configuration says.

use http::Method;
use tollway_gate::{Offer, Pattern};
use url::Url;

use super::facilitator::Told;
use super::resource::{Resource, Surroundings};
use super::stand::{Said, Stand};
use super::wire::{Answer, Ask, NoAnswer, Wire};
use super::{Report, door, terms};
use crate::chains::ServedChain;
use crate::commands::gate::Settings;
use crate::routes::RouteSetting;
use crate::serve;
use crate::story::printable;

/// Routes that are asked for; more are said.
const MOST_ROUTES: usize = 100;

/// What is asked, and by which configuration.
pub struct Question<'a> {
    /// The configuration.
    pub settings: &'a Settings,
    /// What buyers call the gate, where that is said.
    pub public_url: Option<&'a str>,
    /// What each route offers.
    pub offered: &'a [(RouteSetting, Vec<Offer>)],
    /// Paths that are there.
    pub paths: &'a [String],
    /// Whether the server behind may be made to act.
    pub try_changes: bool,
}

/// The gate's answers: the running one's, or those of one that stands in for it.
pub async fn look(
    report: &mut Report,
    question: &Question<'_>,
    told: Told,
    chains: Vec<ServedChain>,
) {
    let settings = question.settings;
    let listens = format!("http://{}", reachable(&settings.listen));
    let place = place(report, settings, &listens).await;
    let base_url = question.public_url.unwrap_or(&listens);
    let base_url = base_url.trim_end_matches('/').to_owned();
    let asks = told.is_known() && settings.facilitator != "local";
    let stand = match Stand::build(settings, &base_url, told, chains).await {
        Ok((stand, said)) => {
            heard(report, &said, asks);
            stand
        }
        Err(failure) => {
            report.red_sentence("config", &failure.message);
            return;
        }
    };
    let resources = resources(report, question, &stand);
    let (origin, _guard) = match place {
        Place::Ours => (base_url.clone(), None),
        Place::Free | Place::Taken => match stand.serve().await {
            Ok((url, guard)) => (url, Some(guard)),
            Err(failure) => {
                report.red_sentence("listen", &failure.message);
                return;
            }
        },
    };
    whereabouts(report, question, place, &origin);
    let behind = upstream(report, settings, &resources).await;
    doors(report, settings, [&origin, &base_url], resources, behind).await;
}

/// What the gate said at its start.
fn heard(report: &mut Report, said: &Said, asks: bool) {
    for missing in &said.unsupported {
        report.red(
            "facilitator",
            missing.clone(),
            "Choose a facilitator that lists it, settle yourself with facilitator = \"local\", or take the offer away.",
        );
    }
    if asks && said.unsupported.is_empty() {
        report.green("facilitator", "It lists every way to pay that is offered.");
    }
    for warning in &said.warnings {
        report.yellow_sentence("config", warning);
    }
}

/// Who is asked.
fn whereabouts(report: &mut Report, question: &Question<'_>, place: Place, origin: &str) {
    if let Some(url) = question.public_url.and_then(|url| Url::parse(url).ok()) {
        terms::transport(report, &url);
    }
    match (place, question.public_url) {
        (Place::Taken, _) => {}
        (Place::Ours, _) => report.green("listen", format!("The gate runs; it is asked at {origin}.")),
        (Place::Free, Some(url)) => report.yellow(
            "listen",
            format!("The gate does not run, so {url} was not asked; one like it was started for this check."),
            "Start it with `tollway gate`, and check again.",
        ),
        (Place::Free, None) => report.green(
            "listen",
            format!("{} is free; a gate like yours was started for this check.", question.settings.listen),
        ),
    }
}

/// Where an address that is listened on can be reached from here.
fn reachable(listen: &str) -> String {
    listen
        .replace("0.0.0.0:", "127.0.0.1:")
        .replace("[::]:", "[::1]:")
}

/// Who is where the gate shall listen.
#[derive(Clone, Copy)]
enum Place {
    /// Nobody.
    Free,
    /// A gate of ours.
    Ours,
    /// Somebody else, or nobody can; it has been said.
    Taken,
}

async fn place(report: &mut Report, settings: &Settings, listens: &str) -> Place {
    let wire = Url::parse(listens).ok().and_then(|url| Wire::to(&url).ok());
    let answer = match wire {
        Some(mut wire) => wire.ask(&Ask::new(&Method::GET, "/health")).await.ok(),
        None => None,
    };
    match answer {
        Some(answer) if is_ours(&answer) => Place::Ours,
        Some(_) => {
            report.red(
                "listen",
                format!("Somebody else answers at {}.", settings.listen),
                "Stop it, or let the gate listen elsewhere.",
            );
            Place::Taken
        }
        None => match serve::bind(&settings.listen).await {
            Ok(_) => Place::Free,
            Err(failure) => {
                report.red_sentence("listen", &failure.message);
                Place::Taken
            }
        },
    }
}

fn is_ours(answer: &Answer) -> bool {
    let told: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    told.is_some_and(|told| told.get("ready").is_some() && told.get("ledger").is_some())
}

/// A resource for each route: the path that was named for it, or one that fits.
fn resources(report: &mut Report, question: &Question<'_>, stand: &Stand) -> Vec<Resource> {
    let (settings, paths) = (question.settings, question.paths);
    let mut all = Vec::new();
    for (route, offers) in question.offered.iter().take(MOST_ROUTES) {
        let Ok(pattern) = route.pattern.parse::<Pattern>() else {
            continue;
        };
        let methods = methods(&pattern);
        let Some(method) = methods.first().cloned() else {
            continue;
        };
        let named = paths.iter().find(|path| pattern.is_asked(&method, path));
        let path = named.cloned().unwrap_or_else(|| sample(&pattern));
        match stand.gate.priced_route(&method, &path) {
            Some(hit) if hit == pattern.as_str() => {}
            Some(other) => {
                report.yellow(
                    "route",
                    format!(
                        "{} is not reached at {path}: {other} comes before it.",
                        pattern.as_str()
                    ),
                    "Write the narrower route first.",
                );
                continue;
            }
            None => {
                report.yellow(
                    "route",
                    format!("No path is known that {} prices.", pattern.as_str()),
                    "Name one with --path.",
                );
                continue;
            }
        }
        all.push(Resource {
            try_spellings: question.try_changes || matches!(method, Method::GET | Method::HEAD),
            method,
            methods,
            url: String::new(),
            origin: String::new(),
            path,
            body: b"{}".to_vec(),
            expected: Some(
                offers
                    .iter()
                    .map(|offer| (*offer.terms().wire).clone())
                    .collect(),
            ),
            speaks_sdk: route.starknet_sdk,
        });
    }
    for path in paths
        .iter()
        .filter(|path| !all.iter().any(|resource| resource.path == **path))
    {
        report.yellow(
            "route",
            format!(
                "{} is the path of no route, or of one that is asked for by another.",
                printable(path)
            ),
            "Name one path for each route with --path.",
        );
    }
    let more = settings.routes.len().saturating_sub(MOST_ROUTES);
    if more > 0 {
        report.yellow(
            "route",
            format!("{more} more routes were not asked for."),
            "Check them in a configuration of their own.",
        );
    }
    all
}

/// Every method that a route prices, the one that stands for all of them first.
fn methods(pattern: &Pattern) -> Vec<Method> {
    let all = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let mut covered: Vec<Method> = all
        .into_iter()
        .filter(|method| pattern.covers(method))
        .collect();
    if covered.is_empty() {
        // TRACE or QUERY, which no route covers by chance.
        covered.extend(pattern.verb().and_then(|verb| verb.parse().ok()));
    }
    covered
}

/// A path that fits a pattern.
fn sample(pattern: &Pattern) -> String {
    let path = pattern
        .as_str()
        .split_whitespace()
        .next_back()
        .unwrap_or("/");
    let part = |segment: &str| {
        let is_name =
            segment.starts_with(':') || (segment.starts_with('[') && segment.ends_with(']'));
        match is_name {
            true => "x".to_owned(),
            false => segment.replace('*', "x"),
        }
    };
    let path = path.split('/').map(part).collect::<Vec<_>>().join("/");
    match path.starts_with('/') {
        true => path,
        false => format!("/{path}"),
    }
}

/// The server behind, and whether it answers.
async fn upstream(
    report: &mut Report,
    settings: &Settings,
    resources: &[Resource],
) -> Option<Behind> {
    let url = Url::parse(&settings.upstream).ok()?;
    let mut wire = match Wire::to(&url) {
        Ok(wire) => wire,
        Err(sentence) => {
            report.red_sentence("upstream", &sentence);
            return None;
        }
    };
    let prefix = url.path().trim_end_matches('/').to_owned();
    let asks = resources
        .iter()
        .find(|resource| resource.method == Method::GET);
    let path = asks.map_or("/", |resource| resource.path.as_str());
    match wire
        .ask(&Ask::new(&Method::GET, format!("{prefix}{path}")))
        .await
    {
        Ok(answer) if answer.status.is_server_error() => {
            report.yellow(
                "upstream",
                format!(
                    "{} answers {} for {path}.",
                    settings.upstream,
                    answer.status.as_u16()
                ),
                "Look into its log.",
            );
        }
        Ok(answer) => {
            report.green(
                "upstream",
                format!(
                    "{} answers ({} for {path}).",
                    settings.upstream,
                    answer.status.as_u16()
                ),
            );
        }
        Err(NoAnswer::Silent(why)) => {
            report.red(
                "upstream",
                format!(
                    "{} does not answer: {}.",
                    settings.upstream,
                    printable(&why)
                ),
                "Start it, or correct upstream.",
            );
            return None;
        }
        Err(NoAnswer::Unsendable) => return None,
    }
    Some(Behind { wire, prefix })
}

struct Behind {
    wire: Wire,
    prefix: String,
}

impl Behind {
    /// What it answers for a resource, if asking changes nothing.
    async fn goods(&mut self, resource: &Resource) -> Option<Answer> {
        if resource.method != Method::GET {
            return None;
        }
        let target = format!("{}{}", self.prefix, resource.path);
        self.wire.ask(&Ask::new(&Method::GET, target)).await.ok()
    }
}

async fn doors(
    report: &mut Report,
    settings: &Settings,
    [origin, base_url]: [&str; 2],
    resources: Vec<Resource>,
    mut behind: Option<Behind>,
) {
    let Ok(url) = Url::parse(origin) else {
        return;
    };
    let mut wire = match Wire::to(&url) {
        Ok(wire) => wire,
        Err(sentence) => {
            report.red_sentence("unpaid", &sentence);
            return;
        }
    };
    let prefix = url.path().trim_end_matches('/').to_owned();
    for mut resource in resources {
        resource.url = format!("{base_url}{}", resource.path);
        resource.origin = url.origin().ascii_serialization();
        let goods = match &mut behind {
            Some(behind) => behind.goods(&resource).await,
            None => None,
        };
        if let Some(goods) = &goods
            && goods.status.is_client_error()
        {
            report.yellow(
                "upstream",
                format!("The server behind answers {} for {}, so another spelling of it would not show.", goods.status.as_u16(), resource.path),
                "Name a path that is there with --path.",
            );
        }
        resource.path = format!("{prefix}{}", resource.path);
        let goods = goods.filter(Answer::serves);
        let surroundings = Surroundings::look(&mut wire, goods).await;
        door::look(
            report,
            &mut wire,
            &resource,
            &surroundings,
            &settings.assets,
        )
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_for_every_kind_of_pattern() {
        for (pattern, path) in [
            ("GET /paid/*", "/paid/x"),
            ("/report", "/report"),
            ("/a/:id/b", "/a/x/b"),
            ("/a/[id]", "/a/x"),
            ("*", "/x"),
            ("POST /v1/*/done", "/v1/x/done"),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(sample(&pattern), path);
            let methods = methods(&pattern);
            assert!(pattern.is_asked(&methods[0], path), "{path}");
        }
    }
}
