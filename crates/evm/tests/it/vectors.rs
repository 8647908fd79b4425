//! Golden vectors made with the official packages: digests, signatures and
//! payment objects of clients, verdicts of facilitators.
//!
//! The chain's answers are those that a vector states (`input.chain`), given by
//! a fake node; where a vector is marked questionable, its recommendation holds.

use std::borrow::Cow;
use std::time::Duration;

use alloy_primitives::{B256, U256, hex};
use serde_json::{Value, json};
use tollway_core::assets::{AssetInfo, AssetTable, Method};
use tollway_core::wire::{PaymentPayload, PaymentRequirements};
use tollway_core::{Chain, ChainError, Network, Phase, Terms};
use tollway_evm::typed_data::{Authorization, Domain};
use tollway_evm::{EvmChain, EvmConfig, EvmSigner, sign_authorization};

use crate::support::clock::TestClock;
use crate::support::fake_node;

fn cases(kinds: &[&str]) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../vectors/eip3009.json")).unwrap();
    let cases = file["cases"].as_array().unwrap().iter();
    cases
        .filter(|case| kinds.contains(&case["input"]["kind"].as_str().unwrap()))
        .cloned()
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn a_payer_signs_what_official_clients_sign_byte_for_byte() {
    let cases = cases(&["client_payment", "client_payment_v1"]);
    assert_eq!(cases.len(), 15);
    for case in cases {
        let (input, expected) = (&case["input"], &case["expected"]);
        let name = text(&case["name"]);
        let domain = &input["typed_data"]["domain"];
        let message = &input["typed_data"]["message"];
        let chain_id = domain["chainId"]
            .as_u64()
            .or_else(|| text(&domain["chainId"]).parse().ok())
            .unwrap();
        let domain = Domain::new(
            text(&domain["name"]),
            text(&domain["version"]),
            chain_id,
            text(&domain["verifyingContract"]).parse().unwrap(),
        );
        // Small numbers may be JSON numbers.
        let number =
            |key: &str| -> U256 { message[key].to_string().trim_matches('"').parse().unwrap() };
        let authorization = Authorization {
            from: text(&message["from"]).parse().unwrap(),
            to: text(&message["to"]).parse().unwrap(),
            value: number("value"),
            valid_after: number("validAfter"),
            valid_before: number("validBefore"),
            nonce: text(&message["nonce"]).parse().unwrap(),
        };
        for (key, hash) in [
            ("domain_separator", domain.separator()),
            ("struct_hash", authorization.struct_hash()),
            ("digest", authorization.digest(&domain)),
        ] {
            // Version 1 vectors state the digest alone.
            if let Some(expected) = expected[key].as_str() {
                assert_eq!(hash, expected.parse::<B256>().unwrap(), "{name} {key}");
            }
        }
        assert!(expected["digest"].is_string(), "{name}");

        let signer = EvmSigner::from_hex(text(&input["private_key"])).unwrap();
        assert_eq!(signer.address(), authorization.from, "{name}");
        let signed = sign_authorization(&signer, &domain, authorization);
        assert_eq!(
            hex::encode_prefixed(&signed.signature),
            text(&expected["signature"]),
            "{name}"
        );
        let payload = serde_json::to_string(&signed.to_payload()).unwrap();
        let official = &expected["payment_payload"]["payload"];
        assert_eq!(payload, official.to_string(), "{name}");
    }
}

/// The asset without code that one vector pays with; to the others it is
/// nothing.
const NOT_A_CONTRACT: &str = "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955";

fn assets(network: &Network) -> AssetTable {
    let contract = network.address(NOT_A_CONTRACT).unwrap();
    AssetTable::builtin().with(AssetInfo {
        network: network.clone(),
        symbol: Cow::Borrowed("NONE"),
        address: contract,
        spelling: Cow::Borrowed(NOT_A_CONTRACT),
        decimals: 6,
        name: Some(Cow::Borrowed("USD Coin")),
        version: Some(Cow::Borrowed("2")),
        verified: true,
        methods: Cow::Borrowed(&[Method::Eip3009]),
    })
}

