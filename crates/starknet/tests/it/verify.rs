//! Each rule of the scheme, and the code with which it refuses.

use serde_json::{Value, json};
use tollway_core::wire::{PaymentPayload, PaymentRequirements};
use tollway_core::{Amount, Chain, ChainError, Phase, codes};
use tollway_starknet::{ANY_CALLER, felt};

use crate::support::{
    FEE_PAYER, NOW, PAYEE, PAYER, PRICE, TIMEOUT, USDC, World, address, frame, message,
    paying_trace, transfer_event,
};

#[tokio::test]
async fn a_good_payment_is_verified_and_bound_to_the_fee_payer() {
    let world = World::new().await;
    let verified = world.verified().await;
    assert_eq!(verified.signers, [address(FEE_PAYER)]);
    assert_eq!(verified.gas, 2_500_000 + 2_000_000);
    let intent = &verified.intent;
    assert_eq!(intent.identity.payer, address(PAYER));
    assert_eq!(intent.identity.scope, PAYER);
    assert_eq!(intent.expected.amount, Amount::from_atomic(PRICE.into()));
    assert_eq!(intent.deadline.secs(), NOW + TIMEOUT);
    let asked = world.facts.lock().unwrap().asked.clone();
    let simulated = asked
        .iter()
        .filter(|m| *m == "starknet_simulateTransactions");
    assert_eq!(simulated.count(), 1, "{asked:?}");
}

/// The refusal of a payment whose offer is another one, on both sides.
async fn offered(change: impl FnOnce(&mut PaymentRequirements)) -> String {
    let world = World::new().await;
    let good = world.offer();
    let mut payment = world.pay(&good).await;
    let mut offer = good;
    change(&mut offer);
    payment.accepted = offer.clone();
    world.refused(&offer, payment).await
}

#[tokio::test]
async fn an_offer_that_cannot_be_settled_here_is_refused() {
    let bad = codes::INVALID_PAYMENT_REQUIREMENTS;
    let payer = |value: Value| offered(move |o| set_extra(o, "feePayer", value));
    assert_eq!(offered(|o| o.extra = None).await, bad);
    assert_eq!(payer(json!("0x0")).await, bad);
    assert_eq!(payer(json!(7)).await, bad);
    assert_eq!(payer(json!("merchant")).await, bad);
    assert_eq!(payer(json!(felt::text(&ANY_CALLER))).await, bad, "anybody");
    assert_eq!(payer(json!("0x1234")).await, bad, "somebody else's account");
    assert_eq!(offered(|o| o.max_timeout_seconds = 60).await, bad);
    assert_eq!(offered(|o| o.amount = "0".to_owned()).await, bad);
    let method = |value: Value| offered(move |o| set_extra(o, "assetTransferMethod", value));
    assert_eq!(method(json!("eip3009")).await, bad);
    assert_eq!(method(json!(1)).await, bad);
    let scheme = offered(|o| o.scheme = "upto".to_owned()).await;
    assert_eq!(scheme, codes::INVALID_SCHEME);
    let asset = offered(|o| o.asset = "0xdead".to_owned()).await;
    assert_eq!(asset, codes::ASSET_NOT_ALLOWED);
}

fn set_extra(offer: &mut PaymentRequirements, key: &str, value: Value) {
    let extra = offer.extra.get_or_insert_default();
    extra.insert(key.to_owned(), value);
}

#[tokio::test]
async fn an_acceptance_that_differs_from_the_offer_is_refused() {
    let world = World::new().await;
    let offer = world.offer();
    let good = world.pay(&offer).await;
    let with = |change: &dyn Fn(&mut PaymentPayload)| {
        let mut payment = good.clone();
        change(&mut payment);
        payment
    };
    for (code, payment) in [
        (
            codes::INVALID_PAYLOAD,
            with(&|p| p.accepted.amount = "1".to_owned()),
        ),
        (
            codes::INVALID_PAYLOAD,
            with(&|p| p.accepted.max_timeout_seconds += 1),
        ),
        (codes::INVALID_PAYLOAD, with(&|p| p.accepted.extra = None)),
        (
            codes::INVALID_NETWORK,
            with(&|p| p.accepted.network = "starknet:SN_MAIN".to_owned()),
        ),
        (
            codes::INVALID_SCHEME,
            with(&|p| p.accepted.scheme = "upto".to_owned()),
        ),
        (codes::INVALID_X402_VERSION, with(&|p| p.x402_version = 1)),
    ] {
        assert_eq!(world.refused(&offer, payment).await, code);
    }
    // Another spelling of the same accounts is the same offer.
    let padded = with(&|p| p.accepted.pay_to = format!("0x0{}", &PAYEE[2..].to_uppercase()));
    assert!(world.verify(&offer, padded).await.is_ok());
}

