//! Golden vectors made with the published packages: caveats, hashes, signatures,
//! contexts and calldata, byte for byte.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde_json::Value;
use tollway_evm::EvmSigner;
use tollway_evm::delegation::{
    ANY_DELEGATE, CAVEAT_TYPE_HASH, Caveat, CaveatTerms, DELEGATION_MANAGER, DELEGATION_TYPE_HASH,
    Delegation, Enforcer, Execution, Mode, ROOT_AUTHORITY, decode_context, delegation_domain,
    encode_context, is_linked, pack_batch, pack_single, redeem_call, transfer_execution,
};

fn cases(kind: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../vectors/erc7710.json")).unwrap();
    let cases = file["cases"].as_array().unwrap().iter();
    let cases: Vec<Value> = cases
        .filter(|case| case["input"]["kind"] == kind)
        .cloned()
        .collect();
    assert!(!cases.is_empty(), "{kind}");
    cases
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Bytes {
    text(value).parse().unwrap()
}

fn address(value: &Value) -> Address {
    text(value).parse().unwrap()
}

/// Decimal or hex, text or number.
fn number(value: &Value) -> U256 {
    value.to_string().trim_matches('"').parse().unwrap()
}

#[test]
fn the_framework_is_where_it_is_published() {
    for case in cases("constants") {
        let expected = &case["expected"];
        let word = |key: &str| -> B256 { text(&expected[key]).parse().unwrap() };
        assert_eq!(word("delegation_typehash"), DELEGATION_TYPE_HASH);
        assert_eq!(word("caveat_typehash"), CAVEAT_TYPE_HASH);
        assert_eq!(word("root_authority"), ROOT_AUTHORITY);
        assert_eq!(address(&expected["any_delegate"]), ANY_DELEGATE);
        assert_eq!(address(&expected["delegation_manager"]), DELEGATION_MANAGER);
        let published: Vec<Address> = expected["enforcers"]
            .as_object()
            .unwrap()
            .values()
            .map(address)
            .collect();
        assert_eq!(published.len(), Enforcer::ALL.len());
        for enforcer in Enforcer::ALL {
            assert!(published.contains(&enforcer.address()), "{enforcer:?}");
            assert_eq!(Enforcer::at(enforcer.address()), Some(enforcer));
        }
    }
}

/// The terms that a case's parameters describe.
fn terms(case: &Value) -> CaveatTerms {
    let p = &case["input"]["params"];
    let addresses = |key: &str| p[key].as_array().unwrap().iter().map(address).collect();
    let token = || address(&p["tokenAddress"]);
    match text(&case["input"]["type"]) {
        "erc20_period" => CaveatTerms::PeriodTransfer {
            token: token(),
            amount: number(&p["periodAmount"]),
            duration: number(&p["periodDuration"]),
            start: number(&p["startDate"]),
        },
        "erc20_amount" => CaveatTerms::TransferAmount {
            token: token(),
            most: number(&p["maxAmount"]),
        },
        "erc20_streaming" => CaveatTerms::Streaming {
            token: token(),
            initial: number(&p["initialAmount"]),
            most: number(&p["maxAmount"]),
            per_second: number(&p["amountPerSecond"]),
            start: number(&p["startTime"]),
        },
        "redeemer" => CaveatTerms::Redeemer(addresses("redeemers")),
        "allowed_calldata" => CaveatTerms::AllowedCalldata {
            start: number(&p["startIndex"]),
            value: bytes(&p["value"]),
        },
        "timestamp" => CaveatTerms::Timestamp {
            after: number(&p["afterThreshold"]).to(),
            before: number(&p["beforeThreshold"]).to(),
        },
        "limited_calls" => CaveatTerms::LimitedCalls(number(&p["limit"])),
        "value_lte" => CaveatTerms::ValueLte(number(&p["maxValue"])),
        "nonce" => CaveatTerms::Nonce(number(&p["nonce"])),
        "allowed_targets" => CaveatTerms::AllowedTargets(addresses("targets")),
        "allowed_methods" => CaveatTerms::AllowedMethods(
            p["selectors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|selector| bytes(selector).as_ref().try_into().unwrap())
                .collect(),
        ),
        other => panic!("{other}"),
    }
}

#[test]
fn caveats_are_packed_and_read_as_published() {
    for case in cases("caveat_terms") {
        let (name, expected, terms) = (text(&case["name"]), &case["expected"], terms(&case));
        if expected["error"] != Value::Null {
            assert!(terms.caveat().is_err(), "{name}");
            continue;
        }
        let caveat = terms.caveat().unwrap();
        assert_eq!(caveat.enforcer, address(&expected["enforcer"]), "{name}");
        assert_eq!(caveat.terms, bytes(&expected["terms"]), "{name}");
        let read = CaveatTerms::decode(caveat.enforcer, &caveat.terms);
        assert_eq!(read, Ok(terms), "{name}");
    }
}

/// The delegation of a link, signed with its key.
fn signed(link: &Value) -> Delegation {
    let (message, domain) = (
        &link["typed_data"]["message"],
        &link["typed_data"]["domain"],
    );
    let arguments = link["caveat_args"].as_array().unwrap();
    let caveats = message["caveats"].as_array().unwrap().iter().zip(arguments);
    let mut delegation = Delegation {
        delegate: address(&message["delegate"]),
        delegator: address(&message["delegator"]),
        authority: text(&message["authority"]).parse().unwrap(),
        caveats: caveats
            .map(|(caveat, args)| Caveat {
                enforcer: address(&caveat["enforcer"]),
                terms: bytes(&caveat["terms"]),
                args: bytes(args),
            })
            .collect(),
        salt: number(&message["salt"]),
        signature: Bytes::new(),
    };
    let chain_id = number(&domain["chainId"]).to();
    let domain = delegation_domain(chain_id, address(&domain["verifyingContract"]));
    let signer = EvmSigner::from_hex(text(&link["private_key"])).unwrap();
    delegation.signature = Bytes::copy_from_slice(&signer.sign(delegation.digest(&domain)));
    delegation
}

#[test]
fn chains_are_hashed_signed_and_redeemed_byte_for_byte_as_the_kit_does() {
    for case in cases("delegation_chain") {
        let (name, input, expected) = (text(&case["name"]), &case["input"], &case["expected"]);
        let links = input["delegations_root_first"].as_array().unwrap();
        let known = expected["delegations_root_first"].as_array().unwrap();
        let mut chain = Vec::new();
        for (link, known) in links.iter().zip(known) {
            let delegation = signed(link);
            let hash: B256 = text(&known["delegation_hash"]).parse().unwrap();
            assert_eq!(delegation.hash(), hash, "{name}");
            assert_eq!(delegation.signature, bytes(&known["signature"]), "{name}");
            chain.insert(0, delegation);
        }
        assert!(is_linked(&chain), "{name}");
        let context = encode_context(&chain);
        assert_eq!(context, bytes(&expected["permission_context"]), "{name}");
        assert_eq!(decode_context(&context), Ok(chain), "{name}");

        let payment = &input["payment"];
        let execution = transfer_execution(
            address(&payment["asset"]),
            address(&payment["payTo"]),
            number(&payment["amount"]),
        );
        assert_eq!(execution.data, bytes(&expected["transfer_calldata"]));
        let packed = bytes(&expected["execution_calldata"]);
        assert_eq!(pack_single(&execution), packed, "{name}");
        let call = bytes(&expected["redeem_delegations_calldata"]);
        assert_eq!(redeem_call(&context, &execution), call, "{name}");
    }
}

#[test]
fn executions_and_modes_are_packed_as_published() {
    let execution = |value: &Value, key: &str| Execution {
        target: address(&value["target"]),
        value: number(&value["value"]),
        data: bytes(&value[key]),
    };
    for case in cases("execution_single") {
        let packed = pack_single(&execution(&case["input"], "call_data"));
        assert_eq!(packed, bytes(&case["expected"]["execution_calldata"]));
    }
    for case in cases("execution_batch") {
        let all = case["input"]["executions"].as_array().unwrap().iter();
        let all: Vec<Execution> = all.map(|one| execution(one, "callData")).collect();
        let packed = bytes(&case["expected"]["execution_calldata"]);
        assert_eq!(pack_batch(&all), packed);
    }
    for case in cases("mode") {
        let mode = match text(&case["input"]["name"]) {
            "SingleDefault" => Mode::SingleDefault,
            "BatchDefault" => Mode::BatchDefault,
            other => panic!("{other}"),
        };
        let word = hex::encode_prefixed(mode.to_word());
        assert_eq!(word, text(&case["expected"]["mode"]));
    }
}
