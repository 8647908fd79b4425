//! `/.well-known/x402`: the resources, and in words how they are bought.

use serde_json::{Value, json};

use super::place::Place;
use super::{BAZAAR, Listed, OPENAPI, openapi};

pub(super) fn document(title: &str, base_url: &str, listed: &[Listed<'_>]) -> Value {
    let resources: Vec<String> = listed
        .iter()
        .map(|each| Place::of(&each.route.pattern))
        .filter(Place::is_fixed)
        .map(|place| format!("{base_url}{}", place.braced()))
        .collect();
    json!({
        "version": 1,
        "x402Version": 2,
        "name": title,
        "resources": resources,
        "items": listed.iter().map(|each| item(base_url, each)).collect::<Vec<_>>(),
        "openapi": format!("{base_url}{OPENAPI}"),
        "instructions": instructions(title, base_url, listed),
    })
}

/// One route, in the fields of a facilitator's list.
fn item(base_url: &str, each: &Listed<'_>) -> Value {
    let place = Place::of(&each.route.pattern);
    let resource = &each.route.resource;
    let accepts = each.sale.map(|sale| {
        let offers = sale.offers.iter().filter(|_| !sale.is_stamped);
        let wires = offers.map(|offer| &*offer.terms().wire);
        wires.collect::<Vec<_>>()
    });
    let mut item = json!({
        "resource": format!("{base_url}{}", place.braced()),
        "type": "http",
        "method": each.route.pattern.verb(),
        "x402Version": 2,
        "accepts": accepts.unwrap_or_default(),
        "description": resource.description,
        "mimeType": resource.mime_type,
    });
    if let Some(usage) = &each.route.usage {
        item["extensions"] = json!({ BAZAAR: usage.declared(&each.route.pattern) });
    }
    item
}

/// For programs that read.
fn instructions(title: &str, base_url: &str, listed: &[Listed<'_>]) -> String {
    let mut text = format!(
        "# {title}\n\nThese routes cost money (x402, https://www.x402.org). Ask without payment first: before anything \
         of the request is looked at you get status 402, with the terms as base64 of JSON in the header PAYMENT-REQUIRED. \
         Sign for one entry of `accepts`, unchanged, and ask again with the header PAYMENT-SIGNATURE. \
         The terms of that 402 count, not the prices here.\n\n"
    );
    for each in listed {
        let verb = each.route.pattern.verb().unwrap_or("any method");
        let path = Place::of(&each.route.pattern).braced();
        text.push_str(&format!(
            "- {verb} {base_url}{path}: {}",
            openapi::price(each)
        ));
        if let Some(description) = &each.route.resource.description {
            let plain: String = description.chars().filter(|c| !c.is_control()).collect();
            text.push_str(&format!(". {plain}"));
        }
        text.push('\n');
    }
    text
}
