//! What is taken as a grant, and what a session account makes of it.

use std::time::Duration;

use alloy_primitives::{Address, Bytes, U256, address};
use serde_json::json;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Amount, Limits, Network, Terms, Wallet};
use tollway_evm::PermissionWallet;
use tollway_evm::delegation::{
    ANY_DELEGATE, CaveatTerms, DELEGATION_MANAGER, Delegation, Grant, GrantError, ROOT_AUTHORITY,
    decode_context,
};

use crate::support::clock::TestClock;
use crate::support::world::{NOW, key};

const ASSET: Address = address!("036CbD53842c5426634e7929541eC2318f3dCF7e");
const ONE: Address = address!("00000000000000000000000000000000000000f1");
const TWO: Address = address!("00000000000000000000000000000000000000f2");

fn given(from: Address, to: Address, parent: Option<&Delegation>) -> Delegation {
    let terms = [
        CaveatTerms::PeriodTransfer {
            token: ASSET,
            amount: U256::from(100_000),
            duration: U256::from(86_400),
            start: U256::from(1),
        },
        CaveatTerms::Redeemer(vec![ONE, TWO]),
    ];
    Delegation {
        delegate: to,
        delegator: from,
        authority: parent.map_or(ROOT_AUTHORITY, Delegation::hash),
        caveats: terms.iter().map(|t| t.caveat().unwrap()).collect(),
        salt: U256::ZERO,
        signature: Bytes::from_static(&[1]),
    }
}

/// A redeemer bounds who sends it, not who orders it: a facilitator redeems for
/// whoever asks.
#[test]
fn a_grant_with_an_open_link_is_refused_also_where_it_names_redeemers() {
    let (owner, session) = (key(0).address(), key(1).address());
    let open = given(owner, ANY_DELEGATE, None);
    assert_eq!(
        Grant::of(std::slice::from_ref(&open)),
        Err(GrantError::Open)
    );
    let onward = given(session, session, Some(&open));
    let chain = [onward, open];
    assert_eq!(Grant::of(&chain), Err(GrantError::Open));
    let wallet = PermissionWallet::new(
        key(1),
        Network::eip155(84532),
        DELEGATION_MANAGER,
        chain.to_vec(),
    );
    assert_eq!(wallet.unwrap_err().code(), "permission_open");
    assert!(Grant::of(&[given(owner, session, None)]).is_ok());
}

/// Where nobody in particular may act, whoever sees a payment could buy with it.
#[tokio::test]
async fn a_payment_names_one_of_the_redeemers_that_are_listed_and_is_never_open() {
    let chain = vec![given(key(0).address(), key(1).address(), None)];
    let network = Network::eip155(84532);
    let wallet = PermissionWallet::new(key(1), network, DELEGATION_MANAGER, chain).unwrap();
    let wallet = wallet.with_clock(TestClock::at(NOW));
    let requirements: PaymentRequirements = serde_json::from_value(json!({
        "scheme": "exact",
        "network": "eip155:84532",
        "amount": "10000",
        "asset": ASSET,
        "payTo": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "maxTimeoutSeconds": 60,
        "extra": {
            "name": "USDC", "version": "2", "assetTransferMethod": "erc7710",
            "facilitatorAddresses": [ONE, TWO],
        }
    }))
    .unwrap();
    let terms = Terms::check(requirements).unwrap();
    let limits = Limits {
        max_amount: Amount::from_atomic(10_000),
        max_lifetime: Duration::from_secs(900),
    };
    let mut drawn = Vec::new();
    for _ in 0..64 {
        let prepared = wallet.prepare(&terms, &limits).await.unwrap();
        let context = prepared.payload["permissionContext"].as_str().unwrap();
        let context: Bytes = context.parse().unwrap();
        let chain = decode_context(&context).unwrap();
        let leaf = &chain[0];
        assert!([ONE, TWO].contains(&leaf.delegate), "{}", leaf.delegate);
        let alone = CaveatTerms::Redeemer(vec![leaf.delegate]);
        assert!(leaf.terms().flatten().any(|terms| terms == alone));
        drawn.push(leaf.delegate);
    }
    assert!(drawn.contains(&ONE) && drawn.contains(&TWO), "each in turn");
}
