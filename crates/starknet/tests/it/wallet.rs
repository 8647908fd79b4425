//! What a buyer signs, and what it does not.

use std::time::Duration;

use serde_json::json;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Amount, Limits, Terms, Wallet, WalletError, codes};
use tollway_starknet::{Felt, SignedExecution, Signer, StarkKey, StarknetWallet, felt};

use crate::support::{FEE_PAYER, NOW, PAYER, TIMEOUT, World, address, felt_of, limits, network};

async fn refused(world: &World, change: impl FnOnce(&mut PaymentRequirements)) -> String {
    let mut offer = world.offer();
    change(&mut offer);
    let terms = Terms::check(offer).unwrap();
    match world.wallet.prepare(&terms, &limits()).await {
        Err(WalletError::Refused(refusal)) => refusal.code().to_owned(),
        other => panic!("not refused: {other:?}"),
    }
}

fn fee_payer(offer: &mut PaymentRequirements, value: serde_json::Value) {
    let extra = offer.extra.get_or_insert_default();
    extra.insert("feePayer".to_owned(), value);
}

#[tokio::test]
async fn a_forbidden_fee_payer_is_never_signed_for() {
    let world = World::new().await;
    let code = codes::INVALID_PAYMENT_REQUIREMENTS;
    for payer in ["0x0", "0x000", "0x414e595f43414c4c4552", PAYER, "0xzz"] {
        let payer = json!(payer);
        assert_eq!(refused(&world, |o| fee_payer(o, payer)).await, code);
    }
    let padded = json!(format!("0x{:0>64}", &PAYER[2..]));
    assert_eq!(refused(&world, |o| fee_payer(o, padded)).await, code);
    assert_eq!(refused(&world, |o| o.extra = None).await, code);
}

#[tokio::test]
async fn the_limits_of_the_caller_hold() {
    let world = World::new().await;
    let dear = refused(&world, |o| o.amount = "1000001".to_owned()).await;
    assert_eq!(dear, codes::PRICE_ABOVE_LIMIT);
    let long = refused(&world, |o| o.max_timeout_seconds = 901).await;
    assert_eq!(long, codes::POLICY_LIFETIME);
    let unknown = refused(&world, |o| o.asset = "0x1234".to_owned()).await;
    assert_eq!(unknown, codes::NO_ACCEPTABLE_TERMS);
    let elsewhere = refused(&world, |o| o.network = "starknet:SN_MAIN".to_owned()).await;
    assert_eq!(elsewhere, codes::NO_ACCEPTABLE_TERMS);
}

#[tokio::test]
async fn what_is_signed_is_what_was_asked_and_nothing_else() {
    let world = World::new().await;
    let terms = Terms::check(world.offer()).unwrap();
    let one = world.wallet.prepare(&terms, &limits()).await.unwrap();
    let other = world.wallet.prepare(&terms, &limits()).await.unwrap();
    assert_ne!(one.identity, other.identity, "nonces do not repeat");
    assert_eq!(one.valid_until.secs(), NOW + TIMEOUT);
    let chain_id = felt::chain_id(&network()).unwrap();
    let signed = SignedExecution::parse(&one.payload, &chain_id).unwrap();
    assert_eq!(felt::text(&signed.from), PAYER);
    assert_eq!(felt::text(&signed.execution.caller), FEE_PAYER);
    assert_eq!(signed.execution.execute_after, 1);
    assert_eq!(signed.execution.calls.len(), 1);
    assert_eq!(signed.signature.len(), 2);
    let key = crate::support::owner();
    let hash = signed.hash(&chain_id);
    let (r, s) = (&signed.signature[0], &signed.signature[1]);
    assert!(starknet_crypto::verify(&key.public(), &hash, r, s).unwrap());
}

#[tokio::test]
async fn a_session_signs_with_four_felts_and_not_beyond_its_end() {
    let world = World::new().await;
    let key = StarkKey::from_hex("0x71d7bb07b9a64f6f78ac4c816aff4da9").unwrap();
    let session = |valid_until| {
        let signer = Signer::Session {
            key: key.clone(),
            valid_until,
        };
        StarknetWallet::new(&address(PAYER), vec![network()], signer)
            .unwrap()
            .with_clock(world.clock.clone())
    };
    let terms = Terms::check(world.offer()).unwrap();
    let end = NOW + TIMEOUT;
    let nonce = Felt::from(7_u8);
    let prepared = session(end).sign(&terms, &limits(), nonce).unwrap();
    let felts = &prepared.payload["outsideExecution"]["signature"];
    assert_eq!(felts.as_array().unwrap().len(), 4);
    assert_eq!(felt_of(felts[0].as_str().unwrap()), key.public());
    assert_eq!(felt_of(felts[3].as_str().unwrap()), Felt::from(end));
    let over = session(end - 1).sign(&terms, &limits(), nonce).unwrap_err();
    assert_eq!(over.code(), codes::SESSION_EXPIRED);
    // The owner signs the same payment anew: only one of the two can execute.
    let again = world.wallet.sign(&terms, &limits(), nonce).unwrap();
    assert_eq!(again.identity, prepared.identity);
}

#[tokio::test]
async fn a_wallet_without_a_node_knows_no_balance() {
    let world = World::new().await;
    let asset = address(crate::support::USDC);
    assert_eq!(
        world.wallet.balance(&network(), &asset).await.unwrap(),
        None
    );
    let signer = Signer::Owner(crate::support::owner());
    let wallet = StarknetWallet::new(&address(PAYER), vec![network()], signer).unwrap();
    let knowing = wallet.with_node(network(), world.rpc.clone());
    let balance = knowing.balance(&network(), &asset).await.unwrap();
    assert_eq!(balance, Some(Amount::from_atomic(10_000)));
    let tight = Limits {
        max_amount: Amount::ZERO,
        max_lifetime: Duration::from_secs(900),
    };
    let terms = Terms::check(world.offer()).unwrap();
    assert!(knowing.prepare(&terms, &tight).await.is_err());
}