/// The refusal of a payment with one place of its message changed.
async fn signed(path: &str, value: Value) -> String {
    let world = World::new().await;
    let offer = world.offer();
    let mut payment = world.pay(&offer).await;
    *message(&mut payment, path) = value;
    world.refused(&offer, payment).await
}

#[tokio::test]
async fn only_the_named_caller_may_be_signed_for() {
    let code = codes::INVALID_EXACT_STARKNET_PAYLOAD_CALLER;
    for caller in ["0x0", "0x414e595f43414c4c4552", "0x1234", PAYER] {
        assert_eq!(signed("Caller", json!(caller)).await, code, "{caller}");
    }
    // The sender never pays itself: it would sign for what it sends.
    let world = World::new().await;
    let offer = world.offer();
    let mut payment = world.pay(&offer).await;
    payment.payload.insert("from".to_owned(), json!(FEE_PAYER));
    assert_eq!(world.refused(&offer, payment).await, code);
}

#[tokio::test]
async fn times_are_held_to_their_bands_at_the_second() {
    let at = |path: &'static str, secs: u64| signed(path, json!(secs.to_string()));
    let expired = codes::OUTSIDE_EXECUTION_EXPIRED;
    let too_long = codes::OUTSIDE_EXECUTION_WINDOW_EXCEEDS_MAX_TIMEOUT;
    assert_eq!(at("Execute After", NOW - 30).await, codes::INVALID_PAYLOAD);
    assert_eq!(at("Execute After", NOW + 1).await, codes::INVALID_PAYLOAD);
    let end = NOW + TIMEOUT;
    assert_eq!(at("Execute Before", end - 31).await, expired);
    assert_eq!(at("Execute Before", end + 31).await, too_long);
    assert_eq!(at("Execute Before", u64::MAX).await, too_long);
    assert_eq!(at("Execute Before", 1).await, expired);

    let world = World::new().await;
    let offer = world.offer();
    for (path, secs) in [
        ("Execute After", NOW - 31),
        ("Execute Before", end - 30),
        ("Execute Before", end + 30),
    ] {
        let mut payment = world.pay(&offer).await;
        *message(&mut payment, path) = json!(secs.to_string());
        assert!(world.verify(&offer, payment).await.is_ok(), "{path} {secs}");
    }
}

#[tokio::test]
async fn settling_needs_no_fresh_signature_but_time_enough() {
    let world = World::new().await;
    let intent = world.verified().await.intent;
    let settle = || {
        world
            .chain
            .verify(intent.clone(), Phase::Settle, Amount::ZERO)
    };
    world.clock.advance(TIMEOUT - 31);
    assert!(settle().await.is_ok());
    world.clock.advance(1);
    let Err(ChainError::Refused(refusal)) = settle().await else {
        panic!("settled with 30 seconds left");
    };
    assert_eq!(refusal.code(), codes::OUTSIDE_EXECUTION_EXPIRED);
}

#[tokio::test]
async fn exactly_one_transfer_of_the_asked_amount_is_accepted() {
    let bad = codes::INVALID_PAYLOAD;
    let asset = codes::INVALID_EXACT_STARKNET_PAYLOAD_ASSET_MISMATCH;
    let recipient = codes::INVALID_EXACT_STARKNET_PAYLOAD_RECIPIENT_MISMATCH;
    let amount = codes::INVALID_EXACT_STARKNET_PAYLOAD_AMOUNT_MISMATCH;
    let price = format!("{PRICE:#x}");
    let call = |to: &str, selector: &str, calldata: Value| json!({"To": to, "Selector": selector, "Calldata": calldata});
    let transfer = call(USDC, "transfer", json!([PAYEE, price, "0x0"]));
    let approve = call(USDC, "approve", json!([FEE_PAYER, price, "0x0"]));
    assert_eq!(
        signed("Calls", json!([transfer, approve])).await,
        bad,
        "a second call"
    );
    assert_eq!(signed("Calls", json!([transfer, transfer])).await, bad);
    assert_eq!(signed("Calls", json!([])).await, bad);
    assert_eq!(signed("Calls/0", approve).await, bad);
    assert_eq!(signed("Calls/0/To", json!("0x1234")).await, asset);
    assert_eq!(signed("Calls/0/Calldata", json!([PAYEE, price])).await, bad);
    assert_eq!(
        signed("Calls/0/Calldata", json!([PAYEE, price, "0x0", "0x0"])).await,
        bad
    );
    assert_eq!(signed("Calls/0/Calldata/0", json!(PAYER)).await, recipient);
    assert_eq!(signed("Calls/0/Calldata/1", json!("0x270f")).await, amount);
    assert_eq!(signed("Calls/0/Calldata/1", json!("0x2711")).await, amount);
    assert_eq!(signed("Calls/0/Calldata/2", json!("0x1")).await, amount);
    // A half above 128 bits would be another number to the token.
    let wide = json!(format!("0x1{:032x}", PRICE));
    assert_eq!(signed("Calls/0/Calldata/1", wide).await, bad);
}

