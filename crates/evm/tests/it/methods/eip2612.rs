//! `exact` by EIP-2612, through the payee's settler.

use alloy_primitives::{B256, U256};
use alloy_sol_types::SolCall;
use serde_json::Value;
use tollway_core::{Chain, Lookup, Outcome, Phase};
use tollway_devnet::DEV_ACCOUNTS;
use tollway_evm::{CREATE2_DEPLOYER, settler_address, settler_deployment};

use super::*;
use crate::support::world::{NOW, code, planned, verify_all};

fn settler() -> Account {
    settler_address(DEV_ACCOUNTS[1].address)
}

fn terms(world: &World) -> Terms {
    exact(world, "eip2612")
}

#[tokio::test]
async fn the_first_permit_deploys_the_payees_settler_and_later_ones_use_it() {
    let world = World::new().await;
    assert!(world.devnet.code(settler()).is_empty());
    let first = paid(&world, &terms(&world)).await;
    let deployed = settles(&world, &world.chain, &first, PRICE).await;
    assert!(!world.devnet.code(settler()).is_empty());
    assert!(matches!(
        lookup(&world.chain, &first).await,
        Lookup::Settled(_)
    ));
    let second = paid(&world, &terms(&world)).await;
    assert!(matches!(
        lookup(&world.chain, &second).await,
        Lookup::Unused { .. }
    ));
    let settled = settles(&world, &world.chain, &second, PRICE).await;
    assert!(settled.gas_used + 500_000 < deployed.gas_used);
    assert_eq!(
        lookup(&world.chain, &second).await,
        Lookup::Settled(settled)
    );
    assert_eq!(
        world.refusal(&second).await,
        "invalid_exact_evm_eip2612_already_settled"
    );
}

#[tokio::test]
async fn the_devnets_settler_is_the_one_that_permits_name() {
    let world = World::new().await;
    let placed = world.devnet.place_settler(DEV_ACCOUNTS[1].address).unwrap();
    assert_eq!(placed, settler());
    let intent = paid(&world, &terms(&world)).await;
    settles(&world, &world.chain, &intent, PRICE).await;
}

#[tokio::test]
async fn a_permit_that_somebody_submits_first_still_pays() {
    let world = World::new().await;
    let terms = terms(&world);
    let prepared = prepare(&world, &terms).await.unwrap();
    let payment = present(&terms, prepared.payload.clone(), None);
    let intent = inspect(&world.chain, &terms, &payment).unwrap();
    let permit = &prepared.payload["permit"];
    let text = |key: &str| permit[key].as_str().unwrap();
    let signature = prepared.payload["signature"].as_str().unwrap();
    let signature = alloy_primitives::hex::decode(signature).unwrap();
    let call = Erc20::permitCall {
        owner: text("owner").parse().unwrap(),
        spender: text("spender").parse().unwrap(),
        value: text("value").parse().unwrap(),
        deadline: text("deadline").parse().unwrap(),
        v: signature[64],
        r: B256::from_slice(&signature[..32]),
        s: B256::from_slice(&signature[32..64]),
    };
    let dollar = world.devnet.dollar().address;
    transact(&world, &key(3), dollar, call.abi_encode());
    settles(&world, &world.chain, &intent, PRICE).await;
}

#[tokio::test]
async fn whoever_settles_a_permit_first_pays_for_it_and_it_counts() {
    let world = World::new().await;
    world.devnet.place_settler(DEV_ACCOUNTS[1].address).unwrap();
    let intent = paid(&world, &terms(&world)).await;
    let hash = front_run(&world, &intent).await;
    let Lookup::Settled(settled) = lookup(&world.chain, &intent).await else {
        panic!("not found");
    };
    assert!(settled.by_third_party);
    assert_eq!(settled.transaction.as_str(), format!("{hash:#x}"));
}

#[tokio::test]
async fn what_a_permit_says_wrong_is_refused_with_one_code_each() {
    let world = World::new().await;
    let terms = terms(&world);
    let number = |n: u64| Value::from(n.to_string());
    for (path, value, expected) in [
        (
            "owner",
            Value::from(DEV_ACCOUNTS[1].address.to_string()),
            "invalid_exact_evm_eip2612_owner",
        ),
        (
            "owner",
            Value::from(settler().to_string()),
            "invalid_exact_evm_eip2612_owner",
        ),
        (
            "spender",
            Value::from(stranger()),
            "invalid_exact_evm_eip2612_spender",
        ),
        (
            "value",
            number(PRICE + 1),
            "invalid_exact_evm_eip2612_value_mismatch",
        ),
        (
            "deadline",
            number(NOW + 5),
            "invalid_exact_evm_eip2612_deadline",
        ),
        (
            "deadline",
            number(NOW + 9999),
            "invalid_exact_evm_eip2612_deadline",
        ),
        (
            "owner",
            Value::from(stranger()),
            "invalid_exact_evm_eip2612_signature",
        ),
        ("nonce", number(1), "invalid_exact_evm_eip2612_signature"),
        ("spender", Value::from(1), "invalid_payload"),
    ] {
        let path = format!("/permit/{path}");
        let found = refused_if(&world, &terms, |payment| set(payment, &path, value)).await;
        assert_eq!(found, expected, "{path}");
    }
}

