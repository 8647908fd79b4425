//! The Permit2 proxies and the stand-in for Permit2 behave as published.

use alloy_primitives::{Address, Bytes, Signature, U256, b256, hex};
use alloy_sol_types::{Eip712Domain, SolCall, SolError, SolStruct, sol};
use serde_json::{Value, json};
use tollway_devnet::{
    Contract, DEV_ACCOUNTS, Devnet, Dollar, EXACT_PROXY, PERMIT2, RpcError, UPTO_PROXY,
};

use crate::helpers::*;

sol! {
    interface Permit2 {
        function DOMAIN_SEPARATOR() returns (bytes32);
        function nonceBitmap(address owner, uint256 word) returns (uint256);
        function invalidateUnorderedNonces(uint256 word, uint256 mask);
        error InvalidAmount(uint256 maxAmount);
        error InvalidContractSignature();
        error InvalidNonce();
        error InvalidSignatureLength();
        error InvalidSigner();
        error SignatureExpired(uint256 signatureDeadline);
    }
    interface Proxy {
        function WITNESS_TYPEHASH() returns (bytes32);
        error InvalidAmount();
        error InvalidDestination();
        error InvalidOwner();
        error PaymentTooEarly();
        error Permit2612AmountMismatch();
        error AmountExceedsPermitted();
        error UnauthorizedFacilitator();
        error ReentrancyGuardReentrantCall();
    }
    interface Armed {
        function approve(address spender, uint256 value) returns (bool);
        function arm(address target, bytes data);
        function calledBack() returns (bool);
        function gotThrough() returns (bool);
    }
}

mod exact {
    alloy_sol_types::sol! {
        struct TokenPermissions { address token; uint256 amount; }
        struct PermitTransferFrom { TokenPermissions permitted; uint256 nonce; uint256 deadline; }
        struct Permit2612 { uint256 value; uint256 deadline; bytes32 r; bytes32 s; uint8 v; }
        struct Witness { address to; uint256 validAfter; }
        struct PermitWitnessTransferFrom {
            TokenPermissions permitted; address spender; uint256 nonce; uint256 deadline; Witness witness;
        }
        function settle(PermitTransferFrom permit, address owner, Witness witness, bytes signature);
        function settleWithPermit(Permit2612 permit2612, PermitTransferFrom permit, address owner, Witness witness, bytes signature);
    }
}

mod upto {
    alloy_sol_types::sol! {
        struct TokenPermissions { address token; uint256 amount; }
        struct PermitTransferFrom { TokenPermissions permitted; uint256 nonce; uint256 deadline; }
        struct Permit2612 { uint256 value; uint256 deadline; bytes32 r; bytes32 s; uint8 v; }
        struct Witness { address to; address facilitator; uint256 validAfter; }
        struct PermitWitnessTransferFrom {
            TokenPermissions permitted; address spender; uint256 nonce; uint256 deadline; Witness witness;
        }
        function settle(PermitTransferFrom permit, uint256 amount, address owner, Witness witness, bytes signature);
        function settleWithPermit(Permit2612 permit2612, PermitTransferFrom permit, uint256 amount, address owner, Witness witness, bytes signature);
    }
}

const PAYER: Address = DEV_ACCOUNTS[1].address;
const PAYEE: Address = DEV_ACCOUNTS[2].address;
const FACILITATOR: Address = DEV_ACCOUNTS[0].address;
const CENT: u64 = 10_000;
const MAX: U256 = U256::MAX;

fn permit2_domain(chain_id: u64) -> Eip712Domain {
    let (name, chain) = (Some("Permit2".into()), Some(U256::from(chain_id)));
    Eip712Domain::new(name, None, chain, Some(PERMIT2), None)
}

