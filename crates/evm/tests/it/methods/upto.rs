//! `upto` by Permit2: at most what was signed, and only by who is named.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use serde_json::json;
use tollway_core::{Amount, Chain, Finality, Lookup, Phase, Settlement};

use super::*;
use crate::support::world::code;

fn terms(world: &World) -> Terms {
    let kinds = world.chain.kinds();
    let kind = kinds.iter().find(|kind| kind.scheme == "upto").unwrap();
    let extra = serde_json::Value::Object(kind.extra.clone().unwrap());
    offer(world, "upto", &extra)
}

#[tokio::test]
async fn what_was_used_is_charged_and_never_more_than_was_signed() {
    let world = approved().await;
    let terms = terms(&world);
    let intent = paid(&world, &terms).await;
    assert_eq!(intent.settlement, Settlement::Submit);
    let settled = settles(&world, &world.chain, &intent, 1234).await;
    let mut charged = intent.clone();
    charged.expected.amount = Amount::from_atomic(1234);
    assert_eq!(
        lookup(&world.chain, &charged).await,
        Lookup::Settled(settled)
    );
    // The whole of another one.
    let intent = paid(&world, &terms).await;
    settles(&world, &world.chain, &intent, PRICE).await;
}

#[tokio::test]
async fn a_charge_above_what_was_permitted_is_not_signed() {
    let world = approved().await;
    let intent = paid(&world, &terms(&world)).await;
    let verified = verify(&world.chain, &intent, Phase::Settle).await.unwrap();
    let payment = PlannedPayment {
        verified,
        charge: Charge {
            amount: Amount::from_atomic(u128::from(PRICE) + 1),
        },
        alone: false,
    };
    let plan = world.chain.plan(&[payment]).await.unwrap().remove(0);
    let Err(ChainError::Refused(refusal)) = world.chain.seal(&plan, &world.slot().await).await
    else {
        panic!("sealed");
    };
    assert_eq!(refusal.code(), "upto_amount_exceeds_permitted");
}

#[tokio::test]
async fn nothing_used_is_nothing_sent_and_the_same_payment() {
    let world = approved().await;
    let terms = terms(&world);
    let prepared = prepare(&world, &terms).await.unwrap();
    let payment = present(&terms, prepared.payload, None);
    let most = inspect(&world.chain, &terms, &payment).unwrap();
    let nothing = inspect(&world.chain, &terms.charging(Amount::ZERO), &payment).unwrap();
    assert_eq!(nothing.settlement, Settlement::Nothing);
    assert_eq!(nothing.identity, most.identity);
    assert!(nothing.expected.amount.is_zero());
}

#[tokio::test]
async fn it_is_settled_by_the_signer_that_is_named_and_shares_with_nobody() {
    let world = approved().await;
    let mut config = world.config(world.rpc.clone());
    config.signers = vec![key(4).into(), key(2).into()];
    let two = EvmChain::connect(config).await.unwrap();
    let named = json!({"facilitatorAddress": key(2).address().to_checksum(None)});
    let terms = offer(&world, "upto", &named);
    let intent = paid(&world, &terms).await;
    let verified = verify(&two, &intent, Phase::Settle).await.unwrap();
    assert_eq!(verified.signers, vec![two.signers()[1].clone()]);
    let other = world.payment_of(&world.payer(PRICE), 1);
    let other = verify(&two, &other, Phase::Settle).await.unwrap();
    let planned = [verified, other].map(crate::support::world::planned);
    assert_eq!(two.plan(&planned).await.unwrap().len(), 2);
    settles(&world, &two, &intent, 7).await;
}

#[tokio::test]
async fn another_signer_than_the_one_that_is_named_signs_nothing() {
    let world = approved().await;
    let mut config = world.config(world.rpc.clone());
    config.signers = vec![key(4).into(), key(2).into()];
    let two = EvmChain::connect(config).await.unwrap();
    let intent = paid(&world, &terms(&world)).await;
    let verified = verify(&two, &intent, Phase::Settle).await.unwrap();
    let planned = crate::support::world::planned(verified);
    let plan = two.plan(&[planned]).await.unwrap().remove(0);
    let mut slot = world.slot().await;
    slot.signer = two.signers()[0].clone();
    let Err(ChainError::Refused(refusal)) = two.seal(&plan, &slot).await else {
        panic!("sealed");
    };
    assert_eq!(refusal.code(), "upto_unauthorized_facilitator");
}

#[tokio::test]
async fn nobody_else_can_settle_it() {
    let world = approved().await;
    let intent = paid(&world, &terms(&world)).await;
    let (to, input) = settling_call(&world, &intent).await;
    let before = world.payee_has();
    let hash = send(&world, &key(3), to, input.to_vec());
    assert_eq!(world.devnet.succeeded(hash), Some(false));
    assert_eq!(world.payee_has(), before);
    settles(&world, &world.chain, &intent, 5).await;
}

