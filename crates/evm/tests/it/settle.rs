//! Money moves, once, and only a receipt says so.

use alloy_primitives::{Address as Account, U256, address};
use alloy_sol_types::{SolCall, sol};
use serde_json::json;
use tollway_core::assets::AssetTable;
use tollway_core::{
    Amount, Broadcast, Chain, Finality, Intent, Lookup, Network, Outcome, Phase, Proof, Raw, Slot,
    TxHash, Wallet,
};
use tollway_devnet::{Contract, DEV_ACCOUNTS, Devnet, Dollar, Mining, Preset};
use tollway_evm::EvmChain;

use crate::support::world::{NOW, PRICE, World, key, token, watch};

sol! {
    interface Wallet3009 {
        function initialize(address owner);
        function cancelAuthorization(address authorizer, bytes32 nonce, bytes signature);
    }
}

#[tokio::test]
async fn a_payment_settles_end_to_end() {
    for preset in [Preset::BaseSepolia, Preset::SeiTestnet, Preset::Base] {
        let world = World::on(preset).await;
        let before = world.payee_has();
        let intent = world.pay().await;
        let verified = world.verify(&intent).await.unwrap();
        assert_eq!(world.payee_has(), before, "verify commits nothing");
        world
            .chain
            .verify(verified.intent, Phase::Settle, Amount::ZERO)
            .await
            .unwrap();

        let (raw, watch) = world.send(&intent).await;
        let Outcome::Settled(settled) = world.outcome(&watch).await else {
            panic!("not settled");
        };
        assert_eq!(world.payee_has() - before, U256::from(PRICE));
        assert_eq!(settled.transaction, raw.hash);
        assert_eq!(settled.amount, Amount::from_atomic(u128::from(PRICE)));
        assert!(!settled.by_third_party);
        assert!(settled.log_index.is_some());
        assert!(
            (50_000..120_000).contains(&settled.gas_used),
            "{}",
            settled.gas_used
        );
        assert!(settled.fee.as_u128().unwrap() > u128::from(settled.gas_used));
        assert!(settled.block_hash.starts_with("0x"));
        assert_eq!(settled.block_number, world.devnet.block_number());
    }
}

#[tokio::test]
async fn a_transaction_that_somebody_names_counts_only_for_its_own_authorization() {
    let world = World::new().await;
    let (paid, equal) = (world.pay().await, world.pay().await);
    let (raw, _) = world.send(&paid).await;
    let named = async |transaction: &TxHash, intent: &Intent| {
        world
            .chain
            .observe(
                transaction,
                &intent.identity,
                &intent.expected,
                Finality::Included,
            )
            .await
            .unwrap()
    };
    assert!(matches!(named(&raw.hash, &paid).await, Outcome::Settled(_)));
    assert!(
        matches!(named(&raw.hash, &equal).await, Outcome::NotSettled(_)),
        "an equal payment of the same payer is another payment"
    );
    let nowhere = TxHash::new(&format!("0x{}", "ab".repeat(32)));
    assert_eq!(named(&nowhere, &paid).await, Outcome::Unknown);
}

#[tokio::test]
async fn a_wallet_knows_its_balance_where_it_knows_a_node() {
    let world = World::new().await;
    let asset = world.terms().asset;
    let held = world
        .wallet(key(0))
        .balance(&world.network, &asset)
        .await
        .unwrap();
    assert_eq!(held, Some(Amount::from_atomic(1_000_000_000_000)));
    let elsewhere = Network::eip155(8453);
    assert_eq!(
        world
            .wallet(key(0))
            .balance(&elsewhere, &asset)
            .await
            .unwrap(),
        None
    );
}

const SMART: Account = address!("00000000000000000000000000000000000000c1");

/// A smart account with money, owned by dev account 4.
async fn with_account_of(code: Contract) -> World {
    let world = World::new().await;
    world.devnet.set_code(SMART, code.runtime()).unwrap();
    world.devnet.mint(SMART, U256::from(PRICE)).unwrap();
    world
}