/// An `exact` payment of a cent, valid around [`NOW`], not signed yet.
fn cent(devnet: &Devnet, nonce: u64) -> exact::PermitWitnessTransferFrom {
    exact::PermitWitnessTransferFrom {
        permitted: exact::TokenPermissions {
            token: devnet.dollar().address,
            amount: U256::from(CENT),
        },
        spender: EXACT_PROXY,
        nonce: U256::from(nonce),
        deadline: U256::from(NOW + 60),
        witness: exact::Witness {
            to: PAYEE,
            validAfter: U256::ZERO,
        },
    }
}

fn up_to_a_cent(devnet: &Devnet, nonce: u64) -> upto::PermitWitnessTransferFrom {
    let exact = cent(devnet, nonce);
    upto::PermitWitnessTransferFrom {
        permitted: upto::TokenPermissions {
            token: exact.permitted.token,
            amount: exact.permitted.amount,
        },
        spender: UPTO_PROXY,
        nonce: exact.nonce,
        deadline: exact.deadline,
        witness: upto::Witness {
            to: PAYEE,
            facilitator: FACILITATOR,
            validAfter: U256::ZERO,
        },
    }
}

fn sign(message: &impl SolStruct) -> Bytes {
    let signature = Key::dev(1).sign_typed(message, &permit2_domain(84_532));
    signature.as_bytes().to_vec().into()
}

fn settle(signed: &exact::PermitWitnessTransferFrom, signature: Bytes) -> Vec<u8> {
    exact::settleCall {
        permit: exact::PermitTransferFrom {
            permitted: signed.permitted.clone(),
            nonce: signed.nonce,
            deadline: signed.deadline,
        },
        owner: PAYER,
        witness: signed.witness.clone(),
        signature,
    }
    .abi_encode()
}

fn settle_upto(signed: &upto::PermitWitnessTransferFrom, amount: u64, signature: Bytes) -> Vec<u8> {
    upto::settleCall {
        permit: upto::PermitTransferFrom {
            permitted: signed.permitted.clone(),
            nonce: signed.nonce,
            deadline: signed.deadline,
        },
        amount: U256::from(amount),
        owner: PAYER,
        witness: signed.witness.clone(),
        signature,
    }
    .abi_encode()
}

/// A chain on which the payer has let Permit2 take its dollars.
fn approved() -> Devnet {
    let devnet = still();
    let approve = Armed::approveCall {
        spender: PERMIT2,
        value: MAX,
    };
    let receipt = send(&devnet, 1, devnet.dollar().address, approve.abi_encode());
    assert_eq!(receipt["status"], "0x1");
    devnet
}

fn submit(devnet: &Devnet, to: Address, data: Vec<u8>) -> Value {
    send(devnet, 0, to, data)
}

fn ok(devnet: &Devnet, to: Address, data: Vec<u8>) -> bool {
    submit(devnet, to, data)["status"] == "0x1"
}

fn revert_of(devnet: &Devnet, to: Address, data: Vec<u8>) -> Vec<u8> {
    let request = json!([{"from": FACILITATOR, "to": to, "data": Bytes::from(data)}, "latest"]);
    let error: RpcError = devnet.request("eth_call", request).unwrap_err();
    error.data.expect("a revert with data").to_vec()
}

fn paid(devnet: &Devnet) -> u64 {
    (devnet.balance_of(PAYEE) - U256::from(1_000_000_000_000_u64)).to()
}

