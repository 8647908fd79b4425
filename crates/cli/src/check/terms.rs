//! What a 402 asks for: whether buyers can read it, and whether it is what was meant.

use http::header;
use tollway_core::assets::AssetTable;
use tollway_core::header::{self as x402, PAYMENT_REQUIRED};
use tollway_core::wire::{PaymentRequirements, Version, v1};
use tollway_core::{Network, Terms};
use tollway_payer::{PayMethod, Policy, UnitPrice};
use url::Url;

use super::Report;
use super::resource::Resource;
use super::wire::Answer;
use crate::story::printable;

/// Proxies in the way take heads of 8 KiB by default.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Looks at the terms of a 402, and returns what they offer.
pub fn look(
    report: &mut Report,
    answer: &Answer,
    resource: &Resource,
    assets: &AssetTable,
) -> Vec<PaymentRequirements> {
    let required = match x402::required(&answer.headers, &answer.body) {
        Ok(required) => required,
        Err(refusal) => {
            report.red(
                "terms",
                format!("The 402 of {} tells no terms that a buyer can read ({}).", resource.name(), refusal.code()),
                "Send them as base64 of their JSON in PAYMENT-REQUIRED (version 2), or as JSON in the body (version 1).",
            );
            return Vec::new();
        }
    };
    let accepts = required.terms.accepts;
    if accepts.is_empty() {
        report.red(
            "terms",
            format!("The 402 of {} offers no way to pay.", resource.name()),
            "Name at least one in accepts.",
        );
    }
    for wire in &accepts {
        offer(report, wire, assets);
    }
    if let Some(expected) = &resource.expected {
        compare(report, &accepts, expected, resource);
    }
    if !accepts.is_empty() {
        named(report, &required.terms.resource.url, resource);
    }
    versions(report, required.version, &accepts, answer);
    head(report, answer);
    cache(report, answer);
    accepts
}

/// One way to pay, as a buyer's own tables see it.
fn offer(report: &mut Report, wire: &PaymentRequirements, assets: &AssetTable) {
    let policy = Policy {
        max_per_call: UnitPrice::cents(u32::MAX),
        assets: assets.clone(),
        ..Policy::default()
    };
    match policy.appraise(wire) {
        Ok(offer) => {
            let by = PayMethod::of(&offer.terms)
                .map_or_else(String::new, |method| format!(", by {}", method.as_str()));
            report.green(
                "offer",
                format!(
                    "{}{by}, within {} s",
                    offer.words(),
                    wire.max_timeout_seconds
                ),
            );
        }
        Err(refusal) if is_unknown(wire, assets) => {
            report.yellow_sentence("offer", refusal.message())
        }
        Err(refusal) => report.red_sentence("offer", refusal.message()),
    }
}

/// Whether an offer makes sense and its asset is only not known to us.
fn is_unknown(wire: &PaymentRequirements, assets: &AssetTable) -> bool {
    let terms = Terms::check(wire.clone()).ok();
    terms.is_some_and(|terms| assets.find(&terms.network, &terms.asset).is_none())
}

/// Whether the terms are what the configuration says.
fn compare(
    report: &mut Report,
    accepts: &[PaymentRequirements],
    expected: &[PaymentRequirements],
    resource: &Resource,
) {
    let missing = |wire: &&PaymentRequirements| !accepts.iter().any(|other| is_same(wire, other));
    let wanting: Vec<_> = expected.iter().filter(missing).map(brief).collect();
    let of_ours = |wire: &&PaymentRequirements| !expected.iter().any(|ours| is_same(ours, wire));
    let strange: Vec<_> = accepts.iter().filter(of_ours).map(brief).collect();
    if wanting.is_empty() && strange.is_empty() {
        report.green(
            "terms",
            format!(
                "The terms of {} are those of the configuration.",
                resource.name()
            ),
        );
        return;
    }
    let list = |what: &str, all: &[String]| match all.is_empty() {
        true => String::new(),
        false => format!(" {what} {}.", all.join(", ")),
    };
    report.red(
        "terms",
        format!(
            "The terms of {} are not those of the configuration.{}{}",
            resource.name(),
            list("It does not offer", &wanting),
            list("It offers", &strange)
        ),
        "Start the gate again with this configuration, or correct the public URL.",
    );
}

fn is_same(one: &PaymentRequirements, other: &PaymentRequirements) -> bool {
    let method = |wire: &PaymentRequirements| {
        let checked = Terms::check(wire.clone()).ok();
        checked.and_then(|terms| terms.transfer_method())
    };
    one.scheme == other.scheme
        && one.network == other.network
        && one.amount == other.amount
        && one.asset.eq_ignore_ascii_case(&other.asset)
        && one.pay_to.eq_ignore_ascii_case(&other.pay_to)
        && method(one) == method(other)
}

