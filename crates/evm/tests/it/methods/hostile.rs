//! Tokens that cheat: whatever they say, only the exact transfer is a payment.

use std::borrow::Cow;

use alloy_primitives::{Address as Account, B256, Bytes, U256, address};
use alloy_sol_types::{SolCall, sol};
use serde_json::json;
use tollway_core::assets::{AssetTable, Method};
use tollway_core::{Network, Outcome, Phase, Terms};
use tollway_devnet::{Contract, DEV_ACCOUNTS, Devnet, Dollar};

use super::*;
use crate::support::world::{NOW, look, token};

sol! {
    interface Bomb {
        function arm(uint256 size, bool reverts);
    }
    interface Reentrant {
        function arm(address target, bytes data);
        function calledBack() returns (bool);
        function gotThrough() returns (bool);
    }
}

const ODD: Account = address!("00000000000000000000000000000000000000d2");
const METHODS: &[Method] = &[Method::Eip3009, Method::Permit2, Method::Eip2612];

/// A cheat that is in our own table, as if an operator had been taken in.
async fn with_cheat(contract: Contract, methods: &'static [Method]) -> World {
    let devnet = Devnet::builder().fixed_time(NOW).build().unwrap();
    let dollar = Dollar {
        address: ODD,
        ..devnet.dollar().clone()
    };
    if devnet.place_token(contract, &dollar).is_err() {
        devnet.set_code(ODD, contract.runtime()).unwrap();
    } else {
        let payer = DEV_ACCOUNTS[0].address;
        devnet
            .mint_token(ODD, payer, U256::from(100 * PRICE))
            .unwrap();
    }
    let network = Network::eip155(devnet.chain_id());
    let mut odd = token(&network, ODD, "USDC");
    odd.methods = Cow::Borrowed(methods);
    World::with(devnet, AssetTable::builtin().with(odd)).await
}

fn terms(world: &World, method: &str) -> Terms {
    let mut wire = PaymentRequirements::clone(&exact(world, method).wire);
    wire.asset = ODD.to_checksum(None);
    Terms::check(wire).unwrap()
}

fn has(world: &World) -> U256 {
    world.devnet.token_balance_of(ODD, DEV_ACCOUNTS[1].address)
}

/// Pays by each method, even what is refused, and compares what is said with
/// what happened.
async fn nothing_but_money_counts(contract: Contract, arm: Option<Vec<u8>>) -> Vec<bool> {
    let mut paid_for = Vec::new();
    for method in ["eip3009", "permit2", "eip2612"] {
        let world = with_cheat(contract, METHODS).await;
        let call = Erc20::approveCall {
            spender: PERMIT2,
            amount: U256::MAX,
        };
        send(&world, &key(0), ODD, call.abi_encode());
        world.devnet.place_settler(DEV_ACCOUNTS[1].address).unwrap();
        let terms = terms(&world, method);
        let blind = tollway_evm::EvmWallet::new(key(0));
        let prepared = match method {
            "eip2612" => prepare(&world, &terms).await.unwrap(),
            _ => {
                let blind = blind
                    .with_assets(world.assets())
                    .with_clock(world.clock.clone());
                blind.prepare(&terms, &limits()).await.unwrap()
            }
        };
        if let Some(arm) = &arm {
            let armed = world.devnet.system_call(ODD, arm.clone().into());
            armed.unwrap();
        }
        let payment = present(&terms, prepared.payload, None);
        let intent = inspect(&world.chain, &terms, &payment).unwrap();
        let before = has(&world);
        let _ = verify(&world.chain, &intent, Phase::Settle).await;
        let (_, watch) = world.send(&intent).await;
        let settled = matches!(look(&world.chain, &watch).await, Outcome::Settled(_));
        let moved = has(&world) - before;
        assert_eq!(settled, moved == U256::from(PRICE), "{contract:?} {method}");
        paid_for.push(settled);
    }
    paid_for
}

#[tokio::test]
async fn a_token_that_keeps_a_fee_never_counts_as_paid() {
    assert_eq!(
        nothing_but_money_counts(Contract::FeeToken, None).await,
        [false; 3]
    );
}

