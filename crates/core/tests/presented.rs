//! One payment, in one header, of one version, for one of the offers.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tollway_core::header::{self, Presented};
use tollway_core::json::JsonLimits;
use tollway_core::wire::{
    FacilitatorBody, PaymentRequired, PaymentRequirements, ResourceInfo, SettleResponse, Version,
    v1,
};
use tollway_core::{Refusal, codes};

const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";

fn offer() -> PaymentRequirements {
    entry(json!({}))
}

/// The usual offer with some fields changed.
fn entry(change: Value) -> PaymentRequirements {
    let mut entry = json!({
        "scheme": "exact", "network": "eip155:84532", "amount": "10000", "asset": USDC,
        "payTo": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "maxTimeoutSeconds": 60,
        "extra": {"name": "USDC", "version": "2"},
    });
    for (key, value) in change.as_object().unwrap() {
        entry[key] = value.clone();
    }
    serde_json::from_value(entry).unwrap()
}

fn v2(accepted: &PaymentRequirements) -> Value {
    json!({"x402Version": 2, "accepted": accepted, "payload": {"signature": "0x"}})
}

fn v1_payment(network: &str) -> Value {
    json!({"x402Version": 1, "scheme": "exact", "network": network, "payload": {"signature": "0x"}})
}

fn stating(version: u64, mut payment: Value) -> Value {
    payment["x402Version"] = version.into();
    payment
}

