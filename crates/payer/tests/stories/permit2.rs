//! Permit2: what a payer does about the allowance that it needs once.

use alloy_primitives::U256;
use serde_json::json;
use tollway_core::Network;
use tollway_core::assets::Method;
use tollway_core::wire::{Object, PaymentRequirements};
use tollway_devnet::{DEV_ACCOUNTS, Devnet, DevnetServer, EXACT_PROXY, PERMIT2, Preset};
use tollway_evm::{
    EIP2612_GAS_SPONSORING, ERC20_APPROVAL_GAS_SPONSORING, EvmSigner, EvmWallet, SignedPermit2,
    permit2_domain, recover,
};
use tollway_ledger::SpendState;
use tollway_payer::{ErrorKind, PayMethod, Policy};
use tollway_rpc::{RpcClient, RpcConfig};

use crate::bench::Buyer;
use crate::seller::*;

/// A chain, a client of it, and what keeps it answering.
pub async fn devnet() -> (Devnet, RpcClient, DevnetServer) {
    let devnet = Devnet::builder()
        .preset(Preset::BaseSepolia)
        .build()
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = devnet.serve(listener).unwrap();
    let url = server.url().parse().unwrap();
    let node = RpcClient::new(RpcConfig::new(vec![url])).unwrap();
    (devnet, node, server)
}

pub fn wallet(node: RpcClient) -> EvmWallet {
    let signer = EvmSigner::from_bytes(&DEV_ACCOUNTS[0].key.0).unwrap();
    EvmWallet::new(signer).with_node(Network::eip155(84532), node)
}

fn by_permit2() -> PaymentRequirements {
    offer("10000").with_method(Method::Permit2)
}

fn preferring_permit2() -> Policy {
    Policy {
        methods: PayMethod::preferring(&[PayMethod::Permit2]),
        ..Policy::default()
    }
}

#[tokio::test]
async fn a_missing_allowance_is_told_with_what_to_do_and_nothing_is_signed() {
    let (devnet, node, _server) = devnet().await;
    let seller = Seller::honest(vec![by_permit2()]).await;
    let buyer = Buyer::with(wallet(node), |b| b).await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Declined, "permit2_allowance_required")
    );
    for part in ["approve(", &PERMIT2.to_string(), USDC] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    assert_eq!(seller.payments().len(), 0);
    assert_eq!(buyer.states().await, [SpendState::Released]);
    assert_eq!(
        devnet.nonce(DEV_ACCOUNTS[0].address),
        0,
        "no transaction of ours"
    );
}

#[tokio::test]
async fn another_way_of_the_same_seller_is_taken_where_the_allowance_is_missing() {
    let (_devnet, node, _server) = devnet().await;
    let seller = Seller::honest(vec![by_permit2(), offer("10000")]).await;
    let buyer = Buyer::with(wallet(node), |b| b.policy(preferring_permit2())).await;
    let payment = buyer.get(&seller.url).await.unwrap().payment.unwrap();
    assert_eq!(payment.method, Some(PayMethod::Eip3009));
    assert!(buyer.diary().contains(&"passed_over".to_owned()));
}

#[tokio::test]
async fn an_approval_is_made_where_that_is_allowed_and_for_permit2_itself() {
    let (devnet, node, _server) = devnet().await;
    // A server that names another Permit2 changes nothing.
    let evil = "0x1111111111111111111111111111111111111111";
    let lying = by_permit2()
        .with_extra("permit2Address", evil)
        .with_extra("spender", evil);
    let seller = Seller::honest(vec![lying]).await;
    let policy = Policy {
        approve_permit2: true,
        ..Policy::default()
    };
    let buyer = Buyer::with(wallet(node), |b| b.policy(policy)).await;
    for _ in 0..2 {
        buyer.get(&seller.url).await.unwrap();
    }
    assert_eq!(devnet.nonce(DEV_ACCOUNTS[0].address), 1, "approved once");
    assert_eq!(buyer.diary().iter().filter(|e| *e == "approved").count(), 1);
    let paying = seller.seen()[1].decoded();
    let signed = SignedPermit2::parse(&paying.payload, false).unwrap();
    assert_eq!(
        (signed.permit.spender, signed.permit.amount),
        (EXACT_PROXY, U256::from(10_000))
    );
    let digest = signed.permit.digest(&permit2_domain(84532, PERMIT2));
    assert_eq!(
        recover(digest, &signed.signature),
        Some(DEV_ACCOUNTS[0].address)
    );
}

#[tokio::test]
async fn an_allowance_that_the_seller_sponsors_is_signed_and_costs_no_gas() {
    let (devnet, node, _server) = devnet().await;
    let declared: Object =
        json!({EIP2612_GAS_SPONSORING: {"info": {"version": "1"}, "schema": {}}})
            .as_object()
            .cloned()
            .unwrap();
    let seller = Seller::start(move |seen| match seen.payment_number {
        0 => challenge_with(vec![by_permit2()], Some(declared.clone())),
        _ => goods(),
    })
    .await;
    let buyer = Buyer::with(wallet(node), |b| b).await;
    buyer.get(&seller.url).await.unwrap();
    let info =
        seller.seen()[1].decoded().extensions.unwrap()[EIP2612_GAS_SPONSORING]["info"].clone();
    let spender: alloy_primitives::Address = info["spender"].as_str().unwrap().parse().unwrap();
    assert_eq!((spender, info["amount"].as_str()), (PERMIT2, Some("10000")));
    assert_eq!(devnet.nonce(DEV_ACCOUNTS[0].address), 0);
}

#[tokio::test]
async fn a_server_gets_an_unlimited_approval_only_where_the_buyer_allows_it() {
    let (devnet, node, _server) = devnet().await;
    let declared: Object =
        json!({ERC20_APPROVAL_GAS_SPONSORING: {"info": {"version": "1"}, "schema": {}}})
            .as_object()
            .cloned()
            .unwrap();
    for approve_permit2 in [false, true] {
        let declared = declared.clone();
        let seller = Seller::start(move |seen| match seen.payment_number {
            0 => challenge_with(vec![by_permit2()], Some(declared.clone())),
            _ => goods(),
        })
        .await;
        let policy = Policy {
            approve_permit2,
            ..Policy::default()
        };
        let buyer = Buyer::with(wallet(node.clone()), |b| b.policy(policy)).await;
        let bought = buyer.get(&seller.url).await;
        assert_eq!(bought.is_ok(), approve_permit2);
        if approve_permit2 {
            let signed = seller.seen()[1].decoded().extensions.unwrap();
            let info = &signed[ERC20_APPROVAL_GAS_SPONSORING]["info"];
            assert!(info["signedTransaction"].is_string());
        } else {
            let error = bought.unwrap_err();
            assert_eq!(error.code(), "permit2_allowance_required");
            assert_eq!(seller.payments().len(), 0);
        }
    }
    assert_eq!(devnet.nonce(DEV_ACCOUNTS[0].address), 0);
}

#[tokio::test]
async fn a_server_that_misses_the_allowance_is_explained() {
    let bare = EvmWallet::new(EvmSigner::from_bytes(&DEV_ACCOUNTS[0].key.0).unwrap());
    let seller = Seller::selling(vec![by_permit2()], |_| Reply::text(412, "{}")).await;
    let buyer = Buyer::with(bare, |b| b).await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::RefusedByServer, "permit2_allowance_required")
    );
    let permit2 = format!("{PERMIT2:#x}");
    for part in ["approve(", &permit2, &USDC.to_lowercase()] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
}
