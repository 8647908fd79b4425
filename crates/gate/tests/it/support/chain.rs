//! A chain that only pretends: it decodes EIP-3009 payloads and the hashes of
//! transactions for real, and its "blocks" are a map that the fake facilitator
//! writes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tollway_core::wire::{PaymentPayload, SupportedKind};
use tollway_core::{
    Address, Amount, Broadcast, Chain, ChainError, Expected, Finality, Head, Health, Identity,
    Intent, Lookup, Network, Outcome, Phase, Plan, PlannedPayment, Proof, Raw, Refusal, Settled,
    Settlement, Sight, SignedWith, SignerState, Slot, Terms, Timestamp, TxHash, Verified, Watch,
};

pub struct FakeChain {
    network: Network,
    /// Identity to transaction.
    pub settled: Mutex<HashMap<String, String>>,
    /// Identity to the key by which it was settled.
    keys: Mutex<HashMap<String, String>>,
    /// What happened on chain is there when the process is not.
    kept_in: Option<PathBuf>,
    /// Whether its node answers.
    pub has_node: AtomicBool,
    /// Whether its node knows transactions by their hash.
    pub knows_transactions: AtomicBool,
    /// Whether payers are contracts, which one settling account is bound to.
    pub payers_have_code: AtomicBool,
}

impl Default for FakeChain {
    fn default() -> Self {
        Self {
            network: Network::eip155(84532),
            settled: Mutex::default(),
            keys: Mutex::default(),
            kept_in: None,
            has_node: AtomicBool::new(false),
            knows_transactions: AtomicBool::new(true),
            payers_have_code: AtomicBool::new(false),
        }
    }
}

impl FakeChain {
    /// Another network's.
    pub fn of(network: Network) -> Self {
        Self {
            network,
            ..Self::default()
        }
    }

    /// A chain that outlives processes, in a file.
    pub fn kept_in(file: &Path) -> Self {
        let kept = std::fs::read(file).unwrap_or_else(|_| b"[{}, {}]".to_vec());
        let (settled, keys) = serde_json::from_slice(&kept).unwrap();
        Self {
            settled: Mutex::new(settled),
            keys: Mutex::new(keys),
            kept_in: Some(file.to_owned()),
            ..Self::default()
        }
    }

    /// Includes a transfer in a block, once; returns its transaction, and the
    /// key by which it was asked for first.
    pub fn include(&self, identity: &Identity, key: &str) -> (String, String) {
        let mut settled = self.settled.lock().unwrap();
        let mut keys = self.keys.lock().unwrap();
        let fresh = format!("0x{:064x}", settled.len() + 0xfa4e);
        let transaction = settled.entry(identity.key()).or_insert(fresh).clone();
        let first = keys.entry(identity.key()).or_insert(key.to_owned()).clone();
        if let Some(file) = &self.kept_in {
            std::fs::write(file, serde_json::to_vec(&(&*settled, &*keys)).unwrap()).unwrap();
        }
        (transaction, first)
    }

    pub fn transaction(&self, identity: &Identity) -> Option<String> {
        self.settled.lock().unwrap().get(&identity.key()).cloned()
    }

    /// A transaction that is shown as proof.
    fn inspect_shown(
        &self,
        hash: &str,
        payload: &Arc<PaymentPayload>,
        terms: &Arc<Terms>,
    ) -> Result<Intent, Refusal> {
        let from = payload.payload["from"].as_str().unwrap();
        let from = self.network.address(from).unwrap();
        let extra = terms.wire.extra.as_ref().unwrap();
        let expires_at = extra.get("expiresAt").and_then(|end| end.as_u64());
        Ok(Intent {
            identity: Identity {
                network: self.network.clone(),
                scope: format!("tx:{}", terms.asset),
                payer: from.clone(),
                nonce: hash.to_owned(),
            },
            expected: Expected {
                asset: terms.asset.clone(),
                from,
                to: terms.pay_to.clone(),
                amount: terms.amount,
            },
            deadline: Timestamp::from_secs(expires_at.unwrap_or(u64::from(u32::MAX))),
            settlement: Settlement::Observe {
                transaction: TxHash::new(hash),
            },
            payload: payload.clone(),
            terms: terms.clone(),
        })
    }

    fn node(&self) -> Result<(), ChainError> {
        match self.has_node.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(ChainError::unavailable("the fake chain has no node")),
        }
    }
}

fn settled(transaction: &str, amount: Amount) -> Settled {
    Settled {
        transaction: TxHash::new(transaction),
        block_number: 1,
        block_hash: "0x01".to_owned(),
        log_index: Some(0),
        amount,
        gas_used: 0,
        fee: Amount::ZERO,
        by_third_party: false,
    }
}

#[async_trait]
impl Chain for FakeChain {
    fn network(&self) -> &Network {
        &self.network
    }

