//! `exact` by Permit2, through the exact proxy.

use alloy_primitives::{Bytes, U256, hex};
use alloy_sol_types::SolCall;
use serde_json::{Value, json};
use tollway_core::{Amount, Chain, Finality, Lookup, Outcome, Phase, TxHash, Wallet};
use tollway_devnet::DEV_ACCOUNTS;
use tollway_evm::{EXACT_PROXY, MULTICALL3, PERMIT2, UPTO_PROXY};

use super::*;
use crate::support::fake_node::behind;
use crate::support::world::{NOW, code, planned, verify_all};

#[tokio::test]
async fn a_permit_settles_end_to_end() {
    let world = approved().await;
    let intent = paid(&world, &exact(&world, "permit2")).await;
    assert_eq!(lookup(&world.chain, &intent).await, unused());
    let settled = settles(&world, &world.chain, &intent, PRICE).await;
    assert!(!settled.by_third_party);
    assert!((60_000..140_000).contains(&settled.gas_used));
    assert_eq!(
        lookup(&world.chain, &intent).await,
        Lookup::Settled(settled)
    );
    assert_eq!(
        code(&verify(&world.chain, &intent, Phase::Verify).await),
        "permit2_invalid_nonce"
    );
}

fn unused() -> Lookup {
    Lookup::Unused {
        as_of: tollway_core::Timestamp::from_secs(NOW),
    }
}

#[tokio::test]
async fn what_a_permit_says_wrong_is_refused_with_its_code() {
    let world = approved().await;
    let terms = exact(&world, "permit2");
    let at = |path: &str| format!("/permit2Authorization/{path}");
    let number = |n: u64| Value::from(n.to_string());
    for (path, value, expected) in [
        (
            "spender",
            Value::from(stranger()),
            "invalid_permit2_spender",
        ),
        (
            "spender",
            Value::from(UPTO_PROXY.to_checksum(None)),
            "invalid_permit2_spender",
        ),
        (
            "witness/to",
            Value::from(stranger()),
            "invalid_permit2_recipient_mismatch",
        ),
        ("deadline", number(NOW + 5), "permit2_deadline_expired"),
        ("deadline", number(NOW - 1), "permit2_deadline_expired"),
        ("deadline", number(NOW + 5000), "permit2_deadline_expired"),
        (
            "witness/validAfter",
            number(NOW + 1),
            "permit2_not_yet_valid",
        ),
        (
            "permitted/amount",
            number(PRICE + 1),
            "permit2_amount_mismatch",
        ),
        (
            "permitted/amount",
            number(PRICE - 1),
            "permit2_amount_mismatch",
        ),
        (
            "permitted/token",
            Value::from(stranger()),
            "permit2_token_mismatch",
        ),
        ("from", Value::from(stranger()), "invalid_permit2_signature"),
        ("nonce", number(1), "invalid_permit2_signature"),
        ("nonce", Value::from("0x1"), "invalid_permit2_signature"),
        ("nonce", Value::from("01"), "invalid_permit2_signature"),
        ("spender", Value::from("nobody"), "invalid_payload"),
        ("witness", Value::Null, "invalid_payload"),
    ] {
        let found = refused_if(&world, &terms, |payment| set(payment, &at(path), value)).await;
        assert_eq!(found, expected, "{path}");
    }
}

