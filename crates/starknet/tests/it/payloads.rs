//! What strangers send: read with one meaning, or refused.

use serde_json::{Value, json};
use tollway_core::codes;
use tollway_core::wire::Object;
use tollway_starknet::{Felt, SignedExecution, felt};

use crate::vectors::cases;

const SEPOLIA: &str = "0x534e5f5345504f4c4941";

fn good() -> Value {
    let (_, _, expected) = cases("outside_execution").remove(0);
    expected["payload"].clone()
}

fn chain() -> Felt {
    felt::parse(SEPOLIA).unwrap()
}

fn parse(payload: &Value) -> Result<SignedExecution, String> {
    let object: &Object = payload.as_object().unwrap();
    SignedExecution::parse(object, &chain()).map_err(|refusal| {
        assert_eq!(refusal.code(), codes::INVALID_PAYLOAD);
        refusal.message().to_owned()
    })
}

/// The refusal of the good payload with one place changed.
fn changed(path: &str, value: Value) -> String {
    let mut payload = good();
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = payload.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(fields), Value::Null) => {
            fields.remove(key);
        }
        (Value::Object(fields), value) => {
            fields.insert(key.to_owned(), value);
        }
        (Value::Array(items), value) => items[key.parse::<usize>().unwrap()] = value,
        _ => panic!("{path}"),
    }
    parse(&payload).expect_err(path)
}

const TYPED: &str = "/outsideExecution/typedData";

#[test]
fn typed_data_with_extra_or_missing_keys_is_refused() {
    assert!(parse(&good()).is_ok());
    for place in ["", "/domain", "/message", "/message/Calls/0"] {
        let why = changed(&format!("{TYPED}{place}/extra"), json!("0x1"));
        assert!(why.contains("unknown key"), "{why}");
    }
    for key in [
        "types",
        "primaryType",
        "domain",
        "message",
        "domain/name",
        "domain/version",
        "domain/chainId",
        "domain/revision",
        "message/Caller",
        "message/Nonce",
        "message/Execute After",
        "message/Execute Before",
        "message/Calls",
        "message/Calls/0/To",
        "message/Calls/0/Selector",
        "message/Calls/0/Calldata",
    ] {
        changed(&format!("{TYPED}/{key}"), Value::Null);
    }
}

#[test]
fn another_chain_version_or_domain_is_refused() {
    for (key, value) in [
        ("domain/chainId", json!("0x534e5f4d41494e")),
        ("domain/chainId", json!("SN_MAIN")),
        ("domain/chainId", json!("")),
        ("domain/chainId", json!(1)),
        ("domain/version", json!("1")),
        ("domain/revision", json!("0")),
        ("domain/revision", json!(1.5)),
        ("domain/name", json!("Account.execute")),
        ("primaryType", json!("Call")),
        ("types", json!([])),
    ] {
        changed(&format!("{TYPED}/{key}"), value);
    }
    let mut named = good();
    *named
        .pointer_mut(&format!("{TYPED}/domain/chainId"))
        .unwrap() = json!("SN_SEPOLIA");
    *named
        .pointer_mut(&format!("{TYPED}/domain/version"))
        .unwrap() = json!(2);
    assert_eq!(
        parse(&named),
        parse(&good()),
        "another spelling, the same domain"
    );
}

#[test]
fn numbers_that_are_none_or_too_large_are_refused() {
    let prime = "0x800000000000011000000000000000000000000000000000000000000000001";
    for place in ["Caller", "Nonce", "Calls/0/To", "Calls/0/Calldata/1"] {
        for bad in [
            json!(prime),
            json!(""),
            json!("0x"),
            json!("x"),
            json!(7),
            json!(["0x1"]),
        ] {
            changed(&format!("{TYPED}/message/{place}"), bad);
        }
    }
    let over_128 = json!(format!("0x1{:032}", 0));
    for time in ["Execute After", "Execute Before"] {
        for bad in [over_128.clone(), json!(-1), json!(1.5), json!("soon")] {
            changed(&format!("{TYPED}/message/{time}"), bad);
        }
    }
    changed("/from", json!("0x0"));
    changed("/from", json!("merchant"));
    changed(&format!("{TYPED}/message/Calls/0/Selector"), json!("123"));
}

#[test]
fn lists_that_are_too_long_are_refused() {
    let felts = |n: usize| json!(vec!["0x1"; n]);
    let at = "/outsideExecution/signature";
    let mut longest = good();
    *longest.pointer_mut(at).unwrap() = felts(32);
    assert_eq!(parse(&longest).unwrap().signature.len(), 32);
    for n in [0, 33, 1000] {
        changed(at, felts(n));
    }
    changed(at, json!("0x1"));
    changed(&format!("{at}/0"), json!(1));
    changed(&format!("{TYPED}/message/Calls/0/Calldata"), felts(65));
    let call = good()
        .pointer(&format!("{TYPED}/message/Calls/0"))
        .unwrap()
        .clone();
    changed(&format!("{TYPED}/message/Calls"), json!(vec![call; 9]));
}

#[test]
fn a_signature_is_never_shown() {
    let signed = parse(&good()).unwrap();
    let shown = format!("{signed:?}");
    for felt in &signed.signature {
        assert!(!shown.contains(&felt::text(felt)), "{shown}");
    }
}
