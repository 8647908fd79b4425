//! Payments, grants and spends to try a ledger with; numbers tell them apart.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tollway_core::{
    Address, Amount, Expected, Finality, Identity, Network, Raw, Settled, Settlement, Timestamp,
    TxHash,
};
use tollway_ledger::{
    Lease, LedgerError, Limit, LimitScope, NewGrant, NewPayment, NewSpend, SettlementStore,
    SignedSpend, StoredAnswer,
};

/// What no event and no log may hold.
pub const SIGNATURE: &str = "0xa1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f901b";

/// The network of all records.
pub fn network() -> Network {
    Network::eip155(84_532)
}

/// An account of it.
pub fn address(n: u8) -> Address {
    network()
        .address(&format!("0x{}", hex::encode([n; 20])))
        .unwrap()
}

/// So many milliseconds after 1970.
pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// An amount.
pub fn atomic(units: u128) -> Amount {
    Amount::from_atomic(units)
}

/// A transaction's hash, or a block's.
pub fn hash(n: u64) -> TxHash {
    TxHash::new(&format!("0x{n:064x}"))
}

/// What the n-th authorization is known by.
pub fn identity(n: u64) -> Identity {
    Identity {
        network: network(),
        scope: address(0xaa).to_string(),
        payer: address(1),
        nonce: format!("0x{n:064x}"),
    }
}

/// What settling is to move: 10,000 from account 1 to account 2.
pub fn expected() -> Expected {
    Expected {
        asset: address(0xaa),
        from: address(1),
        to: address(2),
        amount: atomic(10_000),
    }
}

fn payload_json() -> serde_json::Value {
    json!({
        "x402Version": 2,
        "accepted": requirements_json(),
        "payload": { "signature": SIGNATURE, "authorization": { "value": "10000" } },
    })
}

fn requirements_json() -> serde_json::Value {
    json!({
        "scheme": "exact",
        "network": "eip155:84532",
        "amount": "10000",
        "asset": address(0xaa),
        "payTo": address(2),
        "maxTimeoutSeconds": 60,
        "extra": { "name": "USDC", "version": "2" },
    })
}

/// A payment by the n-th authorization, from a caller.
pub fn payment(n: u64) -> NewPayment {
    NewPayment {
        identity: identity(n),
        expected: expected(),
        deadline: at(u64::MAX),
        settlement: Settlement::Submit,
        finality: Finality::Confirmations(2),
        payload: Arc::new(serde_json::from_value(payload_json()).unwrap()),
        requirements: Arc::new(serde_json::from_value(requirements_json()).unwrap()),
        caller: Some("seller".to_owned()),
        opener: None,
    }
}

/// The same, opened with a key.
pub fn opened_by(key: &str, n: u64) -> NewPayment {
    NewPayment {
        opener: Some(key.to_owned()),
        ..payment(n)
    }
}

/// The n-th signed transaction, as long as a short one.
pub fn raw(n: u64) -> Raw {
    Raw {
        hash: hash(n),
        bytes: n.to_be_bytes().repeat(40),
    }
}

/// Evidence that the n-th transaction settled.
pub fn settled(n: u64) -> Settled {
    Settled {
        transaction: hash(n),
        block_number: 7,
        block_hash: hash(77).to_string(),
        log_index: Some(3),
        amount: atomic(10_000),
        gas_used: 60_000,
        fee: atomic(1),
        by_third_party: false,
    }
}

/// A claim by the n-th authorization.
pub fn grant(n: u64) -> NewGrant {
    NewGrant {
        identity: identity(n),
        expected: expected(),
        deadline: at(900_000),
        route: "GET /paid/*".to_owned(),
        method: "GET".to_owned(),
        url: "https://shop.example/paid/1".to_owned(),
        body_digest: "00".repeat(32),
        payload_digest: format!("{n:064x}"),
        payment_identifier: None,
        flow: "authorization".to_owned(),
        owner: "gate-1".to_owned(),
        pass: None,
    }
}

/// A paid answer, with bytes that are no text.
pub fn answer() -> StoredAnswer {
    StoredAnswer {
        status: 200,
        headers: vec![
            ("content-type".to_owned(), b"text/plain".to_vec()),
            ("x-odd".to_owned(), vec![0xff, 0x00, 0x7f]),
        ],
        body: vec![0, 159, 146, 150],
    }
}

/// The n-th thing that is bought, for 10.
pub fn spend(n: u64) -> NewSpend {
    NewSpend {
        account: address(1),
        agent: "agent".to_owned(),
        request: format!("{n:064x}"),
        url: "https://shop.example/paid/1".to_owned(),
        host: "shop.example".to_owned(),
        payee: address(2),
        network: network(),
        asset: address(0xaa),
        amount: atomic(10),
        key: None,
        decimals: None,
        calls: None,
    }
}

/// What was signed for it.
pub fn signed(n: u64) -> SignedSpend {
    SignedSpend {
        identity: identity(n),
        payload: serde_json::from_value(payload_json()).unwrap(),
        valid_until: at(900_000),
        transaction: Some(raw(n)),
    }
}

/// A limit of one account for all time.
pub fn limit(max: u128) -> Limit {
    Limit {
        scope: LimitScope::Account,
        window: None,
        max: atomic(max),
    }
}

/// How long a replica of these stories lives without a beat.
pub const LONG: Duration = Duration::from_secs(600);

/// A signer's lease, by a replica that joins for it.
///
/// # Errors
/// As the store's.
///
/// # Panics
/// If somebody else has it.
pub async fn leased(store: &impl SettlementStore, signer: u8) -> Result<Lease, LedgerError> {
    let replica = store.join("engine", LONG).await?.id;
    let (network, signer) = (network(), address(signer));
    let lease = store.lease_signer(&replica, &network, &signer).await?;
    Ok(lease.expect("nobody else has it"))
}
