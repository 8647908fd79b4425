//! Payers that have not approved Permit2, and what they bring instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use alloy_primitives::{B256, U256, hex, keccak256};
use alloy_sol_types::SolCall;
use serde_json::{Value, json};
use tollway_core::wire::Object;
use tollway_core::{ChainError, Phase};
use tollway_devnet::Mining;
use tollway_evm::{EIP2612_GAS_SPONSORING, ERC20_APPROVAL_GAS_SPONSORING};

use super::*;
use crate::support::fake_node::behind;
use crate::support::world::{NOW, code, helper};

fn declared(key: &str) -> Object {
    let value = json!({key: {"info": {"description": "gasless", "version": "1"}, "schema": {"type": "object"}}});
    value.as_object().unwrap().clone()
}

/// A payment with a filled-in extension, changed afterwards.
async fn sponsored(
    world: &World,
    signer: EvmSigner,
    terms: &Terms,
    key: &str,
    change: impl FnOnce(&mut Value),
) -> PaymentPayload {
    let declared = declared(key);
    let prepared = prepare_as(world, signer, terms, Some(&declared)).await;
    let prepared = prepared.unwrap();
    let mut extensions = prepared.extensions.unwrap();
    change(&mut extensions[key]["info"]);
    present(terms, prepared.payload, Some(extensions))
}

/// A facilitator with a helping account (dev account 4).
async fn helped(world: &World) -> EvmChain {
    let mut config = world.config(world.rpc.clone());
    config.helper = Some(helper(4, 10_u128.pow(18)));
    EvmChain::connect(config).await.unwrap()
}

#[tokio::test]
async fn a_permit_for_permit2_rides_along_for_both_schemes() {
    for scheme in ["exact", "upto"] {
        let world = World::new().await;
        let facilitator = key(2).address().to_string();
        let terms = offer(
            &world,
            scheme,
            &json!({"assetTransferMethod": "permit2", "facilitatorAddress": facilitator}),
        );
        let payment = sponsored(&world, key(0), &terms, EIP2612_GAS_SPONSORING, |_| {}).await;
        let intent = inspect(&world.chain, &terms, &payment).unwrap();
        settles(&world, &world.chain, &intent, PRICE).await;
    }
}

#[tokio::test]
async fn a_sponsored_permit_that_somebody_submits_first_still_pays() {
    let world = World::new().await;
    let terms = exact(&world, "permit2");
    let payment = sponsored(&world, key(0), &terms, EIP2612_GAS_SPONSORING, |_| {}).await;
    let info = payment.extensions.as_ref().unwrap()[EIP2612_GAS_SPONSORING]["info"].clone();
    let text = |key: &str| info[key].as_str().unwrap();
    let signature = hex::decode(text("signature")).unwrap();
    let call = Erc20::permitCall {
        owner: text("from").parse().unwrap(),
        spender: text("spender").parse().unwrap(),
        value: text("amount").parse().unwrap(),
        deadline: text("deadline").parse().unwrap(),
        v: signature[64],
        r: B256::from_slice(&signature[..32]),
        s: B256::from_slice(&signature[32..64]),
    };
    let dollar = world.devnet.dollar().address;
    transact(&world, &key(3), dollar, call.abi_encode());
    let intent = inspect(&world.chain, &terms, &payment).unwrap();
    settles(&world, &world.chain, &intent, PRICE).await;
}

#[tokio::test]
async fn what_a_sponsored_permit_says_wrong_is_refused_with_its_code() {
    let world = World::new().await;
    let terms = exact(&world, "permit2");
    for (key_, value, expected) in [
        ("from", json!(stranger()), "eip2612_from_mismatch"),
        ("asset", json!(stranger()), "eip2612_asset_mismatch"),
        ("spender", json!(stranger()), "eip2612_spender_not_permit2"),
        (
            "deadline",
            json!((NOW + 5).to_string()),
            "eip2612_deadline_expired",
        ),
        ("amount", json!("9999"), "permit2_2612_amount_mismatch"),
        ("version", json!("2"), "invalid_eip2612_extension_format"),
        (
            "signature",
            json!("0x12"),
            "invalid_eip2612_extension_format",
        ),
        ("nonce", json!(0), "invalid_eip2612_extension_format"),
        // Signed otherwise: the allowance does not come, so it is what is missing.
        ("nonce", json!("5"), "good"),
    ] {
        let payment = sponsored(&world, key(0), &terms, EIP2612_GAS_SPONSORING, |info| {
            info[key_] = value;
        });
        assert_eq!(refusal_of(&world, &terms, &payment.await).await, expected);
    }
    let forged = sponsored(&world, key(0), &terms, EIP2612_GAS_SPONSORING, |info| {
        info["signature"] = json!(format!("0x{}1b", "11".repeat(64)));
    });
    assert_eq!(
        refusal_of(&world, &terms, &forged.await).await,
        "permit2_allowance_required"
    );
}

