//! AWS KMS, by its SDK: credentials, region and endpoint are found as the SDK finds
//! them (environment, profile, container or instance role, web identity).

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use alloy_signer::Signer as _;
use alloy_signer_aws::aws_sdk_kms::Client;
use alloy_signer_aws::aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use alloy_signer_aws::{AwsSigner, AwsSignerError};
use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use tollway_evm::{KeyService, SigningKey};

use crate::exit::Failure;

/// How long one question may take, with the SDK's own repeats.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks for the key's public half. It must be of secp256k1 and for signing.
pub async fn open(id: &str) -> Result<SigningKey, Failure> {
    if id.is_empty() {
        return Err(Failure::usage(
            "aws-kms: names no key; write the key's id, ARN or alias behind it, such as aws-kms:alias/tollway.",
        ));
    }
    let tls = Provider::Rustls(CryptoMode::Ring);
    let patience = TimeoutConfig::builder().operation_timeout(PATIENCE);
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(Builder::new().tls_provider(tls).build_https())
        .timeout_config(patience.build())
        .load()
        .await;
    let signer = AwsSigner::new(Client::new(&config), id.to_owned(), None).await;
    let signer = signer.map_err(|error| {
        tracing::warn!(error = words(&error), "AWS KMS does not show a key");
        Failure::usage(format!(
            "AWS KMS does not show the key {id}; it must be an ECC_SECG_P256K1 key for signing, in this region, and these credentials need kms:GetPublicKey and kms:Sign. TOLLWAY_LOG=warn says more."
        ))
    })?;
    Ok(SigningKey::elsewhere(Arc::new(AwsKey(signer))))
}

struct AwsKey(AwsSigner);

#[async_trait]
impl KeyService for AwsKey {
    fn address(&self) -> Address {
        self.0.address()
    }

    async fn sign(&self, digest: B256) -> Result<[u8; 65], String> {
        let signed = self.0.sign_hash(&digest).await;
        // `r ‖ s ‖ v` with v 27 or 28, and low s.
        signed
            .map(|signature| signature.as_bytes())
            .map_err(|error| match error {
                alloy_signer::Error::Other(of_kms) => of_kms
                    .downcast_ref::<AwsSignerError>()
                    .map_or_else(|| of_kms.to_string(), words),
                other => other.to_string(),
            })
    }
}

/// What AWS said, without its answers, which hold signatures.
fn words(error: &AwsSignerError) -> String {
    match error {
        AwsSignerError::Sign(error) => said(error),
        AwsSignerError::GetPublicKey(error) => said(error),
        other => other.to_string(),
    }
}

fn said<E: ProvideErrorMetadata>(error: &SdkError<E>) -> String {
    let kind = match error {
        SdkError::ConstructionFailure(_) => "the question could not be made",
        SdkError::TimeoutError(_) => "no answer in time",
        SdkError::DispatchFailure(_) => "not reached, or no credentials",
        SdkError::ResponseError(_) => "an answer that cannot be read",
        _ => "refused",
    };
    let code = error.code().unwrap_or_default();
    let message = error.message().unwrap_or_default();
    format!("{kind} {code} {message}").trim_end().to_owned()
}
