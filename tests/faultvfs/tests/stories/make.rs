//! Records to take steps with.

use std::sync::Arc;

use serde_json::json;
use tollway_core::{
    Address, Amount, Expected, Finality, Identity, Network, Raw, Settled, Settlement, Timestamp,
    TxHash,
};
use tollway_ledger::{
    Cost, Limit, LimitScope, NewGrant, NewPayment, NewSpend, SignedSpend, StoredAnswer,
};

pub fn network() -> Network {
    Network::eip155(84_532)
}

pub fn address(n: u8) -> Address {
    network()
        .address(&format!("0x{}", hex::encode([n; 20])))
        .unwrap()
}

pub fn signer() -> Address {
    address(9)
}

pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub fn atomic(units: u128) -> Amount {
    Amount::from_atomic(units)
}

pub fn hash(n: u64) -> TxHash {
    TxHash::new(&format!("0x{n:064x}"))
}

fn identity(n: u64) -> Identity {
    Identity {
        network: network(),
        scope: address(0xaa).to_string(),
        payer: address(1),
        nonce: format!("0x{n:064x}"),
    }
}

fn expected() -> Expected {
    Expected {
        asset: address(0xaa),
        from: address(1),
        to: address(2),
        amount: atomic(10_000),
    }
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

fn payload_json() -> serde_json::Value {
    json!({
        "x402Version": 2,
        "accepted": requirements_json(),
        "payload": {
            "signature": format!("0x{}", "a1".repeat(65)),
            "authorization": { "value": "10000" },
        },
    })
}

pub fn payment(n: u64) -> NewPayment {
    NewPayment {
        identity: identity(n),
        expected: expected(),
        deadline: at(u64::MAX),
        settlement: Settlement::Submit,
        finality: Finality::Confirmations(2),
        payload: Arc::new(serde_json::from_value(payload_json()).unwrap()),
        requirements: Arc::new(serde_json::from_value(requirements_json()).unwrap()),
        caller: None,
        opener: Some("key".to_owned()),
    }
}

pub fn raw(n: u64) -> Raw {
    Raw {
        hash: hash(n),
        bytes: n.to_be_bytes().repeat(40),
    }
}

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
    }
}

/// Some fit a page, some need several.
pub fn answer(n: u64) -> StoredAnswer {
    let length = 100 + usize::try_from(n % 4).unwrap() * 5_000;
    StoredAnswer {
        status: 200,
        headers: vec![("content-type".to_owned(), b"text/plain".to_vec())],
        body: vec![n.to_be_bytes()[7]; length],
    }
}

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
    }
}

pub fn signed(n: u64) -> SignedSpend {
    SignedSpend {
        identity: identity(n),
        payload: serde_json::from_value(payload_json()).unwrap(),
        valid_until: at(900_000),
        transaction: Some(raw(n)),
    }
}

pub fn limits() -> [Limit; 1] {
    [Limit {
        scope: LimitScope::Account,
        window: None,
        max: atomic(1_000),
    }]
}

pub fn costs() -> [Cost; 1] {
    [Cost {
        payer: address(1),
        fee: atomic(5),
        lost: false,
    }]
}