#[tokio::test]
async fn a_smart_account_pays_by_its_own_rules() {
    let world = with_account_of(Contract::SmartWallet).await;
    let owner = Wallet3009::initializeCall {
        owner: DEV_ACCOUNTS[4].address,
    };
    world
        .devnet
        .system_call(SMART, owner.abi_encode().into())
        .unwrap();

    let stranger = world.authorize(&world.terms(), SMART, &key(3));
    assert_eq!(
        world.refusal(&stranger).await,
        "invalid_exact_evm_signature"
    );

    let intent = world.authorize(&world.terms(), SMART, &key(4));
    let verified = world.verify(&intent).await.unwrap();
    assert!(verified.gas > world.chain.limits().payment_gas);
    // It was asked as this account, and may answer others differently.
    assert_eq!(verified.signers, world.chain.signers());
    let (_, watch) = world.send(&intent).await;
    assert!(matches!(world.outcome(&watch).await, Outcome::Settled(_)));
    assert_eq!(world.devnet.balance_of(SMART), U256::ZERO);
}

#[tokio::test]
async fn an_account_that_got_code_no_longer_pays_by_its_key() {
    let world = World::new().await;
    let payer = DEV_ACCOUNTS[4].address;
    let intent = world.authorize(&world.terms(), payer, &key(4));
    // A delegation to an account whose owner is somebody else.
    world
        .devnet
        .set_code(payer, Contract::SmartWallet.runtime())
        .unwrap();
    assert_eq!(world.refusal(&intent).await, "invalid_exact_evm_signature");

    // Once that owner is the account's own key, the key counts again, by the code's leave.
    let owner = Wallet3009::initializeCall { owner: payer };
    world
        .devnet
        .system_call(payer, owner.abi_encode().into())
        .unwrap();
    world.verify(&intent).await.unwrap();
    let (_, watch) = world.send(&intent).await;
    assert!(matches!(world.outcome(&watch).await, Outcome::Settled(_)));
}

#[tokio::test]
async fn an_account_that_lies_to_simulations_is_asked_as_it_will_be_settled() {
    let world = with_account_of(Contract::TwoFacedWallet).await;
    let intent = world.authorize(&world.terms(), SMART, &key(3));
    assert_eq!(
        world.refusal(&intent).await,
        "invalid_exact_evm_transaction_simulation_failed"
    );
    // Were it sent all the same, the receipt would decide.
    let (_, watch) = world.send(&intent).await;
    assert!(matches!(
        world.outcome(&watch).await,
        Outcome::NotSettled(Proof::Reverted { .. })
    ));
}

#[tokio::test]
async fn an_account_that_burns_gas_is_refused_within_its_limit() {
    let world = with_account_of(Contract::GasBurnerWallet).await;
    let intent = world.authorize(&world.terms(), SMART, &key(3));
    assert_eq!(world.refusal(&intent).await, "invalid_exact_evm_signature");
}

#[tokio::test]
async fn a_payment_that_was_settled_is_not_verified_again() {
    let world = World::new().await;
    let intent = world.pay().await;
    let (raw, watch) = world.send(&intent).await;
    assert!(matches!(world.outcome(&watch).await, Outcome::Settled(_)));
    assert_eq!(
        world.refusal(&intent).await,
        "invalid_exact_evm_nonce_already_used"
    );

    // The same bytes again change nothing, and a second transaction reverts.
    assert_eq!(
        world.chain.broadcast(&raw).await.unwrap(),
        Broadcast::NonceUsed
    );
    let before = world.payee_has();
    let (_, second) = world.send(&intent).await;
    assert!(matches!(
        world.outcome(&second).await,
        Outcome::NotSettled(Proof::Reverted { .. })
    ));
    assert_eq!(world.payee_has(), before);
}

