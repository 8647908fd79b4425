//! Ledger records as the engine makes them.

use std::sync::Arc;

use alloy_primitives::{U256, keccak256};
use tollway_core::{
    Amount, Expected, Finality, Identity, Network, Raw, Settled, Settlement, Terms, Timestamp,
    TxHash,
};
use tollway_ledger::NewPayment;

use crate::payments::Payers;

/// Makes payments of many payers from one template, whose nonces differ.
pub struct Records {
    template: NewPayment,
    payers: Vec<tollway_core::Address>,
}

impl Records {
    /// With so many payers.
    pub fn new(payers: usize) -> Self {
        let mut payers = Payers::distinct(payers);
        let network = Network::eip155(84_532);
        let accounts = payers.accounts();
        let accounts = accounts
            .iter()
            .map(|account| network.address(&format!("{account:#x}")).expect("account"));
        let accounts: Vec<tollway_core::Address> = accounts.collect();
        let signed = payers.sign(1).remove(0);
        let payload = payers.payload(&signed);
        let terms = Terms::check(payload.accepted.clone()).expect("terms");
        let template = NewPayment {
            identity: Identity {
                network,
                scope: terms.asset.to_string(),
                payer: accounts[0].clone(),
                nonce: String::new(),
            },
            expected: Expected {
                asset: terms.asset.clone(),
                from: accounts[0].clone(),
                to: terms.pay_to.clone(),
                amount: terms.amount,
            },
            deadline: Timestamp::from_secs(signed.authorization.valid_before.to()),
            settlement: Settlement::Submit,
            finality: Finality::Included,
            requirements: Arc::new(payload.accepted.clone()),
            payload: Arc::new(payload),
            caller: None,
            opener: None,
        };
        Self {
            template,
            payers: accounts,
        }
    }

    /// The n-th payment.
    pub fn payment(&self, n: u64) -> NewPayment {
        let mut payment = self.template.clone();
        let payer = &self.payers[usize::try_from(n).expect("count") % self.payers.len()];
        payment.identity.payer = payer.clone();
        payment.expected.from = payer.clone();
        payment.identity.nonce = keccak256(U256::from(n).to_be_bytes::<32>()).to_string();
        payment
    }
}

/// A transaction as long as one that carries so many payments.
pub fn raw(n: u64, payments: usize) -> Raw {
    Raw {
        hash: hash(n),
        bytes: vec![0xab; 200 + 480 * payments],
    }
}

/// What its receipt proved for one payment.
pub fn settled(n: u64, place: u64) -> Settled {
    Settled {
        transaction: hash(n),
        block_number: n,
        block_hash: hash(n).to_string(),
        log_index: Some(place),
        amount: Amount::from_atomic(10_000),
        gas_used: 50_000,
        fee: Amount::from_atomic(1),
        by_third_party: false,
    }
}

fn hash(n: u64) -> TxHash {
    let hash = keccak256(format!("transaction {n}"));
    TxHash::new(&hash.to_string())
}