#[tokio::test]
async fn a_declaration_that_comes_back_empty_is_no_extension() {
    let world = World::new().await;
    let terms = exact(&world, "permit2");
    let blind = tollway_evm::EvmWallet::new(key(0)).with_clock(world.clock.clone());
    let prepared = tollway_core::Wallet::prepare(&blind, &terms, &limits()).await;
    let payload = prepared.unwrap().payload;
    let payment = present(&terms, payload, Some(declared(EIP2612_GAS_SPONSORING)));
    assert_eq!(
        refusal_of(&world, &terms, &payment).await,
        "permit2_allowance_required"
    );
}

#[tokio::test]
async fn an_approval_that_a_payer_without_gas_signed_is_paid_for_sent_and_used() {
    let world = World::new().await;
    let chain = helped(&world).await;
    let payer = world.payer(PRICE);
    let terms = exact(&world, "permit2");
    let payment = sponsored(
        &world,
        payer.clone(),
        &terms,
        ERC20_APPROVAL_GAS_SPONSORING,
        |_| {},
    );
    let intent = inspect(&chain, &terms, &payment.await).unwrap();
    assert!(world.devnet.balance(payer.address()).is_zero());
    verify(&chain, &intent, Phase::Verify).await.unwrap();
    assert!(
        world.devnet.balance(payer.address()).is_zero(),
        "verify sends nothing"
    );
    assert_eq!(world.devnet.nonce(key(4).address()), 0);
    let settled = settles(&world, &chain, &intent, PRICE).await;
    assert!(!settled.by_third_party);
    assert_eq!(world.devnet.nonce(payer.address()), 1);
    assert_eq!(world.devnet.nonce(key(4).address()), 1);
}

#[tokio::test]
async fn a_payer_whom_the_node_kept_from_being_helped_is_helped_later() {
    let world = World::new().await;
    let chain = helped(&world).await;
    let payer = world.payer(PRICE);
    let terms = exact(&world, "permit2");
    let payment = sponsored(
        &world,
        payer.clone(),
        &terms,
        ERC20_APPROVAL_GAS_SPONSORING,
        |_| {},
    );
    let intent = inspect(&chain, &terms, &payment.await).unwrap();
    // Another transaction waits under the helping account's nonce, and offers more.
    world.devnet.set_mining(Mining::Manual);
    send(&world, &key(4), key(3).address(), Vec::new());
    for _ in 0..2 {
        let unhelped = verify(&chain, &intent, Phase::Settle).await;
        let Err(ChainError::Unavailable { .. }) = unhelped else {
            panic!("{unhelped:?}");
        };
    }
    world.devnet.set_mining(Mining::Automine);
    world.devnet.mine(1).unwrap();
    settles(&world, &chain, &intent, PRICE).await;
    assert_eq!(world.devnet.nonce(key(4).address()), 2);
}

#[tokio::test]
async fn without_a_helping_account_an_approval_is_the_payers_own_affair() {
    let world = World::new().await;
    let payer = world.payer(PRICE);
    let terms = exact(&world, "permit2");
    let payment = sponsored(&world, payer, &terms, ERC20_APPROVAL_GAS_SPONSORING, |_| {}).await;
    assert_eq!(
        refusal_of(&world, &terms, &payment).await,
        "permit2_allowance_required"
    );
}

/// A transaction of the payer's, as the extension carries it.
fn signed_call(
    world: &World,
    signer: &EvmSigner,
    to: Account,
    input: Vec<u8>,
    value: u64,
) -> Value {
    signed_with_fee(world, signer, to, input, value, 3_000_000_000)
}

