//! The test dollar behaves as the real one does, as far as a payment can see.

use alloy_primitives::{Address, B256, Bytes, Signature, U256, b256};
use alloy_sol_types::{SolCall, SolEvent, SolStruct};
use serde_json::json;
use tollway_devnet::{Contract, DEV_ACCOUNTS, Devnet, Preset};

use crate::helpers::*;

fn reason(devnet: &Devnet, data: Vec<u8>) -> String {
    let error = ask(devnet, data).unwrap_err();
    assert!(error.is_revert(), "{error}");
    error
        .message
        .trim_start_matches("execution reverted: ")
        .to_owned()
}

fn used(devnet: &Devnet, auth: &TransferWithAuthorization) -> bool {
    let call = Token::authorizationStateCall {
        authorizer: auth.from,
        nonce: auth.nonce,
    };
    let answer = ask(devnet, call.abi_encode()).unwrap();
    Token::authorizationStateCall::abi_decode_returns(&answer).unwrap()
}

#[test]
fn each_preset_has_a_dollar_that_signs_as_the_real_one() {
    for preset in [
        Preset::BaseSepolia,
        Preset::Base,
        Preset::Sei,
        Preset::SeiTestnet,
        Preset::Sepolia,
        Preset::Local(31_337),
    ] {
        let devnet = Devnet::builder().preset(preset).build().unwrap();
        let separator = ask(&devnet, Token::DOMAIN_SEPARATORCall {}.abi_encode()).unwrap();
        let expected = domain(preset.chain_id(), devnet.dollar()).hash_struct();
        assert_eq!(separator.as_ref(), expected.as_slice(), "{preset:?}");
        for account in DEV_ACCOUNTS {
            assert_eq!(
                devnet.balance_of(account.address),
                U256::from(1_000_000_000_000_u64)
            );
        }
    }
}

#[test]
fn the_dev_accounts_belong_to_their_keys() {
    for (index, account) in DEV_ACCOUNTS.iter().enumerate() {
        assert_eq!(Key::dev(index).address, account.address);
    }
}

