//! A fake wallet: it signs nothing that any chain would take, and counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tollway_core::{
    Address, Amount, ChainError, Identity, Limits, Network, Prepared, Scheme, SystemClock, Terms,
    Wallet, WalletError,
};
use tollway_core::{Clock, Family};

pub const PAYER: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";

/// Signs with a counter instead of a key.
#[derive(Default)]
pub struct FakeWallet {
    pub signatures: AtomicUsize,
    pub balance: Option<Amount>,
    /// Signs for so long, whatever the limits say.
    pub forced_lifetime: Option<Duration>,
    /// Put before its nonces, so that two wallets sign nothing alike.
    pub prefix: String,
    /// Takes so long to sign.
    pub slow: Duration,
    /// The messages that it signed.
    pub messages: std::sync::Mutex<Vec<String>>,
    pub seen: std::sync::Mutex<Vec<(Terms, Limits)>>,
}

impl FakeWallet {
    pub fn signed(&self) -> usize {
        self.signatures.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Wallet for FakeWallet {
    fn address(&self, network: &Network) -> Option<Address> {
        (network.family() == Family::Evm).then(|| network.address(PAYER).unwrap())
    }

    fn supports(&self, terms: &Terms) -> bool {
        terms.scheme == Scheme::Exact && terms.method().is_none()
    }

    async fn balance(&self, _: &Network, _: &Address) -> Result<Option<Amount>, ChainError> {
        Ok(self.balance)
    }

    async fn sign_message(
        &self,
        _: &Network,
        message: &str,
    ) -> Result<Option<String>, WalletError> {
        self.messages.lock().unwrap().push(message.to_owned());
        Ok(Some("0xsigned".to_owned()))
    }

    async fn prepare(&self, terms: &Terms, limits: &Limits) -> Result<Prepared, WalletError> {
        tokio::time::sleep(self.slow).await;
        let number = self.signatures.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen
            .lock()
            .unwrap()
            .push((terms.clone(), limits.clone()));
        let lifetime = self
            .forced_lifetime
            .unwrap_or(terms.timeout().min(limits.max_lifetime));
        let payload = json!({"signature": format!("fake signature {}{number}", self.prefix)});
        Ok(Prepared {
            payload: payload.as_object().unwrap().clone(),
            identity: Identity {
                network: terms.network.clone(),
                scope: terms.asset.to_string(),
                payer: self.address(&terms.network).unwrap(),
                nonce: format!("{}{number}", self.prefix),
            },
            amount: terms.amount,
            valid_until: SystemClock.now().plus(lifetime),
            extensions: None,
            transaction: None,
        })
    }
}