#[tokio::test]
async fn the_settler_of_another_payee_is_not_taken_and_not_signed_for() {
    let world = World::new().await;
    let other = settler_address(DEV_ACCOUNTS[3].address).to_string();
    let terms = offer(
        &world,
        "exact",
        &serde_json::json!({"assetTransferMethod": "eip2612", "settler": other}),
    );
    let Err(WalletError::Refused(refusal)) = prepare(&world, &terms).await else {
        panic!("signed");
    };
    assert_eq!(refusal.code(), "no_acceptable_terms");
}

#[tokio::test]
async fn balance_and_nonce_have_codes_of_their_own() {
    let world = World::new().await;
    world.devnet.place_settler(DEV_ACCOUNTS[1].address).unwrap();
    let terms = terms(&world);
    let poor = paid_as(&world, EvmSigner::random().unwrap(), &terms).await;
    assert_eq!(
        world.refusal(&poor).await,
        "invalid_exact_evm_eip2612_insufficient_balance"
    );
    // Two permits of the payer's for somebody else overtake this one.
    let old = paid(&world, &terms).await;
    for _ in 0..2 {
        other_permit(&world).await;
    }
    assert_eq!(world.refusal(&old).await, "invalid_exact_evm_eip2612_nonce");
}

/// The payer permits somebody else, which uses a nonce.
async fn other_permit(world: &World) {
    let mut wire = tollway_core::wire::PaymentRequirements::clone(&terms(world).wire);
    wire.pay_to = stranger();
    let terms = Terms::check(wire).unwrap();
    let intent = paid(world, &terms).await;
    world
        .devnet
        .place_settler(stranger().parse().unwrap())
        .unwrap();
    front_run(world, &intent).await;
}

#[tokio::test]
async fn a_settler_is_deployed_for_payees_that_the_operator_names_and_nobody_else() {
    let world = World::new().await;
    let mut wire = tollway_core::wire::PaymentRequirements::clone(&terms(&world).wire);
    wire.pay_to = stranger();
    let terms = Terms::check(wire).unwrap();
    let intent = paid(&world, &terms).await;
    for phase in [Phase::Verify, Phase::Settle] {
        assert_eq!(
            code(&verify(&world.chain, &intent, phase).await),
            "invalid_exact_evm_eip2612_not_supported"
        );
    }
    // Whoever wants to be paid so puts it there.
    let payee = stranger().parse().unwrap();
    let input = settler_deployment(payee).to_vec();
    transact(&world, &key(3), CREATE2_DEPLOYER, input);
    verify(&world.chain, &intent, Phase::Settle).await.unwrap();
}

#[tokio::test]
async fn two_permits_with_one_nonce_are_one_payment() {
    let world = World::new().await;
    world.devnet.place_settler(DEV_ACCOUNTS[1].address).unwrap();
    let terms = terms(&world);
    let (one, other) = (paid(&world, &terms).await, paid(&world, &terms).await);
    assert_eq!(one.identity, other.identity);
    settles(&world, &world.chain, &one, PRICE).await;
    assert_eq!(
        world.refusal(&other).await,
        "invalid_exact_evm_eip2612_already_settled"
    );
}

#[tokio::test]
async fn permits_of_several_payers_share_a_transaction_once_the_settler_is_there() {
    let world = World::new().await;
    let terms = terms(&world);
    let mut intents = Vec::new();
    for _ in 0..3 {
        let payer = world.payer(PRICE);
        intents.push(paid_as(&world, payer, &terms).await);
    }
    let verified = verify_all(&world.chain, &intents).await;
    let singly: Vec<_> = verified.into_iter().map(|v| planned(v.unwrap())).collect();
    assert_eq!(world.chain.plan(&singly).await.unwrap().len(), 3);

    let call = settler_deployment(DEV_ACCOUNTS[1].address);
    transact(&world, &key(3), CREATE2_DEPLOYER, call.to_vec());
    let before = world.payee_has();
    let (plan, watch) = world.send_together(&world.chain, &intents).await;
    assert_eq!(plan.payments.len(), 3);
    let outcomes = crate::support::world::outcomes(&world.chain, &watch).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Settled(_))));
    assert_eq!(world.payee_has() - before, U256::from(3 * PRICE));
}

#[tokio::test]
async fn a_permit_that_is_late_moves_nothing_for_ever() {
    let world = World::new().await;
    world.devnet.place_settler(DEV_ACCOUNTS[1].address).unwrap();
    let intent = paid(&world, &terms(&world)).await;
    let (to, input) = settling_call(&world, &intent).await;
    world.wait(3600);
    let hash = send(&world, &key(3), to, input.to_vec());
    assert_eq!(world.devnet.succeeded(hash), Some(false));
    assert_eq!(
        crate::support::world::code(&verify(&world.chain, &intent, Phase::Settle).await),
        "invalid_exact_evm_eip2612_deadline"
    );
    let Lookup::Unused { as_of } = lookup(&world.chain, &intent).await else {
        panic!("used");
    };
    assert!(as_of >= intent.deadline);
}

#[tokio::test]
async fn a_permit_that_a_later_one_passed_over_is_spent() {
    let world = World::new().await;
    world.devnet.place_settler(DEV_ACCOUNTS[1].address).unwrap();
    let passed_over = paid(&world, &terms(&world)).await;
    // Its nonce goes to somebody else's permit, and the next one is settled here.
    other_permit(&world).await;
    let next = paid(&world, &terms(&world)).await;
    settles(&world, &world.chain, &next, PRICE).await;
    assert_eq!(
        world.refusal(&passed_over).await,
        "invalid_exact_evm_eip2612_already_settled"
    );
    assert_eq!(lookup(&world.chain, &passed_over).await, Lookup::Spent);
}