#[tokio::test]
async fn an_offer_that_came_back_changed_is_refused() {
    let world = World::new().await;
    let mut intent = world.pay().await;
    std::sync::Arc::make_mut(&mut intent.payload)
        .accepted
        .max_timeout_seconds = 61;
    assert_eq!(
        world.refusal(&intent).await,
        "no_matching_payment_requirements"
    );
}

#[tokio::test]
async fn a_payment_object_that_cannot_be_read_is_refused_before_anything_is_asked() {
    let world = World::new().await;
    let intent = world.pay().await;
    let asked = world.rpc.stats();
    let code = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut payload = serde_json::Value::Object(intent.payload.payload.clone());
        change(&mut payload);
        let mut presented = intent.payload.clone();
        let object = payload.as_object().unwrap().clone();
        std::sync::Arc::make_mut(&mut presented).payload = object;
        let refused = world.chain.inspect(&presented, &intent.terms).unwrap_err();
        refused.code().to_owned()
    };
    let long = format!("0x{}", "00".repeat(5000));
    for (field, value, expected) in [
        ("signature", json!(null), "invalid_payload"),
        ("signature", json!("xyz"), "invalid_payload"),
        ("signature", json!("0x1"), "invalid_payload"),
        ("signature", json!(long), "invalid_payload"),
        ("authorization", json!(7), "invalid_payload"),
    ] {
        assert_eq!(code(&|p| p[field] = value.clone()), expected, "{field}");
    }
    for (field, value, expected) in [
        ("from", json!("0x12"), "invalid_payload"),
        ("from", json!(null), "invalid_payload"),
        (
            "to",
            json!(DEV_ACCOUNTS[1].address.to_string()[2..]),
            "invalid_payload",
        ),
        ("value", json!(10_000), "invalid_payload"),
        ("value", json!("1e4"), "invalid_exact_evm_signature"),
        ("value", json!("-1"), "invalid_exact_evm_signature"),
        ("value", json!("010000"), "invalid_exact_evm_signature"),
        (
            "value",
            json!("9".repeat(79)),
            "invalid_exact_evm_signature",
        ),
        ("validBefore", json!(""), "invalid_exact_evm_signature"),
        ("nonce", json!("0x01"), "invalid_exact_evm_signature"),
    ] {
        assert_eq!(
            code(&|p| p["authorization"][field] = value.clone()),
            expected,
            "{field}"
        );
    }
    let other = json!({"permit2Authorization": {}, "signature": "0x"});
    assert_eq!(code(&|p| *p = other.clone()), "unsupported_payload_type");
    assert_eq!(code(&|p| *p = json!({})), "invalid_payload");
    assert_eq!(world.rpc.stats(), asked);
}

#[tokio::test]
async fn a_payer_without_the_money_is_told_so() {
    let world = World::new().await;
    let poor = tollway_evm::EvmSigner::random().unwrap();
    let intent = world.authorize(&world.terms(), poor.address(), &poor);
    assert_eq!(
        world.refusal(&intent).await,
        "invalid_exact_evm_insufficient_balance"
    );
}

#[tokio::test]
async fn an_authorization_needs_more_time_before_the_goods_than_before_the_money() {
    let world = World::new().await;
    let intent = world.pay().await;
    let at = |phase| world.chain.verify(intent.clone(), phase, Amount::ZERO);
    world.wait(30);
    at(Phase::Verify).await.unwrap();
    world.wait(1);
    assert_eq!(
        world.refusal(&intent).await,
        "invalid_exact_evm_payload_authorization_valid_before"
    );
    world.wait(23);
    at(Phase::Settle).await.unwrap();
    world.wait(1);
    assert!(at(Phase::Settle).await.is_err());

    // Sent too late, it reverts, and that is proof.
    world.wait(10);
    let (_, watch) = world.send(&intent).await;
    assert!(matches!(
        world.outcome(&watch).await,
        Outcome::NotSettled(Proof::Reverted { .. })
    ));
    let lookup = world
        .chain
        .lookup(&intent.identity, &intent.expected, Finality::Included)
        .await
        .unwrap();
    assert!(matches!(lookup, Lookup::Unused { .. }), "{lookup:?}");
}