#[tokio::test]
async fn aliases_and_padding_of_addresses_are_the_same_addresses() {
    let world = World::new().await;
    let offer = world.offer();
    let mut payment = world.pay(&offer).await;
    let pad = |text: &str| json!(format!("0x{:0>64}", text[2..].to_uppercase()));
    *message(&mut payment, "Caller") = pad(FEE_PAYER);
    *message(&mut payment, "Calls/0/To") =
        json!(felt::to_u256(&felt::parse(USDC).unwrap()).to_string());
    *message(&mut payment, "Calls/0/Calldata/0") = pad(PAYEE);
    payment.payload.insert("from".to_owned(), pad(PAYER));
    let canonical = world.intend(&offer, world.pay(&offer).await).unwrap();
    let verified = world.verify(&offer, payment).await.unwrap();
    assert_eq!(verified.intent.identity.payer, canonical.identity.payer);
    assert_eq!(verified.intent.identity.scope, canonical.identity.scope);
}

#[tokio::test]
async fn the_account_and_the_token_are_asked_and_believed() {
    let world = World::new().await;
    world.say(|facts| facts.balance = PRICE - 1);
    assert_eq!(world.refused_now().await, codes::INSUFFICIENT_FUNDS);
    for used in [
        Ok(json!(["0x0"])),
        Ok(json!([])),
        Err((21, "no such".to_owned())),
    ] {
        world.say(|facts| facts.nonce_free = used);
        assert_eq!(world.refused_now().await, codes::NONCE_ALREADY_USED);
    }
    for no in [
        Ok(json!(["0x0"])),
        Ok(json!(["0x1"])),
        Ok(json!(["0x56414c4944", "0x0"])),
        Err((40, "reverted".to_owned())),
    ] {
        world.say(|facts| facts.signature = no);
        let code = codes::INVALID_EXACT_STARKNET_PAYLOAD_SIGNATURE;
        assert_eq!(world.refused_now().await, code);
    }
    world.say(|facts| facts.deployed = false);
    assert_eq!(world.refused_now().await, codes::ACCOUNT_NOT_DEPLOYED);
}

