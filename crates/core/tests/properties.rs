//! What must hold for every input: nothing that strangers send brings a reader
//! down, and what is written is read back as it was.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tollway_core::assets::AssetTable;
use tollway_core::json::{self, JsonLimits};
use tollway_core::money::{Decimal, Price};
use tollway_core::wire::{
    FacilitatorBody, Object, PaymentPayload, PaymentRequirements, ResourceInfo, Version,
};
use tollway_core::{Amount, Network, Terms, header};

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map("\\PC{0,6}", inner, 0..12)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// JSON text whose objects often have a key twice, sometimes in an escaped spelling.
fn json_text() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("a"),
        Just("b"),
        Just("\\u0061"),
        Just("c\\n"),
        Just("c\\u000a")
    ];
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("\"a\"".to_owned()),
        Just("\"\\\"\"".to_owned())
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(" ,"))),
            proptest::collection::vec((key.clone(), inner), 0..4).prop_map(|fields| {
                let fields = fields.iter().map(|(k, v)| format!("\"{k}\" : {v}"));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
            }),
        ]
    })
}

/// The slow and obvious way to tell whether keys are unique.
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            if !seen.insert(key) {
                return Err(serde::de::Error::custom("twice"));
            }
            fields.next_value_seed(Self)?;
        }
        Ok(())
    }
}

fn requirements() -> impl Strategy<Value = PaymentRequirements> {
    (
        prop_oneof![Just("exact"), Just("upto")],
        prop_oneof![
            Just("eip155:84532"),
            Just("eip155:1328"),
            Just("eip155:137")
        ],
        any::<u128>(),
        any::<[u8; 20]>(),
        1..100_000_u64,
        proptest::option::of(json_value()),
    )
        .prop_map(
            |(scheme, network, amount, account, timeout, extra)| PaymentRequirements {
                scheme: scheme.to_owned(),
                network: network.to_owned(),
                amount: amount.to_string(),
                asset: format!("0x{}", hex::encode(account)),
                pay_to: format!("0x{}", hex::encode_upper(account)),
                max_timeout_seconds: timeout,
                extra: extra.and_then(|value| value.as_object().cloned()),
            },
        )
}

fn payments() -> impl Strategy<Value = PaymentPayload> {
    let object = || json_value().prop_map(|v| v.as_object().cloned().unwrap_or_default());
    let url = proptest::option::of("\\PC{0,30}");
    (
        requirements(),
        object(),
        proptest::option::of(object()),
        url,
    )
        .prop_map(|(accepted, payload, extensions, url)| PaymentPayload {
            x402_version: 2,
            resource: url.map(|url| ResourceInfo {
                url,
                ..ResourceInfo::default()
            }),
            accepted,
            payload,
            extensions,
        })
}

