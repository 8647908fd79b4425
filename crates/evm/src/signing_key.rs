//! A key that signs for an account: in this process, or in a key service.

use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use async_trait::async_trait;
use tollway_core::ChainError;

use crate::signer::{EvmSigner, recover};

/// A service that keeps a key of secp256k1 and signs digests with it.
#[async_trait]
pub trait KeyService: Send + Sync {
    /// The account of its key.
    fn address(&self) -> Address;

    /// Signs a digest: `r ‖ s ‖ v`, low `s`, `v` 27 or 28.
    ///
    /// # Errors
    /// What is wrong, for the log.
    async fn sign(&self, digest: B256) -> Result<[u8; 65], String>;
}

/// Who signs for an account.
#[derive(Clone)]
pub struct SigningKey(Held);

#[derive(Clone)]
enum Held {
    Here(EvmSigner),
    Elsewhere(Arc<dyn KeyService>),
}

impl SigningKey {
    /// A key in a service.
    #[must_use]
    pub fn elsewhere(service: Arc<dyn KeyService>) -> Self {
        Self(Held::Elsewhere(service))
    }

    /// The account.
    #[must_use]
    pub fn address(&self) -> Address {
        match &self.0 {
            Held::Here(key) => key.address(),
            Held::Elsewhere(service) => service.address(),
        }
    }

    /// Signs a digest: `r ‖ s ‖ v`, low `s`, `v` 27 or 28. What a service gives is
    /// checked before anybody sees it.
    ///
    /// # Errors
    /// [`ChainError`] where the service does not sign, or not for its account.
    pub async fn sign(&self, digest: B256) -> Result<[u8; 65], ChainError> {
        let service = match &self.0 {
            Held::Here(key) => return Ok(key.sign(digest)),
            Held::Elsewhere(service) => service,
        };
        let failed = |why: String| {
            ChainError::unavailable_because(
                "The key service did not sign; look at the log, the key and who may use it, then try again.",
                why,
            )
        };
        let signature = service.sign(digest).await.map_err(failed)?;
        match recover(digest, &signature) == Some(service.address()) {
            true => Ok(signature),
            false => Err(failed("its signature is not of its account".to_owned())),
        }
    }
}

impl From<EvmSigner> for SigningKey {
    fn from(key: EvmSigner) -> Self {
        Self(Held::Here(key))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;

    use super::*;

    struct Service(Address, EvmSigner);

    #[async_trait]
    impl KeyService for Service {
        fn address(&self) -> Address {
            self.0
        }

        async fn sign(&self, digest: B256) -> Result<[u8; 65], String> {
            Ok(self.1.sign(digest))
        }
    }

    #[tokio::test]
    async fn a_service_that_signs_with_another_key_is_not_believed() {
        let (one, other) = (EvmSigner::random().unwrap(), EvmSigner::random().unwrap());
        let digest = keccak256("digest");
        let good = Service(one.address(), one.clone());
        let good = SigningKey::elsewhere(Arc::new(good)).sign(digest).await;
        assert_eq!(good.unwrap(), one.sign(digest));
        let bad = SigningKey::elsewhere(Arc::new(Service(one.address(), other)));
        let refused = bad.sign(digest).await.unwrap_err();
        assert!(refused.to_string().contains("did not sign"), "{refused}");
    }
}
