//! A pretended chain: blocks in memory, one signer, no signature checked.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use tollway_core::wire::{PaymentPayload, PaymentRequirements, SupportedKind};
use tollway_core::{
    Address, Amount, Broadcast, Chain, ChainError, Expected, Finality, Head, Health, Identity,
    Intent, Lookup, Network, Outcome, Phase, Plan, PlannedPayment, Proof, Raw, Refusal, Settled,
    Sight, SignerState, Slot, Terms, Timestamp, TxHash, Verified, Watch, Watched,
};

/// What differs between ways to pay.
pub trait Method: Send + Sync {
    const SCHEME: &'static str;
    const NETWORK: &'static str;
    /// The code for an authorization whose nonce is used.
    const USED: &'static str;

    fn inspect(&self, payload: &Arc<PaymentPayload>, terms: &Arc<Terms>)
    -> Result<Intent, Refusal>;

    fn check(&self, intent: &Intent) -> Result<(), Refusal> {
        let _ = intent;
        Ok(())
    }
}

struct Included {
    hash: TxHash,
    by_us: bool,
    transfers: Vec<(Option<Identity>, Expected)>,
}

pub struct Pretend<M> {
    method: M,
    network: Network,
    signer: Address,
    chain: Mutex<Vec<Included>>,
}

pub fn network_of(caip2: &str) -> Network {
    caip2.parse().unwrap()
}

pub fn terms(scheme: &str, network: &str, amount: &str) -> Arc<Terms> {
    let wire = json!({
        "scheme": scheme, "network": network, "amount": amount, "maxTimeoutSeconds": 60,
        "asset": format!("0x{:040x}", 0xa), "payTo": format!("0x{:040x}", 0xb),
    });
    let wire: PaymentRequirements = serde_json::from_value(wire).unwrap();
    Arc::new(Terms::check(wire).unwrap())
}

pub fn payload(scheme_object: &Value, terms: &Terms) -> Arc<PaymentPayload> {
    Arc::new(PaymentPayload {
        x402_version: 2,
        resource: None,
        accepted: PaymentRequirements::clone(&terms.wire),
        payload: scheme_object.as_object().unwrap().clone(),
        extensions: None,
    })
}

impl<M: Method> Pretend<M> {
    pub fn new(method: M) -> Self {
        let network = network_of(M::NETWORK);
        Self {
            method,
            signer: network.address(&format!("0x{:040x}", 0x5)).unwrap(),
            network,
            chain: Mutex::default(),
        }
    }

    pub fn transactions(&self) -> usize {
        self.chain.lock().unwrap().len()
    }

    pub fn made_by_a_stranger(&self, transfer: Expected) -> TxHash {
        let mut chain = self.chain.lock().unwrap();
        let hash = TxHash::new(&format!("0xaa{:02x}", chain.len()));
        chain.push(Included {
            hash: hash.clone(),
            by_us: false,
            transfers: vec![(None, transfer)],
        });
        hash
    }

    fn outcomes(&self, chain: &[Included], watch: &Watch) -> Vec<Outcome> {
        let won = chain
            .iter()
            .enumerate()
            .find(|(_, tx)| watch.hashes.contains(&tx.hash));
        let one = |item: &Watched| match won {
            None => Outcome::Unknown,
            Some((block, tx))
                if tx
                    .transfers
                    .contains(&(Some(item.identity.clone()), item.expected.clone())) =>
            {
                Outcome::Settled(self.settled(block, tx, &item.expected))
            }
            Some((_, tx)) => Outcome::NotSettled(Proof::NoTransfer {
                transaction: tx.hash.clone(),
                fee: Amount::from_atomic(1),
            }),
        };
        watch.expected.iter().map(one).collect()
    }

    fn settled(&self, block: usize, tx: &Included, moved: &Expected) -> Settled {
        let place = tx.transfers.iter().position(|(_, own)| own == moved);
        Settled {
            transaction: tx.hash.clone(),
            block_number: block as u64,
            block_hash: format!("0x{block:x}"),
            log_index: place.map(|place| place as u64),
            amount: moved.amount,
            gas_used: 50_000,
            fee: Amount::from_atomic(1),
            by_third_party: !tx.by_us,
        }
    }
}

#[async_trait]
impl<M: Method> Chain for Pretend<M> {
    fn network(&self) -> &Network {
        &self.network
    }

    fn kinds(&self) -> Vec<SupportedKind> {
        vec![SupportedKind {
            x402_version: 2,
            scheme: M::SCHEME.to_owned(),
            network: self.network.to_string(),
            extra: None,
        }]
    }

    fn signers(&self) -> Vec<Address> {
        vec![self.signer.clone()]
    }