#[tokio::test]
async fn signatures_that_are_no_plain_accounts_own_are_refused_though_permit2_takes_them() {
    let world = approved().await;
    let terms = exact(&world, "permit2");
    let signature = |change: fn(Vec<u8>) -> Vec<u8>| {
        let (world, terms) = (&world, &terms);
        async move {
            refused_if(world, terms, |payment| {
                let text = payment.payload["signature"].as_str().unwrap();
                let bytes = change(alloy_primitives::hex::decode(text).unwrap());
                let text = alloy_primitives::hex::encode_prefixed(bytes);
                set(payment, "/signature", text);
            })
            .await
        }
    };
    // The malleable twin: s becomes n - s, v flips.
    let twin = |mut bytes: Vec<u8>| {
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        let order = U256::from_str_radix(order, 16).unwrap();
        let s = order - U256::from_be_slice(&bytes[32..64]);
        bytes[32..64].copy_from_slice(&s.to_be_bytes::<32>());
        bytes[64] = 55 - bytes[64];
        bytes
    };
    // EIP-2098: 64 bytes, v inside of s.
    let compact = |mut bytes: Vec<u8>| {
        bytes[32] |= (bytes[64] - 27) << 7;
        bytes.truncate(64);
        bytes
    };
    for change in [twin, compact, |_| vec![0; 65], |_| Vec::new()] {
        assert_eq!(signature(change).await, "invalid_permit2_signature");
    }
}

#[tokio::test]
async fn other_terms_than_were_accepted_are_refused() {
    let world = approved().await;
    let terms = exact(&world, "permit2");
    let scheme = refused_if(&world, &terms, |p| p.accepted.scheme = "upto".into()).await;
    assert_eq!(scheme, "unsupported_payload_type");
    let network = refused_if(&world, &terms, |p| p.accepted.network = "eip155:1".into()).await;
    assert_eq!(network, "invalid_exact_evm_network_mismatch");
    let method = refused_if(&world, &terms, |p| {
        let extra = p.accepted.extra.as_mut().unwrap();
        extra.remove("assetTransferMethod");
    });
    assert_eq!(method.await, "no_matching_payment_requirements");
    let amount = refused_if(&world, &terms, |p| p.accepted.amount = "1".into()).await;
    assert_eq!(amount, "no_matching_payment_requirements");
}

#[tokio::test]
async fn a_payment_of_another_method_is_not_read_as_this_one() {
    let world = approved().await;
    let (eip3009, permit2) = (world.terms(), exact(&world, "permit2"));
    let swap = async |from: &Terms, to: &Terms| {
        let prepared = prepare(&world, from).await.unwrap();
        refusal_of(&world, to, &present(to, prepared.payload, None)).await
    };
    assert_eq!(swap(&eip3009, &permit2).await, "unsupported_payload_type");
    assert_eq!(swap(&permit2, &eip3009).await, "unsupported_payload_type");
    let upto = offer(
        &world,
        "upto",
        &json!({"facilitatorAddress": key(2).address().to_string()}),
    );
    assert_eq!(swap(&permit2, &upto).await, "invalid_payload");
}

#[tokio::test]
async fn without_an_allowance_the_payer_hears_what_to_do() {
    let world = World::new().await;
    let terms = exact(&world, "permit2");
    // A wallet that knows a node says it before it signs.
    let Err(WalletError::Refused(refusal)) = prepare(&world, &terms).await else {
        panic!("signed");
    };
    assert_eq!(refusal.code(), "permit2_allowance_required");
    assert!(refusal.message().contains(&PERMIT2.to_checksum(None)));

    // One that knows none signs, and the facilitator says it.
    let blind = tollway_evm::EvmWallet::new(key(0)).with_clock(world.clock.clone());
    let prepared = blind.prepare(&terms, &limits()).await.unwrap();
    let payment = present(&terms, prepared.payload, None);
    assert_eq!(
        refusal_of(&world, &terms, &payment).await,
        "permit2_allowance_required"
    );
    // The transaction that it names is the one that helps.
    let wallet = world.wallet(key(0));
    let raw = wallet.approval(&terms).await.unwrap();
    wallet.broadcast(&world.network, &raw).await.unwrap();
    assert_eq!(refusal_of(&world, &terms, &payment).await, "good");
}