fn signed_with_fee(
    world: &World,
    signer: &EvmSigner,
    to: Account,
    input: Vec<u8>,
    value: u64,
    max_fee: u128,
) -> Value {
    let transaction = TxEip1559 {
        chain_id: world.devnet.chain_id(),
        nonce: world.devnet.nonce(signer.address()),
        gas_limit: 70_000,
        max_fee_per_gas: max_fee,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(to),
        value: U256::from(value),
        access_list: Default::default(),
        input: input.into(),
    };
    let signature = signer.sign(transaction.signature_hash());
    let signature = Signature::try_from(&signature[..]).unwrap();
    let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
    json!(hex::encode_prefixed(envelope.encoded_2718()))
}

#[tokio::test]
async fn an_approval_is_checked_field_by_field() {
    let world = World::new().await;
    let chain = helped(&world).await;
    let terms = exact(&world, "permit2");
    let dollar = world.devnet.dollar().address;
    let approve = |spender: Account, amount: U256| {
        let call = Erc20::approveCall { spender, amount };
        call.abi_encode()
    };
    let most = || approve(PERMIT2, U256::MAX);
    let transfer = Erc20::transferCall {
        to: PERMIT2,
        amount: U256::MAX,
    };
    let third = key(3).address();
    let own = |to, input, value| signed_call(&world, &key(0), to, input, value);
    let long = [most(), vec![0]].concat();
    let dear = signed_with_fee(&world, &key(0), dollar, most(), 0, 500_000_000_000);
    let raw = "signedTransaction";
    for (field, value, expected) in [
        ("from", json!(stranger()), "erc20_approval_from_mismatch"),
        ("asset", json!(stranger()), "erc20_approval_asset_mismatch"),
        (
            "spender",
            json!(stranger()),
            "erc20_approval_spender_not_permit2",
        ),
        (
            "amount",
            json!("1e9"),
            "invalid_erc20_approval_extension_format",
        ),
        (
            "version",
            json!("2"),
            "invalid_erc20_approval_extension_format",
        ),
        (raw, json!("0x02c0"), "erc20_approval_tx_parse_failed"),
        (raw, json!(7), "invalid_erc20_approval_extension_format"),
        (raw, own(third, most(), 0), "erc20_approval_tx_wrong_target"),
        (
            raw,
            own(dollar, transfer.abi_encode(), 0),
            "erc20_approval_tx_wrong_selector",
        ),
        (
            raw,
            own(dollar, approve(third, U256::MAX), 0),
            "erc20_approval_tx_wrong_spender",
        ),
        (
            raw,
            own(dollar, long, 0),
            "erc20_approval_tx_invalid_calldata",
        ),
        (
            raw,
            own(dollar, most(), 1),
            "erc20_approval_tx_invalid_calldata",
        ),
        (
            raw,
            own(dollar, approve(PERMIT2, U256::from(1)), 0),
            "erc20_approval_tx_invalid_calldata",
        ),
        (
            raw,
            signed_call(&world, &key(3), dollar, most(), 0),
            "erc20_approval_tx_signer_mismatch",
        ),
        (raw, own(dollar, most(), 0), "good"),
        // What it may cost is paid for, so it may not cost much.
        (raw, dear, "erc20_approval_tx_parse_failed"),
    ] {
        let payment = sponsored(
            &world,
            key(0),
            &terms,
            ERC20_APPROVAL_GAS_SPONSORING,
            |info| {
                info[field] = value;
            },
        )
        .await;
        let found = match inspect(&chain, &terms, &payment) {
            Ok(intent) => code(&verify(&chain, &intent, Phase::Verify).await).to_owned(),
            Err(refusal) => refusal.code().to_owned(),
        };
        assert_eq!(found, expected, "{field}");
    }
}