#[test]
fn selectors_errors_and_type_hashes_are_the_published_ones() {
    let selectors = [
        (exact::settleCall::SELECTOR, "13cd3b53"),
        (exact::settleWithPermitCall::SELECTOR, "fa340378"),
        (upto::settleCall::SELECTOR, "ff11e7b4"),
        (upto::settleWithPermitCall::SELECTOR, "016c1748"),
        (Proxy::InvalidAmount::SELECTOR, "2c5211c6"),
        (Proxy::InvalidDestination::SELECTOR, "ac6b05f5"),
        (Proxy::InvalidOwner::SELECTOR, "49e27cff"),
        (Proxy::PaymentTooEarly::SELECTOR, "a65539fa"),
        (Proxy::Permit2612AmountMismatch::SELECTOR, "050cda49"),
        (Proxy::UnauthorizedFacilitator::SELECTOR, "0f6fae87"),
        (Proxy::AmountExceedsPermitted::SELECTOR, "fe64b4c7"),
        (Permit2::InvalidNonce::SELECTOR, "756688fe"),
        (Permit2::SignatureExpired::SELECTOR, "cd21db4f"),
        (Permit2::InvalidSigner::SELECTOR, "815e1d64"),
        (Permit2::InvalidAmount::SELECTOR, "3728b83d"),
        (Permit2::InvalidContractSignature::SELECTOR, "b0669cbc"),
    ];
    for (selector, published) in selectors {
        assert_eq!(hex::encode(selector), published);
    }
    let devnet = still();
    let message = cent(&devnet, 0);
    assert_eq!(
        message.eip712_type_hash(),
        b256!("0xebc156cd23678a74c94df13d772ef5478420637f0c94bd10d509e1dc98f521c7")
    );
    assert_eq!(
        up_to_a_cent(&devnet, 0).eip712_type_hash(),
        b256!("0x51dff6974ad4388c499e7fcfe838d2bd767162553a144098ce20ea661d70c2ee")
    );
    let witness = Proxy::WITNESS_TYPEHASHCall {}.abi_encode();
    for (proxy, hash) in [
        (EXACT_PROXY, message.witness.eip712_type_hash()),
        (
            UPTO_PROXY,
            up_to_a_cent(&devnet, 0).witness.eip712_type_hash(),
        ),
    ] {
        let answer = devnet.call(proxy, witness.clone().into()).unwrap();
        assert_eq!(answer.as_ref(), hash.as_slice());
    }
}

#[test]
fn permit2_separates_each_chain() {
    // Values of other implementations, for the canonical address.
    for (chain, separator) in [
        (
            84_532,
            b256!("0x010f27a92fb9a32622f44f001dc4d15706a85b33499cfc2ce9033113ab26592c"),
        ),
        (
            1_329,
            b256!("0xa205e02c801851d3648bd42bae938a49085b25175334725695fd6e6b0b9653a8"),
        ),
    ] {
        let devnet = Devnet::builder().chain_id(chain).build().unwrap();
        let asked = Permit2::DOMAIN_SEPARATORCall {}.abi_encode();
        let answer = devnet.call(PERMIT2, asked.into()).unwrap();
        assert_eq!(answer.as_ref(), separator.as_slice());
    }
}

#[test]
fn an_exact_payment_moves_the_whole_amount_once_whoever_submits_it() {
    let devnet = approved();
    let message = cent(&devnet, 77);
    let data = settle(&message, sign(&message));
    let receipt = send(&devnet, 5, EXACT_PROXY, data.clone());
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["logs"].as_array().unwrap().len(), 2); // Transfer, Settled
    assert_eq!(paid(&devnet), CENT);
    let bitmap = Permit2::nonceBitmapCall {
        owner: PAYER,
        word: U256::ZERO,
    };
    let used = devnet.call(PERMIT2, bitmap.abi_encode().into()).unwrap();
    assert_eq!(U256::from_be_slice(&used), U256::ONE << 77);
    assert_eq!(
        revert_of(&devnet, EXACT_PROXY, data),
        Permit2::InvalidNonce::SELECTOR
    );
}

#[test]
fn nothing_that_was_signed_can_be_changed() {
    let devnet = approved();
    let signed = cent(&devnet, 1);
    let changes: [fn(&mut exact::PermitWitnessTransferFrom); 5] = [
        |m| m.witness.to = FACILITATOR,
        |m| m.witness.validAfter = U256::ONE,
        |m| m.permitted.amount = U256::from(2 * CENT),
        |m| m.nonce = U256::from(2),
        |m| m.deadline += U256::ONE,
    ];
    for change in changes {
        let mut message = signed.clone();
        change(&mut message);
        let data = settle(&message, sign(&signed));
        assert_eq!(
            revert_of(&devnet, EXACT_PROXY, data),
            Permit2::InvalidSigner::SELECTOR
        );
    }
    let mut elsewhere = signed.clone();
    elsewhere.spender = UPTO_PROXY;
    let data = settle(&signed, sign(&elsewhere));
    assert_eq!(
        revert_of(&devnet, EXACT_PROXY, data),
        Permit2::InvalidSigner::SELECTOR
    );
    assert_eq!(paid(&devnet), 0);
}