#[tokio::test]
async fn an_empty_account_and_a_missing_proxy_have_codes_of_their_own() {
    let world = World::new().await;
    let terms = exact(&world, "permit2");
    let poor = EvmSigner::random().unwrap();
    approve(&world, &poor);
    let intent = paid_as(&world, poor, &terms).await;
    assert_eq!(world.refusal(&intent).await, "permit2_insufficient_balance");

    // A call to an address without code succeeds, and pays nothing.
    let world = approved().await;
    world.devnet.set_code(EXACT_PROXY, Bytes::new()).unwrap();
    let intent = paid(&world, &terms).await;
    assert_eq!(world.refusal(&intent).await, "permit2_proxy_not_deployed");
}

#[tokio::test]
async fn money_that_is_promised_elsewhere_does_not_pay_again_by_permit2() {
    let world = World::new().await;
    let payer = world.payer(PRICE);
    approve(&world, &payer);
    let intent = paid_as(&world, payer, &exact(&world, "permit2")).await;
    let held = Amount::from_atomic(1);
    let verdict = world.chain.verify(intent, Phase::Verify, held).await;
    assert_eq!(code(&verdict), "permit2_insufficient_balance");
}

#[tokio::test]
async fn whoever_sends_a_permit_first_pays_for_it_and_it_counts_once() {
    let world = approved().await;
    let intent = paid(&world, &exact(&world, "permit2")).await;
    let before = world.payee_has();
    let hash = front_run(&world, &intent).await;
    assert_eq!(world.payee_has() - before, U256::from(PRICE));
    let Lookup::Settled(settled) = lookup(&world.chain, &intent).await else {
        panic!("not found");
    };
    assert!(settled.by_third_party);
    assert_eq!(settled.transaction.as_str(), format!("{hash:#x}"));
    // Another payment of the same payer, payee and amount is not paid by it.
    let equal = paid(&world, &exact(&world, "permit2")).await;
    assert_eq!(lookup(&world.chain, &equal).await, unused_now(&world));
    let named = world.chain.observe(
        &settled.transaction,
        &equal.identity,
        &equal.expected,
        Finality::Included,
    );
    assert!(matches!(named.await.unwrap(), Outcome::NotSettled(_)));
}

fn unused_now(world: &World) -> Lookup {
    Lookup::Unused {
        as_of: tollway_core::Timestamp::from_secs(world.devnet.now()),
    }
}

#[tokio::test]
async fn a_nonce_that_its_owner_burned_is_spent_whatever_else_was_paid() {
    let world = approved().await;
    let terms = exact(&world, "permit2");
    let (burned, equal) = (paid(&world, &terms).await, paid(&world, &terms).await);
    settles(&world, &world.chain, &equal, PRICE).await;
    let nonce: U256 = burned.identity.nonce.parse().unwrap();
    let call = Nones::burn(nonce);
    transact(&world, &key(0), PERMIT2, call);
    assert_eq!(world.refusal(&burned).await, "permit2_invalid_nonce");
    assert_eq!(lookup(&world.chain, &burned).await, Lookup::Spent);
    // Nor does a plain transfer of the same amount make it paid.
    let dollar = world.devnet.dollar().address;
    let transfer = Erc20::transferCall {
        to: DEV_ACCOUNTS[1].address,
        amount: U256::from(PRICE),
    };
    let hash = transact(&world, &key(0), dollar, transfer.abi_encode());
    assert_eq!(lookup(&world.chain, &burned).await, Lookup::Spent);
    let hash = TxHash::new(&format!("{hash:#x}"));
    let named = world.chain.observe(
        &hash,
        &burned.identity,
        &burned.expected,
        Finality::Included,
    );
    assert!(matches!(named.await.unwrap(), Outcome::NotSettled(_)));
}

struct Nones;

impl Nones {
    /// Uses one nonce for nothing.
    fn burn(nonce: U256) -> Vec<u8> {
        let bit = usize::try_from(nonce & U256::from(255)).unwrap();
        Nonces::invalidateUnorderedNoncesCall {
            word: nonce >> 8,
            mask: U256::from(1) << bit,
        }
        .abi_encode()
    }
}

