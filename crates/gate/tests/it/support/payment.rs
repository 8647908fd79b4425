//! Payments as buyers send them. The signatures are fakes: nobody here checks them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, Request};
use serde_json::json;
use tollway_core::wire::{PaymentPayload, PaymentRequired, PaymentRequirements, Version};
use tollway_core::{Chain as _, Identity, ProofProfile, Terms, extensions, header};
use tollway_gate::Body;

use super::Answer;

static NONCE: AtomicU64 = AtomicU64::new(1);

pub fn terms_of(answer: &Answer) -> PaymentRequired {
    header::required(&answer.headers, &answer.body)
        .unwrap()
        .terms
}

#[derive(Clone, Debug)]
pub struct Payment {
    pub payload: PaymentPayload,
    pub version: Version,
}

impl Payment {
    /// For the first entry of the terms, with a fresh nonce.
    pub fn for_terms(terms: PaymentRequired) -> Self {
        let accepted = terms.accepts[0].clone();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let nonce = NONCE.fetch_add(1, Ordering::SeqCst);
        let payload = json!({
            "signature": format!("0x{}", "11".repeat(65)),
            "authorization": {
                "from": "0x857b06519E91e3A54538791bDbb0E22373e36b66",
                "to": accepted.pay_to,
                "value": accepted.amount,
                "validAfter": "0",
                "validBefore": (now.as_secs() + accepted.max_timeout_seconds).to_string(),
                "nonce": format!("0x{nonce:064x}"),
            },
        });
        let payload = PaymentPayload {
            x402_version: 2,
            resource: Some(terms.resource),
            accepted,
            payload: payload.as_object().unwrap().clone(),
            extensions: terms.extensions,
        };
        Self {
            payload,
            version: Version::V2,
        }
    }

    /// A transaction for these terms' entry of a kind; nobody here checks who signed.
    pub fn shown(terms: &PaymentRequired, profile: ProofProfile, hash: &str) -> Self {
        let is_wanted = |entry: &&PaymentRequirements| entry.proof_profile() == Some(profile);
        let accepted = terms.accepts.iter().find(is_wanted).unwrap().clone();
        let mut payload = json!({
            "txHash": hash,
            "from": "0x857b06519E91e3A54538791bDbb0E22373e36b66",
        });
        if profile == ProofProfile::Signed {
            payload["reference"] = accepted.extra_str("reference").unwrap().into();
            payload["signature"] = format!("0x{}", "11".repeat(65)).into();
        }
        let payload = PaymentPayload {
            x402_version: 2,
            resource: Some(terms.resource.clone()),
            accepted,
            payload: payload.as_object().unwrap().clone(),
            extensions: terms.extensions.clone(),
        };
        Self {
            payload,
            version: Version::V2,
        }
    }

    /// Named, so that it can be fetched again.
    pub fn named(mut self, id: &str) -> Self {
        let id = extensions::PaymentIdentifierId::new(id).unwrap();
        assert!(extensions::attach(&mut self.payload, &id));
        self
    }

    /// Without its name.
    pub fn unnamed(mut self) -> Self {
        self.payload.extensions = None;
        self
    }

    /// What makes it unique.
    pub fn identity(&self, world: &super::World) -> Identity {
        let terms = Terms::check(self.payload.accepted.clone()).unwrap();
        let (payload, terms) = (self.payload.clone().into(), terms.into());
        world.chain.inspect(&payload, &terms).unwrap().identity
    }

    pub fn save(&self, file: &Path) {
        std::fs::write(file, serde_json::to_vec(&self.payload).unwrap()).unwrap();
    }

    pub fn load(file: &Path) -> Self {
        let payload = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        Self {
            payload,
            version: Version::V2,
        }
    }

    pub fn in_version_1(mut self) -> Self {
        self.version = Version::V1;
        self
    }

    pub fn headers(&self) -> HeaderMap {
        let (name, value) = header::payment(self.version, &self.payload).unwrap();
        HeaderMap::from_iter([(name, value)])
    }

    pub fn request(&self, method: &str, path: &str) -> Request<Body> {
        let mut request = super::request(method, path);
        request.headers_mut().extend(self.headers());
        request
    }

    pub fn get(&self, path: &str) -> Request<Body> {
        self.request("GET", path)
    }
}