fn brief(wire: &PaymentRequirements) -> String {
    let [amount, asset, network, pay_to] =
        [&wire.amount, &wire.asset, &wire.network, &wire.pay_to].map(|text| printable(text));
    format!("{amount} units of {asset} on {network} to {pay_to}")
}

/// Whether the terms name the URL that was asked.
fn named(report: &mut Report, told: &str, resource: &Resource) {
    let without_query = |text: &str| text.split(['?', '#']).next().unwrap_or_default().to_owned();
    if without_query(told) == without_query(&resource.url) {
        return;
    }
    let message = format!(
        "The terms name {} as what is sold, and buyers ask for {}.",
        printable(told),
        resource.url
    );
    match resource.expected {
        Some(_) => report.red(
            "resource",
            message,
            "Set public_url to where buyers reach the gate.",
        ),
        None if Url::parse(told).is_err() => {
            report.red(
                "resource",
                message,
                "Name the absolute URL of the resource.",
            );
        }
        None => report.yellow("resource", message, "Name the URL by which buyers ask."),
    }
}

/// What the two versions say must be the same.
fn versions(
    report: &mut Report,
    version: Version,
    accepts: &[PaymentRequirements],
    answer: &Answer,
) {
    if version == Version::V1 {
        report.yellow(
            "version",
            "The terms come in version 1 only.",
            "Send PAYMENT-REQUIRED too: clients of version 2 look for it.",
        );
        return;
    }
    let Ok(first) = serde_json::from_slice::<v1::PaymentRequired>(&answer.body) else {
        return;
    };
    if first.x402_version != 1 {
        return;
    }
    let entries = first.into_v2().accepts;
    let differs = |old: &&PaymentRequirements| !accepts.iter().any(|new| is_alike(old, new));
    let strange: Vec<_> = entries.iter().filter(differs).map(brief).collect();
    match strange.is_empty() {
        true => report.green(
            "version",
            format!(
                "Versions 2 and 1 ask for the same ({} and {} offers).",
                accepts.len(),
                entries.len()
            ),
        ),
        false => report.red(
            "version",
            format!(
                "The version 1 body asks for what version 2 does not: {}.",
                strange.join(", ")
            ),
            "Make both from the same prices.",
        ),
    }
}

fn is_alike(old: &PaymentRequirements, new: &PaymentRequirements) -> bool {
    old.network == new.network
        && old.amount == new.amount
        && old.asset.eq_ignore_ascii_case(&new.asset)
        && old.pay_to.eq_ignore_ascii_case(&new.pay_to)
}

fn head(report: &mut Report, answer: &Answer) {
    let terms = answer
        .headers
        .get(&PAYMENT_REQUIRED)
        .map_or(0, http::HeaderValue::len);
    let all = answer.head_bytes();
    let message = format!("The head of the 402 has {all} bytes, the terms {terms} of them");
    match all <= MAX_HEAD_BYTES {
        true => report.green("header", format!("{message} (at most {MAX_HEAD_BYTES}).")),
        false => report.red(
            "header",
            format!("{message}; many proxies cut off at {MAX_HEAD_BYTES}."),
            "Offer fewer ways to pay, or shorten descriptions.",
        ),
    }
}

fn cache(report: &mut Report, answer: &Answer) {
    let told = answer.text(&header::CACHE_CONTROL).unwrap_or_default();
    let kept = !told
        .split(',')
        .any(|part| ["no-store", "private"].contains(&part.trim().to_ascii_lowercase().as_str()));
    match kept {
        false => report.green(
            "cache",
            format!("No shared cache keeps the 402 ({}).", printable(told)),
        ),
        true => report.yellow(
            "cache",
            "A cache on the way may keep the 402, or a paid answer beside it.",
            "Send Cache-Control: no-store.",
        ),
    }
}

/// Whether buyers can trust what they read on the way.
pub fn transport(report: &mut Report, url: &Url) {
    if Policy::default().check_transport(url).is_err() {
        report.yellow(
            "transport",
            format!(
                "{} is plain HTTP, where anybody on the way can change whom buyers pay; most refuse it.",
                url.origin().ascii_serialization()
            ),
            "Put TLS before it, and give buyers the https URL.",
        );
    }
}

/// The networks that offers name and that we can look at.
pub fn networks(accepts: &[PaymentRequirements]) -> Vec<Network> {
    let mut all: Vec<Network> = accepts
        .iter()
        .filter_map(|wire| wire.network.parse().ok())
        .collect();
    all.sort();
    all.dedup();
    all
}
