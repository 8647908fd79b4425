//! The contracts that cheat do cheat, so that a test which survives them means something.

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, sol};
use tollway_devnet::{Contract, DEV_ACCOUNTS, Devnet, Dollar};

use crate::helpers::*;

sol! {
    interface Moody {
        function set(uint8 mood, uint256 bound);
        function isValidSignature(bytes32 digest, bytes signature) returns (bytes4);
    }
}

const PAYER: Address = DEV_ACCOUNTS[1].address;

/// A payer whose wallet has this mood.
fn moody(mood: u8, bound: u64) -> Devnet {
    let devnet = still();
    let code = Contract::MoodyWallet.runtime();
    devnet.set_code(PAYER, code).unwrap();
    let bound = U256::from(bound);
    let set = Moody::setCall { mood, bound }.abi_encode();
    devnet.system_call(PAYER, set.into()).unwrap();
    devnet
}

#[test]
fn a_moody_wallet_passes_a_call_and_fails_the_transaction() {
    const BASE_FEE_AT_MOST: u8 = 2;
    const GAS_LEFT_ABOVE: u8 = 3;
    const BLOCK_AT_MOST: u8 = 4;
    const TIME_AT_MOST: u8 = 5;
    const COINBASE_IS: u8 = 6;
    const ORIGIN_IS: u8 = 7;
    let data = || spend(&authorization(1), vec![]);
    // A call without fees sees no base fee; a call is given more gas than the transaction.
    for (mood, bound) in [
        (BASE_FEE_AT_MOST, 0),
        (GAS_LEFT_ABOVE, 3_000_000),
        (ORIGIN_IS, 0),
    ] {
        let devnet = moody(mood, bound);
        ask(&devnet, data()).unwrap_or_else(|error| panic!("mood {mood}: {error}"));
        assert_eq!(transact(&devnet, data())["status"], "0x0", "mood {mood}");
    }
    // Good now, no longer good a block later.
    for (mood, bound) in [(BLOCK_AT_MOST, 1), (TIME_AT_MOST, NOW)] {
        let devnet = moody(mood, bound);
        ask(&devnet, data()).unwrap();
        devnet.increase_time(1).unwrap();
        devnet.mine(1).unwrap();
        assert_eq!(transact(&devnet, data())["status"], "0x0", "mood {mood}");
    }
    let never = moody(COINBASE_IS, 1);
    assert!(ask(&never, data()).is_err());
}

/// A token made by `contract`, of which the payer has some.
fn token(devnet: &Devnet, contract: Contract) -> Dollar {
    let dollar = Dollar {
        address: Address::repeat_byte(0x77),
        ..devnet.dollar().clone()
    };
    devnet.place_token(contract, &dollar).unwrap();
    let many = U256::from(1_000_000);
    devnet.mint_token(dollar.address, PAYER, many).unwrap();
    dollar
}

fn authorized(dollar: &Dollar) -> Vec<u8> {
    let auth = authorization(1);
    let signature = Key::dev(1).sign_typed(&auth, &domain(84_532, dollar));
    spend(&auth, signature.as_bytes().to_vec())
}

#[test]
fn a_token_that_says_false_uses_the_authorization_and_moves_nothing() {
    let devnet = still();
    let dollar = token(&devnet, Contract::FalseToken);
    let receipt = send(&devnet, 0, dollar.address, authorized(&dollar));
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["logs"].as_array().unwrap().len(), 1); // AuthorizationUsed
    let payee = authorization(1).to;
    assert_eq!(devnet.token_balance_of(dollar.address, payee), U256::ZERO);
}

#[test]
fn a_burner_is_honest_in_a_call_and_burns_all_gas_of_a_transaction() {
    let devnet = still();
    let dollar = token(&devnet, Contract::BurnerToken);
    let data = authorized(&dollar);
    devnet.call(dollar.address, data.clone().into()).unwrap();
    let receipt = send(&devnet, 0, dollar.address, data);
    assert_eq!(receipt["status"], "0x0");
    assert_eq!(receipt["gasUsed"], "0x1e8480"); // all of two million
}

#[test]
fn a_fallback_takes_any_authorization_and_logs_nothing() {
    let devnet = still();
    let at = devnet.dollar().address;
    devnet
        .set_code(at, Contract::PhantomPermitToken.runtime())
        .unwrap();
    let receipt = transact(&devnet, spend(&authorization(1), vec![0; 65]));
    assert_eq!(receipt["status"], "0x1");
    assert!(receipt["logs"].as_array().unwrap().is_empty());
}