#[tokio::test]
async fn an_approval_that_no_block_would_take_is_not_waited_for() {
    let world = World::new().await;
    let chain = helped(&world).await;
    let terms = exact(&world, "permit2");
    let dollar = world.devnet.dollar().address;
    let approve = Erc20::approveCall {
        spender: PERMIT2,
        amount: U256::MAX,
    };
    let cheap = signed_with_fee(&world, &key(0), dollar, approve.abi_encode(), 0, 7);
    let key_ = ERC20_APPROVAL_GAS_SPONSORING;
    let payment = sponsored(&world, key(0), &terms, key_, |info| {
        info["signedTransaction"] = cheap;
    });
    let intent = inspect(&chain, &terms, &payment.await).unwrap();
    assert_eq!(
        code(&verify(&chain, &intent, Phase::Settle).await),
        "erc20_approval_tx_parse_failed"
    );
}

#[tokio::test]
async fn gas_money_is_given_within_a_budget() {
    let world = World::new().await;
    let mut config = world.config(world.rpc.clone());
    config.helper = Some(helper(4, 1_000));
    let chain = EvmChain::connect(config).await.unwrap();
    let payer = world.payer(PRICE);
    let terms = exact(&world, "permit2");
    let key_ = ERC20_APPROVAL_GAS_SPONSORING;
    let payment = sponsored(&world, payer.clone(), &terms, key_, |_| {}).await;
    let intent = inspect(&chain, &terms, &payment).unwrap();
    assert_eq!(
        code(&verify(&chain, &intent, Phase::Settle).await),
        "gas_budget_exhausted"
    );
    assert!(world.devnet.balance(payer.address()).is_zero());
    assert_eq!(world.devnet.nonce(key(4).address()), 0);
}

#[tokio::test]
async fn an_approval_whose_nonce_is_used_is_refused_before_anything_is_paid_for() {
    let world = World::new().await;
    let chain = helped(&world).await;
    let terms = exact(&world, "permit2");
    let payment = sponsored(
        &world,
        key(0),
        &terms,
        ERC20_APPROVAL_GAS_SPONSORING,
        |_| {},
    )
    .await;
    transact(&world, &key(0), key(3).address(), Vec::new());
    let intent = inspect(&chain, &terms, &payment).unwrap();
    assert_eq!(
        code(&verify(&chain, &intent, Phase::Settle).await),
        "erc20_approval_tx_failed"
    );
    assert_eq!(world.devnet.nonce(key(4).address()), 0);
}

#[tokio::test]
async fn a_payer_is_given_gas_money_once_a_day() {
    let world = World::new().await;
    let chain = helped(&world).await;
    let payer = world.payer(2 * PRICE);
    let terms = exact(&world, "permit2");
    let ask = || {
        let key_ = ERC20_APPROVAL_GAS_SPONSORING;
        sponsored(&world, payer.clone(), &terms, key_, |_| {})
    };
    let intent = inspect(&chain, &terms, &ask().await).unwrap();
    settles(&world, &chain, &intent, PRICE).await;
    // It revokes, keeps what is left of the gas money, and asks again.
    let dollar = world.devnet.dollar().address;
    let revoke = Erc20::approveCall {
        spender: PERMIT2,
        amount: U256::ZERO,
    };
    let ether = U256::from(10).pow(U256::from(18));
    world.devnet.set_balance(payer.address(), ether);
    transact(&world, &payer, dollar, revoke.abi_encode());
    world.devnet.set_balance(payer.address(), U256::ZERO);
    let intent = inspect(&chain, &terms, &ask().await).unwrap();
    assert_eq!(
        code(&verify(&chain, &intent, Phase::Settle).await),
        "erc20_approval_tx_failed"
    );
    assert_eq!(world.devnet.nonce(key(4).address()), 1);
}