    fn inspect(
        &self,
        payload: &Arc<PaymentPayload>,
        terms: &Arc<Terms>,
    ) -> Result<Intent, Refusal> {
        self.method.inspect(payload, terms)
    }

    async fn verify(
        &self,
        intent: Intent,
        _phase: Phase,
        _held: Amount,
    ) -> Result<Verified, ChainError> {
        self.method.check(&intent)?;
        let found = self
            .lookup(&intent.identity, &intent.expected, Finality::Included)
            .await?;
        if !matches!(found, Lookup::Unused { .. }) {
            let used = "The authorization is used; sign another one.";
            return Err(Refusal::new(M::USED, used).into());
        }
        Ok(Verified {
            intent,
            gas: 50_000,
            signers: Vec::new(),
        })
    }

    async fn plan(&self, payments: &[PlannedPayment]) -> Result<Vec<Plan>, ChainError> {
        Ok(vec![Plan {
            payments: payments.to_vec(),
            gas_limit: 21_000 + 60_000 * payments.len() as u64,
            signers: self.signers(),
        }])
    }

    async fn seal(&self, plan: &Plan, slot: &Slot) -> Result<Raw, ChainError> {
        let moved: Vec<_> = plan
            .payments
            .iter()
            .map(|payment| {
                let intent = &payment.verified.intent;
                let expected = Expected {
                    amount: payment.charge.amount,
                    ..intent.expected.clone()
                };
                (Some(intent.identity.clone()), expected)
            })
            .collect();
        Ok(Raw {
            hash: TxHash::new(&format!("0xbb{:02x}", slot.nonce)),
            bytes: serde_json::to_vec(&moved).unwrap(),
        })
    }

    async fn broadcast(&self, raw: &Raw) -> Result<Broadcast, ChainError> {
        let mut chain = self.chain.lock().unwrap();
        if !chain.iter().any(|tx| tx.hash == raw.hash) {
            chain.push(Included {
                hash: raw.hash.clone(),
                by_us: true,
                transfers: serde_json::from_slice(&raw.bytes).unwrap(),
            });
        }
        Ok(Broadcast::Accepted)
    }

    async fn look(&self, _last: Option<&Head>, watches: &[Watch]) -> Result<Sight, ChainError> {
        let chain = self.chain.lock().unwrap();
        let newest = chain.len() as u64;
        Ok(Sight {
            head: Head {
                number: newest,
                hash: format!("0x{newest:x}"),
                parent: format!("0x{:x}", newest.saturating_sub(1)),
                time: Timestamp::from_secs(newest),
            },
            replaced_from: None,
            outcomes: watches
                .iter()
                .map(|watch| Some(self.outcomes(&chain, watch)))
                .collect(),
        })
    }

    async fn lookup(
        &self,
        identity: &Identity,
        _expected: &Expected,
        _finality: Finality,
    ) -> Result<Lookup, ChainError> {
        let chain = self.chain.lock().unwrap();
        for (block, tx) in chain.iter().enumerate() {
            let by = |(id, _): &&(Option<Identity>, Expected)| id.as_ref() == Some(identity);
            if let Some((_, moved)) = tx.transfers.iter().find(by) {
                return Ok(Lookup::Settled(self.settled(block, tx, moved)));
            }
        }
        Ok(Lookup::Unused {
            as_of: Timestamp::from_secs(0),
        })
    }

    async fn observe(
        &self,
        transaction: &TxHash,
        _identity: &Identity,
        expected: &Expected,
        _finality: Finality,
    ) -> Result<Outcome, ChainError> {
        let chain = self.chain.lock().unwrap();
        let found = chain
            .iter()
            .enumerate()
            .find(|(_, tx)| tx.hash == *transaction);
        Ok(match found {
            None => Outcome::Unknown,
            Some((block, tx)) if tx.transfers.iter().any(|(_, moved)| moved == expected) => {
                Outcome::Settled(self.settled(block, tx, expected))
            }
            Some((_, tx)) => Outcome::NotSettled(Proof::NoTransfer {
                transaction: tx.hash.clone(),
                fee: Amount::from_atomic(1),
            }),
        })
    }

    async fn block_hash(&self, number: u64) -> Result<Option<String>, ChainError> {
        Ok(Some(format!("0x{number:x}")))
    }

    async fn signer_states(&self) -> Result<Vec<SignerState>, ChainError> {
        Ok(Vec::new())
    }

    async fn confirmed_nonce(&self, _signer: &Address) -> Result<u64, ChainError> {
        let chain = self.chain.lock().unwrap();
        Ok(chain.iter().filter(|tx| tx.by_us).count() as u64)
    }

    async fn health(&self) -> Health {
        Health {
            ready: true,
            block_number: Some(self.transactions() as u64),
            problem: None,
        }
    }
}
