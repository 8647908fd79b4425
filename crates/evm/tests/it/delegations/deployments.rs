//! Accounts that are not there yet, as payments say it.

use alloy_primitives::{Address, Bytes, U256, address, hex};
use alloy_sol_types::SolValue;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use tollway_core::wire::{Object, PaymentRequirements};
use tollway_core::{Amount, Limits, Network, Terms, Wallet};
use tollway_evm::delegation::{
    CaveatTerms, DELEGATION_MANAGER, Delegation, Dependency, MAX_DEPENDENCIES, MAX_FACTORY_DATA,
    ROOT_AUTHORITY, decode_context, encode_context, unwrap_chain,
};
use tollway_evm::{PermissionPayment, PermissionWallet, SignedAuthorization};

use crate::support::clock::TestClock;
use crate::support::world::{NOW, key};

const ASSET: Address = address!("036CbD53842c5426634e7929541eC2318f3dCF7e");
const FACTORY: Address = address!("69Aa2f9fe1572F1B640E1bbc512f5c3a734fc77c");
const REDEEMER: Address = address!("00000000000000000000000000000000000000f1");
const PRICE: u64 = 10_000;

fn root(to: Address) -> Delegation {
    let terms = [
        CaveatTerms::TransferAmount {
            token: ASSET,
            most: U256::from(PRICE),
        },
        CaveatTerms::Redeemer(vec![REDEEMER]),
    ];
    Delegation {
        delegate: to,
        delegator: Address::repeat_byte(7),
        authority: ROOT_AUTHORITY,
        caveats: terms.iter().map(|t| t.caveat().unwrap()).collect(),
        salt: U256::ZERO,
        signature: Bytes::from(vec![5; 65]),
    }
}

fn dependency(number: u8) -> Dependency {
    Dependency {
        factory: FACTORY,
        factory_data: Bytes::from(vec![number; 40]),
    }
}

fn wrapped(mut delegation: Delegation, one: &Dependency) -> Delegation {
    let body = (
        one.factory,
        one.factory_data.clone(),
        delegation.signature.clone(),
    )
        .abi_encode_params();
    delegation.signature = [body, hex!("6492").repeat(16)].concat().into();
    delegation
}

fn payload(chain: &[Delegation], dependencies: Option<Value>) -> Object {
    let mut payload = json!({
        "delegationManager": DELEGATION_MANAGER,
        "permissionContext": encode_context(chain),
        "delegator": chain.last().unwrap().delegator,
    });
    if let Some(dependencies) = dependencies {
        payload["dependencies"] = dependencies;
    }
    payload.as_object().unwrap().clone()
}

fn read(payload: &Object) -> Result<PermissionPayment, String> {
    let read = PermissionPayment::parse(payload, U256::from(PRICE));
    read.map_err(|refusal| refusal.code().to_owned())
}

/// The wallet's own words and the wrapper say the same. The manager gets neither, and
/// the payment is the same one.
#[test]
fn what_must_be_deployed_is_told_by_a_list_or_by_a_wrapper() {
    let plain = root(REDEEMER);
    let one = dependency(1);
    let listed = read(&payload(
        std::slice::from_ref(&plain),
        Some(json!([one.to_json()])),
    ));
    let listed = listed.unwrap();
    let wrapper = wrapped(plain.clone(), &one);
    assert_eq!(wrapper.hash(), plain.hash());
    for list in [None, Some(json!([])), Some(json!([one.to_json()]))] {
        let by_wrapper = read(&payload(std::slice::from_ref(&wrapper), list)).unwrap();
        assert_eq!(by_wrapper, listed, "each is counted once");
    }
    assert_eq!(listed.chain.as_slice(), std::slice::from_ref(&plain));
    assert_eq!(listed.dependencies, [one]);
    let written = listed.to_payload();
    assert_eq!(read(&written).unwrap(), listed);
    assert_eq!(
        written["permissionContext"],
        json!(encode_context(std::slice::from_ref(&plain)))
    );
    let without = read(&payload(&[plain], None)).unwrap();
    assert!(without.dependencies.is_empty());
    assert!(!without.to_payload().contains_key("dependencies"));
}