#[test]
fn each_refusal_has_its_published_error() {
    let devnet = approved();
    let refused = |change: fn(&mut exact::PermitWitnessTransferFrom)| {
        let mut message = cent(&devnet, 1);
        change(&mut message);
        let signature = sign(&message);
        revert_of(&devnet, EXACT_PROXY, settle(&message, signature))
    };
    assert_eq!(
        refused(|m| m.permitted.amount = U256::ZERO),
        Proxy::InvalidAmount::SELECTOR
    );
    assert_eq!(
        refused(|m| m.witness.to = Address::ZERO),
        Proxy::InvalidDestination::SELECTOR
    );
    assert_eq!(
        refused(|m| m.witness.validAfter = U256::from(NOW + 30)),
        Proxy::PaymentTooEarly::SELECTOR
    );
    let late = U256::from(NOW - 1);
    assert_eq!(
        refused(|m| m.deadline = U256::from(NOW - 1)),
        Permit2::SignatureExpired {
            signatureDeadline: late
        }
        .abi_encode()
    );
    let message = cent(&devnet, 1);
    assert_eq!(
        revert_of(&devnet, EXACT_PROXY, settle(&message, vec![1; 63].into())),
        Permit2::InvalidSignatureLength::SELECTOR
    );
}

#[test]
fn without_an_allowance_the_transfer_fails_and_a_sponsored_permit_gives_one() {
    let devnet = still();
    let message = cent(&devnet, 1);
    let plain = settle(&message, sign(&message));
    assert!(!ok(&devnet, EXACT_PROXY, plain));
    let permit = Permit {
        owner: PAYER,
        spender: PERMIT2,
        value: U256::from(CENT),
        nonce: U256::ZERO,
        deadline: U256::from(NOW + 60),
    };
    let sponsored = |value: u64, signature: &Signature| {
        let call = exact::settleWithPermitCall {
            permit2612: exact::Permit2612 {
                value: U256::from(value),
                deadline: permit.deadline,
                r: signature.r().into(),
                s: signature.s().into(),
                v: v(signature),
            },
            permit: exact::PermitTransferFrom {
                permitted: message.permitted.clone(),
                nonce: message.nonce,
                deadline: message.deadline,
            },
            owner: PAYER,
            witness: message.witness.clone(),
            signature: sign(&message),
        };
        call.abi_encode()
    };
    let signature = Key::dev(1).sign_typed(&permit, &domain(84_532, devnet.dollar()));
    assert_eq!(
        revert_of(&devnet, EXACT_PROXY, sponsored(CENT + 1, &signature)),
        Proxy::Permit2612AmountMismatch::SELECTOR
    );
    // Somebody submits the permit first: it fails inside, and the payment goes through.
    let first = TokenVrs::permitCall {
        owner: PAYER,
        spender: PERMIT2,
        value: permit.value,
        deadline: permit.deadline,
        v: v(&signature),
        r: signature.r().into(),
        s: signature.s().into(),
    };
    assert_eq!(transact(&devnet, first.abi_encode())["status"], "0x1");
    assert!(ok(&devnet, EXACT_PROXY, sponsored(CENT, &signature)));
    assert_eq!(paid(&devnet), CENT);
}