fn one_header(name: &HeaderName, value: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(name.clone(), value)])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn arbitrary_bytes_bring_no_reader_down(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let limits = JsonLimits::BODY;
        let _ = json::from_slice::<Value>(&bytes, &limits);
        let _ = json::object_from_slice::<PaymentPayload>(&bytes, &limits);
        let _ = FacilitatorBody::decode(&bytes, &limits);
        let _ = header::required(&HeaderMap::new(), &bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = header::decode::<Value>(&text);
        let _ = text.parse::<Price>();
        let _ = text.parse::<Amount>();
        let _ = Network::resolve(&text);
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            for name in [&header::PAYMENT_SIGNATURE, &header::X_PAYMENT] {
                prop_assert!(header::presented(&one_header(name, value.clone())).is_err());
            }
        }
    }

    #[test]
    fn nearly_json_brings_no_reader_down(text in "[\\[\\]{}\",:\\\\ua0-9 .-]{0,60}") {
        let ours = json::from_slice::<Value>(text.as_bytes(), &JsonLimits::BODY);
        if let Ok(value) = ours {
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn duplicate_keys_are_found_wherever_the_slow_way_finds_them(text in json_text()) {
        let mut reader = serde_json::Deserializer::from_str(&text);
        let unique = UniqueKeys.deserialize(&mut reader).is_ok();
        let ours = json::from_slice::<Value>(text.as_bytes(), &JsonLimits::BODY);
        prop_assert_eq!(ours.is_ok(), unique, "{}", text);
    }

    #[test]
    fn any_value_is_read_back_as_it_was_written(value in json_value()) {
        let limits = JsonLimits::BODY;
        let bytes = serde_json::to_vec(&value).unwrap();
        prop_assert_eq!(&json::from_slice::<Value>(&bytes, &limits).unwrap(), &value);
        let wrapped: Object = [("v".to_owned(), value)].into_iter().collect();
        prop_assert_eq!(header::decode::<Object>(&header::encode(&wrapped)).unwrap(), wrapped);
    }

    #[test]
    fn a_payment_survives_the_header_in_version_2(payment in payments()) {
        let Ok((name, value)) = header::payment(Version::V2, &payment) else { return Ok(()) };
        let presented = header::presented(&one_header(&name, value)).unwrap().unwrap();
        prop_assert!(presented.matches(&payment.accepted));
        let back = presented.into_payload(&payment.accepted, ResourceInfo::default());
        prop_assert_eq!(back, payment);
    }

    #[test]
    fn a_payment_survives_the_header_in_version_1(payment in payments()) {
        let Ok((name, value)) = header::payment(Version::V1, &payment) else { return Ok(()) };
        let presented = header::presented(&one_header(&name, value)).unwrap().unwrap();
        prop_assert!(presented.matches(&payment.accepted));
        let resource = payment.resource.clone().unwrap_or_default();
        let back = presented.into_payload(&payment.accepted, resource.clone());
        let expected = PaymentPayload { resource: Some(resource), extensions: None, ..payment };
        prop_assert_eq!(back, expected);
    }

    #[test]
    fn a_facilitator_reads_what_a_gate_wrote(payment in payments(), v1 in any::<bool>()) {
        let version = if v1 { Version::V1 } else { Version::V2 };
        let requirements = payment.accepted.clone();
        let mut body = FacilitatorBody { version, payload: payment, requirements };
        let back = FacilitatorBody::decode(&body.encode().unwrap(), &JsonLimits::BODY).unwrap();
        if v1 {
            body.payload.extensions = None;
            body.payload.resource = Some(body.payload.resource.unwrap_or_default());
        }
        prop_assert_eq!(back, body);
    }

    #[test]
    fn requirements_either_mean_something_or_are_refused(entry in requirements(), field in 0..6_usize, noise in "\\PC{0,80}") {
        let mut entry = entry;
        let fields = [
            &mut entry.scheme, &mut entry.network, &mut entry.amount, &mut entry.asset,
            &mut entry.pay_to,
        ];
        if let Some(field) = fields.into_iter().nth(field) {
            *field = noise;
        }
        if let Ok(terms) = Terms::check(entry.clone()) {
            prop_assert_eq!(terms.amount.to_string(), entry.amount);
            prop_assert_eq!(terms.network.as_str(), entry.network);
            prop_assert!(entry.asset.eq_ignore_ascii_case(terms.asset.as_str()));
        }
    }

    #[test]
    fn a_price_is_exact_or_refused(units in any::<u128>(), decimals in 0..30_u8) {
        let text = Amount::from_atomic(units).to_decimal(decimals);
        let decimal: Decimal = text.parse().unwrap();
        prop_assert_eq!(decimal.to_atomic(decimals), Some(Amount::from_atomic(units)));
        prop_assert_eq!(decimal.to_string(), text);
        if decimal.scale() > 0 {
            prop_assert_eq!(decimal.to_atomic(decimal.scale() - 1), None);
        }
    }

    #[test]
    fn a_price_is_shown_so_that_it_can_be_read_again(whole in any::<u64>(), fraction in "[0-9]{0,6}", symbol in proptest::option::of("USDC|usdt")) {
        let point = if fraction.is_empty() { "" } else { "." };
        let text = format!("{whole}{point}{fraction} {}", symbol.unwrap_or_default());
        let price: Price = text.trim().parse().unwrap();
        prop_assert_eq!(price.to_string().parse::<Price>().unwrap(), price);
    }

    #[test]
    fn whatever_is_a_price_is_the_same_number_of_digits(text in "\\PC{0,20}") {
        let assets = AssetTable::builtin();
        if let Ok(price) = text.parse::<Price>()
            && let Ok(priced) = price.resolve(&Network::eip155(84532), &assets)
            && !price.is_free()
        {
            let digits: String = text.chars().take_while(|c| *c != ' ').filter(char::is_ascii_digit).collect();
            let digits = digits.trim_start_matches('0');
            prop_assert!(priced.amount.to_string().starts_with(digits.trim_end_matches('0')));
        }
    }

    #[test]
    fn a_float_is_read_as_the_digits_that_it_shows(units in 0..1_000_000_000_000_u64) {
        let text = Amount::from_atomic(u128::from(units)).to_decimal(6);
        let number: f64 = text.parse().unwrap();
        prop_assert_eq!(Decimal::from_f64(number).unwrap().to_atomic(6), Some(Amount::from_atomic(units.into())));
    }

    #[test]
    fn an_address_has_one_spelling(bytes in any::<[u8; 20]>(), pad in 0..10_usize) {
        let evm = Network::eip155(1);
        let lower = evm.address(&format!("0x{}", hex::encode(bytes))).unwrap();
        prop_assert_eq!(&evm.address(&format!("0x{}", hex::encode_upper(bytes))).unwrap(), &lower);
        prop_assert_eq!(&evm.address(lower.as_str()).unwrap(), &lower);
        let starknet: Network = "starknet:SN_MAIN".parse().unwrap();
        let felt = starknet.address(&format!("0x{}", hex::encode(bytes))).unwrap();
        let padded = format!("0x{}{}", "0".repeat(pad), hex::encode_upper(bytes));
        prop_assert_eq!(starknet.address(&padded).unwrap(), felt);
    }
}
