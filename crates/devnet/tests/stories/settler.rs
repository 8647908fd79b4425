//! The settler of EIP-2612 permits: it can only pay its payee what the owner
//! signed, once, and a permit that somebody else submits first still pays.

use alloy_primitives::{Address, Bytes, Signature, U256, address, b256, keccak256};
use alloy_sol_types::{Eip712Domain, SolCall, SolError, SolEvent, sol};
use serde_json::{Value, json};
use tollway_devnet::{
    CREATE2_DEPLOYER, Contract, DEV_ACCOUNTS, Devnet, Dollar, settler_address, settler_deployment,
};

use crate::helpers::*;

sol! {
    interface Settler {
        event Settled(address indexed token, address indexed owner, uint256 indexed nonce, uint256 value);
        error PermitExpired();
        error PermitSpent();
        error NonceMismatch(uint256 next);
        error InvalidSignature();
        error InvalidValue();
        error PermitRefused(bytes reason);
        error TransferRefused(bytes reason);
        error PaidInPart();
        error UnsupportedToken();
        function payTo() returns (address);
        function nextNonce(address token, address owner) returns (uint256);
        function settle(address token, address owner, uint256 value, uint256 nonce, uint256 deadline, bytes signature);
    }
    interface Any {
        function approve(address spender, uint256 value) returns (bool);
        function arm(uint256 size, bool reverts);
    }
}

const OWNER: Address = DEV_ACCOUNTS[1].address;
const PAYEE: Address = address!("0x00000000000000000000000000000000000000aa");
const CENT: u64 = 10_000;

/// A permit for the settler of [`PAYEE`], and where it is good.
struct Signed {
    token: Address,
    permit: Permit,
    signature: Bytes,
}

impl Signed {
    fn new(token: Address, domain: &Eip712Domain, permit: Permit) -> Self {
        let signature = Key::dev(1).sign_typed(&permit, domain);
        Self {
            token,
            permit,
            signature: signature.as_bytes().to_vec().into(),
        }
    }

    fn settle(&self) -> Vec<u8> {
        Settler::settleCall {
            token: self.token,
            owner: self.permit.owner,
            value: self.permit.value,
            nonce: self.permit.nonce,
            deadline: self.permit.deadline,
            signature: self.signature.clone(),
        }
        .abi_encode()
    }

    /// What anybody who sees the permit may send to the token.
    fn permit(&self) -> Vec<u8> {
        let signature = Signature::from_raw(&self.signature).unwrap();
        TokenVrs::permitCall {
            owner: self.permit.owner,
            spender: self.permit.spender,
            value: self.permit.value,
            deadline: self.permit.deadline,
            v: v(&signature),
            r: signature.r().into(),
            s: signature.s().into(),
        }
        .abi_encode()
    }
}

fn settled() -> (Devnet, Address) {
    let devnet = still();
    let settler = devnet.place_settler(PAYEE).unwrap();
    (devnet, settler)
}

fn terms(nonce: u64) -> Permit {
    Permit {
        owner: OWNER,
        spender: settler_address(PAYEE),
        value: U256::from(CENT),
        nonce: U256::from(nonce),
        deadline: U256::from(NOW + 60),
    }
}

fn signed(devnet: &Devnet, permit: Permit) -> Signed {
    let dollar = devnet.dollar();
    Signed::new(dollar.address, &domain(84_532, dollar), permit)
}

fn cent(devnet: &Devnet, nonce: u64) -> Signed {
    signed(devnet, terms(nonce))
}

/// Sends it as somebody who has nothing to do with the payment.
fn submit(devnet: &Devnet, to: Address, data: Vec<u8>) -> Value {
    send(devnet, 5, to, data)
}

fn ok(devnet: &Devnet, to: Address, data: Vec<u8>) -> bool {
    submit(devnet, to, data)["status"] == "0x1"
}

fn refusal(devnet: &Devnet, settler: Address, payment: &Signed) -> Vec<u8> {
    let error = devnet.call(settler, payment.settle().into()).unwrap_err();
    error.data.expect("a revert with data").to_vec()
}