#[tokio::test]
async fn what_is_promised_already_must_be_covered_too() {
    let world = World::new().await;
    let offer = world.offer();
    let intent = world.intend(&offer, world.pay(&offer).await).unwrap();
    let held = Amount::from_atomic(1);
    let outcome = world.chain.verify(intent, Phase::Verify, held).await;
    let Err(ChainError::Refused(refusal)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(refusal.code(), codes::INSUFFICIENT_FUNDS);
}

#[tokio::test]
async fn a_token_is_asked_by_either_name_of_its_getter() {
    let world = World::new().await;
    world.say(|facts| {
        facts.odd = Some(Box::new(|method, params| {
            let old = felt::text(&tollway_starknet::selectors::BALANCE_OF);
            let camel = felt::text(&tollway_starknet::selectors::BALANCE_OF_CAMEL);
            match params["request"]["entry_point_selector"].as_str() {
                Some(name) if method == "starknet_call" && name == old => {
                    Some(Err((21, "no such entry point".to_owned())))
                }
                Some(name) if name == camel => Some(Ok(json!([format!("{PRICE:#x}"), "0x0"]))),
                _ => None,
            }
        }));
    });
    world.verified().await;
    world.say(|facts| {
        facts.odd = Some(Box::new(|_, params| {
            let asset = params["request"]["contract_address"] == USDC;
            asset.then(|| Err((21, "no such entry point".to_owned())))
        }));
    });
    assert_eq!(
        world.refused_now().await,
        codes::INVALID_PAYMENT_REQUIREMENTS
    );
}

#[tokio::test]
async fn only_the_transfer_itself_in_the_assets_own_frame_passes_the_simulation() {
    let world = World::new().await;
    let transfer = || transfer_event(PAYER, PAYEE, PRICE);
    let token = |events| frame(USDC, events, vec![]);
    let sent = |calls| frame(FEE_PAYER, vec![], vec![frame(PAYER, vec![], calls)]);
    let mut undone = token(vec![transfer()]);
    undone["is_reverted"] = json!(true);
    let deep = (0..80).fold(token(vec![transfer()]), |inner, _| {
        frame("0x9", vec![], vec![inner])
    });
    let none = |what: &str, trace: Value| (what.to_owned(), trace);
    for (what, trace) in [
        none("reverted", json!({"revert_reason": "no"})),
        none("nothing happened", sent(vec![])),
        none(
            "the payer's own event",
            sent(vec![frame(PAYER, vec![transfer()], vec![])]),
        ),
        none(
            "a look-alike token",
            sent(vec![frame("0x1234", vec![transfer()], vec![])]),
        ),
        none("twice", sent(vec![token(vec![transfer(), transfer()])])),
        none("too little", paying_trace(PAYER, PAYEE, PRICE - 1)),
        none("somebody else's", paying_trace("0x7", PAYEE, PRICE)),
        none("to somebody else", paying_trace(PAYER, "0x7", PRICE)),
        none(
            "in a call that was undone and swallowed",
            sent(vec![undone]),
        ),
        none("nested without end", deep),
    ] {
        world.say(|facts| facts.trace = trace);
        assert_eq!(
            world.refused_now().await,
            codes::SIMULATION_FAILED,
            "{what}"
        );
    }
    world.say(|facts| facts.trace = sent(vec![token(vec![transfer()])]));
    world.verified().await;
    world.say(|facts| {
        facts.odd = Some(Box::new(|method, _| {
            (method == "starknet_simulateTransactions").then(|| Err((41, "no".to_owned())))
        }));
    });
    assert_eq!(world.refused_now().await, codes::SIMULATION_FAILED);
}

#[tokio::test]
async fn a_payment_that_takes_too_much_gas_is_refused() {
    let world = World::new().await;
    for (l2, data) in [("0x989680", "0x1c0"), ("0x1e8480", "0xfa1")] {
        world.say(move |facts| {
            facts.odd = Some(Box::new(move |method, _| {
                let trace = paying_trace(PAYER, PAYEE, PRICE);
                (method == "starknet_simulateTransactions").then(|| {
                    Ok(json!([{
                        "transaction_trace": {"execute_invocation": trace},
                        "fee_estimation": {"l2_gas_consumed": l2, "l1_data_gas_consumed": data},
                    }]))
                })
            }));
        });
        assert_eq!(
            world.refused_now().await,
            codes::TRANSACTION_GAS_LIMIT_EXCEEDED
        );
    }
}

#[tokio::test]
async fn a_node_that_fails_refuses_nobody_and_tells_no_words_of_its_own() {
    let world = World::new().await;
    for method in [
        "starknet_getClassHashAt",
        "starknet_call",
        "starknet_getNonce",
        "starknet_simulateTransactions",
    ] {
        let world = World::new().await;
        world.say(|facts| {
            facts.odd = Some(Box::new(move |asked, _| {
                (asked == method).then(|| Err((-32603, "secret words".to_owned())))
            }));
        });
        let offer = world.offer();
        let payment = world.pay(&offer).await;
        match world.verify(&offer, payment).await {
            Err(ChainError::Unavailable { message, .. }) => {
                assert!(!message.contains("secret"), "{method}: {message}");
            }
            other => panic!("{method}: {other:?}"),
        }
    }
    world.say(|facts| facts.signature = Err((40, "secret words".to_owned())));
    let offer = world.offer();
    let payment = world.pay(&offer).await;
    let Err(ChainError::Refused(refusal)) = world.verify(&offer, payment).await else {
        panic!("not refused");
    };
    assert!(!refusal.message().contains("secret"));
}

#[tokio::test]
async fn another_chain_an_old_node_or_a_missing_account_is_said_at_the_start() {
    use tollway_starknet::StartError;
    let world = World::new().await;
    assert!(world.chain.check().await.is_ok());
    world.say(|facts| facts.spec = "0.7.1");
    assert!(matches!(
        world.chain.check().await,
        Err(StartError::OldNode { .. })
    ));
    world.say(|facts| facts.spec = "0.9.0");
    world.say(|facts| {
        facts.odd = Some(Box::new(|method, _| {
            (method == "starknet_getClassHashAt").then(|| Err((20, "none".to_owned())))
        }));
    });
    assert!(matches!(
        world.chain.check().await,
        Err(StartError::NoAccount(_))
    ));
    assert!(!world.chain.health().await.ready);

    let elsewhere = World::new().await;
    elsewhere.say(|facts| facts.chain = "0x534e5f4d41494e");
    let wrong = elsewhere.chain.check().await.unwrap_err();
    let refused = matches!(
        wrong,
        StartError::WrongChain { .. } | StartError::Node { .. }
    );
    assert!(refused, "{wrong}");
}

#[tokio::test]
async fn the_kind_names_the_account_that_sends() {
    let world = World::new().await;
    let kind = &world.chain.kinds()[0];
    assert_eq!(kind.network, "starknet:SN_SEPOLIA");
    assert_eq!(kind.scheme, "exact");
    assert_eq!(kind.extra.as_ref().unwrap()["feePayer"], FEE_PAYER);
    assert_eq!(world.chain.signers(), [address(FEE_PAYER)]);
}