/// A payer's approval as its payment carries it.
fn approval_of(payment: &PaymentPayload) -> Vec<u8> {
    let extensions = payment.extensions.as_ref().unwrap();
    let info = &extensions[ERC20_APPROVAL_GAS_SPONSORING]["info"];
    hex::decode(info["signedTransaction"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn an_approval_that_lands_while_it_is_asked_what_its_payer_lacks_needs_no_second_gift() {
    let world = World::new().await;
    let payer = world.payer(PRICE);
    let terms = exact(&world, "permit2");
    let key_ = ERC20_APPROVAL_GAS_SPONSORING;
    let payment = sponsored(&world, payer.clone(), &terms, key_, |_| {}).await;
    let approval = approval_of(&payment);
    let sent = json!([hex::encode_prefixed(&approval)]);
    let whose = json!(payer.address());
    // First no node takes the approval, when its payer has the gas money already. Then
    // somebody else's request has it sent between the questions about the payer.
    let (refusing, asked) = (Arc::new(AtomicBool::new(true)), AtomicUsize::new(0));
    let is_refusing = Arc::clone(&refusing);
    let devnet = world.devnet.clone();
    let rpc = behind(&world.devnet, move |method, params| {
        let refused = is_refusing.load(Ordering::SeqCst);
        match method {
            "eth_sendRawTransaction" if refused && *params == sent => {
                Some(Err((-32000, "intrinsic gas too low".to_owned())))
            }
            "eth_getTransactionCount" | "eth_getBalance" if !refused && params[0] == whose => {
                // The second of the two that the gift depends on, when it is settled.
                let asked = 1 + asked.fetch_add(1, Ordering::SeqCst);
                if asked == 4 {
                    devnet.send_raw(&approval).unwrap();
                }
                None
            }
            _ => None,
        }
    });
    let mut config = world.config(rpc.await);
    config.helper = Some(helper(4, 10_u128.pow(18)));
    let chain = EvmChain::connect(config).await.unwrap();
    let intent = inspect(&chain, &terms, &payment).unwrap();
    assert_eq!(
        code(&verify(&chain, &intent, Phase::Settle).await),
        "erc20_approval_broadcast_failed"
    );
    assert_eq!(world.devnet.nonce(key(4).address()), 1, "the gift is given");
    refusing.store(false, Ordering::SeqCst);
    settles(&world, &chain, &intent, PRICE).await;
    assert_eq!(world.devnet.nonce(key(4).address()), 1);
    assert_eq!(world.devnet.nonce(payer.address()), 1);
}

#[tokio::test]
async fn a_payment_that_somebody_settled_with_its_own_approval_is_said_to_be_used() {
    let world = World::new().await;
    let chain = helped(&world).await;
    let payer = world.payer(PRICE);
    let terms = exact(&world, "permit2");
    let key_ = ERC20_APPROVAL_GAS_SPONSORING;
    let dollar = world.devnet.dollar().address;
    let approve = Erc20::approveCall {
        spender: PERMIT2,
        amount: U256::from(PRICE),
    };
    // An allowance of just this payment: nothing of it is left when it has settled.
    let just = signed_call(&world, &payer, dollar, approve.abi_encode(), 0);
    let payment = sponsored(&world, payer.clone(), &terms, key_, |info| {
        info["signedTransaction"] = just;
        info["amount"] = json!(PRICE.to_string());
    })
    .await;
    let intent = inspect(&chain, &terms, &payment).unwrap();
    let ether = U256::from(10).pow(U256::from(18));
    world.devnet.set_balance(payer.address(), ether);
    world.devnet.send_raw(&approval_of(&payment)).unwrap();
    front_run(&world, &intent).await;
    for phase in [Phase::Verify, Phase::Settle] {
        let said = verify(&chain, &intent, phase).await;
        assert_eq!(code(&said), "permit2_invalid_nonce", "{phase:?}");
    }
    let Lookup::Settled(settled) = lookup(&chain, &intent).await else {
        panic!("it has settled");
    };
    assert!(settled.by_third_party);
}

#[tokio::test]
async fn an_approval_whose_receipt_is_late_is_waited_for() {
    let world = World::new().await;
    let payer = world.payer(PRICE);
    let terms = exact(&world, "permit2");
    let key_ = ERC20_APPROVAL_GAS_SPONSORING;
    let payment = sponsored(&world, payer, &terms, key_, |_| {}).await;
    let hash = json!([keccak256(approval_of(&payment))]);
    let asked = AtomicUsize::new(0);
    let rpc = behind(&world.devnet, move |method, params| {
        // Its nonce is used by then.
        let is_late = method == "eth_getTransactionReceipt" && *params == hash;
        (is_late && asked.fetch_add(1, Ordering::SeqCst) < 3).then_some(Ok(Value::Null))
    });
    let mut config = world.config(rpc.await);
    config.helper = Some(helper(4, 10_u128.pow(18)));
    let chain = EvmChain::connect(config).await.unwrap();
    let intent = inspect(&chain, &terms, &payment).unwrap();
    settles(&world, &chain, &intent, PRICE).await;
}