fn paid(devnet: &Devnet) -> u64 {
    devnet.balance_of(PAYEE).to()
}

#[test]
fn its_code_and_so_its_address_have_not_changed() {
    // Buyers sign this address as spender: whoever changes the contract gives it a new one.
    assert_eq!(
        keccak256(Contract::PermitSettler.creation()),
        b256!("0x0b6d79cab4897764ad43ed71c96b2a18bee994a7bfdf86a5ef14a0d779f973c4")
    );
    assert_eq!(
        settler_address(PAYEE),
        address!("0xDe0FfCe573b4c70fA47b1C3F143AEebe64450aeF")
    );
}

#[test]
fn anybody_can_deploy_it_where_it_was_foretold() {
    let devnet = still();
    let at = settler_address(PAYEE);
    let receipt = submit(
        &devnet,
        CREATE2_DEPLOYER,
        settler_deployment(PAYEE).to_vec(),
    );
    assert_eq!(receipt["status"], "0x1");
    let answer = devnet.call(at, Settler::payToCall {}.abi_encode().into());
    assert_eq!(Address::from_slice(&answer.unwrap()[12..]), PAYEE);
    let again = submit(
        &devnet,
        CREATE2_DEPLOYER,
        settler_deployment(PAYEE).to_vec(),
    );
    assert_eq!(again["status"], "0x0");
    assert_eq!(devnet.place_settler(PAYEE).unwrap(), at);
}

#[test]
fn a_permit_pays_the_payee_once_whoever_submits_it() {
    let (devnet, settler) = settled();
    let payment = cent(&devnet, 0);
    let receipt = submit(&devnet, settler, payment.settle());
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(paid(&devnet), CENT);
    let log = receipt["logs"].as_array().unwrap().last().unwrap();
    let (token, owner) = (payment.token.into_word(), OWNER.into_word());
    let nonce = "0x0000000000000000000000000000000000000000000000000000000000000000";
    assert_eq!(
        log["topics"],
        json!([Settler::Settled::SIGNATURE_HASH, token, owner, nonce])
    );
    assert_eq!(log["address"], json!(settler));
    let next = Settler::nextNonceCall {
        token: payment.token,
        owner: OWNER,
    };
    let next = devnet.call(settler, next.abi_encode().into()).unwrap();
    assert_eq!(U256::from_be_slice(&next), U256::ONE);
    assert_eq!(
        refusal(&devnet, settler, &payment),
        Settler::PermitSpent::SELECTOR
    );
    assert!(ok(&devnet, settler, cent(&devnet, 1).settle()));
    assert_eq!(paid(&devnet), 2 * CENT);
}

#[test]
fn a_permit_that_somebody_submitted_first_still_pays_once() {
    let (devnet, settler) = settled();
    let payment = cent(&devnet, 0);
    assert!(ok(&devnet, payment.token, payment.permit()));
    assert!(ok(&devnet, settler, payment.settle()));
    assert_eq!(paid(&devnet), CENT);
    assert!(!ok(&devnet, settler, payment.settle()));
}

#[test]
fn nothing_that_was_signed_can_be_changed() {
    let (devnet, settler) = settled();
    let honest = cent(&devnet, 0);
    let more = U256::from(2 * CENT);
    let later = U256::from(NOW + 600);
    // Before the token took the permit, and after.
    for front_run in [false, true] {
        if front_run {
            assert!(ok(&devnet, honest.token, honest.permit()));
        }
        for change in [
            Permit {
                value: more,
                ..terms(0)
            },
            Permit {
                deadline: later,
                ..terms(0)
            },
            Permit {
                owner: DEV_ACCOUNTS[2].address,
                ..terms(0)
            },
        ] {
            let forged = Signed {
                token: honest.token,
                permit: change,
                signature: honest.signature.clone(),
            };
            assert!(!ok(&devnet, settler, forged.settle()));
        }
    }
    // A settler of another payee is another spender.
    let thief = devnet.place_settler(DEV_ACCOUNTS[5].address).unwrap();
    assert_eq!(
        refusal(&devnet, thief, &honest),
        Settler::InvalidSignature::SELECTOR
    );
    assert_eq!(paid(&devnet), 0);
}