#[tokio::test]
async fn an_authorization_that_outlives_every_timeout_is_refused() {
    let world = World::new().await;
    let intent = world.pay().await;
    // For a clock that is half an hour behind, it stays valid too long.
    let mut config = world.config(world.rpc.clone());
    config.clock = crate::support::clock::TestClock::at(NOW - 1800);
    let chain = EvmChain::connect(config).await.unwrap();
    let refused = chain
        .verify(intent, Phase::Verify, Amount::ZERO)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("valid_before"), "{refused}");
}

#[tokio::test]
async fn a_payment_that_a_stranger_submitted_first_still_counts() {
    let world = World::new().await;
    world.devnet.set_mining(Mining::Manual);
    let intent = world.pay().await;
    let mut config = world.config(world.rpc.clone());
    config.signers = vec![key(3).into()];
    let stranger = EvmChain::connect(config).await.unwrap();
    let slot = Slot {
        signer: stranger.signers().remove(0),
        nonce: 0,
        replaces: None,
    };
    let stolen = stranger
        .seal(&world.plan(&intent).await, &slot)
        .await
        .unwrap();
    assert_eq!(
        stranger.broadcast(&stolen).await.unwrap(),
        Broadcast::Accepted
    );
    world.devnet.mine(1).unwrap();

    let (_, watch) = world.send(&intent).await;
    assert_eq!(world.outcome(&watch).await, Outcome::Unknown);
    world.devnet.mine(1).unwrap();
    assert!(matches!(
        world.outcome(&watch).await,
        Outcome::NotSettled(Proof::Reverted { .. })
    ));
    let found = world
        .chain
        .lookup(&intent.identity, &intent.expected, Finality::Included)
        .await
        .unwrap();
    let Lookup::Settled(settled) = found else {
        panic!("{found:?}");
    };
    assert!(settled.by_third_party);
    assert_eq!(settled.transaction, stolen.hash);
}

#[tokio::test]
async fn a_cancelled_authorization_is_spent() {
    let world = World::new().await;
    let intent = world.pay().await;
    let dollar = world.devnet.dollar().clone();
    let domain = tollway_evm::typed_data::Domain::new(
        &dollar.name,
        "2",
        world.devnet.chain_id(),
        dollar.address,
    );
    let nonce = intent.identity.nonce.parse().unwrap();
    let authorizer = DEV_ACCOUNTS[0].address;
    let type_hash =
        alloy_primitives::keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    let words = [type_hash, authorizer.into_word(), nonce].concat();
    let digest = domain.digest(alloy_primitives::keccak256(words));
    let call = Wallet3009::cancelAuthorizationCall {
        authorizer,
        nonce,
        signature: key(0).sign(digest).to_vec().into(),
    };
    let lookup = || {
        world
            .chain
            .lookup(&intent.identity, &intent.expected, Finality::Included)
    };
    assert!(matches!(lookup().await.unwrap(), Lookup::Unused { .. }));

    crate::support::transact(&world, dollar.address, call.abi_encode()).await;
    assert_eq!(lookup().await.unwrap(), Lookup::Spent);
    assert_eq!(
        world.refusal(&intent).await,
        "invalid_exact_evm_nonce_already_used"
    );
}

const ODD: Account = address!("00000000000000000000000000000000000000d1");

/// A token of ours that cheats.
async fn with_token(code: Contract) -> World {
    let devnet = Devnet::builder().fixed_time(NOW).build().unwrap();
    let network = Network::eip155(devnet.chain_id());
    let mut odd = token(&network, ODD, "USDC");
    if code == Contract::FeeToken {
        let dollar = Dollar {
            address: ODD,
            ..devnet.dollar().clone()
        };
        devnet.place_token(code, &dollar).unwrap();
    } else {
        devnet.set_code(ODD, code.runtime()).unwrap();
    }
    if code == Contract::LyingToken {
        // It shows no domain, so no start-up check would let it pass.
        odd.methods = std::borrow::Cow::Borrowed(&[]);
    }
    World::with(devnet, AssetTable::builtin().with(odd)).await
}