#[test]
fn there_is_a_limit_on_what_a_payment_says_that_must_be_deployed() {
    let chain = [root(REDEEMER)];
    let one = || dependency(1).to_json();
    let data =
        |bytes: usize| json!({"factory": FACTORY, "factoryData": Bytes::from(vec![0; bytes])});
    let taken = |list: Value| read(&payload(&chain, Some(list)));
    assert!(taken(Value::from(vec![one(); MAX_DEPENDENCIES])).is_ok());
    assert!(taken(json!([data(MAX_FACTORY_DATA)])).is_ok());
    for list in [
        Value::from(vec![one(); MAX_DEPENDENCIES + 1]),
        json!([data(MAX_FACTORY_DATA + 1)]),
        json!([{"factory": FACTORY}]),
        json!([{"factoryData": "0x"}]),
        json!([{"factory": "0x12", "factoryData": "0x"}]),
        json!([{"factory": FACTORY, "factoryData": "12"}]),
        json!(["0x"]),
        one(),
        json!(true),
    ] {
        let refused = taken(list.clone());
        assert_eq!(refused, Err("invalid_payload".to_owned()), "{list}");
    }
}

#[test]
fn a_wrapper_around_nothing_is_none() {
    let mut bare = root(REDEEMER);
    bare.signature = hex!("6492").repeat(16).into();
    assert_eq!(bare.unwrap_signature(), None);
}

proptest! {
    /// A wrapper that cannot be read is a signature like another, for the chain to refuse.
    #[test]
    fn noise_in_a_wrapper_is_never_a_panic(
        flips in vec((any::<Index>(), 0..8_u8), 0..4),
        cut in 0..100_usize,
    ) {
        let good = wrapped(root(REDEEMER), &dependency(1));
        let mut bytes = good.signature.to_vec();
        let body = bytes.len() - 32;
        for (at, bit) in flips {
            bytes[at.index(body)] ^= 1 << bit;
        }
        bytes.drain(..cut);
        let mut chain = [Delegation { signature: bytes.into(), ..good.clone() }];
        prop_assert!(unwrap_chain(&mut chain).len() <= 1);
        prop_assert_eq!(chain[0].hash(), good.hash());
    }
}

/// Who spends may be an account with code; what it signs is said to be its own.
#[tokio::test]
async fn a_session_account_with_code_spends_by_its_keys_signature() {
    let account = Address::repeat_byte(9);
    let chain = vec![wrapped(root(account), &dependency(1))];
    let network = Network::eip155(84532);
    let plain = PermissionWallet::new(key(1), network.clone(), DELEGATION_MANAGER, chain.clone());
    assert_eq!(plain.unwrap_err().code(), "permission_unusable");
    let wallet =
        PermissionWallet::of_account(key(1), account, network, DELEGATION_MANAGER, chain).unwrap();
    let wallet = wallet
        .with_clock(TestClock::at(NOW))
        .with_dependencies(vec![dependency(1), dependency(2)]);
    let terms = Terms::check(
        serde_json::from_value::<PaymentRequirements>(json!({
            "scheme": "exact",
            "network": "eip155:84532",
            "amount": PRICE.to_string(),
            "asset": ASSET,
            "payTo": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
            "maxTimeoutSeconds": 60,
            "extra": {
                "name": "USDC", "version": "2", "assetTransferMethod": "erc7710",
                "facilitatorAddresses": [REDEEMER],
            }
        }))
        .unwrap(),
    );
    let limits = Limits {
        max_amount: Amount::from_atomic(PRICE.into()),
        max_lifetime: std::time::Duration::from_secs(900),
    };
    let prepared = wallet.prepare(&terms.unwrap(), &limits).await.unwrap();
    let context: Bytes =
        serde_json::from_value(prepared.payload["permissionContext"].clone()).unwrap();
    let [leaf, parent] = &decode_context(&context).unwrap()[..] else {
        panic!("two links");
    };
    assert_eq!((leaf.delegator, leaf.authority), (account, parent.hash()));
    assert_eq!(parent.signature.len(), 65, "no wrapper goes to the manager");
    let told = [dependency(1).to_json(), dependency(2).to_json()];
    assert_eq!(prepared.payload["dependencies"], json!(told));
}

/// A permission is read as nothing else, and nothing else as a permission.
#[test]
fn a_permission_is_told_from_other_payments_by_its_method_alone() {
    let permission = payload(&[root(REDEEMER)], None);
    let other = SignedAuthorization::parse(&permission);
    assert_eq!(other.unwrap_err().code(), "unsupported_payload_type");
    let authorization = json!({"signature": "0x", "authorization": {}});
    let refused = read(authorization.as_object().unwrap());
    assert_eq!(refused, Err("unsupported_payload_type".to_owned()));
}