#[test]
fn an_allowance_alone_moves_nothing() {
    let (devnet, settler) = settled();
    let payment = cent(&devnet, 0);
    assert!(ok(&devnet, settler, payment.settle()));
    let approve = Any::approveCall {
        spender: settler,
        value: U256::MAX,
    };
    let receipt = send(&devnet, 1, payment.token, approve.abi_encode());
    assert_eq!(receipt["status"], "0x1");
    // The old permit again, garbage, and a signature of somebody else.
    assert!(!ok(&devnet, settler, payment.settle()));
    for signature in [vec![], vec![7; 65], payment.signature.to_vec()] {
        for nonce in 0..3 {
            let forged = Signed {
                token: payment.token,
                permit: terms(nonce),
                signature: signature.clone().into(),
            };
            assert!(!ok(&devnet, settler, forged.settle()), "{nonce}");
        }
    }
    assert_eq!(paid(&devnet), CENT);
}

#[test]
fn a_permit_that_a_later_one_replaced_is_void() {
    let (devnet, settler) = settled();
    let (first, second) = (cent(&devnet, 0), cent(&devnet, 1));
    assert!(ok(&devnet, first.token, first.permit()));
    assert!(ok(&devnet, first.token, second.permit()));
    // The allowance that is there is the second's.
    let next = U256::from(2);
    assert_eq!(
        refusal(&devnet, settler, &first),
        Settler::NonceMismatch { next }.abi_encode()
    );
    assert!(ok(&devnet, settler, second.settle()));
    assert_eq!(paid(&devnet), CENT);
}

#[test]
fn after_its_deadline_nothing_moves_though_the_allowance_is_there() {
    let (devnet, settler) = settled();
    let payment = cent(&devnet, 0);
    assert!(ok(&devnet, payment.token, payment.permit()));
    devnet.set_next_timestamp(NOW + 61).unwrap();
    devnet.mine(1).unwrap();
    assert_eq!(
        refusal(&devnet, settler, &payment),
        Settler::PermitExpired::SELECTOR
    );
}

#[test]
fn each_refusal_names_its_reason() {
    let (devnet, settler) = settled();
    let of = |permit| refusal(&devnet, settler, &signed(&devnet, permit));
    let zero = Permit {
        value: U256::ZERO,
        ..terms(0)
    };
    assert_eq!(of(zero), Settler::InvalidValue::SELECTOR);
    let ahead = Settler::NonceMismatch { next: U256::ZERO };
    assert_eq!(of(terms(1)), ahead.abi_encode());
    let rich = Permit {
        value: U256::from(10_u64.pow(15)),
        ..terms(0)
    };
    assert_eq!(of(rich)[..4], Settler::TransferRefused::SELECTOR);
    let mut foreign = cent(&devnet, 0);
    foreign.permit.owner = DEV_ACCOUNTS[3].address;
    let refused = Settler::PermitRefused::abi_decode(&refusal(&devnet, settler, &foreign)).unwrap();
    assert!(String::from_utf8_lossy(&refused.reason).contains("EIP2612: invalid signature"));
    let mut nowhere = cent(&devnet, 0);
    nowhere.token = Address::repeat_byte(9);
    assert_eq!(
        refusal(&devnet, settler, &nowhere),
        Settler::UnsupportedToken::SELECTOR
    );
}

/// A token made by `contract`, of which the owner has two cents.
fn odd_token(devnet: &Devnet, contract: Contract) -> (Address, Eip712Domain) {
    let dollar = Dollar {
        address: Address::repeat_byte(0x77),
        ..devnet.dollar().clone()
    };
    devnet.place_token(contract, &dollar).unwrap();
    let token = dollar.address;
    devnet
        .mint_token(token, OWNER, U256::from(2 * CENT))
        .unwrap();
    (token, domain(84_532, &dollar))
}

