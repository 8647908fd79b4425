//! `/openapi.json`: the priced routes as OpenAPI 3.1, with `x-payment-info`.

use serde_json::{Map, Value, json};
use tollway_core::{Scheme, assets};

use super::Listed;
use super::place::Place;
use super::usage::{takes_body, typed};
use crate::Offer;

pub(super) fn document(title: &str, base_url: &str, listed: &[Listed<'_>]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for each in listed {
        let place = Place::of(&each.route.pattern);
        let path = paths.entry(place.braced()).or_insert_with(|| json!({}));
        for verb in verbs(each) {
            let key = verb.to_ascii_lowercase();
            // The first route that fits a request prices it.
            if path.get(&key).is_none() {
                path[key] = operation(each, &place, verb);
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": "1",
            "description": "Routes that cost money (x402): asked without payment they answer 402 with their terms, before anything of the request is looked at.",
            "x-guidance": "Ask without payment, read the header PAYMENT-REQUIRED (base64 of JSON), sign for one entry of accepts and ask again with PAYMENT-SIGNATURE. The terms of that 402 count.",
        },
        "servers": [{ "url": base_url }],
        "paths": paths,
    })
}

/// The verbs under which a route is listed. OpenAPI knows no other ones.
fn verbs<'a>(each: &Listed<'a>) -> Vec<&'a str> {
    match each.route.pattern.verb() {
        Some("QUERY") => Vec::new(),
        Some(verb) => vec![verb],
        None => vec!["GET", "POST"],
    }
}

fn operation(each: &Listed<'_>, place: &Place, verb: &str) -> Value {
    let resource = &each.route.resource;
    let usage = each.route.usage.as_ref();
    let mut parameters: Vec<Value> = place
        .parameters()
        .map(|name| parameter("path", name, &json!({ "type": "string" }), None, true))
        .collect();
    let schema = usage.and_then(|usage| usage.input_schema.as_ref());
    let example = usage.and_then(|usage| usage.input.as_ref());
    let mut operation = json!({
        "summary": resource.description.as_deref().unwrap_or("Costs money"),
        "x-payment-info": payment(each),
    });
    if takes_body(verb) {
        operation["requestBody"] = json!({ "content": { "application/json": {
            "schema": typed(schema),
            "example": example,
        }}});
    } else {
        parameters.extend(queries(schema, example));
    }
    operation["parameters"] = parameters.into();
    let media = resource.mime_type.as_deref().unwrap_or("application/json");
    let mut given = json!({});
    if let Some(schema) = usage.and_then(|usage| usage.output_schema.as_ref()) {
        given["schema"] = schema.clone();
    }
    if let Some(example) = usage.and_then(|usage| usage.output.as_ref()) {
        given["example"] = example.clone();
    }
    operation["responses"] = json!({
        "200": { "description": "Paid and delivered; the receipt is in the header PAYMENT-RESPONSE.", "content": { media: given } },
        "402": { "description": "Payment required: the terms are in the header PAYMENT-REQUIRED." },
    });
    operation
}

fn parameter(
    place: &str,
    name: &str,
    schema: &Value,
    example: Option<&Value>,
    must: bool,
) -> Value {
    let mut parameter = json!({ "name": name, "in": place, "required": must, "schema": schema });
    if let Some(example) = example {
        parameter["example"] = example.clone();
    }
    parameter
}

/// The query parameters that a schema or an example names.
fn queries(schema: Option<&Value>, example: Option<&Value>) -> Vec<Value> {
    let properties = schema.and_then(|schema| schema.get("properties")?.as_object());
    let examples = example.and_then(Value::as_object);
    let required = |name: &str| {
        let names = schema.and_then(|schema| schema.get("required")?.as_array());
        names.is_some_and(|names| names.iter().any(|each| each == name))
    };
    let described = properties.into_iter().flatten();
    let mut queries: Vec<Value> = described
        .map(|(name, schema)| {
            let example = examples.and_then(|all| all.get(name));
            parameter("query", name, schema, example, required(name))
        })
        .collect();
    let rest = examples.into_iter().flatten();
    let rest = rest.filter(|(name, _)| properties.is_none_or(|all| !all.contains_key(*name)));
    queries.extend(
        rest.map(|(name, example)| parameter("query", name, &json!({}), Some(example), false)),
    );
    queries
}

/// `x-payment-info`, in the words of the indexes that read it, and all that the 402
/// will accept.
fn payment(each: &Listed<'_>) -> Value {
    let mut info = json!({ "protocols": [{ "x402": {} }] });
    let Some(sale) = each.sale else {
        info["price"] = json!({ "mode": "dynamic", "currency": "USD" });
        return info;
    };
    if let Some(first) = sale.offers.first() {
        info["price"] = in_money(first);
    }
    if !sale.is_stamped {
        let wires = sale.offers.iter().map(|offer| &*offer.terms().wire);
        info["accepts"] = json!(wires.collect::<Vec<_>>());
    }
    info
}

/// A price as a sum of money: a network's default asset is its dollar.
fn in_money(offer: &Offer) -> Value {
    let terms = offer.terms();
    let dollar = assets::default_for(&terms.network).map(|asset| &asset.address);
    let currency = match offer.symbol() {
        _ if Some(&terms.asset) == dollar => "USD",
        Some(symbol) => symbol,
        None => &terms.wire.asset,
    };
    let amount = terms.amount.to_decimal(offer.decimals());
    match terms.scheme {
        Scheme::Upto => {
            json!({ "mode": "dynamic", "currency": currency, "min": "0", "max": amount })
        }
        _ => json!({ "mode": "fixed", "currency": currency, "amount": amount }),
    }
}

/// The price in words.
pub(super) fn price(each: &Listed<'_>) -> String {
    let Some(sale) = each.sale else {
        return "its price depends on the request".to_owned();
    };
    let words = sale.offers.iter().map(|offer| {
        let network = &offer.terms().network;
        offer.in_words(network.info().map_or(network.as_str(), |i| i.display_name))
    });
    let mut words: Vec<String> = words.collect();
    words.dedup();
    words.join(", or ")
}