#[tokio::test]
async fn wrong_facilitators_schemes_and_networks_have_their_codes() {
    let world = approved().await;
    let terms = terms(&world);
    let witness = "/permit2Authorization/witness/facilitator";
    let other = refused_if(&world, &terms, |p| set(p, witness, stranger())).await;
    assert_eq!(other, "upto_facilitator_mismatch");
    // The requirements name somebody who is none of us.
    let foreign = offer(&world, "upto", &json!({"facilitatorAddress": stranger()}));
    let foreign = paid(&world, &foreign).await;
    assert_eq!(world.refusal(&foreign).await, "upto_facilitator_mismatch");
    let scheme = refused_if(&world, &terms, |p| p.accepted.scheme = "exact".into()).await;
    assert_eq!(scheme, "invalid_upto_evm_scheme");
    let network = refused_if(&world, &terms, |p| p.accepted.network = "eip155:1".into()).await;
    assert_eq!(network, "invalid_upto_evm_network_mismatch");
    let spender = tollway_evm::EXACT_PROXY.to_checksum(None);
    let path = "/permit2Authorization/spender";
    let spender = refused_if(&world, &terms, |p| set(p, path, spender)).await;
    assert_eq!(spender, "invalid_permit2_spender");
}

#[tokio::test]
async fn at_verify_it_must_hold_for_the_maximum() {
    let world = World::new().await;
    let payer = world.payer(PRICE - 1);
    approve(&world, &payer);
    let intent = paid_as(&world, payer, &terms(&world)).await;
    assert_eq!(
        code(&verify(&world.chain, &intent, Phase::Verify).await),
        "permit2_insufficient_balance"
    );
    approve(&world, &key(0));
    let less = refused_if(&world, &terms(&world), |p| {
        set(p, "/permit2Authorization/permitted/amount", "9999");
    })
    .await;
    assert_eq!(less, "permit2_amount_mismatch");
}

#[tokio::test]
async fn a_wallet_signs_it_only_for_a_facilitator_that_is_named() {
    let world = approved().await;
    let unnamed = offer(&world, "upto", &json!({}));
    let Err(WalletError::Refused(refusal)) = prepare(&world, &unnamed).await else {
        panic!("signed");
    };
    assert_eq!(refusal.code(), "no_acceptable_terms");
}

#[tokio::test]
async fn it_is_listed_only_where_it_can_be_settled() {
    let world = World::new().await;
    let listed = |chain: &EvmChain| {
        let kinds = chain.kinds().into_iter();
        kinds.map(|kind| kind.scheme).collect::<Vec<_>>()
    };
    assert_eq!(listed(&world.chain), ["exact", "upto"]);
    let mut config = world.config(world.rpc.clone());
    config.signers = Vec::new();
    let reader = EvmChain::connect(config).await.unwrap();
    assert_eq!(listed(&reader), ["exact"], "nobody to name");
    let nothing = alloy_primitives::Bytes::new();
    world
        .devnet
        .set_code(tollway_evm::UPTO_PROXY, nothing)
        .unwrap();
    let config = world.config(world.rpc.clone());
    let without = EvmChain::connect(config).await.unwrap();
    assert_eq!(listed(&without), ["exact"], "no proxy");
}

#[tokio::test]
async fn a_buyer_who_knows_only_the_most_finds_what_was_charged() {
    let world = approved().await;
    let terms = terms(&world);
    let (intent, burned) = (paid(&world, &terms).await, paid(&world, &terms).await);
    let settled = settles(&world, &world.chain, &intent, 1234).await;
    let (identity, expected) = (&intent.identity, &intent.expected);
    let within = world
        .chain
        .lookup_at_most(identity, expected, Finality::Included);
    assert_eq!(within.await.unwrap(), Lookup::Settled(settled));
    // Who knows the charge is told that this was not it.
    assert_eq!(lookup(&world.chain, &intent).await, Lookup::Spent);

    // A nonce that was burned beside a smaller transfer of another kind is not paid.
    let nonce: U256 = burned.identity.nonce.parse().unwrap();
    let burn = Nonces::invalidateUnorderedNoncesCall {
        word: nonce >> 8,
        mask: U256::from(1) << usize::try_from(nonce & U256::from(255)).unwrap(),
    };
    transact(&world, &key(0), PERMIT2, burn.abi_encode());
    let within = world
        .chain
        .lookup_at_most(&burned.identity, &burned.expected, Finality::Included);
    assert_eq!(within.await.unwrap(), Lookup::Spent);
}

#[tokio::test]
async fn a_charge_that_the_balance_covers_settles_though_the_maximum_is_not_there_any_more() {
    let world = World::new().await;
    let payer = world.payer(PRICE);
    approve(&world, &payer);
    let terms = terms(&world);
    let intent = paid_as(&world, payer.clone(), &terms).await;
    verify(&world.chain, &intent, Phase::Verify).await.unwrap();
    // While the answer was made, all but a little was moved away.
    let left = 1_234;
    let away = Erc20::transferCall {
        to: key(5).address(),
        amount: U256::from(PRICE - left),
    };
    let token = world.devnet.dollar().address;
    transact(&world, &payer, token, away.abi_encode());
    let charging = |amount: u64| {
        let mut charged = intent.clone();
        charged.expected.amount = Amount::from_atomic(u128::from(amount));
        charged
    };
    let above = verify(&world.chain, &charging(left + 1), Phase::Settle).await;
    assert_eq!(code(&above), "permit2_insufficient_balance");
    let nothing = verify(&world.chain, &charging(0), Phase::Settle).await;
    assert!(nothing.is_ok(), "nothing moves, and nothing is needed");
    settles(&world, &world.chain, &charging(left), left).await;
}