#[test]
fn a_token_that_cheats_pays_in_full_or_not_at_all() {
    for (contract, error) in [
        (
            Contract::FalseToken,
            Some(Settler::TransferRefused::SELECTOR),
        ),
        (Contract::FeeToken, Some(Settler::PaidInPart::SELECTOR)),
        (Contract::TestDollar, None),
        (Contract::ReentrantToken, None),
    ] {
        let (devnet, settler) = settled();
        let (token, domain) = odd_token(&devnet, contract);
        let payment = Signed::new(token, &domain, terms(0));
        match error {
            Some(error) => assert_eq!(refusal(&devnet, settler, &payment)[..4], error),
            None => assert!(ok(&devnet, settler, payment.settle())),
        }
        let got = if error.is_none() { CENT } else { 0 };
        assert_eq!(devnet.token_balance_of(token, PAYEE), U256::from(got));
    }
}

#[test]
fn a_permit_that_a_fallback_swallows_pays_nothing() {
    let (devnet, settler) = settled();
    let token = Address::repeat_byte(0x77);
    let phantom = Contract::PhantomPermitToken.runtime();
    devnet.set_code(token, phantom).unwrap();
    devnet.mint_token(token, OWNER, U256::from(CENT)).unwrap();
    // Even though the owner once let the settler have everything.
    let approve = Any::approveCall {
        spender: settler,
        value: U256::MAX,
    };
    assert_eq!(
        send(&devnet, 1, token, approve.abi_encode())["status"],
        "0x1"
    );
    let mut payment = cent(&devnet, 0);
    payment.token = token;
    assert_eq!(
        refusal(&devnet, settler, &payment),
        Settler::UnsupportedToken::SELECTOR
    );
}

#[test]
fn long_answers_are_not_copied() {
    let (devnet, settler) = settled();
    let (token, domain) = odd_token(&devnet, Contract::BombToken);
    let arm = |size, reverts| {
        let call = Any::armCall {
            size: U256::from(size),
            reverts,
        };
        assert!(ok(&devnet, token, call.abi_encode()));
    };
    arm(100_000, true);
    let first = Signed::new(token, &domain, terms(0));
    assert!(refusal(&devnet, settler, &first).len() < 512);
    arm(100_000, false);
    assert!(ok(&devnet, settler, first.settle()));
    assert_eq!(devnet.token_balance_of(token, PAYEE), U256::from(CENT));
}

#[test]
fn an_owner_with_code_signs_by_its_code_alone() {
    let (devnet, settler) = settled();
    devnet
        .set_code(OWNER, Contract::SmartWallet.runtime())
        .unwrap();
    let owner = DEV_ACCOUNTS[3].address;
    let initialize = Wallet::initializeCall { owner }.abi_encode();
    devnet.system_call(OWNER, initialize.into()).unwrap();
    let mut payment = cent(&devnet, 0);
    assert!(!ok(&devnet, settler, payment.settle()), "the old key");
    let by_owner = Key::dev(3).sign_typed(&terms(0), &domain(84_532, devnet.dollar()));
    payment.signature = by_owner.as_bytes().to_vec().into();
    // Also when somebody else was first.
    assert!(ok(&devnet, payment.token, payment.permit()));
    assert!(ok(&devnet, settler, payment.settle()));
    assert_eq!(paid(&devnet), CENT);
}

#[test]
fn a_signature_of_any_length_reaches_a_token_that_takes_it() {
    let (devnet, settler) = settled();
    devnet
        .set_code(OWNER, Contract::YesWallet.runtime())
        .unwrap();
    let mut payment = cent(&devnet, 0);
    payment.signature = vec![1; 7].into();
    assert!(ok(&devnet, settler, payment.settle()));
    assert_eq!(paid(&devnet), CENT);
}