fn headers(pairs: &[(&HeaderName, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, text) in pairs {
        map.append((*name).clone(), HeaderValue::from_str(text).unwrap());
    }
    map
}

fn present(name: &HeaderName, value: &Value) -> Result<Option<Presented>, Refusal> {
    header::presented(&headers(&[(name, header::encode(value))]))
}

fn presented(accepted: &PaymentRequirements) -> Presented {
    present(&header::PAYMENT_SIGNATURE, &v2(accepted))
        .unwrap()
        .unwrap()
}

fn code(result: Result<Option<Presented>, Refusal>) -> String {
    result.unwrap_err().code().to_owned()
}

#[test]
fn no_header_is_no_payment() {
    assert_eq!(header::presented(&HeaderMap::new()), Ok(None));
}

#[test]
fn more_than_one_payment_header_is_refused() {
    let (two, one) = (
        header::encode(&v2(&offer())),
        header::encode(&v1_payment("base-sepolia")),
    );
    let (v2_name, v1_name) = (&header::PAYMENT_SIGNATURE, &header::X_PAYMENT);
    for pairs in [
        vec![(v2_name, two.clone()), (v2_name, two.clone())],
        vec![(v1_name, one.clone()), (v1_name, one.clone())],
        vec![(v2_name, two.clone()), (v1_name, one.clone())],
        vec![(v2_name, String::new()), (v1_name, one)],
    ] {
        let refusal = header::presented(&headers(&pairs));
        assert_eq!(code(refusal), codes::DUPLICATE_HEADER);
    }
}

#[test]
fn a_header_above_16_kib_is_refused_before_it_is_decoded() {
    let name = &header::PAYMENT_SIGNATURE;
    let longest = headers(&[(name, "!".repeat(16 * 1024))]);
    assert_eq!(code(header::presented(&longest)), codes::INVALID_PAYLOAD);
    let longer = headers(&[(name, "!".repeat(16 * 1024 + 1))]);
    assert_eq!(
        code(header::presented(&longer)),
        codes::PAYMENT_HEADER_TOO_LARGE
    );
}

#[test]
fn the_version_is_the_one_of_the_header() {
    let crossed = [
        (&header::PAYMENT_SIGNATURE, v1_payment("base-sepolia")),
        (&header::X_PAYMENT, v2(&offer())),
        (&header::PAYMENT_SIGNATURE, json!({"x402Version": 3})),
        (&header::PAYMENT_SIGNATURE, stating(1, v2(&offer()))),
        (&header::PAYMENT_SIGNATURE, stating(3, v2(&offer()))),
        (&header::X_PAYMENT, stating(2, v1_payment("base-sepolia"))),
    ];
    for (name, value) in crossed {
        assert_eq!(code(present(name, &value)), codes::INVALID_X402_VERSION);
    }
    for value in [
        json!({}),
        json!({"x402Version": "2"}),
        json!({"x402Version": 2}),
    ] {
        let refusal = present(&header::PAYMENT_SIGNATURE, &value);
        assert_eq!(code(refusal), codes::INVALID_PAYLOAD);
    }
}

#[test]
fn a_key_given_twice_in_a_payment_is_refused() {
    use base64::Engine;
    let text = serde_json::to_string(&v2(&offer())).unwrap();
    let text = text.replace("\"10000\"", "\"10000\",\"\\u0061mount\":\"1\"");
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    let refusal = header::presented(&headers(&[(&header::PAYMENT_SIGNATURE, encoded)]));
    assert_eq!(code(refusal), codes::INVALID_PAYLOAD);
}

#[test]
fn refusals_show_nothing_of_the_payment() {
    let secret = "0xdeadbeefcafe";
    let value = json!({"x402Version": 2, "accepted": secret, "payload": secret});
    let refusal = present(&header::PAYMENT_SIGNATURE, &value).unwrap_err();
    let shown = format!("{refusal} {refusal:?}");
    assert!(!shown.contains("deadbeef"), "{shown}");
}

#[test]
fn an_offer_comes_back_with_more_in_extra_and_accounts_in_any_case() {
    let lower = entry(json!({"asset": USDC.to_lowercase(),
        "extra": {"version": "2", "name": "USDC", "mine": {"a": 1}}}));
    assert!(presented(&offer()).matches(&offer()));
    assert!(presented(&lower).matches(&offer()));
    let named = entry(json!({"extra":
        {"name": "USDC", "version": "2", "assetTransferMethod": "eip3009", "paymentFlow": "authorization"}}));
    assert!(presented(&named).matches(&offer()));
    let bare = entry(json!({"extra": null}));
    assert!(presented(&offer()).matches(&bare));
}

#[test]
fn an_offer_that_was_changed_is_not_the_offer() {
    for change in [
        json!({"scheme": "upto"}),
        json!({"network": "eip155:8453"}),
        json!({"amount": "1"}),
        json!({"amount": "010000"}),
        json!({"asset": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"}),
        json!({"payTo": USDC}),
        json!({"maxTimeoutSeconds": 61}),
        json!({"extra": null}),
        json!({"extra": {"name": "USDC"}}),
        json!({"extra": {"name": "USDC", "version": 2}}),
        json!({"extra": {"name": "usdc", "version": "2"}}),
        json!({"extra": {"name": "USDC", "version": "2", "assetTransferMethod": "permit2"}}),
        json!({"extra": {"name": "USDC", "version": "2", "paymentFlow": "upfront"}}),
        json!({"extra": {"name": "USDC", "version": "2", "paymentFlow": 1}}),
    ] {
        let changed = entry(change.clone());
        assert!(!presented(&changed).matches(&offer()), "{change}");
    }
}

#[test]
fn accounts_are_compared_as_values_on_starknet_and_as_texts_on_solana() {
    let starknet = |pay_to: &str| {
        entry(json!({"network": "starknet:SN_SEPOLIA", "asset": "0x512", "payTo": pay_to}))
    };
    assert!(presented(&starknet("0x002DD1b49")).matches(&starknet("0x2dd1b49")));
    let solana = |pay_to: &str| {
        entry(json!({"network": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
            "asset": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "payTo": pay_to}))
    };
    let account = "2wKupLR9q6wXYppw8Gr2NvWxKBUqm4PPJKkQfoxHDBg4";
    assert!(presented(&solana(account)).matches(&solana(account)));
    assert!(!presented(&solana(&account.to_lowercase())).matches(&solana(account)));
}

#[test]
fn version_1_matches_by_scheme_and_network_only() {
    let payment = |network: &str| {
        present(&header::X_PAYMENT, &v1_payment(network))
            .unwrap()
            .unwrap()
    };
    assert!(payment("base-sepolia").matches(&offer()));
    assert!(!payment("base").matches(&offer()));
    assert!(!payment("BASE-SEPOLIA").matches(&offer()));
    assert!(!payment("base-sepolia").matches(&entry(json!({"scheme": "upto"}))));

    let resource = ResourceInfo {
        url: "https://api.example.com/w".to_owned(),
        ..ResourceInfo::default()
    };
    let inside = payment("base-sepolia").into_payload(&offer(), resource.clone());
    assert_eq!(inside.x402_version, 2);
    assert_eq!(inside.accepted, offer());
    assert_eq!(inside.resource, Some(resource));
}

#[test]
fn a_version_1_body_has_one_entry_for_each_network_that_its_clients_can_pay() {
    let method = |name: &str| json!({"extra": {"name": "USDC", "version": "2", "assetTransferMethod": name}});
    let accepts = vec![
        entry(method("permit2")),
        entry(json!({"network": "eip155:1328", "amount": "5"})),
        offer(),
        entry(json!({"amount": "20000"})),
        entry(json!({"scheme": "upto"})),
        entry(json!({"network": "eip155:42161"})),
        entry(method("eip2612")),
        entry(method("txid")),
    ];
    let terms = PaymentRequired {
        x402_version: 2,
        error: Some("X-PAYMENT header is required".to_owned()),
        resource: ResourceInfo {
            url: "https://api.example.com/w".to_owned(),
            mime_type: Some("application/json".to_owned()),
            ..ResourceInfo::default()
        },
        accepts,
        extensions: None,
    };
    let body = v1::PaymentRequired::from_v2(&terms);
    let seen: Vec<_> = body
        .accepts
        .iter()
        .map(|a| (a.network.as_str(), a.max_amount_required.as_str()))
        .collect();
    assert_eq!(seen, [("sei-testnet", "5"), ("base-sepolia", "10000")]);
    let text = serde_json::to_value(&body).unwrap();
    assert_eq!(text["x402Version"], 1);
    assert_eq!(text["accepts"][1]["description"], "");
    assert_eq!(text["accepts"][1]["resource"], "https://api.example.com/w");

    let back = header::required(&HeaderMap::new(), &serde_json::to_vec(&body).unwrap()).unwrap();
    assert_eq!(back.version, Version::V1);
    assert_eq!(back.terms.resource, terms.resource);
    assert_eq!(back.terms.accepts[1], offer());
}

#[test]
fn what_became_of_a_payment_is_told_in_the_version_that_was_spoken() {
    let settled = SettleResponse {
        success: true,
        transaction: "0xcd".to_owned(),
        network: "eip155:1328".to_owned(),
        payer: Some(USDC.to_owned()),
        amount: Some("5".to_owned()),
        ..SettleResponse::default()
    };
    for version in [Version::V1, Version::V2] {
        let (name, value) = header::response(version, &settled);
        let sent: Value = header::decode(value.to_str().unwrap()).unwrap();
        let network = match version {
            Version::V1 => "sei-testnet",
            Version::V2 => "eip155:1328",
        };
        assert_eq!(sent["network"], network);
        let read = header::receipt(&HeaderMap::from_iter([(name, value)]));
        let read = read.unwrap().unwrap();
        assert_eq!(
            (read.network, read.transaction),
            (settled.network.clone(), "0xcd".into())
        );
    }
    assert_eq!(header::receipt(&HeaderMap::new()), Ok(None));
    let nulls = json!({"success": false, "transaction": null, "network": null, "payer": null});
    let read = header::receipt(&headers(&[(
        &header::X_PAYMENT_RESPONSE,
        header::encode(&nulls),
    )]));
    assert_eq!(read.unwrap().unwrap().transaction, "");
}

#[test]
fn a_facilitator_body_speaks_one_version_throughout() {
    let decode =
        |value: Value| FacilitatorBody::decode(value.to_string().as_bytes(), &JsonLimits::BODY);
    let entry_v1 = json!({"scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "10000",
        "resource": "https://api.example.com/w", "description": "", "mimeType": "",
        "payTo": USDC, "maxTimeoutSeconds": 60, "asset": USDC, "extra": null});
    let body = |version: u64, payment: Value, requirements: Value| json!({"x402Version": version, "paymentPayload": payment, "paymentRequirements": requirements});
    let one = decode(body(1, v1_payment("base-sepolia"), entry_v1.clone())).unwrap();
    assert_eq!(one.version, Version::V1);
    assert_eq!(one.requirements.network, "eip155:84532");
    assert_eq!(one.payload.accepted, one.requirements);

    // A payment for another network stays visible as that.
    let other = decode(body(1, v1_payment("base"), entry_v1.clone())).unwrap();
    assert_eq!(other.payload.accepted.network, "eip155:8453");

    let two = decode(body(2, v2(&offer()), json!(offer()))).unwrap();
    assert_eq!((two.version, &two.requirements), (Version::V2, &offer()));

    let wrong = [
        (
            body(3, v2(&offer()), json!(offer())),
            codes::INVALID_X402_VERSION,
        ),
        (
            body(
                2,
                json!({"x402Version": 1, "accepted": offer(), "payload": {}}),
                json!(offer()),
            ),
            codes::INVALID_X402_VERSION,
        ),
        (
            body(1, v1_payment("base"), json!(offer())),
            codes::INVALID_PAYLOAD,
        ),
        (body(2, v2(&offer()), json!(null)), codes::INVALID_PAYLOAD),
        (json!({"paymentPayload": 1}), codes::INVALID_X402_VERSION),
        (json!([2]), codes::INVALID_PAYLOAD),
    ];
    for (value, code) in wrong {
        assert_eq!(decode(value.clone()).unwrap_err().code(), code, "{value}");
    }
}

#[test]
fn a_network_without_a_version_1_name_is_not_sent_in_version_1() {
    let body = FacilitatorBody {
        version: Version::V1,
        payload: serde_json::from_value(v2(&entry(json!({"network": "eip155:42161"})))).unwrap(),
        requirements: entry(json!({"network": "eip155:42161"})),
    };
    assert_eq!(body.encode().unwrap_err().code(), codes::INVALID_NETWORK);
    let sent = header::payment(Version::V1, &body.payload);
    assert_eq!(sent.unwrap_err().code(), codes::INVALID_NETWORK);
}