#[test]
fn only_the_named_facilitator_says_how_much_of_the_maximum_is_due() {
    let devnet = approved();
    let message = up_to_a_cent(&devnet, 1);
    let data = |amount| settle_upto(&message, amount, sign(&message));
    let stranger = send(&devnet, 5, UPTO_PROXY, data(1));
    assert_eq!(stranger["status"], "0x0");
    assert_eq!(
        revert_of(&devnet, UPTO_PROXY, data(CENT + 1)),
        Proxy::AmountExceedsPermitted::SELECTOR
    );
    assert!(ok(&devnet, UPTO_PROXY, data(1_234)));
    assert_eq!(paid(&devnet), 1_234);
    assert_eq!(
        revert_of(&devnet, UPTO_PROXY, data(1)),
        Permit2::InvalidNonce::SELECTOR
    );
    let mut renamed = message.clone();
    renamed.witness.facilitator = DEV_ACCOUNTS[5].address;
    let stolen = settle_upto(&renamed, CENT, sign(&message));
    let receipt = send(&devnet, 5, UPTO_PROXY, stolen);
    assert_eq!(receipt["status"], "0x0");
}

#[test]
fn an_owner_can_give_up_nonces() {
    let devnet = approved();
    let give_up = Permit2::invalidateUnorderedNoncesCall {
        word: U256::ONE,
        mask: U256::from(0b101),
    };
    let receipt = send(&devnet, 1, PERMIT2, give_up.abi_encode());
    assert_eq!(receipt["status"], "0x1");
    for (nonce, good) in [(256, false), (257, true), (258, false)] {
        let message = cent(&devnet, nonce);
        let data = settle(&message, sign(&message));
        assert_eq!(ok(&devnet, EXACT_PROXY, data), good, "{nonce}");
    }
}

#[test]
fn a_payer_with_code_is_asked() {
    let devnet = approved();
    devnet
        .set_code(PAYER, Contract::SmartWallet.runtime())
        .unwrap();
    let owner = DEV_ACCOUNTS[3].address;
    let initialize = Wallet::initializeCall { owner }.abi_encode();
    devnet.system_call(PAYER, initialize.into()).unwrap();
    let message = cent(&devnet, 1);
    let by_old_key = settle(&message, sign(&message));
    assert_eq!(
        revert_of(&devnet, EXACT_PROXY, by_old_key),
        Permit2::InvalidContractSignature::SELECTOR
    );
    let signature = Key::dev(3).sign_typed(&message, &permit2_domain(84_532));
    let by_owner = settle(&message, signature.as_bytes().to_vec().into());
    assert!(ok(&devnet, EXACT_PROXY, by_owner));
}

#[test]
fn a_token_that_calls_back_finds_the_proxy_shut() {
    let devnet = approved();
    let dollar = Dollar {
        address: Address::repeat_byte(0x77),
        ..devnet.dollar().clone()
    };
    let token = dollar.address;
    devnet
        .place_token(Contract::ReentrantToken, &dollar)
        .unwrap();
    devnet.mint_token(token, PAYER, U256::from(CENT)).unwrap();
    let approve = Armed::approveCall {
        spender: PERMIT2,
        value: MAX,
    };
    send(&devnet, 1, token, approve.abi_encode());
    let inner = cent(&devnet, 2);
    let arm = Armed::armCall {
        target: EXACT_PROXY,
        data: settle(&inner, sign(&inner)).into(),
    };
    send(&devnet, 5, token, arm.abi_encode());
    let mut outer = cent(&devnet, 1);
    outer.permitted.token = token;
    assert!(ok(&devnet, EXACT_PROXY, settle(&outer, sign(&outer))));
    let asked = |data: Vec<u8>| devnet.call(token, data.into()).unwrap()[31] == 1;
    assert!(asked(Armed::calledBackCall {}.abi_encode()));
    assert!(!asked(Armed::gotThroughCall {}.abi_encode()));
    // The door opens again afterwards.
    assert!(ok(&devnet, EXACT_PROXY, settle(&inner, sign(&inner))));
    assert_eq!(devnet.token_balance_of(token, PAYEE), U256::from(CENT));
}