#[tokio::test]
async fn payments_of_several_payers_share_a_transaction_and_those_of_one_do_not() {
    let world = World::new().await;
    let terms = exact(&world, "permit2");
    let payers: Vec<EvmSigner> = (0..3).map(|_| world.payer(10 * PRICE)).collect();
    let mut intents = Vec::new();
    for payer in &payers {
        approve(&world, payer);
        intents.push(paid_as(&world, payer.clone(), &terms).await);
    }
    let before = world.payee_has();
    let (plan, watch) = world.send_together(&world.chain, &intents).await;
    assert_eq!(plan.payments.len(), 3);
    let outcomes = crate::support::world::outcomes(&world.chain, &watch).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Settled(_))));
    assert_eq!(world.payee_has() - before, U256::from(3 * PRICE));
    for intent in &intents {
        assert!(matches!(
            lookup(&world.chain, intent).await,
            Lookup::Settled(_)
        ));
    }
    // Permit2 logs no nonce, so two of one payer could not be told apart.
    let again = [
        paid_as(&world, payers[0].clone(), &terms).await,
        paid_as(&world, payers[0].clone(), &terms).await,
        world.payment_of(&payers[0], 9),
    ];
    let verified = verify_all(&world.chain, &again).await;
    let planned: Vec<_> = verified.into_iter().map(|v| planned(v.unwrap())).collect();
    assert_eq!(world.chain.plan(&planned).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_permit_that_fails_among_others_is_not_paid_by_anothers_transfer() {
    let world = World::new().await;
    let terms = exact(&world, "permit2");
    let (good, bad) = (world.payer(10 * PRICE), world.payer(10 * PRICE));
    approve(&world, &good);
    approve(&world, &bad);
    let intents = [
        paid_as(&world, good, &terms).await,
        paid_as(&world, bad.clone(), &terms).await,
    ];
    let verified = verify_all(&world.chain, &intents).await;
    let planned: Vec<_> = verified.into_iter().map(|v| planned(v.unwrap())).collect();
    let plan = world.chain.plan(&planned).await.unwrap().remove(0);
    let nonce: U256 = intents[1].identity.nonce.parse().unwrap();
    transact(&world, &bad, PERMIT2, Nones::burn(nonce));
    let watch = world.send_plan(&world.chain, &plan).await;
    let outcomes = crate::support::world::outcomes(&world.chain, &watch).await;
    assert!(matches!(outcomes[0], Outcome::Settled(_)));
    assert!(matches!(outcomes[1], Outcome::NotSettled(_)));
    assert_eq!(lookup(&world.chain, &intents[1]).await, Lookup::Spent);
}

#[tokio::test]
async fn of_two_permits_in_a_bundle_with_one_transfer_only_the_calls_say_which_is_paid() {
    let world = approved().await;
    let terms = exact(&world, "permit2");
    let (one, lost) = (paid(&world, &terms).await, paid(&world, &terms).await);
    let mut calls = Vec::new();
    for intent in [&one, &lost] {
        let (target, call) = settling_call(&world, intent).await;
        calls.push(Multicall::Call3 {
            target,
            allowFailure: true,
            callData: call,
        });
    }
    // The second one fails in there: only one transfer happens.
    let nonce: U256 = lost.identity.nonce.parse().unwrap();
    transact(&world, &key(0), PERMIT2, Nones::burn(nonce));
    let bundle = Multicall::aggregate3Call { calls }.abi_encode();
    transact(&world, &key(3), MULTICALL3, bundle);
    let silent = telling_no_calls(&world).await;
    assert_eq!(lookup(&silent, &one).await, Lookup::Unknown);
    assert!(matches!(
        lookup(&world.chain, &one).await,
        Lookup::Settled(_)
    ));
    for chain in [&silent, &world.chain] {
        assert_eq!(lookup(chain, &lost).await, Lookup::Spent);
    }
}

/// A facilitator with a node that keeps no traces, as many do.
async fn telling_no_calls(world: &World) -> EvmChain {
    let rpc = behind(&world.devnet, |method, _| {
        let is_trace = method == "debug_traceTransaction";
        is_trace.then(|| Err((-32601, "the method does not exist".to_owned())))
    });
    EvmChain::connect(world.config(rpc.await)).await.unwrap()
}

#[tokio::test]
async fn where_a_node_knows_no_old_states_the_call_that_names_the_nonce_is_found() {
    let world = approved().await;
    let intent = paid(&world, &exact(&world, "permit2")).await;
    let settled = settles(&world, &world.chain, &intent, PRICE).await;
    world.devnet.mine(50).unwrap();
    let rpc = crate::support::fake_node::behind(&world.devnet, |method, params| {
        let old = method == "eth_call" && params[1] != "latest";
        old.then(|| Err((-32000, "missing trie node".to_owned())))
    })
    .await;
    let pruned = EvmChain::connect(world.config(rpc)).await.unwrap();
    assert_eq!(lookup(&pruned, &intent).await, Lookup::Settled(settled));
}

#[tokio::test]
async fn a_node_that_lags_behind_does_not_make_a_paid_permit_spent() {
    let world = approved().await;
    let intent = paid(&world, &exact(&world, "permit2")).await;
    settles(&world, &world.chain, &intent, PRICE).await;
    // The header comes from a node that is one block behind the one that has the state.
    let before = world.devnet.block_number() - 1;
    let devnet = world.devnet.clone();
    let rpc = crate::support::fake_node::behind(&world.devnet, move |method, params| {
        let newest = method == "eth_getBlockByNumber" && params[0] == "latest";
        let number = json!([format!("0x{before:x}"), false]);
        newest.then(|| Ok(devnet.request("eth_getBlockByNumber", number).unwrap()))
    })
    .await;
    let lagging = EvmChain::connect(world.config(rpc)).await.unwrap();
    assert_eq!(lookup(&lagging, &intent).await, Lookup::Unknown);
}

#[tokio::test]
async fn a_burned_nonce_is_spent_only_at_the_depth_that_is_asked_for() {
    let world = approved().await;
    let burned = paid(&world, &exact(&world, "permit2")).await;
    let nonce: U256 = burned.identity.nonce.parse().unwrap();
    transact(&world, &key(0), PERMIT2, Nones::burn(nonce));
    let (identity, expected) = (&burned.identity, &burned.expected);
    let deep = Finality::Confirmations(3);
    let lookup = async || world.chain.lookup(identity, expected, deep).await.unwrap();
    assert_eq!(lookup().await, Lookup::Unknown);
    world.devnet.mine(2).unwrap();
    assert_eq!(lookup().await, Lookup::Spent);
}

/// Calls the address in its first word with the rest.
const FORWARDER: &[u8] = &hex!("5f5f602036038060205f375f5f5f355af16017575f5ffd5b00");

#[tokio::test]
async fn a_payment_that_a_strangers_contract_settled_is_found_where_the_node_tells_its_calls() {
    let world = approved().await;
    let terms = exact(&world, "permit2");
    let intent = paid(&world, &terms).await;
    let forwarder = Account::repeat_byte(0x66);
    world.devnet.set_code(forwarder, FORWARDER.into()).unwrap();
    world.devnet.mine(1).unwrap();
    let (proxy, call) = settling_call(&world, &intent).await;
    let input = [proxy.into_word().as_slice(), &call].concat();
    let before = world.payee_has();
    transact(&world, &key(3), forwarder, input);
    assert_eq!(world.payee_has() - before, U256::from(PRICE));
    let Lookup::Settled(settled) = lookup(&world.chain, &intent).await else {
        panic!("the money moved");
    };
    assert!(settled.by_third_party);
    let silent = telling_no_calls(&world).await;
    assert_eq!(lookup(&silent, &intent).await, Lookup::Unknown);
}