#[tokio::test]
async fn a_token_that_answers_false_never_counts_as_paid() {
    let paid = nothing_but_money_counts(Contract::FalseToken, None).await;
    assert_eq!(paid[1..], [false, false], "by transferFrom");
}

#[tokio::test]
async fn a_token_that_burns_all_gas_once_there_is_a_price_never_counts_as_paid() {
    let paid = nothing_but_money_counts(Contract::BurnerToken, None).await;
    assert_eq!(paid, [false; 3]);
}

#[tokio::test]
async fn a_token_that_answers_with_a_bomb_counts_only_if_it_paid() {
    for reverts in [false, true] {
        let arm = Bomb::armCall {
            size: U256::from(100_000),
            reverts,
        };
        let paid = nothing_but_money_counts(Contract::BombToken, Some(arm.abi_encode())).await;
        assert!(!reverts || paid.iter().all(|paid| !paid));
    }
}

#[tokio::test]
async fn a_token_that_calls_back_pays_once() {
    let again = Erc20::transferCall {
        to: DEV_ACCOUNTS[3].address,
        amount: U256::from(1),
    };
    let arm = Reentrant::armCall {
        target: ODD,
        data: again.abi_encode().into(),
    };
    nothing_but_money_counts(Contract::ReentrantToken, Some(arm.abi_encode())).await;
}

#[tokio::test]
async fn a_token_whose_fallback_swallows_permits_is_not_taken() {
    let world = with_cheat(Contract::PhantomPermitToken, METHODS).await;
    // It shows no domain: for what it would sign itself it is not there.
    let terms = terms(&world, "eip2612");
    let blind = tollway_evm::SignedPermit {
        permit: tollway_evm::typed_data::Permit {
            owner: key(0).address(),
            spender: tollway_evm::settler_address(DEV_ACCOUNTS[1].address),
            value: U256::from(PRICE),
            nonce: U256::ZERO,
            deadline: U256::from(NOW + 60),
        },
        signature: Bytes::new(),
    };
    let domain = tollway_evm::typed_data::Domain::new("USDC", "2", world.devnet.chain_id(), ODD);
    let digest: B256 = blind.permit.digest(&domain);
    let signed = tollway_evm::SignedPermit {
        signature: key(0).sign(digest).to_vec().into(),
        ..blind
    };
    let payment = present(&terms, signed.to_payload(), None);
    assert_eq!(
        refusal_of(&world, &terms, &payment).await,
        "asset_not_deployed_contract"
    );
}

#[tokio::test]
async fn a_token_that_moves_nothing_is_no_payment_by_permit2_and_none_by_proof() {
    let world = with_cheat(Contract::SilentToken, &[Method::Permit2]).await;
    let permit2 = terms(&world, "permit2");
    let blind = tollway_evm::EvmWallet::new(key(0))
        .with_assets(world.assets())
        .with_clock(world.clock.clone());
    let prepared = blind.prepare(&permit2, &limits()).await.unwrap();
    let payment = present(&permit2, prepared.payload, None);
    let intent = inspect(&world.chain, &permit2, &payment).unwrap();
    let (raw, watch) = world.send(&intent).await;
    assert!(matches!(
        look(&world.chain, &watch).await,
        Outcome::NotSettled(_)
    ));
    let proof = json!({
        "assetTransferMethod": "txid", "paymentFlow": "upfront", "proofProfile": "unsigned",
    });
    let mut wire = PaymentRequirements::clone(&offer(&world, "exact", &proof).wire);
    wire.asset = ODD.to_checksum(None);
    let terms = Terms::check(wire).unwrap();
    let shown = json!({"txHash": raw.hash.as_str(), "from": key(0).address()});
    let shown = present(&terms, shown.as_object().unwrap().clone(), None);
    let code = refusal_of(&world, &terms, &shown).await;
    let codes = [
        "invalid_exact_evm_txid_asset_mismatch",
        "invalid_exact_evm_txid_reverted",
    ];
    assert!(codes.contains(&code.as_str()), "{code}");
}
