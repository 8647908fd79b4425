//! A buyer that does by hand what `tollway pay` does, so that a story can show
//! one payment twice, late, or wrong.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tollway_core::extensions::{PaymentIdentifierId, attach};
use tollway_core::wire::{PaymentPayload, PaymentRequired, SettleResponse, Version};
use tollway_core::{Amount, Limits, Terms, Wallet, header};
use tollway_devnet::DevAccount;
use tollway_evm::{EvmSigner, EvmWallet};

/// A key and a client.
pub struct Buyer {
    wallet: EvmWallet,
    client: reqwest::Client,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Body as text.
    pub body: String,
}

impl Reply {
    /// What the server says became of the payment.
    pub fn receipt(&self) -> Option<SettleResponse> {
        header::receipt(&self.headers).unwrap()
    }
}

impl Buyer {
    /// A buyer with a dev account's key.
    pub fn new(account: &DevAccount) -> Self {
        let signer = EvmSigner::from_bytes(&account.key.0).unwrap();
        Self {
            wallet: EvmWallet::new(signer),
            client: super::raw::client(),
        }
    }

    /// Asks without payment, and reads the terms.
    pub async fn terms(&self, url: &str) -> PaymentRequired {
        let reply = self.get(url, &[]).await;
        assert_eq!(reply.status, 402, "{}", reply.body);
        header::required(&reply.headers, reply.body.as_bytes())
            .unwrap()
            .terms
    }

    /// Signs the first offer of some terms.
    pub async fn sign(&self, terms: &PaymentRequired, identified: bool) -> PaymentPayload {
        let wire = terms.accepts[0].clone();
        let checked = Terms::check(wire.clone()).unwrap();
        let limits = Limits {
            max_amount: Amount::from_atomic(u128::MAX),
            max_lifetime: Duration::from_secs(900),
        };
        let prepared = self.wallet.prepare(&checked, &limits).await.unwrap();
        let mut payment = PaymentPayload {
            x402_version: 2,
            resource: Some(terms.resource.clone()),
            accepted: wire,
            payload: prepared.payload,
            extensions: terms.extensions.clone(),
        };
        if identified {
            assert!(attach(
                &mut payment,
                &PaymentIdentifierId::random().unwrap()
            ));
        }
        payment
    }

    /// Reads the terms of a URL and signs them, as the header to send.
    pub async fn pays(&self, url: &str, identified: bool) -> (HeaderName, HeaderValue) {
        let terms = self.terms(url).await;
        header::payment(Version::V2, &self.sign(&terms, identified).await).unwrap()
    }

    /// Sends a GET.
    pub async fn get(&self, url: &str, headers: &[(HeaderName, HeaderValue)]) -> Reply {
        let mut request = self.client.get(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        Reply {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.text().await.unwrap(),
        }
    }
}