#[test]
fn the_type_hashes_are_the_ones_in_use_everywhere() {
    let transfer = b256!("0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267");
    assert_eq!(authorization(1).eip712_type_hash(), transfer);
    assert_eq!(
        Token::Transfer::SIGNATURE_HASH,
        b256!("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
    );
    assert_eq!(
        Token::transferWithAuthorizationCall::SELECTOR,
        [0xcf, 0x09, 0x29, 0x95]
    );
    assert_eq!(
        TokenVrs::transferWithAuthorizationCall::SELECTOR,
        [0xe3, 0xee, 0x16, 0x0e]
    );
}

#[test]
fn an_authorization_moves_money_once_by_either_overload() {
    let devnet = still();
    let before = devnet.balance_of(DEV_ACCOUNTS[2].address);
    for (nonce, short) in [(1, true), (2, false)] {
        let auth = authorization(nonce);
        let signature = sign_authorization(&devnet, &auth);
        let data = match short {
            true => spend_vrs(&auth, &signature, v(&signature)),
            false => spend(&auth, signature.as_bytes().to_vec()),
        };
        assert!(!used(&devnet, &auth));
        let receipt = transact(&devnet, data.clone());
        assert_eq!(receipt["status"], "0x1");
        assert!(used(&devnet, &auth));
        assert_eq!(
            reason(&devnet, data),
            "FiatTokenV2: authorization is used or canceled"
        );
    }
    assert_eq!(
        devnet.balance_of(DEV_ACCOUNTS[2].address),
        before + U256::from(20_000)
    );
}

#[test]
fn the_receipt_shows_the_authorization_used_and_then_the_transfer() {
    let devnet = still();
    let auth = authorization(1);
    let signature = sign_authorization(&devnet, &auth);
    let receipt = transact(&devnet, spend(&auth, signature.as_bytes().to_vec()));
    let logs = receipt["logs"].as_array().unwrap();
    assert_eq!(logs.len(), 2);
    let topics = |index: usize| logs[index]["topics"].clone();
    let payer = auth.from.into_word();
    assert_eq!(
        topics(0),
        json!([Token::AuthorizationUsed::SIGNATURE_HASH, payer, auth.nonce])
    );
    assert_eq!(
        topics(1),
        json!([Token::Transfer::SIGNATURE_HASH, payer, auth.to.into_word()])
    );
    assert_eq!(logs[1]["data"], json!(B256::from(auth.value)));
    assert_eq!(logs[1]["address"], json!(devnet.dollar().address));
}

#[test]
fn both_ends_of_the_window_are_outside_it() {
    let devnet = still();
    let at = |after: u64, before: u64| {
        let auth = TransferWithAuthorization {
            validAfter: U256::from(after),
            validBefore: U256::from(before),
            ..authorization(1)
        };
        spend(
            &auth,
            sign_authorization(&devnet, &auth).as_bytes().to_vec(),
        )
    };
    assert_eq!(
        reason(&devnet, at(NOW, NOW + 60)),
        "FiatTokenV2: authorization is not yet valid"
    );
    assert_eq!(
        reason(&devnet, at(NOW - 60, NOW)),
        "FiatTokenV2: authorization is expired"
    );
    ask(&devnet, at(NOW - 1, NOW + 1)).unwrap();
}

#[test]
fn an_authorization_expires_when_the_chain_s_clock_passes_it() {
    let devnet = still();
    let auth = authorization(1);
    let data = spend(
        &auth,
        sign_authorization(&devnet, &auth).as_bytes().to_vec(),
    );
    ask(&devnet, data.clone()).unwrap();
    devnet.increase_time(60).unwrap();
    assert_eq!(
        reason(&devnet, data.clone()),
        "FiatTokenV2: authorization is expired"
    );
    assert_eq!(transact(&devnet, data)["status"], "0x0");
}

#[test]
fn a_signature_for_another_message_chain_or_token_is_refused() {
    let devnet = still();
    let auth = authorization(1);
    let other = TransferWithAuthorization {
        value: U256::from(10_001),
        ..auth.clone()
    };
    let signature = sign_authorization(&devnet, &other).as_bytes().to_vec();
    assert_eq!(
        reason(&devnet, spend(&auth, signature)),
        "FiatTokenV2: invalid signature"
    );

    let elsewhere = domain(8_453, devnet.dollar());
    let signature = Key::dev(1)
        .sign_typed(&auth, &elsewhere)
        .as_bytes()
        .to_vec();
    assert_eq!(
        reason(&devnet, spend(&auth, signature)),
        "FiatTokenV2: invalid signature"
    );

    let mut token = devnet.dollar().clone();
    token.name = "USD Coin".into();
    let signature = Key::dev(1)
        .sign_typed(&auth, &domain(84_532, &token))
        .as_bytes()
        .to_vec();
    assert_eq!(
        reason(&devnet, spend(&auth, signature)),
        "FiatTokenV2: invalid signature"
    );
}

#[test]
fn the_malleable_twin_of_a_signature_is_refused() {
    let devnet = still();
    let auth = authorization(1);
    let good = sign_authorization(&devnet, &auth);
    let order = U256::from_be_bytes(
        b256!("0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").0,
    );
    let twin = Signature::new(good.r(), order - good.s(), !good.v());
    assert_eq!(
        reason(&devnet, spend_vrs(&auth, &twin, v(&twin))),
        "ECRecover: invalid signature 's' value"
    );
}

#[test]
fn odd_lengths_odd_v_and_empty_signatures_are_refused() {
    let devnet = still();
    let auth = authorization(1);
    let good = sign_authorization(&devnet, &auth);
    assert_eq!(
        reason(&devnet, spend_vrs(&auth, &good, v(&good) - 27)),
        "ECRecover: invalid signature 'v' value"
    );
    for length in [0, 64, 66] {
        let bytes = vec![1; length];
        assert_eq!(
            reason(&devnet, spend(&auth, bytes)),
            "ECRecover: invalid signature length"
        );
    }
    let zero = Signature::new(U256::ZERO, U256::ZERO, false);
    assert_eq!(
        reason(&devnet, spend_vrs(&auth, &zero, 27)),
        "ECRecover: invalid signature"
    );
}

#[test]
fn nobody_can_spend_more_than_there_is() {
    let devnet = still();
    let auth = TransferWithAuthorization {
        value: U256::from(1_000_000_000_001_u64),
        ..authorization(1)
    };
    let data = spend(
        &auth,
        sign_authorization(&devnet, &auth).as_bytes().to_vec(),
    );
    assert_eq!(
        reason(&devnet, data),
        "ERC20: transfer amount exceeds balance"
    );
}

#[test]
fn a_cancelled_authorization_is_dead() {
    let devnet = still();
    let auth = authorization(1);
    let cancel = CancelAuthorization {
        authorizer: auth.from,
        nonce: auth.nonce,
    };
    let signature = Key::dev(1).sign_typed(&cancel, &domain(84_532, devnet.dollar()));
    let call = Token::cancelAuthorizationCall {
        authorizer: auth.from,
        nonce: auth.nonce,
        signature: signature.as_bytes().into(),
    };
    let receipt = transact(&devnet, call.abi_encode());
    assert_eq!(
        receipt["logs"][0]["topics"][0],
        json!(Token::AuthorizationCanceled::SIGNATURE_HASH)
    );
    let data = spend(
        &auth,
        sign_authorization(&devnet, &auth).as_bytes().to_vec(),
    );
    assert_eq!(
        reason(&devnet, data),
        "FiatTokenV2: authorization is used or canceled"
    );

    let vrs = TokenVrs::cancelAuthorizationCall {
        authorizer: auth.from,
        nonce: auth.nonce,
        v: v(&signature),
        r: signature.r().into(),
        s: signature.s().into(),
    };
    let again = reason(&devnet, vrs.abi_encode());
    assert_eq!(again, "FiatTokenV2: authorization is used or canceled");
}

#[test]
fn only_the_payee_can_receive_with_an_authorization() {
    let devnet = still();
    let auth = authorization(1);
    let message = ReceiveWithAuthorization {
        from: auth.from,
        to: auth.to,
        value: auth.value,
        validAfter: auth.validAfter,
        validBefore: auth.validBefore,
        nonce: auth.nonce,
    };
    let signature = Key::dev(1).sign_typed(&message, &domain(84_532, devnet.dollar()));
    let bytes = Token::receiveWithAuthorizationCall {
        from: auth.from,
        to: auth.to,
        value: auth.value,
        validAfter: auth.validAfter,
        validBefore: auth.validBefore,
        nonce: auth.nonce,
        signature: signature.as_bytes().into(),
    }
    .abi_encode();
    let vrs = TokenVrs::receiveWithAuthorizationCall {
        from: auth.from,
        to: auth.to,
        value: auth.value,
        validAfter: auth.validAfter,
        validBefore: auth.validBefore,
        nonce: auth.nonce,
        v: v(&signature),
        r: signature.r().into(),
        s: signature.s().into(),
    }
    .abi_encode();
    for data in [bytes, vrs] {
        let call = |from: Address| {
            let data = Bytes::from(data.clone());
            let to = devnet.dollar().address;
            devnet.request("eth_call", json!([{"from": from, "to": to, "data": data}]))
        };
        let stranger = call(DEV_ACCOUNTS[3].address).unwrap_err();
        assert!(
            stranger
                .message
                .ends_with("FiatTokenV2: caller must be the payee")
        );
        call(auth.to).unwrap();
    }
}

#[test]
fn a_permit_sets_an_allowance_that_can_then_be_spent() {
    let devnet = still();
    let [owner, spender] = [DEV_ACCOUNTS[1].address, DEV_ACCOUNTS[0].address];
    let permit = |nonce: u64, deadline: U256| {
        let permit = Permit {
            owner,
            spender,
            value: U256::from(77),
            nonce: U256::from(nonce),
            deadline,
        };
        Key::dev(1).sign_typed(&permit, &domain(84_532, devnet.dollar()))
    };
    let bytes = |signature: Signature, deadline: U256| {
        let signature = signature.as_bytes().into();
        Token::permitCall {
            owner,
            spender,
            value: U256::from(77),
            deadline,
            signature,
        }
        .abi_encode()
    };
    assert_eq!(
        transact(&devnet, bytes(permit(0, U256::MAX), U256::MAX))["status"],
        "0x1"
    );
    let used = reason(&devnet, bytes(permit(0, U256::MAX), U256::MAX));
    assert_eq!(used, "EIP2612: invalid signature");
    let late = reason(
        &devnet,
        bytes(permit(1, U256::from(NOW - 1)), U256::from(NOW - 1)),
    );
    assert_eq!(late, "FiatTokenV2: permit is expired");

    let signature = permit(1, U256::from(NOW));
    let vrs = TokenVrs::permitCall {
        owner,
        spender,
        value: U256::from(77),
        deadline: U256::from(NOW),
        v: v(&signature),
        r: signature.r().into(),
        s: signature.s().into(),
    };
    assert_eq!(transact(&devnet, vrs.abi_encode())["status"], "0x1");

    let to = DEV_ACCOUNTS[2].address;
    let take = |value: u64| {
        Token::transferFromCall {
            from: owner,
            to,
            value: U256::from(value),
        }
        .abi_encode()
    };
    assert_eq!(transact(&devnet, take(78))["status"], "0x0");
    assert_eq!(transact(&devnet, take(77))["status"], "0x1");
    let left = Token::allowanceCall { owner, spender }.abi_encode();
    assert_eq!(ask(&devnet, left).unwrap().as_ref(), B256::ZERO.as_slice());
}

/// Puts a smart wallet owned by dev account 3 where dev account 1 was.
fn give_code_to_payer(devnet: &Devnet, contract: Contract) {
    let payer = DEV_ACCOUNTS[1].address;
    devnet.set_code(payer, contract.runtime()).unwrap();
    if contract == Contract::SmartWallet {
        let owner = DEV_ACCOUNTS[3].address;
        let call = Wallet::initializeCall { owner }.abi_encode();
        devnet.system_call(payer, call.into()).unwrap();
    }
}

#[test]
fn a_payer_with_code_is_asked_and_its_old_key_counts_for_nothing() {
    let devnet = still();
    give_code_to_payer(&devnet, Contract::SmartWallet);
    let auth = authorization(1);
    let by_key = sign_authorization(&devnet, &auth);
    assert_eq!(
        reason(&devnet, spend_vrs(&auth, &by_key, v(&by_key))),
        "FiatTokenV2: invalid signature"
    );
    let by_owner = Key::dev(3).sign_typed(&auth, &domain(84_532, devnet.dollar()));
    let data = spend(&auth, by_owner.as_bytes().to_vec());
    assert_eq!(transact(&devnet, data)["status"], "0x1");
}

#[test]
fn a_lying_wallet_can_only_give_its_own_money_away() {
    let devnet = still();
    give_code_to_payer(&devnet, Contract::YesWallet);
    ask(&devnet, spend(&authorization(1), vec![0; 3])).unwrap();
}

#[test]
fn a_two_faced_wallet_passes_a_call_and_fails_the_transaction() {
    let devnet = still();
    give_code_to_payer(&devnet, Contract::TwoFacedWallet);
    let data = spend(&authorization(1), vec![]);
    ask(&devnet, data.clone()).unwrap();
    assert_eq!(transact(&devnet, data)["status"], "0x0");
}

#[test]
fn a_gas_burning_wallet_takes_all_but_a_64th_of_the_gas() {
    let devnet = still();
    give_code_to_payer(&devnet, Contract::GasBurnerWallet);
    let receipt = transact(&devnet, spend(&authorization(1), vec![]));
    assert_eq!(receipt["status"], "0x0");
    let used = receipt["gasUsed"].as_str().unwrap();
    assert!(u64::from_str_radix(&used[2..], 16).unwrap() > 450_000);
}

#[test]
fn the_cheating_tokens_cheat() {
    for (contract, status, logs) in [
        (Contract::SilentToken, "0x1", 0),
        (Contract::FeeToken, "0x1", 3),
        (Contract::LyingToken, "0x1", 1),
    ] {
        let devnet = still();
        let auth = authorization(1);
        devnet
            .set_code(devnet.dollar().address, contract.runtime())
            .unwrap();
        if contract == Contract::FeeToken {
            devnet.mint(auth.from, auth.value).unwrap();
        }
        let signature = sign_authorization(&devnet, &auth);
        let receipt = transact(&devnet, spend_vrs(&auth, &signature, v(&signature)));
        assert_eq!(receipt["status"], status, "{contract:?}");
        assert_eq!(
            receipt["logs"].as_array().unwrap().len(),
            logs,
            "{contract:?}"
        );
    }
}

#[test]
fn minting_in_process_needs_no_transaction() {
    let devnet = still();
    let poor = Address::repeat_byte(7);
    devnet.mint(poor, U256::from(5)).unwrap();
    assert_eq!(devnet.balance_of(poor), U256::from(5));
    assert_eq!(devnet.block_number(), 0);
    assert!(
        devnet
            .mint(Address::ZERO, U256::ONE)
            .unwrap_err()
            .is_revert()
    );
}

/// Contracts that this chain does not place: one is run by calls, the others cheat
/// beside the published delegation contracts.
const PLACED_BY_OTHERS: [&str; 4] = [
    "TransferProbe",
    "IdleManager",
    "MoodyDelegator",
    "TwoFacedManager",
];

#[test]
fn the_compiled_contracts_belong_to_the_sources() {
    use sha2::{Digest, Sha256};
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
    let files = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let mut digest = Sha256::new();
    for path in files("src") {
        digest.update(path.file_name().unwrap().as_encoded_bytes());
        digest.update([0]);
        digest.update(std::fs::read(&path).unwrap());
        digest.update([0]);
    }
    let expected = alloy_primitives::hex::encode(digest.finalize());
    let artifacts = files("artifacts");
    assert_eq!(
        artifacts.len(),
        Contract::ALL.len() + PLACED_BY_OTHERS.len()
    );
    for name in PLACED_BY_OTHERS {
        let path = root.join(format!("artifacts/{name}.json"));
        assert!(artifacts.contains(&path), "{name}");
    }
    for path in artifacts {
        let artifact: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            artifact["sourceSha256"],
            json!(expected),
            "run contracts/build.mjs"
        );
    }
}
