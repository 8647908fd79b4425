//! Keys in key services, wherever a key file is named: `aws-kms:KEY_ID`, or
//! `gcp-kms:` and the full name of a key's version.

#[cfg(feature = "aws-kms")]
mod aws;
#[cfg(feature = "gcp-kms")]
mod gcp;

use std::path::Path;

use tollway_evm::SigningKey;

use crate::environment::Environment;
use crate::exit::Failure;
use crate::keys;

const AWS: &str = "aws-kms:";
const GCP: &str = "gcp-kms:";

/// The key in a private file, or in a service.
pub async fn signing_key(place: &Path, environment: &Environment) -> Result<SigningKey, Failure> {
    let text = place.to_str().unwrap_or_default();
    if let Some(id) = text.strip_prefix(AWS) {
        return of_aws(id).await;
    }
    if let Some(name) = text.strip_prefix(GCP) {
        return of_gcp(name, environment).await;
    }
    keys::signer_from_file(place).map(SigningKey::from)
}

#[cfg(feature = "aws-kms")]
async fn of_aws(id: &str) -> Result<SigningKey, Failure> {
    // Its type is deeper than the compiler looks into ours.
    let opening: futures_util::future::BoxFuture<'_, _> = Box::pin(aws::open(id));
    opening.await
}

#[cfg(not(feature = "aws-kms"))]
async fn of_aws(_: &str) -> Result<SigningKey, Failure> {
    Err(left_out("AWS KMS", "aws-kms"))
}

#[cfg(feature = "gcp-kms")]
async fn of_gcp(name: &str, environment: &Environment) -> Result<SigningKey, Failure> {
    gcp::open(name, environment).await
}

#[cfg(not(feature = "gcp-kms"))]
async fn of_gcp(_: &str, _: &Environment) -> Result<SigningKey, Failure> {
    Err(left_out("Google Cloud KMS", "gcp-kms"))
}

#[cfg(not(all(feature = "aws-kms", feature = "gcp-kms")))]
fn left_out(service: &str, feature: &str) -> Failure {
    Failure::usage(format!(
        "This program was built without {service}; build it with `cargo build --release --features {feature}`, or name a key file.",
    ))
}
