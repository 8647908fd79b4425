//! What the published SDKs encode, decode and price, held against ours: the
//! vectors in `vectors/` were produced by running them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tollway_core::assets::AssetTable;
use tollway_core::money::{Decimal, MoneyError, Price};
use tollway_core::wire::{self, PaymentRequired, PaymentRequirements, SettleResponse, v1};
use tollway_core::{Network, header};

struct Case {
    name: String,
    kind: String,
    input: Value,
    expected: Value,
}

/// The cases of a file, after checking that it holds as many as it says.
fn cases(text: &str) -> Vec<Case> {
    let file: Value = serde_json::from_str(text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(Some(cases.len() as u64), file["case_count"].as_u64());
    cases
        .iter()
        .map(|case| Case {
            name: case["name"].as_str().unwrap().to_owned(),
            kind: case["input"]["kind"].as_str().unwrap().to_owned(),
            input: case["input"].clone(),
            expected: case["expected"].clone(),
        })
        .collect()
}

/// Runs every case by its kind and says how many of each kind there were.
fn run(text: &str, check: impl Fn(&Case)) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for case in cases(text) {
        check(&case);
        *counts.entry(case.kind).or_default() += 1;
    }
    counts
}

fn counts(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect()
}

#[test]
fn headers_are_written_and_read_as_the_official_packages_do() {
    let ran = run(include_str!("vectors/headers.json"), |case| {
        match case.kind.as_str() {
            "encode" => encode(case),
            "decode" => decode(case),
            "body_402" => body_402(case),
            other => panic!("unknown kind {other}"),
        }
    });
    assert_eq!(
        ran,
        counts(&[("encode", 21), ("decode", 14), ("body_402", 8)])
    );
}

fn encode(case: &Case) {
    let value = &case.input["value"];
    let text = case.expected["header_value"].as_str().unwrap();
    let decoded: Value = header::decode(text).unwrap();
    assert_eq!(decoded, case.expected["decoded"], "{}", case.name);
    let mut sent = value.clone();
    // What a facilitator's extensions tell the seller is not for the buyer.
    sent.as_object_mut()
        .unwrap()
        .shift_remove("extensionResponses");
    assert_eq!(header::encode(&sent), text, "{}", case.name);

    let by_type = match case.input["header"].as_str().unwrap() {
        "PAYMENT-REQUIRED" => through::<PaymentRequired>(text, value),
        "PAYMENT-SIGNATURE" => through::<wire::PaymentPayload>(text, value),
        "PAYMENT-RESPONSE" | "X-PAYMENT-RESPONSE" => through::<SettleResponse>(text, value),
        "X-PAYMENT" => through::<v1::PaymentPayload>(text, value),
        other => panic!("unknown header {other}"),
    };
    let mut known = sent;
    prune(&mut known);
    if case.input["header"] == "X-PAYMENT" {
        known.as_object_mut().unwrap().shift_remove("extra");
    }
    assert_eq!(by_type, known, "{}", case.name);
}

/// Reads a header into its type, and checks that writing and reading it again
/// changes nothing.
fn through<T>(text: &str, value: &Value) -> Value
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let typed: T = header::decode(text).unwrap();
    let direct: T = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(typed, direct);
    let again: T = header::decode(&header::encode(&typed)).unwrap();
    assert_eq!(typed, again);
    serde_json::to_value(typed).unwrap()
}

/// Takes away what the types do not keep: optional fields that are `null`, and
/// fields that the protocol does not know.
fn prune(value: &mut Value) {
    let unknown = ["unknown", "futureField", "extensionResponses"];
    if let Value::Object(fields) = value {
        fields.retain(|key, field| !field.is_null() && !unknown.contains(&key.as_str()));
        for key in ["resource", "accepted"] {
            if let Some(field) = fields.get_mut(key) {
                prune(field);
            }
        }
        if let Some(Value::Array(accepts)) = fields.get_mut("accepts") {
            accepts.iter_mut().for_each(prune);
        }
    }
}

fn decode(case: &Case) {
    let text = case.input["header_value"].as_str().unwrap();
    let ours = header::decode::<Value>(text);
    let recommended = case.expected["recommended"].as_str();
    if case.expected.get("error").is_some() || recommended == Some("reject: not an object") {
        assert!(ours.is_err(), "{} was read as {ours:?}", case.name);
    } else {
        assert_eq!(recommended, None, "{}", case.name);
        assert_eq!(
            ours.as_ref(),
            Ok(&case.expected["decoded"]),
            "{}",
            case.name
        );
    }
    in_place(case, text);
}

/// The same text where it belongs: as the one header of a request or an answer.
fn in_place(case: &Case, text: &str) {
    let name: HeaderName = case.input["header"].as_str().unwrap().parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(name.clone(), HeaderValue::from_str(text).unwrap());
    let read = if name == header::PAYMENT_SIGNATURE {
        header::presented(&headers).map(|p| assert!(p.is_some()))
    } else if name == header::PAYMENT_REQUIRED {
        header::required(&headers, b"").map(drop)
    } else {
        header::receipt(&headers).map(|r| assert!(r.is_some()))
    };
    let refused = case.expected.get("error").is_some() || case.expected["recommended"].is_string();
    assert_eq!(read.is_err(), refused, "{}: {read:?}", case.name);
}