#[tokio::test]
async fn a_token_that_only_says_yes_never_counts_as_paid() {
    let world = with_token(Contract::SilentToken).await;
    let intent = world.authorize(
        &world.terms_in(ODD, "USDC"),
        DEV_ACCOUNTS[0].address,
        &key(0),
    );
    // The simulation succeeds: it is no evidence.
    world.verify(&intent).await.unwrap();
    let (raw, watch) = world.send(&intent).await;
    assert_eq!(
        world.outcome(&watch).await,
        Outcome::NotSettled(no_transfer(&world, &raw))
    );
}

#[tokio::test]
async fn tokens_that_pay_less_or_lie_never_count_as_paid() {
    for code in [Contract::FeeToken, Contract::LyingToken] {
        let world = with_token(code).await;
        let terms = world.terms_in(ODD, "USDC");
        let intent = world.authorize(&terms, DEV_ACCOUNTS[0].address, &key(0));
        if code == Contract::FeeToken {
            let payer = DEV_ACCOUNTS[0].address;
            let mint = world.devnet.mint_token(ODD, payer, U256::from(PRICE));
            mint.unwrap();
            // The simulation succeeds: it is no evidence.
            world.verify(&intent).await.unwrap();
        } else {
            assert_eq!(world.refusal(&intent).await, "asset_not_allowed");
        }
        let (raw, watch) = world.send(&intent).await;
        assert_eq!(
            world.outcome(&watch).await,
            Outcome::NotSettled(no_transfer(&world, &raw)),
            "{code:?}"
        );
    }
}

/// Included for nothing; its whole fee is gone.
fn no_transfer(world: &World, raw: &Raw) -> Proof {
    let receipt = json!([raw.hash]);
    let receipt = world
        .devnet
        .request("eth_getTransactionReceipt", receipt)
        .unwrap();
    let number = |field: &str| {
        let text = receipt[field].as_str().unwrap();
        u128::from_str_radix(&text[2..], 16).unwrap()
    };
    Proof::NoTransfer {
        transaction: raw.hash.clone(),
        fee: Amount::from_atomic(number("gasUsed") * number("effectiveGasPrice")),
    }
}
#[tokio::test]
async fn a_stuck_transaction_is_outbid_under_its_own_nonce() {
    let world = World::new().await;
    world.devnet.set_mining(Mining::Manual);
    let intent = world.pay().await;
    let plan = world.plan(&intent).await;
    let slot = world.slot().await;
    let first = world.chain.seal(&plan, &slot).await.unwrap();
    assert_eq!(
        world.chain.broadcast(&first).await.unwrap(),
        Broadcast::Accepted
    );
    assert_eq!(
        world.chain.broadcast(&first).await.unwrap(),
        Broadcast::Accepted,
        "known"
    );

    // Another transaction that does not pay more is not taken.
    let cancel = world.chain.plan(&[]).await.unwrap().remove(0);
    let meek = world.chain.seal(&cancel, &slot).await.unwrap();
    assert_eq!(
        world.chain.broadcast(&meek).await.unwrap(),
        Broadcast::Underpriced
    );

    let replacing = |raw: &Raw| Slot {
        replaces: Some(raw.clone()),
        ..slot.clone()
    };
    let second = world.chain.seal(&plan, &replacing(&first)).await.unwrap();
    assert_ne!(second.hash, first.hash);
    assert_eq!(
        world.chain.broadcast(&second).await.unwrap(),
        Broadcast::Accepted
    );
    let third = world
        .chain
        .seal(&cancel, &replacing(&second))
        .await
        .unwrap();
    assert_eq!(
        world.chain.broadcast(&third).await.unwrap(),
        Broadcast::Accepted
    );

    world.devnet.mine(1).unwrap();
    let before = world.payee_has();
    let watch = watch(&intent, &slot, &[&first, &second, &third]);
    assert_eq!(
        world.outcome(&watch).await,
        Outcome::NotSettled(no_transfer(&world, &third))
    );
    assert_eq!(world.payee_has(), before, "cancelled");
    assert_eq!(world.slot().await.nonce, slot.nonce + 1);
}

