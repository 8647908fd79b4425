//! Byte for byte what other implementations compute.

use serde_json::{Value, json};
use tollway_starknet::invoke::{Bound, Bounds, Invoke};
use tollway_starknet::{Felt, SignedExecution, StarkKey, felt, outside, selectors, typed_data};

/// The cases of one kind: input and expected.
pub fn cases(kind: &str) -> Vec<(String, Value, Value)> {
    let all: Value = serde_json::from_str(include_str!("../vectors/starknet.json")).unwrap();
    let cases = all["cases"].as_array().unwrap();
    let of_kind = cases.iter().filter(|case| case["input"]["kind"] == kind);
    let found: Vec<_> = of_kind
        .map(|case| {
            let name = case["name"].as_str().unwrap().to_owned();
            (name, case["input"].clone(), case["expected"].clone())
        })
        .collect();
    assert!(!found.is_empty(), "no case of kind {kind}");
    found
}

fn number(value: &Value) -> Felt {
    felt::parse(value.as_str().unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<Felt> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn chain(typed: &Value) -> Felt {
    number(&typed["domain"]["chainId"])
}

#[test]
fn keys_selectors_and_constants_are_everybodys() {
    for (name, input, expected) in cases("public_key") {
        let key = StarkKey::from_hex(input["private_key"].as_str().unwrap()).unwrap();
        assert_eq!(key.public(), number(&expected["public_key"]), "{name}");
    }
    for (name, input, expected) in cases("selector") {
        let selector = selectors::parse(input["name"].as_str().unwrap());
        assert_eq!(selector, Some(number(&expected["selector"])), "{name}");
    }
    for (name, input, expected) in cases("u256") {
        let amount = input["value"].as_str().unwrap().parse().unwrap();
        let halves = [number(&expected["low"]), number(&expected["high"])];
        assert_eq!(felt::split(amount), halves, "{name}");
    }
    let (_, _, expected) = cases("constants").remove(0);
    for network in ["SN_MAIN", "SN_SEPOLIA"] {
        let parsed = format!("starknet:{network}").parse().unwrap();
        let id = felt::chain_id(&parsed);
        assert_eq!(id, Some(number(&expected["chain_id"][network])));
    }
    assert_eq!(outside::ANY_CALLER, number(&expected["any_caller"]));
}

#[test]
fn executions_hash_and_sign_as_starknet_js_does() {
    for (name, input, expected) in cases("outside_execution") {
        let typed = &input["typed_data"];
        let chain_id = chain(typed);
        let account = number(&input["account"]);
        let execution = typed_data::read(typed, &chain_id).unwrap();
        let domain = number(&expected["domain_hash"]);
        assert_eq!(outside::domain_hash(&chain_id), domain, "{name}");
        let message = number(&expected["struct_hash"]);
        assert_eq!(execution.struct_hash(), message, "{name}");
        let hash = execution.hash(&chain_id, &account);
        assert_eq!(hash, number(&expected["message_hash"]), "{name}");

        let owner = StarkKey::from_hex(input["owner_private_key"].as_str().unwrap()).unwrap();
        let by_owner = owner.sign(&hash).unwrap().to_vec();
        assert_eq!(by_owner, numbers(&expected["owner_signature"]), "{name}");
        let session = StarkKey::from_hex(input["session_private_key"].as_str().unwrap()).unwrap();
        let until = input["session_valid_until"].as_u64().unwrap();
        let [r, s] = session.sign(&hash).unwrap();
        let by_session = vec![session.public(), r, s, Felt::from(until)];
        assert_eq!(
            by_session,
            numbers(&expected["session_signature"]),
            "{name}"
        );

        for (key, signature) in [
            ("execute_from_outside_v2_calldata_owner", &by_owner),
            ("execute_from_outside_v2_calldata_session", &by_session),
        ] {
            assert_eq!(
                execution.calldata(signature),
                numbers(&expected[key]),
                "{name}"
            );
        }
        // The canonical spelling of what was read is the same execution.
        let canonical = typed_data::write(&execution, &chain_id);
        assert_eq!(typed_data::read(&canonical, &chain_id).unwrap(), execution);
        assert_eq!(canonical["types"], typed["types"], "{name}");
    }
}

#[test]
fn payloads_have_the_shape_that_the_scheme_registers() {
    for (name, input, expected) in cases("outside_execution") {
        let chain_id = chain(&input["typed_data"]);
        let theirs = expected["payload"].as_object().unwrap();
        let signed = SignedExecution::parse(theirs, &chain_id).unwrap();
        assert_eq!(
            signed.hash(&chain_id),
            number(&expected["message_hash"]),
            "{name}"
        );
        let ours = signed.to_payload(&chain_id);
        let outer: Vec<&String> = ours.keys().collect();
        assert_eq!(outer, theirs.keys().collect::<Vec<_>>(), "{name}");
        assert_eq!(SignedExecution::parse(&ours, &chain_id).unwrap(), signed);
        assert_eq!(
            shape(&json!(ours)),
            shape(&json!(theirs)),
            "{name}: keys and kinds"
        );
    }
}

/// A value with its texts and numbers blotted out.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), shape(v))).collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(_) => json!("text"),
        other => other.clone(),
    }
}

#[test]
fn signatures_are_judged_as_everybody_judges_them() {
    for (name, input, expected) in cases("ecdsa_verify") {
        let valid = starknet_crypto::verify(
            &number(&input["public_key"]),
            &number(&input["message_hash"]),
            &number(&input["r"]),
            &number(&input["s"]),
        )
        .unwrap_or(false);
        assert_eq!(json!(valid), expected["valid"], "{name}");
    }
    for (name, input, expected) in cases("ecdsa_sign") {
        let key = StarkKey::from_hex(input["private_key"].as_str().unwrap()).unwrap();
        let signature = key.sign(&number(&input["message_hash"])).unwrap();
        let wanted = [number(&expected["r"]), number(&expected["s"])];
        assert_eq!(signature, wanted, "{name}");
    }
}

#[test]
fn transactions_hash_as_starknet_js_does() {
    for (name, input, expected) in cases("invoke_v3") {
        if input["nonce_da_mode"] != 0 || input["fee_da_mode"] != 0 {
            // Ours are always posted to Ethereum.
            continue;
        }
        let small = |value: &Value| felt::to_u64(&number(value)).unwrap();
        let bound = |value: &Value| Bound {
            amount: small(&value["max_amount"]),
            price: felt::to_u128(&number(&value["max_price_per_unit"])).unwrap(),
        };
        let bounds = &input["resource_bounds"];
        let invoke = Invoke {
            sender: number(&input["sender"]),
            nonce: small(&input["nonce"]),
            tip: small(&input["tip"]),
            bounds: Bounds {
                l1_gas: bound(&bounds["l1_gas"]),
                l2_gas: bound(&bounds["l2_gas"]),
                l1_data_gas: bound(&bounds["l1_data_gas"]),
            },
            calldata: numbers(&input["calldata"]),
        };
        let hash = invoke.hash(&number(&input["chain_id"]));
        assert_eq!(hash, number(&expected["transaction_hash"]), "{name}");
        let json = invoke.signed(&[Felt::ONE]);
        assert_eq!(
            json.terms(),
            Some((invoke.nonce, invoke.tip, invoke.bounds))
        );
    }
}
