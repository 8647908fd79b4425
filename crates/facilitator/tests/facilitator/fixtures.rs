//! Payments that mean nothing to a real chain.

use std::sync::Arc;

use serde_json::json;
use tollway_core::wire::{Object, PaymentPayload, PaymentRequirements};
use tollway_core::{
    Address, Amount, Expected, Finality, Identity, Intent, Network, Settlement, Terms, Timestamp,
    Verified,
};
use tollway_ledger::{NewPayment, PaymentRecord};

pub const ASSET: &str = "0x036cbd53842c5426634e7929541ec2318f3dcf7e";
pub const PAYEE: &str = "0x00000000000000000000000000000000000000ee";
pub const PRICE: &str = "10000";

pub fn network() -> Network {
    Network::eip155(84532)
}

pub fn account(n: u64) -> Address {
    network().address(&format!("0x{n:040x}")).unwrap()
}

pub fn requirements() -> PaymentRequirements {
    PaymentRequirements {
        scheme: "exact".to_owned(),
        network: network().to_string(),
        amount: PRICE.to_owned(),
        asset: ASSET.to_owned(),
        pay_to: PAYEE.to_owned(),
        max_timeout_seconds: 300,
        extra: None,
    }
}

/// A payment whose scheme object says what the fake chains read: who, which
/// nonce, until when, and how it settles.
pub fn payload(payer: u64, nonce: u64, deadline: Timestamp) -> PaymentPayload {
    let object: Object = json!({
        "from": account(payer).as_str(), "nonce": nonce.to_string(),
        "validBefore": deadline.millis().to_string(), "signature": "good",
    })
    .as_object()
    .unwrap()
    .clone();
    PaymentPayload {
        x402_version: 2,
        resource: None,
        accepted: requirements(),
        payload: object,
        extensions: None,
    }
}

pub fn new_payment(payer: u64, nonce: u64, deadline: Timestamp) -> NewPayment {
    let identity = Identity {
        network: network(),
        scope: ASSET.to_owned(),
        payer: account(payer),
        nonce: nonce.to_string(),
    };
    NewPayment {
        expected: Expected {
            asset: network().address(ASSET).unwrap(),
            from: account(payer),
            to: network().address(PAYEE).unwrap(),
            amount: PRICE.parse::<Amount>().unwrap(),
        },
        identity,
        deadline,
        settlement: Settlement::Submit,
        finality: Finality::Included,
        payload: payload(payer, nonce, deadline).into(),
        requirements: requirements().into(),
        caller: None,
        opener: None,
    }
}

/// A payment that was verified, out of nothing.
pub fn verified(record: &PaymentRecord) -> Verified {
    let payment = &record.payment;
    Verified {
        intent: Intent {
            identity: payment.identity.clone(),
            expected: payment.expected.clone(),
            deadline: payment.deadline,
            settlement: payment.settlement.clone(),
            payload: payment.payload.clone(),
            terms: Arc::new(Terms::check(payment.requirements.clone()).unwrap()),
        },
        gas: 60_000,
        signers: Vec::new(),
    }
}