fn body_402(case: &Case) {
    let mut headers = HeaderMap::new();
    if let Some(text) = case.input["payment_required_header"].as_str() {
        headers.insert(
            header::PAYMENT_REQUIRED.clone(),
            HeaderValue::from_str(text).unwrap(),
        );
    }
    let body = serde_json::to_vec(&case.input["body"]).unwrap();
    let ours = header::required(&headers, &body);
    let recognised = &case.expected["recognised"];
    // The SDK recognises a version 1 body by its version alone; one that fails the
    // SDK's own schema means nothing to us either.
    let readable = !recognised.is_null() && case.expected["schema"]["valid"] == json!(true);
    assert_eq!(ours.is_ok(), readable, "{}: {ours:?}", case.name);
    let Ok(ours) = ours else { return };
    assert_eq!(
        ours.version.number(),
        recognised["x402Version"].as_u64().unwrap()
    );
    let expected = match ours.version {
        wire::Version::V2 => serde_json::from_value(recognised.clone()).unwrap(),
        wire::Version::V1 => serde_json::from_value::<v1::PaymentRequired>(recognised.clone())
            .unwrap()
            .into_v2(),
    };
    assert_eq!(ours.terms, expected, "{}", case.name);
    assert_eq!(ours.terms.resource.url, "https://api.example.com/weather");
    assert_eq!(ours.terms.accepts[0].network, "eip155:84532");
    assert_eq!(ours.terms.accepts[0].amount, "10000");
}

#[test]
fn prices_become_the_atomic_amounts_of_the_official_packages() {
    let ran = run(include_str!("vectors/money.json"), |case| {
        match case.kind.as_str() {
            "money" => money(case),
            "number_to_decimal" => number_to_decimal(case),
            "parse_price" => parse_price(case),
            other => panic!("unknown kind {other}"),
        }
    });
    assert_eq!(
        ran,
        counts(&[("money", 62), ("number_to_decimal", 5), ("parse_price", 10)])
    );
}

/// JavaScript numbers that JSON cannot hold.
fn parse(price: &Value) -> Result<Price, MoneyError> {
    let number = |amount| Price::Decimal {
        amount,
        asset: None,
    };
    match price["js"].as_str() {
        Some("NaN") => Decimal::from_f64(f64::NAN).map(number),
        Some("Infinity") => Decimal::from_f64(f64::INFINITY).map(number),
        Some(other) => panic!("unknown number {other}"),
        None => Price::from_json(price),
    }
}

/// Prices in a token of the given decimals, under whatever symbol is named.
fn token(decimals: u8, symbol: Option<&str>) -> AssetTable {
    let network = Network::eip155(84532);
    let mut asset = tollway_core::assets::default_for(&network).unwrap().clone();
    asset.decimals = decimals;
    if let Some(symbol) = symbol {
        asset.symbol = symbol.to_owned().into();
    }
    AssetTable::empty().with(asset)
}

fn money(case: &Case) {
    let decimals = u8::try_from(case.input["decimals"].as_u64().unwrap()).unwrap();
    let assets = token(decimals, case.expected["symbol"].as_str());
    let ours = parse(&case.input["price"]).and_then(|price| {
        Ok((
            price.resolve(&Network::eip155(84532), &assets)?.amount,
            price,
        ))
    });
    let refusal = match case.expected["recommended"].as_str() {
        Some("accept as free only when explicitly configured") => Some("zero"),
        Some("reject: more fractional digits than the token has") => Some("digits"),
        Some("reject: price becomes zero") => Some("digits"),
        Some(other) => panic!("unknown recommendation {other}"),
        None => case.expected.get("error").map(|_| "format"),
    };
    match (refusal, ours) {
        (None, Ok((amount, price))) => {
            assert_eq!(json!(amount), case.expected["atomic"], "{}", case.name);
            shows_the_decimal(case, &price);
        }
        (Some("zero"), Err(MoneyError::Zero))
        | (Some("digits"), Err(MoneyError::TooPrecise { .. }))
        | (Some("format"), Err(MoneyError::Format(_))) => {}
        (refusal, ours) => panic!("{}: {refusal:?} expected, got {ours:?}", case.name),
    }
}

fn shows_the_decimal(case: &Case, price: &Price) {
    let Price::Decimal { amount, asset } = price else {
        panic!("{}: {price:?}", case.name)
    };
    let expected = case.expected["decimal"].as_str().unwrap();
    let (ours, theirs) = (amount.to_string(), expected.trim_start_matches('0'));
    assert_eq!(ours.trim_start_matches('0'), theirs, "{}", case.name);
    if let Some(symbol) = case.expected["symbol"].as_str() {
        assert!(asset.as_ref().unwrap().eq_ignore_ascii_case(symbol));
    }
}

fn number_to_decimal(case: &Case) {
    let price = Price::from_json(&case.input["number"]).unwrap();
    shows_the_decimal(case, &price);
}

fn parse_price(case: &Case) {
    let network: Network = case.input["network"].as_str().unwrap().parse().unwrap();
    let assets = AssetTable::builtin();
    let ours =
        Price::from_json(&case.input["price"]).and_then(|price| price.resolve(&network, &assets));
    if case.expected.get("error").is_some() {
        assert!(ours.is_err(), "{}: {ours:?}", case.name);
        return;
    }
    let ours = ours.unwrap();
    let ours = json!({"amount": ours.amount, "asset": ours.spelling, "extra": ours.extra});
    assert_eq!(ours, case.expected, "{}", case.name);
}

#[test]
fn a_price_that_was_resolved_is_an_entry_that_can_be_offered() {
    let assets = AssetTable::builtin();
    for info in assets.iter().filter(|a| a.network.chain_id().is_some()) {
        let entry = PaymentRequirements::priced(
            tollway_core::Scheme::Exact,
            &info.network,
            &format!("0.01 {}", info.symbol).parse().unwrap(),
            &assets,
            "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
            60,
        );
        let terms = tollway_core::Terms::check(entry.unwrap()).unwrap();
        assert_eq!(terms.asset, info.address);
        assert_eq!(terms.amount.to_decimal(info.decimals), "0.01");
    }
}