/// Answers like the chain of `input.chain`: no code at the odd asset, the given
/// code at the payer, and healthy facts about the real token.
/// `together`: whether it answers for many transfers in one call.
fn node_of(
    case: &Value,
    together: bool,
) -> impl Fn(&str, &Value) -> Result<Value, (i64, String)> + use<> {
    let chain = case["input"]["chain"].clone();
    let network: Network = text(&case["input"]["payment_requirements"]["network"])
        .parse()
        .unwrap();
    let chain_id = network.chain_id().unwrap();
    let word = |n: u128| json!(format!("0x{n:064x}"));
    let string = |text: &str| {
        json!(format!(
            "0x{:064x}{:064x}{:0<64}",
            32,
            text.len(),
            hex::encode(text)
        ))
    };
    move |method, params| {
        let no = |words: &str| Err((3, format!("execution reverted: {words}")));
        match method {
            "eth_chainId" => Ok(json!(format!("0x{chain_id:x}"))),
            "eth_getBalance" => Ok(json!("0xde0b6b3a7640000")),
            "eth_getCode" => Ok(chain["payer_code"].clone()),
            "eth_feeHistory" => Ok(json!({"baseFeePerGas": ["0x1", "0x1"]})),
            "eth_maxPriorityFeePerGas" => Ok(json!("0x1")),
            "eth_getBlockByNumber" => Ok(json!({
                "number": "0x1", "hash": null, "parentHash": null, "timestamp": "0x1",
            })),
            "eth_call" if params[0]["to"].is_null() => {
                let code = text(&chain["payer_code"]) != "0x";
                let success = text(&chain["simulation"]) == "success";
                let flags = u8::from(code) | 2 | if success { 4 } else { 0 };
                match together {
                    true => Ok(json!(format!(
                        "0x01{flags:02x}{:014x}{:048x}",
                        60_000,
                        u128::MAX
                    ))),
                    false => Err((-32602, "missing to".to_owned())),
                }
            }
            "eth_call" => {
                let to = text(&params[0]["to"]);
                let data = text(&params[0]["data"]);
                if to.eq_ignore_ascii_case(NOT_A_CONTRACT) {
                    return Ok(json!("0x"));
                }
                match &data[2..10] {
                    "3644e515" => {
                        let domain = Domain::new("USD Coin", "2", chain_id, to.parse().unwrap());
                        Ok(json!(domain.separator()))
                    }
                    "1626ba7e" => match text(&chain["is_valid_signature"]) {
                        "revert" => no("invalid"),
                        answer => Ok(json!(answer)),
                    },
                    "e3ee160e" | "cf092995" => match text(&chain["simulation"]) {
                        "success" => Ok(json!("0x")),
                        _ => no("simulated"),
                    },
                    "e94a0102" => Ok(word(0)),
                    "06fdde03" => Ok(string("USD Coin")),
                    "54fd4d50" => Ok(string("2")),
                    "70a08231" => Ok(word(u128::MAX)),
                    other => panic!("unexpected call {other}"),
                }
            }
            other => panic!("unexpected method {other}"),
        }
    }
}

async fn verdict(case: &Value, together: bool) -> Result<(), String> {
    let input = &case["input"];
    let requirements: PaymentRequirements =
        serde_json::from_value(input["payment_requirements"].clone()).unwrap();
    let terms = Terms::check(requirements).map_err(|e| e.code().to_owned())?;
    let payload: PaymentPayload = serde_json::from_value(input["payment_payload"].clone()).unwrap();

    let signer = EvmSigner::random().unwrap();
    let rpc = fake_node::serve(node_of(case, together)).await;
    let mut config = EvmConfig::new(terms.network.clone(), rpc, vec![signer]);
    config.assets = assets(&terms.network);
    config.clock = TestClock::at(input["now"].as_u64().unwrap());
    // The official facilitators ask for six seconds in both phases.
    config.limits.verify_remaining = Duration::from_secs(6);
    let chain = EvmChain::new(config).unwrap();

    let intent = chain
        .inspect(&std::sync::Arc::new(payload), &std::sync::Arc::new(terms))
        .map_err(|e| e.code().to_owned())?;
    match chain
        .verify(intent, Phase::Verify, tollway_core::Amount::ZERO)
        .await
    {
        Ok(verified) => {
            let payer = text(&case["expected"]["sdk_verdict"]["payer"]).to_lowercase();
            assert_eq!(verified.intent.identity.payer.as_str(), payer);
            Ok(())
        }
        Err(ChainError::Refused(refusal)) => Err(refusal.code().to_owned()),
        Err(other) => panic!("{other:?}"),
    }
}

/// What the vector wants: its recommendation where it is questionable.
fn wanted(case: &Value) -> Vec<Result<(), String>> {
    let expected = &case["expected"];
    let sdk = match expected["sdk_verdict"]["isValid"].as_bool().unwrap() {
        true => Ok(()),
        false => Err(text(&expected["sdk_verdict"]["invalidReason"]).to_owned()),
    };
    let signature = Err("invalid_exact_evm_signature".to_owned());
    match text(&case["name"]) {
        // "reject: invalid_exact_evm_signature"
        "verify_high_s_signature" => vec![signature],
        // "normalise v to 27/28 before settlement, or reject"
        "verify_v_is_zero_or_one" => vec![signature],
        // "accept or reject with …_valid_after"
        "verify_valid_after_equals_now" => vec![sdk],
        name => {
            assert!(
                expected["questionable"].is_null(),
                "{name} needs a decision"
            );
            vec![sdk]
        }
    }
}

#[tokio::test]
async fn a_facilitator_reaches_the_official_verdicts_with_their_codes() {
    let cases = cases(&["facilitator_verify"]);
    assert_eq!(cases.len(), 32);
    for case in cases {
        for together in [true, false] {
            let found = verdict(&case, together).await;
            assert!(
                wanted(&case).contains(&found),
                "{}: {found:?}",
                case["name"]
            );
        }
    }
}
