//! Golden vectors of Permit2 and of EIP-2612: what official clients sign, and what
//! official facilitators say.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, U256, hex};
use serde_json::{Value, json};
use tollway_core::wire::{PaymentPayload, PaymentRequirements};
use tollway_core::{Chain, ChainError, Network, Phase, Terms};
use tollway_evm::typed_data::{Domain, Permit};
use tollway_evm::{
    EXACT_PROXY, EvmChain, EvmConfig, EvmSigner, PERMIT2, SignedPermit2, UPTO_PROXY, permit2_domain,
};

use crate::support::clock::TestClock;
use crate::support::fake_node;

fn cases(file: &str, kinds: &[&str]) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).unwrap();
    let cases = file["cases"].as_array().unwrap().iter();
    cases
        .filter(|case| kinds.contains(&case["input"]["kind"].as_str().unwrap()))
        .cloned()
        .collect()
}

fn permit2(kinds: &[&str]) -> Vec<Value> {
    cases(include_str!("../../vectors/permit2.json"), kinds)
}

fn eip2612(kinds: &[&str]) -> Vec<Value> {
    cases(include_str!("../../vectors/eip2612.json"), kinds)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hash(value: &Value) -> B256 {
    text(value).parse().unwrap()
}

#[test]
fn contracts_and_domains_are_the_published_ones() {
    let constants = &permit2(&["constants"])[0]["expected"];
    for (key, address) in [
        ("permit2", PERMIT2),
        ("exact_proxy", EXACT_PROXY),
        ("upto_proxy", UPTO_PROXY),
    ] {
        assert_eq!(text(&constants[key]), address.to_checksum(None));
    }
    for (chain_id, separator) in constants["domain_separator"].as_object().unwrap() {
        let domain = permit2_domain(chain_id.parse().unwrap(), PERMIT2);
        assert_eq!(domain.separator(), hash(separator), "{chain_id}");
    }
}

#[test]
fn a_payer_signs_permits_as_official_clients_do_byte_for_byte() {
    let cases = permit2(&["client_payment_exact", "client_payment_upto"]);
    assert_eq!(cases.len(), 8);
    for case in cases {
        let (input, expected) = (&case["input"], &case["expected"]);
        let upto = text(&input["kind"]).ends_with("upto");
        let official = expected["payload"].as_object().unwrap();
        let signed = SignedPermit2::parse(official, upto).unwrap();
        let accepted = &input["payment_required"]["accepts"][0];
        let network: Network = text(&accepted["network"]).parse().unwrap();
        let domain = permit2_domain(network.chain_id().unwrap(), PERMIT2);
        let permit = &signed.permit;
        assert_eq!(
            permit.witness.struct_hash(),
            hash(&expected["witness_hash"])
        );
        assert_eq!(permit.struct_hash(), hash(&expected["struct_hash"]));
        assert_eq!(permit.digest(&domain), hash(&expected["digest"]));
        let signer = EvmSigner::from_hex(text(&input["private_key"])).unwrap();
        let signature = signer.sign(permit.digest(&domain));
        assert_eq!(
            hex::encode_prefixed(signature),
            text(&expected["signature"])
        );
        let ours = serde_json::to_string(&signed.to_payload()).unwrap();
        assert_eq!(ours, expected["payload"].to_string(), "{}", case["name"]);
    }
}

#[test]
fn an_owner_signs_eip2612_permits_as_official_clients_do() {
    let cases = eip2612(&["permit", "gas_sponsoring_client"]);
    let mut signed = 0;
    for case in cases {
        let (input, expected) = (&case["input"], &case["expected"]);
        let typed = &input["typed_data"];
        if typed.is_null() {
            continue;
        }
        let (domain, message) = (&typed["domain"], &typed["message"]);
        let number =
            |key: &str| -> U256 { message[key].to_string().trim_matches('"').parse().unwrap() };
        let permit = Permit {
            owner: text(&message["owner"]).parse().unwrap(),
            spender: text(&message["spender"]).parse().unwrap(),
            value: number("value"),
            nonce: number("nonce"),
            deadline: number("deadline"),
        };
        let chain_id = domain["chainId"].to_string();
        let domain = Domain::new(
            text(&domain["name"]),
            text(&domain["version"]),
            chain_id.trim_matches('"').parse().unwrap(),
            text(&domain["verifyingContract"]).parse().unwrap(),
        );
        let digest = permit.digest(&domain);
        if let Some(expected) = expected["digest"].as_str() {
            assert_eq!(digest, expected.parse::<B256>().unwrap());
        }
        let signer = EvmSigner::from_hex(text(&input["private_key"])).unwrap();
        let signature = hex::encode_prefixed(signer.sign(digest));
        let official = match expected["signature"].as_str() {
            Some(signature) => signature,
            None => text(&expected["extension"]["info"]["signature"]),
        };
        assert_eq!(signature, official, "{}", case["name"]);
        signed += 1;
    }
    assert_eq!(signed, 8);
}

/// Answers as the chain of `input.chain`.
fn node_of(case: &Value) -> impl Fn(&str, &Value) -> Result<Value, (i64, String)> + use<> {
    let input = case["input"].clone();
    let chain = input["chain"].clone();
    let requirements = &input["payment_requirements"];
    let network: Network = text(&requirements["network"]).parse().unwrap();
    let chain_id = network.chain_id().unwrap();
    let name = text(&requirements["extra"]["name"]).to_owned();
    let word = |n: &Value| {
        let number: U256 = n.as_str().unwrap_or("0").parse().unwrap();
        json!(B256::from(number))
    };
    move |method, params| match method {
        "eth_chainId" => Ok(json!(format!("0x{chain_id:x}"))),
        "eth_getBalance" => Ok(json!("0xde0b6b3a7640000")),
        // The payer has none, contracts have some.
        "eth_getCode" => {
            let payer = &input["payment_payload"]["payload"]["permit2Authorization"]["from"];
            let payer = text(payer).to_lowercase();
            let asked = text(&params[0]).to_lowercase();
            Ok(json!(if asked == payer { "0x" } else { "0x6000" }))
        }
        "eth_feeHistory" => Ok(json!({"baseFeePerGas": ["0x1", "0x1"]})),
        "eth_maxPriorityFeePerGas" => Ok(json!("0x1")),
        "eth_getBlockByNumber" => Ok(json!({
            "number": "0x1", "hash": null, "parentHash": null, "timestamp": "0x1",
        })),
        "eth_call" => {
            let to = text(&params[0]["to"]);
            let data = text(&params[0]["data"]);
            match &data[2..10] {
                "3644e515" => {
                    // Only the asset that is paid with is asked about anything else.
                    let asset = text(&input["payment_requirements"]["asset"]);
                    let name = match to.eq_ignore_ascii_case(asset) {
                        true => name.as_str(),
                        false => "USD Coin",
                    };
                    let domain = Domain::new(name, "2", chain_id, to.parse().unwrap());
                    Ok(json!(domain.separator()))
                }
                "13cd3b53" | "fa340378" | "ff11e7b4" | "016c1748" => {
                    match text(&chain["simulation"]) {
                        "success" => Ok(json!("0x")),
                        _ => Err((3, "execution reverted".to_owned())),
                    }
                }
                "4fe02b44" => Ok(json!(B256::ZERO)),
                "70a08231" => Ok(word(&chain["balance"])),
                "dd62ed3e" => Ok(word(&chain["allowance"])),
                other => panic!("unexpected call {other}"),
            }
        }
        other => panic!("unexpected method {other}"),
    }
}

/// Dev account 9, the facilitator of the vectors.
const FACILITATOR: &str = "0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6";

async fn verdict(case: &Value) -> Result<(), String> {
    let input = &case["input"];
    let requirements: PaymentRequirements =
        serde_json::from_value(input["payment_requirements"].clone()).unwrap();
    let terms = Terms::check(requirements).map_err(|e| e.code().to_owned())?;
    let payload: PaymentPayload = serde_json::from_value(input["payment_payload"].clone()).unwrap();
    let signer = EvmSigner::from_hex(FACILITATOR).unwrap();
    let rpc = fake_node::serve(node_of(case)).await;
    let mut config = EvmConfig::new(terms.network.clone(), rpc, vec![signer]);
    config.clock = TestClock::at(input["now"].as_u64().unwrap());
    // The official facilitators ask for six seconds in both phases.
    config.limits.verify_remaining = Duration::from_secs(6);
    let chain = EvmChain::new(config).unwrap();
    let intent = chain
        .inspect(&Arc::new(payload), &Arc::new(terms))
        .map_err(|e| e.code().to_owned())?;
    let held = tollway_core::Amount::ZERO;
    match chain.verify(intent, Phase::Verify, held).await {
        Ok(verified) => {
            let payer = text(&case["expected"]["sdk_verdict"]["payer"]).to_lowercase();
            assert_eq!(verified.intent.identity.payer.as_str(), payer);
            Ok(())
        }
        Err(ChainError::Refused(refusal)) => Err(refusal.code().to_owned()),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_official_verdicts_about_permits_are_ours() {
    let mut all = permit2(&["facilitator_verify_exact", "facilitator_verify_upto"]);
    all.extend(eip2612(&["facilitator_verify_exact"]));
    assert_eq!(all.len(), 30);
    for case in all {
        let expected = &case["expected"];
        assert!(expected["questionable"].is_null(), "{}", case["name"]);
        let official = match expected["sdk_verdict"]["isValid"].as_bool().unwrap() {
            true => Ok(()),
            false => Err(text(&expected["sdk_verdict"]["invalidReason"]).to_owned()),
        };
        assert_eq!(verdict(&case).await, official, "{}", case["name"]);
    }
}