#[tokio::test]
async fn whichever_of_a_slots_transactions_lands_settles_it() {
    let world = World::new().await;
    world.devnet.set_mining(Mining::Manual);
    let intent = world.pay().await;
    let plan = world.plan(&intent).await;
    let slot = world.slot().await;
    let first = world.chain.seal(&plan, &slot).await.unwrap();
    let replacing = Slot {
        replaces: Some(first.clone()),
        ..slot.clone()
    };
    let second = world.chain.seal(&plan, &replacing).await.unwrap();
    // The second was stored and never sent.
    world.chain.broadcast(&first).await.unwrap();
    world.devnet.mine(1).unwrap();
    let Outcome::Settled(settled) = world
        .outcome(&watch(&intent, &slot, &[&first, &second]))
        .await
    else {
        panic!("not settled");
    };
    assert_eq!(settled.transaction, first.hash);
}

#[tokio::test]
async fn a_nonce_that_a_stranger_used_is_proof_that_ours_cannot_land() {
    let world = World::new().await;
    let intent = world.pay().await;
    let slot = world.slot().await;
    let ours = world
        .chain
        .seal(&world.plan(&intent).await, &slot)
        .await
        .unwrap();
    let cancel = world.chain.plan(&[]).await.unwrap().remove(0);
    let other = world.chain.seal(&cancel, &slot).await.unwrap();
    world.chain.broadcast(&other).await.unwrap();

    assert_eq!(
        world.outcome(&watch(&intent, &slot, &[&ours])).await,
        Outcome::NotSettled(Proof::SlotTaken { confirmed_nonce: 1 })
    );
}

#[tokio::test]
async fn a_receipt_counts_only_at_the_depth_that_was_asked_for() {
    let devnet = Devnet::builder()
        .fixed_time(NOW)
        .finality(2, 4)
        .build()
        .unwrap();
    let world = World::with(devnet, AssetTable::builtin()).await;
    let intent = world.pay().await;
    let (_, mut watch) = world.send(&intent).await;
    let mut deep = async |finality| {
        watch.expected[0].finality = finality;
        match world.outcome(&watch).await {
            Outcome::Settled(_) => true,
            Outcome::Included { moved: true, .. } => false,
            other => panic!("{other:?}"),
        }
    };
    for (finality, blocks) in [
        (Finality::Included, 0),
        (Finality::Confirmations(1), 0),
        (Finality::Confirmations(2), 1),
        (Finality::Safe, 2),
        (Finality::Finalized, 4),
    ] {
        let mined = world.devnet.snapshot();
        if blocks > 0 {
            world.devnet.mine(blocks - 1).unwrap();
            assert!(!deep(finality).await, "{finality} too early");
            world.devnet.mine(1).unwrap();
        }
        assert!(deep(finality).await, "{finality}");
        world.devnet.revert(mined);
    }
}

#[tokio::test]
async fn a_payment_that_a_reorganisation_took_back_is_open_again() {
    let world = World::new().await;
    let intent = world.pay().await;
    let (raw, watch) = world.send(&intent).await;
    assert!(matches!(world.outcome(&watch).await, Outcome::Settled(_)));
    world.devnet.reorg(1, false).unwrap();
    assert_eq!(world.outcome(&watch).await, Outcome::Unknown);
    // The same bytes settle it again.
    assert_eq!(
        world.chain.broadcast(&raw).await.unwrap(),
        Broadcast::Accepted
    );
    assert!(matches!(world.outcome(&watch).await, Outcome::Settled(_)));
}