    fn kinds(&self) -> Vec<SupportedKind> {
        Vec::new()
    }

    fn signers(&self) -> Vec<Address> {
        vec![self.network.address(super::PAYEE).unwrap()]
    }

    fn inspect(
        &self,
        payload: &Arc<PaymentPayload>,
        terms: &Arc<Terms>,
    ) -> Result<Intent, Refusal> {
        let wrong = || {
            Refusal::new(
                "invalid_payload",
                "The authorization is incomplete; send all of it.",
            )
        };
        if let Some(hash) = payload.payload.get("txHash") {
            let hash = hash.as_str().ok_or_else(wrong)?;
            return self.inspect_shown(hash, payload, terms);
        }
        let authorization = payload.payload.get("authorization").ok_or_else(wrong)?;
        let text = |key: &str| authorization[key].as_str().ok_or_else(wrong);
        let from = self.network.address(text("from")?).map_err(|_| wrong())?;
        let deadline: u64 = text("validBefore")?.parse().map_err(|_| wrong())?;
        Ok(Intent {
            identity: Identity {
                network: self.network.clone(),
                scope: terms.asset.to_string(),
                payer: from.clone(),
                nonce: text("nonce")?.to_ascii_lowercase(),
            },
            expected: Expected {
                asset: terms.asset.clone(),
                from,
                to: terms.pay_to.clone(),
                amount: terms.amount,
            },
            deadline: Timestamp::from_secs(deadline),
            settlement: Settlement::Submit,
            payload: payload.clone(),
            terms: terms.clone(),
        })
    }

    /// A signature says by its words what made it.
    async fn message_signer(
        &self,
        account: &Address,
        message: &str,
        signature: &str,
    ) -> Result<Option<SignedWith>, ChainError> {
        match signature {
            "0xnode" => Err(ChainError::unavailable("no node")),
            _ if !message.contains(account.as_str()) => Ok(None),
            "0xkey" => Ok(Some(SignedWith::Key)),
            "0xcode" => Ok(Some(SignedWith::Code)),
            _ => Ok(None),
        }
    }

    /// A gate asks only whether a payer has code.
    async fn verify(&self, intent: Intent, _: Phase, _: Amount) -> Result<Verified, ChainError> {
        let bound = self.payers_have_code.load(Ordering::SeqCst);
        let signers = bound.then(|| intent.expected.to.clone());
        Ok(Verified {
            intent,
            gas: 0,
            signers: signers.into_iter().collect(),
        })
    }

    async fn plan(&self, _: &[PlannedPayment]) -> Result<Vec<Plan>, ChainError> {
        Err(ChainError::unavailable("a gate never plans"))
    }

    async fn seal(&self, _: &Plan, _: &Slot) -> Result<Raw, ChainError> {
        Err(ChainError::unavailable("a gate never signs"))
    }

    async fn broadcast(&self, _: &Raw) -> Result<Broadcast, ChainError> {
        Err(ChainError::unavailable("a gate never broadcasts"))
    }

    async fn look(&self, _: Option<&Head>, _: &[Watch]) -> Result<Sight, ChainError> {
        Err(ChainError::unavailable("a gate never watches slots"))
    }

    async fn block_hash(&self, _: u64) -> Result<Option<String>, ChainError> {
        Err(ChainError::unavailable("a gate never watches blocks"))
    }

    async fn signer_states(&self) -> Result<Vec<SignerState>, ChainError> {
        Ok(Vec::new())
    }

    async fn lookup(
        &self,
        identity: &Identity,
        expected: &Expected,
        _: Finality,
    ) -> Result<Lookup, ChainError> {
        self.node()?;
        Ok(match self.transaction(identity) {
            Some(transaction) => Lookup::Settled(settled(&transaction, expected.amount)),
            None => Lookup::Unused {
                as_of: tollway_core::Clock::now(&tollway_core::SystemClock),
            },
        })
    }

    async fn observe(
        &self,
        transaction: &TxHash,
        _: &Identity,
        expected: &Expected,
        _: Finality,
    ) -> Result<Outcome, ChainError> {
        self.node()?;
        if !self.knows_transactions.load(Ordering::SeqCst) {
            return Ok(Outcome::Unknown);
        }
        let known = self
            .settled
            .lock()
            .unwrap()
            .values()
            .any(|t| t == transaction.as_str());
        Ok(match known {
            true => Outcome::Settled(settled(transaction.as_str(), expected.amount)),
            false => Outcome::NotSettled(Proof::Reverted {
                transaction: transaction.clone(),
                fee: Amount::ZERO,
            }),
        })
    }

    async fn confirmed_nonce(&self, _: &Address) -> Result<u64, ChainError> {
        Ok(0)
    }

    async fn health(&self) -> Health {
        Health {
            ready: true,
            block_number: None,
            problem: None,
        }
    }
}
