//! The owner's key pays.

use std::time::Duration;

use tollway_core::{Chain, Finality, Lookup, Outcome, Wallet, codes};
use tollway_starknet::{NewAccount, felt};

use tollway_test_starknet::Funded;
use tollway_test_starknet::{PAYEE, PRICE, World, account, address, limits, number};

#[tokio::test]
async fn an_owner_pays_once_and_the_payee_has_exactly_the_price() {
    let world = World::new().await;
    let wallet = world.owner_wallet(&world.payer);
    let terms = world.terms();
    let (before, theirs) = (
        world.balance(PAYEE).await,
        world.balance(&world.payer.address).await,
    );
    let prepared = wallet.prepare(&terms, &limits()).await.unwrap();
    let (verified, settled) = world.settle(&terms, prepared.clone()).await;
    let price = u128::from(PRICE);
    assert_eq!(world.balance(PAYEE).await, before + price);
    assert_eq!(
        world.balance(&world.payer.address).await,
        theirs - price,
        "the payer pays no fee"
    );
    assert!(!settled.fee.is_zero());
    assert!(
        settled.gas_used <= verified.gas,
        "{} > {}",
        settled.gas_used,
        verified.gas
    );

    // Shown again, it is used, and leads to the transaction.
    assert_eq!(
        world.refused(&terms, prepared).await,
        codes::NONCE_ALREADY_USED
    );
    let intent = &verified.intent;
    let look_up = world
        .chain
        .lookup(&intent.identity, &intent.expected, Finality::Included);
    assert_eq!(look_up.await.unwrap(), Lookup::Settled(settled.clone()));
    // Without the token's events the block of the use is found by halving.
    let halving = world.connect(|limits| limits.lookup_queries = 0).await;
    let look_up = halving.lookup(&intent.identity, &intent.expected, Finality::Included);
    assert_eq!(look_up.await.unwrap(), Lookup::Settled(settled.clone()));
    let observed = world.chain.observe(
        &settled.transaction,
        &intent.identity,
        &intent.expected,
        Finality::Included,
    );
    assert_eq!(observed.await.unwrap(), Outcome::Settled(settled));
    let health = world.chain.health().await;
    assert!(health.ready, "{health:?}");
    let signer = world.chain.signer_states().await.unwrap().remove(0);
    assert!(!signer.low && !signer.balance.is_zero());
}

#[tokio::test]
async fn an_account_is_deployed_out_of_its_own_address_and_pays() {
    let world = World::new().await;
    let key = tollway_starknet::StarkKey::from_hex("0xdeb107").unwrap();
    let new = NewAccount {
        class_hash: tollway_starknet::ACCOUNT_CLASS_HASH,
        salt: number("0x5a17"),
        public_key: key.public(),
    };
    let fresh = Funded {
        address: felt::text(&new.address()),
        key: "0xdeb107".to_owned(),
    };
    assert_eq!(account(&fresh).address(), &address(&fresh.address));
    world
        .node
        .mint(&fresh.address, 9_000_000_000_000_000_000)
        .await;

    let terms = world.terms();
    let wallet = world.owner_wallet(&fresh);
    let early = wallet.prepare(&terms, &limits()).await.unwrap();
    assert_eq!(
        world.refused(&terms, early.clone()).await,
        codes::ACCOUNT_NOT_DEPLOYED
    );

    let sender = world.sender(&fresh);
    let hash = sender.deploy(&new).await.unwrap();
    sender.wait(&hash, Duration::from_secs(60)).await.unwrap();
    world.settle(&terms, early).await;
}

#[tokio::test]
async fn a_signature_of_another_key_and_an_empty_purse_are_refused() {
    let world = World::new().await;
    let terms = world.terms();
    let thief = Funded {
        address: world.payer.address.clone(),
        key: world.stranger.key.clone(),
    };
    let stolen = world
        .owner_wallet(&thief)
        .prepare(&terms, &limits())
        .await
        .unwrap();
    let code = codes::INVALID_EXACT_STARKNET_PAYLOAD_SIGNATURE;
    assert_eq!(world.refused(&terms, stolen).await, code);
    let mut rich = limits();
    rich.max_amount = tollway_core::Amount::MAX;
    let dear = world.terms_of(tollway_test_starknet::STRK, u64::MAX);
    let wallet = world.owner_wallet(&world.payer);
    let signed = wallet.prepare(&dear, &rich).await.unwrap();
    let funds = world.balance(&world.payer.address).await;
    match funds < u128::from(u64::MAX) {
        true => assert_eq!(
            world.refused(&dear, signed).await,
            codes::INSUFFICIENT_FUNDS
        ),
        false => assert!(world.verify(&dear, signed).await.is_ok()),
    }
}

#[tokio::test]
async fn money_that_leaves_between_verify_and_settle_reverts_and_pays_nobody() {
    let world = World::new().await;
    let terms = world.terms();
    let wallet = world.owner_wallet(&world.payer);
    let prepared = wallet.prepare(&terms, &limits()).await.unwrap();
    let verified = world.verify(&terms, prepared).await.unwrap();
    let drain = tollway_starknet::OutsideExecution {
        caller: number(&world.stranger.address),
        nonce: number("0xd1a1"),
        execute_after: 1,
        execute_before: u128::from(u64::MAX),
        calls: vec![tollway_starknet::Call {
            to: number(tollway_test_starknet::STRK),
            selector: tollway_starknet::selectors::TRANSFER,
            calldata: vec![
                number("0x7"),
                world.balance(&world.payer.address).await.into(),
                number("0x0"),
            ],
        }],
    };
    world.sent_by_stranger(&drain).await;
    assert_eq!(world.balance(&world.payer.address).await, 0);
    let before = world.balance(PAYEE).await;
    let outcome = world.submit(&verified).await;
    let Outcome::NotSettled(tollway_core::Proof::Reverted { fee, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(!fee.is_zero(), "the facilitator paid for trying");
    assert_eq!(world.balance(PAYEE).await, before);
    // The nonce was rolled back: with money there again the same bytes settle.
    world.node.mint(&world.payer.address, PRICE).await;
    let outcome = world.submit(&verified).await;
    assert!(matches!(outcome, Outcome::Settled(_)), "{outcome:?}");
}
